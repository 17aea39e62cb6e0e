# SPDX-License-Identifier: MIT
"""A clock that jumps from deadline to deadline."""

from collections import deque
from collections.abc import Callable
from errno import EBADF

from zope.interface import implementer

from miredo.kernel.errors import refused
from miredo.kernel.interfaces import IAlarm, IClock

RESTLESS = 10_000
"""Calls at one instant after which L{MemoryClock.advance} gives up: alarms or packets that beget each other."""


@implementer(IClock)
class MemoryClock:
    """
    Stands still, but for L{advance} and L{suspend}.

    @param now: seconds to start at.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._deadlines: dict[MemoryAlarm, float] = {}
        self._soon: deque[Callable[[], None]] = deque()
        self._notified: list[Callable[[], None]] = []

    @property
    def armed(self) -> list[float]:
        """The armed deadlines, earliest first."""
        return sorted(self._deadlines.values())

    def now(self) -> float:
        return self._now

    def alarm(self, ring: Callable[[], None]) -> IAlarm:
        return MemoryAlarm(self, ring)

    def resumed(self, notify: Callable[[], None]) -> Callable[[], None]:
        self._notified.append(notify)
        return lambda: self._notified.remove(notify)

    def soon(self, call: Callable[[], None]) -> None:
        """Call that once, as soon as time is advanced."""
        self._soon.append(call)

    def advance(self, seconds: float) -> None:
        """Let time pass; alarms ring at their deadlines, in order, and may arm others that fall into this time."""
        end = self._now + seconds
        calls = 0
        while (call := self._next_call(end)) is not None:
            earlier = self._now
            call()
            calls = calls + 1 if self._now == earlier else 0
            if calls > RESTLESS:
                raise RuntimeError(f"{RESTLESS} calls at {self._now} s and no end")
        self._now = end

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: time passes, nothing rings; who wished so is told when time is advanced again."""
        self._now += seconds
        self._soon.appendleft(self._woke)

    def set_deadline(self, alarm: "MemoryAlarm", deadline: float | None) -> None:
        """Arm or disarm one of this clock's alarms."""
        self._deadlines.pop(alarm, None)
        if deadline is not None:
            self._deadlines[alarm] = deadline

    def _next_call(self, end: float) -> Callable[[], None] | None:
        if self._soon:
            return self._soon.popleft()
        alarm = min(self._deadlines, key=self._deadlines.__getitem__, default=None)
        if alarm is None or self._deadlines[alarm] > end:
            return None
        self._now = max(self._now, self._deadlines.pop(alarm))
        return alarm.ring

    def _woke(self) -> None:
        for notify in tuple(self._notified):
            notify()


@implementer(IAlarm)
class MemoryAlarm:
    """An alarm of a L{MemoryClock}."""

    def __init__(self, clock: MemoryClock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._cancelled = False
        self.ring = ring

    def arm(self, deadline: float | None) -> None:
        if self._cancelled:
            raise refused(EBADF, "alarm")
        self._clock.set_deadline(self, deadline)

    def cancel(self) -> None:
        self._cancelled = True
        self._clock.set_deadline(self, None)
