# SPDX-License-Identifier: MIT
"""Many deadlines on one alarm, since each alarm of the kernel's clock is a descriptor."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred

from miredo.kernel.interfaces import IClock

T = TypeVar("T")

_CROWD = 64
"""Deadlines that were taken back and are still in the heap before it is cleaned. Ours."""


class TooLate(Exception):
    """The time was up."""


class Deadline:
    """One of them."""

    __slots__ = ("_owner", "at", "ring")

    def __init__(self, owner: Deadlines, at: float, ring: Callable[[], None]) -> None:
        self._owner = owner
        self.at = at
        self.ring: Callable[[], None] | None = ring

    def take_back(self) -> None:
        """It shall not ring. Twice is once."""
        if self.ring is not None:
            self.ring = None
            self._owner.taken_back()


class Deadlines:
    """Rings each deadline once, when it has come."""

    def __init__(self, clock: IClock) -> None:
        self._clock = clock
        self._alarm = clock.alarm(self._expire)
        self._heap: list[tuple[float, int, Deadline]] = []
        self._numbers = count()
        self._idle = 0
        self._closed = False

    def after(self, seconds: float, ring: Callable[[], None]) -> Deadline:
        """Call C{ring} in so many seconds."""
        deadline = Deadline(self, self._clock.now() + seconds, ring)
        heappush(self._heap, (deadline.at, next(self._numbers), deadline))
        self._arm()
        return deadline

    def taken_back(self) -> None:
        """One of them shall not ring."""
        self._idle += 1
        if self._idle > _CROWD and self._idle > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].ring is not None]
            heapify(self._heap)
            self._idle = 0
        self._arm()

    def close(self) -> None:
        """Ring nobody any more, and give back the alarm."""
        self._closed = True
        self._heap.clear()
        self._alarm.cancel()

    async def limited(self, seconds: float, doing: Coroutine[Deferred[object], object, T]) -> T:
        """
        What C{doing} returns.

        @raise TooLate: it took longer, and was cancelled.
        """
        under_way = Deferred.fromCoroutine(doing)
        rung: list[bool] = []

        def ring() -> None:
            rung.append(True)
            under_way.cancel()

        deadline = self.after(seconds, ring)
        try:
            return await under_way
        except CancelledError:
            if rung:
                raise TooLate(f"no answer in {seconds:g} s") from None
            raise
        finally:
            deadline.take_back()

    def _arm(self) -> None:
        if self._closed:
            return
        while self._heap and self._heap[0][2].ring is None:
            heappop(self._heap)
            self._idle -= 1
        self._alarm.arm(self._heap[0][0] if self._heap else None)

    def _expire(self) -> None:
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            _, _, deadline = heappop(self._heap)
            ring, deadline.ring = deadline.ring, None
            if ring is None:
                self._idle -= 1
            else:
                ring()
        self._arm()
