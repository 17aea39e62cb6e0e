# SPDX-License-Identifier: MIT
"""From the lines of a section to its dataclass: each line by itself, then what they say together."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from miredo.config.directive import Declared, Directive, Row, declared, row
from miredo.config.problem import PROBLEM_LIMIT, Place, Problem, did_you_mean
from miredo.config.readers import BadValueError, slip
from miredo.config.roles import ROLES, ProcessConfig, RoleConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from miredo.config.grammar import Line
    from miredo.config.roles import Claim, Fault

PROCESS = "process"
"""The kind of what stands before the first section."""

Config = ProcessConfig | RoleConfig
"""What a scope becomes."""

_KINDS: dict[str, type[Config]] = {PROCESS: ProcessConfig, **ROLES}


def directives(kind: str) -> tuple[Row, ...]:
    """The rows of the manual for C{process}, C{client}, C{relay} or C{server}."""
    return tuple(row(one) for one in declared(_KINDS[kind]))


@cache
def table(kind: str) -> dict[str, Declared]:
    """The directives of a kind by their keywords in lower case."""
    return {one.directive.keyword.lower(): one for one in declared(_KINDS[kind])}


@dataclass
class Notes:
    """What has been found wrong so far."""

    file: str
    errors: list[Problem]
    warnings: list[Problem] = field(default_factory=list)

    @property
    def many(self) -> bool:
        """Whether nobody will see what is noted from now on."""
        return max(len(self.errors), len(self.warnings)) >= PROBLEM_LIMIT

    def warn(self, problem: Problem) -> None:
        """Keep C{problem} as a warning."""
        self.warnings.append(problem.as_warning())

    def about(self, line: Line | None, message: str, hint: str | None = None) -> Problem:
        """A problem of a line's value, of a section's head, or of the whole file."""
        if line is None:
            return Problem(self.file, None, None, message, hint=hint)
        return line.at_value(message, hint) if line.value else line.at_directive(message, hint)


@dataclass
class Scope:
    """The lines that fill one dataclass."""

    kind: str
    name: str
    header: Line | None
    lines: list[Line]
    lenient: bool

    @property
    def title(self) -> str:
        """What a message calls it."""
        if self.header:
            return self.header.directive
        return "the process" if self.kind == PROCESS else f"a {self.kind}"


@dataclass
class Filled:
    """What became of a scope: the first line of each directive, the good ones, those that failed, and the dataclass."""

    scope: Scope
    seen: dict[str, Line] = field(default_factory=dict)
    lines: dict[str, list[Line]] = field(default_factory=dict)
    values: dict[str, list[object]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    config: Config | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """What is to be unique in a file."""
        return self.scope.kind, self.scope.name

    def line(self, keyword: str, index: int = 0) -> Line | None:
        """The line of a directive, else the head of the section."""
        lines = self.lines.get(keyword, [])
        return lines[index] if index < len(lines) else self.scope.header


def fill(scope: Scope, notes: Notes) -> Filled:
    """Read all lines of a scope, and make its dataclass if nothing that it needs is missing."""
    filled = Filled(scope)
    for line in scope.lines:
        if known := table(scope.kind).get(line.directive.lower()):
            _read(known, line, filled, notes)
        elif scope.lenient and line.value:
            notes.warn(_stranger(line, scope, notes, "; ignored"))
        else:
            notes.errors.append(_stranger(line, scope, notes))
    if not _lacks(filled, notes):
        filled.config = _made(filled, notes.file)
        _judge(filled, notes)
    return filled


def compare(every: Sequence[Filled], notes: Notes) -> None:
    """Note what a role claims that an earlier one has; two sections of one name have been noted."""
    taken: dict[tuple[str, str | None], list[tuple[Filled, Claim]]] = {}
    for filled in every:
        for where, ours in _claims(filled):
            claimants = taken.setdefault((ours.what, where), [])
            for earlier, theirs in claimants:
                if ours.clashes(theirs) and filled.identity != earlier.identity:
                    notes.errors.append(_taken(filled, ours, earlier, theirs, notes))
                    break
            claimants.append((filled, ours))


def _claims(filled: Filled) -> Iterator[tuple[str | None, Claim]]:
    """What a role claims by good values, each with the namespace that it is claimed in."""
    if isinstance(filled.config, RoleConfig):
        for claim in filled.config.claims():
            if claim.keyword not in filled.failed and (claim.anywhere or "Namespace" not in filled.failed):
                yield None if claim.anywhere else filled.config.namespace, claim


def _taken(filled: Filled, ours: Claim, earlier: Filled, theirs: Claim, notes: Notes) -> Problem:
    where = earlier.config.where(theirs.keyword) if earlier.config else ""
    message = f"{ours.what} is taken by {earlier.scope.title} ({where})"
    cures = [f"another {ours.keyword}"] if ours.anywhere else [f"another {ours.keyword}", "another Namespace"]
    cure = " or ".join(dict.fromkeys(cures))
    return notes.about(filled.line(ours.keyword), message, f"give one of them {cure}")


def _read(known: Declared, line: Line, filled: Filled, notes: Notes) -> None:
    keyword = known.directive.keyword
    if keyword in filled.seen and not known.directive.repeatable:
        hint = f"the first is in line {filled.seen[keyword].number}"
        notes.errors.append(line.at_directive(f"{keyword} is given twice", hint))
        return
    filled.seen.setdefault(keyword, line)
    try:
        value = _value(known.directive, line.value)
    except BadValueError as bad:
        filled.failed.add(keyword)
        message = f"{keyword}: {bad.message}"
        notes.errors.append(line.at_value(message, bad.hint, bad.span) if line.value else line.at_directive(message))
    else:
        filled.lines.setdefault(keyword, []).append(line)
        filled.values.setdefault(known.field, []).append(value)


def _stranger(line: Line, scope: Scope, notes: Notes, ending: str = "") -> Problem:
    """The problem of a directive that a scope does not have."""
    word = line.directive.lower()
    owners = [kind for kind in _KINDS if word in table(kind)]
    if not owners:
        hint = None if notes.many else _spelling(line.directive, scope.kind)
        return line.at_directive(f'unknown directive "{line.directive}"{ending}', hint)
    keyword = table(owners[0])[word].directive.keyword
    if owners == [PROCESS]:
        return line.at_directive(f"{keyword} is for the whole process", "it stands before the first section")
    message = f"{keyword} is for a {' or a '.join(owners)}, not for {scope.title}{ending}"
    return line.at_directive(message, "it stands in a section" if scope.kind == PROCESS else None)


def _spelling(word: str, kind: str) -> str | None:
    if "=" in word or word.endswith(":"):
        return "it is written: Directive value"
    if word.startswith((";", "//")):
        return "a comment begins with #"
    everything = [one for other in _KINDS for one in table(other).values()]
    for candidates in (table(kind).values(), everything):
        if hint := did_you_mean(word, [one.directive.keyword for one in candidates]):
            return hint
    return None


def _lacks(filled: Filled, notes: Notes) -> bool:
    """Whether a directive without which there is no dataclass is missing; one that failed has been noted."""
    scope = filled.scope
    missing = [one for one in table(scope.kind).values() if one.required and one.field not in filled.values]
    for keyword in (one.directive.keyword for one in missing):
        if keyword not in filled.failed:
            message = f"{scope.title} needs {keyword}"
            notes.errors.append(notes.about(scope.header, message, f'add a line "{keyword} ADDRESS"'))
    return bool(missing)


def _made(filled: Filled, file: str) -> Config:
    make: Callable[..., Config] = _KINDS[filled.scope.kind]
    repeatable = {one.field for one in table(filled.scope.kind).values() if one.directive.repeatable}
    values = {key: tuple(read) if key in repeatable else read[0] for key, read in filled.values.items()}
    header = filled.scope.header
    section = Place(file, header.number, header.directive) if header else Place(file, None, "")
    places = {keyword: tuple(line.place for line in lines) for keyword, lines in filled.lines.items()}
    name = {"name": filled.scope.name} if filled.scope.kind in ROLES else {}
    return make(section=section, places=places, **name, **values)


def _judge(filled: Filled, notes: Notes) -> None:
    """Note what is wrong with good values together."""
    if not isinstance(filled.config, RoleConfig):
        return
    for fault in filled.config.faults():
        if filled.failed.isdisjoint((fault.keyword, *fault.others)):
            notes.errors.append(_fault(fault, filled, notes))
    for fault in filled.config.advice():
        notes.warn(_fault(fault, filled, notes))


def _fault(fault: Fault, filled: Filled, notes: Notes) -> Problem:
    message = f"{fault.keyword}: {fault.message}"
    return notes.about(filled.line(fault.keyword, fault.index), message, fault.hint)


def _value(spec: Directive, text: str) -> object:
    """Read a value.

    @raise BadValueError: it cannot be read.
    """
    if not text:
        raise BadValueError("there is no value")
    if bad := slip(text):
        raise bad
    return spec.reader(text)
