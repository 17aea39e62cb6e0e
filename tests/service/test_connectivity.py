# SPDX-License-Identifier: MIT
"""Other IPv6 connectivity: a client that rests for it, one that was asked for by name, and a host's own relay."""

import pytest

from miredo.address.endpoint import parse_ipv6
from miredo.kernel.interfaces import INetwork
from miredo.kernel.memory import MemoryNetwork
from miredo.service.roles import TeredoRelayService
from tests.service.internet import CLIENT, HOST, ROLES, RecordingEndpoints, TeredoInternet, logging, own

AUTOCLIENT = ROLES + "RelayType autoclient\n"
GATEWAY = parse_ipv6("fe80::1")
NATIVE = parse_ipv6("2001:db8:7::7")


def network_of(endpoints: RecordingEndpoints) -> tuple[INetwork, int]:
    """The network of a namespace, and its Ethernet."""
    network = MemoryNetwork(endpoints.stack, {})
    index = network.index_of("eth0")
    assert index is not None
    return network, index


def connect(internet: TeredoInternet) -> None:
    """The client's host gets a default route by another way."""
    network, index = network_of(internet.client)
    network.add_address(index, NATIVE, 64)
    network.add_route(bytes(16), 0, index, gateway=GATEWAY)


def disconnect(internet: TeredoInternet) -> None:
    network, index = network_of(internet.client)
    network.delete_route(bytes(16), 0, index, gateway=GATEWAY)


@pytest.mark.requirement("C17")
def test_an_autoclient_rests_while_there_is_other_ipv6_and_comes_back_when_it_goes() -> None:
    internet = TeredoInternet(AUTOCLIENT)
    internet.start()
    internet.run()
    assert len(internet.qualified) == 1
    with logging() as logged:
        connect(internet)
        internet.run()
        before = len(internet.sent("client a"))
        assert own(internet.client)[0] == []
        internet.run(600.0)
        assert len(internet.sent("client a")) == before
        disconnect(internet)
        internet.run()
    assert len(internet.qualified) == 2
    assert own(internet.client)[0] != []
    assert "client a: resting: this host has other IPv6 connectivity (RFC 4380 5.5)" in logged.at("info")
    assert "client a: this host has no other IPv6 connectivity any more" in logged.at("info")
    internet.stop()
    assert internet.client.open_things() == []


@pytest.mark.requirement("C17", "C4")
def test_an_autoclient_does_not_begin_where_there_is_other_ipv6() -> None:
    internet = TeredoInternet(AUTOCLIENT)
    connect(internet)
    internet.start()
    internet.run(100.0)
    assert internet.sent("client a") == []
    network, index = network_of(internet.client)
    network.delete_address(index, CLIENT, 24)
    network.add_address(index, CLIENT[:3] + b"\x09", 24)  # an event that would have another client begin anew
    internet.clock.advance(0)
    internet.run(100.0)
    assert internet.sent("client a") == []
    disconnect(internet)
    internet.run()
    assert len(internet.qualified) == 1


@pytest.mark.requirement("C17")
def test_a_client_that_was_asked_for_by_name_runs_beside_other_ipv6_and_says_so_once() -> None:
    internet = TeredoInternet(ROLES)
    connect(internet)
    with logging() as logged:
        internet.start()
        internet.run(100.0)
    assert len(internet.qualified) == 1
    assert len([line for line in logged.at("info") if "RFC 4380 5.5" in line]) == 1


@pytest.mark.requirement("C17")
def test_its_own_default_route_is_no_other_connectivity() -> None:
    internet = TeredoInternet(AUTOCLIENT)
    internet.start()
    internet.run(600.0)
    assert len(internet.qualified) == 1
    assert own(internet.client)[1] != []


# ---------------------------------------------------------------- host-specific relay


HOST_RELAY = ROLES.replace("BindPort 3545", "BindPort 3545\nRelayType host")


@pytest.mark.requirement("H2", "H3", "H4", "R10")
def test_a_host_specific_relay_serves_the_addresses_of_its_host_as_they_come_and_go() -> None:
    internet = TeredoInternet(HOST_RELAY)
    network, index = network_of(internet.relay)
    network.add_address(index, HOST, 64)
    internet.start()
    internet.run()
    assert len(internet.qualified) == 1
    ping = internet.host.ping(HOST, internet.qualified[0], internet.clock.now())
    internet.run()
    assert ping.answered is not None
    service = internet.service("relay r")
    assert isinstance(service, TeredoRelayService)
    relay = service.protocol.core
    assert relay.admits(HOST)
    assert not relay.admits(NATIVE)
    network.add_address(index, NATIVE, 64)
    network.delete_address(index, HOST, 64)
    internet.run()
    assert relay.admits(NATIVE)
    assert not relay.admits(HOST)


@pytest.mark.requirement("H1")
def test_a_host_specific_relay_has_a_route_to_the_prefix_and_no_teredo_address() -> None:
    internet = TeredoInternet(HOST_RELAY)
    internet.start()
    addresses, routes = own(internet.relay)
    assert addresses == []
    assert [(destination[:4], length) for destination, length, _ in routes] == [(bytes.fromhex("20010000"), 32)]
