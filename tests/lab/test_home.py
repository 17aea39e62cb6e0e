# SPDX-License-Identifier: MIT
"""Clients behind one NAT, and the whole behind every kind of NAT that has a name."""

from collections import Counter
from dataclasses import dataclass, replace

import pytest

from miredo.address.endpoint import endpoint, ipv4_of, parse_ipv4, show_ipv4
from miredo.address.teredo import mapped_of
from miredo.lab.attachments import Home
from miredo.lab.links import Link
from miredo.lab.nat import BEHAVIOURS, FAMILIAR, KINDS, Filtering, NatBehaviour, Refusal, parse_behaviour
from miredo.lab.world import ClientNode, ServerNode, World
from tests.world import PATIENCE, WatchedWorld, address_of, answered, qualified_lab, qualified_pair

DELAYS = [0.0, 0.04, 0.15]
FURTHER = ["cone/pool=4", "port-restricted/pool=2/arbitrary", "sequential-symmetric/load=50", "cone/hairpinning"]
NAMED = [*KINDS, *map(parse_behaviour, [*FAMILIAR, *FURTHER])]
EXTERNAL = "198.51.100.7"
every_nat = pytest.mark.parametrize("behaviour", dict.fromkeys(NAMED), ids=str)
every_delay = pytest.mark.parametrize("delay", DELAYS)


@every_delay
@every_nat
def test_behind_every_nat_the_first_ping_to_the_native_host_is_answered(behaviour: NatBehaviour, delay: float) -> None:
    lab = qualified_lab(behaviour, Link(delay=delay))
    assert lab.answered(lab.ping())


@every_delay
@every_nat
def test_behind_every_nat_the_first_ping_of_the_native_host_is_answered(behaviour: NatBehaviour, delay: float) -> None:
    lab = qualified_lab(behaviour, Link(delay=delay))
    assert lab.answered(lab.ping_back())


@dataclass
class Household:
    """Two clients behind one NAT."""

    world: WatchedWorld
    server: ServerNode
    home: Home
    left: ClientNode
    right: ClientNode

    def ping(self) -> bool:
        """Does the left client's first packet reach the right one, and an answer come back?"""
        return answered(self.world, self.left.ping(address_of(self.right)), PATIENCE)


def household(behaviour: NatBehaviour, link: Link | None = None) -> Household:
    """Both have their addresses, and know nothing of each other."""
    world = WatchedWorld(0, link)
    server = world.server("203.0.113.1", "203.0.113.2")
    world.relay("203.0.113.3")
    world.host("2001:db8::1")
    home = world.home(EXTERNAL, behaviour)
    clients = [world.client_in(home, server, name) for name in ("left", "right")]
    for client in clients:
        client.start()
    assert world.run_until(lambda: all(client.observed is not None for client in clients), 40.0)
    return Household(world, server, home, *clients)


def native_pings(world: World, client: ClientNode) -> bool:
    """Client to host and back, each cold for the one who asks."""
    host = world.host("2001:db8::2", f"host of {client.name}")
    return answered(world, client.ping(host.address)) and answered(world, host.ping(address_of(client)))


@every_nat
def test_two_clients_behind_one_nat_both_reach_the_native_host(behaviour: NatBehaviour) -> None:
    both = household(behaviour, Link(delay=0.02))
    assert address_of(both.left) != address_of(both.right)
    assert [native_pings(both.world, each) for each in (both.left, both.right)] == [True, True]


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("filtering", list(Filtering))
def test_two_clients_behind_a_hairpinning_nat_reach_each_other(filtering: Filtering, delay: float) -> None:
    both = household(NatBehaviour(filtering=filtering, hairpinning=True), Link(delay=delay))
    assert both.ping()
    assert both.home.nat.refused[Refusal.HAIRPIN] == 0


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=str)
def test_a_hairpinning_nat_is_as_good_as_two_nats_of_its_kind(behaviour: NatBehaviour) -> None:
    link = Link(delay=0.02)
    apart = qualified_pair(behaviour, behaviour, link)
    assert household(replace(behaviour, hairpinning=True), link).ping() is apart.answered(apart.ping())


def test_between_neighbours_data_does_not_leave_the_home() -> None:
    both = household(NatBehaviour(hairpinning=True), Link(delay=0.02))
    assert both.ping()
    warm = both.left.ping(address_of(both.right))
    assert answered(both.world, warm)
    assert warm.rtt == 0.0


@pytest.mark.parametrize("behaviour", KINDS, ids=str)
def test_without_hairpinning_two_clients_behind_one_nat_do_not_reach_each_other(behaviour: NatBehaviour) -> None:
    """RFC 4380, 2 and 5.2.8: for them there is the local discovery, which goes another way."""
    both = household(behaviour, Link(delay=0.02))
    assert not both.ping()
    assert both.home.nat.refused[Refusal.HAIRPIN] > 0


def test_neighbours_have_addresses_of_their_own_and_ports_of_their_own() -> None:
    both = household(NatBehaviour())
    left, right = (mapped_of(address_of(each)) for each in (both.left, both.right))
    assert (ipv4_of(left), ipv4_of(right)) == (parse_ipv4(EXTERNAL), parse_ipv4(EXTERNAL))
    assert left != right
    assert left == endpoint(parse_ipv4(EXTERNAL), 40000)


def test_what_crosses_the_home_is_drawn_and_so_is_what_it_refuses() -> None:
    both = household(NatBehaviour())
    assert not both.ping()
    drawn = Counter((step.sender, step.receiver, step.note) for step in both.world.steps)
    refused = drawn["left", "home", "refused"] + drawn["right", "home", "refused"]
    assert refused == both.home.nat.refused[Refusal.HAIRPIN]
    for way in (("left", "home", ""), ("home", "server", ""), ("server", "home", ""), ("home", "left", "")):
        assert drawn[way] > 0


def test_a_pool_is_reached_at_each_of_its_addresses() -> None:
    behaviour = parse_behaviour("cone/pool=16")
    world = WatchedWorld()
    server = world.server("203.0.113.1", "203.0.113.2")
    home = world.home(EXTERNAL, behaviour)
    clients = [world.client_in(home, server, f"client {each}") for each in range(20)]
    for client in clients:
        client.start()
    assert world.run_until(lambda: all(client.qualified is not None for client in clients), 40.0)
    used = {show_ipv4(ipv4_of(mapped_of(address_of(client)))) for client in clients}
    assert len(used) > 8
