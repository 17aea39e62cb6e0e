# SPDX-License-Identifier: MIT
"""A client service on a LAN: where the discovery group is joined, what is said there, and what comes of it."""

import pytest

from miredo.address.endpoint import endpoint, ipv4_of, parse_ipv4
from miredo.address.teredo import ALL_NODES, DISCOVERY_GROUP, compose, mapped_of
from miredo.kernel.memory import MemoryEndpoints, MemoryGroup, MemoryNetwork
from miredo.service.surroundings import Sent
from miredo.teredo.drops import Drop
from miredo.wire.bubble import emit_bubble
from tests.kernel.bench import Recorder
from tests.service.internet import ROLES, SERVER, TeredoInternet, logging

OURS, THEIRS = "192.168.1.2", "192.168.1.3"
GROUP, PORT = "224.0.0.253", 3544


def give(endpoints: MemoryEndpoints, name: str, address: str, length: int = 24) -> int:
    """A link with an address."""
    network = MemoryNetwork(endpoints.stack, {})
    index = network.index_of(name) or endpoints.stack.add_link(name).index
    network.set_up(index)
    network.add_address(index, parse_ipv4(address), length)
    return index


class Lan:
    """The client's host has a link to a LAN, and another host is there."""

    def __init__(self, text: str = ROLES, ours: str = OURS, length: int = 24) -> None:
        self.internet = TeredoInternet(text)
        self.index = give(self.internet.client, "eth1", ours, length)
        self.internet.start()
        self.internet.run()
        self.theirs = MemoryEndpoints(self.internet.net, [(parse_ipv4(THEIRS), 24)])
        self.unicast = Recorder()
        self.port = self.theirs.listen_udp(self.unicast, "0.0.0.0", 40000)
        self.heard: list[tuple[bytes, tuple[str, int]]] = []
        self.group = self.theirs.join_group(self.port, GROUP, PORT, lambda *each: self.heard.append(each))
        self.group.attend({self.theirs.stack.links["eth0"].index: parse_ipv4(THEIRS)})

    @property
    def own(self) -> bytes:
        return self.internet.qualified[-1]

    @property
    def neighbour(self) -> bytes:
        """Who is behind the client's NAT, if there is one."""
        return compose(parse_ipv4(SERVER), endpoint(ipv4_of(mapped_of(self.own)), 999), 0)

    @property
    def joined(self) -> MemoryGroup:
        (group,) = self.internet.client.groups
        return group

    def said(self) -> list[Sent]:
        return [event for event in self.internet.sent("client a") if event.to == DISCOVERY_GROUP]


@pytest.mark.requirement("C70")
def test_a_client_says_on_its_lan_that_it_is_there() -> None:
    lan = Lan()
    assert [sent.datagram for sent in lan.said()] == [emit_bubble(lan.own, ALL_NODES, hop_limit=1)]
    lan.internet.run(300.0)
    port = lan.internet.client_service().port
    assert lan.heard == [(emit_bubble(lan.own, ALL_NODES, hop_limit=1), (OURS, port))]


@pytest.mark.requirement("C26", "C73")
def test_a_neighbour_has_a_bubble_from_the_service_port() -> None:
    lan = Lan()
    lan.group.send(emit_bubble(lan.neighbour, ALL_NODES, hop_limit=1))
    lan.internet.run()
    ((datagram, _),) = lan.unicast.received
    assert datagram == emit_bubble(lan.own, lan.neighbour)
    core = lan.internet.client_service().protocol.core
    assert [each.endpoint for each in core.discovery] == [endpoint(parse_ipv4(THEIRS), 40000)]


@pytest.mark.requirement("T26")
def test_a_discovery_bubble_to_the_service_port_finds_no_answer() -> None:
    lan = Lan()
    place = OURS, lan.internet.client_service().port
    lan.port.write(emit_bubble(lan.neighbour, ALL_NODES, hop_limit=1), place)
    lan.internet.run()
    assert lan.unicast.received == []
    assert lan.internet.client_service().protocol.core.drops[Drop.NO_TRANSIT] == 1


@pytest.mark.parametrize(
    ("ours", "length"),
    [("192.0.2.200", 24), ("10.1.2.3", 31), ("10.1.2.3", 32)],
    ids=["a public address", "no room for others", "a host alone"],
)
def test_no_group_is_joined_where_there_is_nobody_to_be_found(ours: str, length: int) -> None:
    lan = Lan(ours=ours, length=length)
    lan.internet.run(300.0)
    assert lan.said() == []


def test_with_local_discovery_off_nothing_is_opened() -> None:
    lan = Lan(ROLES + "LocalDiscovery no\n")
    lan.internet.run(300.0)
    assert (lan.said(), lan.internet.client.groups) == ([], [])


def test_a_client_that_is_bound_to_another_address_says_nothing() -> None:
    lan = Lan(ROLES + "BindAddress 198.51.100.7\n")
    assert lan.said() == []


def test_a_link_that_comes_later_is_joined_and_one_that_goes_is_left() -> None:
    lan = Lan()
    other = give(lan.internet.client, "wlan0", "10.9.9.9", 8)
    before = len(lan.said())
    lan.internet.run(2.0)
    assert len(lan.said()) == before + 1
    attached = lan.internet.client_service().protocol.core
    assert attached.discovery.deadline is not None
    for link in ("eth1", "wlan0"):
        lan.internet.client.stack.delete_link(link)
    lan.internet.run(2.0)
    said = len(lan.said())
    lan.internet.run(600.0)
    assert (other > 0, len(lan.said())) == (True, said)


def test_the_tunnel_is_no_lan() -> None:
    lan = Lan(ours="192.0.2.200")
    give(lan.internet.client, "teredo", "192.168.7.1")
    lan.internet.run(300.0)
    assert lan.said() == []


def test_a_link_that_takes_nothing_is_counted() -> None:
    lan = Lan()
    lan.internet.client.stack.links["eth1"].up = False
    lan.internet.run(300.0)
    assert lan.internet.client_service().protocol.refused["discovery bubble"] >= 1


def test_who_has_the_port_of_all_addresses_costs_the_discovery_and_no_more() -> None:
    with logging() as logged:
        lan = Lan(ROLES + f"BindPort {PORT}\n")
    (line,) = [line for line in logged.at("warn") if "LocalDiscovery" in line]
    assert line.startswith("client a: no LocalDiscovery: UDP group 224.0.0.253:3544: ")
    assert (len(lan.internet.qualified), lan.said()) == (1, [])


def test_a_client_that_stops_leaves_the_group() -> None:
    lan = Lan()
    lan.internet.stop()
    assert lan.internet.client.open_things() == []
    lan.group.send(emit_bubble(lan.neighbour, ALL_NODES, hop_limit=1))
    lan.internet.run()
    assert lan.unicast.received == []
