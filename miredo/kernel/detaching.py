# SPDX-License-Identifier: MIT
"""
Away from the terminal: the process that was started waits until the start has succeeded or failed, and ends so.

Standard input, output and error stay the terminal's until then. The fork is to happen before Twisted's reactor is
imported, which would share its epoll set between the two. Imports no Twisted.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

UMASK = 0o022
"""Of a daemon; the files that nobody else may read have modes of their own."""
FAILURE = 1
_SUCCESS = b"0"
_FORWARDED = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT


class Detached:
    """
    The process that goes on, alone in a session of its own and in the root directory.

    @param report: the pipe to who started it.
    """

    def __init__(self, report: int) -> None:
        self._report = report
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def succeeded(self) -> None:
        """Let who started it end with status 0, and have no terminal any more. This works in a chroot."""
        for number in (0, 1, 2):
            os.dup2(self._null, number)
        with suppress(OSError):  # who was to be told has been killed
            os.write(self._report, _SUCCESS)
        os.close(self._report)
        os.close(self._null)


def detach(program: str) -> Detached:
    """
    Fork: this returns in the new process only. The old one ends with status 0 as soon as the new one has
    L{succeeded<Detached.succeeded>}, or as that one ends.

    @raise OSError: there can be no new process.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(writing)
        _wait(program, pid, reading)
    os.close(reading)
    os.setsid()
    os.chdir("/")
    os.umask(UMASK)
    return Detached(writing)


def _wait(program: str, pid: int, reading: int) -> NoReturn:
    """Be the launching parent, whose signals are the new process's."""

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    status = 0 if os.read(reading, len(_SUCCESS)) == _SUCCESS else _ended(program, pid)
    os._exit(status)


def _ended(program: str, pid: int) -> int:
    """The status to end with for a process that has ended before it had started; it has said why if it could."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status < 0:
        line = f"{program}: ended at its start by signal {-status} ({signal.strsignal(-status)})\n"
        os.write(2, line.encode())
        return FAILURE
    return status or FAILURE
