# SPDX-License-Identifier: MIT
"""
The server: clients are answered over UDP and TCP by the rules, from what the name servers say.

On a machine with several addresses C{listen} should name them: what is answered from a wildcard leaves with the
address that the kernel chooses.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Sequence

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IConsumer, IListeningPort, IPushProducer
from twisted.internet.protocol import DatagramProtocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.address.endpoint import Dice
from miredo.dns64.cache import Key
from miredo.dns64.config import Dns64Config, NameServer
from miredo.dns64.deadlines import Deadline, Deadlines
from miredo.dns64.drops import Drop
from miredo.dns64.forwarding import Forwarder, Server
from miredo.dns64.framing import MessageStream
from miredo.dns64.local import LocalNames
from miredo.dns64.reply import Reply
from miredo.dns64.requests import Refusal, Request, emit_reply, read_request
from miredo.dns64.resolution import Rules
from miredo.dns64.sockets import Sockets
from miredo.dns64.streams import Stream
from miredo.dns64.tls import verified_as
from miredo.kernel.interfaces import IClock, IEndpoints

FILE_LIMIT = 1 << 24
"""Bytes of hosts(5) and of the authorities that are read. Ours."""
PIPELINE = 16
"""Questions of one connection that are under way before no more are read (RFC 7766 6.2.1.1). Ours."""

_log = Logger(namespace="miredo")


class Responder:
    """
    Turns what a client sent into what it is sent.

    @ivar drops: what was not answered, or with an error, and what was not believed.
    @ivar replies: how many answers of each response code went out.
    """

    def __init__(self, config: Dns64Config, rules: Rules, forwarder: Forwarder, drops: Counter[Drop]) -> None:
        self.drops = drops
        self.replies: Counter[int] = Counter()
        self.rules = rules
        self._config = config
        self._forwarder = forwarder
        self._under_way: set[Deferred[bytes | None]] = set()

    def respond(self, octets: bytes, address: str, *, stream: bool) -> Deferred[bytes | None]:
        """What is to be sent, or C{None}; it does not fail. It may be cancelled."""
        request = read_request(octets, client_address(address), self._config.clients, stream=stream)
        response: Deferred[bytes | None] = Deferred()
        if isinstance(request, Refusal):
            self.drops[request.reason] += 1
            response.callback(request.answer)
        elif len(self._under_way) >= self._config.questions:
            self.drops[Drop.BUSY] += 1
            response.callback(None)
        else:
            response = Deferred.fromCoroutine(self._resolve(request))
            self._under_way.add(response)
            response.addBoth(self._done, response)
        return response

    def close(self) -> None:
        """Answer nobody any more."""
        for response in tuple(self._under_way):
            response.cancel()

    async def _resolve(self, request: Request) -> bytes:
        asked = request.asked
        resolution = self.rules.resolve(asked)
        try:
            ask = next(resolution)
            while True:
                key = Key(ask.name.lower(), ask.kind, ask.cls, asked.dnssec_ok, asked.checking_disabled)
                ask = resolution.send(await self._forwarder.ask(key))
        except StopIteration as end:
            found: Reply = end.value
        self.replies[found.code] += 1
        return emit_reply(request, found)

    def _done(self, outcome: bytes | Failure | None, response: Deferred[bytes | None]) -> bytes | None:
        self._under_way.discard(response)
        if isinstance(outcome, Failure):
            if not isinstance(outcome.value, CancelledError):
                _log.failure("dns64: a question was not answered", failure=outcome)
            return None
        return outcome


class Dns64DatagramProtocol(DatagramProtocol):
    """Answers over UDP."""

    noisy = False

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self._responder.respond(datagram, addr[0], stream=False).addCallback(self._send, addr)

    def _send(self, answer: bytes | None, addr: tuple[str, int]) -> None:
        if answer is None or self.transport is None:
            return
        try:
            self.transport.write(answer, addr)
        except OSError:
            self._responder.drops[Drop.UNSENT] += 1


@implementer(IPushProducer)
class Dns64Protocol(MessageStream):
    """Answers over TCP, several questions of a connection at a time (RFC 7766)."""

    def __init__(self, factory: Dns64Factory, address: str) -> None:
        super().__init__()
        self._factory = factory
        self._address = address
        self._under_way: set[Deferred[None]] = set()
        self._full = False
        self._idle: Deadline | None = None

    def connectionMade(self) -> None:
        self._factory.made(self)
        IConsumer(self.transport).registerProducer(self, True)
        self._wait()

    def message_received(self, octets: bytes) -> None:
        response = self._factory.responder.respond(octets, self._address, stream=True)
        answering = response.addCallback(self._send)
        if not answering.called:
            self._under_way.add(answering)
            answering.addBoth(self._answered, answering)
        self._regulate()
        self._wait()

    def pauseProducing(self) -> None:
        """The client does not take its answers."""
        self._full = True
        self._regulate()

    def resumeProducing(self) -> None:
        """It does."""
        self._full = False
        self._regulate()

    def stopProducing(self) -> None:
        """The connection has ended."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._idle is not None:
            self._idle.take_back()
        self._factory.lost(self)
        for answering in tuple(self._under_way):
            answering.cancel()

    def _send(self, answer: bytes | None) -> None:
        if answer is None:
            self.abort()
        else:
            self.send(answer)

    def _answered(self, outcome: object, answering: Deferred[None]) -> None:
        self._under_way.discard(answering)
        self._regulate()
        self._wait()

    def _regulate(self) -> None:
        """Read on, or not."""
        self.hold(back=self._full or len(self._under_way) >= PIPELINE)

    def _wait(self) -> None:
        """Nothing may happen for so long."""
        if self._idle is not None:
            self._idle.take_back()
        self._idle = self._factory.deadlines.after(self._factory.idle, self.abort)


class Dns64Factory(ServerFactory):
    """
    Takes TCP connections, as many as are allowed.

    @ivar idle: seconds after which a connection on which nothing happens is ended (RFC 7766 6.2.3).
    """

    noisy = False

    def __init__(self, responder: Responder, deadlines: Deadlines, limit: int, idle: float) -> None:
        self.responder = responder
        self.deadlines = deadlines
        self.idle = idle
        self._limit = limit
        self._connections: set[Dns64Protocol] = set()

    def buildProtocol(self, addr: IAddress | None) -> Dns64Protocol | None:
        if len(self._connections) >= self._limit:
            self.responder.drops[Drop.CONNECTIONS] += 1
            return None
        return Dns64Protocol(self, _place(addr)[0])

    def made(self, connection: Dns64Protocol) -> None:
        """One more."""
        self._connections.add(connection)

    def lost(self, connection: Dns64Protocol) -> None:
        """One less."""
        self._connections.discard(connection)

    def close(self) -> None:
        """End them all."""
        for connection in tuple(self._connections):
            connection.abort()


class Dns64Server:
    """
    A DNS64 from its sockets to its rules.

    @param reactor: opens what C{endpoints} does not (L{Sockets}).
    """

    def __init__(self, config: Dns64Config, endpoints: IEndpoints, reactor: object, clock: IClock, dice: Dice) -> None:
        self.drops: Counter[Drop] = Counter()
        self._config = config
        self._endpoints = endpoints
        self._sockets = Sockets(endpoints, reactor)
        self._deadlines = Deadlines(clock)
        self._dice = dice
        servers = [self._server(each) for each in config.name_servers]
        self.forwarder = Forwarder(config, servers, self._deadlines, clock.now, dice, self.drops)
        self.responder = Responder(config, self._rules(), self.forwarder, self.drops)
        self._factory = Dns64Factory(self.responder, self._deadlines, config.connections, config.stream_idle)
        self._ports: list[object] = []

    def open(self) -> None:
        """
        Begin to answer, everywhere or nowhere.

        @raise OSError: an address cannot be listened at; L{close} is to be called all the same.
        """
        for place in self._config.listen:
            protocol = Dns64DatagramProtocol(self.responder)
            udp = self._sockets.listen_udp(protocol, place.address, place.port)
            self._ports.append(udp)
            port = _place(udp.getHost())[1]
            self._ports.append(self._sockets.listen_tcp(self._factory, place.address, port))

    @property
    def ports(self) -> Sequence[int]:
        """Where it listens, over UDP and TCP alike, in the order of C{listen}."""
        return [_place(IListeningPort(each).getHost())[1] for each in self._ports[::2]]

    def read_hosts(self) -> None:
        """
        Read hosts(5) anew.

        @raise OSError: it cannot be read; what it said before goes on to hold.
        """
        self.responder.rules = self._rules()

    async def close(self) -> None:
        """Answer nobody any more, and leave nothing behind."""
        ports, self._ports = self._ports, []
        for port in ports:
            await maybeDeferred(IListeningPort(port).stopListening)
        self._factory.close()
        self.responder.close()
        self.forwarder.close()
        self._deadlines.close()

    def _rules(self) -> Rules:
        path = self._config.hosts
        text = "" if path is None else self._endpoints.read_file(path, FILE_LIMIT).decode("latin-1")
        return Rules(self._config, LocalNames(text))

    def _server(self, server: NameServer) -> Server:
        path, tls = self._config.authorities, None
        if server.tls_name is not None:
            authorities = None if path is None else self._endpoints.read_file(path, FILE_LIMIT)
            tls = verified_as(server.tls_name, authorities)
        stream = Stream(
            self._sockets, server.place, tls, self._deadlines, self._dice, self.drops, self._config.stream_idle
        )
        return Server(server, stream, self._config, self._sockets, self._deadlines)


def _place(address: object) -> tuple[str, int]:
    assert isinstance(address, (IPv4Address, IPv6Address))
    return address.host, address.port


def client_address(text: str) -> bytes:
    """An address that Twisted tells, without its zone; what is IPv4-mapped is IPv4 (RFC 4291 2.5.5.2)."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.packed
    return address.packed
