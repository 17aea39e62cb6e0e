# SPDX-License-Identifier: MIT
"""Damaged datagrams: nothing but L{MalformedPacket} comes out of any parser, whatever goes in."""

import random
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from miredo.wire.bubble import is_bubble
from miredo.wire.checksum import transport_checksum
from miredo.wire.encapsulation import emit_encapsulation, parse_encapsulation
from miredo.wire.icmpv4 import parse_unreachable
from miredo.wire.icmpv6 import (
    check_router_advertisement,
    check_router_solicitation,
    is_icmpv6_error,
    may_cause_error,
    parse_icmpv6,
)
from miredo.wire.ipv4 import parse_ipv4_packet
from miredo.wire.ipv6 import (
    HEADER_LENGTH,
    ICMPV6,
    IPv6Packet,
    emit_ipv6,
    has_live_routing_header,
    is_ipv6,
    parse_ipv6,
    upper_layer,
)
from miredo.wire.reader import MalformedPacket
from miredo.wire.trailers import emit_trailer, nonce_in, parse_trailers
from miredo.wire.udp import parse_udp
from tests.wire.vectors import CLIENT_A, CLIENT_B, MAPPED_A, MAPPED_B, VECTORS

pytestmark = pytest.mark.untraced

MUTATIONS: Final = 10_000
EXTENSIONS = (0, 43, 44, 51, 60)


def read_message(data: bytes) -> None:
    """As an IPv6 packet, as ICMPv6 with the checksum that it has, and with the right one: few mutants have it."""
    packet, rest = parse_ipv6(data)
    assert emit_ipv6(packet) + rest == data
    for variant in (packet, repaired(packet)):
        for check in (check_router_solicitation, check_router_advertisement):
            try:
                check(variant, parse_icmpv6(variant))
            except MalformedPacket:
                continue


def repaired(packet: IPv6Packet) -> IPv6Packet:
    """The same packet as ICMPv6 with the right checksum."""
    cleared = packet.payload[:2] + bytes(2) + packet.payload[4:]
    checksum = transport_checksum(packet.source, packet.destination, ICMPV6, cleared)
    return packet._replace(next_header=ICMPV6, payload=cleared[:2] + checksum.to_bytes(2, "big") + cleared[4:])


def read_encapsulation(data: bytes) -> None:
    """As a datagram; what is accepted is written again as it was."""
    found = parse_encapsulation(data)
    assert emit_encapsulation(found) == data
    assert is_ipv6(found.packet)
    read_message(found.packet)


def read_trailers(data: bytes) -> None:
    """As trailers; what is understood survives writing and reading."""
    found = parse_trailers(data)
    assert parse_trailers(b"".join(map(emit_trailer, found))) == found


PARSERS: tuple[Callable[[bytes], object], ...] = (
    read_encapsulation,
    read_message,
    upper_layer,
    has_live_routing_header,
    is_icmpv6_error,
    may_cause_error,
    is_bubble,
    is_ipv6,
    read_trailers,
    nonce_in,
    parse_ipv4_packet,
    parse_unreachable,
    lambda data: read_trailers(data[HEADER_LENGTH:]),
    lambda data: parse_udp(data, MAPPED_A[:4], MAPPED_B[:4]),
    lambda data: parse_udp(data, CLIENT_A, CLIENT_B),
)


def read(data: bytes) -> None:
    """Through every parser."""
    for parse in PARSERS:
        try:
            parse(data)
        except MalformedPacket:
            continue


def mutants(name: str, count: int) -> Iterator[bytes]:
    """The same damaged variants of a vector every time: one to three flips, bytes, insertions, deletions or copies."""
    dice = random.Random(name)
    for _ in range(count):
        data = bytearray(VECTORS[name])
        for _ in range(1 + dice.getrandbits(8) % 3):
            at = int(dice.random() * (len(data) + 1))
            match dice.getrandbits(8) % 6:
                case 0 if at < len(data):
                    data[at] ^= 1 << dice.getrandbits(3)
                case 1 if at < len(data):
                    data[at] = dice.getrandbits(8) >> dice.getrandbits(3)
                case 2:
                    data[at:at] = dice.randbytes(1 + dice.getrandbits(3))
                case 3:
                    del data[at : at + 1 + dice.getrandbits(3)]
                case 4:
                    data[at : at + 8] = data[dice.getrandbits(6) :][:8]
                case _ if len(data) > HEADER_LENGTH:
                    data[6] = EXTENSIONS[dice.getrandbits(8) % 5]
                case _:
                    data += dice.randbytes(1 + dice.getrandbits(6))
        yield bytes(data)


@pytest.mark.requirement("T31")
@pytest.mark.parametrize("name", VECTORS)
def test_every_truncation_of_a_vector_raises_nothing_but_malformed_packet(name: str) -> None:
    for end in range(len(VECTORS[name])):
        read(VECTORS[name][:end])


@pytest.mark.requirement("T31")
@pytest.mark.parametrize("name", VECTORS)
def test_ten_thousand_mutations_of_a_vector_raise_nothing_but_malformed_packet(name: str) -> None:
    for mutant in mutants(name, MUTATIONS):
        read(mutant)


def test_random_bytes_raise_nothing_but_malformed_packet() -> None:
    dice = random.Random("noise")
    for _ in range(MUTATIONS):
        read(dice.randbytes(dice.getrandbits(7)))


def test_mutants_get_far_enough_to_be_understood_and_to_be_refused_for_their_options() -> None:
    understood, refused = 0, set()
    for mutant in mutants("ra_inner", 2000):
        try:
            variant = repaired(parse_ipv6(mutant)[0])
            check_router_advertisement(variant, parse_icmpv6(variant))
            understood += 1
        except MalformedPacket as malformed:
            refused.add(str(malformed))
    assert understood > 200
    assert {"option of length 0", "prefix option of a wrong length", "MTU option of a wrong length"} <= refused


def test_mutants_are_damaged_and_the_same_in_every_run() -> None:
    first = list(mutants("ra_auth_origin", 1000))
    assert first == list(mutants("ra_auth_origin", 1000))
    assert len(set(first) - {VECTORS["ra_auth_origin"]}) > 900


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith(("rs_", "ra_", "bubble_", "p", "icmp_"))])
def test_a_datagram_is_whole_as_long_as_its_ipv6_packet_is(name: str) -> None:
    datagram = VECTORS[name]
    found = parse_encapsulation(datagram)
    shortest = len(datagram) - len(found.trailers)
    for end in range(shortest):
        with pytest.raises(MalformedPacket):
            parse_encapsulation(datagram[:end])
    for end in range(shortest, len(datagram)):
        assert parse_encapsulation(datagram[:end]) == found._replace(trailers=found.trailers[: end - shortest])
