# SPDX-License-Identifier: MIT
"""Hooks beside the privileged child's loop: one at a time, in order, each for a minute at most,
and all together for some seconds at the end."""

from __future__ import annotations

import os
import time
from collections import deque
from errno import EAGAIN
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from miredo.kernel.errors import refused
from miredo.kernel.hookprogram import LIMIT, OUTPUT_LIMIT, HookEnded, kill_hook, not_started, start_hook, text_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from miredo.kernel.privileged.permits import Hook

LAST_LIMIT = 5.0
"""Seconds for all hooks once the end has come. Ours: whoever starts the program anew shall not wait for long."""
QUEUE_LIMIT = 64
"""Hooks that wait at most. Ours: a client has two that wait, and one that runs."""
_CHUNK = 4096
_LAST_CHUNKS = 16
"""Reads that an ended hook's pipe gets yet: somebody whom it has left running may go on writing."""


class Asked(NamedTuple):
    """A hook that is to be run; C{number} is what its end is told with."""

    number: int
    hook: Hook


class Hooks:
    """
    Runs hooks; whoever has the loop calls L{look} when C{descriptor} can be read, after SIGCHLD and at C{deadline}.

    @param ended: is told what became of the hook of a number.
    @param limit: seconds that a hook may take.
    """

    def __init__(self, ended: Callable[[int, HookEnded], None], limit: float = LIMIT) -> None:
        self._ended = ended
        self._limit = limit
        self._count = 0
        self._waiting: deque[Asked] = deque()
        self._running: Running | None = None
        self._last: dict[tuple[str | None, str], Hook] = {}
        self._over_by = inf

    def ask(self, hook: Hook) -> int:
        """
        Run a hook after those before it.

        @return: its number.
        @raise OSError: EAGAIN, too many wait.
        """
        if len(self._waiting) >= QUEUE_LIMIT:
            raise refused(EAGAIN, f"hook {hook.path}", f"{QUEUE_LIMIT} wait already")
        return self._add(hook)

    def wind_up(self) -> None:
        """Nobody asks any more: have each tunnel of which a hook knows taken down and destroyed, in L{LAST_LIMIT}."""
        self._over_by = time.monotonic() + LAST_LIMIT
        if self._running is not None:
            self._running.hurry(self._over_by)
        for hook in tuple(self._last.values()):
            for last in farewells(hook):
                self._add(last)

    def look(self) -> None:
        """See what has become of the hook that runs, and start the next."""
        if self._running is not None:
            self._running.look()
            if (end := self._running.end()) is not None:
                number, self._running = self._running.number, None
                self._ended(number, end)
        if time.monotonic() >= self._over_by:
            self._waiting.clear()
        while self._running is None and self._waiting:
            self._start(self._waiting.popleft())

    @property
    def idle(self) -> bool:
        """Whether there is nothing to be waited for."""
        return self._running is None and not self._waiting

    @property
    def descriptor(self) -> int | None:
        """What can be read when the hook that runs says something."""
        return None if self._running is None else self._running.descriptor

    @property
    def deadline(self) -> float | None:
        """When the hook that runs is to be killed, in seconds of CLOCK_MONOTONIC."""
        return None if self._running is None else self._running.deadline

    def _add(self, hook: Hook) -> int:
        self._count += 1
        self._waiting.append(Asked(self._count, hook))
        tunnel = hook.namespace, hook.environment["IFACE"]
        if hook.environment["STATE"] == "destroy":
            self._last.pop(tunnel, None)
        else:
            self._last[tunnel] = hook
        return self._count

    def _start(self, asked: Asked) -> None:
        try:
            process = start_hook(asked.hook.path, asked.hook.environment, asked.hook.namespace)
        except OSError as error:
            self._ended(asked.number, not_started(error))
        else:
            self._running = Running(asked.number, process, self._limit)
            self._running.hurry(self._over_by)


class Running:
    """
    A hook that runs.

    @ivar descriptor: its pipe, as long as something can come by it.
    """

    def __init__(self, number: int, process: subprocess.Popen[bytes], limit: float) -> None:
        assert process.stdout is not None
        self.number = number
        self.deadline: float | None = time.monotonic() + limit
        self.descriptor: int | None = process.stdout.fileno()
        self._process = process
        self._pipe = process.stdout
        self._output = b""
        self._limit = limit

    def hurry(self, deadline: float) -> None:
        """Have it end by then, if not before."""
        if self.deadline is not None and deadline < self.deadline:
            self._limit -= self.deadline - deadline
            self.deadline = deadline

    def look(self) -> None:
        """Read what it says, and kill it if its time is over."""
        self._read()
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.deadline = None
            self._output = f"it took longer than {self._limit:.3g} s and was killed\n".encode() + self._output
            kill_hook(self._process)

    def end(self) -> HookEnded | None:
        """How it has ended, if it has; then it is gone."""
        status = self._process.poll()
        if status is None:
            return None
        self._read()
        self._pipe.close()
        return HookEnded(status, text_of(self._output))

    def _read(self) -> None:
        for _ in range(_LAST_CHUNKS):
            if self.descriptor is None:
                return
            try:
                chunk = os.read(self.descriptor, _CHUNK)
            except BlockingIOError:
                return
            self._output = (self._output + chunk)[:OUTPUT_LIMIT]
            if not chunk:
                self.descriptor = None


def farewells(hook: Hook) -> list[Hook]:
    """What a hook is told of a tunnel whose program has gone without a word: C{down}, unless it is so, and the end."""
    given = hook.environment
    was_up = given["STATE"] == "up"
    about = {name: value for name, value in given.items() if name.startswith("IF")}
    old = _old(given) if was_up else {name: value for name, value in given.items() if name.startswith("OLD_")}
    states = ("down", "destroy") if was_up else ("destroy",)
    return [hook._replace(environment={"STATE": state, **about, **old}) for state in states]


def _old(given: dict[str, str]) -> dict[str, str]:
    """An address that there is, as one that there was."""
    held = {f"OLD_{name}": given[name] for name in ("ADDRESS", "LLADDRESS", "MTU") if name in given}
    return {"OLD_STATE": "up", **held}
