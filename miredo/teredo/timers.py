# SPDX-License-Identifier: MIT
"""Deadlines, kept two ways: exact for the few that are being tried, by the second for the many that only age.

Aging is lazy: reception only stamps a peer, and a peer that is found fresh when its second comes is put
off to the second that its last reception asks for. So nothing on the per-packet path touches a timer.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

SLACK = 64
"""Removed items that an L{Agenda} may hold on to besides as many as are there. Ours."""


class Agenda(Generic[Item]):
    """Items with exact deadlines; the newest deadline of an item is the one that counts."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._current: dict[int, int] = {}
        self._serial = 0

    def put(self, when: float, item: Item) -> None:
        """Call for C{item} at C{when}, and no longer at the time it was put down for before."""
        self._serial += 1
        self._current[id(item)] = self._serial
        heapq.heappush(self._heap, (when, self._serial, item))
        if len(self._heap) > 2 * len(self._current) + SLACK:  # most of them were removed long before their time
            self._heap = [entry for entry in self._heap if self._current.get(id(entry[2])) == entry[1]]
            heapq.heapify(self._heap)

    def remove(self, item: Item) -> None:
        self._current.pop(id(item), None)

    def _skip(self) -> None:
        heap = self._heap
        while heap and self._current.get(id(heap[0][2])) != heap[0][1]:
            heapq.heappop(heap)

    @property
    def deadline(self) -> float | None:
        self._skip()
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> Item | None:
        """The next item that is due, or None."""
        self._skip()
        if not self._heap or self._heap[0][0] > now:
            return None
        _, _, item = heapq.heappop(self._heap)
        del self._current[id(item)]
        return item

    def clear(self) -> None:
        self._heap.clear()
        self._current.clear()

    def __len__(self) -> int:
        return len(self._current)


class Wheel(Generic[Item]):
    """Items by the second in which they are to be looked at; early by nothing, late by less than a second."""

    def __init__(self) -> None:
        self._slots: dict[int, list[Item]] = {}
        self._size = 0

    def __len__(self) -> int:
        """How many times items are put down, also for seconds that no longer matter to their owner."""
        return self._size

    def put(self, when: float, item: Item) -> int:
        """Look at C{item} in the second that C{when} ends in; gives that second."""
        second = math.ceil(when)
        self._slots.setdefault(second, []).append(item)
        self._size += 1
        return second

    @property
    def deadline(self) -> float | None:
        return float(min(self._slots)) if self._slots else None

    def pop(self, now: float) -> list[Item]:
        """All items of the earliest due second; empty when none is due."""
        deadline = self.deadline
        if deadline is None or deadline > now:
            return []
        due = self._slots.pop(int(deadline))
        self._size -= len(due)
        return due

    def take_first(self) -> tuple[int, Item] | None:
        """An item of the earliest second, due or not, and that second; None when there is none."""
        if not self._slots:
            return None
        second = min(self._slots)
        item = self._slots[second].pop()
        self._size -= 1
        if not self._slots[second]:
            del self._slots[second]
        return second, item

    def sift(self, matters: Callable[[int, Item], bool]) -> None:
        """Forget the items and seconds that do not matter."""
        kept = {second: [item for item in items if matters(second, item)] for second, items in self._slots.items()}
        self._slots = {second: items for second, items in kept.items() if items}
        self._size = sum(map(len, self._slots.values()))

    def clear(self) -> None:
        self._slots.clear()
        self._size = 0
