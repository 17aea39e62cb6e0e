# SPDX-License-Identifier: MIT
"""How much a line of the log matters, in the numbers of syslog(3), and who says it."""

from __future__ import annotations

from enum import IntEnum

from twisted.logger import LogEvent, LogLevel

OWN = "miredo"
"""The namespace of this program's loggers, and the package of those that are named after their module."""
NOTICE = "notice"
"""What an event has that is an info and matters more."""


class Severity(IntEnum):
    """The levels of C{twisted.logger} as RFC 3164 4.1.1 numbers them: less matters more.

    A notice is an info whose event says so, C{notice=True}: those that miredo 1.2.6 gives that severity.
    """

    CRITICAL = 2
    ERROR = 3
    WARN = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7

    @property
    def word(self) -> str:
        """As the directive C{Log} has it."""
        return self.name.lower()


_SEVERITIES = {level: Severity[level.name.upper()] for level in LogLevel.iterconstants()}


def is_own(event: LogEvent) -> bool:
    """Whether this program says it, and not a library."""
    namespace = event.get("log_namespace")
    return isinstance(namespace, str) and namespace.partition(".")[0] == OWN


def severity_of(event: LogEvent) -> Severity:
    """The severity of an event; what a library does is a daemon's business only if it is a warning."""
    severity = _SEVERITIES.get(event.get("log_level"), Severity.INFO)
    if severity is Severity.INFO and event.get(NOTICE):
        severity = Severity.NOTICE
    return severity if severity <= Severity.WARN or is_own(event) else Severity.DEBUG
