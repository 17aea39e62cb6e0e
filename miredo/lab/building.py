# SPDX-License-Identifier: MIT
"""A topology made real: network namespaces, cables, addresses, routes, and NATs on TUN devices or of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from miredo.address.endpoint import Dice, IPv4, parse_ipv4
from miredo.kernel.interfaces import IClock, IEndpoints, INetwork, ITunnel
from miredo.kernel.namespaces import create_namespace
from miredo.lab.cables import Cable, DistantTunnel
from miredo.lab.fronts import Front, KernelNat
from miredo.lab.kernelnat import become_nat
from miredo.lab.links import Link
from miredo.lab.nat import Nat, NatBehaviour
from miredo.lab.natbox import NatBox
from miredo.lab.topology import INSIDE_NAME, End, NatPlace, Route, Topology, Wire, interface_of, prefix_of

MTU = 1500
PREFERRED = 1
"""The metric of a route that is preferred to those of a topology, which have the kernel's."""
SETTINGS = {
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv6/conf/all/accept_dad": 0,
    "net/ipv6/conf/default/accept_dad": 0,
    "net/ipv6/conf/default/dad_transmits": 0,
    "net/ipv6/conf/default/accept_ra": 0,
}
"""Every node's: addresses are usable at once, and nobody configures itself."""


class Laboratory:
    """A topology in namespaces of this process; L{close} gives back what it opened, the namespaces end with us.

    @param endpoints: opens things in the network namespace of that name.
    @param link: what lies along every wire and outside every NAT.
    """

    def __init__(
        self,
        topology: Topology,
        endpoints: Callable[[str], IEndpoints],
        clock: IClock,
        dice: Dice,
        link: Link | None = None,
    ) -> None:
        self.topology = topology
        self._link = link or Link()
        self._luck = Random(int.from_bytes(dice(8), "big"))
        self._cables: list[Cable] = []
        self.nats: dict[str, NatBox] = {}
        self._endpoints = endpoints
        self._clock = clock
        self._dice = dice
        self._networks: dict[str, INetwork] = {}
        self._holes: dict[tuple[str, IPv4], ITunnel] = {}

    def build(self, fronts: Mapping[str, Front]) -> None:
        """Make everything; the topology then has the nodes and wires that the fronts need.

        @param fronts: what is in front of each client.
        @raise OSError: the kernel refused something; the text says what.
        """
        topology = self.topology = self.topology.fronted(fronts)
        for node in topology.nodes:
            self._make_node(node)
        for wire in topology.wires:
            self._lay(wire)
        for nat in topology.nats:
            front = fronts[nat.client]
            if isinstance(front, NatBehaviour):
                self.nats[nat.client] = self._place(nat, front)
            elif isinstance(front, KernelNat):
                become_nat(nat.router, front, nat.inside.partition("/")[0])
        for route in topology.routes:
            self._add_route(route)

    @property
    def is_ready(self) -> bool:
        """Whether every wire carries packets and its ends take them; the kernel takes a moment over both."""
        return all(self._is_ready(end) for wire in self.topology.wires for end in (wire.one, wire.other))

    def _is_ready(self, end: End) -> bool:
        network = self._networks[end.node]
        addresses = (interface_of(text)[0] for text in end.addresses)
        return network.is_running(_index(network, end.interface)) and all(map(network.is_local, addresses))

    def start(self) -> None:
        for cable in self._cables:
            cable.start()
        for box in self.nats.values():
            box.start()

    def close(self) -> None:
        for box in self.nats.values():
            box.close()
        for hole in self._holes.values():
            hole.close()
        for cable in self._cables:
            cable.close()
        for network in self._networks.values():
            network.close()
        self._networks.clear()

    def move_route(self, route: Route) -> None:
        """Send a prefix another way from now on: the route is preferred to that of the topology."""
        self._add_route(route, PREFERRED)

    def black_hole(self, node: str, address: IPv4) -> None:
        """A node loses all that it would forward to an address, without a word."""
        self._holes[node, address] = hole = self._endpoints(node).open_tunnel(f"hole-{address.hex()}", MTU)
        self._networks[node].add_route(address, 32, hole.index)

    def fill_hole(self, node: str, address: IPv4) -> None:
        """Undo L{black_hole}."""
        self._holes.pop((node, address)).close()

    def _make_node(self, node: str) -> None:
        create_namespace(node)
        network = self._networks[node] = self._endpoints(node).network()
        for path, value in SETTINGS.items():
            network.set_sysctl(path, value)
        network.set_sysctl("net/ipv4/ip_forward", int(node in self.topology.ipv4_routers))
        network.set_sysctl("net/ipv6/conf/all/forwarding", int(node in self.topology.ipv6_routers))
        network.set_up(_index(network, "lo"))

    def _lay(self, wire: Wire) -> None:
        """A cable: the kernel's own where the link does nothing, else two TUN devices with the link between them."""
        one, other = wire.one, wire.other
        if self._link == Link():
            self._networks[one.node].add_veth(one.interface, other.interface, other.node)
            for end in (one, other):
                # Checksums are filled in by the sender, so that a capture shows the packets as a real wire would.
                self._networks[end.node].set_transmit_checksum_offload(end.interface, False)
        else:
            tunnels = [self._endpoints(end.node).open_tunnel(end.interface, MTU) for end in (one, other)]
            self._cables.append(Cable(tunnels[0], tunnels[1], self._link, self._clock, self._luck))
        for end in (one, other):
            self._plug(end)

    def _plug(self, end: End) -> None:
        network = self._networks[end.node]
        index = _index(network, end.interface)
        network.set_up(index, MTU)
        for text in end.addresses:
            network.add_address(index, *interface_of(text))

    def _place(self, place: NatPlace, behaviour: NatBehaviour) -> NatBox:
        inside = self._endpoints(place.client).open_tunnel(INSIDE_NAME, MTU)
        outside = self._endpoints(place.outside).open_tunnel(place.outside_name, MTU)
        client, core = self._networks[place.client], self._networks[place.outside]
        client.add_address(inside.index, *interface_of(place.inside))
        client.add_route(*prefix_of("0.0.0.0/0"), inside.index)
        nat = Nat(behaviour, parse_ipv4(place.external), self._dice)
        for address in nat.addresses:
            core.add_route(address, 32, outside.index)
        if self._link != Link():
            outside = DistantTunnel(outside, self._link, self._clock, self._luck)
        return NatBox(nat, inside, outside, self._clock)

    def _add_route(self, route: Route, metric: int | None = None) -> None:
        network = self._networks[route.node]
        destination, length = prefix_of(route.destination)
        gateway = prefix_of(route.gateway)[0]
        network.add_route(destination, length, _index(network, route.interface), metric, gateway)


def _index(network: INetwork, name: str) -> int:
    index = network.index_of(name)
    if index is None:
        raise LookupError(f"there is no interface {name}")
    return index
