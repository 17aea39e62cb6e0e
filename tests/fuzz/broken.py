# SPDX-License-Identifier: MIT
"""A target that breaks its promise, for the tests of what runs targets."""

from miredo.wire.reader import MalformedPacket, Reader
from tests.fuzz.targets import Target


def careless(data: bytes) -> None:
    """It takes no input for long enough."""
    reader = Reader(data)
    if reader.left > 2:
        reader.take(reader.left + 1)


def sound(data: bytes) -> None:
    try:
        careless(data)
    except MalformedPacket:
        return


TARGETS = {
    "careless": Target(careless, lambda: iter([b"a"]), longest=16),
    "sound": Target(sound, lambda: iter([b"a"]), longest=16),
}
