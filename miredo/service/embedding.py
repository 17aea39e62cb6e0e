# SPDX-License-Identifier: MIT
"""A Teredo client inside a program: an IPv6 address and packets, without a tunnel interface and without privileges.

L{TeredoClient} is all that a program needs; doc/library.md shows how it is used.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv6Address
from typing import NamedTuple

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort, IReactorFDSet, IReactorSocket, IUDPTransport
from twisted.logger import Logger
from zope.interface import implementer

from miredo.address.endpoint import IPv4, IPv6, ipv4_of, parse_ipv4, port_of, show_endpoint, show_ipv4
from miredo.address.scope import FORBIDDEN_IPV4, IPv4Scope
from miredo.config import next_ipv4
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.interfaces import IClock, IEndpoints, IICMPv6, INetwork, ITunnel
from miredo.service.announcements import IAnnouncements
from miredo.service.protocols import Address, TeredoClientProtocol
from miredo.teredo.actions import (
    Action,
    NatObserved,
    Qualified,
    RefreshDetermined,
    SecretExpiring,
    ServerRelays,
    ServerSilent,
    Unqualified,
)
from miredo.teredo.client import Client
from miredo.teredo.constants import TUNNEL_MTU
from miredo.teredo.drops import Drops
from miredo.teredo.qualification import Server
from miredo.teredo.security import Credential
from miredo.wire.icmpv6 import OtherICMPv6, emit_icmpv6
from miredo.wire.ipv6 import is_ipv6

ERROR_HOP_LIMIT = 64
"""Of the ICMPv6 errors that the program gets; as Linux sends them."""

_PORT_LIMIT = 0x10000

_log = Logger(namespace="miredo")
_logging_failures = _log.failureHandler("what the program does with news of its Teredo client failed")


def _ignore(_: object) -> None:
    """What a program does with what it has not asked for."""


class Connectivity(NamedTuple):
    """What a qualified client has.

    @ivar address: its Teredo address: the source of every packet that it sends.
    @ivar mapped: its UDP port as the IPv4 Internet sees it, a dotted quad and a number.
    @ivar mtu: bytes of the longest packet that it may send; 1280 unless the server says more.
    """

    address: IPv6Address
    mapped: tuple[str, int]
    mtu: int


class TeredoClient:
    """A Teredo client for a program on Twisted; of the system it needs a UDP port, and no privilege.

    It goes on until it is stopped: a silent server is asked again and again, a changed mapping makes another address.
    What the program has given to be called is called from the reactor or, with an error about its packet, inside
    L{send}; never after L{stop}. It may call anything here, and what it raises is logged.

    @ivar connectivity: what the client has; C{None} while it is not qualified.
    @ivar drops: packets that were dropped since the start, by reason; a wrong source address is one.
    """

    def __init__(
        self,
        server: str,
        *,
        deliver: Callable[[bytes], object] = _ignore,
        qualified: Callable[[Connectivity], object] = _ignore,
        lost: Callable[[str], object] = _ignore,
        second_server: str | None = None,
        credential: Credential | None = None,
        allow: Iterable[str] = (),
        address: str | None = None,
        port: int = 0,
        reactor: object = None,
        endpoints: IEndpoints | None = None,
        clock: IClock | None = None,
    ) -> None:
        """
        @param server: a Teredo server's IPv4 address; names are not looked up.
        @param deliver: gets each IPv6 packet for the program. There is no kernel in between: an echo
            request is answered by the program or not at all.
        @param qualified: is told of the first address and of each later one.
        @param lost: is told that the address is no longer to be used, and why.
        @param second_server: the server's second address; by default C{server} plus one.
        @param credential: what is shared with the server, for secure qualification (RFC 4380 5.2.2).
        @param allow: IPv4 ranges such as C{10.0.0.0/8} that a private Teredo uses and the Internet's does not.
        @param address: the IPv4 address to send from; by default the system chooses.
        @param port: the UDP port to send from; 0 draws one.
        @param reactor: any that reads descriptors; by default the one that C{twisted.internet.reactor} is.
        @param endpoints: opens the port, in place of the reactor: in another network namespace, or in memory.
        @param clock: in place of the reactor's.
        @raise ValueError: an argument cannot be used; the text says which and why.
        @raise TypeError: the reactor cannot be used; the text says what it lacks.
        """
        self.drops = Drops()
        self._deliver, self._told_qualified, self._told_lost = deliver, qualified, lost
        self._scope = _scope(allow)
        self._server = _server(server, second_server, self._scope)
        self._credential = credential
        self._place = show_ipv4(bytes(4) if address is None else _parsed("address", address)), _checked_port(port)
        self._endpoints = endpoints or KernelEndpoints(None, _usable(reactor))
        self._clock = clock or BoottimeClock(_usable(reactor))
        self._running: _Running | None = None
        self._waiting: Deferred[Connectivity] | None = None
        self._closed: Deferred[None] = succeed(None)

    @property
    def connectivity(self) -> Connectivity | None:
        return None if self._running is None else self._running.program.connectivity

    def start(self) -> Deferred[Connectivity]:
        """Open the port and ask the server for an address.

        To cancel the result, as its C{addTimeout} does, ends the waiting and not the client.

        @return: fires with the first address, after C{qualified} was told of it. Fails with C{OSError} if the port
            cannot be had, C{CancelledError} if the client is stopped before, C{RuntimeError} if it is running already.
        """
        if self._running is not None:
            return fail(RuntimeError("this Teredo client is running"))
        try:
            self._running = self._open()
        except OSError as error:
            return fail(error)
        self._waiting = waiting = Deferred[Connectivity]()
        self._running.protocol.begin()
        return waiting

    def send(self, packet: bytes) -> None:
        """Send an IPv6 packet whose source is the client's address.

        An ICMPv6 error about it is delivered like any other packet; so is the client's own, from and to the source of
        the packet, when its destination cannot be reached or the client is not qualified.

        @raise ValueError: C{packet} is not one whole IPv6 packet, or too long.
        @raise RuntimeError: the client is not running.
        """
        if self._running is None:
            raise RuntimeError("this Teredo client is not running")
        if not is_ipv6(packet):
            raise ValueError("not one whole IPv6 packet")
        connectivity = self.connectivity
        mtu = TUNNEL_MTU if connectivity is None else connectivity.mtu
        if len(packet) > mtu:
            raise ValueError(f"a packet of {len(packet)} bytes; {mtu} is the most")
        self._running.protocol.packetReceived(packet)

    def stop(self) -> Deferred[None]:
        """Give back everything; L{start} may be called again after that. Twice is once.

        @return: fires when the port is closed.
        """
        running, self._running = self._running, None
        waiting, self._waiting = self._waiting, None
        if running is not None:
            running.open.close()
            self._closed = maybeDeferred(IListeningPort(running.port).stopListening).addCallback(_ignore)
        stopped: Deferred[None] = Deferred()
        self._closed.addCallback(lambda _: stopped.callback(None))
        if waiting is not None:
            waiting.errback(CancelledError())
        return stopped

    def _open(self) -> _Running:
        """
        @raise OSError: something cannot be had; all that was opened is closed again.
        """
        with ExitStack() as opened:
            network = self._endpoints.network()
            opened.callback(network.close)
            core = Client([self._server], self._scope, os.urandom, credential=self._credential)
            self.drops = core.drops
            program = _Program(self._deliver, self._has, self._told_lost)
            protocol = _EmbeddedProtocol(core, self._clock, program)
            opened.callback(protocol.end)
            opened.callback(program.close)
            _Whereabouts(network, self._scope, protocol.restart)
            port = self._endpoints.listen_udp(protocol, *self._place)
            return _Running(program, protocol, port, opened.pop_all())

    def _has(self, connectivity: Connectivity) -> None:
        with _logging_failures:
            self._told_qualified(connectivity)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(connectivity)


@implementer(ITunnel, IICMPv6, IAnnouncements)
class _Program:
    """The host as the core sees it, where the host is a program: news for it wait until L{tell}.

    So the program may stop the client, or send, whatever it is told: the core has been obeyed by then.
    """

    name, index = "", 0  # no interface of the system's

    def __init__(
        self,
        deliver: Callable[[bytes], object],
        qualified: Callable[[Connectivity], object],
        lost: Callable[[str], object],
    ) -> None:
        self.connectivity: Connectivity | None = None
        self._deliver = deliver
        self._qualified = qualified
        self._lost = lost
        self._news: deque[Callable[[], object]] = deque()
        self._open = True
        self._telling = False

    def tell(self) -> None:
        """Tell the news, unless that is under way."""
        if self._telling:
            return
        self._telling = True
        while self._news:
            with _logging_failures:
                self._news.popleft()()
        self._telling = False

    def _keep(self, news: Callable[[], object]) -> bool:
        if self._open:
            self._news.append(news)
        return self._open

    # ------------------------------------------------------------ as a tunnel, and a sender of ICMPv6

    def start(self, receive: Callable[[bytes], None]) -> None:
        """Nothing is to be read: L{TeredoClient.send} knows the protocol."""

    def write(self, packet: bytes) -> bool:
        return self._keep(partial(self._deliver, packet))

    def send(self, message: bytes, destination: IPv6) -> bool:
        """An error about a packet of the program, from this host to itself."""
        error = OtherICMPv6(message[0], message[1], message[4:])
        return self.write(emit_icmpv6(destination, destination, error, ERROR_HOP_LIMIT))

    def close(self) -> None:
        self._open = False
        self._news.clear()

    # ------------------------------------------------------------ as one who hears announcements

    def qualified(self, event: Qualified) -> None:
        mapped = show_ipv4(ipv4_of(event.mapped)), port_of(event.mapped)
        self.connectivity = Connectivity(IPv6Address(event.address), mapped, event.mtu)
        self._keep(partial(self._qualified, self.connectivity))

    def unqualified(self, event: Unqualified) -> None:
        self.connectivity = None
        self._keep(partial(self._lost, event.reason))

    def server_silent(self, event: ServerSilent) -> None:
        _log.warn("No reply from Teredo server ({server})", server=show_endpoint(event.server))

    def secret_expiring(self, event: SecretExpiring) -> None:
        _log.warn("the server {server} says that our secret is to be replaced", server=show_endpoint(event.server))

    def server_relays(self, event: ServerRelays) -> None:
        _log.info("the server {server} is also the relay (RFC 6169 6.1.2)", server=show_endpoint(event.server))

    def nat_observed(self, event: NatObserved, local_port: int) -> None:
        _log.debug("NAT: mapping {mapping}", mapping=event.mapping.value)

    def refresh_determined(self, event: RefreshDetermined) -> None:
        _log.debug("the refresh interval is {interval:g} s", interval=event.interval)


class _EmbeddedProtocol(TeredoClientProtocol):
    """A client whose host is a program."""

    def __init__(self, core: Client, clock: IClock, program: _Program) -> None:
        super().__init__("client", core, clock, program, program, program)
        self._program = program
        self._ended = False

    def end(self) -> None:
        super().end()
        self._ended = True

    def datagramReceived(self, datagram: bytes, address: Address) -> None:
        if not self._ended:  # a port reads on for a moment when it is closed while it reads
            super().datagramReceived(datagram, address)
            self._program.tell()

    def _obey(self, actions: list[Action]) -> None:
        super()._obey(actions)
        self._program.tell()


class _Whereabouts:
    """Notices when the IPv4 addresses of this host, or its ways to the IPv4 Internet, change.

    @param scope: is told of the host's own addresses and broadcasts.
    @param changed: is called after they have become others.
    """

    def __init__(self, network: INetwork, scope: IPv4Scope, changed: Callable[[], None]) -> None:
        self._network = network
        self._scope = scope
        self._changed = changed
        self._own, self._ways_out = self._look()
        network.watch(self._look_again)

    def _look(self) -> tuple[list[IPv4], list[tuple[int, IPv4, int]]]:
        own = sorted({address for address, _ in self._network.ipv4_addresses()})
        self._scope.attached(own, self._network.broadcasts())
        return own, self._network.ways_out()

    def _look_again(self) -> None:
        before = self._own, self._ways_out
        self._own, self._ways_out = self._look()
        if (self._own, self._ways_out) != before:
            self._changed()


class _Running(NamedTuple):
    """What a client has open; C{open} closes all but the port."""

    program: _Program
    protocol: _EmbeddedProtocol
    port: IUDPTransport
    open: ExitStack


# ---------------------------------------------------------------- arguments


def _scope(allow: Iterable[str]) -> IPv4Scope:
    if isinstance(allow, str):
        raise ValueError(f"allow: {allow!r} is one text; ranges are expected, such as ({allow!r},)")
    try:
        return IPv4Scope(allow)
    except ValueError as error:
        raise ValueError(f"allow: {error}") from error


def _server(first: str, second: str | None, scope: IPv4Scope) -> Server:
    primary = _usable_ipv4("server", _parsed("server", first), scope)
    secondary = next_ipv4(primary) if second is None else _parsed("second_server", second)
    if primary == secondary:
        raise ValueError("second_server: a server has two addresses, and these are the same")
    return Server(primary, _usable_ipv4("second_server", secondary, scope))


def _parsed(argument: str, text: str) -> IPv4:
    try:
        return parse_ipv4(text)
    except ValueError as error:
        raise ValueError(f"{argument}: {error}; names are not looked up here") from error


def _usable_ipv4(argument: str, address: IPv4, scope: IPv4Scope) -> IPv4:
    """C{address}, if Teredo may send there (RFC 4380 5.2.4)."""
    if scope.permits(address):
        return address
    row = next(row for row in FORBIDDEN_IPV4 if row.first <= address <= row.last)
    block = f"{show_ipv4(row.first)}/{row.length}"
    cure = "" if row.lasting else f'; a private Teredo says allow=("{block}",)'
    raise ValueError(
        f"{argument}: {show_ipv4(address)} is in {block} ({row.name}, {row.source}), which Teredo does not use{cure}"
    )


def _checked_port(port: int) -> int:
    if not 0 <= port < _PORT_LIMIT:
        raise ValueError(f"port: {port} is not a UDP port")
    return port


def _usable(reactor: object) -> IReactorFDSet:
    if reactor is None:
        from twisted.internet import reactor as installed

        reactor = installed
    missing = [each.__name__ for each in (IReactorFDSet, IReactorSocket) if not each.providedBy(reactor)]
    if missing:
        raise TypeError(
            f"reactor: {type(reactor).__name__} does not provide {' and '.join(missing)}; a Teredo client needs one "
            "that reads descriptors, as Twisted's epoll, poll, select and asyncio reactors do"
        )
    return IReactorFDSet(reactor)
