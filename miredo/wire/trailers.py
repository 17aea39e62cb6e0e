# SPDX-License-Identifier: MIT
"""
Trailers: what RFC 6081 4.1 puts after the IPv6 packet, without alignment::

    +---------------+---------------+-------------------------------+
    |     Type      |    Length     | Value: Length bytes ...       |
    +---------------+---------------+-------------------------------+

The rules (RFC 6081 5.1.2), trailer by trailer in the order of the datagram:

 1. Fewer than 2 bytes left, or fewer than Length: malformed. Stop; packet and earlier trailers stay valid.
 2. A type that is not known: discard the packet if its top bits are 01, else skip the trailer.
 3. An alternate address trailer that is not formed as 4.3 says: discard the packet (5.6.4.2).
 4. Any other known type whose value does not have the form of its section: as a type that is not known, that is: skip.

Rule 4 is ours, RFC 6081 is silent. Of two nonces the first counts, ours too.
"""

from collections.abc import Callable
from typing import NamedTuple, assert_never

from miredo.address.endpoint import Endpoint, ipv4_of, port_of
from miredo.address.scope import is_unicast
from miredo.wire.reader import MalformedPacket, Reader

NONCE = 0x01
ALTERNATE_ADDRESS = 0x03
NEIGHBOR_DISCOVERY = 0x04
RANDOM_PORT = 0x05
"""RFC 6081 4.5."""

RANDOM_PORT_OF_REGISTRY = 0x02
"""RFC 6081 9 registers another number for the same trailer: it is understood, never sent."""

NONCE_LENGTH = 4
"""Bytes of a trailer's nonce."""

ALTERNATES_LIMIT = 4
"""The most endpoints of an alternate address trailer (RFC 6081 4.3)."""

_ACTION = 0xC0
_DISCARD = 0x40
_ENDPOINT_LENGTH = 6
_RESERVED_2 = bytes(2)
_RESERVED_3 = bytes(3)


class DiscardPacket(MalformedPacket):
    """A trailer demands that its whole packet be discarded."""


class NonceTrailer(NamedTuple):
    """RFC 6081 4.2: 4 random bytes, to be sent back in a direct bubble."""

    nonce: bytes


class AlternateAddressTrailer(NamedTuple):
    """RFC 6081 4.3: 1 to 4 more endpoints of the sender, which may be private."""

    endpoints: tuple[Endpoint, ...]


class NeighborDiscoveryTrailer(NamedTuple):
    """RFC 6081 4.4: a solicitation asks for an advertisement."""

    advertisement: bool


class RandomPortTrailer(NamedTuple):
    """RFC 6081 4.5: the external port that the sender predicts for itself."""

    port: int


Trailer = NonceTrailer | AlternateAddressTrailer | NeighborDiscoveryTrailer | RandomPortTrailer


def parse_trailers(data: bytes) -> tuple[Trailer, ...]:
    """
    The trailers that we know, in their order; C{data} is all that follows an IPv6 packet.

    @raise DiscardPacket: the packet before them is to be discarded.
    """
    reader = Reader(data)
    found: list[Trailer] = []
    while reader.left >= 2:
        kind, length = reader.u8(), reader.u8()
        if length > reader.left:
            break
        value, parse = reader.take(length), _PARSERS.get(kind)
        if parse is None and kind & _ACTION == _DISCARD:
            raise DiscardPacket(f"trailer of the unknown type {kind:#04x}")
        trailer = None if parse is None else parse(value)
        if trailer is not None:
            found.append(trailer)
    return tuple(found)


def nonce_in(trailers: bytes) -> bytes | None:
    """
    The nonce among the trailers.

    @raise DiscardPacket: the packet before them is to be discarded.
    """
    return next((trailer.nonce for trailer in parse_trailers(trailers) if isinstance(trailer, NonceTrailer)), None)


def emit_trailer(trailer: Trailer) -> bytes:
    """
    The bytes of a trailer.

    @raise ValueError: a nonce that has not 4 bytes, or not 1 to 4 alternate addresses.
    """
    match trailer:
        case NonceTrailer(nonce):
            if len(nonce) != NONCE_LENGTH:
                raise ValueError(f"a trailer's nonce has {NONCE_LENGTH} bytes, not {len(nonce)}")
            return _emit(NONCE, nonce)
        case AlternateAddressTrailer(endpoints):
            if not 1 <= len(endpoints) <= ALTERNATES_LIMIT:
                raise ValueError(f"{len(endpoints)} alternate addresses; 1 to {ALTERNATES_LIMIT} are possible")
            return _emit(ALTERNATE_ADDRESS, _RESERVED_2 + b"".join(endpoints))
        case NeighborDiscoveryTrailer(advertisement):
            return _emit(NEIGHBOR_DISCOVERY, bytes((advertisement,)) + _RESERVED_3)
        case RandomPortTrailer(port):
            return _emit(RANDOM_PORT, port.to_bytes(2, "big"))
    assert_never(trailer)


def _emit(kind: int, value: bytes) -> bytes:
    return bytes((kind, len(value))) + value


def _parse_nonce(value: bytes) -> NonceTrailer | None:
    """
    RFC 6081 4.2::

        +---------------+---------------+-------------------------------+
        |   Type 0x01   |   Length 4    |             Nonce             |
        +---------------+---------------+-------------------------------+
        |              ...              |
        +-------------------------------+
    """
    return NonceTrailer(value) if len(value) == NONCE_LENGTH else None


def _parse_alternates(value: bytes) -> AlternateAddressTrailer:
    """
    RFC 6081 4.3; nothing here is obfuscated, a port is not 0, an address is unicast::

        +---------------+---------------+-------------------------------+
        |   Type 0x03   |8, 14, 20 or 26|            Reserved           |
        +---------------+---------------+-------------------------------+
        |                   1 to 4 x IPv4 address, port                 |
        +---------------------------------------------------------------+
    """
    reader = Reader(value[len(_RESERVED_2) :])
    count, more = divmod(len(value) - len(_RESERVED_2), _ENDPOINT_LENGTH)
    if more or not 1 <= count <= ALTERNATES_LIMIT:
        raise DiscardPacket(f"alternate address trailer of {len(value)} bytes")
    endpoints = tuple(reader.take(_ENDPOINT_LENGTH) for _ in range(count))
    if not all(port_of(endpoint) and is_unicast(ipv4_of(endpoint)) for endpoint in endpoints):
        raise DiscardPacket("alternate address that cannot be sent to")
    return AlternateAddressTrailer(endpoints)


def _parse_discovery(value: bytes) -> NeighborDiscoveryTrailer | None:
    """
    RFC 6081 4.4; DiscoveryType is 0 in a solicitation, 1 in an advertisement::

        +---------------+---------------+---------------+---------------+
        |   Type 0x04   |   Length 4    | DiscoveryType |   Reserved    |
        +---------------+---------------+---------------+---------------+
        |              ...              |
        +-------------------------------+
    """
    return NeighborDiscoveryTrailer(value[0] == 1) if len(value) == 4 and value[0] <= 1 else None


def _parse_random_port(value: bytes) -> RandomPortTrailer | None:
    """
    RFC 6081 4.5::

        +---------------+---------------+-------------------------------+
        |   Type 0x05   |   Length 2    |          Random Port          |
        +---------------+---------------+-------------------------------+
    """
    return RandomPortTrailer(int.from_bytes(value, "big")) if len(value) == 2 else None


_PARSERS: dict[int, Callable[[bytes], Trailer | None]] = {
    NONCE: _parse_nonce,
    ALTERNATE_ADDRESS: _parse_alternates,
    NEIGHBOR_DISCOVERY: _parse_discovery,
    RANDOM_PORT: _parse_random_port,
    RANDOM_PORT_OF_REGISTRY: _parse_random_port,
}
