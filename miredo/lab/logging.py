# SPDX-License-Identifier: MIT
"""The log of a lab: on standard error, what goes wrong, or everything."""

from __future__ import annotations

import sys

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)


def log_to_standard_error(everything: bool) -> None:
    predicate = LogLevelFilterPredicate(LogLevel.info if everything else LogLevel.critical)
    observer = FilteringLogObserver(textFileLogObserver(sys.stderr), [predicate])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
