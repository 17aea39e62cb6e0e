# SPDX-License-Identifier: MIT
"""The one place where bounds are checked, and the one error of every parser."""


class MalformedPacket(ValueError):
    """These bytes are not what they should be. Whoever sent them gets no answer."""


class Reader:
    """
    Takes a message apart from its start to its end, and never reads beyond.

    Every reading method raises L{MalformedPacket} if fewer bytes are left than it needs.
    """

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._end = len(data)

    @property
    def at(self) -> int:
        """The offset of the next byte, from the start of the data given."""
        return self._at

    @property
    def left(self) -> int:
        """How many bytes have not been taken."""
        return self._end - self._at

    def take(self, count: int) -> bytes:
        """The next C{count} bytes."""
        start = self._advance(count)
        return self._data[start : self._at]

    def u8(self) -> int:
        """The next byte."""
        return self._data[self._advance(1)]

    def u16(self) -> int:
        """The next 2 bytes as a number, network order."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """The next 4 bytes as a number, network order."""
        return int.from_bytes(self.take(4), "big")

    def scope(self, count: int) -> "Reader":
        """A reader of the next C{count} bytes alone; this one goes on after them."""
        return Reader(self.take(count))

    def rest(self) -> bytes:
        """All bytes that are left; there may be none."""
        return self.take(self.left)

    def _advance(self, count: int) -> int:
        """Step over C{count} bytes and give the offset of the first."""
        start = self._at
        if count > self._end - start:
            raise MalformedPacket(f"cut short: {count} bytes expected, {self._end - start} left")
        self._at = start + count
        return start
