# SPDX-License-Identifier: MIT
"""A program from its start on: when which sign of it is there, what memory it takes, and its end."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

PATIENCE = 30.0
"""Seconds that a start or an end may take."""
TICK = 0.0002
"""Seconds between looks for signs."""

Sign = TypeVar("Sign", bound=str)


class NotStarted(Exception):
    """A program did not do what it was started for; the text says so, with all that it wrote."""


class Memory(NamedTuple):
    """What of a process is in memory, in megabytes; C{proportional} has its share of what several have (proc(5))."""

    resident: float
    proportional: float


class Started:
    """A program that was started, and what it has detached.

    @param log: the file that gets its output.
    @param environment: what it gets besides ours.
    """

    def __init__(self, words: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        self._status: int | None = None
        self._spent = 0.0
        self._detached: int | None = None
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        self._begun = time.monotonic()
        self._pid = os.posix_spawn(words[0], words, {**os.environ, **environment}, file_actions=files)

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    def has_ended(self) -> bool:
        """Whether what was started has ended; what it has detached need not.

        @raise NotStarted: with another status than 0.
        """
        if self._status is None:
            self._reap(os.WNOHANG)
            if self._status:
                raise self._failed(f"it ended with status {self._status}")
        return self._status is not None

    def is_in(self, pid_file: Path) -> bool:
        """Whether that file has the number of what goes on."""
        with suppress(OSError, ValueError):
            self._detached = int(pid_file.read_text())
        return self._detached is not None

    def when(self, signs: Mapping[Sign, Callable[[], bool]]) -> dict[Sign, float]:
        """Seconds after the start at which each sign is there.

        @raise NotStarted: one does not come.
        """
        seen: dict[Sign, float] = {}
        while len(seen) < len(signs):
            for name, is_there in signs.items():
                if name not in seen and is_there():
                    seen[name] = self.age
            if self.age > PATIENCE:
                raise self._failed(f"{', '.join(signs.keys() - seen.keys())}: not in {PATIENCE:g} s")
            time.sleep(TICK)
        return seen

    def family(self) -> list[int]:
        """The numbers of what goes on and of all that it has started, each before its children's."""
        found = [self._detached or self._pid]
        for pid in found:
            for children in Path("/proc").glob(f"{pid}/task/*/children"):
                with suppress(OSError):
                    found += map(int, children.read_text().split())
        return found

    def stop(self) -> None:
        """End all of it. Whoever reaps orphans here may take his time."""
        if self._detached is None and self._status is not None:
            return
        leaving = []
        for pid in self.family():
            with suppress(ProcessLookupError):
                leaving.append(os.pidfd_open(pid))
        for number, exit_of in enumerate(leaving):
            if number == 0:
                signal.pidfd_send_signal(exit_of, signal.SIGTERM)
            if not select.select([exit_of], [], [], PATIENCE)[0]:
                signal.pidfd_send_signal(exit_of, signal.SIGKILL)
            os.close(exit_of)
        if self._status is None:
            self._reap(0)

    def processor(self) -> float:
        """Seconds of processor that all of it has taken so far."""
        return self._spent + sum(map(_spent_by, self.family()))

    def _reap(self, flags: int) -> None:
        pid, status, usage = os.wait4(self._pid, flags)
        if pid:
            self._status = os.waitstatus_to_exitcode(status)
            self._spent = usage.ru_utime + usage.ru_stime

    def _failed(self, how: str) -> NotStarted:
        return NotStarted(f"{how}\n{self._log.read_text(errors='replace')}".strip())


def _spent_by(pid: int) -> float:
    """By a process, and by those of its children that have ended (utime to cstime of proc(5))."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it is gone, and its parent has it
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> Memory | None:
    """What a process has in memory; C{None} if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    kilobytes = {name: float(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines[1:])}
    return Memory(kilobytes["Rss"] * 1.024e-3, kilobytes["Pss"] * 1.024e-3)
