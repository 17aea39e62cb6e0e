# SPDX-License-Identifier: MIT
"""
The ICMPv6 messages that Teredo speaks: RFC 4443 (errors, echo) and RFC 4861 (router discovery)::

    +---------------+---------------+-------------------------------+
    |     Type      |     Code      |           Checksum            |
    +---------------+---------------+-------------------------------+
    | the message: drawn at the function that reads it

The checksum covers the IPv6 pseudo-header. An error quotes as much of the packet that caused it as fits into 1280 bytes
(RFC 4443 2.4 (c)); emitting cuts it, so no caller has to.
"""

from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, assert_never

from miredo.address.endpoint import IPv6
from miredo.address.scope import is_link_local, is_multicast
from miredo.wire.checksum import transport_checksum
from miredo.wire.ipv6 import (
    HEADER_LENGTH,
    ICMPV6,
    IPv6Packet,
    destination_of,
    emit_ipv6,
    packet_end,
    source_of,
    upper_layer,
)
from miredo.wire.reader import MalformedPacket, Reader

DESTINATION_UNREACHABLE = 1
PACKET_TOO_BIG = 2
ECHO_REQUEST = 128
ECHO_REPLY = 129
ROUTER_SOLICITATION = 133
ROUTER_ADVERTISEMENT = 134
REDIRECT = 137

MINIMUM_MTU = 1280
"""The packet that every IPv6 link carries, in bytes (RFC 8200 5), and the longest that an error may be."""

DISCOVERY_HOP_LIMIT = 255
"""The hop limit of router discovery: no router has forwarded it (RFC 4861 6.1)."""

ON_LINK = 0x80
"""The L flag of a prefix."""

AUTONOMOUS = 0x40
"""The A flag of a prefix."""

INFINITY = 0xFFFFFFFF
"""A lifetime that does not end (RFC 4861 4.6.2)."""

RETRANS_TIMER = 2000
"""What miredo-server advertises as retransmission timer, in milliseconds."""

_SOURCE_LINK_LAYER_OPTION = 1
_PREFIX_OPTION = 3
_MTU_OPTION = 5
_OPTION_UNIT = 8
_ERROR_LIMIT = MINIMUM_MTU - HEADER_LENGTH - 8
_FIRST_INFORMATIONAL = 128
_UNSPECIFIED = bytes(16)
_LOOPBACK = bytes(15) + b"\x01"

_HEADER = Struct("!BBH")
_HEADER_AND_WORD = Struct("!BBHI")
_ECHO = Struct("!BBHHH")
_ADVERTISEMENT = Struct("!BBHBBHII")
_PREFIX = Struct("!BBBBIII16s")
_MTU = Struct("!BBHI")


class Unreachable(IntEnum):
    """Codes of L{DestinationUnreachable} (RFC 4443 3.1)."""

    NO_ROUTE = 0
    PROHIBITED = 1
    BEYOND_SCOPE = 2
    ADDRESS = 3
    PORT = 4
    SOURCE_POLICY = 5


class RouterSolicitation(NamedTuple):
    """RFC 4861 4.1. C{options} are as they came, of lengths that fit; Teredo's solicitations have none."""

    options: bytes = b""


class PrefixInformation(NamedTuple):
    """RFC 4861 4.6.2: a prefix of C{length} bits, its flags and its lifetimes in seconds."""

    length: int
    flags: int
    valid: int
    preferred: int
    prefix: IPv6


class RouterAdvertisement(NamedTuple):
    """RFC 4861 4.2: C{lifetime} in seconds, C{reachable} and C{retrans} in milliseconds."""

    cur_hop_limit: int
    flags: int
    lifetime: int
    reachable: int
    retrans: int
    prefixes: tuple[PrefixInformation, ...] = ()
    mtu: int | None = None


class EchoRequest(NamedTuple):
    """RFC 4443 4.1."""

    identifier: int
    sequence: int
    data: bytes


class EchoReply(NamedTuple):
    """RFC 4443 4.2."""

    identifier: int
    sequence: int
    data: bytes


class DestinationUnreachable(NamedTuple):
    """RFC 4443 3.1: C{invoking} is the start of the packet that caused it."""

    code: int
    invoking: bytes


class PacketTooBig(NamedTuple):
    """RFC 4443 3.2: C{mtu} is that of the next hop, in bytes."""

    mtu: int
    invoking: bytes


class OtherICMPv6(NamedTuple):
    """Any other message: C{body} is what follows the checksum."""

    type: int
    code: int
    body: bytes


ICMPv6Message = (
    RouterSolicitation
    | RouterAdvertisement
    | EchoRequest
    | EchoReply
    | DestinationUnreachable
    | PacketTooBig
    | OtherICMPv6
)


def parse_icmpv6(packet: IPv6Packet) -> ICMPv6Message:
    """
    Read the message in a packet without extension headers.

    @raise MalformedPacket: no ICMPv6, cut short, a wrong checksum, a code that its type does not have, or an option
        that does not fit (RFC 4861 6.1.1, 6.1.2).
    """
    if packet.next_header != ICMPV6:
        raise MalformedPacket("no ICMPv6 message")
    reader = Reader(packet.payload)
    kind, code, _ = reader.u8(), reader.u8(), reader.u16()
    if transport_checksum(packet.source, packet.destination, ICMPV6, packet.payload) != 0:
        raise MalformedPacket("wrong ICMPv6 checksum")
    if kind in _WITHOUT_CODE and code != 0:
        raise MalformedPacket(f"ICMPv6 type {kind} with code {code}")
    parse = _PARSERS.get(kind)
    return OtherICMPv6(kind, code, reader.rest()) if parse is None else parse(code, reader)


def check_router_solicitation(packet: IPv6Packet, message: ICMPv6Message) -> RouterSolicitation:
    """
    Give C{message} back if it is a valid solicitation: what RFC 4861 6.1.1 asks for beyond L{parse_icmpv6}.

    @raise MalformedPacket: it is not.
    """
    if not isinstance(message, RouterSolicitation):
        raise MalformedPacket("no router solicitation")
    if packet.hop_limit != DISCOVERY_HOP_LIMIT:
        raise MalformedPacket("router solicitation that may have been forwarded")
    if packet.source == _UNSPECIFIED and any(
        kind == _SOURCE_LINK_LAYER_OPTION for kind, _ in _options(message.options)
    ):
        raise MalformedPacket("router solicitation from nowhere with a link-layer address")
    return message


def check_router_advertisement(packet: IPv6Packet, message: ICMPv6Message) -> RouterAdvertisement:
    """
    Give C{message} back if it is a valid advertisement: what RFC 4861 6.1.2 asks for beyond L{parse_icmpv6}.

    @raise MalformedPacket: it is not.
    """
    if not isinstance(message, RouterAdvertisement):
        raise MalformedPacket("no router advertisement")
    if packet.hop_limit != DISCOVERY_HOP_LIMIT:
        raise MalformedPacket("router advertisement that may have been forwarded")
    if not is_link_local(packet.source):
        raise MalformedPacket("router advertisement whose source is not link-local")
    return message


def teredo_router_advertisement(prefix64: bytes, mtu: int = MINIMUM_MTU) -> RouterAdvertisement:
    """
    The advertisement of a server (RFC 4380 5.3.2), with the values that miredo-server sends.

    @param prefix64: the service prefix and the server's IPv4 address, 8 bytes.
    """
    prefix = PrefixInformation(64, AUTONOMOUS, INFINITY, INFINITY, prefix64 + bytes(8))
    return RouterAdvertisement(0, 0, 0, 0, RETRANS_TIMER, (prefix,), mtu)


def emit_icmpv6(source: IPv6, destination: IPv6, message: ICMPv6Message, hop_limit: int = DISCOVERY_HOP_LIMIT) -> bytes:
    """
    The whole IPv6 packet that carries C{message}, with its checksum.

    @raise ValueError: the message is longer than an IPv6 packet can carry.
    """
    body = emit_icmpv6_body(message)
    checksum = transport_checksum(source, destination, ICMPV6, body)
    payload = body[:2] + checksum.to_bytes(2, "big") + body[4:]
    return emit_ipv6(IPv6Packet(0, 0, ICMPV6, hop_limit, source, destination, payload))


def emit_icmpv6_body(message: ICMPv6Message) -> bytes:
    """The message alone, with the checksum 0: a raw ICMPv6 socket fills it in (RFC 3542 3.1)."""
    match message:
        case RouterSolicitation(options):
            return _HEADER_AND_WORD.pack(ROUTER_SOLICITATION, 0, 0, 0) + options
        case RouterAdvertisement():
            return _emit_advertisement(message)
        case EchoRequest(identifier, sequence, data):
            return _ECHO.pack(ECHO_REQUEST, 0, 0, identifier, sequence) + data
        case EchoReply(identifier, sequence, data):
            return _ECHO.pack(ECHO_REPLY, 0, 0, identifier, sequence) + data
        case DestinationUnreachable(code, invoking):
            return unreachable_body(code, invoking)
        case PacketTooBig(mtu, invoking):
            return packet_too_big_body(mtu, invoking)
        case OtherICMPv6(kind, code, body):
            return _HEADER.pack(kind, code, 0) + body
    assert_never(message)


def unreachable_body(code: int, invoking: bytes) -> bytes:
    """A destination unreachable message with the checksum 0, cut so that its packet is 1280 bytes at most."""
    return _HEADER_AND_WORD.pack(DESTINATION_UNREACHABLE, code, 0, 0) + invoking[:_ERROR_LIMIT]


def packet_too_big_body(mtu: int, invoking: bytes) -> bytes:
    """A packet too big message with the checksum 0, cut so that its packet is 1280 bytes at most."""
    return _HEADER_AND_WORD.pack(PACKET_TOO_BIG, 0, 0, mtu) + invoking[:_ERROR_LIMIT]


def is_icmpv6_error(raw: bytes) -> bool:
    """
    Whether a packet carries an ICMPv6 message of a type below 128.

    @raise MalformedPacket: as L{upper_layer}.
    """
    upper, at = upper_layer(raw)
    kind = _type_at(raw, at) if upper == ICMPV6 else None
    return kind is not None and kind < _FIRST_INFORMATIONAL


def may_cause_error(raw: bytes) -> bool:
    """
    Whether an ICMPv6 error about a packet may be sent to its source.

    RFC 4443 2.4 (e): not about an error, a redirect, a packet to a multicast address, or one whose source does not
    name one node. Nor, which is ours, about a packet that cannot be read as far as that.
    """
    try:
        upper, at = upper_layer(raw)
    except MalformedPacket:
        return False
    if is_multicast(destination_of(raw)) or is_multicast(source_of(raw)) or source_of(raw) in (_UNSPECIFIED, _LOOPBACK):
        return False
    if upper != ICMPV6:
        return True
    kind = _type_at(raw, at)
    return kind is not None and kind >= _FIRST_INFORMATIONAL and kind != REDIRECT


def _type_at(raw: bytes, at: int) -> int | None:
    """The type of the ICMPv6 message at that offset, unless the packet ends there."""
    return raw[at] if at < packet_end(raw) else None


def _parse_solicitation(_code: int, reader: Reader) -> RouterSolicitation:
    """
    RFC 4861 4.1::

        +---------------+---------------+-------------------------------+
        |   Type 133    |    Code 0     |           Checksum            |
        +---------------+---------------+-------------------------------+
        |                            Reserved                           |
        +---------------------------------------------------------------+
        | options
    """
    reader.u32()
    options = reader.rest()
    _options(options)
    return RouterSolicitation(options)


def _parse_advertisement(_code: int, reader: Reader) -> RouterAdvertisement:
    """
    RFC 4861 4.2::

        +---------------+---------------+-------------------------------+
        |   Type 134    |    Code 0     |           Checksum            |
        +---------------+-+-+-----------+-------------------------------+
        | Cur Hop Limit |M|O|  Reserved |       Router Lifetime         |
        +---------------+-+-+-----------+-------------------------------+
        |                         Reachable Time                        |
        +---------------------------------------------------------------+
        |                          Retrans Timer                        |
        +---------------------------------------------------------------+
        | options; of two MTU options the first counts, unknown ones are skipped (RFC 4861 6.1.2)
    """
    fixed = reader.u8(), reader.u8(), reader.u16(), reader.u32(), reader.u32()
    options = _options(reader.rest())
    prefixes = tuple(_parse_prefix(value) for kind, value in options if kind == _PREFIX_OPTION)
    mtus = [_parse_mtu(value) for kind, value in options if kind == _MTU_OPTION]
    return RouterAdvertisement(*fixed, prefixes, mtus[0] if mtus else None)


def _options(data: bytes) -> list[tuple[int, Reader]]:
    """
    The options of a router discovery message, as type and a reader of the value (RFC 4861 4.6)::

        +---------------+---------------+-------------------------------+
        |     Type      |    Length     | Length * 8 - 2 bytes ...      |
        +---------------+---------------+-------------------------------+
    """
    reader = Reader(data)
    found = []
    while reader.left:
        kind, length = reader.u8(), reader.u8()
        if length == 0:
            raise MalformedPacket("option of length 0")
        found.append((kind, reader.scope(length * _OPTION_UNIT - 2)))
    return found


def _parse_prefix(value: Reader) -> PrefixInformation:
    """
    RFC 4861 4.6.2::

        +---------------+---------------+---------------+-+-+-----------+
        |    Type 3     |   Length 4    | Prefix Length |L|A| Reserved1 |
        +---------------+---------------+---------------+-+-+-----------+
        |                         Valid Lifetime                        |
        +---------------------------------------------------------------+
        |                       Preferred Lifetime                      |
        +---------------------------------------------------------------+
        |                           Reserved2                           |
        +---------------------------------------------------------------+
        |                           Prefix (16)                         |
        +---------------------------------------------------------------+
    """
    if value.left != _PREFIX.size - 2:
        raise MalformedPacket("prefix option of a wrong length")
    length, flags, valid, preferred, _ = value.u8(), value.u8(), value.u32(), value.u32(), value.u32()
    if length > 128:
        raise MalformedPacket(f"prefix of {length} bits")
    return PrefixInformation(length, flags, valid, preferred, value.rest())


def _parse_mtu(value: Reader) -> int:
    """
    RFC 4861 4.6.4::

        +---------------+---------------+-------------------------------+
        |    Type 5     |   Length 1    |           Reserved            |
        +---------------+---------------+-------------------------------+
        |                              MTU                              |
        +---------------------------------------------------------------+
    """
    if value.left != _MTU.size - 2:
        raise MalformedPacket("MTU option of a wrong length")
    value.u16()
    return value.u32()


def _parse_echo_request(_code: int, reader: Reader) -> EchoRequest:
    """
    RFC 4443 4.1; the reply (4.2) has the type 129::

        +---------------+---------------+-------------------------------+
        |   Type 128    |    Code 0     |           Checksum            |
        +---------------+---------------+-------------------------------+
        |           Identifier          |        Sequence Number        |
        +-------------------------------+-------------------------------+
        | data
    """
    return EchoRequest(reader.u16(), reader.u16(), reader.rest())


def _parse_echo_reply(_code: int, reader: Reader) -> EchoReply:
    return EchoReply(reader.u16(), reader.u16(), reader.rest())


def _parse_unreachable(code: int, reader: Reader) -> DestinationUnreachable:
    """
    RFC 4443 3.1::

        +---------------+---------------+-------------------------------+
        |    Type 1     |     Code      |           Checksum            |
        +---------------+---------------+-------------------------------+
        |                             Unused                            |
        +---------------------------------------------------------------+
        | as much of the invoking packet as fits into 1280 bytes
    """
    reader.u32()
    return DestinationUnreachable(code, reader.rest())


def _parse_too_big(_code: int, reader: Reader) -> PacketTooBig:
    """
    RFC 4443 3.2; the code is 0 and not looked at::

        +---------------+---------------+-------------------------------+
        |    Type 2     |     Code      |           Checksum            |
        +---------------+---------------+-------------------------------+
        |                              MTU                              |
        +---------------------------------------------------------------+
        | as much of the invoking packet as fits into 1280 bytes
    """
    return PacketTooBig(reader.u32(), reader.rest())


def _emit_advertisement(message: RouterAdvertisement) -> bytes:
    fixed = message.cur_hop_limit, message.flags, message.lifetime, message.reachable, message.retrans
    body = _ADVERTISEMENT.pack(ROUTER_ADVERTISEMENT, 0, 0, *fixed)
    for length, flags, valid, preferred, prefix in message.prefixes:
        body += _PREFIX.pack(_PREFIX_OPTION, _PREFIX.size // _OPTION_UNIT, length, flags, valid, preferred, 0, prefix)
    if message.mtu is not None:
        body += _MTU.pack(_MTU_OPTION, _MTU.size // _OPTION_UNIT, 0, message.mtu)
    return body


_WITHOUT_CODE = frozenset({ECHO_REQUEST, ECHO_REPLY, ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT})

_PARSERS: dict[int, Callable[[int, Reader], ICMPv6Message]] = {
    DESTINATION_UNREACHABLE: _parse_unreachable,
    PACKET_TOO_BIG: _parse_too_big,
    ECHO_REQUEST: _parse_echo_request,
    ECHO_REPLY: _parse_echo_reply,
    ROUTER_SOLICITATION: _parse_solicitation,
    ROUTER_ADVERTISEMENT: _parse_advertisement,
}
