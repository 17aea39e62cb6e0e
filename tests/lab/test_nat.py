# SPDX-License-Identifier: MIT
"""A NAT's mappings, ports, lifetimes and limits, one fact each, and all against a slow and obvious model."""

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.endpoint import Endpoint, IPv4, endpoint, ipv4_of, parse_endpoint, port_of
from miredo.lab.nat import (
    BEHAVIOURS,
    UNPRIVILEGED,
    WELL_KNOWN,
    Filtering,
    Mapping,
    Nat,
    NatBehaviour,
    Pooling,
    PortAssignment,
    Refusal,
)

EXTERNAL = bytes([198, 51, 100, 7])
OTHER_EXTERNAL = bytes([198, 51, 100, 8])

INSIDE = parse_endpoint("192.168.1.2:40000")
NEIGHBOUR = parse_endpoint("192.168.1.3:40000")

SERVER = parse_endpoint("203.0.113.1:3544")
SERVER_OTHER_PORT = parse_endpoint("203.0.113.1:3545")
RELAY = parse_endpoint("203.0.113.99:3544")

EVERY_KIND = [replace(kind, ports=ports) for kind in BEHAVIOURS for ports in PortAssignment]
SYMMETRIC = NatBehaviour(Mapping.ADDRESS_AND_PORT_DEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT)


def nat(behaviour: NatBehaviour, ports: range = UNPRIVILEGED, sessions: int = 1000) -> Nat:
    return Nat(behaviour, EXTERNAL, random.Random(4787).randbytes, ports=ports, sessions=sessions)


def sent(through: Nat, inside: Endpoint, destination: Endpoint, now: float = 0.0) -> Endpoint:
    external = through.outbound(inside, destination, now)
    assert external is not None
    return external


@pytest.mark.parametrize("ports", [range(5000, 5000), range(1000, 2000), range(65000, 70000)])
def test_a_block_of_ports_lies_among_the_unprivileged_ones(ports: range) -> None:
    with pytest.raises(ValueError, match="ports"):
        nat(NatBehaviour(), ports=ports)


@pytest.mark.parametrize("behaviour", EVERY_KIND, ids=str)
def test_two_inside_endpoints_never_share_an_external_port(behaviour: NatBehaviour) -> None:
    through = nat(behaviour)
    assert sent(through, INSIDE, SERVER) != sent(through, NEIGHBOUR, SERVER)


def test_the_first_to_come_keeps_its_port_and_the_second_gets_another() -> None:
    through = nat(NatBehaviour())
    assert port_of(sent(through, INSIDE, SERVER)) == port_of(INSIDE)
    assert port_of(sent(through, NEIGHBOUR, SERVER)) != port_of(NEIGHBOUR)


def test_a_port_preserving_symmetric_nat_keeps_the_port_of_the_first_session_only() -> None:
    through = nat(SYMMETRIC)
    assert port_of(sent(through, INSIDE, SERVER)) == port_of(INSIDE)
    later = {port_of(sent(through, INSIDE, to)) for to in (SERVER_OTHER_PORT, RELAY)}
    assert len(later) == 2
    assert port_of(INSIDE) not in later


@pytest.mark.parametrize("assignment", list(PortAssignment))
@pytest.mark.parametrize("allowed", [WELL_KNOWN, UNPRIVILEGED])
def test_external_ports_stay_in_the_range_of_the_inside_port(assignment: PortAssignment, allowed: range) -> None:
    through = nat(replace(SYMMETRIC, ports=assignment))
    inside = endpoint(bytes([192, 168, 1, 2]), allowed.start)
    destinations = (endpoint(bytes([203, 0, 113, 5]), port) for port in range(1, 900))
    assert all(port_of(sent(through, inside, to)) in allowed for to in destinations)


def test_a_sequential_nat_goes_around_its_range_past_taken_ports() -> None:
    through = nat(replace(SYMMETRIC, ports=PortAssignment.SEQUENTIAL, lifetime=10.0), range(5000, 5004))
    destinations = [endpoint(bytes([203, 0, 113, 5]), port) for port in range(1, 8)]
    first = [port_of(sent(through, INSIDE, to, now)) for now, to in enumerate(destinations[:4])]
    assert sorted(first) == [5000, 5001, 5002, 5003]
    assert sent(through, INSIDE, destinations[1], 10.0) == endpoint(EXTERNAL, first[1])
    assert port_of(sent(through, INSIDE, destinations[4], 12.5)) == first[0]
    assert port_of(sent(through, INSIDE, destinations[5], 12.5)) == first[2]


def test_a_sequential_nat_counts_on_when_ports_become_free() -> None:
    through = nat(replace(SYMMETRIC, ports=PortAssignment.SEQUENTIAL, lifetime=10.0), range(5000, 5100))
    ports = [port_of(sent(through, INSIDE, SERVER, now)) for now in (0.0, 10.0, 20.0)]
    assert [(port - ports[0]) % 100 for port in ports] == [0, 1, 2]


def test_a_session_of_one_mapping_opens_no_other() -> None:
    through = nat(SYMMETRIC)
    to_server = sent(through, INSIDE, SERVER)
    sent(through, INSIDE, RELAY)
    assert through.inbound(RELAY, to_server, 0.0) is None


def test_an_idle_mapping_expires() -> None:
    through = nat(NatBehaviour(lifetime=120.0))
    external = sent(through, INSIDE, SERVER, 0.0)
    assert through.inbound(SERVER, external, 119.9) == INSIDE
    assert through.inbound(SERVER, external, 120.0) is None
    assert through.refused == {Refusal.NO_MAPPING: 1}
    assert through.mappings == 0


def test_an_expired_mapping_leaves_its_port_to_others() -> None:
    through = nat(NatBehaviour(lifetime=120.0))
    assert sent(through, INSIDE, SERVER, 0.0) == sent(through, NEIGHBOUR, SERVER, 120.0)


def test_packets_from_inside_keep_a_mapping() -> None:
    through = nat(NatBehaviour(lifetime=120.0))
    externals = {sent(through, INSIDE, SERVER, now) for now in (0.0, 100.0, 200.0, 300.0)}
    assert len(externals) == 1
    assert through.inbound(SERVER, externals.pop(), 419.0) == INSIDE


@pytest.mark.parametrize("inbound_refresh", [False, True])
def test_packets_from_outside_keep_a_mapping_only_with_inbound_refresh(inbound_refresh: bool) -> None:
    through = nat(NatBehaviour(lifetime=120.0, inbound_refresh=inbound_refresh))
    external = sent(through, INSIDE, SERVER, 0.0)
    assert through.inbound(RELAY, external, 100.0) == INSIDE
    assert (through.inbound(RELAY, external, 200.0) == INSIDE) is inbound_refresh


def test_a_filtered_packet_keeps_nothing_alive() -> None:
    kept = NatBehaviour(filtering=Filtering.ADDRESS_DEPENDENT, lifetime=120.0, inbound_refresh=True)
    through = nat(kept)
    external = sent(through, INSIDE, SERVER, 0.0)
    assert through.inbound(RELAY, external, 100.0) is None
    assert through.inbound(SERVER, external, 120.0) is None


def test_who_is_no_longer_sent_to_is_filtered_while_the_mapping_lives_on() -> None:
    through = nat(NatBehaviour(filtering=Filtering.ADDRESS_DEPENDENT, lifetime=120.0))
    external = sent(through, INSIDE, RELAY, 0.0)
    assert sent(through, INSIDE, SERVER, 100.0) == external
    assert through.inbound(RELAY, external, 150.0) is None
    assert through.inbound(SERVER, external, 150.0) == INSIDE
    assert through.refused == {Refusal.FILTERED: 1}


def test_a_reboot_forgets_all_mappings() -> None:
    through = nat(NatBehaviour(ports=PortAssignment.RANDOM))
    before = sent(through, INSIDE, SERVER)
    through.reboot()
    assert through.inbound(SERVER, before, 1.0) is None
    after = sent(through, INSIDE, SERVER, 2.0)
    assert ipv4_of(after) == EXTERNAL
    assert after != before


def test_a_reboot_may_bring_another_address() -> None:
    through = nat(NatBehaviour())
    before = sent(through, INSIDE, SERVER)
    through.reboot(OTHER_EXTERNAL)
    assert sent(through, INSIDE, SERVER) == endpoint(OTHER_EXTERNAL, port_of(before))
    assert through.inbound(SERVER, before, 1.0) is None
    assert through.refused == {Refusal.NOT_OURS: 1}


def test_without_hairpinning_nothing_comes_back_in() -> None:
    through = nat(NatBehaviour())
    external = sent(through, INSIDE, SERVER)
    assert through.outbound(NEIGHBOUR, external, 0.0) is None
    assert through.refused == {Refusal.HAIRPIN: 1}
    assert through.mappings == 1


def test_a_neighbour_shows_its_external_endpoint() -> None:
    through = nat(NatBehaviour(hairpinning=True))
    ours, theirs = (sent(through, each, SERVER) for each in (INSIDE, NEIGHBOUR))
    assert through.owns(ours)
    assert sent(through, NEIGHBOUR, ours) == theirs
    assert through.inbound(theirs, ours, 0.0) == INSIDE


def test_a_neighbour_is_filtered_as_a_stranger_is() -> None:
    through = nat(NatBehaviour(filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT, hairpinning=True))
    ours, theirs = (sent(through, each, SERVER) for each in (INSIDE, NEIGHBOUR))
    assert through.inbound(sent(through, NEIGHBOUR, ours), ours, 0.0) is None
    assert through.inbound(sent(through, INSIDE, theirs), theirs, 0.0) == NEIGHBOUR
    assert through.inbound(sent(through, NEIGHBOUR, ours), ours, 0.0) == INSIDE


def test_a_packet_to_any_address_of_the_pool_is_ours() -> None:
    through = nat(NatBehaviour(pool=4))
    assert len(set(through.addresses)) == 4
    assert through.addresses[0] == through.external == EXTERNAL
    assert [through.owns(endpoint(each, 1)) for each in through.addresses] == [True] * 4
    assert through.outbound(INSIDE, endpoint(through.addresses[3], 40000), 0.0) is None
    assert through.inbound(SERVER, endpoint(OTHER_EXTERNAL, 40000), 0.0) is None
    assert through.refused == {Refusal.HAIRPIN: 1, Refusal.NOT_OURS: 1}


@pytest.mark.parametrize("last", [0, 1, 7, 128, 255])
def test_the_addresses_of_every_pool_are_different(last: int) -> None:
    through = Nat(NatBehaviour(pool=16), bytes([198, 51, 100, last]), random.Random(1).randbytes)
    assert len(set(through.addresses)) == 16


def test_each_address_of_a_pool_has_all_the_ports() -> None:
    through = nat(replace(SYMMETRIC, pool=4, pooling=Pooling.ARBITRARY), range(5000, 5010))
    destinations = [endpoint(bytes([203, 0, 113, host]), 1) for host in range(1, 201)]
    externals = {through.outbound(INSIDE, to, 0.0) for to in destinations} - {None}
    assert len(externals) == 40
    assert through.refused == {Refusal.PORTS_EXHAUSTED: 160}


def test_neighbours_keep_the_same_port_at_different_addresses_of_a_pool() -> None:
    through = nat(NatBehaviour(pool=4))
    hosts = [endpoint(bytes([192, 168, 1, host]), 40000) for host in range(1, 61)]
    kept = {each for each in (sent(through, host, SERVER) for host in hosts) if port_of(each) == 40000}
    assert {ipv4_of(each) for each in kept} == set(through.addresses)


def test_a_reboot_may_bring_another_pool() -> None:
    through = nat(NatBehaviour(pool=4))
    before = set(through.addresses)
    through.reboot(OTHER_EXTERNAL)
    assert before & set(through.addresses) == set()
    assert ipv4_of(sent(through, INSIDE, SERVER)) in through.addresses


def test_foreign_mappings_move_the_counter_evenly_and_hold_no_port() -> None:
    loaded = replace(SYMMETRIC, ports=PortAssignment.SEQUENTIAL, load=2.0)
    through = nat(loaded, range(5000, 5010))
    destinations = [endpoint(bytes([203, 0, 113, 5]), port) for port in range(1, 12)]
    ports = [port_of(sent(through, INSIDE, to, now)) for now, to in enumerate(destinations[:3])]
    assert [(port - ports[0]) % 10 for port in ports] == [0, 3, 6]
    assert len({port_of(sent(through, INSIDE, to, 200.0)) for to in destinations[:10]}) == 10
    assert through.outbound(INSIDE, destinations[10], 200.0) is None


@pytest.mark.parametrize("assignment", list(PortAssignment))
def test_when_all_ports_are_taken_new_mappings_are_refused_and_counted(assignment: PortAssignment) -> None:
    through = nat(replace(SYMMETRIC, ports=assignment), range(5000, 5100))
    destinations = [endpoint(bytes([203, 0, 113, 5]), port) for port in range(1, 104)]
    externals = [through.outbound(INSIDE, to, 0.0) for to in destinations]
    assert len(set(externals[:100])) == 100
    assert externals[100:] == [None, None, None]
    assert through.refused == {Refusal.PORTS_EXHAUSTED: 3}
    assert sent(through, INSIDE, destinations[0]) == externals[0]
    assert through.outbound(INSIDE, destinations[100], 300.0) is not None


def test_every_port_there_is_can_be_taken() -> None:
    through = nat(replace(SYMMETRIC, ports=PortAssignment.SEQUENTIAL), sessions=65536)
    destinations = (endpoint(bytes([203, 0, 113, 5]), port) for port in range(1, 65536))
    externals = [through.outbound(INSIDE, to, 0.0) for to in destinations]
    assert {port_of(each) for each in externals if each is not None} == set(UNPRIVILEGED)
    assert through.refused == {Refusal.PORTS_EXHAUSTED: 65535 - len(UNPRIVILEGED)}


def test_the_table_of_sessions_is_bounded() -> None:
    through = nat(NatBehaviour(filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT), sessions=2)
    external = sent(through, INSIDE, SERVER)
    sent(through, INSIDE, SERVER_OTHER_PORT)
    assert through.outbound(INSIDE, RELAY, 0.0) is None
    assert through.outbound(NEIGHBOUR, RELAY, 0.0) is None
    assert through.refused == {Refusal.SESSIONS_EXHAUSTED: 2}
    assert through.mappings == 1
    assert sent(through, INSIDE, SERVER) == external


@dataclass
class Session:
    inside: Endpoint
    destination: Endpoint
    external: Endpoint
    refreshed: float


@dataclass
class ObviousNat:
    """RFC 4787 by looking through a list of sessions that forgets nothing; the ports are those that the NAT chose."""

    behaviour: NatBehaviour
    sessions: list[Session] = field(default_factory=list)
    addresses: dict[IPv4, IPv4] = field(default_factory=dict)

    def alive(self, now: float) -> list[Session]:
        return [each for each in self.sessions if now < each.refreshed + self.behaviour.lifetime]

    def check_address(self, session: Session) -> None:
        """The inside address decides, or the destination's does."""
        place = ipv4_of(session.inside if self.behaviour.pooling is Pooling.PAIRED else session.destination)
        assert self.addresses.setdefault(place, ipv4_of(session.external)) == ipv4_of(session.external)

    def check_outbound(self, inside: Endpoint, to: Endpoint, now: float, external: Endpoint | None) -> None:
        alive = self.alive(now)
        mapped = {
            each.external
            for each in alive
            if each.inside == inside and alike(self.behaviour.mapping, each.destination, to)
        }
        assert external is not None
        if mapped:
            assert mapped == {external}
        else:
            self.check_new(inside, {each.external for each in alive}, external)
            self.check_address(Session(inside, to, external, now))
        for each in alive:
            if (each.inside, each.destination, each.external) == (inside, to, external):
                each.refreshed = now
                return
        self.sessions.append(Session(inside, to, external, now))

    def check_new(self, inside: Endpoint, taken: set[Endpoint], external: Endpoint) -> None:
        kept = endpoint(ipv4_of(external), port_of(inside))
        assert external not in taken
        if self.behaviour.ports is PortAssignment.PRESERVING and kept not in taken:
            assert external == kept

    def inbound(self, source: Endpoint, external: Endpoint, now: float) -> Endpoint | None:
        fitting = [
            each
            for each in self.alive(now)
            if each.external == external and alike(self.behaviour.filtering, each.destination, source)
        ]
        for each in fitting:
            if self.behaviour.inbound_refresh:
                each.refreshed = now
        return fitting[0].inside if fitting else None


def alike(word: Mapping | Filtering, one: Endpoint, other: Endpoint) -> bool:
    if word == "endpoint-independent":
        return True
    if word == "address-dependent":
        return ipv4_of(one) == ipv4_of(other)
    return one == other


inside_endpoints = st.builds(endpoint, st.sampled_from([b"\x0a\0\0\1", b"\x0a\0\0\2"]), st.integers(4000, 4002))
outside_endpoints = st.builds(endpoint, st.sampled_from([b"\xcb\0\x71\1", b"\xcb\0\x71\2"]), st.integers(1, 3))
behaviours = st.builds(
    NatBehaviour,
    st.sampled_from(Mapping),
    st.sampled_from(Filtering),
    st.sampled_from(PortAssignment),
    st.just(100.0),
    inbound_refresh=st.booleans(),
    hairpinning=st.booleans(),
    pool=st.integers(2, 3),
    pooling=st.sampled_from(Pooling),
) | st.builds(
    NatBehaviour,
    st.sampled_from(Mapping),
    st.sampled_from(Filtering),
    st.just(PortAssignment.SEQUENTIAL),
    st.just(100.0),
    load=st.sampled_from([0.0, 0.1, 7.0]),
    hairpinning=st.booleans(),
)
waits = st.sampled_from([0.0, 1.0, 49.0, 99.0, 100.0, 101.0])
packets = st.tuples(
    waits,
    st.sampled_from(["leaves", "enters", "crosses"]),
    inside_endpoints,
    outside_endpoints,
    st.integers(0, 209),
)


@given(behaviours, st.lists(packets, max_size=60), st.integers())
def test_the_nat_does_what_the_slow_and_obvious_one_does(
    behaviour: NatBehaviour, traffic: list[tuple[float, str, Endpoint, Endpoint, int]], seed: int
) -> None:
    through = Nat(behaviour, EXTERNAL, random.Random(seed).randbytes, ports=range(3990, 4060))
    obvious = ObviousNat(behaviour)
    now = 0.0
    for wait, what, inside, remote, which in traffic:
        now += wait
        # Every port of every address of the pool, or one that was seen: the interesting ones are tried often.
        seen = [each.external for each in obvious.sessions] if which % 2 else []
        unseen = endpoint(through.addresses[which // 70 % behaviour.pool], 3990 + which % 70)
        external = seen[which % len(seen)] if seen else unseen
        if what == "leaves":
            obvious.check_outbound(inside, remote, now, through.outbound(inside, remote, now))
        elif what == "enters":
            assert through.inbound(remote, external, now) == obvious.inbound(remote, external, now)
        elif not behaviour.hairpinning:
            assert through.outbound(inside, external, now) is None
        else:
            source = through.outbound(inside, external, now)
            obvious.check_outbound(inside, external, now, source)
            assert source is not None
            assert through.inbound(source, external, now) == obvious.inbound(source, external, now)
        assert through.mappings == len({each.external for each in obvious.alive(now)})
