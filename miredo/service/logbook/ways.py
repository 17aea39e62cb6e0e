# SPDX-License-Identifier: MIT
"""
How octets get to syslogd or to standard error: at once or not at all.

syslogd is reached by /dev/log, as syslog(3) of the C library does it: a socket of datagrams, a record each, or a stream
with a NUL behind each record. When syslogd was restarted, the socket is dead and another one is opened.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from typing import Protocol

PATH = "/dev/log"
RETRY = 1.0
"""Seconds between attempts to reach a syslogd that is gone. Ours."""
END_OF_RECORD = b"\0"
"""Behind each record on a stream socket."""
ROOM = select.PIPE_BUF
"""Bytes that a pipe takes without waiting when poll(2) says that it is writable (pipe(7))."""

Connect = Callable[[], int]
"""Opens a connected, non-blocking descriptor of syslogd's socket; raises C{OSError}."""


class Way(Protocol):
    """How octets get somewhere."""

    def send(self, octets: bytes) -> bool:
        """Send all of it, which shall not wait; False: it is lost."""

    def close(self) -> None:
        """Send no more. Twice is once."""


class Records:
    """Records on a stream that takes part of one: what has begun is ended before another begins.

    @param write: writes the beginning of what it is given and tells how much; raises C{BlockingIOError} for nothing.
    """

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self._rest = b""

    def send(self, octets: bytes) -> bool:
        """Write a record; False, if no part of it could be.

        @raise OSError: no record can be written any more.
        """
        if not self.finish():
            return False
        self._rest = octets
        if not self.finish() and len(self._rest) == len(octets):
            self._rest = b""
            return False
        return True

    def finish(self) -> bool:
        """Write what is left of a record; whether nothing is."""
        try:
            while self._rest:
                self._rest = self._rest[self._write(self._rest) :]
        except BlockingIOError:
            return False
        except OSError:
            self._rest = b""
            raise
        return True


class StandardError:
    """A descriptor that is others' too: it is neither made non-blocking nor closed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._records = Records(self._write)

    def send(self, octets: bytes) -> bool:
        try:
            return self._records.send(octets)
        except OSError:
            return False

    def close(self) -> None:
        pass

    def _write(self, octets: bytes) -> int:
        if not self._poll.poll(0):
            raise BlockingIOError
        return os.write(self._descriptor, octets[:ROOM])


class SyslogSocket:
    """
    Sends records to syslogd; connects again if that was restarted, at once if it was not tried for L{RETRY} seconds.

    @param now: seconds of a clock without steps.
    @ivar connect: opens the socket.
    @ivar trouble: why there is nobody to send to, or C{None}.
    """

    trouble: str | None = None
    _socket: socket.socket | None = None

    def __init__(self, now: Callable[[], float], connect: Connect) -> None:
        self.connect = connect
        self._now = now
        self._again = now()
        self._reached()

    def send(self, octets: bytes) -> bool:
        try:
            if self._socket is not None:
                return self._sent(octets)
        except OSError:
            self.close()
        try:
            return self._reached() and self._sent(octets)
        except OSError:
            return False

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _reached(self) -> bool:
        self.close()
        now = self._now()
        if now < self._again:
            return False
        self._again = now + RETRY
        try:
            one = self._socket = socket.socket(fileno=self.connect())
        except OSError as error:
            self.trouble = error.strerror or str(error)
            return False
        self.trouble = None
        self._records = Records(lambda octets: one.send(octets, socket.MSG_NOSIGNAL))
        return True

    def _sent(self, octets: bytes) -> bool:
        if self._socket is not None and self._socket.type == socket.SOCK_STREAM:
            return self._records.send(octets + END_OF_RECORD)
        return self._records.send(octets)


def connect(path: str = PATH) -> int:
    """A connected, non-blocking descriptor of a syslogd's socket.

    @raise OSError: there is no syslogd.
    """
    try:
        return _connected(path, socket.SOCK_DGRAM)
    except OSError as error:
        if error.errno != errno.EPROTOTYPE:
            raise
        return _connected(path, socket.SOCK_STREAM)


def _connected(path: str, kind: int) -> int:
    with socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK) as one:
        one.connect(path)
        return one.detach()
