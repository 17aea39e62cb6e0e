# SPDX-License-Identifier: MIT
"""Limits: the token bucket of RFC 4443 2.4(f), and uniform dice."""

from __future__ import annotations

from miredo.address.endpoint import Dice


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


def uniform(dice: Dice, low: float, high: float) -> float:
    """A number between C{low} and C{high}, evenly."""
    return low + (high - low) * int.from_bytes(dice(4), "big") / 0xFFFFFFFF
