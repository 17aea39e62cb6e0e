# SPDX-License-Identifier: MIT
"""
Which addresses Teredo may send to.

An IPv4 address that is embedded in an IPv6 address was chosen by a stranger. RFC 4380 5.2.4 lists those that no
datagram may ever be sent to because of it: the rows of L{FORBIDDEN_IPV4} that name it, and the directed broadcasts of
the attached subnets. The other rows are ours, from the registry of special-purpose addresses (RFC 6890), and so are
this host's own addresses, against loops. The three TEST-NETs (RFC 5737) are accepted: RFC 4380 does not list them, and
examples and laboratories use them.

C{AllowIPv4} takes ranges out of the list for a private Teredo. Rows marked C{lasting}, broadcasts and own addresses
stay.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import NamedTuple

from miredo.address.endpoint import IPv4, IPv6


class Range(NamedTuple):
    """A row of the list: the addresses that share the first C{length} bits of C{first}. C{source} is the RFC."""

    first: IPv4
    length: int
    name: str
    source: str
    lasting: bool = False

    @property
    def last(self) -> IPv4:
        """The highest address of the range."""
        return (int.from_bytes(self.first, "big") | 0xFFFF_FFFF >> self.length).to_bytes(4, "big")


def _row(cidr: str, name: str, source: str, *, lasting: bool = False) -> Range:
    network = IPv4Network(cidr)
    return Range(network.network_address.packed, network.prefixlen, name, source, lasting)


FORBIDDEN_IPV4 = (
    _row("0.0.0.0/8", "this network", "RFC 1122 3.2.1.3, RFC 4380 5.2.4", lasting=True),
    _row("10.0.0.0/8", "private network", "RFC 1918, RFC 4380 5.2.4"),
    _row("100.64.0.0/10", "shared address space", "RFC 6598"),
    _row("127.0.0.0/8", "loopback", "RFC 1122 3.2.1.3, RFC 4380 5.2.4", lasting=True),
    _row("169.254.0.0/16", "link local", "RFC 3927, RFC 4380 5.2.4"),
    _row("172.16.0.0/12", "private network", "RFC 1918, RFC 4380 5.2.4"),
    _row("192.0.0.0/24", "IETF protocol assignments", "RFC 6890 2.1"),
    _row("192.88.99.0/24", "6to4 relay anycast", "RFC 3068, RFC 4380 5.2.4"),
    _row("192.168.0.0/16", "private network", "RFC 1918, RFC 4380 5.2.4"),
    _row("198.18.0.0/15", "benchmarking", "RFC 2544"),
    _row("224.0.0.0/4", "multicast", "RFC 5771, RFC 4380 5.2.4", lasting=True),
    _row("255.255.255.255/32", "limited broadcast", "RFC 919, RFC 4380 5.2.4", lasting=True),
    _row("240.0.0.0/4", "reserved", "RFC 1112 4"),
)
"""
The IPv4 ranges that are not global unicast, a row each, with the RFC that says so. The first row that holds an address
names it: the limited broadcast stands before the reserved block around it.
"""

OWN_ADDRESS = "own address"
"""What L{IPv4Scope.forbids} calls an address of this host."""

DIRECTED_BROADCAST = "directed broadcast"
"""What L{IPv4Scope.forbids} calls the broadcast address of an attached subnet."""

_WELL_KNOWN_NAT64 = bytes.fromhex("0064ff9b") + bytes(8)
_6TO4 = b"\x20\x02"


class IPv4Scope:
    """
    The list as one role has it: L{FORBIDDEN_IPV4} less what C{AllowIPv4} takes out, and the addresses of this host.

    Rows are filed under the first octets that they cover, so that an ordinary address costs two look-ups.
    """

    def __init__(self, allow: Iterable[str] = (), own: Iterable[IPv4] = (), broadcasts: Iterable[IPv4] = ()) -> None:
        """
        @param allow: ranges in CIDR notation; a bare address is a range of one.
        @raise ValueError: a range cannot be read, or has bits set beyond its length.
        """
        self._allowed = [bounds(text) for text in allow]
        self._rows: list[list[Range]] = [[] for _ in range(256)]
        for row in FORBIDDEN_IPV4:
            for octet in range(row.first[0], row.last[0] + 1):
                self._rows[octet].append(row)
        self._attached: dict[IPv4, str] = {}
        self.attached(own, broadcasts)

    def attached(self, own: Iterable[IPv4], broadcasts: Iterable[IPv4]) -> None:
        """The addresses of this host, or its subnets, have become these."""
        self._attached = dict.fromkeys(broadcasts, DIRECTED_BROADCAST) | dict.fromkeys(own, OWN_ADDRESS)

    def owns(self, ipv4: IPv4) -> bool:
        """Whether C{ipv4} is an address of this host."""
        return self._attached.get(ipv4) == OWN_ADDRESS

    def forbids(self, ipv4: IPv4) -> str | None:
        """Why nothing may be sent to C{ipv4}: the name of a range, or C{None} if it is permitted."""
        name = self._attached.get(ipv4)
        if name is not None:
            return name
        for row in self._rows[ipv4[0]]:
            if row.first <= ipv4 <= row.last and (row.lasting or not self._allows(ipv4)):
                return row.name
        return None

    def permits(self, ipv4: IPv4) -> bool:
        """Whether C{ipv4} may be sent to: it is global unicast as far as this role is concerned."""
        return self.forbids(ipv4) is None

    def permits_server(self, ipv4: IPv4) -> bool:
        """Whether a Teredo server may be at C{ipv4}: as L{permits}, and one on this host is as good as any."""
        return self.forbids(ipv4) in (None, OWN_ADDRESS)

    def _allows(self, ipv4: IPv4) -> bool:
        return any(first <= ipv4 <= last for first, last in self._allowed)


def is_unicast(ipv4: IPv4) -> bool:
    """Whether C{ipv4} can be the address of one other host at all, private or not."""
    return not any(row.lasting and row.first <= ipv4 <= row.last for row in FORBIDDEN_IPV4)


def is_multicast(address: IPv6) -> bool:
    """Whether C{address} is in ff00::/8."""
    return address[0] == 0xFF


def is_link_local(address: IPv6) -> bool:
    """Whether C{address} is in fe80::/10."""
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def is_global_ipv6(address: IPv6, scope: IPv4Scope) -> bool:
    """
    Whether a server may forward to C{address} (RFC 4380 5.3.1: never to a destination of less than global scope).

    Global is all but ::/8 (64:ff9b::/96 of RFC 6052 excepted), fe80::/10, fec0::/10, multicast, and 6to4 addresses
    whose IPv4 address is forbidden. fc00::/7 and 2001:db8::/32 count: private deployments and laboratories have them.
    """
    first = address[0]
    if first == 0:
        return address.startswith(_WELL_KNOWN_NAT64)
    if first == 0xFE:
        return address[1] < 0x80
    if address.startswith(_6TO4):
        return scope.permits(address[2:6])
    return first != 0xFF


def bounds(text: str) -> tuple[IPv4, IPv4]:
    """The first and the last address of a range in CIDR notation."""
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an IPv4 range: {error}") from error
    return network.network_address.packed, network.broadcast_address.packed
