# SPDX-License-Identifier: MIT
"""Contract of L{IGroup}: multicast between namespaces that are joined by a wire."""

import socket
import struct
from errno import EADDRINUSE

import pytest
from zope.interface.verify import verifyObject

from miredo.address.endpoint import parse_ipv4
from miredo.kernel.interfaces import IEndpoints, IGroup, INetwork
from miredo.kernel.namespaces import entered
from tests.kernel.bench import Bench, KernelBench, Recorder, contract_of_all, refused_with, stop
from tests.namespaced import run_reactor, until

GROUP, PORT = "224.0.0.253", 3544
LEFT, RIGHT = "192.168.1.2", "192.168.1.3"
Received = list[tuple[bytes, tuple[str, int]]]


def joined(bench: Bench, left: str = LEFT, right: str = RIGHT) -> tuple[IEndpoints, IEndpoints]:
    """Two namespaces at one wire."""
    ends = bench.endpoints("left"), bench.endpoints("right")
    networks = bench.plumbing("left"), bench.plumbing("right")
    networks[0].add_veth("veth0", "veth1", "right")
    for network, name, ipv4 in zip(networks, ("veth0", "veth1"), (left, right), strict=True):
        network.set_up(index_of(network, name))
        network.add_address(index_of(network, name), parse_ipv4(ipv4), 24)
        network.close()
    return ends


def index_of(network: INetwork, name: str) -> int:
    index = network.index_of(name)
    assert index is not None
    return index


def wired(endpoints: IEndpoints) -> dict[int, bytes]:
    """The end of the wire, as L{IGroup.attend} wants it."""
    network = endpoints.network()
    name = next(name for name in network.links() if name.startswith("veth"))
    index = index_of(network, name)
    own = next(address for address, _ in network.addresses(index) if len(address) == 4)
    network.close()
    return {index: own}


class Member:
    """A port of the namespace, and the group, joined at the wire."""

    def __init__(self, endpoints: IEndpoints, address: str = "0.0.0.0", port: int = 4000) -> None:
        self.heard: Received = []
        self.by_unicast = Recorder()
        self.port = endpoints.listen_udp(self.by_unicast, address, port)
        self.group = endpoints.join_group(
            self.port, GROUP, PORT, lambda datagram, source: self.heard.append((datagram, source))
        )
        self.attended = self.group.attend(wired(endpoints))

    async def close(self) -> None:
        self.group.close()
        await stop(self.port)


@contract_of_all
async def test_a_group_keeps_its_interface(bench: Bench) -> None:
    left = Member(joined(bench)[0])
    assert verifyObject(IGroup, left.group)
    assert len(left.attended) == 1
    await left.close()


@contract_of_all
async def test_what_is_sent_to_a_group_comes_to_its_members_from_the_port_of_the_role(bench: Bench) -> None:
    left, right = map(Member, joined(bench))
    await bench.pause(0.05)
    assert left.group.send(b"hello")
    assert right.heard == []
    await bench.until(lambda: right.heard == [(b"hello", (LEFT, 4000))])
    await left.close()
    await right.close()


@contract_of_all
async def test_the_sender_does_not_hear_itself_nor_does_its_host(bench: Bench) -> None:
    here, there = joined(bench)
    left, neighbour, right = Member(here), Member(here, port=4001), Member(there)
    left.group.send(b"hello")
    await bench.until(lambda: len(right.heard) == 1)
    await bench.pause(0.05)
    assert (left.heard, neighbour.heard, left.by_unicast.received) == ([], [], [])
    for each in (left, neighbour, right):
        await each.close()


@contract_of_all
async def test_two_of_one_host_both_hear_the_group(bench: Bench) -> None:
    here, there = joined(bench)
    left, neighbour, right = Member(here), Member(here, port=4001), Member(there)
    right.group.send(b"hello")
    await bench.until(lambda: left.heard == neighbour.heard == [(b"hello", (RIGHT, 4000))])
    for each in (left, neighbour, right):
        await each.close()


@contract_of_all
async def test_what_comes_by_unicast_does_not_come_by_the_group(bench: Bench) -> None:
    here, there = joined(bench)
    server = Recorder()
    serving = here.listen_udp(server, LEFT, PORT)
    left, right = Member(here), Member(there)
    right.port.write(b"to the server", (LEFT, PORT))
    right.group.send(b"to the group")
    await bench.until(lambda: [each for each, _ in left.heard] == [b"to the group"])
    await bench.until(lambda: [each for each, _ in server.received] == [b"to the server"])
    await left.close()
    await right.close()
    await stop(serving)


@contract_of_all
async def test_who_left_a_link_hears_nothing_there_and_hears_again_when_back(bench: Bench) -> None:
    here, there = joined(bench)
    left, right = Member(here), Member(there)
    assert right.group.attend({}) == []
    left.group.send(b"for nobody")
    await bench.pause(0.05)
    assert right.heard == []
    assert right.group.attend(wired(there)) != []
    left.group.send(b"hello again")
    await bench.until(lambda: [each for each, _ in right.heard] == [b"hello again"])
    await left.close()
    await right.close()


@contract_of_all
async def test_a_link_that_is_not_there_is_left_out(bench: Bench) -> None:
    left = Member(joined(bench)[0])
    assert left.group.attend({4711: parse_ipv4(LEFT)}) == []
    assert left.group.send(b"on no link") is True
    await left.close()


@contract_of_all
async def test_a_link_that_is_down_takes_nothing(bench: Bench) -> None:
    here, there = joined(bench)
    left, right = Member(here), Member(there)
    network = bench.plumbing("left")
    network.set_down(index_of(network, "veth0"))
    assert left.group.send(b"hello") is False
    network.set_up(index_of(network, "veth0"))
    await bench.pause(0.05)
    assert left.group.send(b"hello again") is True
    await bench.until(lambda: [each for each, _ in right.heard] == [b"hello again"])
    network.close()
    await left.close()
    await right.close()


@contract_of_all
async def test_a_closed_group_neither_hears_nor_sends(bench: Bench) -> None:
    here, there = joined(bench)
    left, right = Member(here), Member(there)
    right.group.close()
    right.group.close()
    left.group.send(b"hello")
    await bench.pause(0.05)
    assert right.heard == []
    assert right.group.send(b"hello") is False
    await left.close()
    await right.close()


@contract_of_all
async def test_who_has_the_port_of_all_addresses_is_in_the_way(bench: Bench) -> None:
    endpoints = bench.endpoints()
    port = endpoints.listen_udp(Recorder(), "0.0.0.0", PORT)
    with refused_with(EADDRINUSE):
        endpoints.join_group(port, GROUP, PORT, lambda datagram, source: None)
    await stop(port)


@contract_of_all
async def test_a_group_is_in_the_way_of_the_port_of_all_addresses_until_it_is_closed(bench: Bench) -> None:
    endpoints = bench.endpoints()
    port = endpoints.listen_udp(Recorder(), "127.0.0.1", 4000)
    group = endpoints.join_group(port, GROUP, PORT, lambda datagram, source: None)
    with refused_with(EADDRINUSE):
        endpoints.listen_udp(Recorder(), "0.0.0.0", PORT)
    group.close()
    await stop(port, endpoints.listen_udp(Recorder(), "0.0.0.0", PORT))


@pytest.mark.namespaced
@pytest.mark.requirement("C70")
def test_what_goes_to_the_group_has_a_ttl_of_1_and_what_goes_elsewhere_the_usual_one() -> None:
    """RFC 4380 5.2.8; and DF is clear in both."""

    async def body() -> None:
        here, there = joined(bench)
        with entered("right"):
            hearing = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(0x800))
            hearing.bind(("veth1", 0))
        left, right = Member(here), Member(there)
        heard: dict[bytes, tuple[int, int]] = {}

        def both_came() -> bool:
            try:
                packet = hearing.recv(2048)
            except BlockingIOError:
                return len(heard) == 2
            flags, ttl = struct.unpack_from("!HB", packet, 6)
            heard[packet[16:20]] = flags & 0x4000, ttl
            return len(heard) == 2

        left.group.send(b"hello")
        left.port.write(b"hello", (RIGHT, 4000))
        await until(both_came)
        assert heard == {parse_ipv4(GROUP): (0, 1), parse_ipv4(RIGHT): (0, 64)}
        hearing.close()
        await left.close()
        await right.close()

    bench = KernelBench()
    run_reactor(body())
