# SPDX-License-Identifier: MIT
"""Which prefixes a DNS64 has, from what it says of ipv4only.arpa (RFC 7050 3)."""

from collections.abc import Sequence

from miredo.address.endpoint import IPv4, IPv6
from miredo.address.rfc6052 import LENGTHS, Prefix, is_well_formed
from miredo.dns64.synthesis import SPECIAL


def discovered(addresses: Sequence[IPv6]) -> list[Prefix]:
    """
    The prefixes, in the order of their addresses.

    Where an address has a special one at several places, those count behind which another address has the other one.
    """
    found: dict[Prefix, None] = {}
    for address in addresses:
        candidates = _candidates(address)
        for prefix, other in candidates:
            if len(candidates) == 1 or any(each in prefix and prefix.extract(each) == other for each in addresses):
                found[prefix] = None
    return list(found)


def _candidates(address: IPv6) -> list[tuple[Prefix, IPv4]]:
    """The prefixes behind which an address has a special one, each with the other special one."""
    prefixes = [prefix for length in LENGTHS if (prefix := _prefix(address, length))] if is_well_formed(address) else []
    return [
        (prefix, other)
        for prefix in prefixes
        for special, other in (SPECIAL, SPECIAL[::-1])
        if prefix.extract(address) == special
    ]


def _prefix(address: IPv6, length: int) -> Prefix | None:
    try:
        return Prefix(address[: length // 8])
    except ValueError:
        return None
