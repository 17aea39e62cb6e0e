# SPDX-License-Identifier: MIT
"""The end of relays that others take over from: they go on forwarding for a while (C{DrainTime})."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IReactorFromThreads

STOPPING = signal.SIGTERM, signal.SIGINT


class Drainable(Protocol):
    """What can go on for a while after it was asked to end."""

    def drain(self) -> Deferred[None] | None:
        """Begin to drain; C{None} if there is nothing to wait for."""

    def hurry(self) -> None:
        """Drain no longer."""


class StopSignals:
    """SIGTERM and SIGINT that come while the reactor is stopping already, which Twisted takes no notice of."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor

    def heed(self, call: Callable[[], object]) -> Callable[[], None]:
        """Have something called in the reactor when one comes.

        @return: a call that takes this wish back, after which they do what they did before.
        """
        if threading.current_thread() is not threading.main_thread():
            return lambda: None  # only the main thread may say what a signal does

        def came(number: int, frame: FrameType | None) -> None:
            del number, frame
            self._reactor.callFromThread(call)

        before = {number: signal.signal(number, came) for number in STOPPING}

        def restore() -> None:
            for number, then in before.items():
                signal.signal(number, then)

        return restore


def drained(services: Sequence[Drainable], stop_signals: StopSignals | None) -> Deferred[None]:
    """Drain all of them.

    @param stop_signals: one that comes meanwhile ends it at once.
    @return: fires when none of them drains any more.
    """
    waiting = [drain for drain in (service.drain() for service in services) if drain is not None]
    if not waiting:
        return succeed(None)

    def hurry() -> None:
        for service in services:
            service.hurry()

    restore = stop_signals.heed(hurry) if stop_signals is not None else (lambda: None)
    return gatherResults(waiting).addCallback(lambda _: restore())
