# SPDX-License-Identifier: MIT
"""Links, addresses and routes that are dictionaries, with the kernel's refusals."""

from collections.abc import Callable
from dataclasses import dataclass, field
from errno import EADDRNOTAVAIL, EEXIST, EHOSTUNREACH, EINVAL, ENETDOWN, ENETUNREACH, ENODEV, ENOENT, ESRCH
from ipaddress import ip_address, ip_network

from zope.interface import implementer

from miredo.address.endpoint import IPv4, IPv6, show_ipv6
from miredo.kernel.errors import refused
from miredo.kernel.interfaces import INetwork, IWatch
from miredo.kernel.links import GLOBAL_UNICAST, broadcasts_of, check_name, is_within, show_prefix
from miredo.kernel.memory.clock import MemoryClock

Address = IPv4 | IPv6

_LOOPBACK = (b"\x7f\0\0\1", 8)
_IPV6_METRIC = 1024
_SYSCTL_FOLDERS = ("/net/ipv4/conf", "/net/ipv6/conf")
_SYSCTLS = {"forwarding": "0", "disable_ipv6": "0", "rp_filter": "0"}
"""What nobody has set yet."""
_MTU_RANGE = range(68, 65536)


@dataclass(frozen=True)
class _Route:
    destination: Address
    prefix_length: int
    metric: int
    gateway: Address | None
    table: int | None = None


@dataclass(eq=False)
class MemoryLink:
    """One interface."""

    name: str
    index: int
    mtu: int = 1500
    up: bool = False
    shared: bool = True
    offloads_checksums: bool = True
    addresses: list[tuple[Address, int]] = field(default_factory=list)
    routes: list[_Route] = field(default_factory=list)
    peer: "tuple[MemoryStack, MemoryLink] | None" = None

    def reaches(self, gateway: Address) -> bool:
        """Is C{gateway} a neighbour, by the addresses of this link?"""
        place = ip_address(gateway)
        return place.is_link_local or any(
            len(address) == len(gateway) and place in ip_network((address, length), strict=False)
            for address, length in self.addresses
        )


class MemoryStack:
    """
    What one network namespace holds.

    @ivar sysctls: the variables that were set, by path.
    @ivar tables: the routing tables that have names.
    @ivar rules: what L{INetwork.rules} tells.
    """

    def __init__(self, clock: MemoryClock) -> None:
        self.links: dict[str, MemoryLink] = {}
        self.sysctls: dict[str, str] = {}
        self.tables: dict[str, int] = {}
        self.rules: list[tuple[IPv6, int, int]] = []
        self._clock = clock
        self._watches: list[MemoryWatch] = []
        self.add_link("lo", mtu=65536).up = True
        self.links["lo"].shared = False
        self.links["lo"].addresses.append(_LOOPBACK)

    def add_link(self, name: str, mtu: int = 1500) -> MemoryLink:
        """A new link; EEXIST if there is one of that name."""
        check_name(name)
        if name in self.links:
            raise refused(EEXIST, f"interface {name}", "exists already")
        link = MemoryLink(name, 1 + max((link.index for link in self.links.values()), default=0), mtu)
        self.links[name] = link
        self.changed()
        return link

    def delete_link(self, name: str) -> None:
        """Remove a link, and with one end of a pair the other."""
        link = self.links.pop(name, None)
        if link is None:
            raise refused(ENODEV, f"interface {name}")
        self.changed()
        if link.peer is not None:
            peer_stack, peer = link.peer
            peer.peer = None
            if peer.name in peer_stack.links:
                peer_stack.delete_link(peer.name)

    def link(self, index: int) -> MemoryLink:
        """The link of that index, or ENODEV."""
        for link in self.links.values():
            if link.index == index:
                return link
        raise refused(ENODEV, f"interface {index}")

    def has(self, ipv4: IPv4) -> bool:
        """Is this one of the namespace's own addresses?"""
        return ipv4[0] == _LOOPBACK[0][0] or any(
            address == ipv4 for link in self.links.values() for address, _ in link.addresses
        )

    def changed(self) -> None:
        """Tell whoever watches."""
        for watch in self._watches:
            watch.tell()

    def watch(self, changed: Callable[[], None]) -> "MemoryWatch":
        """Begin to watch."""
        watch = MemoryWatch(self._watches, self._clock, changed)
        self._watches.append(watch)
        return watch


@implementer(IWatch)
class MemoryWatch:
    """Tells of all changes since the clock was last advanced in one call."""

    def __init__(self, watches: "list[MemoryWatch]", clock: MemoryClock, changed: Callable[[], None]) -> None:
        self._watches = watches
        self._clock = clock
        self._changed = changed
        self._pending = False

    def tell(self) -> None:
        """Something has changed."""
        if not self._pending:
            self._pending = True
            self._clock.soon(self._told)

    def close(self) -> None:
        if self in self._watches:
            self._watches.remove(self)

    def _told(self) -> None:
        self._pending = False
        if self in self._watches:
            self._changed()


@implementer(INetwork)
class MemoryNetwork:
    """
    Somebody's way to a L{MemoryStack}.

    @param namespaces: the stacks by the names that L{add_veth} knows.
    """

    def __init__(self, stack: MemoryStack, namespaces: dict[str, MemoryStack]) -> None:
        self.stack = stack
        self._namespaces = namespaces
        self._watches: list[MemoryWatch] = []

    def index_of(self, name: str) -> int | None:
        link = self.stack.links.get(name)
        return link.index if link else None

    def is_running(self, index: int) -> bool:
        return self.stack.link(index).up

    def is_up(self, index: int) -> bool:
        return self.stack.link(index).up

    def is_shared(self, index: int) -> bool:
        return self.stack.link(index).shared

    def links(self) -> list[str]:
        return list(self.stack.links)

    def set_up(self, index: int, mtu: int | None = None) -> None:
        link = self.stack.link(index)
        if mtu is not None:
            if mtu not in _MTU_RANGE:
                raise refused(EINVAL, f"interface {index}")
            link.mtu = mtu
        link.up = True
        self.stack.changed()

    def set_down(self, index: int) -> None:
        link = self.stack.link(index)
        link.up = False
        link.routes.clear()
        link.addresses = [(address, length) for address, length in link.addresses if len(address) == 4]
        self.stack.changed()

    def add_address(self, index: int, address: Address, prefix_length: int) -> None:
        link = self.stack.link(index)
        if (address, prefix_length) in link.addresses:
            raise refused(EEXIST, f"address {show_prefix(address, prefix_length)}")
        link.addresses.append((address, prefix_length))
        self.stack.changed()

    def delete_address(self, index: int, address: Address, prefix_length: int) -> None:
        link = self.stack.link(index)
        if (address, prefix_length) not in link.addresses:
            raise refused(EADDRNOTAVAIL, f"address {show_prefix(address, prefix_length)}")
        link.addresses.remove((address, prefix_length))
        self.stack.changed()

    def addresses(self, index: int) -> list[tuple[Address, int]]:
        return [found for link in self.stack.links.values() if link.index == index for found in link.addresses]

    def is_local(self, address: Address) -> bool:
        return any(address == own for link in self.stack.links.values() if link.up for own, _ in link.addresses)

    def link_to(self, address: Address) -> int | None:
        place = ip_address(address)
        ways = [
            (-length, metric, link.index)
            for link in self.stack.links.values()
            if link.up
            for destination, length, metric in [*_in(None, link), *((own, length, 0) for own, length in link.addresses)]
            if len(destination) == len(address) and place in ip_network((destination, length), strict=False)
        ]
        return min(ways)[2] if ways else None

    def ipv4_addresses(self) -> list[tuple[IPv4, int]]:
        return [found for link in self.stack.links.values() for found in link.addresses if len(found[0]) == 4]

    def ipv6_addresses(self) -> list[tuple[IPv6, int]]:
        return [found for link in self.stack.links.values() for found in link.addresses if len(found[0]) == 16]

    def ways_out(self) -> list[tuple[int, IPv4, int]]:
        return sorted(
            (link.index, route.gateway or bytes(4), route.metric)
            for link in self.stack.links.values()
            if link.up
            for route in link.routes
            if route.prefix_length == 0 and len(route.destination) == 4 and route.table is None
        )

    def ipv6_ways_out(self) -> list[tuple[int, IPv6, int]]:
        return sorted(
            (link.index, route.gateway or bytes(16), route.metric)
            for link in self.stack.links.values()
            if link.up
            for route in link.routes
            if (route.destination, route.prefix_length) in ((bytes(16), 0), (GLOBAL_UNICAST, 3)) and route.table is None
        )

    def broadcasts(self) -> list[IPv4]:
        return broadcasts_of(self.ipv4_addresses())

    def add_route(
        self,
        destination: Address,
        prefix_length: int,
        index: int,
        metric: int | None = None,
        gateway: Address | None = None,
        table: int | None = None,
    ) -> None:
        link = self.stack.link(index)
        what = f"route {show_prefix(destination, prefix_length)}"
        if not link.up:
            raise refused(ENETDOWN, what)
        if gateway is not None and not link.reaches(gateway):
            raise refused(ENETUNREACH if len(gateway) == 4 else EHOSTUNREACH, what)
        if metric is None:
            metric = 0 if len(destination) == 4 else _IPV6_METRIC
        if (destination, prefix_length, metric) in [
            found for each in self.stack.links.values() for found in _in(table, each)
        ]:
            raise refused(EEXIST, what)
        link.routes.append(_Route(destination, prefix_length, metric, gateway, table))
        self.stack.changed()

    def delete_route(
        self,
        destination: Address,
        prefix_length: int,
        index: int,
        metric: int | None = None,
        gateway: Address | None = None,
        table: int | None = None,
    ) -> None:
        link = next((link for link in self.stack.links.values() if link.index == index), None)
        for route in link.routes if link else ():
            same = (route.destination, route.prefix_length, route.table) == (destination, prefix_length, table)
            if same and metric in (None, route.metric) and gateway in (None, route.gateway):
                self.stack.link(index).routes.remove(route)
                self.stack.changed()
                return
        raise refused(ESRCH, f"route {show_prefix(destination, prefix_length)}")

    def routes_within(self, destination: Address, prefix_length: int) -> list[tuple[Address, int, int]]:
        found = [route for link in self.stack.links.values() for route in _in(None, link)]
        return sorted(route for route in found if is_within((route[0], route[1]), (destination, prefix_length)))

    def routes(self, index: int) -> list[tuple[Address, int, int]]:
        return [
            (route.destination, route.prefix_length, route.metric)
            for link in self.stack.links.values()
            if link.index == index
            for route in link.routes
        ]

    def table_named(self, name: str) -> int | None:
        return self.stack.tables.get(name)

    def add_rule(self, source: IPv6, table: int, priority: int) -> None:
        if (source, table, priority) in self.stack.rules:
            raise refused(EEXIST, f"rule from {show_ipv6(source)}")
        self.stack.rules.append((source, table, priority))

    def delete_rule(self, source: IPv6, table: int, priority: int) -> None:
        if (source, table, priority) not in self.stack.rules:
            raise refused(ENOENT, f"rule from {show_ipv6(source)}")
        self.stack.rules.remove((source, table, priority))

    def rules(self) -> list[tuple[IPv6, int, int]]:
        return list(self.stack.rules)

    def remove_leftovers(self) -> list[IPv6]:
        own = {address for address, _ in self.ipv6_addresses()}
        leftovers = [rule for rule in self.rules() if rule[0] not in own]
        for rule in leftovers:
            self.delete_rule(*rule)
        return [source for source, _, _ in leftovers]

    def add_veth(self, name: str, peer_name: str, peer_namespace: str) -> None:
        peer_stack = self._namespaces.get(peer_namespace)
        if peer_stack is None:
            raise refused(ENOENT, f"interfaces {name} and {peer_name}")
        link = self.stack.add_link(name)
        try:
            peer = peer_stack.add_link(peer_name)
        except OSError:
            self.stack.delete_link(name)
            raise
        link.peer = (peer_stack, peer)
        peer.peer = (self.stack, link)

    def delete_link(self, name: str) -> None:
        self.stack.delete_link(name)

    def set_sysctl(self, path: str, value: str | int) -> None:
        if ".." in path.split("/"):
            raise refused(EINVAL, f"sysctl {path}")
        self.stack.sysctls[path] = str(value)

    def get_sysctl(self, path: str) -> str:
        if ".." in path.split("/"):
            raise refused(EINVAL, f"sysctl {path}")
        *folders, link, variable = ["", *path.split("/")]
        there = "/".join(folders) in _SYSCTL_FOLDERS and link in ("all", "default", *self.stack.links)
        value = self.stack.sysctls.get(path, _SYSCTLS.get(variable) if there else None)
        if value is None:
            raise refused(ENOENT, f"sysctl {path}")
        return value

    def set_transmit_checksum_offload(self, name: str, on: bool) -> None:
        if name not in self.stack.links:
            raise refused(ENODEV, f"checksum offload of {name}")
        self.stack.links[name].offloads_checksums = on

    def watch(self, changed: Callable[[], None]) -> IWatch:
        watch = self.stack.watch(changed)
        self._watches.append(watch)
        return watch

    def close(self) -> None:
        while self._watches:
            self._watches.pop().close()


def _in(table: int | None, link: MemoryLink) -> list[tuple[Address, int, int]]:
    return [(route.destination, route.prefix_length, route.metric) for route in link.routes if route.table == table]
