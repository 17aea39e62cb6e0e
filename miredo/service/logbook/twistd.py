# SPDX-License-Identifier: MIT
"""
The log under C{twistd}, whose own options say where it goes.

--logger miredo.service.logbook.syslog_observer     to syslog, as a daemon's: SyslogFacility, Log and LogFormat hold
-n, and no other option                             Log and LogFormat hold, if one of them is in the file
anything else                                       twistd's own way, which obeys neither
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from miredo.config import Configuration, ProcessConfig
from miredo.service.logbook.log import Log, log_on, log_to_syslog

PROGRAM = "miredo"
STANDARD_OUTPUT = 1
"""Where C{twistd -n} logs to."""
DIRECTIVES = "Log", "LogFormat"
SYSLOG_OBSERVER = "miredo.service.logbook.syslog_observer"
STANDARD_OUTPUT_OBSERVER = "miredo.service.logbook.standard_output_observer"


class Heeded:
    """What the configuration says of the log; twistd asks for an observer by name alone, after it was read."""

    process = ProcessConfig()
    classic = False
    log: Log | None = None


_heeded = Heeded()


def heed(configuration: Configuration, twistd: MutableMapping[str, object]) -> str | None:
    """Have the log obey a configuration, as far as twistd's options allow.

    @param twistd: those options, of which C{logger} may change; it is a name yet.
    @return: a line that tells what is not obeyed, or C{None}.
    """
    process = _heeded.process = configuration.process
    _heeded.classic, _heeded.log = is_classic(configuration), None
    written = [keyword for keyword in DIRECTIVES if keyword in process.places]
    if not written or twistd.get("logger") == SYSLOG_OBSERVER:
        return None
    if twistd.get("nodaemon") and not any(twistd.get(option) for option in ("logger", "logfile", "syslog")):
        twistd["logger"] = STANDARD_OUTPUT_OBSERVER
        return None
    return f"{process.where(written[0])}: not obeyed: the log goes where twistd's options say, and as they say"


def own_log(twistd: Mapping[str, object]) -> Log | None:
    """The log that twistd is going to ask for, if it is one of these; C{logger} is what its name means by now."""
    asked = twistd.get("logger")
    return next((one() for one in (syslog_observer, standard_output_observer) if one is asked), None)


def is_classic(configuration: Configuration) -> bool:
    """Whether the roles have no names that a line of the log would have to tell."""
    return not any(role.name for role in configuration.roles)


def syslog_observer() -> Log:
    """For C{twistd --logger}; the same one until another configuration is heeded."""
    if _heeded.log is None:
        _heeded.log = log_to_syslog(_heeded.process, program=PROGRAM, classic=_heeded.classic)
    return _heeded.log


def standard_output_observer() -> Log:
    """What C{twistd -n} logs with, if the file says how; the same one, too."""
    if _heeded.log is None:
        _heeded.log = log_on(STANDARD_OUTPUT, _heeded.process, program=PROGRAM, classic=_heeded.classic)
    return _heeded.log
