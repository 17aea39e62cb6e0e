# SPDX-License-Identifier: MIT
"""What clients send, and the form of what they are sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.names import dns

from miredo.address.endpoint import parse_ipv6
from miredo.dns64.config import LOOPBACK
from miredo.dns64.drops import Drop
from miredo.dns64.message import (
    BADVERS,
    CLASSIC_LIMIT,
    HEADER_LENGTH,
    Edns,
    Message,
    edns_of,
    edns_record,
    parse_message,
    target_of,
)
from miredo.dns64.query import UDP_SIZE
from miredo.dns64.reply import Reply
from miredo.dns64.requests import Refusal, Request, emit_reply, read_request
from tests.dns64.upstream import ask, make

CLIENT = parse_ipv6("::1")


def read(octets: bytes, client: bytes = CLIENT, *, stream: bool = False) -> Request | Refusal:
    return read_request(octets, client, LOOPBACK, stream=stream)


def request(octets: bytes, *, stream: bool = False) -> Request:
    found = read(octets, stream=stream)
    assert isinstance(found, Request)
    return found


def code_of(octets: bytes) -> int:
    message = parse_message(octets)
    edns = edns_of(message)
    return message.rCode | (edns.code << 4 if edns else 0)


GOOD = ask("a.test")


def several(count: int) -> bytes:
    message = parse_message(GOOD)
    message.queries *= count
    return message.toStr()


REFUSED = {
    "nothing": (b"", Drop.NOT_A_QUESTION, None),
    "less than a header": (GOOD[: HEADER_LENGTH - 1], Drop.NOT_A_QUESTION, None),
    "an answer": (GOOD[:2] + b"\x80" + GOOD[3:], Drop.NOT_A_QUESTION, None),
    "a notification": (GOOD[:2] + b"\x20" + GOOD[3:], Drop.OPCODE, dns.ENOTIMP),
    "an update": (GOOD[:2] + b"\x28" + GOOD[3:], Drop.OPCODE, dns.ENOTIMP),
    "no question": (several(0), Drop.MALFORMED, dns.EFORMAT),
    "two questions": (several(2), Drop.MALFORMED, dns.EFORMAT),
    "cut short": (GOOD[:-1], Drop.MALFORMED, dns.EFORMAT),
    "garbage": (GOOD[:12] + b"\xff" * 40, Drop.MALFORMED, dns.EFORMAT),
    "EDNS 1": (ask("a.test", edns=Edns(1232, version=1)), Drop.EDNS_VERSION, BADVERS),
    "a zone": (ask("a.test", dns.AXFR), Drop.TRANSFER, dns.EREFUSED),
    "changes of a zone": (ask("a.test", dns.IXFR), Drop.TRANSFER, dns.EREFUSED),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, stream: bool) -> None:
    octets, reason, code = REFUSED[name]
    found = read(octets, stream=stream)
    assert isinstance(found, Refusal)
    assert found.reason is reason
    assert (None if found.answer is None else code_of(found.answer)) == code
    if found.answer is not None:
        assert found.answer[:2] == octets[:2]
        assert parse_message(found.answer).answer == 1


def test_who_may_not_ask_is_told_so_in_no_more_bytes_than_he_sent() -> None:
    found = read(GOOD, parse_ipv6("2001:db8::1"))
    assert isinstance(found, Refusal)
    assert found.answer is not None
    assert (found.reason, code_of(found.answer)) == (Drop.CLIENT, dns.EREFUSED)
    assert len(found.answer) <= len(GOOD)


def test_badvers_names_the_version_that_is_spoken() -> None:
    found = read(ask("a.test", edns=Edns(1232, dnssec_ok=True, version=1)))
    assert isinstance(found, Refusal)
    assert found.answer is not None
    assert edns_of(parse_message(found.answer)) == Edns(UDP_SIZE, True, 0, BADVERS >> 4)


@given(st.binary(max_size=200), st.booleans())
def test_whatever_comes_is_a_request_or_refused(octets: bytes, like_a_question: bool) -> None:
    found = read(GOOD[:12] + octets if like_a_question else octets)
    if isinstance(found, Request):
        emit_reply(found, Reply(dns.ESERVER))


# ---------------------------------------------------------------- answers

EDNS_CASES = [(None, None), (Edns(4096), Edns(UDP_SIZE)), (Edns(512, dnssec_ok=True), Edns(UDP_SIZE, True))]


@pytest.mark.parametrize(("said", "answered"), EDNS_CASES)
def test_edns_is_answered_with_edns(said: Edns | None, answered: Edns | None) -> None:
    message = parse_message(emit_reply(request(ask("a.test", edns=said)), Reply(dns.OK)))
    assert edns_of(message) == answered


@pytest.mark.parametrize(
    ("edns", "stream", "limit"),
    [
        (None, False, CLASSIC_LIMIT),
        (Edns(100), False, CLASSIC_LIMIT),
        (Edns(800), False, 800),
        (Edns(4096), False, UDP_SIZE),
        (None, True, 65535),
    ],
)
def test_an_answer_is_as_long_as_the_client_takes(edns: Edns | None, stream: bool, limit: int) -> None:
    asked = request(ask("a.test", dns.TXT, edns=edns), stream=stream)
    for length in range(limit - 300, limit + 10):
        texts = "x" * min(length, 60000), "x" * max(0, length - 60000)
        octets = emit_reply(asked, Reply(dns.OK, [make("a.test", dns.TXT, text) for text in texts if text]))
        assert len(octets) <= limit
        message = parse_message(octets)
        assert bool(message.trunc) == (not message.answers)
        assert edns_of(message) is None or edns is not None
    assert message.trunc == 1


@pytest.mark.parametrize("flag", [True, False])
def test_flags_are_those_of_the_question(flag: bool) -> None:
    asked = request(ask("A.test", checking_disabled=flag, recursion=flag))
    message = parse_message(emit_reply(asked, Reply(dns.OK, authoritative=flag)))
    assert (message.answer, message.recAv, message.id) == (1, 1, 0x1234)
    assert (message.checkingDisabled, message.recDes, message.auth) == (flag, flag, flag)
    assert message.queries[0].name.name == b"A.test"


def test_nothing_is_ever_called_authentic() -> None:
    octets = bytearray(ask("a.test", edns=Edns(1232, dnssec_ok=True)))
    octets[3] |= 0x20
    message = parse_message(emit_reply(request(bytes(octets)), Reply(dns.OK, [make("a.test", dns.A, "192.0.2.1")])))
    assert message.authenticData == 0


def test_names_are_in_the_letters_of_the_client() -> None:
    """Name servers repeat those that we asked in, and point to them from everywhere."""
    records = [make(name, dns.NS, f"nS.{name}") for name in ("WWW.a.TEST", "OTHER.TEST", "TEST", "A.OTHER")]
    asked = request(ask("www.A.test", dns.A))
    message = parse_message(emit_reply(asked, Reply(dns.OK, records)))
    expected = [b"www.A.test", b"OTHER.test", b"test", b"A.OTHER"]
    assert [each.name.name for each in message.answers] == expected
    assert [target_of(each) for each in message.answers] == [b"nS." + name for name in expected]


@pytest.mark.parametrize(("edns", "code"), [(Edns(1232), 23), (None, dns.ESERVER)])
def test_a_long_response_code_needs_edns(edns: Edns | None, code: int) -> None:
    assert code_of(emit_reply(request(ask("a.test", edns=edns)), Reply(23))) == code


def test_options_of_a_client_are_not_answered() -> None:
    message = Message(1)
    message.queries = parse_message(GOOD).queries
    option = edns_record(Edns(1232))
    assert option.payload is not None
    message.additional = [option]
    octets = message.toStr()[:-2] + b"\0\6\0\x0a\0\2ab"
    answer = parse_message(emit_reply(request(octets), Reply(dns.OK)))
    assert edns_of(answer) == Edns(UDP_SIZE)
    assert [each.type for each in answer.additional] == [dns.OPT]
