# SPDX-License-Identifier: MIT
"""
Where lines go, and what they look like there. Nothing here waits, or raises because an output fails.

syslog          <30>Nov 20 12:00:00 miredo[123]: text      RFC 3164 4.1, as the C library's syslog(3) sends it
the journal     <6>text                                    sd-daemon(3); the journal knows the time and the process
a terminal      12:00:00 warning: text                     in colour, unless NO_COLOR is set
anything else   miredo[123]: text                          as miredo 1.2.6 -f
JSON            the object alone on standard error, and in the place of the text in the journal and in syslog
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from miredo.config import SyslogFacility
from miredo.service.logbook.severity import Severity
from miredo.service.logbook.ways import StandardError, Way

FACILITIES = {
    SyslogFacility.KERN: 0,
    SyslogFacility.USER: 1,
    SyslogFacility.MAIL: 2,
    SyslogFacility.DAEMON: 3,
    SyslogFacility.AUTH: 4,
    SyslogFacility.SYSLOG: 5,
    SyslogFacility.LPR: 6,
    SyslogFacility.NEWS: 7,
    SyslogFacility.UUCP: 8,
    SyslogFacility.CRON: 9,
    SyslogFacility.AUTHPRIV: 10,
    SyslogFacility.FTP: 11,
    **{facility: 16 + int(facility[-1]) for facility in SyslogFacility if facility.startswith("local")},
}
"""RFC 3164 4.1.1, by the names of syslog(3)."""

_MONTHS = "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
_MARKS = {Severity.CRITICAL: "error: ", Severity.ERROR: "error: ", Severity.WARN: "warning: "}
_RED, _YELLOW, _USUAL = "\x1b[31m", "\x1b[33m", "\x1b[0m"

Form = Callable[[float, Severity, str], str]
"""Makes what is written of a line: from its time, its severity and its text."""


class Output:
    """Somewhere that lines go."""

    def __init__(self, way: Way, form: Form) -> None:
        self._way = way
        self._form = form

    def say(self, at: float, severity: Severity, line: str) -> bool:
        """Write a line at once; False: it is lost."""
        return self._way.send(self._form(at, severity, line).encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Say no more. Twice is once."""
        self._way.close()


# ------------------------------------------------------------------ syslog


def syslog(program: str, facility: SyslogFacility) -> Form:
    """What syslogd is sent; a line of the process that says it, whoever that is after a fork."""
    base = FACILITIES[facility] * 8

    def form(at: float, severity: Severity, line: str) -> str:
        day = time.localtime(at)
        # By hand: strftime(3) has the words of a locale, and reads the time zone again, which a chroot hides.
        stamp = f"{_MONTHS[day.tm_mon - 1]} {day.tm_mday:2d} {day.tm_hour:02d}:{day.tm_min:02d}:{day.tm_sec:02d}"
        return f"<{base + severity}>{stamp} {program}[{os.getpid()}]: {line}"

    return form


# ------------------------------------------------------------------ standard error


def standard_error(program: str, descriptor: int, environment: Mapping[str, str], *, bare: bool) -> Output:
    """The output that a descriptor is.

    @param bare: lines are objects, and nothing stands before them but what the journal takes off again.
    """
    return Output(StandardError(descriptor), _form(program, descriptor, environment, bare))


def _form(program: str, descriptor: int, environment: Mapping[str, str], bare: bool) -> Form:
    if is_journal(descriptor, environment.get("JOURNAL_STREAM", "")):
        return lambda at, severity, line: f"<{severity:d}>{line}\n"
    if bare:
        return lambda at, severity, line: f"{line}\n"
    if not os.isatty(descriptor):
        return lambda at, severity, line: f"{program}[{os.getpid()}]: {line}\n"
    # https://no-color.org: not empty.
    return coloured if not environment.get("NO_COLOR") and environment.get("TERM") != "dumb" else marked


def is_journal(descriptor: int, journal_stream: str) -> bool:
    """Whether a descriptor leads to the journal: JOURNAL_STREAM has its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def marked(at: float, severity: Severity, line: str) -> str:
    """For a terminal without colours."""
    return f"{_clock(at)} {_MARKS.get(severity, '')}{line}\n"


def coloured(at: float, severity: Severity, line: str) -> str:
    """For a terminal."""
    mark = _MARKS.get(severity)
    colour = _YELLOW if severity is Severity.WARN else _RED
    return f"{_clock(at)} {colour}{mark}{_USUAL}{line}\n" if mark else marked(at, severity, line)


def _clock(at: float) -> str:
    moment = time.localtime(at)
    return f"{moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d}"
