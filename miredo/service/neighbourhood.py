# SPDX-License-Identifier: MIT
"""Where a client looks for other clients (RFC 4380 5.2.8): the links that it shares behind a NAT.

These are the links that can broadcast and on which this host has a private IPv4 address, in a subnet with room for
others. A public address needs no local discovery, and who has one may not want strangers to know its Teredo address.
"""

from __future__ import annotations

from collections.abc import Callable

from miredo.address.endpoint import IPv4
from miredo.address.scope import IPv4Scope, is_unicast
from miredo.config.readers import ANY_IPV4
from miredo.kernel.interfaces import IGroup, INetwork
from miredo.teredo.discovery import Subnet

_LONGEST_PREFIX = 30
"""Bits: a longer prefix leaves no room for others (RFC 3021)."""

_INTERNET = IPv4Scope()


class Neighbourhood:
    """Keeps a client's group joined on the right links, and its core informed.

    @param own: the address that the client is bound to, which leaves one link; 0.0.0.0 leaves all.
    @param attached: is told of the subnets where the group is joined.
    """

    def __init__(self, group: IGroup, network: INetwork, own: IPv4, attached: Callable[[list[Subnet]], None]) -> None:
        self._group = group
        self._network = network
        self._own = own
        self._attached = attached

    def look(self) -> None:
        """Links or addresses may have changed."""
        links = self._links()
        joined = self._group.attend({index: subnets[0].own for index, subnets in links.items()})
        self._attached([subnet for index in joined for subnet in links[index]])

    def _links(self) -> dict[int, list[Subnet]]:
        """The subnets by the index of their link; only links that have any."""
        indices = [self._network.index_of(name) for name in self._network.links()]
        found = {index: self._subnets(index) for index in indices if index and self._network.is_shared(index)}
        return {index: subnets for index, subnets in sorted(found.items()) if subnets}

    def _subnets(self, index: int) -> list[Subnet]:
        return sorted(
            Subnet(address, length)
            for address, length in self._network.addresses(index)
            if len(address) == 4 and length <= _LONGEST_PREFIX and _is_private(address)
            if self._own in (ANY_IPV4, address)
        )


def _is_private(address: IPv4) -> bool:
    """Whether no packet of the Internet comes to it: what Teredo does not send to, of what can be a host's address."""
    return is_unicast(address) and not _INTERNET.permits(address)
