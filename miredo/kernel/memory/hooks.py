# SPDX-License-Identifier: MIT
"""A hook that is a list."""

from collections import deque
from collections.abc import Mapping

from twisted.internet.defer import Deferred
from zope.interface import implementer

from miredo.kernel.hookprogram import HookEnded
from miredo.kernel.interfaces import IHook


@implementer(IHook)
class MemoryHook:
    """
    A hook whose program is a test.

    @ivar runs: the environment of each run that has begun, in order.
    @ivar slow: a run lasts until L{end}; otherwise it has ended at once, as C{outcome} says.
    @ivar fault: what L{check} raises.
    """

    def __init__(self, path: str = "/etc/miredo/client-hook") -> None:
        self.path = path
        self.runs: list[dict[str, str]] = []
        self.slow = False
        self.outcome = HookEnded(0, "")
        self.fault: OSError | None = None
        self._waiting: deque[tuple[dict[str, str], Deferred[HookEnded]]] = deque()

    def check(self) -> None:
        if self.fault is not None:
            raise self.fault

    def run(self, environment: Mapping[str, str]) -> Deferred[HookEnded]:
        ended: Deferred[HookEnded] = Deferred()
        self._waiting.append((dict(environment), ended))
        if len(self._waiting) == 1:
            self._begin()
        return ended

    def end(self, status: int = 0, output: str = "") -> None:
        """Let the run that goes on end, and the next begin."""
        _, ended = self._waiting[0]
        ended.callback(HookEnded(status, output))
        self._waiting.popleft()
        if self._waiting:
            self._begin()

    def _begin(self) -> None:
        self.runs.append(self._waiting[0][0])
        if not self.slow:
            self.end(*self.outcome)
