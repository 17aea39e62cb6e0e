# SPDX-License-Identifier: MIT
"""A directive is declared once, on the field of the dataclass that holds its value.

The parser, the comments of the example files and the tables of the manual all read these declarations.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from miredo.address.endpoint import show_ipv4

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REQUIRED = "(required)"
"""The default text of a directive that must be given."""

_DIRECTIVE = "directive"


NOTHING = "(none)"
"""The default text of a directive that says nothing unless it is given."""


@dataclass(frozen=True)
class Directive:
    """How a field is written in a file; C{default} is for what the field's own default does not tell."""

    keyword: str
    reader: Callable[[str], object]
    meaning: str
    default: str = ""
    repeatable: bool = False


class Declared(NamedTuple):
    """A directive and the field that it fills: C{default} is a value as in a file, or words in parentheses."""

    directive: Directive
    field: str
    default: str

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default == REQUIRED


class Row(NamedTuple):
    """What the manual says of a directive: C{default} is a value as in a file, or words in parentheses."""

    keyword: str
    default: str
    meaning: str
    repeatable: bool


def directive(
    keyword: str, reader: Callable[[str], object], meaning: str, *, default: str = "", repeatable: bool = False
) -> Mapping[str, Directive]:
    """The metadata of a field that a directive fills.

    @param reader: takes the value's text, raises C{ValueError}.
    """
    return {_DIRECTIVE: Directive(keyword, reader, meaning, default, repeatable)}


def declared(kind: type) -> tuple[Declared, ...]:
    """Every directive of a dataclass, its own first, then those of its base, and so on."""
    found = ((one, one.metadata.get(_DIRECTIVE)) for one in dataclasses.fields(kind))
    every = [
        Declared(spec, one.name, spec.default or _written(one.default))
        for one, spec in found
        if isinstance(spec, Directive)
    ]
    return tuple(sorted(every, key=lambda one: _inheritance(kind, one.field)))


def row(one: Declared) -> Row:
    """What the manual says of a directive."""
    return Row(one.directive.keyword, one.default, one.directive.meaning, one.directive.repeatable)


def _inheritance(kind: type, name: str) -> int:
    """How many classes up from C{kind} a field was first declared."""
    return max(depth for depth, base in enumerate(kind.__mro__) if name in getattr(base, "__dataclass_fields__", ()))


def _written(default: object) -> str:
    """The default of a field as it would stand in a file."""
    if default is dataclasses.MISSING:
        return REQUIRED
    if default is None or default == ():
        return NOTHING
    return show_ipv4(default) if isinstance(default, bytes) else str(default)
