# SPDX-License-Identifier: MIT
"""
IPv4 packets: RFC 791 3.1::

    +-------+-------+---------------+-------------------------------+
    |Version|  IHL  |Type of Service|          Total Length         |  0
    +-------+-------+---------------+-----+-------------------------+
    |         Identification        |0|D|M|     Fragment Offset     |  4
    +---------------+---------------+-----+-------------------------+
    |  Time to Live |    Protocol   |        Header Checksum        |  8
    +---------------+---------------+-------------------------------+
    |                       Source Address                          | 12
    +---------------------------------------------------------------+
    |                     Destination Address                       | 16
    +---------------------------------------------------------------+
    |                    Options (IHL * 4 - 20 bytes)               | 20
    +---------------------------------------------------------------+
    | payload: Total Length - IHL * 4 bytes
"""

from struct import Struct
from typing import NamedTuple

from miredo.address.endpoint import IPv4
from miredo.wire.checksum import internet_checksum
from miredo.wire.reader import MalformedPacket, Reader

HEADER_LENGTH = 20
"""Bytes before the options."""

OPTIONS_LIMIT = 40
"""The longest options that the header can tell, in bytes."""

PACKET_LIMIT = 0xFFFF
"""The longest packet that the header can tell, in bytes."""

ICMP = 1

_DONT_FRAGMENT = 0x4000
_MORE_FRAGMENTS = 0x2000
_FRAGMENT_OFFSET = 0x1FFF
_HEADER = Struct("!BBHHHBBH4s4s")


class IPv4Packet(NamedTuple):
    """A packet taken apart; C{fragment_offset} is in units of 8 bytes, as in the header."""

    tos: int
    identification: int
    dont_fragment: bool
    more_fragments: bool
    fragment_offset: int
    ttl: int
    protocol: int
    source: IPv4
    destination: IPv4
    payload: bytes
    options: bytes = b""


def parse_ipv4_packet(data: bytes) -> IPv4Packet:
    """
    Take a packet apart. Bytes beyond its total length are padding of the link, and left out.

    @raise MalformedPacket: not IPv4, cut short, or a wrong header checksum.
    """
    reader = Reader(data)
    header = reader.take(HEADER_LENGTH)
    first, tos, total, identification, fragment, ttl, protocol, _, source, destination = _HEADER.unpack(header)
    length = (first & 0x0F) * 4
    if first >> 4 != 4:
        raise MalformedPacket("not IP version 4")
    if not HEADER_LENGTH <= length <= total:
        raise MalformedPacket("an IPv4 header length that cannot be")
    options, payload = reader.take(length - HEADER_LENGTH), reader.take(total - length)
    if internet_checksum(header + options) != 0:
        raise MalformedPacket("wrong IPv4 header checksum")
    return IPv4Packet(
        tos,
        identification,
        bool(fragment & _DONT_FRAGMENT),
        bool(fragment & _MORE_FRAGMENTS),
        fragment & _FRAGMENT_OFFSET,
        ttl,
        protocol,
        source,
        destination,
        payload,
        options,
    )


def emit_ipv4_packet(packet: IPv4Packet) -> bytes:
    """
    The bytes of a packet, with its header checksum.

    @raise ValueError: options or payload that the header cannot tell.
    """
    length = HEADER_LENGTH + len(packet.options)
    total = length + len(packet.payload)
    if len(packet.options) % 4 or len(packet.options) > OPTIONS_LIMIT:
        raise ValueError(f"{len(packet.options)} bytes of IPv4 options; 0, 4, ... {OPTIONS_LIMIT} are possible")
    if total > PACKET_LIMIT:
        raise ValueError(f"{total} bytes do not fit into an IPv4 packet")
    header = _emit_header(packet, length, total, 0)
    return _emit_header(packet, length, total, internet_checksum(header)) + packet.payload


def _emit_header(packet: IPv4Packet, length: int, total: int, checksum: int) -> bytes:
    fragment = packet.fragment_offset
    fragment |= _DONT_FRAGMENT if packet.dont_fragment else 0
    fragment |= _MORE_FRAGMENTS if packet.more_fragments else 0
    fixed = _HEADER.pack(
        0x40 | length // 4,
        packet.tos,
        total,
        packet.identification,
        fragment,
        packet.ttl,
        packet.protocol,
        checksum,
        packet.source,
        packet.destination,
    )
    return fixed + packet.options
