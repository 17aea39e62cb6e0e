# SPDX-License-Identifier: MIT
"""A NAT between two devices translates whole UDP datagrams and counts the rest, on fakes and on real TUN devices."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import maybeDeferred

from miredo.address.endpoint import Endpoint, endpoint, ipv4_of, parse_endpoint, parse_ipv4, port_of
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.interfaces import INetwork, ITunnel
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryInternet, MemoryTunnel
from miredo.kernel.namespaces import create_namespace
from miredo.lab.nat import BEHAVIOURS, LINUX_MASQUERADE, Filtering, Mapping, Nat, NatBehaviour, PortAssignment, Refusal
from miredo.lab.natbox import NatBox
from miredo.wire.icmpv4 import PORT_UNREACHABLE, emit_unreachable, parse_unreachable
from miredo.wire.ipv4 import ICMP, IPv4Packet, emit_ipv4_packet, parse_ipv4_packet
from miredo.wire.ipv6 import UDP
from miredo.wire.udp import UDPDatagram, emit_udp, parse_udp
from tests.kernel.bench import Recorder
from tests.namespaced import install_reactor, pause, run_reactor, until

EXTERNAL = parse_ipv4("198.51.100.1")
INSIDE = parse_endpoint("192.168.1.2:40000")
SERVER, STRANGER = parse_endpoint("192.0.2.1:3544"), parse_endpoint("192.0.2.99:3544")
RESTRICTED = NatBehaviour(Mapping.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT)


class Bench:
    """A NAT between two devices of memory."""

    def __init__(self, behaviour: NatBehaviour = RESTRICTED) -> None:
        self.clock = MemoryClock()
        endpoints = MemoryEndpoints(MemoryInternet(self.clock))
        for name in ("lan", "wan"):
            endpoints.open_tunnel(name, 1500)
        self.inside, self.outside = endpoints.tunnels
        self.nat = Nat(behaviour, EXTERNAL, Random(4787).randbytes)
        self.box = NatBox(self.nat, self.inside, self.outside, self.clock)
        self.box.start()

    def leaves(self, raw: bytes) -> bytes | None:
        """What comes out of the outside when C{raw} comes from the client."""
        return passed(self.inside, self.outside, raw)

    def enters(self, raw: bytes) -> bytes | None:
        return passed(self.outside, self.inside, raw)

    def address_of(self, host: int) -> int:
        """Which address of the pool an inside host gets."""
        external = opened(self.leaves(packet(endpoint(bytes([192, 168, 1, host]), 1024), STRANGER)))[0]
        return self.nat.addresses.index(ipv4_of(external))


def passed(into: MemoryTunnel, out: MemoryTunnel, raw: bytes) -> bytes | None:
    before = len(out.written)
    into.arrive(raw)
    assert len(out.written) <= before + 1
    return out.written[-1] if len(out.written) > before else None


def whole(source: Endpoint, destination: Endpoint, payload: bytes = b"data") -> IPv4Packet:
    """An IPv4 packet with a UDP datagram."""
    datagram = UDPDatagram(port_of(source), port_of(destination), payload)
    udp = emit_udp(datagram, ipv4_of(source), ipv4_of(destination))
    return IPv4Packet(0, 77, False, False, 0, 64, UDP, ipv4_of(source), ipv4_of(destination), udp)


def packet(source: Endpoint, destination: Endpoint, payload: bytes = b"data") -> bytes:
    return emit_ipv4_packet(whole(source, destination, payload))


LEAVING = whole(INSIDE, SERVER)


def opened(raw: bytes | None) -> tuple[Endpoint, Endpoint, bytes, IPv4Packet]:
    """Source, destination and data of a packet whose checksums are right, and its header."""
    assert raw is not None
    header = parse_ipv4_packet(raw)
    datagram = parse_udp(header.payload, header.source, header.destination)
    source = endpoint(header.source, datagram.source_port)
    return source, endpoint(header.destination, datagram.destination_port), datagram.payload, header


def spoiled(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 0x01]) + raw[at + 1 :]


def unreachable(source: Endpoint, destination: Endpoint) -> bytes:
    """What the destination's host answers a datagram with."""
    quote = emit_unreachable(PORT_UNREACHABLE, 7, packet(source, destination)[:28])
    return emit_ipv4_packet(IPv4Packet(0, 78, False, False, 0, 64, ICMP, ipv4_of(destination), ipv4_of(source), quote))


# ---------------------------------------------------------------- on fakes


def test_a_packet_leaves_with_the_external_address() -> None:
    source, destination, data, _ = opened(Bench().leaves(packet(INSIDE, SERVER)))
    assert (source, destination, data) == (endpoint(EXTERNAL, 40000), SERVER, b"data")


def test_an_answer_comes_in_to_the_client() -> None:
    bench = Bench()
    external = opened(bench.leaves(packet(INSIDE, SERVER)))[0]
    source, destination, data, _ = opened(bench.enters(packet(SERVER, external, b"answer")))
    assert (source, destination, data) == (SERVER, INSIDE, b"answer")
    assert (bench.box.dropped, bench.nat.refused) == (Counter(), Counter())


@pytest.mark.parametrize("behaviour", [*BEHAVIOURS, LINUX_MASQUERADE], ids=str)
def test_an_error_about_what_was_sent_comes_in_to_its_sender(behaviour: NatBehaviour) -> None:
    bench = Bench(behaviour)
    external = opened(bench.leaves(packet(INSIDE, SERVER)))[0]
    raw = bench.enters(unreachable(external, SERVER))
    assert raw is not None
    header = parse_ipv4_packet(raw)
    error = parse_unreachable(header.payload)
    assert (header.source, header.destination, header.ttl) == (ipv4_of(SERVER), ipv4_of(INSIDE), 63)
    assert (error.code, error.second_word, error.source, error.destination) == (PORT_UNREACHABLE, 7, INSIDE, SERVER)


@pytest.mark.parametrize("behaviour", [RESTRICTED, LINUX_MASQUERADE], ids=str)
def test_an_error_about_what_was_not_sent_does_not_come_in(behaviour: NatBehaviour) -> None:
    bench = Bench(behaviour)
    external = opened(bench.leaves(packet(INSIDE, SERVER)))[0]
    assert bench.enters(unreachable(external, STRANGER)) is None
    assert bench.enters(unreachable(endpoint(EXTERNAL, 9), SERVER)) is None
    assert bench.nat.refused == {Refusal.NO_MAPPING: 2}


@pytest.mark.parametrize("behaviour", [RESTRICTED, LINUX_MASQUERADE], ids=str)
def test_an_error_keeps_no_session_alive(behaviour: NatBehaviour) -> None:
    bench = Bench(replace(behaviour, lifetime=30.0, inbound_refresh=True))
    external = opened(bench.leaves(packet(INSIDE, SERVER)))[0]
    bench.clock.advance(29.0)
    assert bench.enters(unreachable(external, SERVER)) is not None
    bench.clock.advance(2.0)
    assert bench.enters(unreachable(external, SERVER)) is None


def test_an_error_whose_ttl_has_ended_does_not_come_in() -> None:
    bench = Bench()
    external = opened(bench.leaves(packet(INSIDE, SERVER)))[0]
    last = parse_ipv4_packet(unreachable(external, SERVER))._replace(ttl=1)
    assert bench.enters(emit_ipv4_packet(last)) is None
    assert bench.box.dropped == Counter({"TTL": 1})


def test_nobody_else_comes_in() -> None:
    bench = Bench()
    external = opened(bench.leaves(packet(INSIDE, SERVER)))[0]
    assert bench.enters(packet(STRANGER, external)) is None
    assert bench.enters(packet(SERVER, endpoint(EXTERNAL, 41000))) is None
    assert bench.enters(packet(SERVER, endpoint(parse_ipv4("198.51.100.9"), 40000))) is None
    assert bench.nat.refused == Counter({Refusal.FILTERED: 1, Refusal.NO_MAPPING: 1, Refusal.NOT_OURS: 1})
    assert bench.inside.written == []


def test_the_header_is_kept_but_for_what_a_router_changes() -> None:
    options = bytes([1, 1, 1, 0])
    raw = emit_ipv4_packet(LEAVING._replace(tos=0xB8, identification=4242, dont_fragment=True, ttl=17, options=options))
    header = opened(Bench().leaves(raw))[3]
    assert header._replace(payload=b"") == IPv4Packet(
        0xB8, 4242, True, False, 0, 16, UDP, EXTERNAL, ipv4_of(SERVER), b"", options
    )


@pytest.mark.parametrize(("ttl", "passes"), [(0, False), (1, False), (2, True), (255, True)])
def test_the_last_hop_of_a_packet_is_before_the_nat(ttl: int, passes: bool) -> None:
    bench = Bench()
    assert (bench.leaves(emit_ipv4_packet(LEAVING._replace(ttl=ttl))) is not None) == passes
    assert bench.box.dropped == (Counter() if passes else Counter(TTL=1))


def test_a_packet_that_dies_at_the_nat_opens_no_mapping() -> None:
    bench = Bench()
    bench.leaves(emit_ipv4_packet(LEAVING._replace(ttl=1)))
    assert bench.nat.mappings == 0


def test_a_packet_that_dies_at_the_far_nat_has_been_looked_up_there() -> None:
    """As on Linux: what comes unasked to a masquerade leaves its entry even if its TTL ends there."""
    bench = Bench(LINUX_MASQUERADE)
    unasked = packet(STRANGER, endpoint(EXTERNAL, port_of(INSIDE)))
    last = emit_ipv4_packet(parse_ipv4_packet(unasked)._replace(ttl=1))
    assert bench.enters(last) is None
    assert bench.box.dropped == Counter()
    assert opened(bench.leaves(packet(INSIDE, STRANGER)))[0] != endpoint(EXTERNAL, port_of(INSIDE))


def test_what_is_let_in_needs_one_hop_more() -> None:
    bench = Bench()
    external, _, _, _ = opened(bench.leaves(packet(INSIDE, SERVER)))
    answer = parse_ipv4_packet(packet(SERVER, external))
    assert bench.enters(emit_ipv4_packet(answer._replace(ttl=1))) is None
    assert bench.box.dropped == Counter(TTL=1)
    assert bench.enters(emit_ipv4_packet(answer._replace(ttl=2))) is not None


@pytest.mark.parametrize("at", [8, 10, 20, 26, 28], ids=["ttl", "header checksum", "port", "udp checksum", "data"])
def test_a_packet_with_a_wrong_checksum_does_not_pass(at: int) -> None:
    bench = Bench()
    assert bench.leaves(spoiled(packet(INSIDE, SERVER), at)) is None
    assert bench.enters(spoiled(packet(SERVER, endpoint(EXTERNAL, 40000)), at)) is None
    assert bench.box.dropped == Counter(malformed=2)
    assert bench.nat.mappings == 0


def test_a_datagram_without_a_checksum_passes_and_gets_one() -> None:
    without = emit_ipv4_packet(LEAVING._replace(payload=LEAVING.payload[:6] + bytes(2) + LEAVING.payload[8:]))
    out = opened(Bench().leaves(without))[3]
    assert out.payload[6:8] != bytes(2)


@pytest.mark.parametrize("length", [1, 19, 20, 24, 27])
def test_a_packet_that_is_cut_short_does_not_pass(length: int) -> None:
    bench = Bench()
    assert bench.leaves(packet(INSIDE, SERVER)[:length]) is None
    assert bench.box.dropped == Counter(malformed=1)


def test_fragments_do_not_pass_and_are_counted() -> None:
    bench = Bench()
    assert bench.leaves(emit_ipv4_packet(LEAVING._replace(more_fragments=True))) is None
    assert bench.leaves(emit_ipv4_packet(LEAVING._replace(fragment_offset=185))) is None
    assert bench.box.dropped == Counter({"not a whole UDP datagram": 2})


def test_other_protocols_do_not_pass_and_are_counted() -> None:
    bench = Bench()
    assert bench.leaves(emit_ipv4_packet(LEAVING._replace(protocol=ICMP))) is None
    assert bench.leaves(emit_ipv4_packet(LEAVING._replace(protocol=6))) is None
    assert bench.leaves(b"\x60" + bytes(47)) is None
    assert bench.box.dropped == Counter({"not a whole UDP datagram": 2, "not IPv4": 1})


def test_a_packet_that_the_device_refuses_is_counted() -> None:
    bench = Bench()
    bench.outside.close()
    assert bench.leaves(packet(INSIDE, SERVER)) is None
    assert bench.box.dropped == Counter({"refused by the kernel": 1})


def test_a_mapping_ends_with_its_lifetime() -> None:
    bench = Bench(NatBehaviour(lifetime=30.0))
    external = opened(bench.leaves(packet(INSIDE, SERVER)))[0]
    bench.clock.advance(29)
    assert bench.enters(packet(STRANGER, external)) is not None
    bench.clock.advance(1)
    assert bench.enters(packet(STRANGER, external)) is None


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=str)
def test_every_kind_maps_and_filters_as_it_says(behaviour: NatBehaviour) -> None:
    bench = Bench(behaviour)
    same_address = endpoint(ipv4_of(SERVER), 4000)
    first, second, third = (
        opened(bench.leaves(packet(INSIDE, to)))[0] for to in (SERVER, same_address, parse_endpoint("203.0.113.9:3544"))
    )
    by_mapping = {
        Mapping.ENDPOINT_INDEPENDENT: (True, True),
        Mapping.ADDRESS_DEPENDENT: (True, False),
        Mapping.ADDRESS_AND_PORT_DEPENDENT: (False, False),
    }
    assert (first == second, first == third) == by_mapping[behaviour.mapping]
    by_filtering = {
        Filtering.ENDPOINT_INDEPENDENT: (True, True),
        Filtering.ADDRESS_DEPENDENT: (False, True),
        Filtering.ADDRESS_AND_PORT_DEPENDENT: (False, False),
    }
    strangers = STRANGER, endpoint(ipv4_of(SERVER), 5000)
    entered = tuple(bench.enters(packet(each, first)) is not None for each in strangers)
    assert entered == by_filtering[behaviour.filtering]


@pytest.mark.parametrize("address", [0, 1])
def test_what_a_neighbour_sends_to_an_external_address_comes_back_in(address: int) -> None:
    bench = Bench(NatBehaviour(hairpinning=True, pool=2))
    host = next(bytes([192, 168, 1, each]) for each in range(2, 50) if bench.address_of(each) == address)
    ours, theirs = (opened(bench.leaves(packet(endpoint(each, 4000), SERVER)))[0] for each in (host, ipv4_of(INSIDE)))
    assert ipv4_of(ours) == bench.nat.addresses[address]
    back = passed(bench.inside, bench.inside, packet(endpoint(ipv4_of(INSIDE), 4000), ours, b"hello"))
    source, destination, data, header = opened(back)
    assert (source, destination, data, header.ttl) == (theirs, endpoint(host, 4000), b"hello", 63)


def test_without_hairpinning_it_goes_nowhere() -> None:
    bench = Bench(NatBehaviour())
    external = opened(bench.leaves(packet(INSIDE, SERVER)))[0]
    assert bench.leaves(packet(INSIDE, external)) is None
    assert (bench.inside.written, bench.nat.refused) == ([], Counter({Refusal.HAIRPIN: 1}))


@given(data=st.binary(max_size=1400), ports=st.sampled_from(list(PortAssignment)), port=st.integers(1, 65535))
def test_data_passes_both_ways_unchanged(data: bytes, ports: PortAssignment, port: int) -> None:
    bench = Bench(NatBehaviour(ports=ports))
    inside = endpoint(ipv4_of(INSIDE), port)
    external, destination, there, _ = opened(bench.leaves(packet(inside, SERVER, data)))
    assert (ipv4_of(external), destination, there) == (EXTERNAL, SERVER, data)
    assert opened(bench.enters(packet(SERVER, external, data[::-1])))[:3] == (SERVER, inside, data[::-1])


def test_the_end_closes_both_devices() -> None:
    bench = Bench()
    bench.box.close()
    assert (bench.inside.open, bench.outside.open) == (False, False)


# ---------------------------------------------------------------- on real TUN devices


def device(namespace: str, name: str) -> tuple[ITunnel, INetwork]:
    endpoints = KernelEndpoints(namespace, install_reactor())
    return endpoints.open_tunnel(name, 1500), endpoints.network()


def kernel_box() -> tuple[NatBox, list[INetwork]]:
    """A namespace C{home} with the client's address, a namespace C{world} with two servers, and a NAT between them."""
    for namespace in ("home", "world"):
        create_namespace(namespace)
    inside, home = device("home", "lan")
    outside, world = device("world", "wan")
    home.add_address(inside.index, ipv4_of(INSIDE), 24)
    home.add_route(bytes(4), 0, inside.index)
    loopback = world.index_of("lo")
    assert loopback is not None
    world.set_up(loopback)
    for server in (SERVER, STRANGER):
        world.add_address(loopback, ipv4_of(server), 32)
    world.add_route(EXTERNAL, 32, outside.index)
    clock = BoottimeClock(install_reactor())
    return NatBox(Nat(RESTRICTED, EXTERNAL, Random(1).randbytes), inside, outside, clock), [home, world]


@pytest.mark.namespaced
def test_real_packets_pass_a_nat_between_two_namespaces(closes_descriptors: None) -> None:
    async def body() -> None:
        box, networks = kernel_box()
        box.start()
        reactor = install_reactor()
        client, server, stranger = Recorder(), Recorder(), Recorder()
        home, world = KernelEndpoints("home", reactor), KernelEndpoints("world", reactor)
        near = home.listen_udp(client, "0.0.0.0", 40000)
        far = world.listen_udp(server, "192.0.2.1", 3544)
        other = world.listen_udp(stranger, "192.0.2.99", 3544)
        near.write(b"question", ("192.0.2.1", 3544))
        await until(lambda: server.received == [(b"question", ("198.51.100.1", 40000))])
        other.write(b"unwanted", ("198.51.100.1", 40000))
        far.write(b"answer", ("198.51.100.1", 40000))
        await until(lambda: client.received == [(b"answer", ("192.0.2.1", 3544))])
        assert box.nat.refused == Counter({Refusal.FILTERED: 1})
        near.write(bytes(1472), ("192.0.2.1", 3544))
        near.write(bytes(1473), ("192.0.2.1", 3544))  # one byte more than the device takes in one piece
        await until(lambda: box.dropped["not a whole UDP datagram"] == 2)
        await pause(0.02)
        assert [len(data) for data, _ in server.received] == [8, 1472]
        assert stranger.received == []
        for port in (near, far, other):
            await maybeDeferred(port.stopListening)
        box.close()
        for network in networks:
            assert [name for name in network.links() if name in ("lan", "wan")] == []
            network.close()

    run_reactor(body())
