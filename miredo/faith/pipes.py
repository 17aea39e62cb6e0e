# SPDX-License-Identifier: MIT
"""Pipes that bytes are spliced through: kept while nobody needs them, and never more than so many."""

import fcntl
import os
from contextlib import suppress

CAPACITY = 1 << 20
"""Bytes that a pipe is to hold: what an ordinary user may ask for (/proc/sys/fs/pipe-max-size)."""

MOST = 32
"""Pipes in use at once: half of what an ordinary user may have of that size (/proc/sys/fs/pipe-user-pages-soft)."""

SPARE = 4
"""Pipes that are kept for the next who asks."""


class Pipe:
    """
    A pipe and what is in it.

    @ivar held: the bytes in it, as who uses it counts them.
    """

    __slots__ = ("capacity", "held", "reading", "writing")

    def __init__(self) -> None:
        """
        Open one; it stays smaller where the kernel allows no more.

        @raise OSError: there is no descriptor left.
        """
        self.reading, self.writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(PermissionError):
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, CAPACITY)
        self.capacity = fcntl.fcntl(self.writing, fcntl.F_GETPIPE_SZ)
        self.held = 0

    def close(self) -> None:
        """Give back both ends, and what is between them."""
        os.close(self.reading)
        os.close(self.writing)


class Pipes:
    """
    The pipes of many relays.

    @param most: how many there may be at once, which bounds what they hold.
    """

    def __init__(self, most: int = MOST, spare: int = SPARE) -> None:
        self._most = most
        self._spare = spare
        self._idle: list[Pipe] = []
        self._in_use = 0

    @property
    def in_use(self) -> int:
        """How many are lent."""
        return self._in_use

    def take(self) -> Pipe | None:
        """An empty pipe; C{None}: there is none to be had now."""
        if self._in_use >= self._most:
            return None
        try:
            pipe = self._idle.pop() if self._idle else Pipe()
        except OSError:
            return None  # the way without a pipe needs no descriptor
        self._in_use += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Take back what L{take} lent; what it still holds is thrown away."""
        self._in_use -= 1
        if pipe.held == 0 and len(self._idle) < self._spare:
            self._idle.append(pipe)
        else:
            pipe.close()

    def close(self) -> None:
        """Close those that are not lent, and keep none from now on."""
        self._spare = 0
        while self._idle:
            self._idle.pop().close()
