# SPDX-License-Identifier: MIT
"""Host names to IPv4 addresses, by the reactor's resolver."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from zope.interface import implementer

from miredo.address.endpoint import IPv4, parse_ipv4


def look_up(name: str, reactor: IReactorPluggableNameResolver) -> Deferred[list[IPv4]]:
    """The IPv4 addresses of C{name}, at least one; fails with C{DNSLookupError}."""
    found: Deferred[list[IPv4]] = Deferred()
    reactor.nameResolver.resolveHostName(Collected(name, found), name, addressTypes=[IPv4Address])
    return found


@implementer(IResolutionReceiver)
class Collected:
    """Gathers the addresses of one name."""

    def __init__(self, name: str, found: Deferred[list[IPv4]]) -> None:
        self._name = name
        self._found = found
        self._addresses: list[IPv4] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Nothing to do yet."""

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv4Address):
            self._addresses.append(parse_ipv4(address.host))

    def resolutionComplete(self) -> None:
        if self._addresses:
            self._found.callback(self._addresses)
        else:
            self._found.errback(DNSLookupError(f"{self._name} has no IPv4 address"))
