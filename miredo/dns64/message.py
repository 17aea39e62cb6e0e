# SPDX-License-Identifier: MIT
"""
DNS messages: Twisted's, read strictly and written back byte for byte.

Twisted's own reading gives a message that was cut short for a whole one, takes labels of any length, splits those that
have a dot in them, and interprets records of which a forwarder knows nothing. Here a message is right or it is
L{MalformedPacket}, and the data of each record are the bytes that they were, with names decompressed where RFC 3597 4
lets somebody compress them::

     0  1  2  3  4  5  6  7  8  9  0  1  2  3  4  5
    +-----------------------------------------------+
    |                  identifier                   |
    +--+-----------+--+--+--+--+--+--+--+-----------+
    |QR|  opcode   |AA|TC|RD|RA| 0|AD|CD|   rcode   |   RFC 1035 4.1.1, RFC 4035 3.1.6
    +--+-----------+--+--+--+--+--+--+--+-----------+
    | counts: questions, answers, authority, additional, 16 bits each
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import IO, NamedTuple

from twisted.names import dns

from miredo.address.endpoint import IPv4, IPv6
from miredo.dns64.names import Name, emit_name, join_labels, read_name, spelled, split_labels
from miredo.wire.reader import MalformedPacket

HEADER_LENGTH = 12
"""Bytes (RFC 1035 4.1.1)."""
CLASSIC_LIMIT = 512
"""Bytes of a datagram for whoever says nothing of a size (RFC 1035 4.2.1)."""
STREAM_LIMIT = 65535
"""Bytes of a message over TCP (RFC 1035 4.2.2)."""

BADVERS = 16
"""The response code that refuses a version of EDNS (RFC 6891 9)."""
DS = 43
RRSIG = 46
ANY = 255

_COUNTS = struct.Struct("!4H")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_FAR = 0x4000
"""The first offset that no pointer reaches."""
_TTL_SIGN = 0x8000_0000
_DO = 0x8000
"""The bit of EDNS that asks for signatures (RFC 3225 3)."""

ADDRESS_LENGTHS = {dns.A: 4, dns.AAAA: 16}
"""Bytes of the data (RFC 1035 3.4.1, RFC 3596 2.2)."""

NAMES_WITHIN = {
    **dict.fromkeys((dns.NS, dns.MD, dns.MF, dns.CNAME, dns.MB, dns.MG, dns.MR, dns.PTR), (0, 1)),
    dns.SOA: (0, 2),
    dns.MINFO: (0, 2),
    dns.MX: (2, 1),
}
"""The types whose data have names that may be compressed: how many bytes are before them, and how many names."""
NAMES_TO_EXPAND = NAMES_WITHIN | {
    dns.RP: (0, 2),
    dns.AFSDB: (2, 1),
    21: (2, 1),  # RT
    26: (2, 2),  # PX
    dns.SRV: (6, 1),
    dns.DNAME: (0, 1),
}
"""And those where somebody may have done so all the same (RFC 3597 4, RFC 2782)."""


class ExactName(dns.Name):
    """A name whose labels stay apart (L{miredo.dns64.names})."""

    def encode(self, strio: IO[bytes], compDict: dict[bytes, int] | None = None) -> None:
        labels = split_labels(self.name)
        for index, label in enumerate(labels):
            if compDict is not None:
                rest = join_labels(labels[index:])
                if rest in compDict:
                    strio.write(struct.pack("!H", 0xC000 | compDict[rest]))
                    return
                if strio.tell() + HEADER_LENGTH < _FAR:
                    compDict[rest] = strio.tell() + HEADER_LENGTH
            strio.write(bytes([len(label)]) + label)
        strio.write(b"\0")


class Data(dns.UnknownRecord):
    """What a record says, as bytes in which no name is compressed."""

    def __init__(self, kind: int, data: bytes) -> None:
        super().__init__(data)
        self.kind = kind

    def encode(self, strio: IO[bytes], compDict: dict[bytes, int] | None = None) -> None:
        at, names = NAMES_WITHIN.get(self.kind, (0, 0))
        strio.write(self.data[:at])
        for _ in range(names):
            name, at = read_name(self.data, at)
            ExactName(name).encode(strio, compDict)
        strio.write(self.data[at:])


class Message(dns.Message):
    """A message that is whole."""

    def decode(self, strio: IO[bytes], length: int | None = None) -> None:
        """@raise MalformedPacket: it is none."""
        octets = strio.read()
        if len(octets) < HEADER_LENGTH:
            raise MalformedPacket("no header")
        super().decode(BytesIO(octets[:4] + bytes(8)))
        questions, *counts = _COUNTS.unpack_from(octets, 4)
        at = HEADER_LENGTH
        for _ in range(questions):
            at = self._take_question(octets, at)
        for section, count in zip((self.answers, self.authority, self.additional), counts, strict=True):
            for _ in range(count):
                at = _take_record(octets, at, section)

    def _take_question(self, octets: bytes, at: int) -> int:
        name, at = read_name(octets, at)
        end = at + _QUESTION.size
        if end > len(octets):
            raise MalformedPacket("a question is cut short")
        self.queries.append(question(name, *_QUESTION.unpack_from(octets, at)))
        return end


def parse_message(octets: bytes) -> Message:
    """@raise MalformedPacket: these are not the bytes of a message; what is behind its end is passed over."""
    message = Message()
    message.fromStr(octets)
    return message


def emit_message(message: dns.Message, limit: int = STREAM_LIMIT) -> bytes:
    """
    A message of C{limit} bytes at most.

    What is too long loses its additional records (RFC 2181 9), all but OPT; or else all records, and says so.
    """
    message.maxSize = 0
    octets = message.toStr()
    if len(octets) > limit:
        message.additional = [record for record in message.additional if record.type == dns.OPT]
        octets = message.toStr()
    if len(octets) > limit:
        message.trunc, message.answers, message.authority = 1, [], []
        octets = message.toStr()
    return octets


def question(name: Name, kind: int, cls: int = dns.IN) -> dns.Query:
    """What is asked for."""
    made = dns.Query(b"", kind, cls)
    made.name = ExactName(name)
    return made


def record(name: Name, kind: int, ttl: int, data: bytes, cls: int = dns.IN) -> dns.RRHeader:
    """A record of any type; names in its data are not compressed."""
    made = dns.RRHeader(b"", kind, cls, ttl, Data(kind, data))
    made.name = ExactName(name)
    return made


def data_of(of: dns.RRHeader) -> bytes:
    """What a record says, no name compressed."""
    assert isinstance(of.payload, Data)
    return of.payload.data


def target_of(of: dns.RRHeader) -> Name:
    """The name that a CNAME, DNAME or PTR points to."""
    return read_name(data_of(of), 0)[0]


def in_letters_of(model: Name, of: dns.RRHeader) -> dns.RRHeader:
    """A record whose names are in the letters of C{model}, as far as they end as it does."""
    data = data_of(of)
    whole = _expanded(data, of.type, 0, len(data), lambda name: spelled(name, model))
    return record(spelled(of.name.name, model), of.type, of.ttl, whole, of.cls)


def covers(signature: dns.RRHeader) -> int | None:
    """The type that an RRSIG signs (RFC 4034 3.1.1); C{None}: it is no RRSIG."""
    if signature.type != RRSIG or len(data_of(signature)) < 2:
        return None
    return int.from_bytes(data_of(signature)[:2], "big")


def address_record(name: Name, ttl: int, address: IPv4 | IPv6) -> dns.RRHeader:
    """An A or AAAA record."""
    return record(name, dns.A if len(address) == 4 else dns.AAAA, ttl, address)


def pointer(name: Name, kind: int, ttl: int, target: Name) -> dns.RRHeader:
    """A CNAME or PTR record."""
    return record(name, kind, ttl, emit_name(target))


class Edns(NamedTuple):
    """What an OPT record says (RFC 6891 6.1.2); its options are of no use here."""

    size: int
    dnssec_ok: bool = False
    version: int = 0
    code: int = 0
    """The upper 8 bits of the response code."""


def edns_of(message: dns.Message) -> Edns | None:
    """@raise MalformedPacket: there are several, or one that has a name (RFC 6891 6.1.1)."""
    match [each for each in message.additional if each.type == dns.OPT]:
        case []:
            return None
        case [opt] if not opt.name.name:
            return Edns(opt.cls, bool(opt.ttl & _DO), opt.ttl >> 16 & 0xFF, opt.ttl >> 24)
        case _:
            raise MalformedPacket("EDNS said twice, or with a name")


def code_of(message: dns.Message) -> int:
    """The response code, all 12 bits (RFC 6891 6.1.3); raises as L{edns_of}."""
    edns = edns_of(message)
    return message.rCode | (edns.code << 4 if edns else 0)


def edns_record(edns: Edns) -> dns.RRHeader:
    """The record that says this."""
    flags = edns.code << 24 | edns.version << 16 | (_DO if edns.dnssec_ok else 0)
    return record(b"", dns.OPT, flags, b"", edns.size)


def without_edns(records: Iterable[dns.RRHeader]) -> list[dns.RRHeader]:
    """OPT is between two neighbours and not forwarded (RFC 6891 6.2.6)."""
    return [each for each in records if each.type != dns.OPT]


def _take_record(octets: bytes, at: int, section: list[dns.RRHeader]) -> int:
    name, at = read_name(octets, at)
    start: int = at + _RECORD.size
    if start > len(octets):
        raise MalformedPacket("a record is cut short")
    kind, cls, ttl, length = (int(number) for number in _RECORD.unpack_from(octets, at))
    end = start + length
    if end > len(octets):
        raise MalformedPacket("the data of a record are cut short")
    if kind != dns.OPT and ttl & _TTL_SIGN:
        ttl = 0  # RFC 2181 8
    if cls == dns.IN and length != ADDRESS_LENGTHS.get(kind, length):
        raise MalformedPacket("an address of another length")
    section.append(record(name, kind, ttl, _expanded(octets, kind, start, end), cls))
    return end


def _expanded(
    octets: bytes, kind: int, start: int, end: int, spell: Callable[[Name], Name] = lambda name: name
) -> bytes:
    """The data of a record, with its names in full, and as C{spell} has them."""
    ahead, names = NAMES_TO_EXPAND.get(kind, (0, 0))
    at = start + ahead
    whole = octets[start:at]
    for _ in range(names):
        name, at = read_name(octets, at)
        whole += emit_name(spell(name))
    if at > end:
        raise MalformedPacket("a name runs out of its record")
    whole += octets[at:end]
    if len(whole) > STREAM_LIMIT:
        raise MalformedPacket("names that are too long for their record")
    return whole
