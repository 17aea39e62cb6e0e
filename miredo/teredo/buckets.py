# SPDX-License-Identifier: MIT
"""Limits: the token bucket of RFC 4443 2.4(f), one for each source, and uniform dice."""

from __future__ import annotations

from collections import OrderedDict

from miredo.address.endpoint import Dice, IPv4


class TokenBucket:
    """C{rate} tokens a second, at most C{burst} of them kept."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, 0.0

    def take(self, now: float) -> bool:
        """Take one token; False when there is none."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class SourceBuckets:
    """A token bucket for each IPv4 source, of which one number is kept: when it will be full again.

    Of C{capacity} sources at most, whose last packets are the newest: a source that is forgotten has a full bucket.

    @param rate: tokens a second of each source; 0 is no limit.
    @param burst: tokens that a full bucket has.
    """

    __slots__ = ("_capacity", "_full_at", "_interval", "_slack")

    def __init__(self, rate: float, burst: float, capacity: int) -> None:
        self._interval = 1.0 / rate if rate else 0.0
        self._slack = (burst - 1.0) * self._interval
        self._capacity = capacity
        self._full_at: OrderedDict[IPv4, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, source: IPv4, now: float) -> bool:
        """Take one token of C{source}; False when there is none."""
        if not self._interval:
            return True
        full_at = max(now, self._full_at.get(source, now))
        allowed = full_at - now <= self._slack
        self._full_at[source] = full_at + self._interval if allowed else full_at
        self._full_at.move_to_end(source)
        if len(self._full_at) > self._capacity:
            self._full_at.popitem(last=False)
        return allowed


def uniform(dice: Dice, low: float, high: float) -> float:
    """A number between C{low} and C{high}, evenly."""
    return low + (high - low) * int.from_bytes(dice(4), "big") / 0xFFFFFFFF
