# SPDX-License-Identifier: MIT
"""The access list of faithd.conf(5): whom a file lets where, and what is said of lines that are no rule."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.endpoint import parse_ipv4, parse_ipv6, show_ipv4
from miredo.config.problem import PROBLEM_LIMIT, ConfigError, Problem
from miredo.faith.access import AccessList, Net, Rule, Verdict
from miredo.faith.accessfile import FORM, AccessFile, read_access

MANUAL = """\
# permit anyone from 3ffe:501:ffff::/48 to use the translator,
# to connect to the following IPv4 destinations:
# - any location except 10.0.0.0/8 and 127.0.0.0/8.
# Permit no other connections.
#
3ffe:501:ffff::/48 deny 10.0.0.0/8
3ffe:501:ffff::/48 deny 127.0.0.0/8
3ffe:501:ffff::/48 permit 0.0.0.0/0
"""
"""The sample of faithd(8), as it is there."""

BLANK_AT_THE_END = MANUAL.replace("\n", " \n")
INNER, OUTER = "3ffe:501:ffff::7", "2001:db8::7"
ORDERED = "::/0 permit 192.0.2.1\n::/0 deny 192.0.2.0/24\n::/0 permit 0.0.0.0/0\n"
KEYWORDS = "::/0 PERMIT 192.0.2.1\n::/0 Deny 192.0.2.2\n::/0 allow 192.0.2.3\n::/0 permit 0.0.0.0/0\n"
BINDING = "::/0 permit 10.0.0.0/8 192.0.2.9\n::/0 deny 127.0.0.1 192.0.2.9\n::/0 permit 0.0.0.0/0 2001:db8::9\n"
SPOILT = "::/0 deny 10.0.0.0/33\n::/0 deny\n::/0 deny 10.0.0.0/8 192.0.2.9/32\n::/0 permit 0.0.0.0/0\n"
FAMILIES = "0.0.0.0/0 deny 0.0.0.0/0\n::/0 deny ::/0\n::/0 permit 0.0.0.0/0\n"

CASES = [
    # The sample of the manual
    (MANUAL, INNER, "10.1.1.1", "deny by 6"),
    (MANUAL, INNER, "127.0.0.1", "deny by 7"),
    (MANUAL, INNER, "192.0.2.1", "permit by 8"),
    (MANUAL, INNER, "11.0.0.0", "permit by 8"),
    (MANUAL, "3ffe:501:fffe:ffff::7", "192.0.2.1", "deny"),
    (MANUAL, "3ffe:502::", "192.0.2.1", "deny"),
    (BLANK_AT_THE_END, INNER, "10.1.1.1", "deny by 6"),
    (MANUAL.replace("\n", "\r\n"), INNER, "192.0.2.1", "permit by 8"),
    # The first rule that matches counts
    (ORDERED, OUTER, "192.0.2.1", "permit by 1"),
    (ORDERED, OUTER, "192.0.2.2", "deny by 2"),
    (ORDERED, OUTER, "192.0.3.0", "permit by 3"),
    ("::/0 deny 0.0.0.0/0\n::/0 permit 192.0.2.1\n", OUTER, "192.0.2.1", "deny by 1"),
    # Keywords
    (KEYWORDS, OUTER, "192.0.2.1", "permit by 1"),
    (KEYWORDS, OUTER, "192.0.2.2", "deny by 2"),
    (KEYWORDS, OUTER, "192.0.2.3", "deny by 3"),
    # Lengths and bits
    ("2001:db8::7 permit 192.0.2.1\n", OUTER, "192.0.2.1", "permit by 1"),
    ("2001:db8::7 permit 192.0.2.1\n", "2001:db8::8", "192.0.2.1", "deny"),
    ("2001:db8::7 permit 192.0.2.1\n", OUTER, "192.0.2.2", "deny"),
    ("2001:db8:ffff::/33 permit 192.0.2.255/25\n", "2001:db8:8000::", "192.0.2.128", "permit by 1"),
    ("2001:db8:ffff::/33 permit 192.0.2.255/25\n", "2001:db8:7fff::", "192.0.2.128", "deny"),
    ("2001:db8::/032 permit 0.0.0.0/000\n", OUTER, "255.255.255.255", "permit by 1"),
    # Words, blanks and comments
    ("\t ::/0\t\tpermit  0.0.0.0/0 # all\n", OUTER, "192.0.2.1", "permit by 1"),
    ("::/0 permit 192.0.2.1#::/0 deny 0.0.0.0/0\n", OUTER, "192.0.2.1", "permit by 1"),
    ("# ::/0 permit 0.0.0.0/0\n::/0 deny 192.0.2.1\n", OUTER, "192.0.2.2", "deny"),
    ("::/0 deny 192.0.2.1\n::/0 permit 0.0.0.0/0", OUTER, "192.0.2.2", "permit by 2"),
    # The address to connect from
    (BINDING, OUTER, "10.1.1.1", "permit by 1 from 192.0.2.9"),
    (BINDING, OUTER, "127.0.0.1", "deny by 2"),
    (BINDING, OUTER, "192.0.2.1", "deny by 3"),
    # Lines that are no rule, and rules that match nobody
    (SPOILT, OUTER, "10.1.1.1", "permit by 4"),
    (FAMILIES, OUTER, "192.0.2.1", "permit by 3"),
    # Files without a rule
    ("", OUTER, "192.0.2.1", "deny"),
    ("# nothing\n\n \t\n", OUTER, "192.0.2.1", "deny"),
    ("any permit any\n", OUTER, "192.0.2.1", "deny"),
]
"""A file, a client, a destination and the verdict with the line that it comes from."""


def judged(access: AccessList, client: str, destination: str) -> str:
    verdict = access.verdict(parse_ipv6(client), parse_ipv4(destination))
    said = "permit" if verdict.permitted else "deny"
    if verdict.rule is not None:
        said += f" by {verdict.rule.line}"
    return said + (f" from {show_ipv4(verdict.bind)}" if verdict.bind else "")


def read(text: str) -> AccessFile:
    return read_access(text.encode(), "faithd.conf")


def only_problem(text: str) -> Problem:
    (problem,) = read(text).problems
    return problem


# ------------------------------------------------------------------ verdicts


@pytest.mark.parametrize(("text", "client", "destination", "said"), CASES)
def test_a_file_lets_a_client_to_a_destination_or_not(text: str, client: str, destination: str, said: str) -> None:
    assert judged(AccessList(read(text).rules), client, destination) == said


def test_without_a_file_everything_is_permitted_and_counted_as_unmatched() -> None:
    access = AccessList(None)
    assert access.verdict(parse_ipv6(OUTER), parse_ipv4("10.1.1.1")) == Verdict(permitted=True)
    assert (access.unmatched, list(access.counts())) == (1, [])


def test_each_rule_counts_its_verdicts() -> None:
    access = AccessList(read(MANUAL).rules)
    for destination in ("10.1.1.1", "10.1.1.2", "192.0.2.1"):
        access.verdict(parse_ipv6(INNER), parse_ipv4(destination))
    access.verdict(parse_ipv6(OUTER), parse_ipv4("192.0.2.1"))
    assert {str(rule): count for rule, count in access.counts()} == {
        "3ffe:501:ffff::/48 deny 10.0.0.0/8": 2,
        "3ffe:501:ffff::/48 deny 127.0.0.0/8": 0,
        "3ffe:501:ffff::/48 permit 0.0.0.0/0": 1,
    }
    assert access.unmatched == 1


# A few addresses and many lengths, so that rules hold one another.
sources = st.sampled_from(["2001:db8::7", "2001:db8::", "2001:db8:8000::", "3ffe::1", "::ffff:10.1.1.1"]).map(
    parse_ipv6
)
destinations = st.sampled_from(["10.1.1.1", "10.1.1.0", "10.0.0.0", "138.1.1.1", "0.0.0.0"]).map(parse_ipv4)
addresses = sources | destinations
nets = st.builds(lambda first, cut: Net(first, max(0, len(first) * 8 - cut)), addresses, st.integers(0, 128))
rules = st.builds(Rule, nets, st.booleans(), nets, st.none() | destinations, st.integers(1, 99))


def holds(net: Net, address: bytes) -> bool:
    """As the standard library has it."""
    return ip_address(address) in ip_network((net.first, net.length), strict=False)


def slow_verdict(listed: list[Rule], source: bytes, destination: bytes) -> Verdict:
    """Rule by rule, as the manual says."""
    for rule in listed:
        if holds(rule.source, source) and holds(rule.destination, destination):
            return Verdict(rule.permits, rule, rule.bind if rule.permits else None)
    return Verdict(permitted=False)


@given(st.lists(rules, max_size=15), st.lists(st.tuples(addresses, addresses), max_size=10))
def test_the_compiled_list_gives_the_verdicts_of_the_slow_one(
    listed: list[Rule], asked: list[tuple[bytes, bytes]]
) -> None:
    access = AccessList(listed)
    for source, destination in asked:
        assert access.verdict(source, destination) == slow_verdict(listed, source, destination)
    assert sum(count for _, count in access.counts()) + access.unmatched == len(asked)


@given(st.lists(rules, min_size=1, max_size=10))
def test_a_rule_is_read_from_its_own_text(listed: list[Rule]) -> None:
    read_again = read("\n".join(map(str, listed))).rules
    assert [str(rule) for rule in read_again] == [str(rule) for rule in listed]
    for first, second in zip(listed, read_again, strict=True):
        assert (first.source.bits, first.destination.bits) == (second.source.bits, second.destination.bits)
        assert (first.permits, first.bind) == (second.permits, second.bind)


def test_ten_thousand_rules_are_asked_and_none_is_lost() -> None:
    listed = [
        Rule(Net(IPv6Address(number << 64).packed, 64), number % 2 == 0, Net(IPv4Address(number << 8).packed, 24))
        for number in range(10_000)
    ]
    access = AccessList(listed)
    for number in (0, 1, 4_999, 9_999):
        source, destination = IPv6Address((number << 64) + 7).packed, IPv4Address((number << 8) + 7).packed
        assert access.verdict(source, destination) == Verdict(number % 2 == 0, listed[number])
        assert not access.verdict(source, IPv4Address((number + 1 << 8) + 7).packed).permitted


# ------------------------------------------------------------------ what is said of a file


def test_nothing_is_said_of_the_manuals_sample() -> None:
    assert read(MANUAL).problems == ()


@pytest.mark.parametrize(
    ("line", "column", "span", "message", "hint"),
    [
        ("::/0", 1, 4, "a rule has three words or four, and this line has 1", FORM),
        ("::/0 permit # all", 6, 6, "a rule has three words or four, and this line has 2", FORM),
        ("::/0 permit 0.0.0.0/0 192.0.2.9 x y", 33, 1, "a rule has no more than four words", FORM),
        ("::/0 permit 10.0.0.0/33", 22, 2, '"33" is not a length from 0 to 32', None),
        ("::/129 permit 0.0.0.0/0", 4, 3, '"129" is not a length from 0 to 128', None),
        ("::/ permit 0.0.0.0/0", 4, 0, '"" is not a length from 0 to 128', None),
        ("::/+0 permit 0.0.0.0/0", 4, 2, '"+0" is not a length from 0 to 128', None),
        ("::/4٣ permit 0.0.0.0/0", 4, 2, '"4٣" is not a length from 0 to 128', None),
        ("::/0 permit 10.0.0.0/8/8", 22, 3, '"8/8" is not a length from 0 to 32', None),
        ("::/0 permit 10.1", 13, 4, "10.1 is no IPv4 or IPv6 address", "write all four numbers"),
        ("::/0 permit 010.0.0.0/8", 13, 9, "010.0.0.0 is no IPv4 or IPv6 address", "write the numbers without"),
        ("any permit 0.0.0.0/0", 1, 3, "any is no IPv4 or IPv6 address", "all IPv6 addresses are ::/0"),
        ("::/0 permit example.org", 13, 11, "example.org is no IPv4 or IPv6 address", "names are not looked up here"),
        ("fe80::1%eth0 permit 0.0.0.0/0", 1, 12, "fe80::1%eth0 is no IPv4 or IPv6 address", "a zone is not looked"),
        ("::/0 permit 0.0.0.0/0 10.0.0.1/8", 23, 10, "10.0.0.1/8 has a length", None),
    ],
)
def test_a_line_that_is_no_rule_is_told_with_its_place(
    line: str, column: int, span: int, message: str, hint: str | None
) -> None:
    problem = only_problem(f"# one\n{line}\n::/0 permit 0.0.0.0/0\n")
    assert (problem.file, problem.line, problem.severity) == ("faithd.conf", 2, "error")
    assert (problem.column, problem.span, problem.source) == (column, span, line)
    assert problem.message.startswith(message)
    assert (problem.hint or "").startswith(hint or "")
    assert (problem.hint is None) == (hint is None)


@pytest.mark.parametrize(
    ("line", "column", "message", "hint"),
    [
        ("::/0 permt 0.0.0.0/0", 6, "permt is neither permit nor deny, and counts as deny", 'did you mean "permit"?'),
        ("::/0 allow 0.0.0.0/0", 6, "allow is neither permit nor deny, and counts as deny", "write permit or deny"),
        ("0.0.0.0/0 deny 0.0.0.0/0", 1, "clients have IPv6 addresses: the rule never matches", None),
        ("::/0 deny 64:ff9b::/96", 11, "it is the IPv4 address that is looked up here: the rule never matches", None),
        ("::/0 deny ::ffff:10.0.0.0/104", 11, "it is the IPv4 address that", 'did you mean "10.0.0.0/8"?'),
        ("2001:db8::7/64 permit 0.0.0.0/0", 1, "2001:db8::7/64 has bits", 'did you mean "2001:db8::/64"?'),
        ("::/0 deny 10.1.1.1/8", 11, "10.1.1.1/8 has bits beyond its length", 'did you mean "10.0.0.0/8"?'),
        ("::/0 permit 0.0.0.0/0 ::1", 23, "no IPv4 connection is made from an IPv6 address: the rule denies", None),
    ],
)
def test_a_rule_that_may_not_have_been_meant_is_one_and_is_warned_of(
    line: str, column: int, message: str, hint: str | None
) -> None:
    found = read(line)
    (problem,) = found.problems
    assert len(found.rules) == 1
    assert (problem.line, problem.column, problem.severity, problem.hint) == (1, column, "warning", hint)
    assert problem.message.startswith(message)


def test_a_file_without_a_rule_says_that_nothing_is_permitted_and_what_would_permit_all() -> None:
    problem = only_problem("# nothing\n")
    assert problem.render().splitlines() == [
        "faithd.conf: error: there is no rule: nothing is permitted",
        '  hint: to permit everything, write "::/0 permit 0.0.0.0/0"',
    ]
    permissive = AccessList(read("::/0 permit 0.0.0.0/0").rules)
    assert permissive.verdict(parse_ipv6(OUTER), parse_ipv4("10.1.1.1")).permitted


def test_all_that_is_wrong_with_a_file_is_told_in_its_order() -> None:
    found = read("::/0 allow 0.0.0.0/0\n::/0\n2001:db8::7/64 deny 10.1.1.1/8\nx permit y\n")
    assert [(one.line, one.severity) for one in found.problems] == [
        (1, "warning"),
        (2, "error"),
        (3, "warning"),
        (3, "warning"),
        (4, "error"),
    ]
    assert str(ConfigError(found.problems)).count("faithd.conf:") == 5


def test_of_a_file_of_another_kind_not_every_line_is_told() -> None:
    found = read("BindPort 3544\n" * 1000)
    assert len(found.problems) == PROBLEM_LIMIT + 1
    assert found.problems[-1].message == f"there are 1001 errors, of which {PROBLEM_LIMIT} are shown"


def test_what_is_not_utf8_does_no_harm_in_a_comment_and_is_no_rule_elsewhere() -> None:
    found = read_access(b"\xef\xbb\xbf# Z\xfcrich\n::/0 permit 192.0.2.1\n\xfc permit 192.0.2.2\n", "faithd.conf")
    assert [str(rule) for rule in found.rules] == ["::/0 permit 192.0.2.1/32"]
    assert [problem.line for problem in found.problems] == [3]


WORDS = ("::/0", "2001:db8::7/64", "permit", "deny", "any", "0.0.0.0/0", "10.1.1.1", "192.0.2.9", "/", "é", "\0", "\\")
pieces = st.sampled_from([*WORDS, *(f"{word} " for word in WORDS), " ", "\t", "#", "\r", "\n", "\n"])


@given(st.lists(pieces, max_size=40).map("".join))
def test_every_line_with_words_is_a_rule_or_told(text: str) -> None:
    found = read(text)
    lines = text.split("\n")
    refused = {problem.line for problem in found.problems if problem.severity == "error"}
    for number, line in enumerate(lines, start=1):
        says = line.removesuffix("\r").partition("#")[0].strip(" \t") != ""
        assert (number in refused) + [rule.line for rule in found.rules].count(number) == says
    assert (None in refused) == (not found.rules)
    for problem in found.problems:
        assert problem.render().startswith("faithd.conf")
        assert problem.line is None or problem.source == lines[problem.line - 1].removesuffix("\r")


def test_a_length_of_very_many_zeros_is_none_at_all() -> None:
    (rule,) = read(f"::/{'0' * 5000} permit 0.0.0.0/0\n").rules
    assert rule.source == Net(bytes(16), 0)
