# SPDX-License-Identifier: MIT
"""The access list of faithd.conf(5) as a target."""

from collections.abc import Iterator, Sequence

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.config.problem import PROBLEM_LIMIT
from miredo.faith.access import AccessList, Net, Rule
from miredo.faith.accessfile import Line, read_access

LONGEST = 2 * PROBLEM_LIMIT - 8
"""Bytes: a file with more lines than that could have more errors than are told."""

CLIENTS = tuple(map(parse_ipv6, ("3ffe:501:ffff::7", "2001:db8::7", "::")))
DESTINATIONS = tuple(map(parse_ipv4, ("10.1.1.1", "127.0.0.1", "192.0.2.1", "255.255.255.255")))


def files() -> Iterator[bytes]:
    """The sample of faithd(8), and what else a line can have."""
    yield b"# all\n3ffe:501:ffff::/48 deny 10.0.0.0/8\n3ffe:501:ffff::/48 permit 0.0.0.0/0\n"
    yield b"::/0 permit 0.0.0.0/0 192.0.2.9 # from there\r\n2001:db8::7 DENY 192.0.2.1\t"
    yield b"0.0.0.0/0 allow ::ffff:10.0.0.0/104\n::/0 permit 10.1.1.1/8 ::1\n"
    yield b"\xef\xbb\xbfany permit fe80::1%eth0\n::/0\n::/129 permit 010.0.0.0/33 x y\n"


def access(data: bytes) -> None:
    """A line with words is a rule or told, a rule is read from its own text, and the first that matches counts."""
    found = read_access(data, "faithd.conf")
    for problem in found.problems:
        assert problem.render()
    refused = {problem.line for problem in found.problems if problem.severity == "error"}
    ruled = {rule.line for rule in found.rules}
    for number, octets in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        line = Line("", number, octets.removesuffix(b"\r").decode("latin-1"))
        assert (number in refused) + (number in ruled) == bool(line.words())
    again = read_access("\n".join(map(str, found.rules)).encode(), "faithd.conf").rules
    assert list(map(str, again)) == list(map(str, found.rules))
    compiled = AccessList(found.rules)
    for client in CLIENTS:
        for destination in DESTINATIONS:
            assert compiled.verdict(client, destination).rule == first_match(found.rules, client, destination)


def first_match(rules: Sequence[Rule], client: bytes, destination: bytes) -> Rule | None:
    return next((rule for rule in rules if holds(rule.source, client) and holds(rule.destination, destination)), None)


def holds(net: Net, address: bytes) -> bool:
    """Bit by bit."""
    if len(address) != len(net.first):
        return False
    return "".join(f"{octet:08b}" for octet in address).startswith(
        "".join(f"{octet:08b}" for octet in net.first)[: net.length]
    )
