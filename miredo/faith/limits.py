# SPDX-License-Identifier: MIT
"""How many connections there may be: in all, from one /64, and new ones in a second."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from miredo.address.endpoint import IPv6

SOURCE_OCTETS = 8
"""What counts as one source: a /64, since a host makes up new addresses in its own as it likes (RFC 8981)."""


class Overload(StrEnum):
    """Which limit is reached."""

    TOTAL = "total"
    SOURCE = "source"
    RATE = "rate"


class Limits:
    """
    Counts connections; a limit of 0 is none.

    What a full source is refused costs nothing of the rate, so that it cannot use up what the others share.

    @param total: connections at the same time.
    @param per_source: connections at the same time from one /64.
    @param rate: new connections a second.
    @param burst: how many of them may come at once after a silence, at least 1.
    """

    def __init__(self, total: int = 0, per_source: int = 0, rate: float = 0.0, burst: int = 1) -> None:
        self._total, self._per_source = total, per_source
        self._interval = 1.0 / rate if rate else 0.0
        self._slack = (burst - 1) * self._interval
        self._full_at = 0.0
        self._open: Counter[bytes] = Counter()
        self._count = 0

    @property
    def count(self) -> int:
        """How many connections there are."""
        return self._count

    @property
    def ready_at(self) -> float:
        """When the rate permits the next one; a listener may leave it to the kernel until then."""
        return self._full_at - self._slack

    def count_of(self, source: IPv6) -> int:
        """How many of them are from the /64 of C{source}."""
        return self._open[source[:SOURCE_OCTETS]]

    def admit(self, source: IPv6, now: float) -> Overload | None:
        """Count a new connection, or say which limit forbids it; what is admitted is to be released later."""
        network = source[:SOURCE_OCTETS]
        if self._total and self._count >= self._total:
            return Overload.TOTAL
        if self._per_source and self._open[network] >= self._per_source:
            return Overload.SOURCE
        if self._interval:
            if now < self.ready_at:
                return Overload.RATE
            self._full_at = max(now, self._full_at) + self._interval
        self._open[network] += 1
        self._count += 1
        return None

    def release(self, source: IPv6) -> None:
        """
        A connection that was admitted is closed.

        @raise ValueError: there is none from there.
        """
        network = source[:SOURCE_OCTETS]
        if network not in self._open:
            raise ValueError("no connection from there was admitted")
        self._open[network] -= 1
        self._count -= 1
        if not self._open[network]:
            del self._open[network]
