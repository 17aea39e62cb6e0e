# SPDX-License-Identifier: MIT
"""
IPv4 and IPv6 addresses and UDP endpoints as bytes, and their text.

All three are C{bytes} in network order, so that they are dictionary keys, slices of packets and parts of messages
without a conversion::

     0               1               2               3               4       5
    +---------------+---------------+---------------+---------------+-------+-------+
    |                         IPv4 address                          |   UDP port    |   an Endpoint
    +---------------+---------------+---------------+---------------+-------+-------+
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

IPv4 = bytes
"""An IPv4 address: 4 bytes, network order."""

IPv6 = bytes
"""An IPv6 address: 16 bytes, network order."""

Endpoint = bytes
"""Where a UDP datagram comes from or goes to: 4 bytes of IPv4 address, 2 bytes of port, network order."""

Dice = Callable[[int], bytes]
"""Gives that many random bytes of the quality RFC 4086 asks for, as C{os.urandom} does."""

_MAPPED_IPV4 = bytes(10) + b"\xff\xff"
_PORT_LIMIT = 0x10000


def endpoint(ipv4: IPv4, port: int) -> Endpoint:
    """Join an address and a port."""
    return ipv4 + port.to_bytes(2, "big")


def ipv4_of(endpoint: Endpoint) -> IPv4:
    """The address of an endpoint."""
    return endpoint[:4]


def port_of(endpoint: Endpoint) -> int:
    """The port of an endpoint."""
    return endpoint[4] << 8 | endpoint[5]


def parse_ipv4(text: str) -> IPv4:
    """
    Read a dotted quad.

    @raise ValueError: C{text} is no IPv4 address.
    """
    try:
        return IPv4Address(text).packed
    except ValueError as error:
        raise ValueError(f"{text!r} is not an IPv4 address") from error


def show_ipv4(ipv4: IPv4) -> str:
    """The dotted quad of an address."""
    return ".".join(map(str, ipv4))


def parse_ipv6(text: str) -> IPv6:
    """
    Read an IPv6 address in any of the forms of RFC 4291 2.2, without a zone (C{%eth0}).

    @raise ValueError: C{text} is no such address.
    """
    try:
        address = IPv6Address(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an IPv6 address") from error
    if address.scope_id is not None:
        raise ValueError(f"{text!r} names a zone; an IPv6 address without one is expected")
    return address.packed


def show_ipv6(ipv6: IPv6) -> str:
    """The canonical text of an address (RFC 5952)."""
    # RFC 5952 5: the dotted quad where the prefix says that there is one; Python < 3.13 does not do this.
    if ipv6.startswith(_MAPPED_IPV4):
        return f"::ffff:{show_ipv4(ipv6[12:])}"
    return str(IPv6Address(ipv6))


def parse_endpoint(text: str) -> Endpoint:
    """
    Read C{192.0.2.1:4096}.

    @raise ValueError: C{text} is not an IPv4 address, a colon and a port.
    """
    address, colon, digits = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text!r} has no port; ADDRESS:PORT is expected")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 5 and int(digits) < _PORT_LIMIT):
        raise ValueError(f"{digits!r} is not a UDP port")
    return endpoint(parse_ipv4(address), int(digits))


def show_endpoint(endpoint: Endpoint) -> str:
    """The text that L{parse_endpoint} reads."""
    return f"{show_ipv4(endpoint[:4])}:{port_of(endpoint)}"
