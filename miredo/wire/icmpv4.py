# SPDX-License-Identifier: MIT
"""
ICMP Destination Unreachable about a UDP datagram: RFC 792, page 4::

    +---------------+---------------+-------------------------------+
    |   Type (3)    |     Code      |           Checksum            |  0
    +---------------+---------------+-------------------------------+
    |      0, or for code 4 the MTU of the next hop (RFC 1191 4)    |  4
    +---------------------------------------------------------------+
    | what was not delivered: its IPv4 header, then 8 bytes at least|  8

The quoted header tells the datagram's own length and checksum, which the quote need not fit: nobody looks at them.
"""

from struct import Struct
from typing import NamedTuple

from miredo.address.endpoint import Endpoint, endpoint, ipv4_of, port_of
from miredo.wire.checksum import internet_checksum
from miredo.wire.ipv4 import HEADER_LENGTH
from miredo.wire.ipv6 import UDP
from miredo.wire.reader import MalformedPacket, Reader

DESTINATION_UNREACHABLE = 3

FRAGMENTATION_NEEDED, PORT_UNREACHABLE = 4, 3
"""Codes (RFC 792)."""

QUOTED_PAYLOAD = 8
"""Bytes behind the quoted IPv4 header that are always there (RFC 792)."""

_FRAGMENT_OFFSET = 0x1FFF
_MESSAGE = Struct("!BBHI")
_QUOTED = Struct("!BB2x2xHBBH4s4s")


class Unreachable(NamedTuple):
    """
    A UDP datagram was not delivered; C{source} and C{destination} are those of the datagram.

    @ivar second_word: 0, or for code 4 an MTU.
    @ivar quote: the datagram's IPv4 header and what follows of it.
    """

    code: int
    second_word: int
    source: Endpoint
    destination: Endpoint
    quote: bytes


def parse_unreachable(message: bytes) -> Unreachable:
    """
    Read an ICMP message, the payload of an IPv4 packet.

    @raise MalformedPacket: cut short, of another type, about anything else than the start of a UDP datagram, or a wrong
        checksum.
    """
    reader = Reader(message)
    kind, code, _, second_word = _MESSAGE.unpack(reader.take(_MESSAGE.size))
    if kind != DESTINATION_UNREACHABLE:
        raise MalformedPacket("not ICMP Destination Unreachable")
    if internet_checksum(message) != 0:
        raise MalformedPacket("wrong ICMP checksum")
    quote = reader.rest()
    source, destination = _ends(quote)
    return Unreachable(code, second_word, source, destination, quote)


def emit_unreachable(code: int, second_word: int, quote: bytes) -> bytes:
    """The bytes of a message, with its checksum."""
    body = _MESSAGE.pack(DESTINATION_UNREACHABLE, code, 0, second_word) + quote
    return body[:2] + internet_checksum(body).to_bytes(2, "big") + body[4:]


def requoted(quote: bytes, source: Endpoint) -> bytes:
    """
    A quote as it would be had the datagram come from C{source}, the IPv4 header's checksum included.

    @raise MalformedPacket: not a quote that L{parse_unreachable} takes.
    """
    _ends(quote)
    end = (quote[0] & 0x0F) * 4
    header = quote[:10] + bytes(2) + ipv4_of(source) + quote[16:end]
    checksum = internet_checksum(header).to_bytes(2, "big")
    return header[:10] + checksum + header[12:] + port_of(source).to_bytes(2, "big") + quote[end + 2 :]


def _ends(quote: bytes) -> tuple[Endpoint, Endpoint]:
    """Where the quoted datagram came from, and where it went."""
    reader = Reader(quote)
    first, _, fragment, _, protocol, _, source, destination = _QUOTED.unpack(reader.take(HEADER_LENGTH))
    length = (first & 0x0F) * 4
    if first >> 4 != 4 or length < HEADER_LENGTH:
        raise MalformedPacket("not an IPv4 header")
    if protocol != UDP or fragment & _FRAGMENT_OFFSET:
        raise MalformedPacket("not the start of a UDP datagram")
    reader.take(length - HEADER_LENGTH)
    udp = reader.scope(QUOTED_PAYLOAD)
    return endpoint(source, udp.u16()), endpoint(destination, udp.u16())
