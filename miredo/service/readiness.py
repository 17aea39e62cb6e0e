# SPDX-License-Identifier: MIT
"""Says that the process is ready: to the service manager, and to who waits for it at a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorCore

from miredo.kernel.interfaces import IAlarm, IClock
from miredo.kernel.notifying import ServiceManager

WATCHDOG_SHARE = 0.5
"""Of the watchdog's time, between two signs of life (sd_watchdog_enabled(3))."""


class Readiness(Service):
    """Ready once the reactor runs and everything has started.

    @param status: what there is to say of the roles.
    @param leave: leaves the terminal then, if there is one to leave.
    """

    _alarm: IAlarm | None = None

    def __init__(
        self,
        reactor: IReactorCore,
        clock: IClock,
        manager: ServiceManager,
        status: Callable[[], str],
        leave: Callable[[], None] | None = None,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._manager = manager
        self._status = status
        self._leave = leave
        self.setName("readiness")

    def startService(self) -> None:
        super().startService()
        self._reactor.callWhenRunning(self._started)

    def stopService(self) -> None:
        super().stopService()
        self._manager.stopping()
        if self._alarm is not None:
            self._alarm.cancel()

    def reloading(self) -> None:
        """A reload has begun."""
        self._manager.reloading()

    def ready(self) -> None:
        """The start, or a reload, has ended."""
        if self.running:
            self._manager.ready(self._status(), os.getpid() if self._leave is not None else None)

    def _started(self) -> None:
        if not self.running:
            return
        self.ready()
        if self._leave is not None:
            self._leave()
        if self._manager.watchdog is not None:
            self._alarm = self._clock.alarm(self._live)
            self._live()

    def _live(self) -> None:
        """A reactor that no longer turns says nothing, and the manager starts another one."""
        self._manager.alive()
        if self._alarm is not None and self._manager.watchdog is not None:
            self._alarm.arm(self._clock.now() + self._manager.watchdog * WATCHDOG_SHARE)
