# SPDX-License-Identifier: MIT
"""What stands before and after an IPv6 packet in a datagram."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.wire.bubble import emit_bubble
from miredo.wire.encapsulation import (
    Authentication,
    Encapsulated,
    emit_authentication,
    emit_encapsulation,
    emit_nonce_authentication,
    emit_origin,
    parse_encapsulation,
)
from miredo.wire.reader import MalformedPacket
from tests.wire.values import encapsulated, endpoints, patient
from tests.wire.vectors import CLIENT_A, CLIENT_B, MAPPED_A, NONCE

BUBBLE = emit_bubble(CLIENT_A, CLIENT_B)
ORIGIN = emit_origin(MAPPED_A)
AUTHENTICATION = emit_nonce_authentication(NONCE)


@patient
@given(encapsulated)
def test_a_datagram_survives_its_bytes(value: Encapsulated) -> None:
    assert parse_encapsulation(emit_encapsulation(value)) == value


@patient
@given(encapsulated, st.data())
def test_a_datagram_that_ends_before_its_packet_does_is_malformed(value: Encapsulated, data: st.DataObject) -> None:
    whole = emit_encapsulation(value._replace(trailers=b""))
    with pytest.raises(MalformedPacket):
        parse_encapsulation(whole[: data.draw(st.integers(0, len(whole) - 1))])


@patient
@given(st.binary(max_size=120))
def test_any_bytes_are_kept_whole_or_malformed(data: bytes) -> None:
    try:
        found = parse_encapsulation(data)
    except MalformedPacket:
        return
    assert emit_encapsulation(found) == data


@pytest.mark.parametrize(
    "start",
    [
        ORIGIN + AUTHENTICATION,
        ORIGIN + ORIGIN,
        AUTHENTICATION + AUTHENTICATION,
        AUTHENTICATION + ORIGIN + ORIGIN,
        bytes.fromhex("0002"),
        bytes.fromhex("0100"),
        b"\x45",
        b"\x00",
    ],
    ids=bytes.hex,
)
def test_another_order_or_anything_else_before_the_packet_is_malformed(start: bytes) -> None:
    with pytest.raises(MalformedPacket):
        parse_encapsulation(start + BUBBLE)


@patient
@given(endpoints)
def test_an_origin_indication_has_every_bit_reversed(endpoint: bytes) -> None:
    reversed_bits = bytes(0xFF ^ byte for byte in endpoint[4:] + endpoint[:4])
    assert emit_origin(endpoint) == b"\x00\x00" + reversed_bits


def test_an_authentication_with_a_nonce_alone_has_13_bytes() -> None:
    assert emit_nonce_authentication(NONCE) == bytes.fromhex("000100000123456789abcdef00")
    assert emit_nonce_authentication(NONCE, confirmation=1) == bytes.fromhex("000100000123456789abcdef01")


def test_a_field_that_the_block_cannot_tell_is_refused() -> None:
    whole = Authentication(bytes(255), bytes(255), NONCE, 0)
    assert len(emit_authentication(whole)) == 13 + 255 + 255
    for wrong in (whole._replace(identifier=bytes(256)), whole._replace(value=bytes(256))):
        with pytest.raises(ValueError, match="at most 255 bytes"):
            emit_authentication(wrong)


@pytest.mark.parametrize("length", [0, 7, 9])
def test_a_nonce_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="a nonce has 8 bytes"):
        emit_nonce_authentication(bytes(length))
