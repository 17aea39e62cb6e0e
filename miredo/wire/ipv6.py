# SPDX-License-Identifier: MIT
"""
IPv6 packets: RFC 8200 3::

    +-------+---------------+---------------------------------------+
    |Version| Traffic Class |              Flow Label               |  0
    +-------+---------------+-------+---------------+---------------+
    |        Payload Length         |  Next Header  |   Hop Limit   |  4
    +-------------------------------+---------------+---------------+
    |                        Source Address                         |  8
    +---------------------------------------------------------------+
    |                      Destination Address                      | 24
    +---------------------------------------------------------------+
    | extension headers, upper layer: Payload Length bytes          | 40

In a Teredo datagram more bytes may follow, the trailers (RFC 6081 4). A packet "raw" is its bytes; the accessors that
end in C{_of} are for packets that L{is_ipv6} or a parser has passed, they check nothing.
"""

from struct import Struct
from typing import NamedTuple

from miredo.address.endpoint import IPv6
from miredo.wire.reader import MalformedPacket

HEADER_LENGTH = 40
"""Bytes before the payload."""

PAYLOAD_LIMIT = 0xFFFF
"""The longest payload that the header can tell, in bytes."""

HOP_BY_HOP = 0
TCP = 6
UDP = 17
ROUTING = 43
FRAGMENT = 44
AUTHENTICATION_HEADER = 51
ICMPV6 = 58
NO_NEXT_HEADER = 59
DESTINATION_OPTIONS = 60

_EXTENSIONS = frozenset({HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION_HEADER, DESTINATION_OPTIONS})
_FRAGMENT_OFFSET = 0xFFF8
_HEADER = Struct("!IHBB16s16s")
_START = Struct("!IHBB")


class IPv6Packet(NamedTuple):
    """A packet taken apart as far as its fixed header."""

    traffic_class: int
    flow_label: int
    next_header: int
    hop_limit: int
    source: IPv6
    destination: IPv6
    payload: bytes


def packet_end(data: bytes, start: int = 0) -> int:
    """
    Where the packet that starts at C{start} ends. More bytes may follow (RFC 6081 4).

    @raise MalformedPacket: it is no IPv6 packet, or C{data} ends before it.
    """
    if len(data) - start < HEADER_LENGTH:
        raise MalformedPacket("shorter than an IPv6 header")
    if data[start] >> 4 != 6:
        raise MalformedPacket("not IP version 6")
    end = start + HEADER_LENGTH + (data[start + 4] << 8 | data[start + 5])
    if end > len(data):
        raise MalformedPacket("shorter than its IPv6 payload length says")
    return end


def is_ipv6(raw: bytes) -> bool:
    """Whether C{raw} is one whole IPv6 packet and nothing else."""
    return len(raw) >= HEADER_LENGTH and raw[0] >> 4 == 6 and length_of(raw) == len(raw)


def parse_ipv6(data: bytes) -> tuple[IPv6Packet, bytes]:
    """
    Take a packet apart; also give the bytes that follow it.

    @raise MalformedPacket: C{data} does not start with a whole IPv6 packet.
    """
    end = packet_end(data)
    first, _, next_header, hop_limit, source, destination = _HEADER.unpack_from(data)
    payload = data[HEADER_LENGTH:end]
    packet = IPv6Packet(first >> 20 & 0xFF, first & 0xFFFFF, next_header, hop_limit, source, destination, payload)
    return packet, data[end:]


def emit_ipv6(packet: IPv6Packet) -> bytes:
    """
    The bytes of a packet.

    @raise ValueError: the payload is longer than an IPv6 header can tell.
    """
    if len(packet.payload) > PAYLOAD_LIMIT:
        raise ValueError(f"{len(packet.payload)} bytes do not fit into an IPv6 packet")
    first = 6 << 28 | packet.traffic_class << 20 | packet.flow_label
    start = _START.pack(first, len(packet.payload), packet.next_header, packet.hop_limit)
    return start + packet.source + packet.destination + packet.payload


def source_of(raw: bytes) -> IPv6:
    """The source address."""
    return raw[8:24]


def destination_of(raw: bytes) -> IPv6:
    """The destination address."""
    return raw[24:40]


def dscp_of(datagram: bytes) -> int:
    """The DSCP (RFC 2474 3) of an IPv6 packet; 0 for what is none."""
    return (datagram[0] & 0x0F) << 2 | datagram[1] >> 6 if len(datagram) > 1 and datagram[0] >> 4 == 6 else 0


def next_header_of(raw: bytes) -> int:
    """What follows the fixed header: an upper layer or an extension."""
    return raw[6]


def length_of(raw: bytes) -> int:
    """The length of the whole packet, as its header tells."""
    return HEADER_LENGTH + (raw[4] << 8 | raw[5])


def upper_layer(raw: bytes) -> tuple[int, int]:
    """
    The upper layer's number and the offset of its first byte, behind the extension headers.

    In a fragment other than the first there is none; what L{FRAGMENT} and the offset of the fragment header say.

    @raise MalformedPacket: not a whole packet, or a chain of headers that runs beyond its end.
    """
    return _headers(raw)[-1]


def has_live_routing_header(raw: bytes) -> bool:
    """
    Whether a routing header with segments left stands in the chain: a way to bounce packets (RFC 5095, RFC 6169 2.3).

    A first fragment that does not hold the whole chain could hide one in the next, and is malformed (RFC 8200 4.5).

    @raise MalformedPacket: as L{upper_layer}.
    """
    return any(kind == ROUTING and raw[at + 3] for kind, at in _headers(raw))


def _headers(raw: bytes) -> list[tuple[int, int]]:
    """
    Each extension header's number and offset, and then the upper layer's (RFC 8200 4)::

        +---------------+---------------+-------------------------------+
        |  Next Header  | Hdr Ext Len   | Routing Type  | Segments Left |  Routing; the others have options from byte 2
        +---------------+---------------+-------------------------+---+-+
        |  Next Header  |   Reserved    |     Fragment Offset     |Res|M|  Fragment: 8 bytes
        +---------------+---------------+-------------------------+---+-+

    Hdr Ext Len counts units of 8 bytes after the first 8; in the authentication header (RFC 4302 2.2) units of 4 bytes.
    """
    end = packet_end(raw)
    kind, at = raw[6], HEADER_LENGTH
    headers = []
    while kind in _EXTENSIONS:
        if at + 8 > end:
            raise MalformedPacket("extension header cut short")
        if kind == HOP_BY_HOP and at > HEADER_LENGTH:
            raise MalformedPacket("hop-by-hop options that are not first")  # RFC 8200 4.1
        headers.append((kind, at))
        if kind == FRAGMENT and (raw[at + 2] << 8 | raw[at + 3]) & _FRAGMENT_OFFSET:
            return headers
        kind, at = raw[at], at + _extension_length(kind, raw[at + 1])
        if at > end:
            raise MalformedPacket("extension header cut short")
    headers.append((kind, at))
    return headers


def _extension_length(kind: int, told: int) -> int:
    if kind == FRAGMENT:
        return 8
    if kind == AUTHENTICATION_HEADER:
        return (told + 2) * 4
    return (told + 1) * 8
