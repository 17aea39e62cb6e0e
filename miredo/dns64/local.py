# SPDX-License-Identifier: MIT
"""
Names that are answered without asking anybody: hosts(5), and ipv4only.arpa (RFC 8880 7.1).

A name in hosts(5) is private: of its other types there is nothing, rather than that somebody were asked. Loopback
addresses there are for C{localhost} alone, since they mean another host to each client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from twisted.names import dns

from miredo.address.endpoint import IPv4, IPv6
from miredo.address.rfc6052 import Prefix
from miredo.dns64.message import DS, address_record, pointer, record
from miredo.dns64.names import Name, address_of, emit_name, is_below, is_name, is_same
from miredo.dns64.reply import Asked, Reply
from miredo.dns64.synthesis import SPECIAL, Synthesis

IPV4ONLY = b"ipv4only.arpa"
"""The name that has no IPv6 address but what a DNS64 makes (RFC 7050 2.2)."""
LOCALHOST = b"localhost"
TTL = 60
"""Seconds: a name in a file may get another address. Ours."""
SPECIAL_TTL = 600
"""Seconds of what cannot change but with the configuration. Ours."""
_SOA_TIMES = b"".join(number.to_bytes(4, "big") for number in (1, 3600, 1200, 604800, TTL))
_NOBODY = b"nobody.invalid"


class LocalNames:
    """
    What is known here.

    @param hosts: the text of a hosts(5).
    """

    def __init__(self, hosts: str = "") -> None:
        self._addresses: dict[Name, list[IPv4 | IPv6]] = {}
        self._names: dict[IPv4 | IPv6, Name] = {}
        for address, names in listed(hosts):
            for name in names:
                self._addresses.setdefault(name.lower(), []).append(address)
            if names:
                self._names.setdefault(address, names[0])

    def reply(self, asked: Asked, synthesis: Synthesis) -> Reply | None:
        """The reply to a question of class IN; C{None}: somebody else may know."""
        if is_same(asked.name, IPV4ONLY):
            return self._special(asked, synthesis)
        if is_below(asked.name, IPV4ONLY):
            return negative(IPV4ONLY, dns.ENAME)
        if asked.name.lower() in self._addresses:
            return self._listed(asked, synthesis)
        if asked.kind == dns.PTR and (address := address_of(asked.name)):
            return self._name_of(asked, address, synthesis)
        return None

    def _special(self, asked: Asked, synthesis: Synthesis) -> Reply | None:
        match asked.kind:
            case dns.A:
                found = list(SPECIAL)
            case dns.AAAA:
                found = synthesis.announced_to(asked.client)
            case other if other == DS:
                return None
            case _:
                found = []
        return _addressed(asked.name, found, SPECIAL_TTL, IPV4ONLY)

    def _listed(self, asked: Asked, synthesis: Synthesis) -> Reply:
        addresses = self._addresses[asked.name.lower()]
        ipv4s = [address for address in addresses if len(address) == 4]
        found: list[IPv4 | IPv6] = []
        if asked.kind == dns.A:
            found = ipv4s
        elif asked.kind == dns.AAAA:
            found = [address for address in addresses if len(address) == 16]
            if not found and not asked.validates:
                found = [ipv6 for _, ipv6 in synthesis.addresses_of(ipv4s, asked.client)]
        return _addressed(asked.name, found, TTL, asked.name)

    def _name_of(self, asked: Asked, address: IPv4 | IPv6, synthesis: Synthesis) -> Reply | None:
        ipv4 = synthesis.embedded_in(address) if len(address) == 16 else None
        if ipv4 in SPECIAL:
            return Reply(dns.OK, [pointer(asked.name, dns.PTR, SPECIAL_TTL, IPV4ONLY)], authoritative=True)
        name = self._names.get(address) or (None if ipv4 is None else self._names.get(ipv4))
        if name is None:
            return None
        return Reply(dns.OK, [pointer(asked.name, dns.PTR, TTL, name)], authoritative=True)


def alias_of(name: Name, ttl: int, target: Name) -> dns.RRHeader:
    """A CNAME record."""
    return pointer(name, dns.CNAME, ttl, target)


def negative(zone: Name, code: int) -> Reply:
    """There is nothing in a zone of our own, and how long that holds (RFC 2308 3, RFC 6303 3)."""
    soa = record(zone, dns.SOA, TTL, emit_name(zone) + emit_name(_NOBODY) + _SOA_TIMES)
    return Reply(code, authority=[soa], authoritative=True)


def listed(hosts: str) -> Iterator[tuple[IPv4 | IPv6, list[Name]]]:
    """The lines of a hosts(5) that can be read, with the names that a name server may tell of."""
    for line in hosts.splitlines():
        words = line.partition("#")[0].split()
        try:
            address = ip_address(words[0] if words else "")
            names = [name for word in words[1:] if is_name(name := word.encode("ascii").removesuffix(b"."))]
        except ValueError:
            continue
        if "%" in words[0]:
            continue
        if address.is_loopback:
            names = [name for name in names if is_same(name, LOCALHOST) or is_below(name, LOCALHOST)]
        yield address.packed, names


def embedded_hosts(hosts: str, prefixes: Iterable[Prefix]) -> str:
    """The lines to add to a hosts(5), so that the names in it that have an IPv4 address have one under each prefix."""
    lines = [
        f"{prefix.show(address)} {' '.join(name.decode() for name in names)}\n"
        for prefix in prefixes
        for address, names in listed(hosts)
        if len(address) == 4 and names and not ip_address(address).is_loopback
    ]
    return "".join(lines)


def _addressed(name: Name, addresses: Iterable[IPv4 | IPv6], ttl: int, zone: Name) -> Reply:
    records = [address_record(name, ttl, address) for address in addresses]
    return Reply(dns.OK, records, authoritative=True) if records else negative(zone, dns.OK)
