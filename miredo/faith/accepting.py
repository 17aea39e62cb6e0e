# SPDX-License-Identifier: MIT
"""Connections that come in at a listening socket, as they are: plain sockets, each with the addresses of both ends."""

import socket
from collections.abc import Callable
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from typing import NamedTuple

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.kernel.interfaces import IClock

BATCH = 64
"""Connections accepted at one wake-up, so that those that stand already do not have to wait for long."""

PAUSE = 1.0
"""Seconds without accepting when there is no descriptor or memory left; those that come wait in the kernel's queue."""

SHORTAGES = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})

_logging_failures = Logger().failureHandler("a connection's receiver failed")


class Address(NamedTuple):
    """
    One end of a TCP connection.

    @ivar scope: the index of the link that a link-local address is of, else 0.
    """

    host: str
    port: int
    scope: int = 0


@implementer(IReadDescriptor)
class Acceptor:
    """
    Accepts, from L{resume} on.

    @param listening: owned by this object. What it is set to the connections inherit: SO_OOBINLINE is wanted for a
        relay, since an urgent byte can be there before the connection is accepted.
    @param accepted: called with each connection, which does not block and belongs to whom is called; with the address
        that the client meant; and with the client's.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IClock,
        listening: socket.socket,
        accepted: Callable[[socket.socket, Address, Address], None],
    ) -> None:
        listening.setblocking(False)
        self._reactor = reactor
        self._clock = clock
        self._socket = listening
        self._accepted = accepted
        self._reading = False
        self._alarm = clock.alarm(self.resume)  # now, since it takes a descriptor
        self._short = False
        self._log = Logger()

    def resume(self) -> None:
        """Accept from now on."""
        self._alarm.arm(None)
        if not self._reading and self.fileno() >= 0:
            self._reading = True
            self._reactor.addReader(self)

    def pause(self, seconds: float | None = None) -> None:
        """Accept no more: for so long, or until L{resume}. Who comes waits in the kernel's queue, while it has room."""
        self._alarm.arm(None if seconds is None else self._clock.now() + seconds)
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)

    def close(self) -> None:
        """Listen no more. Twice is once."""
        if self.fileno() >= 0:
            self.pause()
            self._alarm.cancel()
            self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        for _ in range(BATCH):
            if not self._reading:
                return
            try:
                connection, peer = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._refused(error)
            else:
                self._hand_over(connection, Address(*peer[:2], *peer[3:]))

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def logPrefix(self) -> str:
        return "acceptor"

    def _hand_over(self, connection: socket.socket, peer: Address) -> None:
        self._short = False
        connection.setblocking(False)
        name = connection.getsockname()
        with _logging_failures:
            self._accepted(connection, Address(*name[:2], *name[3:]), peer)

    def _refused(self, error: OSError) -> None:
        """accept(2): what went wrong with one connection is no reason not to accept the next."""
        if error.errno not in SHORTAGES:
            return
        if not self._short:
            self._short = True
            self._log.warn("no new connections for lack of resources: {reason}", reason=error.strerror)
        self.pause(PAUSE)
