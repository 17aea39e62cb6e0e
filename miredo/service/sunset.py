# SPDX-License-Identifier: MIT
"""The end of a service, announced (RFC 4380 5.5): no message of the protocol has room for a date, so the log has it."""

from __future__ import annotations

from datetime import date

from twisted.logger import Logger

_log = Logger(namespace="miredo")


def say_sunset(role: str, sunset: date | None, today: date) -> None:
    """Say when the service is going to end. It does not end by itself: that is the operator's to do."""
    if sunset is None:
        return
    if today < sunset:
        _log.info("{role}: this service is going to end on {day} (Sunset)", role=role, day=sunset)
    else:
        _log.warn(
            "{role}: this service was to end on {day} (Sunset): stop it, or set another day", role=role, day=sunset
        )
