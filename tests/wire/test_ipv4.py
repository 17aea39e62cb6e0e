# SPDX-License-Identifier: MIT
"""IPv4 packets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.wire.checksum import internet_checksum
from miredo.wire.ipv4 import IPv4Packet, emit_ipv4_packet, parse_ipv4_packet
from miredo.wire.reader import MalformedPacket
from tests.wire.values import ipv4_packets, patient
from tests.wire.vectors import SERVER, SERVER_B

PLAIN = IPv4Packet(0, 0x1C46, True, False, 0, 64, 17, SERVER, SERVER_B, b"payload")


@patient
@given(ipv4_packets, st.binary(max_size=8))
def test_a_packet_survives_its_bytes_and_padding_is_none_of_it(packet: IPv4Packet, padding: bytes) -> None:
    assert parse_ipv4_packet(emit_ipv4_packet(packet) + padding) == packet


def test_a_header_is_laid_out_as_rfc_791_draws_it() -> None:
    raw = emit_ipv4_packet(PLAIN)
    assert raw[:10].hex() == "4500001b1c4640004011"
    assert raw[12:] == SERVER + SERVER_B + b"payload"
    assert internet_checksum(raw[:20]) == 0


def test_each_flag_has_its_bit() -> None:
    assert emit_ipv4_packet(PLAIN._replace(dont_fragment=False))[6:8] == b"\x00\x00"
    assert emit_ipv4_packet(PLAIN)[6:8] == b"\x40\x00"
    assert emit_ipv4_packet(PLAIN._replace(more_fragments=True, fragment_offset=0x1FFF))[6:8] == b"\x7f\xff"


@patient
@given(ipv4_packets, st.data())
def test_a_packet_that_is_cut_short_is_malformed(packet: IPv4Packet, data: st.DataObject) -> None:
    raw = emit_ipv4_packet(packet)
    with pytest.raises(MalformedPacket):
        parse_ipv4_packet(raw[: data.draw(st.integers(0, len(raw) - 1))])


@patient
@given(ipv4_packets, st.data())
def test_a_flipped_bit_behind_the_header_length_is_noticed(packet: IPv4Packet, data: st.DataObject) -> None:
    raw = bytearray(emit_ipv4_packet(packet))
    raw[data.draw(st.integers(1, 19 + len(packet.options)))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MalformedPacket):
        parse_ipv4_packet(bytes(raw))


@pytest.mark.parametrize("first", [0x44, 0x40, 0x4F])
def test_a_header_length_that_cannot_be_is_malformed(first: int) -> None:
    raw = bytes((first,)) + emit_ipv4_packet(PLAIN)[1:]
    with pytest.raises(MalformedPacket, match="header length that cannot be"):
        parse_ipv4_packet(raw)


def test_another_version_is_malformed() -> None:
    with pytest.raises(MalformedPacket, match="version"):
        parse_ipv4_packet(b"\x65" + emit_ipv4_packet(PLAIN)[1:])


@pytest.mark.parametrize("length", [1, 3, 41, 44])
def test_options_that_the_header_cannot_tell_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="IPv4 options"):
        emit_ipv4_packet(PLAIN._replace(options=bytes(length)))


def test_a_payload_that_the_header_cannot_tell_is_refused() -> None:
    assert len(emit_ipv4_packet(PLAIN._replace(payload=bytes(65515)))) == 65535
    with pytest.raises(ValueError, match="do not fit"):
        emit_ipv4_packet(PLAIN._replace(payload=bytes(65516)))


@patient
@given(st.binary(max_size=60), st.integers(0x45, 0x4F))
def test_any_bytes_are_a_packet_or_malformed(data: bytes, first: int) -> None:
    raw = bytes((first, 0, 0, len(data))) + data
    try:
        packet = parse_ipv4_packet(raw)
    except MalformedPacket:
        return
    assert len(packet.payload) < len(raw)
