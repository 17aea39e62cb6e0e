# SPDX-License-Identifier: MIT
"""Messages: what is read is written again, and what is none is refused with one error."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.names import dns

from miredo.dns64.message import (
    Edns,
    Message,
    data_of,
    edns_of,
    edns_record,
    emit_message,
    parse_message,
    question,
    record,
    target_of,
)
from miredo.dns64.names import (
    address_of,
    emit_name,
    is_below,
    is_name,
    join_labels,
    moved,
    read_name,
    reverse_of,
    reverse_zone,
    split_labels,
)
from miredo.wire.reader import MalformedPacket
from tests.dns64.upstream import ask, make

LABELS = st.lists(st.binary(min_size=1, max_size=20), max_size=6)


@given(LABELS)
def test_a_name_has_one_text(labels: list[bytes]) -> None:
    name = join_labels(labels)
    assert split_labels(name) == labels
    assert read_name(emit_name(name), 0) == (name, len(emit_name(name)))
    assert is_name(name)


def test_a_label_with_a_dot_stays_one() -> None:
    """As the mailbox of a SOA often has (RFC 1035 8), and the instances of services (RFC 6763 4.3)."""
    assert split_labels(rb"john\.doe.test") == [b"john.doe", b"test"]
    message = parse_message(ask(rb"john\.doe.test"))
    assert message.queries[0].name.name == rb"john\.doe.test"
    assert parse_message(emit_message(message)).queries[0].name.name == rb"john\.doe.test"


NAMES = st.lists(st.sampled_from([b"a", b"b", b"Www", b"with.dot", b"back\\slash"]), max_size=5).map(join_labels)


@st.composite
def records(draw: st.DrawFn) -> dns.RRHeader:
    owner, ttl = draw(NAMES), draw(st.integers(0, 2**31 - 1))
    kind = draw(st.sampled_from([dns.A, dns.AAAA, dns.NS, dns.CNAME, dns.SOA, dns.MX, dns.SRV, dns.DNAME, 46, 65, 257]))
    name = emit_name(draw(NAMES))
    match kind:
        case dns.A | dns.AAAA:
            data = draw(st.binary(min_size=4, max_size=4)) * (1 if kind == dns.A else 4)
        case dns.NS | dns.CNAME | dns.DNAME:
            data = name
        case dns.SOA:
            data = name + emit_name(draw(NAMES)) + bytes(20)
        case dns.MX:
            data = b"\0\5" + name
        case dns.SRV:
            data = bytes(6) + name
        case _:
            data = draw(st.binary(max_size=40))
    return record(owner, kind, ttl, data)


def contents(message: dns.Message) -> list[tuple[bytes, int, int, int, bytes]]:
    sections = (*message.answers, *message.authority, *message.additional)
    return [(each.name.name, each.type, each.cls, each.ttl, data_of(each)) for each in sections]


@given(NAMES, st.lists(records(), max_size=6), st.lists(records(), max_size=3), st.integers(0, 15))
def test_what_is_written_is_read(
    name: bytes, answers: list[dns.RRHeader], authority: list[dns.RRHeader], code: int
) -> None:
    message = Message(7, answer=1, recDes=1, rCode=code, checkingDisabled=1)
    message.queries = [question(name, 65)]
    message.answers, message.authority = answers, authority
    message.additional = [edns_record(Edns(1232, True, 0, 3))]
    octets = emit_message(message)
    found = parse_message(octets)
    assert contents(found) == contents(message)
    assert (found.rCode, found.checkingDisabled, found.queries[0].name.name) == (code, 1, name)
    assert edns_of(found) == (1232, True, 0, 3)
    assert emit_message(found) == octets


@given(st.lists(records(), min_size=1, max_size=4), st.data())
def test_a_message_that_is_cut_short_is_none(answers: list[dns.RRHeader], data: st.DataObject) -> None:
    message = Message(7, answer=1)
    message.queries, message.answers = [question(b"a.b", dns.A)], answers
    octets = emit_message(message)
    cut = data.draw(st.integers(0, len(octets) - 1))
    with pytest.raises(MalformedPacket):
        parse_message(octets[:cut])


@given(st.binary(max_size=300), st.booleans())
def test_anything_is_a_message_or_malformed(octets: bytes, has_header: bool) -> None:
    whole = struct.pack("!6H", 1, 0x8180, 1, 1, 1, 1) + octets if has_header else octets
    try:
        message = parse_message(whole)
    except MalformedPacket:
        return
    again = emit_message(message)
    assert contents(parse_message(again)) == contents(message) or message.trunc


HEADER = struct.pack("!6H", 1, 0, 1, 0, 0, 0)
BEHIND = b"\0\1\0\1"


@pytest.mark.parametrize(
    "name",
    [
        b"\xc0\x0c",
        b"\xc0\x20",
        b"\xff\xff",
        b"\x40" + b"a" * 64 + b"\0",
        b"\x80" + b"a" * 128 + b"\0",
        (b"\x3f" + b"a" * 63) * 4 + b"\0",
        b"\x01a\xc0\x0e",
    ],
    ids=["itself", "ahead", "outside", "64 bytes", "128 bytes", "256 bytes", "a loop"],
)
def test_names_that_are_none(name: bytes) -> None:
    with pytest.raises(MalformedPacket):
        parse_message(HEADER + name + BEHIND)


def test_the_longest_name_is_one() -> None:
    longest = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\0"
    assert len(longest) == 255
    assert emit_name(parse_message(HEADER + longest + BEHIND).queries[0].name.name) == longest


def test_many_pointers_in_a_row_are_refused() -> None:
    chain = b"\0" + b"".join(struct.pack("!H", 0xC000 | max(0, 2 * at - 1)) for at in range(100))
    with pytest.raises(MalformedPacket):
        read_name(chain, len(chain) - 2)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (dns.A, bytes(3)),
        (dns.A, bytes(5)),
        (dns.AAAA, bytes(4)),
        (dns.NS, b""),
        (dns.MX, b"\0"),
        (dns.CNAME, b"\3abc"),
        (dns.SOA, b"\0"),
    ],
)
def test_data_that_are_no_record(kind: int, data: bytes) -> None:
    octets = struct.pack("!6H", 1, 0x8000, 0, 1, 0, 0) + b"\0" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
    with pytest.raises(MalformedPacket):
        parse_message(octets)


def test_a_type_of_another_class_has_other_data() -> None:
    octets = struct.pack("!6H", 1, 0x8000, 0, 1, 0, 0) + b"\0" + struct.pack("!HHIH", dns.A, 3, 60, 3) + b"abc"
    assert data_of(parse_message(octets).answers[0]) == b"abc"


def test_names_in_data_are_compressed_where_everybody_can_read_it() -> None:
    message = Message(1, answer=1)
    message.queries = [question(b"www.example.test", dns.MX)]
    message.answers = [
        make("www.example.test", dns.CNAME, "example.test"),
        make("example.test", dns.DNAME, "www.example.test"),
    ]
    octets = emit_message(message)
    assert octets.count(b"\7example\4test") == 2
    assert [target_of(each) for each in parse_message(octets).answers] == [b"example.test", b"www.example.test"]


def test_nothing_points_further_than_a_pointer_reaches() -> None:
    message = Message(1, answer=1)
    message.answers = [record(b"n%d.test" % number, 65, 60, bytes(100)) for number in range(400)]
    octets = emit_message(message)
    assert len(octets) > 0x8000
    assert contents(parse_message(octets)) == contents(message)


def test_what_is_too_long_loses_what_is_not_needed_first() -> None:
    message = Message(1, answer=1)
    message.queries = [question(b"a.test", dns.A)]
    message.answers = [make("a.test", dns.A, f"192.0.2.{number}") for number in range(10)]
    message.additional = [make("b.test", dns.A, "192.0.2.1"), edns_record(Edns(1232))]
    whole = len(emit_message(message))
    shorter = parse_message(emit_message(message, whole - 1))
    assert (shorter.trunc, len(shorter.answers), [each.type for each in shorter.additional]) == (0, 10, [dns.OPT])
    cut = emit_message(message, 100)
    assert len(cut) <= 100
    shortest = parse_message(cut)
    assert (shortest.trunc, shortest.answers, [each.type for each in shortest.additional]) == (1, [], [dns.OPT])


def test_a_time_of_more_than_31_bits_is_none() -> None:
    """RFC 2181 8."""
    message = Message(1, answer=1)
    message.answers = [record(b"a", dns.A, 0x80000001, bytes(4))]
    assert parse_message(emit_message(message)).answers[0].ttl == 0


@pytest.mark.parametrize("additional", [[edns_record(Edns(512))] * 2, [record(b"a", dns.OPT, 0, b"", 512)]])
def test_edns_is_said_once_and_has_no_name(additional: list[dns.RRHeader]) -> None:
    message = Message(1)
    message.additional = additional
    with pytest.raises(MalformedPacket):
        edns_of(parse_message(emit_message(message)))


@pytest.mark.parametrize("address", [bytes(range(16)), bytes((192, 0, 2, 1))])
def test_a_reverse_name_leads_back(address: bytes) -> None:
    assert address_of(reverse_of(address).upper()) == address


@pytest.mark.parametrize(
    "name",
    [
        b"ip6.arpa",
        b"1.2.0.in-addr.arpa",
        b"1.2.0.256.in-addr.arpa",
        b"01.2.0.192.in-addr.arpa",
        b"-1.2.0.192.in-addr.arpa",
        b"aa." * 32 + b"ip6.arpa",
        b"g." * 32 + b"ip6.arpa",
    ],
)
def test_other_names_are_no_reverse_names(name: bytes) -> None:
    assert address_of(name) is None


def test_the_zone_of_a_prefix() -> None:
    prefix = bytes.fromhex("20010db8006400000000000000000000")
    assert reverse_zone(prefix, 32) == b"8.b.d.0.1.0.0.2.ip6.arpa"
    assert is_below(reverse_of(prefix), reverse_zone(prefix, 96))


def test_a_name_that_gets_too_long_is_not_renamed() -> None:
    """RFC 6672 2.2."""
    assert moved(b"a.old.test", b"old.test", b"new.test") == b"a.new.test"
    long = b".".join([b"a" * 60] * 4)
    assert moved(b"abcdefghij." * 3 + b"old.test", b"old.test", long) is None
    assert moved(b"a.test", b"", b"root") == b"a.test.root"
