# SPDX-License-Identifier: MIT
"""The public face of the Teredo roles: Twisted C{DatagramProtocol}s.

Each runs on any UDP transport, C{reactor.listenUDP} included. It feeds its core, obeys the core's actions and arms one
alarm; whatever decides is in L{miredo.teredo}. Call C{begin} once the port is up and C{end} before it goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from twisted.internet.error import MessageLengthError
from twisted.internet.protocol import DatagramProtocol

from miredo.address.endpoint import Endpoint, endpoint, ipv4_of, parse_ipv4, port_of, show_ipv4
from miredo.kernel.interfaces import IClock, IICMPv6, IRawIPv6, ITunnel
from miredo.service.announcements import IAnnouncements
from miredo.service.surroundings import Did, Observer, Sent, Took
from miredo.teredo.actions import (
    Action,
    AllLost,
    Announcement,
    DeliverPacket,
    ForwardPacket,
    NatObserved,
    PeerLost,
    PeerTrusted,
    Qualified,
    SecretExpiring,
    SendDatagram,
    SendError,
    ServerSilent,
    Unqualified,
)
from miredo.teredo.client import Client
from miredo.teredo.relay import Relay
from miredo.teredo.server import Server

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
    """

    noisy = False  # the roles say themselves that they have started

    def __init__(self, role: str, clock: IClock, observer: Observer | None = None) -> None:
        self.role = role
        self.refused: Counter[str] = Counter()
        self._clock = clock
        self._observer = observer

    def _send(self, datagram: bytes, to: Endpoint) -> None:
        if self.transport is None:
            return
        try:
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
                case SendDatagram(payload, to):
                    self._send(payload, to)
                case DeliverPacket(packet):
                    self._deliver(packet)
                case SendError(message, destination):
                    if not self._icmpv6.send(message, destination):
                        self.refused["error"] += 1
                case PeerTrusted() | PeerLost() | AllLost():
                    pass  # for the fast path, and the observer
                case Qualified() | Unqualified() | ServerSilent() | SecretExpiring() | NatObserved():
                    self._announce(action)
                case ForwardPacket():
                    raise AssertionError("only a server forwards")
        self._alarm.arm(self.core.deadline)

    def _tell(self, observer: Observer, action: Action) -> None:
        at = self._clock.now()
        if isinstance(action, SendDatagram):
            observer(Sent(self.role, at, action.payload, action.to))
        else:
            observer(Did(self.role, at, action))

    def _announce(self, action: Announcement) -> None:
        """Only a client has anything to announce."""
        raise AssertionError(f"{self.role}: {action}")


class TeredoClientProtocol(TunnelProtocol):
    """A Teredo client (RFC 4380 5.2).

    @param announcements: is told of the address that the client gets and loses.
    @ivar news: is given every announcement too, and must not call back.
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
        self._announcements = announcements

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
            case NatObserved():
                self._announcements.nat_observed(action, self._local_port())

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
        for action in self.core.receive(datagram, _packed(address), self._via):
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
