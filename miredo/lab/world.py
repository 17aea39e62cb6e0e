# SPDX-License-Identifier: MIT
"""A Teredo Internet in memory: the cores joined by links and NATs under a clock that jumps.

The cores are the very ones that the daemons run. Between them is nothing but this file: an IPv4 core that takes a
datagram from any address to any other, a native IPv6 network in which the relay has the route to the Teredo prefix,
and a queue of what happens when. So a simulated day takes seconds, and the same seed gives the same run.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable
from random import Random
from typing import TypeVar

from miredo.address.endpoint import (
    Dice,
    Endpoint,
    IPv4,
    IPv6,
    endpoint,
    ipv4_of,
    parse_ipv4,
    parse_ipv6,
    show_endpoint,
)
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import TEREDO_PORT, is_teredo
from miredo.lab.attachments import HOME_PREFIX_LENGTH, USUAL_TTL, Home, Port, routed
from miredo.lab.fastpath import FastPathMap
from miredo.lab.ladder import EXPIRED, Step, describe
from miredo.lab.links import Link, Transmitter
from miredo.lab.nat import Nat, NatBehaviour
from miredo.lab.pings import Kernel, Ping
from miredo.teredo.actions import (
    PRIMARY,
    SECONDARY,
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
from miredo.teredo.constants import BUBBLE_TTL
from miredo.teredo.discovery import Subnet
from miredo.teredo.plain import is_plain_data
from miredo.teredo.qualification import Server as ServerAddresses
from miredo.teredo.relay import CONTACT_LIMIT, Relay
from miredo.teredo.server import Server
from miredo.wire.ipv6 import destination_of, source_of

Core = TypeVar("Core", Client, Relay, Server)

RELAY_PORT, CLIENT_PORT, OTHER_PORTS = 3545, 40000, 50000


REPORT_DELAY = 1.0
"""Seconds by which the fake fast path's reports are late, as the kernel's are."""


class World:
    """Everything that happens, in order.

    @param seed: of all dice; the same seed gives the same run.
    @param link: what lies between each IPv4 node and the core, each way.
    @param native_link: what lies along each wire of the native network, each way.
    @param bubble_ttl: of the clients' first direct bubbles.
    """

    def __init__(
        self, seed: int = 0, link: Link | None = None, bubble_ttl: int = BUBBLE_TTL, native_link: Link | None = None
    ) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.link = link or Link()
        self.native_link = native_link or Link()
        self.bubble_ttl = bubble_ttl
        self.steps: list[Step] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        self._ipv4: dict[IPv4, Port] = {}
        self._hosts: dict[IPv6, NativeHost] = {}
        self._teredo_route: RelayNode | None = None
        self._native_wires: dict[tuple[str, str], Transmitter] = {}

    def dice(self, count: int) -> bytes:
        return self.random.randbytes(count)

    def build(self, name: str, make: Callable[[Dice], Core]) -> Core:
        """The core of a node; a world that records its cores does so here."""
        del name
        return make(self.dice)

    # ------------------------------------------------------------ time

    def at(self, when: float, call: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._events, (when, self._serial, call))

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Let time pass until C{holds}, or so many seconds; whether it holds."""
        end = self.now + seconds
        while not holds():
            if not self._events or self._events[0][0] > end:
                self.now = end
                return holds()
            when, _, call = heapq.heappop(self._events)
            self.now = max(self.now, when)
            call()
        return True

    # ------------------------------------------------------------ the networks

    def claim(self, ipv4: IPv4, port: Port) -> None:
        """C{port} gets what is sent to this IPv4 address."""
        self._ipv4[ipv4] = port

    def carry(self, sender: Port, source: Endpoint, to: Endpoint, payload: bytes, ttl: int = USUAL_TTL) -> None:
        """A datagram crosses the sender's link, the core, which is one router, and the receiver's link."""
        receiver = self._ipv4.get(ipv4_of(to))
        name = receiver.name if receiver else show_endpoint(to)
        arrivals = [
            arrival
            for departure in sender.out.deliveries(self.now, len(payload), self.random.random)
            for arrival in (receiver.back.deliveries(departure, len(payload), self.random.random) if receiver else [])
        ]
        note = "" if arrivals else "lost"
        if not routed(ttl):
            arrivals, note = [], EXPIRED
        self.steps.append(Step(self.now, sender.name, name, describe(payload), note))
        for arrival in arrivals:
            self.at(arrival, lambda: receiver.arrived(source, to, payload, ttl - 1) if receiver else None)

    def route_natively(self, packet: bytes, sender: str) -> None:
        """An IPv6 packet goes through the native network: to a host, or to the relay for the Teredo prefix."""
        destination = destination_of(packet)
        host, relay = self._hosts.get(destination), self._teredo_route
        if host is not None:
            self._cross_natively(packet, sender, host.name, host.arrived)
        elif relay is not None and is_teredo(destination):
            self._cross_natively(packet, sender, relay.name, relay.transmit)

    def _cross_natively(self, packet: bytes, sender: str, receiver: str, take: Callable[[bytes], None]) -> None:
        """Over the sender's wire and the receiver's."""
        wires = [
            self._native_wires.setdefault(way, Transmitter(self.native_link)) for way in ((sender, ""), ("", receiver))
        ]
        arrivals = [
            arrival
            for departure in wires[0].deliveries(self.now, len(packet), self.random.random)
            for arrival in wires[1].deliveries(departure, len(packet), self.random.random)
        ]
        self.steps.append(Step(self.now, sender, receiver, describe(packet), "" if arrivals else "lost"))
        for arrival in arrivals:
            self.at(arrival, lambda: take(packet))

    # ------------------------------------------------------------ who is there

    def server(self, primary: str, secondary: str, name: str = "server", *, rate_limit: int = 0) -> ServerNode:
        return ServerNode(self, name, (parse_ipv4(primary), parse_ipv4(secondary)), rate_limit)

    def relay(
        self, ipv4: str, name: str = "relay", *, direct_bubbles: bool = False, contact_limit: int = CONTACT_LIMIT
    ) -> RelayNode:
        core = self.build(
            name,
            lambda dice: Relay(IPv4Scope(), dice, direct_bubbles=direct_bubbles, contact_limit=contact_limit),
        )
        self._teredo_route = RelayNode(self, name, core, endpoint(parse_ipv4(ipv4), RELAY_PORT))
        return self._teredo_route

    def host(self, address: str, name: str = "host") -> NativeHost:
        host = self._hosts[parse_ipv6(address)] = NativeHost(self, name, parse_ipv6(address))
        return host

    def client(
        self,
        external: str,
        server: ServerNode,
        behaviour: NatBehaviour | None = None,
        name: str = "client",
        *,
        longest_interval: float | None = None,
        probe_filtering: bool = False,
    ) -> ClientNode:
        """A client at the IPv4 address C{external}, or behind a NAT of its own that has it."""
        home = None if behaviour is None else self.home(external, behaviour, name)
        own = endpoint(parse_ipv4(external) if home is None else home.vacant, CLIENT_PORT)
        return ClientNode(
            self, name, own, home, server, longest_interval=longest_interval, probe_filtering=probe_filtering
        )

    def home(self, external: str, behaviour: NatBehaviour, name: str = "home", lan: Link | None = None) -> Home:
        """A NAT for several clients; with a pool, the IPv4 address C{external} is its first.

        @param lan: what joins the clients; they discover one another there.
        """
        home = Home(self, name, Nat(behaviour, parse_ipv4(external), self.dice), lan)
        for address in home.nat.addresses:
            self.claim(address, home)
        return home

    def client_in(self, home: Home, server: ServerNode, name: str) -> ClientNode:
        """A client behind that NAT, at an inside address of its own and the same port as the others."""
        return ClientNode(self, name, endpoint(home.vacant, CLIENT_PORT), home, server)

    def report_error(self, message: bytes, to: IPv6) -> None:
        """A relay's ICMPv6 error reaches the native host whose packet it is about."""
        if to in self._hosts:
            self._hosts[to].kernel.errors.append(message)


class ServerNode:
    """A server, its two addresses, and its way into the native network."""

    def __init__(self, world: World, name: str, addresses: tuple[IPv4, IPv4], rate_limit: int = 0) -> None:
        self.name = name
        self.addresses = addresses
        self.core = world.build(name, lambda _: Server(addresses, IPv4Scope(), rate_limit=rate_limit))
        self.up = True
        self._world = world
        self._port = Port(world, name, self._received)
        for address in addresses:
            world.claim(address, self._port)

    def _received(self, payload: bytes, source: Endpoint, to: Endpoint) -> None:
        if not self.up:
            return
        via = PRIMARY if ipv4_of(to) == self.addresses[PRIMARY] else SECONDARY
        for action in self.core.receive(payload, source, via, self._world.now):
            match action:
                case SendDatagram(payload, to, via):
                    self._port.send(endpoint(self.addresses[via], TEREDO_PORT), to, payload)
                case ForwardPacket(packet):
                    self._world.route_natively(packet, self.name)
                case other:
                    raise AssertionError(f"a server does not ask for {other}")


class TunnelNode(ABC):
    """What a client and a relay have in common: a core with deadlines, a service port, a tunnel, a fast path."""

    def __init__(self, world: World, name: str, core: Client | Relay, own: Endpoint, home: Home | None = None) -> None:
        self.name = name
        self.core = core
        self.fast = FastPathMap()
        self.use_fast_path = False
        self.actions: list[Action] = []
        self._world = world
        self._own = own
        self.open_ports = {PRIMARY}
        self._armed: float | None = None
        self._asleep = False
        self.port = home or Port(world, name, self._received)
        if home is not None:
            home.join(ipv4_of(own), name, self._received)
        else:
            world.claim(ipv4_of(own), self.port)

    def sends_from(self, via: int) -> Endpoint:
        """Its service port, or another one."""
        return self._own if via == PRIMARY else endpoint(ipv4_of(self._own), OTHER_PORTS + via)

    def start(self) -> None:
        self._obey(self.core.start(self._world.now))

    def stop(self) -> None:
        self._obey(self.core.stop(self._world.now))

    def suspend(self) -> None:
        """The machine sleeps until L{resume}: nothing reaches it, and no deadline is met."""
        self._asleep = True

    def resume(self) -> None:
        self._asleep = False
        self._obey(self.core.resumed(self._world.now))

    def transmit(self, packet: bytes) -> None:
        """The host sends a packet through the tunnel."""
        endpoint = self.fast.egress(destination_of(packet), self._world.now) if self.use_fast_path else None
        if endpoint is not None:
            self._report_later()
            self.port.send(self._own, endpoint, packet)
        else:
            self._obey(self.core.transmit(packet, self._world.now))

    @abstractmethod
    def delivered(self, packet: bytes) -> None:
        """A packet comes out of the tunnel."""

    @abstractmethod
    def refused(self, message: bytes, to: IPv6) -> None:
        """The core answers a packet with an ICMPv6 error."""

    @abstractmethod
    def announced(self, action: Announcement) -> None:
        """Something about the client's own address has changed or was learned."""

    def _received(self, payload: bytes, source: Endpoint, to: Endpoint) -> None:
        del to
        if self._asleep:
            return
        now = self._world.now
        if self.use_fast_path and self._fast_ingress(payload, source, now):
            self._report_later()
            self.delivered(payload)
        elif self.core.passes(payload, source, now):
            self.delivered(payload)
        else:
            self._obey(self.core.receive(payload, source, now))

    def _fast_ingress(self, payload: bytes, source: Endpoint, now: float) -> bool:
        return (
            is_plain_data(payload)
            and self.core.admits(destination_of(payload))
            and self.fast.ingress(source_of(payload), source, now)
        )

    def _report_later(self) -> None:
        if self.fast.reporting:
            return
        self.fast.reporting = True
        self._world.at(self._world.now + REPORT_DELAY, self._report)

    def _report(self) -> None:
        for address, last_rx, last_tx in self.fast.report():
            self.core.peers.seen(address, last_rx, last_tx)
        self._wake()

    def _obey(self, actions: list[Action]) -> None:
        self.actions += actions
        for action in actions:
            match action:
                case SendDatagram(payload, to, via, ttl):
                    self.port.send(self.sends_from(via), to, payload, USUAL_TTL if ttl is None else ttl)
                case SendToGroup(payload):
                    self.port.send_to_group(self._own, payload)
                case DeliverPacket(packet):
                    self.delivered(packet)
                case SendError(message, to):
                    self.refused(message, to)
                case PeerTrusted() | PeerLost() | AllLost():
                    self.fast.obey(action)
                case Qualified() | Unqualified() | ServerSilent() | SecretExpiring() | ServerRelays() | NatObserved():
                    self.announced(action)
                case RefreshDetermined():
                    self.announced(action)
                case OpenPort(via):
                    self.open_ports.add(via)
                case ClosePort(via):
                    self.open_ports.remove(via)
                case ForwardPacket():
                    raise AssertionError("only a server forwards")
        self._wake()

    def _wake(self) -> None:
        """One event for the earliest deadline; one that was moved away finds nothing to do."""
        deadline = self.core.deadline
        if deadline is None or (self._armed is not None and self._armed <= deadline):
            return
        armed = self._armed = max(deadline, self._world.now)
        self._world.at(armed, lambda: self._expire(armed))

    def _expire(self, armed: float) -> None:
        if armed != self._armed:
            return  # an earlier deadline came in its place, and has armed the next one
        self._armed = None
        if self._asleep:
            return
        deadline = self.core.deadline
        if deadline is not None and deadline <= self._world.now:
            self._obey(self.core.expire(self._world.now))
        else:
            self._wake()


class RelayNode(TunnelNode):
    """A relay; its tunnel's other side is the native network."""

    def __init__(self, world: World, name: str, core: Relay, own: Endpoint) -> None:
        super().__init__(world, name, core, own)

    def delivered(self, packet: bytes) -> None:
        self._world.route_natively(packet, self.name)

    def refused(self, message: bytes, to: IPv6) -> None:
        self._world.report_error(message, to)

    def announced(self, action: Announcement) -> None:
        raise AssertionError(f"a relay does not ask for {action}")


class ClientNode(TunnelNode):
    """A client and the host that it runs on."""

    core: Client

    def __init__(
        self,
        world: World,
        name: str,
        own: Endpoint,
        home: Home | None,
        server: ServerNode,
        *,
        longest_interval: float | None = None,
        probe_filtering: bool = False,
    ) -> None:
        servers = [ServerAddresses(*server.addresses)]
        scope = IPv4Scope(own=[ipv4_of(own)])
        core = world.build(
            name,
            lambda dice: Client(
                servers,
                scope,
                dice,
                bubble_ttl=world.bubble_ttl,
                longest_interval=longest_interval,
                probe_filtering=probe_filtering,
            ),
        )
        super().__init__(world, name, core, own, home)
        self.qualified: Qualified | None = None
        self.observed: NatObserved | None = None
        self.refresh_interval: float | None = None
        self.kernel = Kernel(world.dice, self.transmit)
        if home is not None and home.lan is not None:
            home.listen_to_group(ipv4_of(own), self._discovered)
            self._obey(self.core.attached([Subnet(ipv4_of(own), HOME_PREFIX_LENGTH)], world.now))

    def _discovered(self, payload: bytes, source: Endpoint, to: Endpoint) -> None:
        """A datagram came by the discovery group."""
        del to
        if not self._asleep:
            self._obey(self.core.discovered(payload, source, self._world.now))

    def announced(self, action: Announcement) -> None:
        match action:
            case Qualified():
                self.qualified = action
            case Unqualified():
                self.qualified = None
            case NatObserved():
                self.observed = action
            case RefreshDetermined(interval):
                self.refresh_interval = interval
            case ServerSilent() | SecretExpiring() | ServerRelays():
                pass

    def _received(self, payload: bytes, source: Endpoint, to: Endpoint) -> None:
        via = next((via for via in sorted(self.open_ports) if self.sends_from(via) == to), None)
        if via == PRIMARY:
            super()._received(payload, source, to)
        elif via is not None and not self._asleep:
            self._obey(self.core.receive_on(via, payload, source, self._world.now))

    def ping(self, destination: IPv6) -> Ping:
        """The host sends one echo request; it needs an address."""
        if self.qualified is None:
            raise AssertionError(f"{self.name} has no address yet")
        return self.kernel.ping(self.qualified.address, destination, self._world.now)

    def delivered(self, packet: bytes) -> None:
        self.kernel.receive(packet, self._world.now)

    def refused(self, message: bytes, to: IPv6) -> None:
        del to
        self.kernel.errors.append(message)


class NativeHost:
    """A host of the native IPv6 network."""

    def __init__(self, world: World, name: str, address: IPv6) -> None:
        self.name = name
        self.address = address
        self._world = world
        self.kernel = Kernel(world.dice, lambda packet: world.route_natively(packet, name))

    def ping(self, destination: IPv6) -> Ping:
        return self.kernel.ping(self.address, destination, self._world.now)

    def arrived(self, packet: bytes) -> None:
        self.kernel.receive(packet, self._world.now)
