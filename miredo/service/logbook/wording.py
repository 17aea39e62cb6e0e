# SPDX-License-Identifier: MIT
"""
From an event to lines that can do no harm to a terminal, a file or a syslogd.

1. What a role says begins with its name, "client a: Starting...", if the configuration gives names; that is so by one
   rule: the text of the event begins with L{ROLE}.
2. A text of several lines is several lines, of which the second and further ones are indented: whatever a text holds,
   a line that is not indented is the beginning of one.
3. What is not printable is written as an escape, a line that is too long is cut.
4. A failure is a line, its kind and its text. Its traceback follows if nobody expected it, that is at level critical,
   and at level debug else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure

from miredo.service.logbook.severity import NOTICE, Severity, is_own, severity_of

ROLE = "{role}: "
"""What the texts of roles begin with."""
INDENT = "  "
TEXT_LIMIT = 2_000
"""Characters of a line; ours: RFC 5424 6.1 wants 2,048 bytes to be taken everywhere, syslogds take 8 kB."""
LINES_LIMIT = 50
"""Lines of a text, ours."""
TRACE_LIMIT = 60
"""Lines of a traceback, ours: the last ones, which tell what happened."""
OBJECT_LIMIT = 8_000
"""Bytes of a JSON object, which may not be cut: it is made anew with less in it. Ours: rsyslog takes 8,192."""
PART_LIMITS = 4_000, 1_000, 200
"""Characters of its role, message and traceback each, tried in this order: one character takes 12 bytes at most."""
FIELD_LIMIT = 500
"""Bytes of a field of an event in a JSON object, ours."""
KEPT = "time", "level", "role", "message", "traceback"
"""The names in a JSON object that no field of an event may have."""

_LEGACY = "{log_text}"
"""The text of what C{twisted.python.log} was told; that of a failure has its traceback in it."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class Entry(NamedTuple):
    """Something to say.

    @ivar at: seconds since 1970.
    @ivar role: who says it; empty, if nobody in particular.
    @ivar named: whether C{text} is the role's, so that it begins with its name where roles have names.
    @ivar trace: the lines of a traceback.
    @ivar fields: what else the event tells; without text there is nothing to say.
    """

    at: float
    severity: Severity
    role: str
    named: bool
    text: str
    trace: tuple[str, ...]
    fields: Mapping[str, object]


# ------------------------------------------------------------------ from events


def entry_of(event: LogEvent) -> Entry:
    """What an event says."""
    failure = failure_of(event)
    fields = _own_fields(event) if is_own(event) else {}
    return Entry(
        event.get("log_time", 0.0),
        severity_of(event),
        str(event.get("role", "")) if is_own(event) else "",
        _begins_with_role(event),
        _text(event, failure),
        () if failure is None else _trace(failure),
        fields,
    )


def failure_of(event: LogEvent) -> Failure | None:
    """The failure that an event tells of; the old log of Twisted has another name for it."""
    failure = event.get("log_failure", event.get("failure"))
    return failure if isinstance(failure, Failure) else None


def _begins_with_role(event: LogEvent) -> bool:
    words = event.get("log_format")
    return isinstance(words, str) and words.startswith(ROLE) and is_own(event)


def _text(event: LogEvent, failure: Failure | None) -> str:
    if failure is None:
        return _formatted(event)
    legacy = event.get("log_format") == _LEGACY
    said = str(event.get("why") or "Unhandled error") if legacy else _formatted(event)
    reason = "; ".join(line.strip() for line in failure.getErrorMessage().splitlines())
    return ": ".join(part for part in (said.rstrip(" :\n"), type(failure.value).__name__, reason) if part)


def _formatted(event: LogEvent) -> str:
    if _begins_with_role(event):
        event = {**event, "log_format": event["log_format"].removeprefix(ROLE)}
    return formatEvent(event)


def _trace(failure: Failure) -> tuple[str, ...]:
    lines = failure.getTraceback().rstrip("\n").split("\n")
    if len(lines) <= TRACE_LIMIT:
        return tuple(lines)
    return lines[0], f"({len(lines) - TRACE_LIMIT} lines left out)", *lines[1 - TRACE_LIMIT :]


# ------------------------------------------------------------------ to lines


def text_lines(entry: Entry, *, classic: bool, verbose: bool) -> Iterator[tuple[Severity, str]]:
    """The lines of an entry for a person, each with its severity.

    @param classic: roles have no names.
    @param verbose: what is of level debug is said too.
    """
    before = f"{entry.role}: " if entry.named and not classic else ""
    for number, line in enumerate(_few_lines(before + entry.text)):
        yield entry.severity, (INDENT if number else "") + line
    expected = entry.severity > Severity.CRITICAL
    if verbose or not expected:
        for line in entry.trace:
            yield Severity.DEBUG if expected else entry.severity, INDENT + printable(line)


def json_lines(entry: Entry, *, verbose: bool) -> Iterator[tuple[Severity, str]]:
    """The line of an entry for a program: a JSON object (RFC 8259), in ASCII."""
    trace = "\n".join(entry.trace) if verbose or entry.severity <= Severity.CRITICAL else ""
    line, fields = "", dict(_plain_fields(entry.fields))
    for limit in PART_LIMITS:
        line = _object(entry, limit, trace[-limit:], fields)
        if len(line) <= OBJECT_LIMIT:
            break
        fields = {}
    yield entry.severity, line


def printable(line: str) -> str:
    """A line with escapes in the place of what could move a cursor, and cut where it is too long."""
    line = _shortened(line, TEXT_LIMIT)
    if line.isprintable():
        return line
    escaped = "".join(letter if letter.isprintable() else _escape(letter) for letter in line.expandtabs(4))
    return _shortened(escaped, TEXT_LIMIT)


def _shortened(text: str, limit: int) -> str:
    """Text that is not much longer than C{limit} characters."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit} characters more)"


def _few_lines(text: str) -> list[str]:
    """The lines of a text that have something in them."""
    every = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    kept = [printable(line) for line in every[:LINES_LIMIT]]
    return kept if len(every) <= LINES_LIMIT else [*kept, f"({len(every) - LINES_LIMIT} lines more)"]


def _escape(letter: str) -> str:
    """C{\\x1b}, C{\\u202e}; a byte that was no UTF-8 (PEP 383) is that byte."""
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def _object(entry: Entry, limit: int, trace: str, fields: dict[str, object]) -> str:
    moment = datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    told: dict[str, object] = {
        "time": moment,
        "level": entry.severity.word,
        "role": _encodable(_shortened(entry.role, limit)),
        "message": _encodable(_shortened(entry.text, limit)),
    }
    if trace:
        told["traceback"] = _encodable(trace)
    return json.dumps(told | fields)


def _own_fields(event: LogEvent) -> dict[str, object]:
    return {name: value for name, value in event.items() if name != NOTICE and not name.startswith("log_")}


def _plain_fields(fields: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """What of the fields JSON has a form for, and is short."""
    for name, value in fields.items():
        if name not in KEPT and (form := _form(value)) is not None and len(form) <= FIELD_LIMIT:
            yield name, json.loads(form)


def _form(value: object) -> str | None:
    try:
        form = json.dumps(value, ensure_ascii=False, allow_nan=False)
        form.encode()
    except (TypeError, ValueError, RecursionError):
        return None
    return form


def _encodable(text: str) -> str:
    """Text without lone surrogates, which strict readers of JSON refuse (RFC 8259 8.2)."""
    return _SURROGATE.sub(lambda found: _escape(found[0]), text)
