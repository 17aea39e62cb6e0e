# SPDX-License-Identifier: MIT
"""
DNS64 as a target: a client's message and what name servers say to all that is asked for it.

The first two bytes are the length of the client's message; the name servers' answer is behind it.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted.names import dns

from miredo.address.rfc6052 import parse_prefix
from miredo.dns64.config import LOOPBACK, MAPPED, Dns64Config, NameServer, Pref64
from miredo.dns64.forwarding import reply_of
from miredo.dns64.local import LocalNames
from miredo.dns64.message import STREAM_LIMIT, Edns, Message, data_of, emit_message, parse_message
from miredo.dns64.reply import Reply
from miredo.dns64.requests import Request, emit_reply, read_request
from miredo.dns64.resolution import CHAIN_LIMIT, Rules
from miredo.dns64.synthesis import is_among
from miredo.wire.reader import MalformedPacket
from tests.dns64.upstream import Authority, ask

LONGEST = 1024
CONFIG = Dns64Config(
    name_servers=(NameServer(address="192.0.2.53"),),
    prefixes=(Pref64(prefix=parse_prefix("2001:db8:64::/96")), Pref64(prefix=parse_prefix("2001:db8:122:344::/64"))),
)
RULES = Rules(CONFIG, LocalNames("192.0.2.9 printer.lan\n"))
CLIENT = bytes(15) + b"\1"
LINES = (
    ("v4.test", dns.A, "192.0.2.1"),
    ("v6.test", dns.AAAA, "2001:db8::1"),
    ("v6.test", dns.AAAA, "::ffff:192.0.2.6"),
    ("www.test", dns.CNAME, "v4.test"),
    ("old.test", dns.DNAME, "new.test"),
    ("1.2.0.192.in-addr.arpa", dns.PTR, "v4.test"),
)


def dns64(data: bytes) -> None:
    """Nothing but L{MalformedPacket} comes out; what was read is written again; answers keep the rules."""
    length = int.from_bytes(data[:2], "big")
    _read_and_written(data[2 + length :])
    request = read_request(data[2 : 2 + length], CLIENT, LOOPBACK, stream=False)
    if isinstance(request, Request):
        reply = _resolved(request, data[2 + length :])
        octets = emit_reply(request, reply)
        assert len(octets) <= request.limit
        _check(request, parse_message(octets))
    elif request.answer is not None:
        assert parse_message(request.answer).answer


def conversations() -> Iterator[bytes]:
    """Each kind of question with its answer, and an answer to something else."""
    for name, kind in (
        ("v4.test", dns.AAAA),
        ("v6.test", dns.AAAA),
        ("www.test", dns.AAAA),
        ("x.old.test", dns.AAAA),
        ("printer.lan", dns.AAAA),
        ("ipv4only.arpa", dns.AAAA),
        ("no.test", dns.MX),
        ("1.0.2.0.0.0.0.c" + ".0" * 12 + ".4.6.0.0.8.b.d.0.1.0.0.2.ip6.arpa", dns.PTR),
    ):
        question = ask(name, kind, edns=Edns(1232))
        for asked in (question, ask(name, dns.A), ask("1.2.0.192.in-addr.arpa", dns.PTR)):
            yield len(question).to_bytes(2, "big") + question + emit_message(Authority(LINES).answer(asked))


def _read_and_written(octets: bytes) -> None:
    try:
        message = parse_message(octets)
    except MalformedPacket:
        return
    again = parse_message(emit_message(message, STREAM_LIMIT))
    assert _records(again) == _records(message) or message.trunc


def _records(message: dns.Message) -> list[tuple[bytes, int, bytes]]:
    sections = (*message.answers, *message.authority, *message.additional)
    return [(record.name.name, record.type, data_of(record)) for record in sections]


def _resolved(request: Request, answer: bytes) -> Reply:
    resolution = RULES.resolve(request.asked)
    try:
        next(resolution)
        for _ in range(3 * CHAIN_LIMIT):
            resolution.send(_reply(answer))
    except StopIteration as end:
        found = end.value
        assert isinstance(found, Reply)
        return found
    raise AssertionError("it goes on asking")


def _reply(answer: bytes) -> Reply:
    try:
        return reply_of(parse_message(answer))
    except MalformedPacket:
        return Reply(dns.ESERVER)


def _check(request: Request, answer: Message) -> None:
    asked = request.asked
    assert (answer.id, answer.answer, answer.authenticData) == (request.message.id, 1, 0)
    assert answer.queries[0].name.name == asked.name
    if asked.kind == dns.AAAA and asked.cls == dns.IN and not asked.validates and answer.rCode == dns.OK:
        own = [record for record in answer.answers if record.type == dns.AAAA and record.cls == dns.IN]
        assert not any(is_among(data_of(record), (MAPPED,)) for record in own)
