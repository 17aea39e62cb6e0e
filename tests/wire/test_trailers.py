# SPDX-License-Identifier: MIT
"""Trailers: what is understood, skipped, and enough to discard a packet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.endpoint import parse_endpoint
from miredo.wire.reader import MalformedPacket
from miredo.wire.trailers import (
    AlternateAddressTrailer,
    DiscardPacket,
    NeighborDiscoveryTrailer,
    NonceTrailer,
    RandomPortTrailer,
    Trailer,
    emit_trailer,
    nonce_in,
    parse_trailers,
)
from tests.wire.values import endpoints, patient, trailers

NONCE = NonceTrailer(bytes.fromhex("deadbeef"))
RAW_NONCE = emit_trailer(NONCE)
KNOWN = {1, 2, 3, 4, 5}


@patient
@given(st.lists(trailers, max_size=6))
def test_trailers_survive_their_bytes_in_their_order(values: list[Trailer]) -> None:
    found = parse_trailers(b"".join(map(emit_trailer, values)))
    assert found == tuple(values)
    assert list(map(type, found)) == list(map(type, values))


@patient
@given(st.lists(trailers, min_size=1, max_size=4), st.data())
def test_what_is_cut_short_ends_the_list_and_leaves_what_came_before(
    values: list[Trailer], data: st.DataObject
) -> None:
    before, last = b"".join(map(emit_trailer, values[:-1])), emit_trailer(values[-1])
    cut = data.draw(st.integers(0, len(last) - 1))
    assert parse_trailers(before + last[:cut]) == tuple(values[:-1])


@pytest.mark.parametrize("kind", sorted(set(range(256)) - KNOWN))
def test_an_unknown_type_is_skipped_or_ends_the_packet_as_its_top_bits_say(kind: int) -> None:
    unknown = bytes((kind, 3)) + b"xyz"
    if kind >> 6 == 0b01:
        for data in (unknown, RAW_NONCE + unknown, unknown + RAW_NONCE):
            with pytest.raises(DiscardPacket, match=f"unknown type {kind:#04x}"):
                parse_trailers(data)
            with pytest.raises(DiscardPacket):
                nonce_in(data)
    else:
        assert parse_trailers(RAW_NONCE + unknown + RAW_NONCE) == (NONCE, NONCE)


@pytest.mark.parametrize("kind", [0x41, 0x03])
def test_a_trailer_that_is_cut_short_is_not_looked_at(kind: int) -> None:
    assert parse_trailers(RAW_NONCE + bytes((kind, 9)) + bytes(8)) == (NONCE,)
    assert parse_trailers(RAW_NONCE + bytes((kind,))) == (NONCE,)


def test_what_stands_behind_a_malformed_trailer_does_not_count() -> None:
    assert parse_trailers(RAW_NONCE + b"\x3f\x20" + bytes.fromhex("4100")) == (NONCE,)


@pytest.mark.parametrize("kind", sorted(KNOWN - {3}))
@pytest.mark.parametrize("length", [0, 1, 3, 5, 8])
def test_a_known_type_of_another_length_is_skipped(kind: int, length: int) -> None:
    assert parse_trailers(bytes((kind, length)) + bytes(length) + RAW_NONCE) == (NONCE,)


def test_both_numbers_of_the_random_port_are_understood_and_the_one_of_section_4_5_is_sent() -> None:
    port = RandomPortTrailer(40000)
    assert parse_trailers(bytes.fromhex("05029c40")) == parse_trailers(bytes.fromhex("02029c40")) == (port,)
    assert emit_trailer(port) == bytes.fromhex("05029c40")


@pytest.mark.parametrize("discovery", [2, 0x7F, 0xFF])
def test_an_unknown_discovery_type_is_skipped(discovery: int) -> None:
    assert parse_trailers(bytes((4, 4, discovery, 0, 0, 0)) + RAW_NONCE) == (NONCE,)


def test_reserved_bytes_are_ignored() -> None:
    assert parse_trailers(bytes.fromhex("040401ffffff")) == (NeighborDiscoveryTrailer(advertisement=True),)
    here = parse_endpoint("192.168.1.10:51234")
    assert parse_trailers(bytes.fromhex("0308ffff") + here) == (AlternateAddressTrailer((here,)),)


@pytest.mark.parametrize("length", [*sorted(set(range(40)) - {8, 14, 20, 26}), 255])
def test_an_alternate_address_trailer_of_another_length_ends_the_packet(length: int) -> None:
    value = (bytes(2) + parse_endpoint("192.0.2.1:4096") * 50)[:length]
    with pytest.raises(DiscardPacket, match="alternate address trailer"):
        parse_trailers(RAW_NONCE + bytes((3, length)) + value)


@pytest.mark.parametrize(
    "text",
    ["192.0.2.1:0", "0.0.0.0:4096", "127.0.0.1:53", "224.0.0.253:3544", "255.255.255.255:4096"],
)
def test_an_alternate_address_that_is_not_unicast_or_has_no_port_ends_the_packet(text: str) -> None:
    good, bad = parse_endpoint("192.0.2.1:4096"), parse_endpoint(text)
    for value in (bad, good + bad, bad + good, good * 3 + bad):
        with pytest.raises(DiscardPacket, match="cannot be sent to"):
            parse_trailers(bytes((3, 2 + len(value), 0, 0)) + value)


def test_the_first_nonce_counts() -> None:
    other = emit_trailer(NonceTrailer(b"else"))
    port = emit_trailer(RandomPortTrailer(1))
    assert nonce_in(port + RAW_NONCE + other) == NONCE.nonce
    assert nonce_in(port) is None
    assert nonce_in(b"") is None


def test_a_discarded_packet_is_a_malformed_one() -> None:
    assert issubclass(DiscardPacket, MalformedPacket)


@pytest.mark.parametrize("count", [0, 5])
def test_another_number_of_alternates_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 4 are possible"):
        emit_trailer(AlternateAddressTrailer((parse_endpoint("192.0.2.1:1"),) * count))


@pytest.mark.parametrize("length", [0, 3, 5])
def test_a_nonce_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="nonce has 4 bytes"):
        emit_trailer(NonceTrailer(bytes(length)))


@patient
@given(st.binary(max_size=80) | st.lists(endpoints).map(b"\x03\x08\x00\x00".join))
def test_any_bytes_are_trailers_or_end_the_packet(data: bytes) -> None:
    try:
        found = parse_trailers(data)
    except DiscardPacket:
        return
    assert parse_trailers(b"".join(map(emit_trailer, found))) == found
