# SPDX-License-Identifier: MIT
"""
What becomes of a connection: the IPv4 address in its destination, the local service, or a refusal with a name.

The rules, in their order:

1. To an address of this host: the local service.
2. From an IPv4-mapped or IPv4-compatible address, which no IPv6 client has, or from under a prefix of ours, which is
   this translator itself: refused.
3. To an address under a prefix: the IPv4 address there, of the longest prefix that matches. Without any prefix the last
   4 octets of every destination are the IPv4 address, as faithd(8) has it.
4. To any other address: refused.
5. The IPv4 address is refused if it is none of one other host (L{Refusal}), and under the Well-Known Prefix if it is
   not global (RFC 6052 3.1). Private addresses under a prefix of the operator's own are what it is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from miredo.address.endpoint import IPv4, IPv6
from miredo.address.rfc6052 import WELL_KNOWN, Prefix, is_well_formed
from miredo.address.scope import IPv4Scope, bounds

Address = bytes
"""An address of this host, IPv4 (4 bytes) or IPv6 (16 bytes)."""


class Refusal(StrEnum):
    """Why a connection is not translated."""

    OUTSIDE = "outside"
    """The destination is neither under a prefix nor an address of this host."""
    RESERVED_BITS = "reserved-bits"
    """Bits 64 to 71 of the destination are not 0 (RFC 6052 2.2)."""
    MAPPED_SOURCE = "mapped-source"
    """From ::ffff:0:0/96: an IPv4 client at a socket for both."""
    COMPATIBLE_SOURCE = "compatible-source"
    """From ::/96, which nobody has (RFC 4291 2.5.5.1)."""
    TRANSLATED_SOURCE = "translated-source"
    """From under a prefix: the connection would go round and round."""
    THIS_NETWORK = "this-network"
    """To 0.0.0.0/8, by which Linux means itself."""
    MULTICAST = "multicast"
    """To 224.0.0.0/4."""
    BROADCAST = "broadcast"
    """To 255.255.255.255, or to all in an attached subnet."""
    LOOPBACK = "loopback"
    """To 127.0.0.0/8: services that only this host is meant to reach."""
    LINK_LOCAL = "link-local"
    """To 169.254.0.0/16, where clouds keep the secrets of a host."""
    OWN_ADDRESS = "own-address"
    """To this host's own IPv4 addresses: its packet filters would see a connection from itself."""
    NOT_GLOBAL = "not-global"
    """The Well-Known Prefix is for global IPv4 addresses (RFC 6052 3.1)."""


@dataclass(frozen=True)
class Permissions:
    """
    What of the refused is permitted.

    @ivar reserved_bits: destinations whose bits 64 to 71 are not 0.
    @ivar loopback: 127.0.0.0/8.
    @ivar link_local: 169.254.0.0/16.
    @ivar own: IPv4 addresses of this host.
    @ivar well_known: ranges in CIDR notation that are not global, under the Well-Known Prefix.
    """

    reserved_bits: bool = False
    loopback: bool = False
    link_local: bool = False
    own: bool = False
    well_known: tuple[str, ...] = ()


class Translate(NamedTuple):
    """Connect to this address."""

    ipv4: IPv4


class Local(NamedTuple):
    """Hand the connection to the local service."""


class Refused(NamedTuple):
    """Close the connection."""

    reason: Refusal


Decision = Translate | Local | Refused

_ALWAYS = {
    "this network": Refusal.THIS_NETWORK,
    "multicast": Refusal.MULTICAST,
    "limited broadcast": Refusal.BROADCAST,
}
"""Rows of the scope table that nothing permits."""

_TEST_NETS = (b"\xc0\x00\x02", b"\xc6\x33\x64", b"\xcb\x00\x71")
"""The networks of documentation: RFC 6052 3.1 counts them as not global (RFC 5735 3), and the scope table does not."""

_MAPPED = bytes(10) + b"\xff\xff"
_COMPATIBLE = bytes(12)
_UNSPECIFIED_AND_LOOPBACK = (bytes(16), bytes(15) + b"\x01")
_INTERNET = IPv4Scope()


class Mapping:
    """
    Which IPv4 address is meant.

    @param prefixes: none for the last 4 octets of every destination.
    @raise ValueError: a range of the C{permissions} cannot be read, or has bits set beyond its length.
    """

    def __init__(self, prefixes: Iterable[Prefix] = (), permissions: Permissions | None = None) -> None:
        permitted = permissions or Permissions()
        self._prefixes = sorted(set(prefixes), key=lambda prefix: prefix.length, reverse=True)
        self._under_any = tuple(prefix.octets for prefix in self._prefixes)
        self._permitted = permitted
        self._permitted_ranges = [bounds(text) for text in permitted.well_known]
        self._refused_ranges = dict(_ALWAYS)
        if not permitted.loopback:
            self._refused_ranges["loopback"] = Refusal.LOOPBACK
        if not permitted.link_local:
            self._refused_ranges["link local"] = Refusal.LINK_LOCAL
        self._own: frozenset[Address] = frozenset()
        self._broadcasts: frozenset[IPv4] = frozenset()

    def attached(self, own: Iterable[Address], broadcasts: Iterable[IPv4] = ()) -> None:
        """The addresses of this host, of both families, and the broadcasts of its subnets have become these."""
        self._own, self._broadcasts = frozenset(own), frozenset(broadcasts)

    def decide(self, source: IPv6, destination: IPv6) -> Decision:
        """What becomes of a connection from C{source} to C{destination}."""
        if self.is_own(destination):
            return Local()
        if reason := self._refuses_source(source):
            return Refused(reason)
        found = self.translated(destination)
        return Refused(found) if isinstance(found, Refusal) else Translate(found)

    def is_own(self, address: IPv6) -> bool:
        """Whether C{address} is one of this host; an IPv4-mapped one is what is mapped."""
        return address in self._own or (address.startswith(_MAPPED) and address[12:] in self._own)

    def translated(self, destination: IPv6) -> IPv4 | Refusal:
        """The IPv4 address that C{destination} stands for, or why there is none."""
        if not self._prefixes:
            return self._checked(destination[12:], WELL_KNOWN if destination in WELL_KNOWN else None)
        for prefix in self._prefixes:
            if destination in prefix:
                if not is_well_formed(destination) and not self._permitted.reserved_bits:
                    return Refusal.RESERVED_BITS
                return self._checked(prefix.extract(destination), prefix)
        return Refusal.OUTSIDE

    def refuses(self, ipv4: IPv4, prefix: Prefix | None) -> Refusal | None:
        """Why nobody may be connected to C{ipv4} under C{prefix}, or without any; C{None} if one may."""
        if ipv4 in self._broadcasts:
            return Refusal.BROADCAST
        name = _INTERNET.forbids(ipv4) or ""
        if reason := self._refused_ranges.get(name):
            return reason
        if ipv4 in self._own and name != "loopback" and not self._permitted.own:
            return Refusal.OWN_ADDRESS
        if prefix == WELL_KNOWN and (name or ipv4[:3] in _TEST_NETS) and not self._is_permitted(ipv4):
            return Refusal.NOT_GLOBAL
        return None

    def _checked(self, ipv4: IPv4, prefix: Prefix | None) -> IPv4 | Refusal:
        return self.refuses(ipv4, prefix) or ipv4

    def _refuses_source(self, source: IPv6) -> Refusal | None:
        if source.startswith(_MAPPED):
            return Refusal.MAPPED_SOURCE
        if source.startswith(_COMPATIBLE) and source not in _UNSPECIFIED_AND_LOOPBACK:
            return Refusal.COMPATIBLE_SOURCE
        if source.startswith(self._under_any):
            return Refusal.TRANSLATED_SOURCE
        return None

    def _is_permitted(self, ipv4: IPv4) -> bool:
        return any(first <= ipv4 <= last for first, last in self._permitted_ranges)
