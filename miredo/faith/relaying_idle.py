# SPDX-License-Identifier: MIT
"""Exact timeouts of many, all of the same length, by one alarm that is moved only when it rings."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from miredo.kernel.interfaces import IAlarm, IClock

T = TypeVar("T")


class Patience(Generic[T]):
    """
    Who has done nothing for C{seconds} expires.

    They stand in the order in which they did something last, so the first one's deadline is the earliest. The alarm is
    set for some deadline that was the earliest once: it rings too early at worst, and is set again then.

    @param seconds: 0 or less: nobody ever expires.
    @param expired: called with each who does, forgotten already.
    """

    def __init__(self, clock: IClock, seconds: float, expired: Callable[[T], None]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._expired = expired
        self._since: OrderedDict[T, float] = OrderedDict()
        self._alarm: IAlarm | None = clock.alarm(self._ring) if seconds > 0 else None
        self._armed = False

    def __len__(self) -> int:
        return len(self._since)

    def touch(self, who: T, now: float) -> None:
        """Somebody did something; whoever is new is taken in."""
        if self._alarm is None:
            return
        self._since[who] = now
        self._since.move_to_end(who)
        if not self._armed:
            self._armed = True
            self._alarm.arm(now + self._seconds)

    def forget(self, who: T) -> None:
        """Somebody need not be waited for any more, if ever he was."""
        self._since.pop(who, None)

    def close(self) -> None:
        """Forget all, and give back the alarm. Twice is once."""
        self._since.clear()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _ring(self) -> None:
        self._armed = False
        now = self._clock.now()
        while self._since and self._alarm is not None:
            who, since = next(iter(self._since.items()))
            if since + self._seconds > now:
                self._armed = True
                self._alarm.arm(since + self._seconds)
                return
            del self._since[who]
            self._expired(who)
