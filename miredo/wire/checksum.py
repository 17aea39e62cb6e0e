# SPDX-License-Identifier: MIT
"""
The Internet checksum (RFC 1071) and the pseudo-headers that transports put in front of it.

A one's complement sum of 16-bit words is the number that the bytes spell modulo 65535, because 2**16 is 1 there. Only
the two representations of zero need care: the sum is 0 if all bytes are 0, else ffff.

IPv6 pseudo-header (RFC 8200 8.1)::

    +---------------------------------------------------------------+
    |                      Source Address (16)                      |
    +---------------------------------------------------------------+
    |                   Destination Address (16)                    |
    +---------------------------------------------------------------+
    |                  Upper-Layer Packet Length (4)                |
    +-----------------------------------------------+---------------+
    |                      zero (3)                 |  Next Header  |
    +-----------------------------------------------+---------------+

IPv4 pseudo-header (RFC 768)::

    +---------------------------------------------------------------+
    |                      source address (4)                       |
    +---------------------------------------------------------------+
    |                    destination address (4)                    |
    +---------------+---------------+-------------------------------+
    |     zero      |   protocol    |         UDP length            |
    +---------------+---------------+-------------------------------+
"""

from miredo.address.endpoint import IPv4, IPv6


def internet_checksum(data: bytes) -> int:
    """
    The checksum of C{data}, as if a zero byte followed an odd length.

    Of data that holds its own checksum, it is 0 if that is right.
    """
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    return 0xFFFF - (number % 0xFFFF or (0xFFFF if number else 0))


def pseudo_header_ipv6(source: IPv6, destination: IPv6, length: int, next_header: int) -> bytes:
    """What stands before an upper-layer packet of C{length} bytes when its checksum is computed: 40 bytes."""
    return source + destination + length.to_bytes(4, "big") + next_header.to_bytes(4, "big")


def pseudo_header_ipv4(source: IPv4, destination: IPv4, length: int, protocol: int) -> bytes:
    """What stands before a segment of C{length} bytes when its checksum is computed: 12 bytes."""
    return source + destination + protocol.to_bytes(2, "big") + length.to_bytes(2, "big")


def transport_checksum(source: IPv4 | IPv6, destination: IPv4 | IPv6, protocol: int, segment: bytes) -> int:
    """The checksum of a UDP, TCP or ICMPv6 segment between two addresses, of which both are IPv4 or both IPv6."""
    pseudo_header = pseudo_header_ipv4 if len(source) == 4 else pseudo_header_ipv6
    return internet_checksum(pseudo_header(source, destination, len(segment), protocol) + segment)
