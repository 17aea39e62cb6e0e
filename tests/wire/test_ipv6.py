# SPDX-License-Identifier: MIT
"""IPv6 packets and their chains of headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.wire.ipv6 import (
    AUTHENTICATION_HEADER,
    DESTINATION_OPTIONS,
    FRAGMENT,
    HOP_BY_HOP,
    ICMPV6,
    NO_NEXT_HEADER,
    ROUTING,
    TCP,
    UDP,
    IPv6Packet,
    destination_of,
    dscp_of,
    emit_ipv6,
    has_live_routing_header,
    is_ipv6,
    length_of,
    next_header_of,
    packet_end,
    parse_ipv6,
    source_of,
    upper_layer,
)
from miredo.wire.reader import MalformedPacket
from tests.wire.values import ipv6_packets, patient
from tests.wire.vectors import CLIENT_A, NATIVE

Header = tuple[int, bytes]
"""An extension header: its number, and its bytes but for the first, which names the next one."""

HOPS: Header = (HOP_BY_HOP, bytes(7))
OPTIONS: Header = (DESTINATION_OPTIONS, b"\x01" + bytes(14))
DEAD_ROUTE: Header = (ROUTING, bytes.fromhex("02000000000000") + bytes(16))
LIVE_ROUTE: Header = (ROUTING, bytes.fromhex("02000100000000") + bytes(16))
FIRST_FRAGMENT: Header = (FRAGMENT, bytes.fromhex("00000100000001"))
LATER_FRAGMENT: Header = (FRAGMENT, bytes.fromhex("00000800000001"))
AUTHENTICATED: Header = (AUTHENTICATION_HEADER, b"\x04" + bytes(22))


def chain(*headers: Header, upper: int = UDP, payload: bytes = b"payload") -> bytes:
    """A packet with these extension headers."""
    numbers = [number for number, _ in headers] + [upper]
    body = b"".join(bytes((after,)) + rest for after, (_, rest) in zip(numbers[1:], headers, strict=True))
    return emit_ipv6(IPv6Packet(0, 0, numbers[0], 64, CLIENT_A, NATIVE, body + payload))


@patient
@given(ipv6_packets, st.binary(max_size=20))
def test_a_packet_survives_its_bytes_and_what_follows_it_is_given_back(packet: IPv6Packet, rest: bytes) -> None:
    raw = emit_ipv6(packet)
    assert parse_ipv6(raw + rest) == (packet, rest)
    assert packet_end(b"12345" + raw + rest, 5) == 5 + len(raw)
    assert is_ipv6(raw)
    assert is_ipv6(raw + rest) == (rest == b"")


@patient
@given(ipv6_packets)
def test_a_field_is_read_without_taking_the_packet_apart(packet: IPv6Packet) -> None:
    raw = emit_ipv6(packet)
    assert source_of(raw) == packet.source
    assert destination_of(raw) == packet.destination
    assert next_header_of(raw) == packet.next_header
    assert length_of(raw) == len(raw)


@patient
@given(ipv6_packets, st.data())
def test_a_packet_that_is_cut_short_is_malformed(packet: IPv6Packet, data: st.DataObject) -> None:
    raw = emit_ipv6(packet)
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    for parse in (parse_ipv6, packet_end, upper_layer, has_live_routing_header):
        with pytest.raises(MalformedPacket, match="shorter"):
            parse(cut)
    assert not is_ipv6(cut)


@pytest.mark.parametrize("first", [0x00, 0x45, 0x5F, 0x70, 0xFF])
def test_another_version_is_malformed(first: int) -> None:
    raw = bytes((first,)) + chain()[1:]
    with pytest.raises(MalformedPacket, match="version"):
        parse_ipv6(raw)
    assert not is_ipv6(raw)


def test_a_payload_that_the_header_cannot_tell_is_refused() -> None:
    packet = IPv6Packet(0, 0, UDP, 64, CLIENT_A, NATIVE, bytes(0xFFFF))
    assert len(emit_ipv6(packet)) == 40 + 0xFFFF
    with pytest.raises(ValueError, match="do not fit"):
        emit_ipv6(packet._replace(payload=bytes(0x10000)))


@pytest.mark.parametrize("upper", [TCP, UDP, ICMPV6, NO_NEXT_HEADER, 50, 135, 255])
@pytest.mark.parametrize(
    ("headers", "offset"),
    [
        ((), 40),
        ((HOPS,), 48),
        ((OPTIONS,), 56),
        ((DEAD_ROUTE,), 64),
        ((FIRST_FRAGMENT,), 48),
        ((AUTHENTICATED,), 64),
        ((HOPS, OPTIONS, DEAD_ROUTE, FIRST_FRAGMENT, AUTHENTICATED, OPTIONS), 40 + 8 + 16 + 24 + 8 + 24 + 16),
    ],
)
def test_the_upper_layer_is_behind_the_extension_headers(headers: tuple[Header, ...], offset: int, upper: int) -> None:
    raw = chain(*headers, upper=upper)
    assert upper_layer(raw) == (upper, offset)
    assert raw[offset:] == b"payload"
    assert not has_live_routing_header(raw)


def test_an_upper_layer_may_be_empty() -> None:
    assert upper_layer(chain(OPTIONS, payload=b"")) == (UDP, 56)


def test_trailers_are_no_part_of_the_chain() -> None:
    raw = emit_ipv6(IPv6Packet(0, 0, DESTINATION_OPTIONS, 64, CLIENT_A, NATIVE, b""))
    with pytest.raises(MalformedPacket, match="extension header"):
        upper_layer(raw + b"\x11" + bytes(7))


def test_a_later_fragment_has_no_upper_layer() -> None:
    assert upper_layer(chain(OPTIONS, LATER_FRAGMENT, upper=ICMPV6)) == (FRAGMENT, 56)
    assert not has_live_routing_header(chain(LATER_FRAGMENT, LIVE_ROUTE))


@pytest.mark.parametrize(
    "headers",
    [
        (LIVE_ROUTE,),
        (HOPS, LIVE_ROUTE),
        (OPTIONS, LIVE_ROUTE, FIRST_FRAGMENT),
        (FIRST_FRAGMENT, LIVE_ROUTE),
        (DEAD_ROUTE, LIVE_ROUTE),
        (AUTHENTICATED, LIVE_ROUTE),
        (LIVE_ROUTE, LATER_FRAGMENT),
    ],
)
def test_a_routing_header_with_segments_left_is_found_anywhere_in_the_chain(headers: tuple[Header, ...]) -> None:
    assert has_live_routing_header(chain(*headers))


@pytest.mark.parametrize("headers", [(HOPS, OPTIONS), (DEAD_ROUTE,), (LIVE_ROUTE,), (FIRST_FRAGMENT, OPTIONS)])
def test_a_chain_that_runs_beyond_the_packet_is_malformed(headers: tuple[Header, ...]) -> None:
    whole, _ = parse_ipv6(chain(*headers, payload=b""))
    for length in range(len(whole.payload)):
        cut = emit_ipv6(whole._replace(payload=whole.payload[:length]))
        for parse in (upper_layer, has_live_routing_header):
            with pytest.raises(MalformedPacket, match="extension header cut short"):
                parse(cut)


def test_hop_by_hop_options_come_first_or_are_malformed() -> None:
    with pytest.raises(MalformedPacket, match="hop-by-hop"):
        upper_layer(chain(OPTIONS, HOPS))


@pytest.mark.parametrize(
    ("packet", "dscp"),
    [(b"\x6b\x83", 46), (b"\x6f\xff", 63), (b"\x60\x3f", 0), (b"\x4b\x83", 0), (b"\x6b", 0), (b"", 0)],
)
def test_the_dscp_is_six_bits_of_an_ipv6_header(packet: bytes, dscp: int) -> None:
    assert dscp_of(packet) == dscp
