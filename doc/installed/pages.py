# SPDX-License-Identifier: MIT
"""The manual pages: the sources of C{doc/man}, whose lines with @ are filled in from what the program declares.

    @VERSION@                        the version
    @PURPOSE command@                what the command is, for whatis(1)
    @SYNOPSIS command@               its options and its operand
    @OPTIONS command@                the same, explained
    @DIRECTIVES kind file@           the directives of a kind of role, as the program has them and C{etc/file} explains
    @KINDS@                          the kinds of sections

It needs the standard library alone, as does what it imports of the program.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from miredo.commands.usage import COMMANDS
from miredo.config import directives
from miredo.config.roles import ROLES

if TYPE_CHECKING:
    from pathlib import Path

    from miredo.commands.usage import Command, Operand, Option
    from miredo.config import Row

_FILLED = re.compile(r"@([A-Z]+)((?: [a-z.-]+)*)@")
_OF_THE_EXAMPLE = ("REPLACE THIS",)
"""How lines of an example file begin that concern this file alone."""


def pages(root: Path, version: str) -> dict[str, str]:
    """Every page by its name, such as C{miredo.8}."""
    return {source.name: page(source.read_text(), root, version) for source in sorted((root / "doc" / "man").iterdir())}


def page(source: str, root: Path, version: str) -> str:
    """A page in roff, the macros of man(7)."""

    def filled(match: re.Match[str]) -> str:
        match match[1], match[2].split():
            case "VERSION", []:
                return version
            case "KINDS", []:
                return _listed([f"\\fB{kind}\\fR" for kind in ROLES])
            case "PURPOSE", [name]:
                return escaped(_command(name).purpose)
            case "SYNOPSIS", [name]:
                return _synopsis(_command(name))
            case "OPTIONS", [name]:
                return _options(_command(name))
            case "DIRECTIVES", [kind, file]:
                return _directives(kind, (root / "etc" / file).read_text())
            case _:
                raise ValueError(f"nothing fills in {match[0]}")

    return _FILLED.sub(filled, source)


def escaped(text: str) -> str:
    """Text as roff shows it: a hyphen can be copied as one, and nothing is a request."""
    for character, shown in (
        ("\\", "\\e"),
        ("-", "\\-"),
        ("'", "\\(aq"),
        ("^", "\\(ha"),
        ("~", "\\(ti"),
        ("`", "\\(ga"),
    ):
        text = text.replace(character, shown)
    return f"\\&{text}" if text.startswith(".") else text


def _command(name: str) -> Command:
    return next(one for one in COMMANDS if one.name == name)


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _synopsis(command: Command) -> str:
    flags = "".join(one.letter for one in command.options if not one.value)
    with_values = [f"[\\fB\\-{one.letter}\\fR \\fI{one.value.word}\\fR]" for one in command.options if one.value]
    operand = [_operand(command.operand)] if command.operand else []
    return "\n".join([f".B {escaped(command.name)}", f"[\\fB\\-{flags}\\fR]", *with_values, *operand])


def _operand(operand: Operand) -> str:
    word = f"\\fI{escaped(operand.value.word)}\\fR"
    return word if operand.required else f"[{word}]"


def _options(command: Command) -> str:
    entries = [_entry(_option(one), _sentence(one.meaning), one.more) for one in command.options]
    if operand := command.operand:
        tag = f"\\fI{escaped(operand.value.word)}\\fR"
        entries.append(_entry(tag, _sentence(operand.meaning), operand.more))
    return "\n".join(entries)


def _option(option: Option) -> str:
    value = f" \\fI{option.value.word}\\fR" if option.value else ""
    return f"\\fB\\-{option.letter}\\fR, \\fB\\-\\-{escaped(option.word)}\\fR{value}"


def _sentence(meaning: str) -> str:
    return f"{meaning[:1].upper()}{meaning[1:]}."


def _entry(tag: str, *lines: str) -> str:
    return "\n".join([".TP", tag, *map(escaped, filter(None, lines))])


def _directives(kind: str, example: str) -> str:
    blocks = [block.splitlines() for block in example.split("\n\n")]
    return "\n".join(_directive(row, _notes(row, blocks)) for row in directives(kind))


def _directive(row: Row, notes: list[str]) -> str:
    more = list(notes)
    if row.default == "(required)":
        more.append("It must be given.")
    elif not row.default.startswith("("):
        more.append(f"Default: {row.default}.")
    if row.repeatable:
        more.append("It may stand several times.")
    return _entry(f"\\fB{row.keyword}\\fR", row.meaning, *more)


def _notes(row: Row, blocks: list[list[str]]) -> list[str]:
    """What an example file says of a directive after its meaning."""
    block = next(block for block in blocks if f"# {row.meaning}" in block)
    said = block[block.index(f"# {row.meaning}") + 1 :]
    return [line[2:] for line in said if line.startswith("# ") and not line[2:].startswith(_OF_THE_EXAMPLE)]
