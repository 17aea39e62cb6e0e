# SPDX-License-Identifier: MIT
"""
What the name servers say: the cache, questions that are asked once for several who want to know, and one server after
the other.

A server that failed comes last for a while. NXDOMAIN and an empty answer are answers; of other response codes the last
counts if no server has an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.names import dns
from twisted.python.failure import Failure

from miredo.address.endpoint import Dice
from miredo.dns64.cache import Cache, Key
from miredo.dns64.config import Dns64Config, NameServer
from miredo.dns64.datagrams import Miscased, ask_by_datagram
from miredo.dns64.deadlines import Deadlines, TooLate
from miredo.dns64.drops import Drop
from miredo.dns64.message import BADVERS, Message, code_of, emit_message, parse_message, question, without_edns
from miredo.dns64.query import Query
from miredo.dns64.reply import Reply
from miredo.dns64.sockets import Sockets
from miredo.dns64.streams import Gone, Shared, Stream
from miredo.wire.reader import MalformedPacket

PENANCE = 30.0
"""Seconds that a server which failed comes last. Ours."""
NO_EDNS = (dns.EFORMAT, dns.ENOTIMP, BADVERS)
"""Codes by which a server may mean that it knows nothing of EDNS (RFC 6891 7)."""

Streams = Callable[[NameServer], Stream]


class Server:
    """One name server, asked over UDP, TCP where an answer was cut short, or TLS."""

    def __init__(
        self, server: NameServer, stream: Stream, config: Dns64Config, sockets: Sockets, deadlines: Deadlines
    ) -> None:
        self.until = 0.0
        """When it has done penance."""
        self.is_secure = server.tls_name is not None
        self._place = server.place
        self._stream = stream
        self._config = config
        self._sockets = sockets
        self._deadlines = deadlines

    async def ask(self, key: Key, patience: float, dice: Dice, drops: Counter[Drop]) -> dns.Message:
        """
        Ask, and again without EDNS if that may be what it does not like.

        @raise TooLate: there was no answer.
        @raise Gone: nor a connection.
        @raise OSError: nor a way to it.
        @raise MalformedPacket: the answer contradicts itself.
        """
        message = await self._ask(key, patience, dice, drops, edns=True)
        if code_of(message) in NO_EDNS and not key.dnssec_ok:
            return await self._ask(key, patience, dice, drops, edns=False)
        return message

    def close(self) -> None:
        """Ask no more."""
        self._stream.close()

    async def _ask(self, key: Key, patience: float, dice: Dice, drops: Counter[Drop], *, edns: bool) -> dns.Message:
        if not self.is_secure:
            query = Query(key, dice, mix_case=self._config.mix_case, edns=edns)
            try:
                message = await ask_by_datagram(self._sockets, query, self._place, self._deadlines, patience, drops)
            except Miscased:
                pass
            else:
                if not message.trunc:
                    return message
        return await self._deadlines.limited(self._config.stream_patience, self._stream.ask(key, edns=edns))


class Forwarder:
    """
    Asks them.

    @ivar asked: how many questions went out to the servers, and how many were known here.
    """

    def __init__(
        self,
        config: Dns64Config,
        servers: Sequence[Server],
        deadlines: Deadlines,
        now: Callable[[], float],
        dice: Dice,
        drops: Counter[Drop],
    ) -> None:
        self.asked: Counter[str] = Counter()
        self.cache = Cache(config.cache_octets)
        self._patience = config.patience
        self._servers = list(servers)
        self._deadlines = deadlines
        self._now = now
        self._dice = dice
        self._drops = drops
        self._under_way: dict[Key, tuple[Shared[bytes], Deferred[None]]] = {}

    async def ask(self, key: Key) -> Reply:
        """What is known of it; SERVFAIL if nobody answers."""
        kept = self.cache.get(key, self._now())
        if kept is not None:
            self.asked["known"] += 1
            return reply_of(kept)
        return reply_of(parse_message(await self._shared(key)))

    def close(self) -> None:
        """Ask no more, and leave nobody waiting."""
        for _, asking in tuple(self._under_way.values()):
            asking.cancel()
        for server in self._servers:
            server.close()

    def _shared(self, key: Key) -> Deferred[bytes]:
        """RFC 5452 5: never the same question twice at a time."""
        if key in self._under_way:
            return self._under_way[key][0].wait()
        shared: Shared[bytes] = Shared()
        waiting = shared.wait()
        asking = Deferred.fromCoroutine(self._ask_in_turn(key))

        def done(outcome: bytes | Failure) -> None:
            self._under_way.pop(key, None)
            if isinstance(outcome, Failure):
                shared.fail(outcome)
            else:
                shared.succeed(outcome)

        if not asking.called:
            self._under_way[key] = shared, asking.addBoth(done)
        else:
            asking.addBoth(done)
        return waiting

    async def _ask_in_turn(self, key: Key) -> bytes:
        last = _failure(key)
        waiting = sorted(self._servers, key=lambda server: server.until > self._now())
        for number, patience in enumerate(self._patience):
            for server in tuple(waiting):
                if server.is_secure and number:
                    continue
                message = await self._ask(server, key, patience)
                if message is None:
                    continue
                if code_of(message) in (dns.OK, dns.ENAME):
                    return self._kept(key, message)
                last = message
                waiting.remove(server)
        return self._kept(key, last)

    async def _ask(self, server: Server, key: Key, patience: float) -> dns.Message | None:
        self.asked["asked"] += 1
        try:
            message = await server.ask(key, patience, self._dice, self._drops)
            if message.trunc:
                raise MalformedPacket("cut short where nothing need be")
        except MalformedPacket:
            self._drops[Drop.UPSTREAM_MALFORMED] += 1
        except (TooLate, Gone, OSError):
            pass
        else:
            server.until = 0.0
            return message
        server.until = self._now() + PENANCE
        return None

    def _kept(self, key: Key, message: dns.Message) -> bytes:
        octets = emit_message(message)
        self.cache.put(key, octets, self._now())
        return octets


def _failure(key: Key) -> dns.Message:
    """What nobody said (RFC 6147 5.1.3); it is kept for a while, too (RFC 9520 3.2)."""
    message = Message(answer=1, rCode=dns.ESERVER)
    message.queries = [question(key.name, key.kind, key.cls)]
    return message


def reply_of(message: dns.Message) -> Reply:
    """What a message of a name server says."""
    return Reply(code_of(message), message.answers, message.authority, without_edns(message.additional))
