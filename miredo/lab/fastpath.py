# SPDX-License-Identifier: MIT
"""The kernel fast path as the core sees it: a cache of trusted peers, fed by events, reporting late.

It moves packets without the core's knowledge and tells what it saw afterwards, as the kernel's does. So whatever the
core decides has to be right although its news are old.
"""

from __future__ import annotations

from miredo.address.endpoint import Endpoint, IPv6
from miredo.teredo.actions import AllLost, PeerLost, PeerTrusted

NEVER = float("-inf")


class FastPathMap:
    """Who may pass, and what passed since the last report."""

    def __init__(self) -> None:
        self.endpoints: dict[IPv6, Endpoint] = {}
        self.reporting = False
        self._seen: dict[IPv6, tuple[float, float]] = {}

    def obey(self, event: PeerTrusted | PeerLost | AllLost) -> None:
        match event:
            case PeerTrusted(address, endpoint):
                self.endpoints[address] = endpoint
            case PeerLost(address):
                self.endpoints.pop(address, None)
            case AllLost():
                self.endpoints.clear()

    def egress(self, destination: IPv6, now: float) -> Endpoint | None:
        endpoint = self.endpoints.get(destination)
        if endpoint is not None:
            self._seen[destination] = (self._seen.get(destination, (NEVER, NEVER))[0], now)
        return endpoint

    def ingress(self, source: IPv6, outer: Endpoint, now: float) -> bool:
        if self.endpoints.get(source) != outer:
            return False
        self._seen[source] = (now, self._seen.get(source, (NEVER, NEVER))[1])
        return True

    def report(self) -> list[tuple[IPv6, float, float]]:
        """Address, last reception and last transmission of each peer that was seen since the last report."""
        seen = [(address, rx, tx) for address, (rx, tx) in self._seen.items()]
        self._seen.clear()
        self.reporting = False
        return seen
