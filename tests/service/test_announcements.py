# SPDX-License-Identifier: MIT
"""A client's address on its tunnel: configured whole or not at all, the old one taken away before the new one comes."""

from typing import cast

import pytest
from zope.interface.verify import verifyObject

from miredo.address.endpoint import parse_endpoint, parse_ipv4, parse_ipv6, show_ipv6
from miredo.address.teredo import CLIENT_LINK_LOCAL
from miredo.kernel.interfaces import INetwork, ITunnel
from miredo.kernel.memory import MemoryClock, MemoryInternet
from miredo.service.announcements import IAnnouncements, TunnelAddress
from miredo.service.configuring import BuiltInConfiguring
from miredo.teredo.actions import (
    Mapping,
    NatObserved,
    Qualified,
    SecretExpiring,
    ServerRelays,
    ServerSilent,
    Unqualified,
)
from tests.service.internet import RecordingEndpoints, logging

ONE = parse_ipv6("2001:0:c000:201:0:1111:39cc:9bfe")
OTHER = parse_ipv6("2001:0:c000:201:0:2222:39cc:9bfe")
MAPPED, SERVER = parse_endpoint("198.51.100.1:40000"), parse_endpoint("192.0.2.1:3544")
ROUTE = (bytes(16), 0, 1029)


def qualified(address: bytes, mtu: int = 1280) -> Qualified:
    return Qualified(address, mtu, MAPPED, SERVER)


def tunnel_address() -> tuple[RecordingEndpoints, TunnelAddress]:
    clock = MemoryClock()
    endpoints = RecordingEndpoints(MemoryInternet(clock), [(parse_ipv4("198.51.100.1"), 24)], None)
    tunnel = endpoints.open_tunnel("teredo", 1280)
    return endpoints, address_on(endpoints.network(), tunnel, clock)


def address_on(network: INetwork, tunnel: ITunnel, clock: MemoryClock) -> TunnelAddress:
    built_in = BuiltInConfiguring("client", network, tunnel, 1029, table=None)
    return TunnelAddress("client", network, tunnel, clock, built_in)


def configured(endpoints: RecordingEndpoints) -> tuple[list[tuple[bytes, int]], list[tuple[bytes, int, int]]]:
    network = endpoints.network()
    return network.addresses(endpoints.tunnel.index), network.routes(endpoints.tunnel.index)


def test_announcements_keep_their_interface() -> None:
    assert verifyObject(IAnnouncements, tunnel_address()[1])


@pytest.mark.requirement("C18")
def test_an_address_brings_the_default_route() -> None:
    endpoints, address = tunnel_address()
    address.qualified(qualified(ONE))
    assert configured(endpoints) == ([(CLIENT_LINK_LOCAL, 64), (ONE, 32)], [ROUTE])


class SlowNetwork:
    """A network that takes a while to make a new address usable, as Linux does."""

    def __init__(self, network: INetwork) -> None:
        self._network = network
        self.usable = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._network, name)

    def is_local(self, address: bytes) -> bool:
        return self.usable


def slow_tunnel_address() -> tuple[RecordingEndpoints, SlowNetwork, MemoryClock, TunnelAddress]:
    clock = MemoryClock()
    endpoints = RecordingEndpoints(MemoryInternet(clock), [(parse_ipv4("198.51.100.1"), 24)], None)
    tunnel = endpoints.open_tunnel("teredo", 1280)
    slow = SlowNetwork(endpoints.network())
    return endpoints, slow, clock, address_on(cast("INetwork", slow), tunnel, clock)


def test_the_default_route_waits_until_the_kernel_takes_packets_for_the_address() -> None:
    endpoints, slow, clock, address = slow_tunnel_address()
    address.qualified(qualified(ONE))
    clock.advance(0.01)
    assert configured(endpoints) == ([(CLIENT_LINK_LOCAL, 64), (ONE, 32)], [])
    slow.usable = True
    clock.advance(0.002)
    assert configured(endpoints)[1] == [ROUTE]
    address.end()
    assert clock.armed == []


def test_a_kernel_that_never_says_so_gets_the_route_after_a_second() -> None:
    endpoints, _, clock, address = slow_tunnel_address()
    address.qualified(qualified(ONE))
    clock.advance(0.99)
    assert configured(endpoints)[1] == []
    clock.advance(0.02)
    assert configured(endpoints)[1] == [ROUTE]


def test_an_address_that_is_lost_before_it_was_usable_gets_no_route() -> None:
    endpoints, slow, clock, address = slow_tunnel_address()
    address.qualified(qualified(ONE))
    address.unqualified(Unqualified(ONE, "stopped"))
    slow.usable = True
    clock.advance(2)
    assert configured(endpoints) == ([], [])


def test_a_second_address_replaces_the_first() -> None:
    endpoints, address = tunnel_address()
    address.qualified(qualified(ONE))
    address.qualified(qualified(OTHER, mtu=1400))
    assert configured(endpoints) == ([(CLIENT_LINK_LOCAL, 64), (OTHER, 32)], [ROUTE])
    assert endpoints.stack.links["teredo"].mtu == 1400
    assert endpoints.changes.index(f"delete address {ONE.hex()}") < endpoints.changes.index(
        f"add address {OTHER.hex()}"
    )


def test_a_lost_address_takes_everything_with_it() -> None:
    endpoints, address = tunnel_address()
    address.qualified(qualified(ONE))
    address.unqualified(Unqualified(ONE, "stopped"))
    assert configured(endpoints) == ([], [])
    address.unqualified(Unqualified(ONE, "stopped"))
    assert len(endpoints.changes) == 6


def test_a_refused_address_is_one_line_in_the_log() -> None:
    endpoints, address = tunnel_address()
    endpoints.refuses.append(f"add address {ONE.hex()}")
    with logging() as logged:
        address.qualified(qualified(ONE))
    assert logged.at("error") == ["client: cannot configure teredo: add address: Operation not permitted"]
    assert logged.at("info") == [f"client: New Teredo address/MTU ({show_ipv6(ONE)}, 1280)"]
    assert logged.failures == 0
    assert configured(endpoints) == ([], [])


def test_a_refused_route_takes_the_addresses_back() -> None:
    endpoints, address = tunnel_address()
    endpoints.refuses.append("add route")
    with logging() as logged:
        address.qualified(qualified(ONE))
    assert logged.at("error") == ["client: cannot configure teredo: add route: Operation not permitted"]
    assert logged.at("info") == [f"client: New Teredo address/MTU ({show_ipv6(ONE)}, 1280)"]
    assert configured(endpoints) == ([], [])


def test_after_a_refusal_the_next_address_is_configured() -> None:
    endpoints, address = tunnel_address()
    endpoints.refuses.append("add route")
    address.qualified(qualified(ONE))
    endpoints.refuses.clear()
    address.qualified(qualified(OTHER))
    assert configured(endpoints) == ([(CLIENT_LINK_LOCAL, 64), (OTHER, 32)], [ROUTE])


def test_what_somebody_else_removed_does_no_harm() -> None:
    endpoints, address = tunnel_address()
    address.qualified(qualified(ONE))
    endpoints.network().delete_address(endpoints.tunnel.index, ONE, 32)
    endpoints.network().delete_route(bytes(16), 0, endpoints.tunnel.index)
    with logging() as logged:
        address.unqualified(Unqualified(ONE, "stopped"))
    assert configured(endpoints) == ([], [])
    assert [level for level, _ in logged.lines] == ["debug", "debug", "info"]


def test_a_tunnel_that_is_gone_does_no_harm() -> None:
    endpoints, address = tunnel_address()
    address.qualified(qualified(ONE))
    endpoints.stack.delete_link("teredo")
    with logging() as logged:
        address.unqualified(Unqualified(ONE, "stopped"))
        address.qualified(qualified(ONE))
    assert logged.at("error") == [
        f"client: cannot configure teredo: interface {endpoints.tunnel.index}: No such device"
    ]
    assert logged.failures == 0


def test_what_is_known_of_the_nat_is_logged() -> None:
    _, address = tunnel_address()
    with logging() as logged:
        address.nat_observed(NatObserved(Mapping.DESTINATION_DEPENDENT, MAPPED, SERVER), 40000)
        address.nat_observed(NatObserved(Mapping.UNKNOWN, MAPPED, None), 5353)
        address.nat_observed(NatObserved(Mapping.ENDPOINT_INDEPENDENT, MAPPED, MAPPED), 40000)
        address.server_silent(ServerSilent(SERVER))
        address.secret_expiring(SecretExpiring(SERVER))
        address.server_relays(ServerRelays(SERVER, bytes.fromhex("20010db8000000000000000000000001")))
    assert logged.lines == [
        (
            "info",
            "client: NAT: mapping destination-dependent, port preserved, another address for each server; "
            "filtering not measured; mapped address 198.51.100.1:40000",
        ),
        (
            "info",
            "client: NAT: mapping unknown, port not preserved, one address seen; "
            "filtering not measured; mapped address 198.51.100.1:40000",
        ),
        (
            "info",
            "client: NAT: mapping endpoint-independent, port preserved, the same address for both servers; "
            "filtering not measured; mapped address 198.51.100.1:40000",
        ),
        ("warn", "client: No reply from Teredo server (192.0.2.1:3544)"),
        (
            "warn",
            "client: the server 192.0.2.1:3544 says that our secret is to be replaced: "
            "put a new one into the SecretFile",
        ),
        (
            "info",
            "client: the server 192.0.2.1:3544 is also the relay to 2001:db8::1, and so could answer in the place "
            "of any host (RFC 6169 6.1.2)",
        ),
    ]
