# SPDX-License-Identifier: MIT
"""A NAT that is read from outside, packet by packet, is what its words say: the model itself, and the box around it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Protocol

import pytest

from miredo.address.endpoint import Endpoint, IPv4, endpoint, ipv4_of, parse_endpoint, parse_ipv4, port_of
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryInternet
from miredo.lab.nat import (
    BEHAVIOURS,
    FAMILIAR,
    KINDS,
    UNPRIVILEGED,
    Filtering,
    Mapping,
    Nat,
    NatBehaviour,
    Pooling,
    PortAssignment,
    parse_behaviour,
)
from miredo.lab.natbox import NatBox
from miredo.wire.ipv4 import IPv4Packet, emit_ipv4_packet, parse_ipv4_packet
from miredo.wire.ipv6 import UDP
from miredo.wire.udp import UDPDatagram, emit_udp, parse_udp

EXTERNAL = parse_ipv4("198.51.100.7")
INSIDE, NEIGHBOUR = parse_endpoint("192.168.1.2:40000"), parse_endpoint("192.168.1.3:40000")
SERVER, SERVER_OTHER_PORT = parse_endpoint("203.0.113.1:3544"), parse_endpoint("203.0.113.1:3545")
RELAY, THIRD = parse_endpoint("203.0.113.99:3544"), parse_endpoint("203.0.113.50:3544")
MANY = 60
"""Hosts inside, and hosts outside, whose packets show a pool of 4 whole; the dice of the tests never change."""
LONG = 1000.0
"""Seconds in which a foreign load is counted."""


class Surroundings(Protocol):
    """A fresh NAT, and what its hosts and the world outside send and see."""

    def leave(self, inside: Endpoint, to: Endpoint) -> Endpoint | None:
        """The source that the host outside sees."""

    def enter(self, source: Endpoint, to: Endpoint) -> Endpoint | None:
        """The inside endpoint that gets what is sent from outside."""

    def cross(self, inside: Endpoint, to: Endpoint) -> tuple[Endpoint, Endpoint] | None:
        """The source that is seen inside, and by whom, when a host inside sends to an external endpoint."""

    def wait(self, seconds: float) -> None:
        """Time passes."""


class InMemory:
    """The model itself."""

    def __init__(self, behaviour: NatBehaviour) -> None:
        self._nat = Nat(behaviour, EXTERNAL, Random(4787).randbytes)
        self._now = 0.0

    def leave(self, inside: Endpoint, to: Endpoint) -> Endpoint | None:
        return self._nat.outbound(inside, to, self._now)

    def enter(self, source: Endpoint, to: Endpoint) -> Endpoint | None:
        return self._nat.inbound(source, to, self._now)

    def cross(self, inside: Endpoint, to: Endpoint) -> tuple[Endpoint, Endpoint] | None:
        source = self.leave(inside, to)
        receiver = self.enter(source, to) if source is not None else None
        return None if source is None or receiver is None else (source, receiver)

    def wait(self, seconds: float) -> None:
        self._now += seconds


class OnPackets:
    """Whole packets through the box, between two devices."""

    def __init__(self, behaviour: NatBehaviour) -> None:
        self._clock = MemoryClock()
        endpoints = MemoryEndpoints(MemoryInternet(self._clock))
        for name in ("lan", "wan"):
            endpoints.open_tunnel(name, 1500)
        self._lan, self._wan = endpoints.tunnels
        NatBox(Nat(behaviour, EXTERNAL, Random(4787).randbytes), self._lan, self._wan, self._clock).start()

    def leave(self, inside: Endpoint, to: Endpoint) -> Endpoint | None:
        self._lan.arrive(packet(inside, to))
        assert self._lan.written == []
        return next((source for source, _ in taken(self._wan.written)), None)

    def enter(self, source: Endpoint, to: Endpoint) -> Endpoint | None:
        self._wan.arrive(packet(source, to))
        assert self._wan.written == []
        return next((receiver for _, receiver in taken(self._lan.written)), None)

    def cross(self, inside: Endpoint, to: Endpoint) -> tuple[Endpoint, Endpoint] | None:
        self._lan.arrive(packet(inside, to))
        assert self._wan.written == []
        return next(iter(taken(self._lan.written)), None)

    def wait(self, seconds: float) -> None:
        self._clock.advance(seconds)


def packet(source: Endpoint, to: Endpoint) -> bytes:
    udp = emit_udp(UDPDatagram(port_of(source), port_of(to), b"data"), ipv4_of(source), ipv4_of(to))
    return emit_ipv4_packet(IPv4Packet(0, 1, False, False, 0, 64, UDP, ipv4_of(source), ipv4_of(to), udp))


def taken(written: list[bytes]) -> list[tuple[Endpoint, Endpoint]]:
    """Source and destination of each packet that a device got; it is emptied."""
    ends = []
    for raw in written:
        header = parse_ipv4_packet(raw)
        udp = parse_udp(header.payload, header.source, header.destination)
        ends.append((endpoint(header.source, udp.source_port), endpoint(header.destination, udp.destination_port)))
    written.clear()
    return ends


Fresh = Callable[[], Surroundings]
"""Every question is put to another NAT, as a question leaves traces."""


def sent(around: Surroundings, inside: Endpoint, to: Endpoint) -> Endpoint:
    external = around.leave(inside, to)
    assert external is not None
    return external


def read(fresh: Fresh) -> NatBehaviour:
    """What a NAT does, by packets alone."""
    lifetime = lifetime_seen(fresh)
    pool, pooling = pool_seen(fresh())
    return NatBehaviour(
        mapping_seen(fresh()),
        filtering_seen(fresh()),
        ports_seen(fresh()),
        lifetime,
        refresh_seen(fresh(), lifetime),
        hairpinning_seen(fresh()),
        pool,
        pooling,
        load_seen(fresh(), pool),
        clash_seen(fresh(), 0.0),
    )


def mapping_seen(around: Surroundings) -> Mapping:
    """RFC 4787, 4.1: one inside endpoint sends to three destinations."""
    first, other_port, other_address = (sent(around, INSIDE, to) for to in (SERVER, SERVER_OTHER_PORT, RELAY))
    if first == other_address:
        assert first == other_port
        return Mapping.ENDPOINT_INDEPENDENT
    return Mapping.ADDRESS_DEPENDENT if first == other_port else Mapping.ADDRESS_AND_PORT_DEPENDENT


def filtering_seen(around: Surroundings) -> Filtering:
    """RFC 4787, 5: who, but the endpoint that was sent to, reaches the mapping?"""
    external = sent(around, INSIDE, SERVER)
    assert around.enter(SERVER, external) == INSIDE
    if around.enter(RELAY, external) == INSIDE:
        assert around.enter(SERVER_OTHER_PORT, external) == INSIDE
        return Filtering.ENDPOINT_INDEPENDENT
    same_address = around.enter(SERVER_OTHER_PORT, external) == INSIDE
    return Filtering.ADDRESS_DEPENDENT if same_address else Filtering.ADDRESS_AND_PORT_DEPENDENT


def ports_seen(around: Surroundings) -> PortAssignment:
    """RFC 4787, 4.2.1: five inside endpoints send to one destination."""
    inside = [endpoint(ipv4_of(INSIDE), port) for port in (40000, 41000, 40500, 50000, 1024)]
    ports = [port_of(sent(around, each, SERVER)) for each in inside]
    if ports == [port_of(each) for each in inside]:
        return PortAssignment.PRESERVING
    distances = {(later - earlier) % len(UNPRIVILEGED) for earlier, later in pairwise(ports)}
    return PortAssignment.SEQUENTIAL if distances == {1} else PortAssignment.RANDOM


def lifetime_seen(fresh: Fresh) -> float:
    """The first whole second in which an idle session with packets both ways is gone."""
    alive, gone = 0, 4096
    while gone - alive > 1:
        tried = (alive + gone) // 2
        around = fresh()
        external = sent(around, INSIDE, SERVER)
        assert around.enter(SERVER, external) == INSIDE
        around.wait(tried)
        if around.enter(SERVER, external) == INSIDE:
            alive = tried
        else:
            gone = tried
    return gone


def refresh_seen(around: Surroundings, lifetime: float) -> bool:
    """RFC 4787, REQ-6 a: do packets from outside keep a session for longer than its lifetime?"""
    external = sent(around, INSIDE, SERVER)
    for _ in range(2):
        assert around.enter(SERVER, external) == INSIDE
        around.wait(0.6 * lifetime)
    return around.enter(SERVER, external) == INSIDE


def hairpinning_seen(around: Surroundings) -> bool:
    """RFC 4787, REQ-9: two neighbours send to each other's external endpoint, and the later packet arrives."""
    ours, theirs = sent(around, INSIDE, SERVER), sent(around, NEIGHBOUR, SERVER)
    around.cross(INSIDE, theirs)
    crossed = around.cross(NEIGHBOUR, ours)
    if crossed is None:
        return False
    source, receiver = crossed
    assert receiver == INSIDE
    assert ipv4_of(source)[:3] == EXTERNAL[:3]  # the external source address and port, not the inside ones
    return True


def addresses_seen(around: Surroundings, insiders: list[IPv4], outsiders: list[IPv4]) -> set[IPv4]:
    """The external addresses of as many packets, each from a port of its own."""
    numbered = enumerate(zip(insiders, outsiders, strict=True), start=5000)
    return {ipv4_of(sent(around, endpoint(one, port), endpoint(other, 3544))) for port, (one, other) in numbered}


def pool_seen(around: Surroundings) -> tuple[int, Pooling]:
    """RFC 4787, 4.1: does one host have one external address, whomever it sends to?"""
    insiders = [bytes([192, 168, 1, host]) for host in range(1, 1 + MANY)]
    outsiders = [bytes([203, 0, 113, host]) for host in range(1, 1 + MANY)]
    one_host = addresses_seen(around, insiders[:1] * MANY, outsiders)
    every_host = addresses_seen(around, insiders, outsiders)
    return len(every_host), Pooling.PAIRED if len(one_host) == 1 else Pooling.ARBITRARY


def load_seen(around: Surroundings, pool: int) -> float:
    """Foreign mappings a second, by the ports that two mappings of ours have between them."""
    if ports_seen(around) is not PortAssignment.SEQUENTIAL:
        return 0.0
    before = port_of(sent(around, endpoint(ipv4_of(INSIDE), 6000), SERVER))
    around.wait(LONG)
    after = port_of(sent(around, endpoint(ipv4_of(INSIDE), 6001), SERVER))
    return round(((after - before) % len(UNPRIVILEGED) - 1) * pool / LONG, 1)


def clash_seen(around: Surroundings, later: float) -> bool:
    """Does a packet that was kept out change the endpoint towards its sender?"""
    external = sent(around, INSIDE, SERVER)
    if around.enter(RELAY, external) is not None:
        return False
    around.wait(later)
    towards = sent(around, INSIDE, RELAY)
    return towards != external and sent(around, INSIDE, THIRD) == external


EVERY_KIND = [replace(kind, ports=ports) for kind in BEHAVIOURS for ports in PortAssignment]
FURTHER = [
    "cone/lifetime=30",
    "symmetric/inbound-refresh",
    "port-restricted/pool=4",
    "address-restricted/pool=4/arbitrary",
    "symmetric/pool=4",
    "sequential-symmetric/load=5",
    "sequential-symmetric/load=0.5/pool=2",
    "cone/sequential/load=20/lifetime=120/inbound-refresh/hairpinning/pool=3/arbitrary",
    "linux-masquerade/lifetime=180",
]
models = pytest.mark.parametrize("model", [InMemory, OnPackets])


def words_confirmed(behaviour: NatBehaviour, model: Callable[[NatBehaviour], Surroundings]) -> None:
    assert read(lambda: model(behaviour)) == behaviour


@models
@pytest.mark.parametrize("behaviour", EVERY_KIND, ids=str)
def test_a_nat_read_from_outside_is_what_its_words_say(
    behaviour: NatBehaviour, model: Callable[[NatBehaviour], Surroundings]
) -> None:
    words_confirmed(behaviour, model)


@models
@pytest.mark.parametrize("name", FAMILIAR)
def test_a_nat_of_a_familiar_name_is_what_its_name_says(
    name: str, model: Callable[[NatBehaviour], Surroundings]
) -> None:
    words_confirmed(parse_behaviour(name), model)


@models
@pytest.mark.parametrize("words", FURTHER)
def test_further_words_are_seen_from_outside_too(words: str, model: Callable[[NatBehaviour], Surroundings]) -> None:
    words_confirmed(parse_behaviour(words), model)


@models
@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=str)
def test_hairpinning_is_seen_where_a_neighbour_can_be_let_in(
    behaviour: NatBehaviour, model: Callable[[NatBehaviour], Surroundings]
) -> None:
    """If mapping and filtering depend on the destination, nobody can learn the endpoint that lets him in."""
    hairpinning = replace(behaviour, hairpinning=True)
    independent = Mapping.ENDPOINT_INDEPENDENT, Filtering.ENDPOINT_INDEPENDENT
    visible = behaviour.mapping is independent[0] or behaviour.filtering is independent[1]
    assert read(lambda: model(hairpinning)) == replace(hairpinning, hairpinning=visible)


@models
@pytest.mark.parametrize("behaviour", KINDS, ids=str)
def test_only_a_masquerade_clashes_and_only_for_30_seconds(
    behaviour: NatBehaviour, model: Callable[[NatBehaviour], Surroundings]
) -> None:
    clashes = [clash_seen(model(behaviour), later) for later in (0.0, 29.9, 30.0)]
    assert clashes == ([True, True, False] if behaviour.masquerade else [False, False, False])
