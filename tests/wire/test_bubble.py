# SPDX-License-Identifier: MIT
"""Bubbles."""

from hypothesis import given

from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.ipv6 import NO_NEXT_HEADER, UDP, IPv6Packet, emit_ipv6, parse_ipv6
from tests.wire.values import ipv6, ipv6_packets, patient, u8
from tests.wire.vectors import CLIENT_A, CLIENT_B, VECTORS


@patient
@given(ipv6, ipv6, u8)
def test_a_bubble_is_a_packet_with_nothing_in_it(source: bytes, destination: bytes, hop_limit: int) -> None:
    bubble = emit_bubble(source, destination, hop_limit)
    assert parse_ipv6(bubble) == (IPv6Packet(0, 0, NO_NEXT_HEADER, hop_limit, source, destination, b""), b"")
    assert is_bubble(bubble)


@patient
@given(ipv6_packets)
def test_a_packet_is_a_bubble_if_it_has_neither_next_header_nor_payload(packet: IPv6Packet) -> None:
    empty = packet.next_header == NO_NEXT_HEADER and not packet.payload
    assert is_bubble(emit_ipv6(packet)) == empty
    assert is_bubble(emit_ipv6(packet._replace(next_header=NO_NEXT_HEADER, payload=b"")))


def test_our_bubble_is_the_vector() -> None:
    assert emit_bubble(CLIENT_A, CLIENT_B) == VECTORS["bubble_A_B"]


def test_an_empty_packet_of_another_kind_and_a_full_one_of_this_kind_are_no_bubbles() -> None:
    packet = IPv6Packet(0, 0, NO_NEXT_HEADER, 255, CLIENT_A, CLIENT_B, b"x")
    assert not is_bubble(emit_ipv6(packet))
    assert not is_bubble(emit_ipv6(packet._replace(next_header=UDP, payload=b"")))
    assert not is_bubble(b"")
