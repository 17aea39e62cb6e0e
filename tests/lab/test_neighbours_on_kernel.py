# SPDX-License-Identifier: MIT
"""Two client services on one real wire, behind a NAT without hairpinning: they find each other by real multicast.

core (server) --- NAT --- left (client, and the other's router) --- wire --- right (client)
"""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorCore

from miredo.address.endpoint import IPv6, ipv4_of, parse_ipv4
from miredo.address.teredo import DISCOVERY_GROUP, mapped_of
from miredo.assembly import assemble_on
from miredo.config import parse
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.interfaces import INetwork
from miredo.kernel.namespaces import create_namespace
from miredo.lab.building import SETTINGS
from miredo.lab.nat import Nat, NatBehaviour, Refusal
from miredo.lab.natbox import NatBox
from miredo.lab.pingsocket import PingSocket, is_configured
from miredo.service.surroundings import Did, Sent, Took
from miredo.teredo.actions import Qualified
from tests.namespaced import install_reactor, run_reactor, until

EXTERNAL = parse_ipv4("198.51.100.1")
LEFT, RIGHT = "192.168.1.2", "192.168.1.3"
ANYWHERE = bytes(4)
ROLES = """\
[server s]
Namespace core
ServerBindAddress 192.0.2.1
[client left]
Namespace left
ServerAddress 192.0.2.1
[client right]
Namespace right
ServerAddress 192.0.2.1
"""


class Home:
    """The three namespaces, what joins them, and the services in them."""

    def __init__(self, text: str = ROLES) -> None:
        self.reactor = install_reactor()
        self.clock = BoottimeClock(self.reactor)
        self.open = ExitStack()
        self.networks = {name: self._make(name) for name in ("core", "left", "right")}
        self._wire()
        self.nat = self._nat()
        self.events: list[Sent | Took | Did] = []
        self.roles = assemble_on(IReactorCore(self.reactor), parse(text, "home.conf"), self.events.append)

    def _make(self, name: str) -> INetwork:
        create_namespace(name)
        network = KernelEndpoints(name, self.reactor).network()
        self.open.callback(network.close)
        for path, value in SETTINGS.items():
            network.set_sysctl(path, value)
        network.set_sysctl("net/ipv4/ip_forward", int(name == "left"))
        network.set_up(index_of(network, "lo"))
        return network

    def _wire(self) -> None:
        left, right = self.networks["left"], self.networks["right"]
        left.add_veth("veth0", "veth0", "right")
        for network, address in ((left, LEFT), (right, RIGHT)):
            network.set_up(index_of(network, "veth0"))
            network.add_address(index_of(network, "veth0"), parse_ipv4(address), 24)
        right.add_route(ANYWHERE, 0, index_of(right, "veth0"), gateway=parse_ipv4(LEFT))

    def _nat(self) -> Nat:
        inside = KernelEndpoints("left", self.reactor).open_tunnel("lan", 1500)
        outside = KernelEndpoints("core", self.reactor).open_tunnel("wan", 1500)
        self.networks["left"].add_route(ANYWHERE, 0, inside.index)
        self.networks["core"].add_route(EXTERNAL, 32, outside.index)
        for address in ("192.0.2.1", "192.0.2.2"):
            self.networks["core"].add_address(index_of(self.networks["core"], "lo"), parse_ipv4(address), 32)
        nat = Nat(NatBehaviour(), EXTERNAL, os.urandom)
        box = NatBox(nat, inside, outside, self.clock)
        box.start()
        self.open.callback(box.close)
        return nat

    @property
    def qualified(self) -> dict[str, IPv6]:
        found = [(event.role, event.action) for event in self.events if isinstance(event, Did)]
        return {role: action.address for role, action in found if isinstance(action, Qualified)}

    async def start(self) -> None:
        """Until both clients have their addresses, and the kernels know them."""
        self.roles.privilegedStartService()
        self.roles.startService()
        await until(lambda: len(self.qualified) == 2)
        await until(lambda: all(is_configured(name, self.address_of(name)) for name in ("left", "right")))

    def address_of(self, name: str) -> IPv6:
        return self.qualified[f"client {name}"]

    async def ping(self, source: str, destination: str) -> float:
        with PingSocket(source, self.reactor, self.clock, os.urandom) as node:
            ping = node.ping(self.address_of(destination))
            await until(lambda: ping.answered is not None, 9.0)
        assert ping.rtt is not None
        return ping.rtt

    async def stop(self) -> None:
        await maybeDeferred(self.roles.stopService)
        self.open.close()


def index_of(network: INetwork, name: str) -> int:
    index = network.index_of(name)
    assert index is not None
    return index


@pytest.mark.namespaced
@pytest.mark.requirement("C26", "C27", "C42", "C70", "C73")
@pytest.mark.parametrize("first", ["left", "right"])
def test_neighbours_on_a_real_wire_reach_each_other_past_a_nat_that_does_not_hairpin(first: str) -> None:
    async def body() -> None:
        home = Home()
        await home.start()
        assert {ipv4_of(mapped_of(address)) for address in home.qualified.values()} == {EXTERNAL}
        other = {"left": "right", "right": "left"}[first]
        cold, warm = await home.ping(first, other), await home.ping(other, first)
        assert max(cold, warm) < 3.0, "one attempt, at worst two"
        assert home.nat.refused[Refusal.HAIRPIN] == 0
        assert DISCOVERY_GROUP in [event.to for event in home.events if isinstance(event, Sent)]
        await home.stop()

    run_reactor(body(), timeout=30.0)


@pytest.mark.namespaced
def test_with_local_discovery_off_they_do_not_reach_each_other() -> None:
    """So it is the discovery and nothing else that does it."""

    async def body() -> None:
        home = Home(ROLES.replace("\nServerAddress", "\nLocalDiscovery no\nServerAddress"))
        await home.start()
        with pytest.raises(AssertionError, match="not so after 9 s"):
            await home.ping("left", "right")
        assert home.nat.refused[Refusal.HAIRPIN] > 0
        await home.stop()

    run_reactor(body(), timeout=30.0)
