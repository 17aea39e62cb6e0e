# SPDX-License-Identifier: MIT
"""Lines of hosts(5) for a few hosts, where a DNS64 would be too much (faithd(8), "small-scale installations")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from miredo.address.endpoint import parse_ipv4
from miredo.address.rfc6052 import Prefix
from miredo.faith.mapping import Mapping, Permissions


def prefix_lines(
    lines: Iterable[str], prefixes: Sequence[Prefix], permissions: Permissions | None = None
) -> Iterator[str]:
    """
    The names of IPv4 addresses with the addresses under each prefix instead.

    Comments and lines with IPv6 addresses are left out, so that a whole hosts(5) may come in. What would not be
    translated (C{127.0.0.1 localhost}) becomes a comment that says why.

    @param lines: such as C{192.0.2.33 www.example.org www}, with newlines or without.
    @raise ValueError: a line is no line of hosts(5); the text begins with its number.
    """
    mapping = Mapping(prefixes, permissions)
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words or ":" in words[0]:
            continue
        first, *names = words
        try:
            ipv4 = parse_ipv4(first)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if not names:
            raise ValueError(f"line {number}: {first} has no name")
        for prefix in prefixes:
            reason = mapping.refuses(ipv4, prefix)
            said = " ".join(names)
            yield f"# {first} {said}: not under {prefix}: {reason}" if reason else f"{prefix.show(ipv4)}\t{said}"
