# SPDX-License-Identifier: MIT
"""The lines of a configuration file.

- A blank line, or one whose first character after blanks is C{#}, says nothing.
- C{[kind NAME]} begins a section. What stands before the first section is the file's preamble; a file without
  sections (a classic file of miredo or miredo-server) is all preamble.
- Any other line is C{Directive value}: the value is the rest of the line without the blanks at its ends.
- A blank is a space or a tab. There are no quotes, no continuation lines and no comments after a value.
- Directives and kinds are case-insensitive, names are not.
- The text is UTF-8, save that of comments; a line has at most L{LINE_LIMIT} bytes.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import dataclass, field

from miredo.config.problem import Place, Problem

LINE_LIMIT = 1024
"""Bytes in a line; miredo 1.2.6 refuses longer ones too."""

BLANKS = " \t"
"""What may stand around and between words."""

_HEADER = re.compile(r"\[[ \t]*([A-Za-z0-9]+)(?:[ \t]+([A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}))?[ \t]*\]")


@dataclass(frozen=True)
class Line:
    """One line that says something; columns count characters from 1."""

    file: str
    number: int | None
    source: str
    directive: str
    column: int
    value: str
    value_column: int

    @property
    def place(self) -> Place:
        """Where the line stands, with what it says."""
        return Place(self.file, self.number, f"{self.directive} {self.value}".rstrip())

    def at_directive(self, message: str, hint: str | None = None) -> Problem:
        """A problem whose caret is under the directive."""
        return Problem(self.file, self.number, self.column, message, self.source, len(self.directive), hint)

    def at_value(self, message: str, hint: str | None = None, span: tuple[int, int] | None = None) -> Problem:
        """A problem whose caret is under the value, or under C{span} (offset and length) of it."""
        offset, length = span or (0, len(self.value))
        return Problem(self.file, self.number, self.value_column + offset, message, self.source, length, hint)


@dataclass
class Section:
    """A header and the lines under it; the preamble has no header, and a header that cannot be read has no kind."""

    kind: str | None
    name: str
    header: Line | None
    lines: list[Line] = field(default_factory=list)


@dataclass
class Text:
    """A file cut into sections, the preamble first, with the problems met on the way: C{doubts} are of comments."""

    sections: list[Section]
    problems: list[Problem] = field(default_factory=list)
    doubts: list[Problem] = field(default_factory=list)

    @property
    def preamble(self) -> Section:
        """What stands before the first section."""
        return self.sections[0]


def split(text: str | bytes, file: str) -> Text:
    """Cut C{text} into sections of lines; nothing is raised."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    cut = Text([Section("", "", None)])
    for number, octets in enumerate(raw.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        _add(cut, file, number, octets.removesuffix(b"\r"))
    return cut


def _add(cut: Text, file: str, number: int, octets: bytes) -> None:
    source = octets.decode("utf-8", "backslashreplace")
    if source.lstrip(BLANKS).startswith("#"):
        if len(octets) > LINE_LIMIT:
            message = f"the comment has {len(octets)} bytes, {LINE_LIMIT} are the limit"
            cut.doubts.append(Problem(file, number, 1, message, source[:LINE_LIMIT], hint="make several lines of it"))
    elif fault := _unreadable(octets, source):
        cut.problems.append(Problem(file, number, *fault, source[:LINE_LIMIT]))
    elif source.strip(BLANKS):
        line = _line(file, number, source)
        if line.directive.startswith("["):
            cut.sections.append(_section(line, cut.problems))
        else:
            cut.sections[-1].lines.append(line)


def _unreadable(octets: bytes, source: str) -> tuple[int, str] | None:
    """The column and the reason for which a line cannot be looked at, or None."""
    if len(octets) > LINE_LIMIT:
        return 1, f"the line has {len(octets)} bytes, {LINE_LIMIT} are the limit"
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError as error:
        column = len(octets[: error.start].decode("utf-8")) + 1
        return column, f"byte 0x{octets[error.start]:02x} is not UTF-8"
    for column, letter in enumerate(source, start=1):
        if letter != "\t" and not letter.isprintable():
            called = f" ({unicodedata.name(letter)})" if unicodedata.name(letter, None) else ""
            return column, f"character U+{ord(letter):04X}{called} has no place in a configuration"
    return None


def _line(file: str, number: int, source: str) -> Line:
    start = len(source) - len(source.lstrip(BLANKS))
    said = source.strip(BLANKS)
    word = re.split(f"[{BLANKS}]", said, maxsplit=1)[0]
    value = said[len(word) :].lstrip(BLANKS)
    return Line(file, number, source, word, start + 1, value, start + len(said) - len(value) + 1)


def _section(line: Line, problems: list[Problem]) -> Section:
    said = line.source.strip(BLANKS)
    header = Line(line.file, line.number, line.source, said, line.column, "", line.column + len(said))
    if match := _HEADER.fullmatch(said):
        return Section(match[1].lower(), match[2] or "", header)
    problems.append(header.at_directive(f"{said} is not the head of a section", "it is written [kind NAME]"))
    return Section(None, "", header)
