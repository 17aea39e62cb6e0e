# SPDX-License-Identifier: MIT
"""What a link does to a packet: when it arrives, whether, and how often."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import isfinite
from typing import Final

REORDERING: Final = 0.05
"""
Seconds by which a reordered packet comes later than its link would have it. Our number: more than the distance of
packets that belong to one exchange, less than any time after which Teredo sends again.
"""


QUEUE_LENGTH: Final = 0.5
"""Seconds of packets that wait for a link with a rate; one more is dropped. Our number, a bloated home router's."""


_UNITS: Final = (
    ("delay", 1e3, "ms"),
    ("jitter", 1e3, "ms"),
    ("loss", 1e2, "%"),
    ("duplicate", 1e2, "%"),
    ("reorder", 1e2, "%"),
    ("rate", 1e-6, "Mbit/s"),
)


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a link. A link without jitter and reordering keeps the order of its packets."""

    delay: float = 0.0
    """Seconds that each packet takes."""
    jitter: float = 0.0
    """Seconds that a packet takes longer at most, evenly spread."""
    loss: float = 0.0
    """Probability that a packet is lost, with its duplicate."""
    duplicate: float = 0.0
    """Probability that a packet arrives twice."""
    reorder: float = 0.0
    """Probability that an arriving packet comes L{REORDERING} later, so that those behind it overtake."""

    rate: float = 0.0
    """Bits a second that the link carries; 0 is any number. L{Transmitter} makes packets wait for it."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in ("delay", "jitter", "rate"):
                if not (isfinite(value) and value >= 0):
                    unit = "bit/s" if each.name == "rate" else "s"
                    raise ValueError(f"a link's {each.name} is {value} {unit}: must be 0 or more")
            elif not 0 <= value <= 1:
                raise ValueError(f"a link's {each.name} is {value}: must be a probability from 0 to 1")

    def __str__(self) -> str:
        """C{delay 40 ms, loss 2 %}, in the units of the command line; C{plain} where it does nothing."""
        said = [f"{name} {value * factor:g} {unit}" for name, factor, unit in _UNITS if (value := getattr(self, name))]
        return ", ".join(said) or "plain"

    def deliveries(self, now: float, roll: Callable[[], float]) -> list[float]:
        """
        When a packet that is sent at C{now} arrives, in order: never, once or twice.

        @param roll: gives a number from 0 up to, but not including, 1; not asked for what the link never does.
        """
        if self._happens(self.loss, roll):
            return []
        copies = 2 if self._happens(self.duplicate, roll) else 1
        return sorted(now + self._transit(roll) for _ in range(copies))

    def _transit(self, roll: Callable[[], float]) -> float:
        lateness = self.jitter * roll() if self.jitter else 0.0
        return self.delay + lateness + (REORDERING if self._happens(self.reorder, roll) else 0.0)

    def _happens(self, probability: float, roll: Callable[[], float]) -> bool:
        return probability > 0 and roll() < probability


class Transmitter:
    """What sends into one direction of a link: a packet waits until those before it are out, if the link has a rate."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._free_at = 0.0

    def deliveries(self, now: float, size: int, roll: Callable[[], float]) -> list[float]:
        """When a packet of C{size} bytes arrives; as L{Link.deliveries}, and never if too many wait before it."""
        if not self._link.rate:
            return self._link.deliveries(now, roll)
        begins = max(now, self._free_at)
        if begins - now > QUEUE_LENGTH:
            return []
        self._free_at = begins + 8 * size / self._link.rate
        return self._link.deliveries(self._free_at, roll)
