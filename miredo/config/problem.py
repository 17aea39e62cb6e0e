# SPDX-License-Identifier: MIT
"""What is wrong with a configuration, and where: one exception type, rendered as a compiler would."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal
from unicodedata import combining, east_asian_width

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SHOWN = 160
"""Characters of a source line that are shown under a message; our number, two lines of a terminal."""
PROBLEM_LIMIT = 100
"""Errors of a file that are told, and warnings; ours. A file that has more is of another kind altogether."""


@dataclass(frozen=True)
class Place:
    """Where a directive was written: C{miredo.conf:3: BindPort 3544}. No line: the whole file, or the command line."""

    file: str
    line: int | None
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (_location(self.file, self.line, None), self.text) if part)


@dataclass(frozen=True)
class Problem:
    """One fault of one file; line and column count characters from 1, C{span} is the width of the caret."""

    file: str
    line: int | None
    column: int | None
    message: str
    source: str = ""
    span: int = 1
    hint: str | None = None
    severity: Literal["error", "warning"] = "error"

    def render(self) -> str:
        """The message, the source line, the caret and the hint, a line each."""
        head = f"{_location(self.file, self.line, self.column)}: {self.severity}: {printable(self.message)}"
        tail = [f"  hint: {printable(self.hint)}"] if self.hint else []
        return "\n".join([head, *self._excerpt(), *tail])

    def as_warning(self) -> Problem:
        """The same, but the configuration can be used."""
        return replace(self, severity="warning")

    def _excerpt(self) -> list[str]:
        if not self.source or self.column is None:
            return []
        shown, at = _window(printable(self.source), self.column - 1)
        carets = "^" * max(1, sum(map(_width, shown[at : at + self.span])))
        return [f"  {shown}", f"  {_blanks_under(shown[:at])}{carets}"]


class ConfigError(Exception):
    """A configuration that cannot be used: C{problems} are all its errors, C{warnings} what else was seen."""

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        self.problems = tuple(sorted(problems, key=in_file_order))
        self.warnings = tuple(sorted(warnings, key=in_file_order))
        super().__init__(self.problems, self.warnings)

    def __str__(self) -> str:
        return "\n".join(problem.render() for problem in sorted(self.problems + self.warnings, key=in_file_order))


def in_file_order(problem: Problem) -> tuple[float, int]:
    """The sort key of problems: what concerns the whole file comes last."""
    line = float("inf") if problem.line is None else problem.line
    return line, problem.column or 0


def few(problems: Iterable[Problem], file: str) -> tuple[Problem, ...]:
    """All of them in the order of the file, or the first L{PROBLEM_LIMIT} of one severity, and that there are more."""
    every = sorted(problems, key=in_file_order)
    kept = tuple(every[:PROBLEM_LIMIT])
    if len(every) == len(kept):
        return kept
    severity = kept[0].severity
    message = f"there are {len(every)} {severity}s, of which {PROBLEM_LIMIT} are shown"
    return (*kept, Problem(file, None, None, message, severity=severity))


def printable(text: str) -> str:
    """C{text} with each character that could move a terminal's cursor replaced by one that cannot."""
    return "".join(letter if letter == "\t" or letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The nearest of the C{known} words as a hint, if one is near."""
    words = {one.lower(): one for one in known}
    near = get_close_matches(word.lower(), words, n=1)
    return f'did you mean "{words[near[0]]}"?' if near else None


def _location(file: str, line: int | None, column: int | None) -> str:
    parts = (printable(file), line, column if line else None)
    return ":".join(str(part) for part in parts if part)


def _window(text: str, at: int) -> tuple[str, int]:
    """At most L{SHOWN} characters of a line, the one C{at} among them, and where it is then."""
    start = 0 if at < SHOWN - 1 else at - SHOWN // 2
    shown = text[start : start + SHOWN]
    if start:
        shown = f"…{shown[1:]}"
    if start + SHOWN < len(text):
        shown = f"{shown[:-1]}…"
    return shown, at - start


def _blanks_under(text: str) -> str:
    return "".join("\t" if letter == "\t" else " " * _width(letter) for letter in text)


def _width(letter: str) -> int:
    """The columns of a terminal that a character takes."""
    return 0 if combining(letter) else 2 if east_asian_width(letter) in "FW" else 1
