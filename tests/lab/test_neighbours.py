# SPDX-License-Identifier: MIT
"""Clients behind one NAT that do not depend on its hairpinning, because they are on one link (RFC 4380 5.2.8)."""

import pytest

from miredo.address.endpoint import endpoint, parse_ipv4
from miredo.lab.attachments import HOME_PREFIX_LENGTH, INSIDE
from miredo.lab.links import Link
from miredo.lab.nat import KINDS, NatBehaviour, Refusal
from miredo.lab.world import CLIENT_PORT, ClientNode
from miredo.teredo.actions import SendToGroup
from miredo.teredo.constants import DISCOVERY_HIGH, DISCOVERY_LOW
from miredo.teredo.discovery import Subnet
from tests.teredo.cores import only
from tests.world import PATIENCE, WatchedWorld, address_of, answered

LAN = Link(delay=0.001)
EXTERNAL = "198.51.100.7"


class Household:
    """Clients of one LAN, the first of which has its address; the next ones come a minute later each."""

    def __init__(self, behaviour: NatBehaviour, lan: Link = LAN, *, seed: int = 0, count: int = 2) -> None:
        self.world = world = WatchedWorld(seed, Link(delay=0.02))
        server = world.server("203.0.113.1", "203.0.113.2")
        self.server = server
        self.home = world.home(EXTERNAL, behaviour, lan=lan)
        self.clients = [world.client_in(self.home, server, f"client {number}") for number in range(count)]
        for client in self.clients:
            client.start()
            world.run(60.0)
        assert all(client.observed is not None for client in self.clients)

    def ping(self, source: int, destination: int) -> float | None:
        """Seconds to the answer of the first packet."""
        ping = self.clients[source].ping(address_of(self.clients[destination]))
        answered(self.world, ping, PATIENCE)
        return ping.rtt


def groups(client: ClientNode) -> int:
    """How many discovery bubbles it has sent."""
    return len(only(SendToGroup, client.actions))


@pytest.mark.requirement("C26", "C27", "C42", "C73")
@pytest.mark.parametrize("first", [0, 1], ids=["who was there", "who came later"])
@pytest.mark.parametrize("behaviour", KINDS, ids=str)
def test_without_hairpinning_neighbours_reach_each_other_past_the_nat(behaviour: NatBehaviour, first: int) -> None:
    both = Household(behaviour)
    both.world.carried.clear()
    rtt = both.ping(first, 1 - first)
    assert rtt == pytest.approx(0.004), "two ways over the LAN, to the neighbour and back, for trust and for the packet"
    assert both.home.nat.refused[Refusal.HAIRPIN] == 0
    assert [carried for carried in both.world.carried if "client" in carried.sender] == []


@pytest.mark.parametrize("behaviour", KINDS, ids=str)
def test_neighbours_that_talk_have_a_way_as_long_as_the_lan(behaviour: NatBehaviour) -> None:
    both = Household(behaviour)
    both.ping(0, 1)
    assert both.ping(1, 0) == pytest.approx(0.002)


@pytest.mark.parametrize("seed", range(20))
def test_with_a_loss_of_2_percent_neighbours_reach_each_other(seed: int) -> None:
    both = Household(NatBehaviour(), Link(delay=0.001, loss=0.02), seed=seed)
    pings = [both.clients[seed % 2].ping(address_of(both.clients[1 - seed % 2])) for _ in range(10)]
    both.world.run(PATIENCE)
    lost = [ping for ping in pings if ping.answered is None]
    assert len(lost) <= 2, "each is a packet that the LAN itself lost"


def test_a_neighbour_that_nobody_has_heard_of_is_found_when_it_is_looked_for() -> None:
    """All that was said on the LAN when it came was lost."""
    both = Household(NatBehaviour(), Link(loss=1.0))
    both.home.lan = LAN
    assert [len(client.core.discovery) for client in both.clients] == [0, 0]
    rtt = both.ping(0, 1)
    assert rtt is not None
    assert rtt < 0.01


def test_a_neighbour_that_does_not_know_us_is_found_by_way_of_the_server() -> None:
    """It knows us and we do not know it: what we say on the LAN is lost, what goes through the server is not."""
    both = Household(NatBehaviour())
    left, right = both.clients
    right.core.attached([], both.world.now)
    right.core.attached([Subnet(INSIDE[:3] + b"\x03", HOME_PREFIX_LENGTH)], both.world.now)
    assert (len(left.core.discovery), len(right.core.discovery)) == (1, 0)
    rtt = both.ping(1, 0)
    assert rtt is not None
    assert rtt < 0.1


def test_where_nothing_passes_from_host_to_host_the_ordinary_attempts_follow() -> None:
    """The LAN falls silent after they have met; the NAT hairpins."""
    both = Household(NatBehaviour(hairpinning=True))
    both.home.lan = Link(loss=1.0)
    rtt = both.ping(0, 1)
    assert rtt is not None
    assert 2.25 <= rtt < 2.5


def test_neighbours_say_that_they_are_there_every_200_to_300_s() -> None:
    both = Household(NatBehaviour())
    before = [groups(client) for client in both.clients]
    both.world.run(86400.0)
    for client, already in zip(both.clients, before, strict=True):
        assert 86400 / DISCOVERY_HIGH - 1 <= groups(client) - already <= 86400 / DISCOVERY_LOW + 1


def test_neighbours_find_each_other_again_after_an_hour_of_silence() -> None:
    both = Household(NatBehaviour())
    both.world.run(3600.0)
    assert both.ping(0, 1) == pytest.approx(0.004)


def test_a_neighbour_whose_mapping_changes_is_found_under_its_new_address() -> None:
    both = Household(NatBehaviour())
    both.home.nat.reboot()
    both.world.run(60.0)
    left, right = both.clients
    assert address_of(right) in [neighbour.address for neighbour in left.core.discovery]
    assert both.ping(0, 1) == pytest.approx(0.004)


def test_twenty_neighbours_who_come_one_by_one_all_know_each_other() -> None:
    all_of_them = Household(NatBehaviour(), count=20)
    assert [len(client.core.discovery) for client in all_of_them.clients] == 20 * [19]
    assert all_of_them.ping(19, 0) == pytest.approx(0.004)


def test_twenty_neighbours_who_come_at_once_know_each_other_and_say_little() -> None:
    world = WatchedWorld(0, Link(delay=0.02))
    server = world.server("203.0.113.1", "203.0.113.2")
    home = world.home(EXTERNAL, NatBehaviour(), lan=LAN)
    clients = [world.client_in(home, server, f"client {number}") for number in range(20)]
    for client in clients:
        client.start()
    world.run(60.0)
    assert [len(client.core.discovery) for client in clients] == 20 * [19]
    assert max(groups(client) for client in clients) <= 3


def test_local_endpoints_are_those_of_the_lan() -> None:
    both = Household(NatBehaviour())
    left, right = both.clients
    (neighbour,) = left.core.discovery
    assert neighbour.address == address_of(right)
    assert neighbour.endpoint == endpoint(INSIDE[:3] + b"\x03", CLIENT_PORT)
    assert parse_ipv4("192.168.1.3") == neighbour.endpoint[:4]
