# SPDX-License-Identifier: MIT
"""Which IPv6 addresses stand for an IPv4 address, and back (RFC 6147 5.1.4, 5.1.7, 5.2)."""

from collections.abc import Iterable
from ipaddress import ip_address

from miredo.address.endpoint import IPv4, IPv6
from miredo.address.rfc6052 import WELL_KNOWN, is_well_formed
from miredo.address.scope import IPv4Scope
from miredo.dns64.config import Dns64Config, Network, Pref64
from miredo.dns64.names import Name, reverse_zone

SPECIAL = bytes((192, 0, 0, 170)), bytes((192, 0, 0, 171))
"""The addresses of ipv4only.arpa, by which a client finds the prefixes (RFC 7050 2.2, 8.2)."""


class Synthesis:
    """The prefixes, and what they are not used for. With C{rotate} it remembers whose turn it is."""

    def __init__(self, config: Dns64Config) -> None:
        self._config = config
        self._global = IPv4Scope()
        self._known = [*(each.prefix for each in config.prefixes), WELL_KNOWN]
        self._turn = 0

    def excludes(self, ipv6: IPv6) -> bool:
        """Whether a AAAA record is as good as none."""
        return is_among(ipv6, self._config.excluded_ipv6)

    def addresses_of(self, ipv4s: Iterable[IPv4], client: bytes) -> list[tuple[int, IPv6]]:
        """
        What a client is told of some IPv4 addresses: the index of one and an address made of it, in their order.

        @param client: the address of whoever asks, 4 or 16 bytes.
        """
        told = [each for each in self._config.prefixes if not each.clients or is_among(client, each.clients)]
        if self._config.rotate and told:
            self._turn = (self._turn + 1) % len(told)
            told = told[self._turn :] + told[: self._turn]
        made = []
        for index, ipv4 in enumerate(ipv4s):
            chosen = self._chosen(ipv4, told)
            made += [(index, each.prefix.embed(ipv4)) for each in (chosen[:1] if self._config.rotate else chosen)]
        return made

    def announced_to(self, client: bytes) -> list[IPv6]:
        """The AAAA records of ipv4only.arpa: all prefixes by which any IPv4 address can be reached."""
        told = [each for each in self._config.prefixes if not each.clients or is_among(client, each.clients)]
        announced = [each.prefix for each in told if not each.ranges] or [each.prefix for each in told]
        return [prefix.embed(ipv4) for prefix in announced for ipv4 in SPECIAL]

    def embedded_in(self, ipv6: IPv6) -> IPv4 | None:
        """The IPv4 address that an address under one of the prefixes stands for (RFC 6147 5.3.1)."""
        prefix = next((known for known in self._known if ipv6 in known), None)
        return prefix.extract(ipv6) if prefix is not None and is_well_formed(ipv6) else None

    def zone_of(self, ipv6: IPv6) -> Name | None:
        """The reverse zone of the prefix that an address is under, if it is under one."""
        prefix = next((known for known in self._known if ipv6 in known), None)
        return None if prefix is None else reverse_zone(prefix.octets.ljust(16, b"\0"), prefix.length)

    def _chosen(self, ipv4: IPv4, told: list[Pref64]) -> list[Pref64]:
        """The prefixes that stand for an address: those of its range, else those that have none."""
        if is_among(ipv4, self._config.excluded_ipv4):
            return []
        own = [each for each in told if is_among(ipv4, each.ranges)]
        chosen = own or [each for each in told if not each.ranges]
        if self._config.non_global or self._global.permits(ipv4):
            return chosen
        return [each for each in chosen if each.prefix != WELL_KNOWN]


def is_among(address: bytes, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of some networks."""
    place = ip_address(address)
    return any(place in network for network in networks)
