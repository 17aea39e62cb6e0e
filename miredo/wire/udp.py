# SPDX-License-Identifier: MIT
"""
UDP over IPv4 or IPv6: RFC 768, RFC 8200 8.1::

    +-------------------------------+-------------------------------+
    |          Source Port          |       Destination Port        |
    +-------------------------------+-------------------------------+
    |            Length             |           Checksum            |
    +-------------------------------+-------------------------------+
    | data: Length - 8 bytes

A checksum that comes out as zero is sent as ffff; zero stands for "none", which IPv6 does not allow.
"""

from struct import Struct
from typing import NamedTuple

from miredo.address.endpoint import IPv4, IPv6
from miredo.wire.checksum import transport_checksum
from miredo.wire.ipv6 import UDP
from miredo.wire.reader import MalformedPacket, Reader

HEADER_LENGTH = 8
"""Bytes before the data."""

PAYLOAD_LIMIT = 0xFFFF - HEADER_LENGTH
"""The longest data that a UDP header can tell, in bytes."""

_HEADER = Struct("!HHHH")


class UDPDatagram(NamedTuple):
    """Two ports and the data between them."""

    source_port: int
    destination_port: int
    payload: bytes


def parse_udp(payload: bytes, source: IPv4 | IPv6, destination: IPv4 | IPv6) -> UDPDatagram:
    """
    Read the datagram in the payload of a packet between two addresses; bytes beyond its length are none of it.

    @raise MalformedPacket: cut short, a length that cannot be, or a wrong checksum.
    """
    reader = Reader(payload)
    source_port, destination_port, length, checksum = reader.u16(), reader.u16(), reader.u16(), reader.u16()
    if length < HEADER_LENGTH:
        raise MalformedPacket("a UDP length shorter than its header")
    data = reader.take(length - HEADER_LENGTH)
    if checksum == 0:
        if len(source) != 4:
            raise MalformedPacket("UDP over IPv6 without a checksum")
    elif transport_checksum(source, destination, UDP, payload[:length]) != 0:
        raise MalformedPacket("wrong UDP checksum")
    return UDPDatagram(source_port, destination_port, data)


def emit_udp(datagram: UDPDatagram, source: IPv4 | IPv6, destination: IPv4 | IPv6) -> bytes:
    """
    The bytes of a datagram between two addresses, with its checksum.

    @raise ValueError: the data are longer than a UDP header can tell.
    """
    if len(datagram.payload) > PAYLOAD_LIMIT:
        raise ValueError(f"{len(datagram.payload)} bytes do not fit into a UDP datagram")
    ports_and_length = datagram.source_port, datagram.destination_port, HEADER_LENGTH + len(datagram.payload)
    checksum = transport_checksum(source, destination, UDP, _HEADER.pack(*ports_and_length, 0) + datagram.payload)
    return _HEADER.pack(*ports_and_length, checksum or 0xFFFF) + datagram.payload
