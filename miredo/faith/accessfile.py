# SPDX-License-Identifier: MIT
"""
The text of faithd.conf(5), a rule in each line::

    source[/length] permit|deny destination[/length] [address to connect from]

Words are separated by spaces and tabs. C{#} begins a comment anywhere. An address without a length is one host. Either
address may be IPv4 or IPv6, in numbers; bits beyond a length say nothing. Keywords are C{permit} and C{deny} in upper
or lower case, B{and any other word is deny}, as it always was; that is told as a warning. Any other line that cannot be
read is no rule: it is told as an error, and whoever only warns of it goes on without it, as faithd did in silence.

Other than in faithd:

- a last line without a newline counts, and so do lines of more than 1023 bytes and those that end in CR and LF;
- a file without a rule permits nothing (L{access.AccessList}), where faithd permitted everything;
- an address is written out: C{10.1} and C{010.0.0.0} are refused, which C's inet_aton reads as 10.0.0.1 and 8.0.0.0;
- a length is written in digits, without a sign;
- a rule that says to connect from an IPv6 address denies at once, where faithd failed to connect each time.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.config.problem import Problem, did_you_mean, few, in_file_order
from miredo.faith.access import Net, Rule

BLANKS = " \t"
"""What stands between words."""

FORM = "a rule is written: SOURCE/LENGTH permit|deny DESTINATION/LENGTH [ADDRESS TO CONNECT FROM]"
KEYWORDS = ("permit", "deny")

_MOST_WORDS = 4
_SHORT_QUAD = re.compile(r"[0-9]+(\.[0-9]+){0,2}")
_OCTAL = re.compile(r"(^|\.)0[0-9]")
_LENGTHS = ("", *map(str, range(1, 129)))
"""Lengths without leading zeros."""


class AccessFile(NamedTuple):
    """What a file says; C{problems} are errors (lines that are no rule) and warnings, in the order of the file."""

    rules: tuple[Rule, ...]
    problems: tuple[Problem, ...]


class Word(NamedTuple):
    """A word of a line; C{column} counts characters from 1."""

    text: str
    column: int


class BadWordError(ValueError):
    """A word that cannot be where it is."""

    def __init__(self, word: Word, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.word = word
        self.message = message
        self.hint = hint


class Line(NamedTuple):
    """One line, and where it stands; C{source} is all of it."""

    file: str
    number: int
    source: str

    def words(self) -> list[Word]:
        """What stands before the comment."""
        said = self.source.partition("#")[0]
        return [Word(found[0], found.start() + 1) for found in re.finditer(f"[^{BLANKS}]+", said)]

    def at(self, word: Word, message: str, hint: str | None = None) -> Problem:
        """An error with its caret under a word."""
        return Problem(self.file, self.number, word.column, message, self.source, len(word.text), hint)


def read_access(text: bytes, file: str) -> AccessFile:
    """Read all of a file; nothing is raised."""
    rules: list[Rule] = []
    errors: list[Problem] = []
    warnings: list[Problem] = []
    for number, octets in enumerate(text.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        line = Line(file, number, octets.removesuffix(b"\r").decode("utf-8", "backslashreplace"))
        if words := line.words():
            try:
                rules.append(_rule(line, words))
            except BadWordError as bad:
                errors.append(line.at(bad.word, bad.message, bad.hint))
            else:
                warnings += [doubt.as_warning() for doubt in _doubts(line, words, rules[-1])]
    if not rules:
        message = "there is no rule: nothing is permitted"
        errors.append(Problem(file, None, None, message, hint='to permit everything, write "::/0 permit 0.0.0.0/0"'))
    problems = sorted([*few(errors, file), *few(warnings, file)], key=in_file_order)
    return AccessFile(tuple(rules), tuple(problems))


def _rule(line: Line, words: list[Word]) -> Rule:
    """
    The rule of a line with words in it.

    @raise BadWordError: it is no rule.
    """
    if len(words) < 3:
        raise BadWordError(words[-1], f"a rule has three words or four, and this line has {len(words)}", FORM)
    if len(words) > _MOST_WORDS:
        raise BadWordError(words[_MOST_WORDS], "a rule has no more than four words", FORM)
    source, destination = _net(words[0]), _net(words[2])
    bind = _address(words[3]) if words[3:] else None
    if bind is not None and len(bind) != 4:
        return Rule(source, False, destination, None, line.number)
    return Rule(source, words[1].text.lower() == "permit", destination, bind, line.number)


def _doubts(line: Line, words: list[Word], rule: Rule) -> Iterator[Problem]:
    """What a rule does that whoever wrote it may not have meant."""
    source, keyword, destination, *bind = words
    if keyword.text.lower() not in KEYWORDS:
        hint = did_you_mean(keyword.text, KEYWORDS) or "write permit or deny"
        yield line.at(keyword, f"{keyword.text} is neither permit nor deny, and counts as deny", hint)
    if bind and ":" in bind[0].text:
        yield line.at(bind[0], "no IPv4 connection is made from an IPv6 address: the rule denies")
    if len(rule.source.first) != 16:
        yield line.at(source, "clients have IPv6 addresses: the rule never matches")
    if len(rule.destination.first) != 4:
        told = "it is the IPv4 address that is looked up here: the rule never matches"
        yield line.at(destination, told, _mapped(rule.destination))
    for word, net in ((source, rule.source), (destination, rule.destination)):
        if net.bits << net.shift[1] != int.from_bytes(net.first, "big"):
            yield line.at(word, f"{word.text} has bits beyond its length", f'did you mean "{net}"?')


def _net(word: Word) -> Net:
    """An address with a length or without one."""
    text, slash, digits = word.text.partition("/")
    first = _address(Word(text, word.column))
    most = len(first) * 8
    if not slash:
        return Net(first, most)
    if digits.lstrip("0") not in _LENGTHS[: most + 1] or not digits:
        at = Word(digits, word.column + len(text) + 1)
        raise BadWordError(at, f'"{digits}" is not a length from 0 to {most}')
    return Net(first, int(digits.lstrip("0") or "0"))


def _address(word: Word) -> bytes:
    """An address without a length."""
    if "/" in word.text:
        raise BadWordError(word, f"{word.text} has a length, and only one address is connected from")
    parse: Callable[[str], bytes] = parse_ipv6 if ":" in word.text else parse_ipv4
    try:
        return parse(word.text)
    except ValueError:
        raise BadWordError(word, f"{word.text} is no IPv4 or IPv6 address", _hint(word.text)) from None


def _hint(text: str) -> str | None:
    """What may have been meant."""
    if text.lower() in ("any", "all", "*"):
        return "all IPv6 addresses are ::/0, all IPv4 addresses 0.0.0.0/0"
    if _SHORT_QUAD.fullmatch(text):
        return "write all four numbers"
    if _OCTAL.search(text):
        return "write the numbers without leading zeros"
    if "%" in text:
        return "a zone is not looked at here: leave it out"
    return None if re.fullmatch(r"[0-9A-Fa-f:.]*", text) else "names are not looked up here"


def _mapped(net: Net) -> str | None:
    """The IPv4 destination that somebody wrote as an IPv4-mapped one."""
    if net.length < 96 or not net.first.startswith(bytes(10) + b"\xff\xff"):
        return None
    return f'did you mean "{Net(net.first[12:], net.length - 96)}"?'
