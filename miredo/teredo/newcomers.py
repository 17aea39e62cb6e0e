# SPDX-License-Identifier: MIT
"""Which clients a relay begins with when more are asked for than it can serve (RFC 4380 7.3.5).

The rules, all ours:

  1. One native network, a /48, begins with so many clients a second and no more.
  2. While all networks together begin with few, a client is begun with at its first packet.
  3. While they begin with many, at its second: the packet is dropped and the client noted. A host that means it sends
     again after a second, as TCP and ping do; a flood of ever new destinations does not, whatever its sources are.

A note costs a twentieth of the time of an attempt, and nobody's place among those who wait for their bubble's answer.
"""

from __future__ import annotations

from miredo.address.endpoint import IPv6
from miredo.teredo.buckets import SourceBuckets, TokenBucket

NETWORK_LENGTH = 6
"""Bytes: a /48, which is what one site has (RFC 6177 2)."""
NETWORK_RATE, NETWORK_BURST, NETWORKS = 500.0, 1000.0, 65536
"""Clients a second that a network begins with, and at once; and of how many networks a count is kept."""
FIRST_RATE, FIRST_BURST = 1000.0, 2000.0
"""Clients a second that are begun with at their first packet, and at once. Each costs four bubbles if it is silent."""
SECOND_RATE, SECOND_BURST = 1000.0, 2000.0
"""As many more at their second packet."""
NOTED = 65536
"""Clients noted last that are remembered for certain; twice as many at most."""


class Newcomers:
    """Decides of each packet for a client that is neither known nor being tried."""

    def __init__(self) -> None:
        self._networks = SourceBuckets(NETWORK_RATE, NETWORK_BURST, NETWORKS)
        self._first = TokenBucket(FIRST_RATE, FIRST_BURST)
        self._second = TokenBucket(SECOND_RATE, SECOND_BURST)
        self._noted: dict[IPv6, None] = {}
        self._noted_before: dict[IPv6, None] = {}

    def admit(self, client: IPv6, source: IPv6, now: float) -> bool:
        """Whether a packet of C{source} begins with C{client}."""
        if not self._networks.take(source[:NETWORK_LENGTH], now):
            return False
        if self._first.take(now):
            return True
        if client in self._noted or client in self._noted_before:
            return self._second.take(now)
        if len(self._noted) >= NOTED:
            self._noted_before, self._noted = self._noted, {}
        self._noted[client] = None
        return False
