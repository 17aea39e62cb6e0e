# SPDX-License-Identifier: MIT
"""The log of a daemon: to syslog, the journal, a terminal or a file, as text or JSON, with a limit for each kind."""

from miredo.service.logbook.log import Log, open_log
from miredo.service.logbook.twistd import heed, is_classic, own_log, standard_output_observer, syslog_observer

__all__ = ["Log", "heed", "is_classic", "open_log", "own_log", "standard_output_observer", "syslog_observer"]
