# SPDX-License-Identifier: MIT
"""How a node of the Internet in memory is attached to its IPv4 core: by itself, or behind a NAT with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from miredo.address.endpoint import Endpoint, IPv4, ipv4_of, parse_ipv4
from miredo.address.teredo import DISCOVERY_GROUP
from miredo.lab.ladder import EXPIRED, Step, describe
from miredo.lab.links import Link, Transmitter
from miredo.lab.nat import Nat

if TYPE_CHECKING:
    from miredo.lab.world import World

INSIDE = parse_ipv4("192.168.1.2")
"""The address of the first client behind a NAT; the next ones follow."""

HOME_PREFIX_LENGTH = 24
"""Of the subnet that the addresses behind a NAT are in."""

Receive = Callable[[bytes, Endpoint, Endpoint], None]
"""Takes a datagram's payload, source and destination."""

USUAL_TTL = 64
"""Of a datagram that was given no other; what Linux has."""


class Port:
    """A node's attachment to the IPv4 core.

    @ivar nat: what lies in between.
    """

    nat: Nat | None = None

    def __init__(self, world: World, name: str, receive: Receive) -> None:
        self.name = name
        self.out, self.back = Transmitter(world.link), Transmitter(world.link)
        self._world = world
        self._receive = receive

    def send(self, source: Endpoint, to: Endpoint, payload: bytes, ttl: int = USUAL_TTL) -> None:
        self._world.carry(self, source, to, payload, ttl)

    def arrived(self, source: Endpoint, to: Endpoint, payload: bytes, ttl: int = USUAL_TTL) -> None:
        del ttl  # who is there need not route it
        self._receive(payload, source, to)

    def send_to_group(self, source: Endpoint, payload: bytes) -> None:
        """Nobody else is on its link."""


class Home(Port):
    """A NAT's attachment to the IPv4 core, and who is behind it; a host of the same name is not drawn apart from it.

    It is a router: on the way out a TTL ends before there is a mapping, on the way in after it was looked for.

    @ivar lan: what lies between its hosts; C{None} lets nothing pass from one to another, as some access points do.
    """

    nat: Nat

    def __init__(self, world: World, name: str, nat: Nat, lan: Link | None = None) -> None:
        super().__init__(world, name, self._delivered)
        self.nat = nat
        self.lan = lan
        self._hosts: dict[IPv4, tuple[str, Receive]] = {}
        self._listening: dict[IPv4, Receive] = {}

    @property
    def vacant(self) -> IPv4:
        """The inside address of the next host."""
        return INSIDE[:3] + bytes([INSIDE[3] + len(self._hosts)])

    def join(self, address: IPv4, name: str, receive: Receive) -> None:
        """A host comes in."""
        self._hosts[address] = name, receive

    def send(self, source: Endpoint, to: Endpoint, payload: bytes, ttl: int = USUAL_TTL) -> None:
        host = self._hosts[ipv4_of(source)][0]
        if self.lan is not None and ipv4_of(to) in self._hosts:
            self._cross(self.lan, source, to, payload, self._hosts[ipv4_of(to)])
            return
        if not routed(ttl):
            self._note(host, self.name, payload, EXPIRED)
            return
        external = self.nat.outbound(source, to, self._world.now)
        if external is None:
            self._note(host, self.name, payload, "refused")
            return
        if host != self.name:
            self._note(host, self.name, payload)
        if self.nat.owns(to):
            # A later event, as an answer that comes while its question is being sent would find the sender busy.
            self._world.at(self._world.now, lambda: self.arrived(external, to, payload, ttl))
        else:
            super().send(external, to, payload, ttl - 1)

    def listen_to_group(self, address: IPv4, receive: Receive) -> None:
        """A host joins the discovery group."""
        self._listening[address] = receive

    def send_to_group(self, source: Endpoint, payload: bytes) -> None:
        for address, receive in self._listening.items():
            if self.lan is not None and address != ipv4_of(source):
                self._cross(self.lan, source, DISCOVERY_GROUP, payload, (self._hosts[address][0], receive))

    def _cross(self, lan: Link, source: Endpoint, to: Endpoint, payload: bytes, receiver: tuple[str, Receive]) -> None:
        """From one host to another, past the NAT."""
        name, receive = receiver
        arrivals = lan.deliveries(self._world.now, self._world.random.random)
        self._note(self._hosts[ipv4_of(source)][0], name, payload, "" if arrivals else "lost")
        for arrival in arrivals:
            self._world.at(arrival, lambda: receive(payload, source, to))

    def arrived(self, source: Endpoint, to: Endpoint, payload: bytes, ttl: int = USUAL_TTL) -> None:
        inside = self.nat.inbound(source, to, self._world.now)
        if inside is None:
            self._note(self.name, self.name, payload, "filtered")
        elif not routed(ttl):
            self._note(self.name, self.name, payload, EXPIRED)
        else:
            super().arrived(source, inside, payload)

    def _delivered(self, payload: bytes, source: Endpoint, to: Endpoint) -> None:
        host, receive = self._hosts[ipv4_of(to)]
        if host != self.name:
            self._note(self.name, host, payload)
        receive(payload, source, to)

    def _note(self, sender: str, receiver: str, payload: bytes, note: str = "") -> None:
        self._world.steps.append(Step(self._world.now, sender, receiver, describe(payload), note))


def routed(ttl: int) -> bool:
    """Whether a router takes a datagram any further (RFC 1812 5.3.1)."""
    return ttl > 1
