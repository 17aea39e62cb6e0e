# SPDX-License-Identifier: MIT
"""
Who may be translated to where: the rules of faithd.conf(5), compiled.

The first rule that matches both the client and the translated destination counts; where none does, the connection is
denied. Families must be equal: a rule for IPv4 clients matches no IPv6 client. Without a file everything is permitted.

Rules are filed by the length of their source and by its bits, and below that alike by their destination, so that what
a verdict costs depends on how many different lengths there are and hardly on how many rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from miredo.address.endpoint import IPv4, IPv6, show_ipv4, show_ipv6

Address = bytes
"""IPv4 (4 bytes) or IPv6 (16 bytes)."""

_Shift = tuple[int, int]
"""Of an address, the bytes that it has, and the bits that are not looked at."""


class Net(NamedTuple):
    """The addresses of one family that share the first C{length} bits of C{first}; further bits of it say nothing."""

    first: Address
    length: int

    @property
    def shift(self) -> _Shift:
        """How its addresses are looked up."""
        return len(self.first), len(self.first) * 8 - self.length

    @property
    def bits(self) -> int:
        """What its addresses share."""
        return int.from_bytes(self.first, "big") >> self.shift[1]

    def __str__(self) -> str:
        show = show_ipv4 if len(self.first) == 4 else show_ipv6
        shift = self.shift[1]
        return f"{show((self.bits << shift).to_bytes(len(self.first), 'big'))}/{self.length}"


class Rule(NamedTuple):
    """
    One line of the file.

    @ivar bind: the IPv4 address that permitted connections are made from; C{None} leaves it to the kernel.
    @ivar line: its number in the file, if there is one.
    """

    source: Net
    permits: bool
    destination: Net
    bind: IPv4 | None = None
    line: int | None = None

    def __str__(self) -> str:
        words = [str(self.source), "permit" if self.permits else "deny", str(self.destination)]
        return " ".join([*words, show_ipv4(self.bind)] if self.bind else words)


class Verdict(NamedTuple):
    """
    What is decided, and by which rule: by none if none matches, or if there is no file.

    @ivar bind: the IPv4 address to connect from.
    """

    permitted: bool
    rule: Rule | None = None
    bind: IPv4 | None = None


_Destinations = dict[_Shift, dict[int, int]]
"""The first rule by the bits of its destination."""


class AccessList:
    """
    The rules in their order; C{None} is no file at all, and an empty list permits nothing.

    @ivar unmatched: how many verdicts no rule has decided.
    """

    def __init__(self, rules: Sequence[Rule] | None) -> None:
        self.unmatched = 0
        self._is_open = rules is None
        self._rules = tuple(rules or ())
        self._counts = [0] * len(self._rules)
        self._verdicts = [Verdict(rule.permits, rule, rule.bind if rule.permits else None) for rule in self._rules]
        self._sources: dict[_Shift, dict[int, _Destinations]] = {}
        for index, rule in enumerate(self._rules):
            by_source = self._sources.setdefault(rule.source.shift, {}).setdefault(rule.source.bits, {})
            by_source.setdefault(rule.destination.shift, {}).setdefault(rule.destination.bits, index)

    def verdict(self, source: IPv6, destination: IPv4) -> Verdict:
        """Whether a client at C{source} may be connected to C{destination}; counted."""
        index = min(self._matches(source, destination), default=None)
        if index is None:
            self.unmatched += 1
            return Verdict(permitted=self._is_open)
        self._counts[index] += 1
        return self._verdicts[index]

    def counts(self) -> Iterator[tuple[Rule, int]]:
        """Each rule, and how many verdicts it has decided."""
        return zip(self._rules, self._counts, strict=True)

    def _matches(self, source: Address, destination: Address) -> Iterator[int]:
        """The first matching rule of each pair of lengths."""
        client, server = int.from_bytes(source, "big"), int.from_bytes(destination, "big")
        for (octets, shift), by_bits in self._sources.items():
            destinations = by_bits.get(client >> shift) if octets == len(source) else None
            if destinations:
                for (width, drop), indices in destinations.items():
                    index = indices.get(server >> drop) if width == len(destination) else None
                    if index is not None:
                        yield index
