# SPDX-License-Identifier: MIT
"""
What a Teredo datagram holds: RFC 4380 5.1.1, RFC 6081 4::

    +------------------+---------------------+-------------+------------+
    | [Authentication] | [Origin indication] | IPv6 packet | [Trailers] |
    +------------------+---------------------+-------------+------------+

Authentication comes first if both are there. The first nibble of an IPv6 packet is 6; both others start with a zero
byte.

Authentication::

    +---------------+---------------+---------------+---------------+
    |     0x00      |     0x01      |    ID-len     |    AU-len     |
    +---------------+---------------+---------------+---------------+
    | client identifier: ID-len bytes                               |
    +---------------------------------------------------------------+
    | authentication value: AU-len bytes                            |
    +---------------------------------------------------------------+
    |                           nonce (8)                           |
    +---------------+-----------------------------------------------+
    | confirmation  |
    +---------------+

Origin indication, each bit reversed so that no NAT rewrites it::

    +---------------+---------------+-------------------------------+
    |     0x00      |     0x00      |    origin port XOR ffff       |
    +---------------+---------------+-------------------------------+
    |              origin IPv4 address XOR ffffffff                 |
    +---------------------------------------------------------------+
"""

from typing import NamedTuple

from miredo.address.endpoint import Endpoint
from miredo.wire.ipv6 import packet_end
from miredo.wire.reader import Reader

NONCE_LENGTH = 8
"""Bytes of an authentication nonce."""

FIELD_LIMIT = 0xFF
"""The longest client identifier or authentication value, in bytes."""

_AUTHENTICATION = b"\x00\x01"
_ORIGIN = b"\x00\x00"
_OBFUSCATION = 0xFFFF_FFFF_FFFF


class Authentication(NamedTuple):
    """The authentication block; only the nonce is filled in unless client and server share a secret."""

    identifier: bytes
    value: bytes
    nonce: bytes
    confirmation: int


class Encapsulated(NamedTuple):
    """A datagram taken apart: C{packet} is the IPv6 packet and nothing else, C{trailers} all that follows it."""

    authentication: Authentication | None
    origin: Endpoint | None
    packet: bytes
    trailers: bytes


def parse_encapsulation(datagram: bytes) -> Encapsulated:
    """
    Take the payload of a UDP datagram apart.

    @raise MalformedPacket: it holds no whole IPv6 packet, or something else before it.
    """
    authentication, origin, start = None, None, 0
    if datagram[:1] == b"\x00":
        reader = Reader(datagram)
        if datagram.startswith(_AUTHENTICATION):
            authentication = _parse_authentication(reader)
        if datagram.startswith(_ORIGIN, reader.at):
            origin = _parse_origin(reader)
        start = reader.at
    # RFC 6081 4: the IPv6 packet may be shorter than what is left of the datagram, not longer.
    end = packet_end(datagram, start)
    return Encapsulated(authentication, origin, datagram[start:end], datagram[end:])


def emit_encapsulation(encapsulated: Encapsulated) -> bytes:
    """
    The payload of a UDP datagram.

    @raise ValueError: a field of the authentication block is longer than the block can tell.
    """
    authentication, origin, packet, trailers = encapsulated
    start = b"" if authentication is None else emit_authentication(authentication)
    if origin is not None:
        start += emit_origin(origin)
    return start + packet + trailers


def emit_origin(endpoint: Endpoint) -> bytes:
    """An origin indication: 8 bytes."""
    return _ORIGIN + _obfuscate(endpoint[4:] + endpoint[:4])


def emit_authentication(authentication: Authentication) -> bytes:
    """
    An authentication block: 13 bytes and the identifier and the value.

    @raise ValueError: a field has a length that the block cannot tell.
    """
    identifier, value, nonce, confirmation = authentication
    if len(identifier) > FIELD_LIMIT or len(value) > FIELD_LIMIT:
        raise ValueError(f"identifier and authentication value have at most {FIELD_LIMIT} bytes each")
    if len(nonce) != NONCE_LENGTH:
        raise ValueError(f"a nonce has {NONCE_LENGTH} bytes, not {len(nonce)}")
    return _AUTHENTICATION + bytes((len(identifier), len(value))) + identifier + value + nonce + bytes((confirmation,))


def emit_nonce_authentication(nonce: bytes, confirmation: int = 0) -> bytes:
    """An authentication block with a nonce alone: 13 bytes."""
    return emit_authentication(Authentication(b"", b"", nonce, confirmation))


def _parse_authentication(reader: Reader) -> Authentication:
    reader.take(len(_AUTHENTICATION))
    identifier_length, value_length = reader.u8(), reader.u8()
    identifier, value = reader.take(identifier_length), reader.take(value_length)
    return Authentication(identifier, value, reader.take(NONCE_LENGTH), reader.u8())


def _parse_origin(reader: Reader) -> Endpoint:
    reader.take(len(_ORIGIN))
    clear = _obfuscate(reader.take(6))
    return clear[2:] + clear[:2]


def _obfuscate(port_and_address: bytes) -> bytes:
    return (int.from_bytes(port_and_address, "big") ^ _OBFUSCATION).to_bytes(6, "big")
