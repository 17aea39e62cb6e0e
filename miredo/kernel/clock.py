# SPDX-License-Identifier: MIT
"""
The one clock, CLOCK_BOOTTIME, and its alarms: a timerfd each, read by the reactor.

C{reactor.callLater} is not used: it follows the wall clock, or stands still in suspend with CLOCK_MONOTONIC.
"""

import os
import time
from collections.abc import Callable
from math import ceil

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.kernel.interfaces import IAlarm, IClock
from miredo.kernel.libc import create_timer, set_timer

SUSPENSION = 1.0
"""Seconds by which CLOCK_BOOTTIME must have outrun CLOCK_MONOTONIC to mean that the machine slept (ours: both are read
one after the other, which a loaded machine can spread over some milliseconds)."""

_logging_failures = Logger().failureHandler("an alarm's receiver failed")


def boottime() -> float:
    """Seconds since the machine started, asleep or not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@implementer(IClock)
class BoottimeClock:
    """
    The kernel's clock.

    @param monotonic: a clock that stands still while the machine sleeps.
    """

    def __init__(self, reactor: IReactorFDSet, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reactor = reactor
        self._monotonic = monotonic
        self._asleep = boottime() - monotonic()
        self._notified: list[Callable[[], None]] = []

    def now(self) -> float:
        return boottime()

    def alarm(self, ring: Callable[[], None]) -> IAlarm:
        return TimerAlarm(self._reactor, lambda: self._rung(ring))

    def resumed(self, notify: Callable[[], None]) -> Callable[[], None]:
        self._notified.append(notify)
        return lambda: self._notified.remove(notify)

    def _rung(self, ring: Callable[[], None]) -> None:
        asleep = boottime() - self._monotonic()
        if asleep - self._asleep > SUSPENSION:
            self._asleep = asleep
            for notify in tuple(self._notified):
                with _logging_failures:
                    notify()
        with _logging_failures:
            ring()


@implementer(IAlarm, IReadDescriptor)
class TimerAlarm:
    """An alarm that is a timerfd in the reactor."""

    def __init__(self, reactor: IReactorFDSet, ring: Callable[[], None]) -> None:
        self._reactor = reactor
        self._ring = ring
        self._fd = create_timer()
        reactor.addReader(self)

    def arm(self, deadline: float | None) -> None:
        # A timerfd set to 0 is disarmed; any other time that has passed expires at once.
        set_timer(self._fd, 0 if deadline is None else max(1, ceil(deadline * 1e9)))

    def cancel(self) -> None:
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # moved or disarmed between the reactor's poll and this call
        self._ring()

    def connectionLost(self, reason: Failure) -> None:
        self.cancel()

    def logPrefix(self) -> str:
        return "alarm"
