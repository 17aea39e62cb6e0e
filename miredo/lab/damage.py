# SPDX-License-Identifier: MIT
"""Teredo datagrams with something wrong: headers that lie, packets cut short, bits turned over, and mere noise."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from miredo.address.endpoint import Endpoint, IPv4, IPv6
from miredo.address.teredo import CLIENT_LINK_LOCAL, SERVICE_PREFIX, server_link_local
from miredo.teredo.qualification import SOLICITATION
from miredo.wire.bubble import emit_bubble
from miredo.wire.encapsulation import emit_nonce_authentication, emit_origin
from miredo.wire.icmpv6 import EchoReply, EchoRequest, emit_icmpv6, teredo_router_advertisement
from miredo.wire.ipv6 import UDP, IPv6Packet, emit_ipv6
from miredo.wire.trailers import NonceTrailer, emit_trailer

ROUTING = 43


def sound(source: IPv6, destination: IPv6, server: IPv4, origin: Endpoint) -> list[bytes]:
    """A datagram of every kind, with nothing wrong yet."""
    nonce = bytes(range(8))
    advertisement = teredo_router_advertisement(SERVICE_PREFIX + server)
    routed = bytes((UDP, 2, 0, 1)) + bytes(20) + bytes(8)
    bubble = emit_bubble(source, destination)
    return [
        bubble,
        bubble + emit_trailer(NonceTrailer(nonce[:4])),
        emit_origin(origin) + bubble,
        SOLICITATION,
        emit_nonce_authentication(nonce) + SOLICITATION,
        emit_nonce_authentication(nonce)
        + emit_origin(origin)
        + emit_icmpv6(server_link_local(server), CLIENT_LINK_LOCAL, advertisement),
        emit_icmpv6(source, destination, EchoRequest(1, 1, nonce), 64),
        emit_icmpv6(source, destination, EchoReply(1, 1, 2 * nonce), 64),
        emit_ipv6(IPv6Packet(0, 0, UDP, 64, source, destination, 8 * nonce)),
        emit_ipv6(IPv6Packet(0, 0, ROUTING, 64, source, destination, routed)),
    ]


def damaged(datagrams: list[bytes], count: int, seed: int = 0) -> Iterator[bytes]:
    """So many datagrams with something wrong, the same ones for the same seed."""
    dice = Random(seed)
    for number in range(count):
        data = bytearray(datagrams[number % len(datagrams)])
        match dice.randrange(6):
            case 0:
                yield bytes(data[: dice.randrange(len(data))])
            case 1:
                yield bytes(data) + dice.randbytes(dice.randrange(1, 100))
            case 2:
                yield dice.randbytes(dice.randrange(1400))
            case 3:  # a length that claims too much
                at = dice.choice([4, 2, 3, len(data) - 1])
                data[at] = 0xFF
                yield bytes(data)
            case _:
                for _ in range(dice.randrange(1, 5)):
                    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
                yield bytes(data)
