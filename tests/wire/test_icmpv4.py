# SPDX-License-Identifier: MIT
"""ICMP Destination Unreachable about UDP datagrams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.endpoint import endpoint, ipv4_of, port_of
from miredo.wire.checksum import internet_checksum
from miredo.wire.icmpv4 import PORT_UNREACHABLE, emit_unreachable, parse_unreachable, requoted
from miredo.wire.ipv4 import IPv4Packet, emit_ipv4_packet, parse_ipv4_packet
from miredo.wire.ipv6 import UDP
from miredo.wire.reader import MalformedPacket
from miredo.wire.udp import UDPDatagram, emit_udp
from tests.wire.values import patient
from tests.wire.vectors import MAPPED_A, MAPPED_B, SERVER

OPTIONS = bytes(4)


def datagram(options: bytes = b"", protocol: int = UDP, fragment_offset: int = 0) -> bytes:
    """From A's mapped endpoint to B's, in IPv4."""
    source, destination = ipv4_of(MAPPED_A), ipv4_of(MAPPED_B)
    udp = emit_udp(UDPDatagram(port_of(MAPPED_A), port_of(MAPPED_B), b"payload"), source, destination)
    return emit_ipv4_packet(
        IPv4Packet(0, 1, False, False, fragment_offset, 64, protocol, source, destination, udp, options)
    )


def test_a_message_is_laid_out_as_rfc_792_draws_it() -> None:
    message = emit_unreachable(PORT_UNREACHABLE, 0, datagram())
    assert message[:2] == b"\x03\x03"
    assert message[4:8] == bytes(4)
    assert message[8:] == datagram()
    assert internet_checksum(message) == 0


@pytest.mark.parametrize("options", [b"", OPTIONS])
def test_the_ends_of_the_quoted_datagram_are_told(options: bytes) -> None:
    found = parse_unreachable(emit_unreachable(4, 1400, datagram(options)))
    assert found == (4, 1400, MAPPED_A, MAPPED_B, datagram(options))


@pytest.mark.parametrize("options", [b"", OPTIONS])
def test_eight_bytes_behind_the_quoted_header_are_enough_and_seven_are_not(options: bytes) -> None:
    enough = datagram(options)[: 20 + len(options) + 8]
    assert parse_unreachable(emit_unreachable(3, 0, enough)).destination == MAPPED_B
    with pytest.raises(MalformedPacket, match="cut short"):
        parse_unreachable(emit_unreachable(3, 0, enough[:-1]))


def test_a_quote_that_is_not_the_start_of_a_udp_datagram_is_malformed() -> None:
    for quote in (datagram(protocol=6), datagram(fragment_offset=1)):
        with pytest.raises(MalformedPacket, match="not the start of a UDP datagram"):
            parse_unreachable(emit_unreachable(3, 0, quote))
    for first in (b"\x65", b"\x44"):
        with pytest.raises(MalformedPacket, match="not an IPv4 header"):
            parse_unreachable(emit_unreachable(3, 0, first + datagram()[1:]))


@patient
@given(st.data())
def test_a_flipped_bit_is_noticed(data: st.DataObject) -> None:
    raw = bytearray(emit_unreachable(3, 0, datagram()))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MalformedPacket):
        parse_unreachable(bytes(raw))


def test_another_type_is_malformed() -> None:
    message = emit_unreachable(3, 0, datagram())
    with pytest.raises(MalformedPacket, match="not ICMP Destination Unreachable"):
        parse_unreachable(b"\x0b" + message[1:])


@pytest.mark.parametrize("options", [b"", OPTIONS])
def test_a_quote_gets_another_source_and_its_checksum(options: bytes) -> None:
    elsewhere = endpoint(SERVER, 5)
    quote = requoted(datagram(options), elsewhere)
    assert parse_unreachable(emit_unreachable(3, 0, quote))[2:4] == (elsewhere, MAPPED_B)
    assert parse_ipv4_packet(quote).options == options
    assert quote[-7:] == b"payload"
    assert requoted(quote, MAPPED_A) == datagram(options)


def test_a_quote_that_cannot_be_read_gets_no_other_source() -> None:
    with pytest.raises(MalformedPacket):
        requoted(datagram()[:27], MAPPED_A)
