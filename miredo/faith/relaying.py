# SPDX-License-Identifier: MIT
"""
The TCP relay: what comes from a client goes to a server and back, as if the two had one connection (RFC 3142).

1. The server is connected to without waiting. Until it answers, nothing is read from the client. If it does not answer,
   the client is reset, so that this does not look like an empty session.
2. Bytes, urgent bytes with their place, and the end of either half pass each way at their own pace
   (L{miredo.faith.relaying_flow}); a slow reader slows down whoever sends to it.
3. When both halves have ended, all is well. A reset, or another error, of one side resets the other, and whatever has
   not been sent is dropped, as TCP does.
4. Time ends it where nobody is heard of for too long: while connecting, while idle, and while one half only is open.

A session has two descriptors and two entries in an epoll set of its own (L{miredo.faith.relaying_events}); it holds no
buffer, no alarm and no pipe while nothing is under way.
"""

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from errno import ECONNRESET, ENETUNREACH, EPIPE

from twisted.internet.interfaces import IReactorFDSet
from twisted.logger import Logger

from miredo.faith.pipes import Pipes
from miredo.faith.relaying_events import Events, Side
from miredo.faith.relaying_flow import BUFFER, Flow, Lost, waiting
from miredo.faith.relaying_idle import Patience
from miredo.faith.relaying_outgoing import Outgoing, closed_on_error
from miredo.kernel.interfaces import IClock

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of a connection that close(2) resets (socket(7))."""

_RESETS = ECONNRESET, EPIPE
"""The errors of a connection that stood; one that never did has ECONNREFUSED for a reset."""

_logging_failures = Logger().failureHandler("a receiver of a session's end failed")


class Reason(Enum):
    """Why a session ended."""

    FINISHED = "finished"
    """Both halves ended."""

    UNREACHABLE = "connection to the server failed"
    """With the reason as an errno."""

    CONNECT_TIMEOUT = "the server did not answer"

    CLIENT_LOST = "connection of the client lost"
    """With the reason as an errno; ECONNRESET or EPIPE mostly: a reset."""

    SERVER_LOST = "connection of the server lost"
    """Likewise."""

    IDLE = "idle timeout"

    HALF_OPEN = "half-open timeout"

    ABORTED = "aborted"
    """By L{Relay.abort}."""


@dataclass(frozen=True, slots=True)
class Ended:
    """
    A session that is over.

    @ivar errno: why a connection failed or was lost, else 0.
    @ivar upward: bytes that the server's socket took from the client.
    @ivar downward: likewise to the client.
    @ivar urgent_upward: urgent bytes among them.
    @ivar half_closed: whether bytes passed one way when the other way had ended.
    """

    reason: Reason
    errno: int
    upward: int
    downward: int
    urgent_upward: int
    urgent_downward: int
    half_closed: bool


@dataclass(frozen=True, slots=True)
class Terms:
    """
    What the sessions of a service have in common; times in seconds, of which 0 is no limit.

    @ivar idle: without a byte either way; the old faithd's half an hour.
    @ivar half_open: without a byte when one half has ended.
    @ivar connect: for the server to answer; the kernel alone would try for about two minutes.
    @ivar keepalive: of idleness until a peer is asked whether it is there (SO_KEEPALIVE); 0: it never is.
    """

    idle: float = 1800.0
    half_open: float = 0.0
    connect: float = 30.0
    keepalive: int = 0


class Relays:
    """
    The sessions of a service, and what they share: an epoll set, a buffer, pipes and three alarms.

    @param outgoing: connects to servers.
    @param pipes: owned by this object.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IClock,
        terms: Terms | None = None,
        outgoing: Outgoing | None = None,
        pipes: Pipes | None = None,
    ) -> None:
        self.clock = clock
        self.terms = terms or Terms()
        self.outgoing = outgoing or Outgoing()
        self.events = Events(reactor, clock)
        self.pipes = pipes or Pipes()
        self.buffer = memoryview(bytearray(BUFFER))
        self.sessions: set[Relay] = set()
        self.connecting = Patience[Relay](clock, self.terms.connect, lambda who: who.expire(Reason.CONNECT_TIMEOUT))
        self.idle = Patience[Relay](clock, self.terms.idle, lambda who: who.expire(Reason.IDLE))
        self.half_open = Patience[Relay](clock, self.terms.half_open, lambda who: who.expire(Reason.HALF_OPEN))

    def close(self) -> None:
        """Abort all sessions and give back everything. Twice is once."""
        while self.sessions:
            next(iter(self.sessions)).abort()
        for patience in (self.connecting, self.idle, self.half_open):
            patience.close()
        self.events.close()
        self.pipes.close()


class Relay:
    """
    A session. It begins with a client; a reset of it ends the session even before L{begin}, if it has sent nothing.

    @param client: a connected TCP socket, owned by this object. SO_OOBINLINE is to be set, and inherited from the
        socket that it was accepted at, since before it is set an urgent byte can be taken for an ordinary one.
    @param on_end: called once, when everything is given back; never inside L{begin}.
    @raise OSError: there is no room for it; C{client} has been closed.
    """

    __slots__ = ("_client", "_flows", "_half_closed", "_on_end", "_refused", "_relays", "_server")

    def __init__(self, relays: Relays, client: socket.socket, on_end: Callable[[Ended], None]) -> None:
        self._relays = relays
        self._on_end = on_end
        self._client = self._taken(client)
        self._server: Side | None = None
        self._flows: tuple[Flow, Flow] | None = None
        self._refused = 0
        self._half_closed = False
        relays.sessions.add(self)

    def begin(self, server: tuple[str, int], source: str | None = None) -> None:
        """
        Connect to an IPv4 address and port, and relay.

        @param source: the address of ours that the server shall see.
        """
        if self not in self._relays.sessions:
            return
        try:
            self.join(self._relays.outgoing.connect(server, source))
        except OSError as error:
            self._refused = error.errno or ENETUNREACH
            self._relays.events.again(self._client)  # it is writable, so an event comes, and the end with it

    def join(self, server: socket.socket) -> None:
        """
        Relay to a TCP socket that is connected, or is connecting; it is owned by this object then.

        @raise OSError: there is no room for it; it has been closed.
        """
        if self not in self._relays.sessions:
            server.close()
            return
        self._server = self._taken(server)
        self._relays.connecting.touch(self, self._relays.clock.now())

    @property
    def holding(self) -> tuple[int, int]:
        """Bytes received and not sent on, upward and downward."""
        return (self._flows[0].holding, self._flows[1].holding) if self._flows else (0, 0)

    def abort(self) -> None:
        """Reset both connections. Twice is once."""
        self._end(Reason.ABORTED)

    def expire(self, reason: Reason) -> None:
        """It has taken too long."""
        self._end(reason)

    def notified(self, side: Side, events: int, now: float) -> None:
        side.note(events)
        if self._flows is None:
            self._await_server(side, now)
        else:
            self._carry(*self._flows, side, now)

    def _taken(self, connection: socket.socket) -> Side:
        with closed_on_error(connection):
            if connection.getblocking():
                connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if seconds := self._relays.terms.keepalive:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
            side = Side(connection)
            self._relays.events.watch(side, self)
        return side

    def _await_server(self, side: Side, now: float) -> None:
        if self._refused:
            self._end(Reason.UNREACHABLE, self._refused)
        elif side is self._client:
            if side.broken and waiting(side) == 0:  # else the server is to have what was sent before the reset
                self._end(Reason.CLIENT_LOST, _error_of(side))
        elif side.broken:
            self._part_early(side, _error_of(side))
        elif side.writable:
            self._relays.connecting.forget(self)
            self._relays.idle.touch(self, now)
            self._carry(*self._join_flows(side), side, now)

    def _part_early(self, server: Side, errno: int) -> None:
        """It could not be connected to; or it was reset when it had answered already, and may have said why."""
        if errno in _RESETS:
            self._join_flows(server)
            self._lose(Lost(server, errno))
        else:
            self._end(Reason.UNREACHABLE, errno)

    def _join_flows(self, server: Side) -> tuple[Flow, Flow]:
        buffer, pipes = self._relays.buffer, self._relays.pipes
        self._flows = Flow(self._client, server, buffer, pipes), Flow(server, self._client, buffer, pipes)
        return self._flows

    def _carry(self, up: Flow, down: Flow, side: Side, now: float) -> None:
        crossed, half_open, more = _crossed(up, down), up.ended or down.ended, False
        try:
            for flow in (up, down):
                if flow.pump():
                    self._relays.events.again(flow.source)
                    more |= flow.source is side
        except Lost as lost:
            self._lose(lost)
            return
        if up.ended and down.ended:
            self._end(Reason.FINISHED)
        elif side.broken and not more:
            self._lose(Lost(side, _error_of(side)))
        elif _crossed(up, down) != crossed or half_open != (up.ended or down.ended):
            self._half_closed |= half_open
            self._touch(now, up.ended or down.ended)

    def _touch(self, now: float, half_open: bool) -> None:
        self._relays.idle.touch(self, now)
        if half_open:
            self._relays.half_open.touch(self, now)

    def _lose(self, lost: Lost) -> None:
        """Sending to it told that it is lost; what it had sent before can be there still."""
        lost.side.readable, lost.side.closing = True, False
        for flow in self._flows or ():
            if flow.source is lost.side:
                with suppress(Lost):
                    flow.pump()
        self._end(Reason.CLIENT_LOST if lost.side is self._client else Reason.SERVER_LOST, lost.errno)

    def _end(self, reason: Reason, errno: int = 0) -> None:
        relays = self._relays
        if self not in relays.sessions:
            return
        relays.sessions.remove(self)
        for patience in (relays.connecting, relays.idle, relays.half_open):
            patience.forget(self)
        for flow in self._flows or ():
            flow.close()
        for side in (self._client, self._server):
            if side is not None:
                self._part(side, reset=reason is not Reason.FINISHED)
        with _logging_failures:
            self._on_end(self._account(reason, errno))

    def _part(self, side: Side, reset: bool) -> None:
        self._relays.events.forget(side)
        if reset:
            side.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        side.socket.close()

    def _account(self, reason: Reason, errno: int) -> Ended:
        if self._flows is None:
            return Ended(reason, errno, 0, 0, 0, 0, half_closed=False)
        up, down = self._flows
        return Ended(reason, errno, up.given, down.given, up.urgent, down.urgent, self._half_closed)


def _crossed(up: Flow, down: Flow) -> int:
    """Grows with everything that is received or sent."""
    return up.taken + up.given + down.taken + down.given


def _error_of(side: Side) -> int:
    """Why a connection is broken."""
    return side.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or ECONNRESET
