# SPDX-License-Identifier: MIT
"""The lab's Internet as a value: who is there, what joins them, who routes, and which NAT a client is behind.

    server 192.0.2.1, .2 ---+                       +--- six ---- host 2001:db8:3::1   the native IPv6 network
                            |                       |     |
                          core --- 192.0.2.17 relay-+     +------ server
                            |
                +-----------+-----------+              the IPv4 Internet
            198.51.100.1          198.51.100.2
              [NAT a]               [NAT b]
            client-a              client-b
            192.168.1.2           192.168.2.2

Every node is a network namespace of its own; a NAT is none: it is a pair of TUN devices, one in its client and one in
the core, and the model of L{miredo.lab.nat} between them. But L{Topology.fronted} puts a node with a NAT of the
kernel's in its place, or joins the client to the core with a wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_interface, ip_network

from miredo.address.endpoint import IPv4, IPv6, parse_ipv4, parse_ipv6
from miredo.lab.fronts import Front, KernelNat, NoNat
from miredo.lab.kernelnat import INSIDE, OUTSIDE

INSIDE_NAME = "lan"
"""The name of a NAT's device in its client."""
LONGEST_NAME = 15
"""Characters of an interface's name (IFNAMSIZ of Linux, less the NUL)."""


@dataclass(frozen=True, slots=True)
class End:
    """One end of a wire: a node's interface and its addresses (C{192.0.2.1/28})."""

    node: str
    interface: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """What joins two neighbours, and where its packets can be seen.

    @ivar name: tells its two ends to a person.
    @ivar interfaces: node and interface of both ends, or of the one end that has an interface.
    @ivar client: whose NAT it is at; C{None} for a wire.
    """

    name: str
    interfaces: tuple[tuple[str, str], ...]
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Wire:
    """A cable between two nodes.

    @ivar client: whose way out it is; C{None} if it is everybody's.
    """

    one: End
    other: End
    client: str | None = None

    @property
    def segment(self) -> Segment:
        ends = tuple((end.node, end.interface) for end in (self.one, self.other))
        return Segment(f"{self.one.node}--{self.other.node}", ends, self.client)


@dataclass(frozen=True, slots=True)
class Route:
    """C{node} sends C{destination} (a prefix) to C{gateway} through C{interface}."""

    node: str
    destination: str
    interface: str
    gateway: str


@dataclass(frozen=True, slots=True)
class NatPlace:
    """Where a NAT is: between a client and a node of the IPv4 Internet.

    @ivar kernel: the NAT is a node of its own, L{router}, with rules of this kind.
    @ivar absent: there is none, and the client has the external address itself.
    """

    client: str
    inside: str
    external: str
    outside: str
    kernel: KernelNat | None = None
    absent: bool = False

    @property
    def is_model(self) -> bool:
        """Whether it is a pair of TUN devices."""
        return self.kernel is None and not self.absent

    @property
    def router(self) -> str:
        """The node that the kernel's NAT is in."""
        return f"nat-{self.client}"

    @property
    def wires(self) -> tuple[Wire, ...]:
        """What joins the client to the outside, unless the model does; outside, two addresses are a subnet (/31)."""
        if self.is_model:
            return ()
        neighbour = End(self.outside, self.outside_name, (f"{self._neighbour}/31",))
        if self.absent:
            return (Wire(End(self.client, OUTSIDE, (f"{self.external}/31",)), neighbour, self.client),)
        inside = End(self.router, INSIDE, (f"{self._gateway}/{ip_interface(self.inside).network.prefixlen}",))
        return (
            Wire(End(self.client, INSIDE_NAME, (self.inside,)), inside, self.client),
            Wire(End(self.router, OUTSIDE, (f"{self.external}/31",)), neighbour, self.client),
        )

    @property
    def routes(self) -> tuple[Route, ...]:
        """The ways out along the wires."""
        if self.is_model:
            return ()
        if self.absent:
            return (Route(self.client, "0.0.0.0/0", OUTSIDE, self._neighbour),)
        return (
            Route(self.client, "0.0.0.0/0", INSIDE_NAME, self._gateway),
            Route(self.router, "0.0.0.0/0", OUTSIDE, self._neighbour),
        )

    @property
    def _gateway(self) -> str:
        """The first address inside."""
        return str(ip_interface(self.inside).network[1])

    @property
    def _neighbour(self) -> str:
        """The other address of the external one's /31."""
        return str(IPv4Address(int(IPv4Address(self.external)) ^ 1))

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Inside and outside of the model, which has no interface itself: its neighbours have one each."""
        if not self.is_model:
            return ()
        client, outside = self.client, self.outside
        return (
            Segment(f"{client}--NAT", ((client, INSIDE_NAME),), client),
            Segment(f"NAT of {client}--{outside}", ((outside, self.outside_name),), client),
        )

    @property
    def outside_name(self) -> str:
        """The name of the device that leads to it outside."""
        return f"nat-{self.client}"[:LONGEST_NAME]


@dataclass(frozen=True, slots=True)
class Topology:
    """A laboratory.

    @ivar ipv4_routers, ipv6_routers: the nodes that forward.
    """

    nodes: tuple[str, ...]
    wires: tuple[Wire, ...]
    routes: tuple[Route, ...]
    nats: tuple[NatPlace, ...]
    ipv4_routers: tuple[str, ...]
    ipv6_routers: tuple[str, ...]

    def fronted(self, fronts: Mapping[str, Front]) -> Topology:
        """The same with this in front of each client: kernel NATs are nodes, and public clients have a wire."""
        nats = tuple(_fronted(nat, fronts[nat.client]) for nat in self.nats)
        routers = tuple(nat.router for nat in nats if nat.kernel is not None)
        return replace(
            self,
            nodes=(*self.nodes, *routers),
            wires=(*self.wires, *(wire for nat in nats for wire in nat.wires)),
            routes=(*self.routes, *(route for nat in nats for route in nat.routes)),
            nats=nats,
            ipv4_routers=(*self.ipv4_routers, *routers),
        )

    def ipv4_names(self) -> dict[IPv4, str]:
        """The node that each IPv4 address belongs to; a NAT's external address is its client's."""
        names: dict[IPv4, str] = {}
        for end in self.ends():
            for text in end.addresses:
                if ip_interface(text).version == 4:
                    names[ip_interface(text).ip.packed] = end.node
        return names | {parse_ipv4(nat.external): nat.client for nat in self.nats}

    def addresses_of(self, node: str) -> list[str]:
        """The addresses of a node's cables, and of the NAT that it is behind: its own first."""
        found = [text.partition("/")[0] for end in self.ends() if end.node == node for text in end.addresses]
        for nat in self.nats:
            if nat.client == node and not nat.absent:
                inside = [nat.inside.partition("/")[0]] if nat.is_model else []
                found += [*inside, f"NAT {nat.external}"]
        return found

    def external_of(self, client: str) -> str:
        """The IPv4 address of the NAT that a client is behind."""
        return next(nat.external for nat in self.nats if nat.client == client)

    def segments(self) -> list[Segment]:
        """All that packets cross between two nodes, or between a node and a NAT."""
        return [wire.segment for wire in self.wires] + [segment for nat in self.nats for segment in nat.segments]

    def ends(self) -> list[End]:
        return [end for wire in self.wires for end in (wire.one, wire.other)]


HOST_ADDRESS: IPv6 = parse_ipv6("2001:db8:3::1")
"""The native IPv6 host that the clients ping."""

TEREDO_INTERNET = Topology(
    nodes=("core", "server", "relay", "six", "host", "client-a", "client-b"),
    wires=(
        Wire(End("core", "server", ("192.0.2.14/28",)), End("server", "wan", ("192.0.2.1/28", "192.0.2.2/28"))),
        Wire(End("core", "relay", ("192.0.2.30/28",)), End("relay", "wan", ("192.0.2.17/28",))),
        Wire(End("six", "server", ("2001:db8:1::2/64",)), End("server", "six", ("2001:db8:1::1/64",))),
        Wire(End("six", "relay", ("2001:db8:2::2/64",)), End("relay", "six", ("2001:db8:2::1/64",))),
        Wire(End("six", "host", ("2001:db8:3::2/64",)), End("host", "six", ("2001:db8:3::1/64",))),
    ),
    routes=(
        Route("server", "0.0.0.0/0", "wan", "192.0.2.14"),
        Route("relay", "0.0.0.0/0", "wan", "192.0.2.30"),
        Route("server", "::/0", "six", "2001:db8:1::2"),
        Route("relay", "::/0", "six", "2001:db8:2::2"),
        Route("host", "::/0", "six", "2001:db8:3::2"),
        Route("six", "2001::/32", "relay", "2001:db8:2::1"),
    ),
    nats=(
        NatPlace("client-a", "192.168.1.2/24", "198.51.100.1", "core"),
        NatPlace("client-b", "192.168.2.2/24", "198.51.100.2", "core"),
    ),
    ipv4_routers=("core",),
    ipv6_routers=("six", "relay"),
)
"""The laboratory of C{./x demo}; etc/lab.conf says which role runs in which of its nodes."""


def _fronted(nat: NatPlace, front: Front) -> NatPlace:
    return replace(nat, kernel=front if isinstance(front, KernelNat) else None, absent=isinstance(front, NoNat))


def prefix_of(text: str) -> tuple[bytes, int]:
    """The address and the length of C{2001::/32}."""
    network = ip_network(text)
    return network.network_address.packed, network.prefixlen


def interface_of(text: str) -> tuple[bytes, int]:
    """The address and the prefix length of C{192.0.2.1/28}."""
    interface = ip_interface(text)
    return interface.ip.packed, interface.network.prefixlen
