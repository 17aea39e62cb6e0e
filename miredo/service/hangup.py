# SPDX-License-Identifier: MIT
"""SIGHUP, the daemons' sign to read their configuration again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorFromThreads


class Hangup(Service):
    """Has something called in the reactor when the signal comes, for as long as it runs.

    To be started in the main thread, which is the only one that Python lets set what a signal does. A signal that was
    held back until then has come.
    """

    def __init__(self, reactor: IReactorFromThreads, call: Callable[[], object]) -> None:
        self._reactor = reactor
        self._call = call
        self.setName("SIGHUP")

    def startService(self) -> None:
        super().startService()
        self._before = signal.signal(signal.SIGHUP, self._came)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])

    def stopService(self) -> None:
        if self.running:
            signal.signal(signal.SIGHUP, self._before)
        super().stopService()

    def _came(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._reactor.callFromThread(self._call)
