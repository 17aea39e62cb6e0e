# SPDX-License-Identifier: MIT
"""A configuration from text, or every reason why there is none.

A classic file is the process and one role, whose kind is

1. C{server} if ServerBindAddress is given or the program is miredo-server, else
2. what RelayType says, else
3. C{client}.

It is read leniently unless C{strict}: a directive that is unknown, or of another kind of role, is ignored with a
warning, as miredo does, and so is a comment that is too long. In a file with sections both are errors. Everything else
that is wrong is an error everywhere.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from miredo.config.filling import PROCESS, Filled, Notes, Scope, compare, fill, table
from miredo.config.grammar import Line, Section, split
from miredo.config.problem import ConfigError, Problem, did_you_mean, few
from miredo.config.roles import ROLES, Configuration, ProcessConfig, RoleConfig
from miredo.config.source import read
from miredo.config.words import RelayType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMAND_LINE = "command line"
"""The file that a server named on the command line is said to be in."""


def load(
    path: str | os.PathLike[str], *, program: str = "miredo", strict: bool = False, server_name: str | None = None
) -> Configuration:
    """Read a file.

    @raise ConfigError: it cannot be opened, or as L{parse}.
    """
    return parse(read_text(path), os.fspath(path), program=program, strict=strict, server_name=server_name)


def read_text(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file.

    @raise ConfigError: it cannot be opened, is too large, or is a pipe that nothing comes out of.
    """
    file = os.fspath(path)
    try:
        return read(path)
    except OSError as error:
        raise ConfigError([Problem(file, None, None, f"{error.strerror or error} (errno {error.errno})")]) from error
    except ValueError as error:  # a NUL in the path
        raise ConfigError([Problem(file, None, None, str(error))]) from error


def parse(
    text: str | bytes, file: str, *, program: str = "miredo", strict: bool = False, server_name: str | None = None
) -> Configuration:
    """Read the text of a file that is called C{file} in messages.

    @param program: C{miredo-server} makes a classic file that of a server.
    @param strict: what is only warned of in a classic file is an error.
    @param server_name: the server of the command line; those of the file, with their second addresses, are not read.
    @raise ConfigError: all that is wrong with the text.
    """
    examined = examine(text, file, program=program, strict=strict, server_name=server_name)
    if examined.errors:
        raise ConfigError(examined.errors, examined.warnings)
    return _configuration(examined)


@dataclass(frozen=True)
class Examination:
    """All that is known of a text, be it good or not: C{filled} is the process and the roles, as far as they go."""

    file: str
    classic: bool
    filled: tuple[Filled, ...]
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def examine(
    text: str | bytes, file: str, *, program: str = "miredo", strict: bool = False, server_name: str | None = None
) -> Examination:
    """As L{parse}, but a text that is wrong is told of like any other."""
    cut = split(text, file)
    notes = Notes(file, list(cut.problems))
    classic = not cut.sections[1:]
    for doubt in cut.doubts:
        if strict or not classic:
            notes.errors.append(doubt)
        else:
            notes.warn(doubt)
    if classic:
        scopes = _classic(cut.preamble.lines, program, lenient=not strict)
    else:
        scopes = [_preamble(cut.preamble), *_sections(cut.sections[1:], notes)]
    if server_name is not None:
        _name_server(server_name, scopes, program, notes)
    filled = [fill(scope, notes) for scope in scopes]
    compare(filled, notes)
    return Examination(file, classic, tuple(filled), *(few(some, file) for some in (notes.errors, notes.warnings)))


def _classic(lines: Sequence[Line], program: str, *, lenient: bool) -> list[Scope]:
    process = [line for line in lines if line.directive.lower() in table(PROCESS)]
    role = [line for line in lines if line.directive.lower() not in table(PROCESS)]
    kind = _classic_kind(role, program)
    return [Scope(PROCESS, "", None, process, lenient), Scope(kind, "", None, role, lenient)]


def _classic_kind(lines: Sequence[Line], program: str) -> str:
    said = {line.directive.lower(): line.value.lower() for line in reversed(lines)}
    if program == "miredo-server" or "serverbindaddress" in said:
        return "server"
    match said.get("relaytype"):
        case None | RelayType.CLIENT | RelayType.AUTOCLIENT:
            return "client"
        case RelayType.CONE | RelayType.RELAY | RelayType.RESTRICTED:
            return "relay"
        case _:  # an error of its own; what else is there tells what was meant
            return "client" if "serveraddress" in said else "relay"


def _preamble(section: Section) -> Scope:
    return Scope(PROCESS, "", None, section.lines, lenient=False)


def _sections(sections: Sequence[Section], notes: Notes) -> Iterator[Scope]:
    seen: dict[tuple[str, str], Line] = {}
    for section in sections:
        if section.kind is None or section.header is None:
            continue
        if fault := _header_fault(section, seen.get((section.kind, section.name))):
            notes.errors.append(section.header.at_directive(*fault))
        if section.kind in ROLES:
            seen.setdefault((section.kind, section.name), section.header)
            yield Scope(section.kind, section.name, section.header, section.lines, lenient=False)


def _header_fault(section: Section, first: Line | None) -> tuple[str, str | None] | None:
    if section.kind not in ROLES:
        hint = did_you_mean(section.kind or "", ROLES)
        return f'there is no kind "{section.kind}"; the kinds are {", ".join(ROLES)}', hint
    if not section.name:
        return f"a {section.kind} has a name in a file with sections", f"write [{section.kind} NAME]"
    if first:
        return f"there are two sections [{section.kind} {section.name}]", f"the first is in line {first.number}"
    return None


def _name_server(name: str, scopes: Sequence[Scope], program: str, notes: Notes) -> None:
    """Let the server of the command line take the place of those in the file."""
    kind, keyword = ("server", "ServerBindAddress") if program == "miredo-server" else ("client", "ServerAddress")
    line = Line(COMMAND_LINE, None, name, keyword, 1, name, 1)
    match [scope for scope in scopes if scope.kind == kind]:
        case [scope]:
            overridden = (keyword.lower(), f"{keyword}2".lower())
            scope.lines = [line, *(one for one in scope.lines if one.directive.lower() not in overridden)]
        case []:
            notes.warn(line.at_value(f"{name} is ignored: {notes.file} has no {kind}"))
        case several:
            message = f"{name} could be for each of {', '.join(scope.title for scope in several)}"
            notes.errors.append(line.at_value(message, f"write {keyword} in the file instead"))


def _configuration(examined: Examination) -> Configuration:
    process = next(one.config for one in examined.filled if isinstance(one.config, ProcessConfig))
    roles = tuple(one.config for one in examined.filled if isinstance(one.config, RoleConfig))
    return Configuration(process, roles, examined.warnings)
