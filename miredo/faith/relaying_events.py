# SPDX-License-Identifier: MIT
"""
What happens to the sockets of many relays, in one descriptor for the reactor: an epoll set of their own.

Each socket is put in once, edge-triggered, for everything, and never changed. So a reset is heard of a socket too that
nobody reads or writes just now, of which Twisted's reactors say nothing; any reactor will do; and a connection costs
two system calls instead of one for each time that it is waited for.
"""

import select
import socket
from typing import Protocol

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.kernel.interfaces import IClock

BATCH = 64
"""Events taken at one wake-up, so that nobody else has to wait for long."""

READABLE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
"""There is something to be had by C{recv}: bytes, the end or an error."""

WRITABLE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
"""C{send} has room for something, or an error to tell."""

CLOSING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
"""What is there to be received is all that ever will be."""

BROKEN = select.EPOLLERR
"""The connection is no more."""

_EVERYTHING = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET

_logging_failures = Logger().failureHandler("a relay failed")


class Side:
    """
    The socket of one side of a relay, and what is known of it.

    @ivar readable: something may be received. It becomes false when nothing could be, and true by an event.
    @ivar writable: something may be sent; likewise.
    @ivar closing: nothing will be added to what can be received.
    @ivar broken: it was reset, or was lost otherwise.
    """

    __slots__ = ("broken", "closing", "fd", "readable", "socket", "writable")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.fd = connection.fileno()
        self.readable = False
        self.writable = False
        self.closing = False
        self.broken = False

    def note(self, events: int) -> None:
        """Remember what the kernel told."""
        if events & READABLE:
            self.readable = True
        if events & WRITABLE:
            self.writable = True
        if events & CLOSING:
            self.closing = True
        if events & BROKEN:
            self.broken = True


class Listener(Protocol):
    """Who hears of events."""

    def notified(self, side: Side, events: int, now: float) -> None:
        """Something happened to a socket, a set of epoll's events."""


@implementer(IReadDescriptor)
class Events:
    """
    The epoll set.

    @param reactor: reads it, until L{close}.
    """

    def __init__(self, reactor: IReactorFDSet, clock: IClock) -> None:
        self._reactor = reactor
        self._clock = clock
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[Listener, Side]] = {}
        self._gone: set[int] = set()
        reactor.addReader(self)

    def watch(self, side: Side, listener: Listener) -> None:
        """Tell C{listener} from now on what happens to a socket; soon, too, what has happened."""
        self._epoll.register(side.fd, _EVERYTHING)
        self._watched[side.fd] = listener, side

    def again(self, side: Side) -> None:
        """Tell again, after all others, what holds of a socket."""
        self._epoll.modify(side.fd, _EVERYTHING)

    def forget(self, side: Side) -> None:
        """Tell no more, not even what is known already; to be called before the socket is closed."""
        self._epoll.unregister(side.fd)
        del self._watched[side.fd]
        self._gone.add(side.fd)

    def close(self) -> None:
        """Give back the set. Twice is once."""
        if not self._epoll.closed:
            self._reactor.removeReader(self)
            self._epoll.close()

    def fileno(self) -> int:
        return -1 if self._epoll.closed else self._epoll.fileno()

    def doRead(self) -> None:
        self._gone.clear()
        happened = self._epoll.poll(0, BATCH)
        now = self._clock.now()
        for fd, events in happened:
            # A number that was forgotten meanwhile may be another socket's by now, which this is no news of.
            if fd not in self._gone:
                listener, side = self._watched[fd]
                with _logging_failures:
                    listener.notified(side, events, now)

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def logPrefix(self) -> str:
        return "relays"
