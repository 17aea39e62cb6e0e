# SPDX-License-Identifier: MIT
"""A datagram of our own tells whether a port is reached, and disturbs nobody who uses it."""

import pytest
from twisted.internet.protocol import DatagramProtocol

from miredo.address.endpoint import parse_ipv4
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryInternet, MemoryNetwork, MemoryPort
from miredo.service.selftest import MARK, PATIENCE, SelfTest, place_of
from tests.service.internet import TeredoInternet, logging

OWN = parse_ipv4("192.0.2.17")


class Filtered(MemoryEndpoints):
    """A host whose packet filter drops what comes to one port."""

    closed = 0

    def port_at(self, place: tuple[bytes, int]) -> MemoryPort | None:
        return None if place[1] == self.closed else super().port_at(place)


class Listener(DatagramProtocol):
    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def datagramReceived(self, datagram: bytes, address: tuple[str, int]) -> None:
        self.heard.append(datagram)


class Bench:
    """A port, and a test of it."""

    def __init__(self, address: str = "192.0.2.17") -> None:
        self.clock = MemoryClock()
        self.endpoints = Filtered(MemoryInternet(self.clock), [(OWN, 28)])
        self.listener = Listener()
        self.port = self.endpoints.listen_udp(self.listener, address, 3545)
        self.told: list[bool] = []
        to = place_of(self.port, self.endpoints.network())
        assert to is not None
        self.to = to
        self.test = SelfTest(self.listener, self.endpoints, self.clock, bytes, self.told.append)


@pytest.mark.parametrize("address", ["192.0.2.17", "0.0.0.0"])
def test_a_port_that_is_reached_hears_nothing_of_it(address: str) -> None:
    bench = Bench(address)
    bench.test.begin(bench.to)
    bench.clock.advance(0)
    assert bench.told == [True]
    assert bench.listener.heard == []
    bench.clock.advance(10 * PATIENCE)
    assert bench.told == [True]
    assert bench.clock.armed == []


def test_a_port_that_is_not_reached_is_told_after_a_second() -> None:
    bench = Bench()
    bench.endpoints.closed = 3545
    bench.test.begin(bench.to)
    bench.clock.advance(PATIENCE - 0.01)
    assert bench.told == []
    bench.clock.advance(0.02)
    assert bench.told == [False]
    assert bench.clock.armed == []


def test_others_are_heard_meanwhile_and_nobody_can_pretend() -> None:
    bench = Bench()
    bench.endpoints.closed = 3545
    bench.test.begin(bench.to)
    for datagram in (b"data", MARK + b"another token!!!"):
        bench.listener.datagramReceived(datagram, ("192.0.2.1", 3544))
    assert bench.told == []
    bench.clock.advance(2 * PATIENCE)
    bench.listener.datagramReceived(b"later", ("192.0.2.1", 3544))
    assert bench.listener.heard == [b"data", MARK + b"another token!!!", b"later"]


def test_a_test_that_is_ended_tells_nothing_and_leaves_the_port_as_it_was() -> None:
    bench = Bench()
    bench.test.begin(bench.to)
    bench.test.end()
    bench.test.end()
    bench.clock.advance(10 * PATIENCE)
    assert bench.told == []
    assert bench.clock.armed == []
    assert "datagramReceived" not in vars(bench.listener)


def test_a_filter_that_lets_nothing_out_is_found_too() -> None:
    bench = Bench()

    def refuse(datagram: bytes, to: tuple[str, int]) -> None:
        raise PermissionError(1, "Operation not permitted")

    vars(bench.test.sender)["write"] = refuse
    bench.test.begin(bench.to)
    bench.clock.advance(0)
    assert bench.told == [False]


def test_the_address_of_a_way_out_is_preferred() -> None:
    bench = Bench("0.0.0.0")
    network = MemoryNetwork(bench.endpoints.stack, {})
    assert bench.to == ("192.0.2.17", 3545)
    link = bench.endpoints.stack.add_link("eth1")
    network.set_up(link.index)
    network.add_address(link.index, parse_ipv4("198.51.100.1"), 24)
    network.add_route(bytes(4), 0, link.index)
    assert place_of(bench.port, network) == ("198.51.100.1", 3545)


def test_without_any_address_the_loopback_is_as_good() -> None:
    endpoints = MemoryEndpoints(MemoryInternet(MemoryClock()))
    port = endpoints.listen_udp(Listener(), "0.0.0.0", 3545)
    assert place_of(port, endpoints.network()) == ("127.0.0.1", 3545)


def test_a_host_that_cannot_send_to_itself_tests_nothing() -> None:
    internet = TeredoInternet()
    for host in (internet.server, internet.relay, internet.client):
        host.stack.links["lo"].up = False
    with logging() as logged:
        internet.start()
        internet.run(2 * PATIENCE)
    assert logged.at("warn") == []
    assert [len(each.places) for each in (internet.server, internet.relay, internet.client)] == [2, 1, 1]


def test_every_role_tests_its_ports_and_closes_what_it_tested_with() -> None:
    internet = TeredoInternet()
    with logging() as logged:
        internet.start()
        internet.run(2 * PATIENCE)
    assert logged.at("warn") == []
    expected = {("server", 2), ("relay", 1), ("client", 1)}
    hosts = (internet.server, internet.relay, internet.client)
    assert {(each.namespace, sum("port" in one for one in each.open_things())) for each in hosts} == expected
    assert {(each.namespace, len(each.places) // 2) for each in hosts} == expected


def test_a_role_that_stops_meanwhile_closes_it() -> None:
    internet = TeredoInternet()
    internet.start()
    internet.stop()
    assert [each.open_things() for each in (internet.server, internet.relay, internet.client)] == [[], [], []]
    assert internet.clock.armed == []
