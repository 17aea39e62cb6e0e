# SPDX-License-Identifier: MIT
"""What clients send: who is answered, what is refused, and the form of an answer (RFC 1035 4.1, RFC 6891)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from twisted.names import dns

from miredo.dns64.config import Network
from miredo.dns64.drops import Drop
from miredo.dns64.message import (
    BADVERS,
    CLASSIC_LIMIT,
    HEADER_LENGTH,
    STREAM_LIMIT,
    Edns,
    Message,
    edns_of,
    edns_record,
    emit_message,
    in_letters_of,
    parse_message,
)
from miredo.dns64.query import UDP_SIZE
from miredo.dns64.reply import Asked, Reply
from miredo.dns64.synthesis import is_among
from miredo.wire.reader import MalformedPacket

_RESPONSE = 0x80
_OPCODE = 0x78
_RECURSION = 0x01


class Request(NamedTuple):
    """A question that is to be answered, in C{limit} bytes at most."""

    message: dns.Message
    edns: Edns | None
    asked: Asked
    limit: int


class Refusal(NamedTuple):
    """Why there is no answer but, perhaps, an error."""

    reason: Drop
    answer: bytes | None = None


def read_request(octets: bytes, client: bytes, permitted: Iterable[Network], *, stream: bool) -> Request | Refusal:
    """
    Read what came from a client.

    @param client: its address, 4 or 16 bytes.
    @param stream: over TCP, where an answer may have any size.
    """
    if len(octets) < HEADER_LENGTH or octets[2] & _RESPONSE:
        return Refusal(Drop.NOT_A_QUESTION)
    if not is_among(client, permitted):
        return Refusal(Drop.CLIENT, _header(octets, dns.EREFUSED))
    if octets[2] & _OPCODE:
        return Refusal(Drop.OPCODE, _header(octets, dns.ENOTIMP))
    try:
        message = parse_message(octets)
        edns = edns_of(message)
    except MalformedPacket:
        return Refusal(Drop.MALFORMED, _header(octets, dns.EFORMAT))
    if len(message.queries) != 1:
        return Refusal(Drop.MALFORMED, _header(octets, dns.EFORMAT))
    request = Request(message, edns, _asked(message, edns, client), STREAM_LIMIT if stream else _limit(edns))
    if edns is not None and edns.version:
        return Refusal(Drop.EDNS_VERSION, emit_reply(request, Reply(BADVERS)))
    if request.asked.kind in (dns.AXFR, dns.IXFR):
        return Refusal(Drop.TRANSFER, emit_reply(request, Reply(dns.EREFUSED)))
    return request


def emit_reply(request: Request, reply: Reply) -> bytes:
    """
    The answer to a request.

    AD is never set: nothing is validated here (RFC 6147 5.5).
    """
    code = reply.code if reply.code <= 0xF or request.edns is not None else dns.ESERVER
    message = Message(
        request.message.id,
        answer=1,
        recDes=request.message.recDes,
        recAv=1,
        auth=reply.authoritative,
        rCode=code & 0xF,
        checkingDisabled=request.message.checkingDisabled,
    )
    message.queries = request.message.queries
    # The client's letters, not those that we asked in and others repeat.
    message.answers, message.authority, message.additional = (
        [in_letters_of(request.asked.name, each) for each in records]
        for records in (reply.answers, reply.authority, reply.additional)
    )
    if request.edns is not None:
        message.additional.append(edns_record(Edns(UDP_SIZE, request.edns.dnssec_ok, code=code >> 4)))
    return emit_message(message, request.limit)


def _asked(message: dns.Message, edns: Edns | None, client: bytes) -> Asked:
    (query,) = message.queries
    return Asked(
        query.name.name,
        query.type,
        query.cls,
        client,
        edns is not None and edns.dnssec_ok,
        bool(message.checkingDisabled),
        bool(message.recDes),
    )


def _limit(edns: Edns | None) -> int:
    """RFC 6891 6.2.5: what the client takes, and no more than is not fragmented."""
    return CLASSIC_LIMIT if edns is None else min(max(edns.size, CLASSIC_LIMIT), UDP_SIZE)


def _header(octets: bytes, code: int) -> bytes:
    """An error to what cannot or need not be read: a header alone."""
    flags = _RESPONSE | octets[2] & (_OPCODE | _RECURSION)
    return octets[:2] + bytes([flags, code]) + bytes(HEADER_LENGTH - 4)
