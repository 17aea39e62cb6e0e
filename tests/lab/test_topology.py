# SPDX-License-Identifier: MIT
"""The lab's Internet as a value: nothing in it contradicts itself, nor the roles of etc/lab.conf."""

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from miredo.address.endpoint import parse_ipv4, parse_ipv6, show_ipv4
from miredo.config import ClientConfig, RelayConfig, ServerConfig, load
from miredo.lab.fronts import NO_NAT, KernelNat
from miredo.lab.nat import LINUX_MASQUERADE
from miredo.lab.topology import (
    HOST_ADDRESS,
    TEREDO_INTERNET,
    NatPlace,
    Route,
    Segment,
    Topology,
    interface_of,
    prefix_of,
)

LAB = TEREDO_INTERNET
LAB_FILE = Path(__file__).parents[2] / "etc" / "lab.conf"


def addresses_of(node: str) -> list[str]:
    return [address.partition("/")[0] for end in LAB.ends() if end.node == node for address in end.addresses]


def test_every_name_is_a_node() -> None:
    used = {end.node for end in LAB.ends()} | {route.node for route in LAB.routes}
    used |= {place for nat in LAB.nats for place in (nat.client, nat.outside)}
    used |= {*LAB.ipv4_routers, *LAB.ipv6_routers}
    assert used == set(LAB.nodes)
    assert len(LAB.nodes) == len(set(LAB.nodes))


def test_the_two_ends_of_a_wire_are_in_one_subnet() -> None:
    for wire in LAB.wires:
        networks = [{ip_interface(text).network for text in end.addresses} for end in (wire.one, wire.other)]
        assert networks[0] == networks[1]


def test_interfaces_are_named_as_the_kernel_takes_it_and_once_a_node() -> None:
    names = [(end.node, end.interface) for end in LAB.ends()]
    assert len(names) == len(set(names))
    assert all(0 < len(name) <= 15 for _, name in names)


@pytest.mark.parametrize("route", LAB.routes, ids=lambda route: f"{route.node} to {route.destination}")
def test_a_gateway_is_the_neighbour_on_its_interface(route: Route) -> None:
    (wire,) = [
        wire
        for wire in LAB.wires
        if (route.node, route.interface)
        in ((wire.one.node, wire.one.interface), (wire.other.node, wire.other.interface))
    ]
    neighbour = wire.other if wire.one.node == route.node else wire.one
    assert route.gateway in [address.partition("/")[0] for address in neighbour.addresses]


def test_no_address_is_given_twice() -> None:
    everybody = [address for node in LAB.nodes for address in addresses_of(node)] + [nat.external for nat in LAB.nats]
    assert len(everybody) == len(set(everybody))


def test_only_documentation_addresses_are_used_outside_of_the_nats() -> None:
    allowed = [ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32")]
    for text in [
        *(address for node in LAB.nodes for address in addresses_of(node)),
        *(nat.external for nat in LAB.nats),
    ]:
        place = ip_address(text)
        assert any(place.version == network.version and place in network for network in allowed), text


def test_a_client_has_no_way_out_but_its_nat() -> None:
    for nat in LAB.nats:
        assert addresses_of(nat.client) == []
        assert ip_interface(nat.inside).is_private
    assert [nat.client for nat in LAB.nats] == ["client-a", "client-b"]


def test_the_server_has_two_consecutive_ipv4_addresses_and_a_native_one() -> None:
    first, second, six = addresses_of("server")
    assert int(ip_address(second)) == int(ip_address(first)) + 1
    assert ip_address(six).version == 6


def test_the_roles_of_the_lab_file_have_the_addresses_of_their_nodes() -> None:
    for role in load(LAB_FILE, strict=True).roles:
        assert role.namespace in LAB.nodes
        own = addresses_of(role.namespace)
        match role:
            case ServerConfig():
                assert {show_ipv4(role.bind_address), show_ipv4(role.bind_address2)} <= set(own)
            case RelayConfig():
                assert show_ipv4(role.bind_address) in own
            case ClientConfig():
                servers = [show_ipv4(server) for server in role.server_address if isinstance(server, bytes)]
                assert servers == [addresses_of("server")[0]]


def test_the_native_network_leads_the_service_prefix_to_the_relay() -> None:
    (route,) = [route for route in LAB.routes if route.destination == "2001::/32"]
    assert (route.node, route.gateway) == ("six", addresses_of("relay")[1])
    assert parse_ipv6(addresses_of("host")[0]) == HOST_ADDRESS


def test_a_nat_s_external_address_is_called_by_its_client() -> None:
    names = LAB.ipv4_names()
    assert names[parse_ipv4("198.51.100.1")] == "client-a"
    assert names[parse_ipv4("192.0.2.2")] == "server"
    assert names[parse_ipv4("192.0.2.17")] == "relay"
    assert all(len(address) == 4 for address in names)


def test_every_wire_and_both_sides_of_every_nat_are_segments_with_names_of_their_own() -> None:
    assert [segment.name for segment in LAB.segments()] == [
        "core--server",
        "core--relay",
        "six--server",
        "six--relay",
        "six--host",
        "client-a--NAT",
        "NAT of client-a--core",
        "client-b--NAT",
        "NAT of client-b--core",
    ]


def test_a_segment_of_a_wire_has_both_ends_and_one_of_a_nat_its_neighbour_s() -> None:
    segments = {segment.name: segment for segment in LAB.segments()}
    assert segments["six--relay"] == Segment("six--relay", (("six", "relay"), ("relay", "six")))
    assert segments["client-a--NAT"] == Segment("client-a--NAT", (("client-a", "lan"),), "client-a")
    outside = segments["NAT of client-b--core"]
    assert outside == Segment("NAT of client-b--core", (("core", "nat-client-b"),), "client-b")


def test_the_device_of_a_nat_has_a_name_that_the_kernel_takes() -> None:
    place = NatPlace("a-client-of-many-words", "192.168.1.2/24", "198.51.100.1", "core")
    assert place.outside_name == "nat-a-client-of"


def test_an_empty_lab_has_no_names() -> None:
    assert Topology((), (), (), (), (), ()).ipv4_names() == {}


@pytest.mark.parametrize(
    ("text", "address", "length"),
    [("192.0.2.1/28", "192.0.2.1", 28), ("2001:db8:1::1/64", "2001:db8:1::1", 64), ("192.0.2.1", "192.0.2.1", 32)],
)
def test_an_interface_keeps_its_host_bits(text: str, address: str, length: int) -> None:
    assert interface_of(text) == (ip_address(address).packed, length)


@pytest.mark.parametrize(
    ("text", "address", "length"),
    [("0.0.0.0/0", "0.0.0.0", 0), ("2001::/32", "2001::", 32), ("::/0", "::", 0), ("192.0.2.14", "192.0.2.14", 32)],
)
def test_a_prefix_is_an_address_and_a_length(text: str, address: str, length: int) -> None:
    assert prefix_of(text) == (ip_address(address).packed, length)


def test_a_prefix_with_host_bits_is_an_error() -> None:
    with pytest.raises(ValueError, match="host bits"):
        prefix_of("192.0.2.1/28")


# ---------------------------------------------------------------- what is in front of the clients

FRONTED = LAB.fronted({"client-a": KernelNat.CONE, "client-b": NO_NAT})


def test_the_models_of_nats_change_nothing() -> None:
    assert LAB.fronted(dict.fromkeys(("client-a", "client-b"), LINUX_MASQUERADE)) == LAB


def test_a_kernel_nat_is_a_router_between_its_client_and_the_core() -> None:
    assert set(FRONTED.nodes) - set(LAB.nodes) == {"nat-client-a"}
    assert set(FRONTED.ipv4_routers) - set(LAB.ipv4_routers) == {"nat-client-a"}
    ends = {(end.node, end.interface): end.addresses for end in FRONTED.ends() if end not in LAB.ends()}
    assert ends == {
        ("client-a", "lan"): ("192.168.1.2/24",),
        ("nat-client-a", "lan"): ("192.168.1.1/24",),
        ("nat-client-a", "wan"): ("198.51.100.1/31",),
        ("core", "nat-client-a"): ("198.51.100.0/31",),
        ("client-b", "wan"): ("198.51.100.2/31",),
        ("core", "nat-client-b"): ("198.51.100.3/31",),
    }


def test_each_has_its_way_out() -> None:
    added = [route for route in FRONTED.routes if route not in LAB.routes]
    assert added == [
        Route("client-a", "0.0.0.0/0", "lan", "192.168.1.1"),
        Route("nat-client-a", "0.0.0.0/0", "wan", "198.51.100.0"),
        Route("client-b", "0.0.0.0/0", "wan", "198.51.100.3"),
    ]


def test_an_external_address_is_its_clients_whatever_has_it() -> None:
    names = FRONTED.ipv4_names()
    assert names[parse_ipv4("198.51.100.1")] == "client-a"
    assert names[parse_ipv4("198.51.100.2")] == "client-b"
    assert FRONTED.addresses_of("client-a") == ["192.168.1.2", "NAT 198.51.100.1"]
    assert FRONTED.addresses_of("client-b") == ["198.51.100.2"]


def test_a_wire_of_a_client_is_a_segment_of_its_own() -> None:
    added = [segment for segment in FRONTED.segments() if segment.client]
    assert [(segment.name, segment.client) for segment in added] == [
        ("client-a--nat-client-a", "client-a"),
        ("nat-client-a--core", "client-a"),
        ("client-b--core", "client-b"),
    ]
    assert all(len(segment.interfaces) == 2 for segment in added)
