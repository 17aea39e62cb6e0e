# SPDX-License-Identifier: MIT
"""UDP over both protocols."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.wire.reader import MalformedPacket
from miredo.wire.udp import UDPDatagram, emit_udp, parse_udp
from tests.wire.values import ipv4, ipv6, patient, u16, udp_datagrams
from tests.wire.vectors import CLIENT_A, NATIVE, SERVER, SERVER_B

address_pairs = st.tuples(ipv4, ipv4) | st.tuples(ipv6, ipv6)
BOTH = pytest.mark.parametrize(("source", "destination"), [(SERVER, SERVER_B), (CLIENT_A, NATIVE)], ids=["v4", "v6"])


@patient
@given(udp_datagrams, address_pairs, st.binary(max_size=8))
def test_a_datagram_survives_its_bytes_and_surplus_is_none_of_it(
    datagram: UDPDatagram, addresses: tuple[bytes, bytes], surplus: bytes
) -> None:
    assert parse_udp(emit_udp(datagram, *addresses) + surplus, *addresses) == datagram


@patient
@given(udp_datagrams, address_pairs, st.data())
def test_a_datagram_that_is_cut_short_is_malformed(
    datagram: UDPDatagram, addresses: tuple[bytes, bytes], data: st.DataObject
) -> None:
    raw = emit_udp(datagram, *addresses)
    with pytest.raises(MalformedPacket):
        parse_udp(raw[: data.draw(st.integers(0, len(raw) - 1))], *addresses)


@patient
@given(udp_datagrams, address_pairs, st.data())
def test_a_flipped_bit_outside_the_length_is_noticed(
    datagram: UDPDatagram, addresses: tuple[bytes, bytes], data: st.DataObject
) -> None:
    raw = bytearray(emit_udp(datagram, *addresses))
    raw[data.draw(st.integers(0, 3) | st.integers(6, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if raw[6:8] != b"\x00\x00":
        with pytest.raises(MalformedPacket):
            parse_udp(bytes(raw), *addresses)


@BOTH
def test_a_datagram_for_another_address_is_malformed(source: bytes, destination: bytes) -> None:
    raw = emit_udp(UDPDatagram(1, 2, b"x"), source, destination)
    with pytest.raises(MalformedPacket, match="wrong UDP checksum"):
        parse_udp(raw, source, bytes(len(destination)))


@BOTH
@pytest.mark.parametrize("length", range(8))
def test_a_length_shorter_than_the_header_is_malformed(length: int, source: bytes, destination: bytes) -> None:
    raw = bytes.fromhex("00010002") + length.to_bytes(2, "big") + b"\x00\x00"
    with pytest.raises(MalformedPacket, match="length shorter than its header"):
        parse_udp(raw, source, destination)


def test_a_datagram_without_a_checksum_is_accepted_over_ipv4_alone() -> None:
    raw = bytes.fromhex("0001000200090000") + b"x"
    assert parse_udp(raw, SERVER, SERVER_B) == UDPDatagram(1, 2, b"x")
    with pytest.raises(MalformedPacket, match="without a checksum"):
        parse_udp(raw, CLIENT_A, NATIVE)


@patient
@given(address_pairs, u16, u16)
def test_a_checksum_of_zero_is_sent_as_ffff(addresses: tuple[bytes, bytes], source: int, destination: int) -> None:
    before = emit_udp(UDPDatagram(source, destination, bytes(2)), *addresses)
    balanced = UDPDatagram(source, destination, before[6:8])
    raw = emit_udp(balanced, *addresses)
    assert raw[6:8] == b"\xff\xff"
    assert parse_udp(raw, *addresses) == balanced


@BOTH
def test_data_that_the_header_cannot_tell_are_refused(source: bytes, destination: bytes) -> None:
    assert len(emit_udp(UDPDatagram(1, 2, bytes(65527)), source, destination)) == 65535
    with pytest.raises(ValueError, match="do not fit"):
        emit_udp(UDPDatagram(1, 2, bytes(65528)), source, destination)


@patient
@given(st.binary(max_size=40), address_pairs)
def test_any_bytes_are_a_datagram_or_malformed(data: bytes, addresses: tuple[bytes, bytes]) -> None:
    try:
        datagram = parse_udp(data, *addresses)
    except MalformedPacket:
        return
    assert len(datagram.payload) <= len(data) - 8
