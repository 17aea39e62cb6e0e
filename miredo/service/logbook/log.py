# SPDX-License-Identifier: MIT
"""The log of a process: takes what is logged through C{twisted.logger}, and says what is to be said."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from functools import partial

from twisted.logger import ILogObserver, LogBeginner, LogEvent, globalLogBeginner
from zope.interface import implementer

from miredo.config import LogFormat, ProcessConfig
from miredo.kernel.clock import boottime
from miredo.kernel.interfaces import IAlarm, IClock
from miredo.service.logbook.outputs import Output, standard_error, syslog
from miredo.service.logbook.repetition import Repetition
from miredo.service.logbook.severity import Severity, severity_of
from miredo.service.logbook.ways import Connect, SyslogSocket, connect
from miredo.service.logbook.wording import Entry, entry_of, failure_of, json_lines, text_lines

STANDARD_ERROR = 2

Lines = Callable[[Entry], Iterator[tuple[Severity, str]]]
"""The lines of an entry, each with its severity."""


@implementer(ILogObserver)
class Log:
    """
    An observer for the whole life of a process: open before it gives up its privileges, and used after.

    @param least: what matters less is not said.
    @param way: the way to syslogd, if it goes there.
    @param now: seconds of a clock without steps.
    @param today: seconds since 1970.
    """

    _alarm: IAlarm | None = None
    _open = True
    _lost = 0

    def __init__(
        self,
        output: Output,
        lines: Lines,
        least: Severity,
        *,
        way: SyslogSocket | None = None,
        now: Callable[[], float] = boottime,
        today: Callable[[], float] = time.time,
    ) -> None:
        self._output = output
        self._lines = lines
        self._least = least
        self._way = way
        self._now = now
        self._today = today
        self._repetition = Repetition()

    @property
    def trouble(self) -> str | None:
        """Why nobody hears what is said, or C{None}."""
        return None if self._way is None else self._way.trouble

    def begin(self, beginner: LogBeginner = globalLogBeginner) -> None:
        """Be the log of the process, of what was logged before too."""
        beginner.beginLoggingTo([self], redirectStandardIO=False)

    def reopen_by(self, call: Connect) -> None:
        """Have this called when syslogd was restarted, for a new descriptor; not more than once a second."""
        if self._way is not None:
            self._way.connect = call

    def keep_time(self, clock: IClock) -> None:
        """Tell what was held back when its time has come, and not only with what is said next."""
        self._alarm = clock.alarm(self._tell_in_time)

    def flush_and_close(self) -> None:
        """Tell what is still held back, and say no more. Twice is once."""
        if not self._open:
            return
        self._tell(None)
        self._owns_up(self._today())
        self._open = False
        self._output.close()
        if self._alarm is not None:
            self._alarm.cancel()

    def __call__(self, event: LogEvent) -> None:
        if not self._open or severity_of(event) > self._least:
            return
        now = self._now()
        self._tell(now)
        if self._repetition.takes(_kind(event), partial(entry_of, event), now):
            self._say(entry_of(event))
        self._arm()

    def _tell_in_time(self) -> None:
        self._tell(self._now())
        self._arm()

    def _arm(self) -> None:
        if self._alarm is not None:
            with suppress(OSError):  # the reactor has ended, and the alarm with it
                self._alarm.arm(self._repetition.deadline)

    def _tell(self, now: float | None) -> None:
        for entry in self._repetition.tell(now):
            self._say(entry._replace(at=self._today()))

    def _say(self, entry: Entry) -> None:
        if not entry.text.strip():
            return
        for severity, line in self._lines(entry):
            if not (self._owns_up(entry.at) and self._output.say(entry.at, severity, line)):
                self._lost += 1

    def _owns_up(self, at: float) -> bool:
        """Say how many lines were lost; whether nothing is left to be said of that."""
        if self._lost:
            words = f"... lost lines: {self._lost} (nobody took them)"
            ((severity, line),) = self._lines(Entry(at, Severity.WARN, "", False, words, (), {"lost": self._lost}))
            if self._output.say(at, severity, line):
                self._lost = 0
        return not self._lost


def _kind(event: LogEvent) -> Hashable:
    """What events have in common that say the same of the same."""
    failure = failure_of(event)
    failed = "" if failure is None else type(failure.value).__name__
    return str(event.get("log_format")), str(event.get("role", "")), failed, event.get("log_namespace")


def open_log(process: ProcessConfig, *, program: str, foreground: bool, classic: bool) -> Log:
    """
    Open what a daemon says its lines to: standard error in the foreground, or else syslog, which may be absent.

    @param program: the name that lines bear.
    @param classic: the roles have no names that would have to be said.
    """
    if foreground:
        return log_on(STANDARD_ERROR, process, program=program, classic=classic)
    return log_to_syslog(process, program=program, classic=classic)


def log_on(descriptor: int, process: ProcessConfig, *, program: str, classic: bool) -> Log:
    """The log on a descriptor that is open already, and stays so."""
    bare = process.log_format is LogFormat.JSON
    output = standard_error(program, descriptor, os.environ, bare=bare)
    return Log(output, _lines(process, classic=classic), _least(process))


def log_to_syslog(
    process: ProcessConfig,
    *,
    program: str,
    classic: bool,
    connect: Connect = connect,
    now: Callable[[], float] = boottime,
) -> Log:
    """The log that goes to syslogd."""
    way = SyslogSocket(now, connect)
    output = Output(way, syslog(program, process.syslog_facility))
    return Log(output, _lines(process, classic=classic), _least(process), way=way, now=now)


def _least(process: ProcessConfig) -> Severity:
    return Severity[process.log.name]


def _lines(process: ProcessConfig, *, classic: bool) -> Lines:
    verbose = _least(process) is Severity.DEBUG
    if process.log_format is LogFormat.JSON:
        return partial(json_lines, verbose=verbose)
    return partial(text_lines, classic=classic, verbose=verbose)
