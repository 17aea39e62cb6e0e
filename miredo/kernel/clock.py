# SPDX-License-Identifier: MIT
"""
The one clock, CLOCK_BOOTTIME, and its alarms: a timerfd each, read by the reactor.

C{reactor.callLater} is not used: it follows the wall clock, or stands still in suspend with CLOCK_MONOTONIC.

A suspension is found by comparing the two clocks, when the kernel tells that the wall clock was set, which waking does
to it, and before each alarm rings. A wall clock that somebody else set shows no difference, and nothing comes of it.
"""

import os
import time
from collections.abc import Callable
from errno import ECANCELED
from math import ceil

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.kernel.interfaces import IAlarm, IClock
from miredo.kernel.libc import create_step_timer, create_timer, set_timer

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
    @param step_timer: opens what is readable each time that the wall clock was set; open while L{resumed} has wishes.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        monotonic: Callable[[], float] = time.monotonic,
        step_timer: Callable[[], int] = create_step_timer,
    ) -> None:
        self._reactor = reactor
        self._monotonic = monotonic
        self._step_timer = step_timer
        self._steps: WallClockSteps | None = None
        self._asleep = boottime() - monotonic()
        self._notified: list[Callable[[], None]] = []

    def now(self) -> float:
        return boottime()

    def alarm(self, ring: Callable[[], None]) -> IAlarm:
        return TimerAlarm(self._reactor, lambda: self._rung(ring))

    def resumed(self, notify: Callable[[], None]) -> Callable[[], None]:
        if self._steps is None:
            self._steps = WallClockSteps(self._reactor, self._step_timer(), self._look_for_sleep)
        self._notified.append(notify)
        return lambda: self._take_back(notify)

    def _take_back(self, notify: Callable[[], None]) -> None:
        self._notified.remove(notify)
        if self._steps is not None and not self._notified:
            self._steps.close()
            self._steps = None

    def _rung(self, ring: Callable[[], None]) -> None:
        self._look_for_sleep()
        with _logging_failures:
            ring()

    def _look_for_sleep(self) -> None:
        asleep = boottime() - self._monotonic()
        if asleep - self._asleep > SUSPENSION:
            self._asleep = asleep
            for notify in tuple(self._notified):
                with _logging_failures:
                    notify()


@implementer(IAlarm, IReadDescriptor)
class TimerAlarm:
    """An alarm that is a timerfd in the reactor."""

    def __init__(self, reactor: IReactorFDSet, ring: Callable[[], None]) -> None:
        self._reactor = reactor
        self._ring = ring
        self._fd = create_timer()
        self._armed: float | None = None
        reactor.addReader(self)

    def arm(self, deadline: float | None) -> None:
        if deadline == self._armed:  # most packets change no deadline, and setting one that is near is dear
            return
        self._armed = deadline
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
        self._armed = None
        self._ring()

    def connectionLost(self, reason: Failure) -> None:
        self.cancel()

    def logPrefix(self) -> str:
        return "alarm"


@implementer(IReadDescriptor)
class WallClockSteps:
    """
    Calls C{stepped} when the wall clock was set.

    @param fd: readable then; closed by L{close}.
    """

    def __init__(self, reactor: IReactorFDSet, fd: int, stepped: Callable[[], None]) -> None:
        self._reactor = reactor
        self._fd = fd
        self._stepped = stepped
        reactor.addReader(self)

    def close(self) -> None:
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
            return
        except OSError as error:
            if error.errno != ECANCELED:
                raise
        self._stepped()

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def logPrefix(self) -> str:
        return "wall clock"
