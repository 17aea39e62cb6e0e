# SPDX-License-Identifier: MIT
"""The table C{refusals.txt}: files, what the peer says of each, and what we say."""

import re
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("refusals.txt")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|\{([0-9]+)\*(.)\})")


class Refusal(NamedTuple):
    """A file: C{peer} is what miredo-checkconf says, a line each, C{said} what we say, C{reason} why not the same."""

    name: str
    octets: bytes
    peer: tuple[str, ...]
    said: str
    reason: str


def refusals() -> list[Refusal]:
    """The whole table."""
    lines = [line for line in TABLE.read_text("utf-8").split("\n") if not line.startswith("#")]
    return [_refusal(block.split("\n")) for block in "\n".join(lines).strip().split("\n\n")]


def plain(text: str) -> bytes:
    """A line of the table without its escapes."""
    return _ESCAPE.sub(_meant, text.encode())


def _meant(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)]) if match[1] else int(match[2]) * match[3]


def _refusal(block: list[str]) -> Refusal:
    found: dict[str, list[str]] = {mark: [] for mark in "=|C>!"}
    for line in block:
        found[line[0]].append(line[2:])
    octets = b"".join(plain(line) + b"\n" for line in found["|"]).replace(b"\\\n", b"")
    (name,) = found["="]
    return Refusal(name, octets, tuple(found["C"]), "\n".join(found[">"]), " ".join(found["!"]))
