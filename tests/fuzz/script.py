# SPDX-License-Identifier: MIT
"""An input as a script: bytes read as choices, so that each input, mutated or not, is a story with an end."""

from collections.abc import Sequence
from typing import TypeVar

Choice = TypeVar("Choice")


class Script:
    """Beyond its end there are only zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_over(self) -> bool:
        return self._at >= len(self._data)

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken.ljust(count, b"\x00")

    def text(self) -> bytes:
        """A length and that many bytes, or as many as are left."""
        count = self.byte()
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def choice(self, among: Sequence[Choice]) -> Choice:
        return among[self.byte() % len(among)]

    def damage(self, data: bytes) -> bytes:
        """C{data} with up to three bytes changed, and perhaps its end cut off."""
        told = self.byte()
        damaged = bytearray(data)
        for _ in range(told & 3):
            offset, value = self.byte(), self.byte()
            if offset < len(damaged):
                damaged[offset] ^= value
        return bytes(damaged[: self.byte()] if told & 4 else damaged)
