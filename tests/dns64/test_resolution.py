# SPDX-License-Identifier: MIT
"""The rules of RFC 6147, row by row: what a client is told, and what had to be asked for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

import pytest
from twisted.names import dns

from miredo.address.endpoint import parse_ipv4, parse_ipv6, show_ipv4, show_ipv6
from miredo.address.rfc6052 import WELL_KNOWN, Prefix, parse_prefix
from miredo.dns64.config import Dns64Config, NameServer, Pref64
from miredo.dns64.local import LocalNames, embedded_hosts
from miredo.dns64.message import (
    DS,
    RRSIG,
    Edns,
    code_of,
    data_of,
    edns_record,
    emit_message,
    parse_message,
    record,
    target_of,
)
from miredo.dns64.names import emit_name, reverse_of
from miredo.dns64.reply import Asked, Reply
from miredo.dns64.resolution import CHAIN_LIMIT, TTL_LIMIT, Rules
from tests.dns64.upstream import SOA_TTL, TTL, Authority, Line, ask, make

NSP = "2001:db8:64::/96"
SERVERS = (NameServer(address="192.0.2.53"),)
V4 = "v4.test", dns.A, "192.0.2.1"
V6 = "v6.test", dns.AAAA, "2001:db8::1"
MADE = "v4.test 100 AAAA 2001:db8:64::c000:201"

Lines = tuple[Line, ...]


def config(
    *prefixes: str | Pref64,
    rotate: bool = False,
    non_global: bool = False,
    after_name_error: bool = False,
    excluded_ipv6: tuple[str, ...] = ("::ffff:0:0/96",),
    excluded_ipv4: tuple[str, ...] = (),
    reverse_name: bytes | None = None,
) -> Dns64Config:
    parsed = [Pref64(prefix=parse_prefix(each)) if isinstance(each, str) else each for each in prefixes or (NSP,)]
    return Dns64Config(
        name_servers=SERVERS,
        prefixes=tuple(parsed),
        rotate=rotate,
        non_global=non_global,
        after_name_error=after_name_error,
        excluded_ipv6=tuple(map(IPv6Network, excluded_ipv6)),
        excluded_ipv4=tuple(map(IPv4Network, excluded_ipv4)),
        reverse_name=reverse_name,
    )


NORMAL = config()


def resolve(rules: Rules, asked: Asked, authority: Authority, silent: Iterable[int] = ()) -> Reply:
    """Run a resolution; the authority says nothing of the silent types."""
    resolution = rules.resolve(asked)
    try:
        wanted = next(resolution)
        while True:
            answer = authority.answer(ask(wanted.name, wanted.kind, cls=wanted.cls))
            message = parse_message(emit_message(answer))
            reply = Reply(code_of(message), message.answers, message.authority, ())
            wanted = resolution.send(Reply(dns.ESERVER) if wanted.kind in silent else reply)
    except StopIteration as end:
        found = end.value
        assert isinstance(found, Reply)
        return found


def show(record: dns.RRHeader) -> str:
    match record.type:
        case dns.A:
            said = f"A {show_ipv4(data_of(record))}"
        case dns.AAAA:
            said = f"AAAA {show_ipv6(data_of(record))}"
        case dns.CNAME | dns.DNAME | dns.PTR:
            kind = {dns.CNAME: "CNAME", dns.DNAME: "DNAME", dns.PTR: "PTR"}[record.type]
            said = f"{kind} {target_of(record).decode()}"
        case kind:
            said = f"TYPE{kind}"
    return f"{record.name.name.decode()} {record.ttl} {said}"


def answers(reply: Reply) -> list[str]:
    return [show(each) for each in reply.answers]


@dataclass(frozen=True)
class Case:
    """
    What the authority has, who asks what, and what comes of it.

    @ivar asked: the types that the authority was asked for, in turn.
    """

    lines: Lines
    name: str
    answers: list[str]
    kind: int = dns.AAAA
    code: int = dns.OK
    asked: list[int] = field(default_factory=lambda: [dns.AAAA, dns.A])
    codes: dict[int, int] = field(default_factory=dict)
    silent: tuple[int, ...] = ()
    config: Dns64Config = NORMAL
    soa: bool = True
    has_soa: bool | None = None
    dnssec_ok: bool = False
    checking_disabled: bool = False
    recursion: bool = True
    cls: int = dns.IN


BOTH = ("v6.test", dns.A, "192.0.2.6"), V6
MAPPED = "v4.test", dns.AAAA, "::ffff:192.0.2.1"
CHAIN = ("www.test", dns.CNAME, "mid.test"), ("mid.test", dns.CNAME, "v4.test")
ALIASES = ["www.test 300 CNAME mid.test", "mid.test 300 CNAME v4.test"]

CASES = {
    "5.1: only A": Case((V4,), "v4.test", [MADE]),
    "5.1.1: only AAAA": Case((V6,), "v6.test", ["v6.test 300 AAAA 2001:db8::1"], asked=[dns.AAAA]),
    "5.1.1: both": Case(BOTH, "v6.test", ["v6.test 300 AAAA 2001:db8::1"], asked=[dns.AAAA]),
    "5.1: another class": Case((V4,), "v4.test", [], cls=3, asked=[dns.AAAA], has_soa=True),
    "5.1.2: no such name": Case((), "no.test", [], code=dns.ENAME, asked=[dns.AAAA], has_soa=True),
    "5.1.2: no such name, of a server that does not know better": Case(
        (V4,), "v4.test", [], codes={dns.AAAA: dns.ENAME}, code=dns.ENAME, asked=[dns.AAAA]
    ),
    "5.1.2: the same where the operator knows": Case(
        (V4,),
        "v4.test",
        ["v4.test 300 AAAA 2001:db8:64::c000:201"],
        codes={dns.AAAA: dns.ENAME},
        config=config(after_name_error=True),
    ),
    "5.1.2: no such name at all, all the same": Case(
        (), "no.test", [], code=dns.ENAME, config=config(after_name_error=True)
    ),
    **{
        f"5.1.2: response code {code}": Case(
            (V4,), "v4.test", ["v4.test 300 AAAA 2001:db8:64::c000:201"], codes={dns.AAAA: code}
        )
        for code in (dns.EFORMAT, dns.ESERVER, dns.ENOTIMP, dns.EREFUSED, 9)
    },
    "5.1.3: silence": Case((V4,), "v4.test", ["v4.test 300 AAAA 2001:db8:64::c000:201"], silent=(dns.AAAA,)),
    "5.1.3: silence to both": Case((V4,), "v4.test", [], silent=(dns.AAAA, dns.A), code=dns.ESERVER),
    "5.1.4: only excluded": Case((V4, MAPPED), "v4.test", ["v4.test 300 AAAA 2001:db8:64::c000:201"]),
    "5.1.4: some excluded": Case(
        (V4, MAPPED, ("v4.test", dns.AAAA, "2001:db8::4")),
        "v4.test",
        ["v4.test 300 AAAA 2001:db8::4"],
        asked=[dns.AAAA],
    ),
    "5.1.4: only excluded and no A": Case((MAPPED,), "v4.test", []),
    "5.1.4: what the operator excludes": Case(
        (("v6.test", dns.A, "192.0.2.6"), V6),
        "v6.test",
        ["v6.test 300 AAAA 2001:db8:64::c000:206"],
        config=config(excluded_ipv6=("2001:db8::/48",)),
    ),
    "5.1.4: nothing is excluded": Case(
        (V4, MAPPED),
        "v4.test",
        ["v4.test 300 AAAA ::ffff:192.0.2.1"],
        config=config(excluded_ipv6=()),
        asked=[dns.AAAA],
    ),
    "5.1.5: aliases": Case((V4, *CHAIN), "www.test", [*ALIASES, MADE]),
    "5.1.5: aliases to a AAAA": Case(
        (("www.test", dns.CNAME, "v6.test"), V6),
        "www.test",
        ["www.test 300 CNAME v6.test", "v6.test 300 AAAA 2001:db8::1"],
        asked=[dns.AAAA],
    ),
    "5.1.5: aliases to nothing": Case(
        CHAIN, "www.test", ALIASES, code=dns.ENAME, asked=[dns.AAAA], has_soa=True
    ),
    "5.1.5: aliases to a name without an address": Case(
        (*CHAIN, ("v4.test", dns.TXT, "\5hello")), "www.test", ALIASES, has_soa=True
    ),
    "5.1.6: neither": Case((("v4.test", dns.TXT, "\5hello"),), "v4.test", [], has_soa=True),
    "5.1.6: an error for A": Case((V4,), "v4.test", [], codes={dns.A: dns.EREFUSED}, code=dns.EREFUSED),
    "5.1.6: errors for both": Case(
        (V4,), "v4.test", [], codes={dns.AAAA: dns.ESERVER, dns.A: dns.ENAME}, code=dns.ENAME
    ),
    "5.1.6: an error for AAAA and nothing for A": Case(
        (("v4.test", dns.TXT, "\5hello"),), "v4.test", [], codes={dns.AAAA: dns.ESERVER}, has_soa=True
    ),
    "5.1.7: several addresses": Case(
        (V4, ("v4.test", dns.A, "192.0.2.2")),
        "v4.test",
        [MADE, "v4.test 100 AAAA 2001:db8:64::c000:202"],
    ),
    "5.1.7: no SOA": Case((V4,), "v4.test", ["v4.test 300 AAAA 2001:db8:64::c000:201"], soa=False),
    "5.2: the Well-Known Prefix": Case(
        (("v4.test", dns.A, "198.51.100.1"),),
        "v4.test",
        ["v4.test 100 AAAA 64:ff9b::c633:6401"],
        config=config(str(WELL_KNOWN)),
    ),
    "RFC 6052 3.1: the Well-Known Prefix and a private address": Case(
        (("v4.test", dns.A, "10.0.0.1"),), "v4.test", [], config=config(str(WELL_KNOWN)), has_soa=True
    ),
    "RFC 6052 3.1: the same if the operator wants it": Case(
        (("v4.test", dns.A, "10.0.0.1"),),
        "v4.test",
        ["v4.test 100 AAAA 64:ff9b::a00:1"],
        config=config(str(WELL_KNOWN), non_global=True),
    ),
    "a private address under a prefix of the network": Case(
        (("v4.test", dns.A, "10.0.0.1"),), "v4.test", ["v4.test 100 AAAA 2001:db8:64::a00:1"]
    ),
    "A records that are excluded": Case(
        (V4, ("v4.test", dns.A, "10.0.0.1")), "v4.test", [MADE], config=config(excluded_ipv4=("10.0.0.0/8",))
    ),
    "only A records that are excluded": Case(
        (V4,), "v4.test", [], config=config(excluded_ipv4=("192.0.2.0/24",)), has_soa=True
    ),
    "only A records that are excluded, and an error for AAAA": Case(
        (V4,), "v4.test", [], config=config(excluded_ipv4=("192.0.2.0/24",)), codes={dns.AAAA: dns.ESERVER}
    ),
    "5.3.3: A": Case((V4,), "v4.test", ["v4.test 300 A 192.0.2.1"], kind=dns.A, asked=[dns.A]),
    "5.3.3: another type": Case(
        (("v4.test", dns.TXT, "\5hello"),), "v4.test", ["v4.test 300 TYPE16"], kind=dns.TXT, asked=[dns.TXT]
    ),
    "5.3.3: an error": Case((), "no.test", [], kind=dns.MX, code=dns.ENAME, asked=[dns.MX], has_soa=True),
    "5.3.3: silence": Case((), "no.test", [], kind=dns.MX, silent=(dns.MX,), code=dns.ESERVER, asked=[dns.MX]),
    "5.5: DO and CD": Case(
        (V4,), "v4.test", [], dnssec_ok=True, checking_disabled=True, asked=[dns.AAAA], has_soa=True
    ),
    "5.5: DO": Case((V4,), "v4.test", [MADE], dnssec_ok=True),
    "5.5: CD": Case((V4,), "v4.test", [MADE], checking_disabled=True),
    "5.5: DO and CD with an excluded address": Case(
        (MAPPED,), "v4.test", ["v4.test 300 AAAA ::ffff:192.0.2.1"], dnssec_ok=True, checking_disabled=True,
        asked=[dns.AAAA],
    ),
    "nobody is to be asked": Case((V4,), "v4.test", [], recursion=False, code=dns.EREFUSED, asked=[]),
    "nobody is to be asked, of another class": Case(
        (V4,), "v4.test", [], recursion=False, code=dns.EREFUSED, asked=[], cls=3
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_client_is_told(name: str) -> None:
    case = CASES[name]
    authority = Authority(case.lines, soa=case.soa)
    authority.codes = case.codes
    asked = Asked(
        case.name.encode(),
        case.kind,
        case.cls,
        dnssec_ok=case.dnssec_ok,
        checking_disabled=case.checking_disabled,
        recursion=case.recursion,
    )
    if case.cls != dns.IN:
        authority.records = [make("v4.test", dns.TXT, "x")]
    reply = resolve(Rules(case.config, LocalNames()), asked, authority, case.silent)
    assert (reply.code, answers(reply)) == (case.code, case.answers)
    assert [kind for _, kind in authority.asked] == case.asked
    if case.has_soa is not None:
        assert any(each.type == dns.SOA for each in reply.authority) == case.has_soa


# ---------------------------------------------------------------- 5.1.4, 5.1.7: signatures and times


def signature(name: str, kind: int) -> dns.RRHeader:
    return record(name.encode(), RRSIG, TTL, kind.to_bytes(2, "big") + bytes(20))


def test_what_signs_the_addresses_does_not_outlive_one_that_is_stripped() -> None:
    authority = Authority([MAPPED, ("v4.test", dns.AAAA, "2001:db8::4")])
    authority.change = lambda asked, answer: answer.answers.append(signature("v4.test", dns.AAAA))
    reply = resolve(Rules(NORMAL, LocalNames()), Asked(b"v4.test", dns.AAAA, dnssec_ok=True), authority)
    assert answers(reply) == ["v4.test 300 AAAA 2001:db8::4"]


def test_signatures_of_aliases_stay_and_those_of_addresses_go() -> None:
    authority = Authority([("www.test", dns.CNAME, "v4.test"), V4])

    def sign(asked: dns.Message, answer: dns.Message) -> None:
        if asked.queries[0].type == dns.A:
            answer.answers += [signature("www.test", dns.CNAME), signature("v4.test", dns.A)]

    authority.change = sign
    reply = resolve(Rules(NORMAL, LocalNames()), Asked(b"www.test", dns.AAAA, dnssec_ok=True), authority)
    assert answers(reply) == ["www.test 300 CNAME v4.test", f"www.test 300 TYPE{RRSIG}", MADE]


@pytest.mark.parametrize(
    ("a", "soa", "expected"),
    [(300, 100, 100), (50, 100, 50), (5000, 4000, 4000), (5000, None, TTL_LIMIT), (50, None, 50), (0, 100, 0)],
)
def test_an_address_is_kept_as_long_as_the_shorter_of_both(a: int, soa: int | None, expected: int) -> None:
    authority = Authority()
    authority.records = [make("v4.test", dns.A, "192.0.2.1", a)]
    authority.soa = soa is not None

    def set_ttl(asked: dns.Message, answer: dns.Message) -> None:
        for each in answer.authority:
            each.ttl = soa or 0

    authority.change = set_ttl
    reply = resolve(Rules(NORMAL, LocalNames()), Asked(b"v4.test", dns.AAAA), authority)
    assert [each.ttl for each in reply.answers] == [expected]


# ---------------------------------------------------------------- 5.1.5: aliases that are left to us


def test_an_alias_that_nobody_followed_is_followed() -> None:
    authority = Authority([("www.test", dns.CNAME, "far.test"), ("far.test", dns.CNAME, "v4.test"), V4], soa=False)
    authority.change = lambda asked, answer: answer.answers.__delitem__(slice(1, None))
    reply = resolve(Rules(NORMAL, LocalNames()), Asked(b"www.test", dns.AAAA), authority)
    assert answers(reply) == [
        "www.test 300 CNAME far.test",
        "far.test 300 CNAME v4.test",
        "v4.test 300 AAAA 2001:db8:64::c000:201",
    ]
    assert authority.asked == [(name, kind) for kind in (28, 1) for name in ("www.test", "far.test", "v4.test")]


@pytest.mark.parametrize("length", [CHAIN_LIMIT - 1, CHAIN_LIMIT + 5])
def test_a_chain_has_an_end(length: int) -> None:
    lines = [(f"n{number}.test", dns.CNAME, f"n{number + 1}.test") for number in range(length)]
    authority = Authority([*lines, (f"n{length}.test", dns.A, "192.0.2.1")], soa=False)
    authority.change = lambda asked, answer: answer.answers.__delitem__(slice(1, None))
    reply = resolve(Rules(NORMAL, LocalNames()), Asked(b"n0.test", dns.AAAA), authority)
    assert reply.code == (dns.OK if length < CHAIN_LIMIT else dns.ESERVER)
    assert len(authority.asked) <= 2 * (CHAIN_LIMIT + 1)


@pytest.mark.parametrize("follows", [True, False])
def test_an_alias_of_itself_is_no_address(follows: bool) -> None:
    authority = Authority([("a.test", dns.CNAME, "b.test"), ("b.test", dns.CNAME, "a.test")], soa=False)
    if not follows:
        authority.change = lambda asked, answer: answer.answers.__delitem__(slice(1, None))
    reply = resolve(Rules(NORMAL, LocalNames()), Asked(b"a.test", dns.AAAA), authority)
    assert not any(each.type == dns.AAAA for each in reply.answers)
    assert len(authority.asked) <= 8


def test_a_dname_without_its_cname_gets_one() -> None:
    """RFC 6672 3.1: whoever does not know DNAME follows the CNAME."""
    authority = Authority([("v4.new.test", dns.A, "192.0.2.1")], soa=False)

    def renamed(asked: dns.Message, answer: dns.Message) -> None:
        if asked.queries[0].name.name == b"v4.old.test":
            answer.rCode = dns.OK
            answer.answers = [make("old.test", dns.DNAME, "new.test")]

    authority.change = renamed
    reply = resolve(Rules(NORMAL, LocalNames()), Asked(b"v4.old.test", dns.AAAA), authority)
    assert answers(reply) == [
        "old.test 300 DNAME new.test",
        "v4.old.test 300 CNAME v4.new.test",
        "v4.new.test 300 AAAA 2001:db8:64::c000:201",
    ]


def test_a_dname_with_its_cname_stays_as_it_is() -> None:
    authority = Authority([("v4.old.test", dns.CNAME, "v4.new.test"), ("v4.new.test", dns.A, "192.0.2.1")])

    def renamed(asked: dns.Message, answer: dns.Message) -> None:
        answer.answers.insert(0, make("old.test", dns.DNAME, "new.test"))

    authority.change = renamed
    reply = resolve(Rules(NORMAL, LocalNames()), Asked(b"v4.old.test", dns.AAAA), authority)
    assert answers(reply) == [
        "old.test 300 DNAME new.test",
        "v4.old.test 300 CNAME v4.new.test",
        "v4.new.test 100 AAAA 2001:db8:64::c000:201",
    ]


@pytest.mark.parametrize("code", [dns.ENAME, dns.EREFUSED, 32])
def test_an_error_brings_no_excluded_address_along(code: int) -> None:
    authority = Authority([V4, MAPPED])

    def fail(asked: dns.Message, answer: dns.Message) -> None:
        answer.rCode = code & 0xF
        answer.answers = [make(*MAPPED), make(*V4)]
        answer.additional = [edns_record(Edns(512, code=code >> 4))]

    authority.change = fail
    reply = resolve(Rules(NORMAL, LocalNames()), Asked(b"v4.test", dns.AAAA), authority)
    assert (reply.code, "AAAA" in str(answers(reply))) == (code, False)


def test_records_of_another_class_are_no_addresses() -> None:
    authority = Authority([V4, *CHAIN])
    strange = [record(b"www.test", kind, TTL, b"\1x\0", cls=3) for kind in (dns.A, dns.AAAA, dns.CNAME)]
    authority.change = lambda asked, answer: answer.answers.extend(strange)
    reply = resolve(Rules(NORMAL, LocalNames()), Asked(b"www.test", dns.AAAA), authority)
    assert answers(reply) == [*ALIASES, MADE]


def test_addresses_of_other_names_are_not_used() -> None:
    authority = Authority([V4])
    authority.change = lambda asked, answer: answer.answers.append(make("other.test", dns.A, "203.0.113.6"))
    reply = resolve(Rules(NORMAL, LocalNames()), Asked(b"v4.test", dns.AAAA), authority)
    assert answers(reply) == [MADE]


# ---------------------------------------------------------------- prefixes

LENGTHS = {
    "2001:db8::/32": "2001:db8:c000:221::",
    "2001:db8:100::/40": "2001:db8:1c0:2:21::",
    "2001:db8:122::/48": "2001:db8:122:c000:2:2100::",
    "2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
    "2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100::",
    "2001:db8:122:344::/96": "2001:db8:122:344::c000:221",
}
"""The examples of RFC 6052 2.4."""


@pytest.mark.parametrize("prefix", LENGTHS)
def test_the_examples_of_rfc_6052(prefix: str) -> None:
    authority = Authority([("v4.test", dns.A, "192.0.2.33"), ("33.2.0.192.in-addr.arpa", dns.PTR, "v4.test")])
    rules = Rules(config(prefix), LocalNames())
    reply = resolve(rules, Asked(b"v4.test", dns.AAAA), authority)
    assert answers(reply) == [f"v4.test 100 AAAA {show_ipv6(parse_ipv6(LENGTHS[prefix]))}"]
    name = reverse_of(parse_ipv6(LENGTHS[prefix]))
    assert answers(resolve(rules, Asked(name, dns.PTR), authority))[1:] == ["33.2.0.192.in-addr.arpa 300 PTR v4.test"]


def test_every_prefix_gives_an_address() -> None:
    rules = Rules(config(NSP, "2001:db8:65::/96"), LocalNames())
    reply = resolve(rules, Asked(b"v4.test", dns.AAAA), Authority([V4]))
    assert answers(reply) == [MADE, "v4.test 100 AAAA 2001:db8:65::c000:201"]


def test_prefixes_take_turns_where_that_is_wished() -> None:
    rules = Rules(config(NSP, "2001:db8:65::/96", rotate=True), LocalNames())
    said = [answers(resolve(rules, Asked(b"v4.test", dns.AAAA), Authority([V4]))) for _ in range(4)]
    other = "v4.test 100 AAAA 2001:db8:65::c000:201"
    assert sorted(map(str, said)) == sorted(map(str, [[MADE], [MADE], [other], [other]]))
    assert said[0] != said[1]


def test_a_range_of_addresses_may_have_a_prefix_of_its_own() -> None:
    """RFC 6147 5: separate IPv4 ranges to separate prefixes."""
    own = Pref64(prefix=parse_prefix("2001:db8:10::/96"), ranges=(IPv4Network("10.0.0.0/8"),))
    rules = Rules(config(NSP, own), LocalNames())
    reply = resolve(rules, Asked(b"v4.test", dns.AAAA), Authority([V4, ("v4.test", dns.A, "10.0.0.1")]))
    assert answers(reply) == [MADE, "v4.test 100 AAAA 2001:db8:10::a00:1"]
    special = resolve(rules, Asked(b"ipv4only.arpa", dns.AAAA), Authority())
    assert [show_ipv6(data_of(each)) for each in special.answers] == ["2001:db8:64::c000:aa", "2001:db8:64::c000:ab"]


def test_clients_may_have_prefixes_of_their_own() -> None:
    own = Pref64(prefix=parse_prefix("2001:db8:65::/96"), clients=(IPv6Network("2001:db8:1::/48"),))
    other = Pref64(prefix=parse_prefix(NSP), clients=(IPv6Network("2001:db8:2::/48"), IPv4Network("192.0.2.0/24")))
    rules = Rules(config(own, other), LocalNames())

    def told(client: bytes) -> list[str]:
        return answers(resolve(rules, Asked(b"v4.test", dns.AAAA, client=client), Authority([V4])))

    assert told(parse_ipv6("2001:db8:1::7")) == ["v4.test 100 AAAA 2001:db8:65::c000:201"]
    assert told(parse_ipv6("2001:db8:2::7")) == [MADE]
    assert told(parse_ipv4("192.0.2.7")) == [MADE]
    assert told(parse_ipv6("2001:db8:3::7")) == []


# ---------------------------------------------------------------- 5.3.1: PTR

REVERSE = reverse_of(parse_ipv6("2001:db8:64::192.0.2.1"))
IN_ADDR = "1.2.0.192.in-addr.arpa"


def names_of(
    name: bytes, lines: Lines, config: Dns64Config = NORMAL, *, validates: bool = False
) -> tuple[Reply, Authority]:
    authority = Authority(lines)
    asked = Asked(name, dns.PTR, dnssec_ok=validates, checking_disabled=validates)
    return resolve(Rules(config, LocalNames()), asked, authority), authority


def test_an_address_under_a_prefix_has_the_name_of_the_ipv4_address() -> None:
    reply, authority = names_of(REVERSE, ((IN_ADDR, dns.PTR, "v4.test"),))
    assert answers(reply) == [f"{REVERSE.decode()} 300 CNAME {IN_ADDR}", f"{IN_ADDR} 300 PTR v4.test"]
    assert authority.asked == [(IN_ADDR, dns.PTR)]


def test_an_alias_that_the_ipv4_address_has_is_passed_over() -> None:
    """RFC 6147 5.3.1: the chain is not to get longer; classless delegations (RFC 2317) are such aliases."""
    classless = "1.0/25.2.0.192.in-addr.arpa"
    reply, _ = names_of(REVERSE, ((IN_ADDR, dns.CNAME, classless), (classless, dns.PTR, "v4.test")))
    assert answers(reply) == [f"{REVERSE.decode()} 300 CNAME {classless}", f"{classless} 300 PTR v4.test"]


@pytest.mark.parametrize(
    ("lines", "code"), [((), dns.ENAME), (((IN_ADDR, dns.TXT, "\5hello"),), dns.OK)], ids=["no name", "no PTR"]
)
def test_an_address_without_a_name_has_none_and_no_alias(lines: Lines, code: int) -> None:
    reply, authority = names_of(REVERSE, lines)
    zone = b".".join(REVERSE.split(b".")[8:])
    assert (reply.code, answers(reply)) == (code, [])
    assert [(each.type, each.name.name) for each in reply.authority] == [(dns.SOA, zone)]
    assert authority.asked == [(IN_ADDR, dns.PTR)]


def test_an_error_about_the_ipv4_address_is_one_about_ours() -> None:
    authority = Authority()
    authority.codes = {dns.PTR: dns.EREFUSED}
    reply = resolve(Rules(NORMAL, LocalNames()), Asked(REVERSE, dns.PTR), authority)
    assert (reply.code, answers(reply)) == (dns.EREFUSED, [])


def test_one_name_for_all_addresses() -> None:
    reply, authority = names_of(REVERSE, (), config(reverse_name=b"nat64.test"))
    assert answers(reply) == [f"{REVERSE.decode()} {TTL_LIMIT} PTR nat64.test"]
    assert (reply.authoritative, authority.asked) == (True, [])


def test_the_well_known_prefix_is_answered_for_even_if_it_is_not_ours() -> None:
    name = reverse_of(parse_ipv6("64:ff9b::192.0.2.1"))
    reply, authority = names_of(name, ((IN_ADDR, dns.PTR, "v4.test"),))
    assert (len(reply.answers), authority.asked) == (2, [(IN_ADDR, dns.PTR)])


def test_an_address_that_no_ipv4_address_is_in_has_no_name() -> None:
    """RFC 6052 2.2: bits 64 to 71 are 0."""
    name = reverse_of(parse_ipv6("2001:db8:122:344:1c0:2:2100::"))
    reply, authority = names_of(name, (), config("2001:db8:122:344::/64"))
    assert (reply.code, authority.asked) == (dns.ENAME, [])


@pytest.mark.parametrize(
    "name",
    [reverse_of(parse_ipv6("2001:db8:65::1")), b"4.6.0.0.8.b.d.0.1.0.0.2.ip6.arpa", b"x." + REVERSE, IN_ADDR.encode()],
    ids=["another prefix", "a part of an address", "below an address", "an IPv4 address"],
)
def test_other_names_of_the_reverse_tree_are_passed_on(name: bytes) -> None:
    reply, authority = names_of(name, ((name.decode(), dns.PTR, "some.test"),))
    assert answers(reply) == [f"{name.decode()} 300 PTR some.test"]
    assert authority.asked == [(name.decode(), dns.PTR)]


def test_who_validates_gets_the_reverse_tree_as_it_is() -> None:
    reply, authority = names_of(REVERSE, (), validates=True)
    assert (reply.code, authority.asked) == (dns.ENAME, [(REVERSE.decode(), dns.PTR)])


# ---------------------------------------------------------------- RFC 8880: ipv4only.arpa


@pytest.mark.parametrize(("validates", "recursion"), [(False, True), (True, True), (False, False)])
@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        (b"ipv4only.arpa", dns.A, ["192.0.0.170", "192.0.0.171"]),
        (b"IPv4Only.ARPA", dns.AAAA, ["64:ff9b::c000:aa", "64:ff9b::c000:ab"]),
        (b"ipv4only.arpa", dns.MX, []),
        (b"ipv4only.arpa", dns.NS, []),
        (b"ipv4only.arpa", dns.SOA, []),
    ],
)
def test_ipv4only_arpa_is_known_here(
    validates: bool, recursion: bool, name: bytes, kind: int, expected: list[str]
) -> None:
    authority = Authority()
    asked = Asked(name, kind, dnssec_ok=validates, checking_disabled=validates, recursion=recursion)
    reply = resolve(Rules(config(str(WELL_KNOWN)), LocalNames()), asked, authority)
    show_address = show_ipv4 if kind == dns.A else show_ipv6
    assert (reply.code, [show_address(data_of(each)) for each in reply.answers]) == (dns.OK, expected)
    assert bool(reply.authority) == (not expected)
    assert (reply.authoritative, authority.asked) == (True, [])


def test_nothing_is_below_ipv4only_arpa() -> None:
    authority = Authority()
    reply = resolve(Rules(NORMAL, LocalNames()), Asked(b"x.ipv4only.arpa", dns.AAAA), authority)
    assert (reply.code, len(reply.authority), authority.asked) == (dns.ENAME, 1, [])


def test_the_ds_of_ipv4only_arpa_is_asked_for() -> None:
    authority = Authority()
    resolve(Rules(NORMAL, LocalNames()), Asked(b"ipv4only.arpa", DS), authority)
    assert authority.asked == [("ipv4only.arpa", DS)]


@pytest.mark.parametrize("last", ["aa", "ab"])
def test_the_addresses_of_ipv4only_arpa_have_its_name(last: str) -> None:
    name = reverse_of(parse_ipv6(f"2001:db8:64::c000:{last}"))
    reply, authority = names_of(name, ())
    assert answers(reply) == [f"{name.decode()} {TTL_LIMIT} PTR ipv4only.arpa"]
    assert authority.asked == []


def test_the_ipv4_addresses_of_ipv4only_arpa_are_not_special() -> None:
    """RFC 8880 7.2, 4: to a recursive resolver."""
    _, authority = names_of(b"170.0.0.192.in-addr.arpa", ())
    assert authority.asked == [("170.0.0.192.in-addr.arpa", dns.PTR)]


# ---------------------------------------------------------------- hosts(5)

HOSTS = (
    """\
# ours
127.0.0.1 localhost
::1 localhost ip6-localhost
127.0.1.1 box.lan
192.0.2.9  printer.lan Printer. # v4 only
2001:db8::9 nas.lan
192.0.2.10 nas.lan
fe80::1%eth0 zoned.lan
nonsense here.lan
192.0.2.11 toolong"""
    + "x" * 60
    + """.lan dou..ble.lan ünicode.lan
192.0.2.12
"""
)


def listed(name: bytes, kind: int = dns.AAAA, *, validates: bool = False) -> tuple[Reply, Authority]:
    authority = Authority()
    asked = Asked(name, kind, dnssec_ok=validates, checking_disabled=validates)
    return resolve(Rules(NORMAL, LocalNames(HOSTS)), asked, authority), authority


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        (b"printer.lan", dns.A, ["A 192.0.2.9"]),
        (b"PRINTER.lan", dns.AAAA, ["AAAA 2001:db8:64::c000:209"]),
        (b"printer", dns.AAAA, ["AAAA 2001:db8:64::c000:209"]),
        (b"nas.lan", dns.AAAA, ["AAAA 2001:db8::9"]),
        (b"nas.lan", dns.A, ["A 192.0.2.10"]),
        (b"nas.lan", dns.MX, []),
        (b"localhost", dns.AAAA, ["AAAA ::1"]),
        (b"localhost", dns.A, ["A 127.0.0.1"]),
        (reverse_of(parse_ipv4("192.0.2.9")), dns.PTR, ["PTR printer.lan"]),
        (reverse_of(parse_ipv6("2001:db8::9")), dns.PTR, ["PTR nas.lan"]),
        (reverse_of(parse_ipv6("2001:db8:64::192.0.2.9")), dns.PTR, ["PTR printer.lan"]),
    ],
)
def test_names_of_hosts_are_known_here(name: bytes, kind: int, expected: list[str]) -> None:
    reply, authority = listed(name, kind)
    assert (reply.code, answers(reply)) == (dns.OK, [f"{name.decode()} 60 {each}" for each in expected])
    assert bool(reply.authority) == (not expected)
    assert authority.asked == []


def test_who_validates_is_told_no_made_address_of_hosts() -> None:
    reply, _ = listed(b"printer.lan", validates=True)
    assert (reply.code, answers(reply)) == (dns.OK, [])


@pytest.mark.parametrize("name", [b"box.lan", b"ip6-localhost", b"zoned.lan", b"here.lan", b"sub.printer.lan"])
def test_other_names_are_asked_for(name: bytes) -> None:
    _, authority = listed(name)
    assert authority.asked == [(name.decode(), dns.AAAA)]


def test_lines_for_a_hosts_of_clients() -> None:
    prefixes: list[Prefix] = [parse_prefix(NSP), parse_prefix("2001:db8::/32")]
    assert embedded_hosts(HOSTS, prefixes) == (
        "2001:db8:64::192.0.2.9 printer.lan Printer\n"
        "2001:db8:64::192.0.2.10 nas.lan\n"
        "2001:db8:c000:209:: printer.lan Printer\n"
        "2001:db8:c000:20a:: nas.lan\n"
    )


# ---------------------------------------------------------------- what is wrong with options


@pytest.mark.parametrize(
    ("make_config", "text"),
    [
        (lambda: Dns64Config(name_servers=()), "no name server"),
        (lambda: Dns64Config(name_servers=SERVERS, listen=()), "no address"),
        (lambda: Dns64Config(name_servers=SERVERS, prefixes=()), "no prefix"),
        (lambda: config(NSP, NSP), "twice"),
        (lambda: Dns64Config(name_servers=SERVERS, patience=()), "time"),
        (lambda: Dns64Config(name_servers=SERVERS, stream_idle=0.0), "time"),
        (lambda: Dns64Config(name_servers=SERVERS, questions=0), "limit"),
        (lambda: Dns64Config(name_servers=SERVERS, cache_octets=-1), "cache"),
        (lambda: config(reverse_name=b"a..b"), "written"),
        (lambda: NameServer(address="dns.test"), "dns.test"),
        (lambda: NameServer(address="192.0.2.1", port=0), "0 is no port"),
    ],
)
def test_options_that_contradict_themselves_are_refused(make_config: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make_config()


def test_negative_answers_say_how_long_they_hold() -> None:
    reply, _ = listed(b"nas.lan", dns.MX)
    (soa,) = reply.authority
    assert data_of(soa).startswith(emit_name(b"nas.lan"))
    assert int.from_bytes(data_of(soa)[-4:], "big") == soa.ttl == 60 < SOA_TTL
