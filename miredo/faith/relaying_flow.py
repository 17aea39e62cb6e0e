# SPDX-License-Identifier: MIT
"""
One direction of a relay: bytes, urgent bytes and the end, from one socket to another, in the order they came in.

Both sockets have SO_OOBINLINE. FIONREAD tells how much waits; SIOCATMARK then tells whether its first
byte is the urgent one; and C{recv} of no more than that much stops before an urgent byte that comes later. So no mark
can slip in between the question and the C{recv}. An urgent byte is read alone and sent with MSG_OOB.

What the sink has no room for is held, and nothing is received until it is gone: that is all the buffer there is. Bulk
goes through a pipe and not through this process; splicing stops before an urgent byte by itself.
"""

import os
import socket
from array import array
from collections.abc import Callable
from errno import ENOTCONN
from fcntl import ioctl
from termios import FIONREAD

from miredo.faith.pipes import Pipe, Pipes
from miredo.faith.relaying_events import Side

BUFFER = 256 * 1024
"""Bytes that are received at once, at most, into a buffer that all relays share; and that a direction holds, at most,
without a pipe (the old faithd had room for 16 KiB)."""

CALM = 256 * 1024
"""Bytes after the start, or an urgent byte, that are copied and not spliced: most connections end before."""

WORTH = 32 * 1024
"""Bytes that must wait for splicing to cost less than copying (ours)."""

ROUNDS = 8
"""Pieces carried at one wake-up, so that nobody else has to wait for long."""

SIOCATMARK = 0x8905  # asm-generic/sockios.h; the socket module lacks it

_SPLICE = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE


class Lost(Exception):
    """A connection ended without an end: by a reset or another error."""

    def __init__(self, side: Side, errno: int) -> None:
        super().__init__(os.strerror(errno))
        self.side = side
        self.errno = errno


class Flow:
    """
    A direction.

    @param buffer: to receive into; L{BUFFER} bytes that no one keeps anything in between two calls.
    @ivar taken: bytes received.
    @ivar given: bytes sent on.
    @ivar urgent: how many of them were urgent ones.
    @ivar ended: the source has ended its half, and the sink was told.
    """

    __slots__ = (
        "_buffer",
        "_copied_until",
        "_held",
        "_held_is_urgent",
        "_pipe",
        "_pipes",
        "ended",
        "given",
        "sink",
        "source",
        "taken",
        "urgent",
    )

    def __init__(self, source: Side, sink: Side, buffer: memoryview, pipes: Pipes) -> None:
        self.source = source
        self.sink = sink
        self.taken = 0
        self.given = 0
        self.urgent = 0
        self.ended = False
        self._buffer = buffer
        self._pipes = pipes
        self._pipe: Pipe | None = None
        self._held = b""
        self._held_is_urgent = False
        self._copied_until = CALM

    @property
    def holding(self) -> int:
        """Bytes received and not sent."""
        return self.taken - self.given

    def pump(self) -> bool:
        """
        Carry what can be carried now, in L{ROUNDS} pieces at most.

        @return: whether there may be more.
        @raise Lost: one of the connections is no more.
        """
        for _ in range(ROUNDS):
            if self.taken != self.given and self.sink.writable:
                self._release()
            if self.ended or not self.source.readable or not self.sink.writable:
                return False
            self._carry()
        return True

    def close(self) -> None:
        """Throw away what is held. Twice is once."""
        self._held = b""
        if self._pipe is not None:
            self._pipes.give_back(self._pipe)
            self._pipe = None

    def _carry(self) -> None:
        there = waiting(self.source)
        if there == 0:
            self._look_for_the_end()
        elif there >= WORTH and self.given >= self._copied_until and (pipe := self._pipes.take()) is not None:
            self._splice(pipe, there)
        elif _ask(self.source, SIOCATMARK):
            self._carry_urgent()
        else:
            self._copy(there)

    def _look_for_the_end(self) -> None:
        """There is nothing to read; C{recv} would say so too, or why, but might meet a mark that came just now."""
        if not self.source.closing:
            self.source.readable = False
            return
        if self._receive(1):
            self._give(self._buffer[:1])
            return
        self.ended = True
        try:
            self.sink.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Lost(self.sink, error.errno or ENOTCONN) from error

    def _copy(self, there: int) -> None:
        got = self._receive(min(there, BUFFER))
        self._had(got, there)
        self._give(self._buffer[:got])

    def _carry_urgent(self) -> None:
        self._receive(1)
        self._copied_until = self.given + CALM
        self._give(self._buffer[:1], urgent=True)

    def _splice(self, pipe: Pipe, there: int) -> None:
        self._pipe = pipe
        try:
            pipe.held = os.splice(self.source.fd, pipe.writing, min(there, pipe.capacity), flags=_SPLICE)
        except BlockingIOError:
            pipe.held = 0
        except OSError as error:
            raise Lost(self.source, error.errno or ENOTCONN) from error
        if pipe.held == 0:
            self._copied_until = self.given + CALM  # it stopped at a mark
        self.taken += pipe.held
        self._had(pipe.held, there)
        self._release()

    def _receive(self, count: int) -> int:
        try:
            got = self.source.socket.recv_into(self._buffer, count)
        except OSError as error:
            raise Lost(self.source, error.errno or ENOTCONN) from error
        self.taken += got
        return got

    def _had(self, got: int, there: int) -> None:
        """What came after the question how much there is has an event of its own."""
        if got == there and not self.source.closing:
            self.source.readable = False

    def _give(self, piece: memoryview, urgent: bool = False) -> None:
        sent = self._send(piece, urgent)
        self._held = bytes(piece[sent:])
        self._held_is_urgent = urgent

    def _release(self) -> None:
        """Send what is held, as much as there is room for."""
        if self._pipe is None:
            sent = self._send(self._held, self._held_is_urgent)
            self._held = self._held[sent:]
            return
        while self._pipe.held:
            self._drain(self._pipe)
            if not self.sink.writable:
                return
        self._pipes.give_back(self._pipe)
        self._pipe = None

    def _drain(self, pipe: Pipe) -> None:
        sent = self._try(lambda: os.splice(pipe.reading, self.sink.fd, pipe.held, flags=_SPLICE))
        pipe.held -= sent
        self.given += sent

    def _send(self, piece: memoryview | bytes, urgent: bool) -> int:
        sent = self._try(lambda: self.sink.socket.send(piece, socket.MSG_OOB if urgent else 0))
        if sent < len(piece):
            self.sink.writable = False
        self.given += sent
        self.urgent += urgent and sent
        return sent

    def _try(self, send: Callable[[], int]) -> int:
        try:
            return send()
        except BlockingIOError:
            self.sink.writable = False
            return 0
        except OSError as error:
            raise Lost(self.sink, error.errno or ENOTCONN) from error


def waiting(side: Side) -> int:
    """How many bytes can be received."""
    return _ask(side, FIONREAD)


_answer = array("i", [0])


def _ask(side: Side, question: int) -> int:
    """
    Ask for a number about a socket.

    @raise Lost: it has none.
    """
    try:
        ioctl(side.fd, question, _answer)
    except OSError as error:
        raise Lost(side, error.errno or ENOTCONN) from error
    return _answer[0]
