# SPDX-License-Identifier: MIT
"""
Questions to a name server over TCP (RFC 7766) and TLS (RFC 7858), several on one connection.

A connection that fails tells everybody who waits on it, whatever it failed of: a refused certificate ends it before the
connection was ever of use. Each question has its own time, in which connecting and the handshake are.
"""

from __future__ import annotations

from collections import Counter
from typing import Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IProtocol
from twisted.internet.protocol import Factory, connectionDone
from twisted.names import dns
from twisted.python.failure import Failure

from miredo.address.endpoint import Dice
from miredo.dns64.cache import Key
from miredo.dns64.deadlines import Deadline, Deadlines
from miredo.dns64.drops import Drop
from miredo.dns64.framing import MessageStream
from miredo.dns64.query import Query
from miredo.dns64.sockets import Sockets
from miredo.wire.reader import MalformedPacket

T = TypeVar("T")


class Gone(Exception):
    """The connection ended; the text says of what."""


class Shared(Generic[T]):
    """One outcome for several who wait, of whom each may stop waiting."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[T]] = []

    def wait(self) -> Deferred[T]:
        """One more."""
        waiting: Deferred[T] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def succeed(self, outcome: T) -> None:
        """Tell them all."""
        while self._waiting:
            self._waiting.pop(0).callback(outcome)

    def fail(self, reason: Failure | Exception) -> None:
        """Tell them all that it failed."""
        while self._waiting:
            self._waiting.pop(0).errback(reason)


class StreamConnection(MessageStream):
    """
    A connection to a name server.

    @ivar received: how many messages have come.
    """

    def __init__(self, stream: Stream, drops: Counter[Drop]) -> None:
        super().__init__()
        self.received = 0
        self._stream = stream
        self._drops = drops
        self._pending: dict[int, tuple[Query, Deferred[dns.Message]]] = {}
        self._ended: str | None = None

    def is_free(self, identifier: int) -> bool:
        """Whether no question has this identifier."""
        return identifier not in self._pending

    @property
    def is_idle(self) -> bool:
        """Whether there is no question."""
        return not self._pending

    def ask(self, query: Query) -> Deferred[dns.Message]:
        """The answer; fails with L{Gone}. It may be cancelled."""
        answer: Deferred[dns.Message] = Deferred(lambda _: self._forget(query))
        if self._ended is not None:
            answer.errback(Gone(self._ended))
            return answer
        self._pending[query.identifier] = query, answer
        self.send(query.octets)
        return answer

    def message_received(self, octets: bytes) -> None:
        self.received += 1
        query, answer = self._pending.get(int.from_bytes(octets[:2], "big"), (None, None))
        if query is None or answer is None:
            self._drops[Drop.STRANGER] += 1
            return
        try:
            message = query.read(octets)
        except MalformedPacket:
            self._drops[Drop.UPSTREAM_MALFORMED] += 1
            self.abort()
            return
        if message is None:
            self._drops[Drop.STRANGER] += 1
            return
        self._forget(query)
        answer.callback(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._ended = _why(reason)
        self._stream.lost(self)
        pending, self._pending = self._pending, {}
        for _, answer in pending.values():
            answer.errback(Gone(self._ended))

    def abort(self) -> None:
        if self._ended is None:
            super().abort()

    def _forget(self, query: Query) -> None:
        del self._pending[query.identifier]
        self._stream.answered(self)


class _Factory(Factory):
    noisy = False

    def __init__(self, protocol: StreamConnection) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> StreamConnection:
        return self._protocol


class Stream:
    """
    The connection to one name server: made when it is needed, kept for the next question, and closed when none comes.

    @param tls: how TLS is done, or C{None}.
    @param idle: seconds that it is kept without a question.
    """

    def __init__(
        self,
        sockets: Sockets,
        place: tuple[str, int],
        tls: IOpenSSLClientConnectionCreator | None,
        deadlines: Deadlines,
        dice: Dice,
        drops: Counter[Drop],
        idle: float,
    ) -> None:
        self._sockets = sockets
        self._place = place
        self._tls = tls
        self._deadlines = deadlines
        self._dice = dice
        self._drops = drops
        self._idle = idle
        self._closing: Deadline | None = None
        self._connection: StreamConnection | None = None
        self._attempt: Deferred[None] | None = None
        self._connected: Shared[StreamConnection] = Shared()

    async def ask(self, key: Key, *, edns: bool = True) -> dns.Message:
        """
        Ask, a second time if a connection that was kept turns out to be none.

        @raise Gone: it cannot be connected, or ended without an answer.
        """
        if self._connection is not None:
            try:
                return await self._ask_on(self._connection, key, edns=edns)
            except Gone:
                self._connection = None
        return await self._ask_on(await self._connect(), key, edns=edns)

    def close(self) -> None:
        """End the connection, and the attempt to make one."""
        self._give_up()
        if self._connection is not None:
            self._connection.abort()

    def answered(self, connection: StreamConnection) -> None:
        """A question is done with."""
        if connection is self._connection and connection.is_idle and self._closing is None:
            self._closing = self._deadlines.after(self._idle, connection.abort)

    def lost(self, connection: StreamConnection) -> None:
        """The connection has ended."""
        if connection is self._connection:
            self._connection = None
            self._keep()

    async def _ask_on(self, connection: StreamConnection, key: Key, *, edns: bool) -> dns.Message:
        self._keep()
        query = Query(key, self._dice, mix_case=False, edns=edns)
        while not connection.is_free(query.identifier):
            query = Query(key, self._dice, mix_case=False, edns=edns)
        before = connection.received
        try:
            return await connection.ask(query)
        except CancelledError:
            if connection.received == before:
                connection.abort()  # nobody is there, or the handshake does not come to an end
            raise

    async def _connect(self) -> StreamConnection:
        if self._attempt is None:
            connecting = self._sockets.connect_tcp(
                _Factory(StreamConnection(self, self._drops)), self._place, self._tls
            )
            self._attempt = connecting.addCallbacks(self._made, self._failed)
        try:
            return await self._connected.wait()
        except CancelledError:
            if not self._connected.is_awaited:
                self._give_up()
            raise

    def _give_up(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()

    def _made(self, connection: IProtocol) -> None:
        assert isinstance(connection, StreamConnection)
        self._attempt, self._connection = None, connection
        self._connected.succeed(connection)

    def _failed(self, reason: Failure) -> None:
        self._attempt = None
        self._connected.fail(Gone(_why(reason)))

    def _keep(self) -> None:
        if self._closing is not None:
            self._closing.take_back()
            self._closing = None


def _why(reason: Failure) -> str:
    """One line of a failure."""
    if isinstance(reason.value, (ConnectionDone, ConnectionLost)):
        return "the connection was closed"
    return f"{type(reason.value).__name__}: {reason.getErrorMessage()}"
