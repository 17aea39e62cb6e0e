# SPDX-License-Identifier: MIT
"""The signals that end a daemon, and those that shall not."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.logger import Logger

ENDING = signal.SIGTERM, signal.SIGINT
MEANINGLESS = signal.SIGUSR1, signal.SIGUSR2
"""They do nothing, and might in a future version (miredo(8)); by default they would kill."""


class EndSignals(Service):
    """Tells which signal it was that the process ends on; Twisted's reactor sees to the rest. One is enough.

    To be started in the main thread, before the reactor runs.
    """

    _ending = False

    def __init__(self, reactor: IReactorCore) -> None:
        self._reactor = reactor
        self._log = Logger(namespace="miredo")
        self.setName("ending signals")

    def startService(self) -> None:
        super().startService()
        self._early = self._before(self._stop)
        for number in ENDING:
            signal.signal(number, self._early)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        self._reactor.callWhenRunning(self._listen)  # which is when the reactor has set its own

    def _listen(self) -> None:
        for number in ENDING:
            then = signal.getsignal(number)
            if then != self._early:
                signal.signal(number, self._before(then))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """It came before the reactor runs, or is one that the reactor leaves alone where somebody sees to it."""
        del number, frame
        IReactorFromThreads(self._reactor).callFromThread(self._reactor.stop)

    def _before(self, then: Callable[[int, FrameType | None], object] | int | None) -> Callable[..., None]:
        def came(number: int, frame: FrameType | None) -> None:
            if self._ending:
                return
            self._ending = True
            IReactorFromThreads(self._reactor).callFromThread(self._tell, number)
            if callable(then):
                then(number, frame)

        return came

    def _tell(self, number: int) -> None:
        text = "Exiting on signal {number} ({name})"
        self._log.info(text, number=number, name=signal.strsignal(number), notice=True)


def disarm(*numbers: int) -> None:
    """Have signals do nothing where they would kill, here and not in the programs that we execute (so no SIG_IGN)."""
    for number in numbers:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _nothing(number: int, frame: FrameType | None) -> None:
    del number, frame
