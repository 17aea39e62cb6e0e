# SPDX-License-Identifier: MIT
"""The public face of the Teredo roles: Twisted C{DatagramProtocol}s.

Each runs on any UDP transport, C{reactor.listenUDP} included. It feeds its core, obeys the core's actions and arms one
alarm; whatever decides is in L{miredo.teredo}. Call C{begin} once the port is up and C{end} before it goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.protocol import DatagramProtocol

from miredo.address.endpoint import Endpoint, endpoint, ipv4_of, parse_ipv4, port_of, show_ipv4
from miredo.address.teredo import DISCOVERY_GROUP
from miredo.kernel.interfaces import IClock, IGroup, IICMPv6, IRawIPv6, ITunnel
from miredo.kernel.sockets import write_with_dscp, write_with_ttl
from miredo.service.announcements import IAnnouncements
from miredo.service.surroundings import Did, Observer, Sent, Took
from miredo.teredo.actions import (
    PRIMARY,
    Action,
    AllLost,
    Announcement,
    ClosePort,
    DeliverPacket,
    ForwardPacket,
    NatObserved,
    OpenPort,
    PeerLost,
    PeerTrusted,
    Qualified,
    RefreshDetermined,
    SecretExpiring,
    SendDatagram,
    SendError,
    SendToGroup,
    ServerRelays,
    ServerSilent,
    Unqualified,
)
from miredo.teredo.client import Client
from miredo.teredo.discovery import Subnet
from miredo.teredo.relay import Relay
from miredo.teredo.server import Server
from miredo.wire.ipv6 import dscp_of

Address = tuple[str, int]
"""A UDP endpoint as sockets and Twisted have it."""


@lru_cache(maxsize=65536)
def _packed(address: Address) -> Endpoint:
    return endpoint(parse_ipv4(address[0]), address[1])


@lru_cache(maxsize=65536)
def _unpacked(to: Endpoint) -> Address:
    return show_ipv4(ipv4_of(to)), port_of(to)


class TeredoProtocol(DatagramProtocol):
    """What all roles have: a name for the log, counters, and sending.

    @ivar refused: packets that the system did not take, by what was to be done with them.
    @ivar copies_dscp: whether an IPv6 packet has its DSCP in the IPv4 header too (RFC 2983); the ECN field is 0 in any
        case (RFC 9601 6.1.3).
    """

    copies_dscp = False
    noisy = False  # the roles say themselves that they have started

    def __init__(self, role: str, clock: IClock, observer: Observer | None = None) -> None:
        self.role = role
        self.refused: Counter[str] = Counter()
        self._clock = clock
        self._observer = observer

    def _send(self, datagram: bytes, to: Endpoint, ttl: int | None = None) -> None:
        if self.transport is None:
            return
        try:
            if ttl is not None:
                write_with_ttl(IUDPTransport(self.transport), datagram, _unpacked(to), ttl)
            elif self.copies_dscp and (dscp := dscp_of(datagram)):
                write_with_dscp(IUDPTransport(self.transport), datagram, _unpacked(to), dscp)
            else:
                self.transport.write(datagram, _unpacked(to))
        except (OSError, MessageLengthError):
            self.refused["datagram"] += 1


class TunnelProtocol(TeredoProtocol):
    """A client or a relay: a core between a UDP port and a tunnel.

    @param tunnel: gets the packets for the host.
    @param icmpv6: sends the errors about packets of the host.
    """

    def __init__(
        self,
        role: str,
        core: Client | Relay,
        clock: IClock,
        tunnel: ITunnel,
        icmpv6: IICMPv6,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(role, clock, observer)
        self.core = core
        self._tunnel = tunnel
        self._icmpv6 = icmpv6
        self._resting = False
        self._alarm = clock.alarm(self._expire)
        self._take_back_wish = clock.resumed(self._resumed)

    # ------------------------------------------------------------ life

    def begin(self) -> None:
        """The port and the tunnel are up: start the core."""
        self._tunnel.start(self.packetReceived)
        self.restart()

    def restart(self) -> None:
        """An address or a way out changed, or a server is known now: what depends on it is asked anew."""
        if not self._resting:
            self._obey(self.core.start(self._clock.now()))

    def rest(self, resting: bool) -> None:
        """Do without Teredo for the time being, or begin anew."""
        if resting != self._resting:
            self._resting = resting
            self._obey((self.core.stop if resting else self.core.start)(self._clock.now()))

    def end(self) -> None:
        """Stop the core; the tunnel and the port are their owner's to close."""
        self._obey(self.core.stop(self._clock.now()))
        self._alarm.cancel()
        self._take_back_wish()

    def _resumed(self) -> None:
        if not self._resting:
            self._obey(self.core.resumed(self._clock.now()))

    def _expire(self) -> None:
        self._obey(self.core.expire(self._clock.now()))

    # ------------------------------------------------------------ packets

    def datagramReceived(self, datagram: bytes, address: Address) -> None:
        outer, now = _packed(address), self._clock.now()
        if self.core.passes(datagram, outer, now):
            if self._observer is not None:
                self._tell(self._observer, DeliverPacket(datagram))
            self._deliver(datagram)
        else:
            self._obey(self.core.receive(datagram, outer, now))

    def packetReceived(self, packet: bytes) -> None:
        """The host sent a packet into the tunnel."""
        now = self._clock.now()
        if self._observer is not None:
            self._observer(Took(self.role, now, packet))
        self._obey(self.core.transmit(packet, now))

    def _deliver(self, packet: bytes) -> None:
        if not self._tunnel.write(packet):
            self.refused["packet"] += 1

    # ------------------------------------------------------------ actions

    def _obey(self, actions: list[Action]) -> None:
        for action in actions:
            if self._observer is not None:
                self._tell(self._observer, action)
            match action:
                case SendDatagram(payload, to, via, ttl) if via == PRIMARY:
                    self._send(payload, to, ttl)
                case SendDatagram() | OpenPort() | ClosePort():
                    self._use_other_port(action)
                case SendToGroup(payload):
                    self._send_to_group(payload)
                case DeliverPacket(packet):
                    self._deliver(packet)
                case SendError(message, destination):
                    if not self._icmpv6.send(message, destination):
                        self.refused["error"] += 1
                case PeerTrusted() | PeerLost() | AllLost():
                    pass  # for the fast path, and the observer
                case (
                    Qualified()
                    | Unqualified()
                    | ServerSilent()
                    | SecretExpiring()
                    | ServerRelays()
                    | NatObserved()
                    | RefreshDetermined()
                ):
                    self._announce(action)
                case ForwardPacket():
                    raise AssertionError("only a server forwards")
        self._alarm.arm(self.core.deadline)

    def _tell(self, observer: Observer, action: Action) -> None:
        at = self._clock.now()
        if isinstance(action, SendDatagram):
            observer(Sent(self.role, at, action.payload, action.to, action.via))
        elif isinstance(action, SendToGroup):
            observer(Sent(self.role, at, action.payload, DISCOVERY_GROUP))
        else:
            observer(Did(self.role, at, action))

    def _send_to_group(self, datagram: bytes) -> None:
        """Only a client looks for neighbours."""
        raise AssertionError(f"{self.role}: {datagram.hex()}")

    def _announce(self, action: Announcement) -> None:
        """Only a client has anything to announce."""
        raise AssertionError(f"{self.role}: {action}")

    def _use_other_port(self, action: SendDatagram | OpenPort | ClosePort) -> None:
        """Only a client has other ports."""
        raise AssertionError(f"{self.role}: {action}")


class OtherPort(TeredoProtocol):
    """A client's port other than its service port, from when it is opened to when it is closed.

    @param receive: takes what comes to it.
    @param refused: counts what the system does not take.
    """

    def __init__(
        self, role: str, clock: IClock, receive: Callable[[OtherPort, bytes, Endpoint], None], refused: Counter[str]
    ) -> None:
        super().__init__(role, clock)
        self.refused = refused
        self._receive = receive

    def datagramReceived(self, datagram: bytes, address: Address) -> None:
        self._receive(self, datagram, _packed(address))


class TeredoClientProtocol(TunnelProtocol):
    """A Teredo client (RFC 4380 5.2).

    @param announcements: is told of the address that the client gets and loses.
    @ivar news: is given every announcement too, and must not call back.
    @ivar group: where other clients are looked for, if they are.
    @ivar listen: opens the other ports, where the core may ask for some.
    @ivar closed: fires when those are closed that the core has had closed; at L{end} all of them.
    """

    core: Client

    def __init__(
        self,
        role: str,
        core: Client,
        clock: IClock,
        tunnel: ITunnel,
        icmpv6: IICMPv6,
        announcements: IAnnouncements,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(role, core, clock, tunnel, icmpv6, observer)
        self.news: Callable[[Announcement], None] | None = None
        self.group: IGroup | None = None
        self.listen: Callable[[OtherPort], IUDPTransport] | None = None
        self.closed: Deferred[object] = succeed(None)
        self._others: dict[int, tuple[OtherPort, IUDPTransport]] = {}
        self._announcements = announcements

    def unreachable(self, endpoint: Endpoint) -> None:
        """An ICMP error says that nothing of ours reaches C{endpoint}."""
        self._obey(self.core.unreachable(endpoint, self._clock.now()))

    def attached(self, subnets: Sequence[Subnet]) -> None:
        """The group is joined on the links of these subnets now."""
        self._obey(self.core.attached(subnets, self._clock.now()))

    def discoveryReceived(self, datagram: bytes, address: Address) -> None:
        """A datagram came by the group."""
        self._obey(self.core.discovered(datagram, _packed(address), self._clock.now()))

    def _send_to_group(self, datagram: bytes) -> None:
        if self.group is not None and not self.group.send(datagram):
            self.refused["discovery bubble"] += 1

    def _announce(self, action: Announcement) -> None:
        if self.news is not None:
            self.news(action)
        match action:
            case Qualified():
                self._announcements.qualified(action)
            case Unqualified():
                self._announcements.unqualified(action)
            case ServerSilent():
                self._announcements.server_silent(action)
            case SecretExpiring():
                self._announcements.secret_expiring(action)
            case ServerRelays():
                self._announcements.server_relays(action)
            case NatObserved():
                self._announcements.nat_observed(action, self._local_port())
            case RefreshDetermined():
                self._announcements.refresh_determined(action)

    def _use_other_port(self, action: SendDatagram | OpenPort | ClosePort) -> None:
        match action:
            case SendDatagram(payload, to, via):
                if via in self._others:
                    self._others[via][0]._send(payload, to)
            case OpenPort(via):
                self._open(via)
            case ClosePort(via):
                if via in self._others:
                    closing = maybeDeferred(IListeningPort(self._others.pop(via)[1]).stopListening)
                    self.closed.addCallback(lambda _: closing)

    def _open(self, via: int) -> None:
        """Without a port the core has no answer through it, and does without what that would tell."""
        port = OtherPort(self.role, self._clock, self._receive_on_other, self.refused)
        try:
            if self.listen is not None:
                self._others[via] = port, self.listen(port)
        except OSError:
            self.refused["port"] += 1

    def _receive_on_other(self, port: OtherPort, datagram: bytes, outer: Endpoint) -> None:
        """What a port reads in the moment in which it is closed is for nobody."""
        for via, (opened, _) in self._others.items():
            if opened is port:
                self._obey(self.core.receive_on(via, datagram, outer, self._clock.now()))
                return

    def _local_port(self) -> int:
        """Our service port as we have it ourselves; 0 if it is closed."""
        return 0 if self.transport is None else int(self.transport.getHost().port)


class TeredoRelayProtocol(TunnelProtocol):
    """A Teredo relay (RFC 4380 5.4)."""

    core: Relay


class TeredoServerProtocol(TeredoProtocol):
    """One of the two addresses of a Teredo server (RFC 4380 5.3); L{pair} makes both.

    @param via: which address of the core this is.
    @param native: sends packets to the native IPv6 network.
    """

    def __init__(
        self, role: str, core: Server, via: int, clock: IClock, native: IRawIPv6, observer: Observer | None = None
    ) -> None:
        super().__init__(role, clock, observer)
        self.core = core
        self._via = via
        self._native = native
        self._ways: tuple[TeredoServerProtocol, ...] = (self,)

    @classmethod
    def pair(
        cls, role: str, core: Server, clock: IClock, native: IRawIPv6, observer: Observer | None = None
    ) -> tuple[TeredoServerProtocol, TeredoServerProtocol]:
        """The protocols of the primary and the secondary address, which answer for each other."""
        both = cls(role, core, 0, clock, native, observer), cls(role, core, 1, clock, native, observer)
        for protocol in both:
            protocol._ways = both
        return both

    def datagramReceived(self, datagram: bytes, address: Address) -> None:
        for action in self.core.receive(datagram, _packed(address), self._via, self._clock.now()):
            if self._observer is not None:
                self._tell(self._observer, action)
            match action:
                case SendDatagram(payload, to, via):
                    self._ways[via]._send(payload, to)
                case ForwardPacket(packet):
                    if not self._native.send(packet):
                        self.refused["native"] += 1
                case other:
                    raise AssertionError(f"a server does not ask for {other}")

    def _tell(self, observer: Observer, action: Action) -> None:
        at = self._clock.now()
        if isinstance(action, SendDatagram):
            observer(Sent(self.role, at, action.payload, action.to, action.via))
        else:
            observer(Did(self.role, at, action))
