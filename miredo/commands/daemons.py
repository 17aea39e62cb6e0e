# SPDX-License-Identifier: MIT
"""Programs that run in a node as processes of their own: what they take of the machine, and what they write."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from miredo.kernel.libc import CLONE_NEWNET, setns
from miredo.kernel.namespaces import entered, path_of

PATIENCE = 5.0
"""Seconds that a program has to end."""
FIRST = -20
"""The niceness that goes before all others (setpriority(2))."""
NOT_STARTED = 127
"""The exit status of one that could not begin."""

_PAGES_PER_MEGABYTE = 1e6 / os.sysconf("SC_PAGE_SIZE")
_SESSION, _USER, _SYSTEM, _RESIDENT = 3, 11, 12, 21
"""Fields of /proc/PID/stat behind the name (proc(5))."""


class Usage(NamedTuple):
    """What a program and all that it has started take: resident megabytes, and seconds of processor so far."""

    resident: float
    processor: float


class Daemon:
    """A program that was started in a node, in a session of its own.

    @param words: the command.
    @param log: the file that gets its output.
    """

    def __init__(self, node: str, words: list[str], log: Path) -> None:
        self.log = log
        self._status: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _become(node, words, log)
            finally:
                os._exit(NOT_STARTED)

    @property
    def running(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status is None

    def usage(self) -> Usage:
        """Of the whole session."""
        pages = ticks = 0
        for entry in Path("/proc").iterdir():
            fields = _stat(entry) if entry.name.isdigit() else []
            if fields and int(fields[_SESSION]) == self._pid:
                pages += int(fields[_RESIDENT])
                ticks += int(fields[_USER]) + int(fields[_SYSTEM])
        return Usage(pages / _PAGES_PER_MEGABYTE, ticks / os.sysconf("SC_CLK_TCK"))

    def stop(self) -> int | None:
        """End it and what it has started; its exit status."""
        if self.running:
            os.kill(self._pid, signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        while self.running and time.monotonic() < end:
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._status


def _become(node: str, words: list[str], log: Path) -> None:
    """Be that program, in that node."""
    os.setsid()
    go_first()
    setns(os.open(path_of(node), os.O_RDONLY | os.O_CLOEXEC), CLONE_NEWNET)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for descriptor, number in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
        os.dup2(descriptor, number)
    os.chdir(log.parent)
    os.execv(words[0], words)


def go_first() -> None:
    """Have this session's processes go before what else the machine does, if we may: it is not what is measured."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, FIRST)
        Path("/proc/self/autogroup").write_text(str(FIRST))  # sched(7): where sessions are, niceness counts inside one


def end_on_sigterm() -> None:
    """Have SIGTERM end us as ^C does, so that what was started is stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def interface_counters(node: str, interface: str) -> list[int]:
    """The counters of /proc/net/dev; empty if there is no such interface."""
    with entered(node), open("/proc/thread-self/net/dev") as table:
        for line in table:
            name, _, counters = line.partition(":")
            if name.strip() == interface:
                return [int(word) for word in counters.split()]
    return []


def packets_read(node: str, interface: str) -> int:
    """How many packets the owner of a TUN device has read from it."""
    return interface_counters(node, interface)[9]


def wait_for_interface(node: str, interface: str, seconds: float) -> bool:
    """Wait until an interface is there; whether it is."""
    end = time.monotonic() + seconds
    while not interface_counters(node, interface):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _stat(process: Path) -> list[str]:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ProcessLookupError):
        return []
