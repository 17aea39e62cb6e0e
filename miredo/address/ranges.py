# SPDX-License-Identifier: MIT
"""Sets of IPv6 addresses that an operator names: prefixes in CIDR notation, or single addresses."""

from collections.abc import Iterable
from ipaddress import IPv6Network

from miredo.address.endpoint import IPv6


class IPv6Ranges:
    """The addresses under some prefixes; one look-up for each different prefix length."""

    def __init__(self, prefixes: Iterable[str] = (), addresses: Iterable[IPv6] = ()) -> None:
        """
        @param prefixes: such as C{2001:db8::/32}.
        @raise ValueError: a prefix cannot be read, or has bits set beyond its length.
        """
        self._by_shift: dict[int, dict[int, None]] = {}  # a set of firsts for each shift
        for text in prefixes:
            network = IPv6Network(text)
            self._add(int(network.network_address), 128 - network.prefixlen)
        for address in addresses:
            self._add(int.from_bytes(address, "big"), 0)

    def _add(self, first: int, shift: int) -> None:
        self._by_shift.setdefault(shift, {})[first >> shift] = None

    def __contains__(self, address: IPv6) -> bool:
        number = int.from_bytes(address, "big")
        return any(number >> shift in firsts for shift, firsts in self._by_shift.items())
