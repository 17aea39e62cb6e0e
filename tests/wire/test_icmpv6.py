# SPDX-License-Identifier: MIT
"""ICMPv6: router discovery, echo and errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.endpoint import parse_ipv6 as address
from miredo.address.teredo import ALL_NODES, ALL_ROUTERS, CLIENT_LINK_LOCAL, SERVICE_PREFIX, server_link_local
from miredo.wire.checksum import transport_checksum
from miredo.wire.icmpv6 import (
    DestinationUnreachable,
    EchoReply,
    EchoRequest,
    ICMPv6Message,
    OtherICMPv6,
    PacketTooBig,
    RouterAdvertisement,
    RouterSolicitation,
    Unreachable,
    check_router_advertisement,
    check_router_solicitation,
    emit_icmpv6,
    emit_icmpv6_body,
    is_icmpv6_error,
    may_cause_error,
    packet_too_big_body,
    parse_icmpv6,
    teredo_router_advertisement,
    unreachable_body,
)
from miredo.wire.ipv6 import DESTINATION_OPTIONS, FRAGMENT, ICMPV6, UDP, IPv6Packet, emit_ipv6, parse_ipv6
from miredo.wire.reader import MalformedPacket
from tests.wire.values import icmpv6_messages, ipv6, patient, u8
from tests.wire.vectors import CLIENT_A, NATIVE, SERVER, VECTORS

ROUTER = server_link_local(SERVER)
ADVERTISEMENT = "86000000" + "0000000000000000000007d0"
UNSPECIFIED = bytes(16)


def carrying(body: bytes, source: bytes = ROUTER, destination: bytes = CLIENT_LINK_LOCAL) -> IPv6Packet:
    """A packet with a message whose checksum field is put right."""
    checksum = transport_checksum(source, destination, ICMPV6, body)
    payload = body[:2] + checksum.to_bytes(2, "big") + body[4:]
    return IPv6Packet(0, 0, ICMPV6, 255, source, destination, payload)


def sent(message: ICMPv6Message, source: bytes = CLIENT_A, destination: bytes = NATIVE) -> bytes:
    return emit_icmpv6(source, destination, message)


@patient
@given(icmpv6_messages, ipv6, ipv6, u8)
def test_a_message_survives_its_bytes(
    message: ICMPv6Message, source: bytes, destination: bytes, hop_limit: int
) -> None:
    packet, rest = parse_ipv6(emit_icmpv6(source, destination, message, hop_limit))
    assert rest == b""
    assert packet == IPv6Packet(0, 0, ICMPV6, hop_limit, source, destination, packet.payload)
    assert parse_icmpv6(packet) == message
    assert type(parse_icmpv6(packet)) is type(message)


@patient
@given(icmpv6_messages)
def test_a_body_is_the_message_without_its_checksum(message: ICMPv6Message) -> None:
    body = emit_icmpv6_body(message)
    assert body[2:4] == bytes(2)
    assert carrying(body, CLIENT_A, NATIVE) == parse_ipv6(sent(message))[0]._replace(hop_limit=255)


@patient
@given(icmpv6_messages, st.data())
def test_a_flipped_bit_is_noticed(message: ICMPv6Message, data: st.DataObject) -> None:
    packet, _ = parse_ipv6(sent(message))
    payload = bytearray(packet.payload)
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MalformedPacket, match="wrong ICMPv6 checksum"):
        parse_icmpv6(packet._replace(payload=bytes(payload)))


def test_a_message_for_another_address_has_a_wrong_checksum() -> None:
    packet, _ = parse_ipv6(sent(EchoRequest(1, 2, b"x")))
    with pytest.raises(MalformedPacket, match="wrong ICMPv6 checksum"):
        parse_icmpv6(packet._replace(destination=CLIENT_LINK_LOCAL))


def test_another_protocol_is_malformed() -> None:
    packet, _ = parse_ipv6(sent(EchoRequest(1, 2, b"x")))
    with pytest.raises(MalformedPacket, match="no ICMPv6 message"):
        parse_icmpv6(packet._replace(next_header=UDP))


@pytest.mark.parametrize("kind", [128, 129, 133, 134])
def test_a_code_where_there_is_none_is_malformed(kind: int) -> None:
    with pytest.raises(MalformedPacket, match="with code 1"):
        parse_icmpv6(carrying(bytes((kind, 1)) + bytes(14)))


def test_the_code_of_packet_too_big_is_not_looked_at() -> None:
    assert parse_icmpv6(carrying(bytes.fromhex("0207000000000500"))) == PacketTooBig(1280, b"")


@pytest.mark.parametrize(("kind", "shortest"), [(1, 8), (2, 8), (128, 8), (129, 8), (133, 8), (134, 16), (200, 4)])
def test_a_message_shorter_than_its_fixed_part_is_malformed(kind: int, shortest: int) -> None:
    body = bytes((kind,)) + bytes(shortest - 1)
    parse_icmpv6(carrying(body))
    for length in range(4, shortest):
        with pytest.raises(MalformedPacket, match="cut short"):
            parse_icmpv6(carrying(body[:length]))
    for length in range(4):
        with pytest.raises(MalformedPacket):
            parse_icmpv6(carrying(body)._replace(payload=body[:length]))


def test_an_unknown_type_is_kept_as_it_is() -> None:
    assert parse_icmpv6(carrying(bytes.fromhex("88010000a0000000"))) == OtherICMPv6(136, 1, bytes.fromhex("a0000000"))


def test_the_advertisement_of_a_server_is_that_of_miredo_server() -> None:
    message = teredo_router_advertisement(SERVICE_PREFIX + SERVER)
    assert emit_icmpv6(ROUTER, CLIENT_LINK_LOCAL, message) == VECTORS["ra_inner"]
    assert teredo_router_advertisement(SERVICE_PREFIX + SERVER, mtu=1400).mtu == 1400


def test_unknown_options_of_an_advertisement_are_skipped() -> None:
    mtu, unknown = "0501000000000500", "0b02" + "ff" * 14
    found = parse_icmpv6(carrying(bytes.fromhex(ADVERTISEMENT + unknown + mtu + unknown)))
    assert found == RouterAdvertisement(0, 0, 0, 0, 2000, (), 1280)


def test_the_first_of_two_mtu_options_counts() -> None:
    found = parse_icmpv6(carrying(bytes.fromhex(ADVERTISEMENT + "0501000000000500" + "05010000000005dc")))
    assert isinstance(found, RouterAdvertisement)
    assert found.mtu == 1280


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("0500000000000500", "option of length 0"),
        ("0b00", "option of length 0"),
        ("05", "cut short"),
        ("05010000", "cut short"),
        ("05020000000005000000000000000000", "MTU option of a wrong length"),
        ("0303" + "00" * 22, "prefix option of a wrong length"),
        ("0305" + "00" * 38, "prefix option of a wrong length"),
        ("030481" + "00" * 29, "prefix of 129 bits"),
        ("0bff", "cut short"),
    ],
)
def test_an_option_that_does_not_fit_is_malformed(options: str, reason: str) -> None:
    with pytest.raises(MalformedPacket, match=reason):
        parse_icmpv6(carrying(bytes.fromhex(ADVERTISEMENT + options)))


@pytest.mark.parametrize("options", ["0100000000000000", "0101", "01"])
def test_an_option_of_a_solicitation_has_to_fit_too(options: str) -> None:
    with pytest.raises(MalformedPacket):
        parse_icmpv6(carrying(bytes.fromhex("8500000000000000" + options)))


def test_a_valid_advertisement_passes_and_each_flaw_is_refused() -> None:
    packet, _ = parse_ipv6(VECTORS["ra_inner"])
    message = parse_icmpv6(packet)
    assert check_router_advertisement(packet, message) is message
    for hop_limit in (254, 64, 0):
        with pytest.raises(MalformedPacket, match="forwarded"):
            check_router_advertisement(packet._replace(hop_limit=hop_limit), message)
    for source in (NATIVE, UNSPECIFIED, ALL_NODES, address("fec0::1")):
        with pytest.raises(MalformedPacket, match="not link-local"):
            check_router_advertisement(packet._replace(source=source), message)
    with pytest.raises(MalformedPacket, match="no router advertisement"):
        check_router_advertisement(packet, RouterSolicitation())


def test_a_valid_solicitation_passes_and_each_flaw_is_refused() -> None:
    packet, _ = parse_ipv6(VECTORS["rs_vista"])
    message = parse_icmpv6(packet)
    assert check_router_solicitation(packet, message) is message
    with pytest.raises(MalformedPacket, match="forwarded"):
        check_router_solicitation(packet._replace(hop_limit=64), message)
    with pytest.raises(MalformedPacket, match="no router solicitation"):
        check_router_solicitation(packet, EchoRequest(0, 0, b""))


def test_a_solicitation_from_nowhere_names_no_link_layer_address() -> None:
    plain, named = RouterSolicitation(), RouterSolicitation(bytes.fromhex("0101020304050607"))
    other = RouterSolicitation(bytes.fromhex("0e01020304050607"))
    for source, message in ((UNSPECIFIED, plain), (UNSPECIFIED, other), (CLIENT_LINK_LOCAL, named)):
        packet, _ = parse_ipv6(emit_icmpv6(source, ALL_ROUTERS, message))
        assert check_router_solicitation(packet, parse_icmpv6(packet)) == message
    packet, _ = parse_ipv6(emit_icmpv6(UNSPECIFIED, ALL_ROUTERS, named))
    with pytest.raises(MalformedPacket, match="from nowhere"):
        check_router_solicitation(packet, parse_icmpv6(packet))


@pytest.mark.requirement("E6")
@pytest.mark.parametrize(
    ("length", "quoted"), [(0, 0), (40, 40), (1231, 1231), (1232, 1232), (1233, 1232), (9000, 1232)]
)
def test_an_error_quotes_what_fits_into_1280_bytes(length: int, quoted: int) -> None:
    invoking = bytes(range(256)) * 36
    unreachable, too_big = unreachable_body(3, invoking[:length]), packet_too_big_body(1280, invoking[:length])
    assert unreachable == bytes.fromhex("0103000000000000") + invoking[:quoted]
    assert too_big == bytes.fromhex("0200000000000500") + invoking[:quoted]
    for message, body in (
        (DestinationUnreachable(3, invoking[:length]), unreachable),
        (PacketTooBig(1280, invoking[:length]), too_big),
    ):
        assert emit_icmpv6_body(message) == body
        assert len(sent(message)) == 48 + quoted <= 1280


def test_the_codes_of_unreachable_are_those_of_rfc_4443() -> None:
    assert unreachable_body(Unreachable.ADDRESS, b"") == unreachable_body(3, b"")
    assert (Unreachable.NO_ROUTE, Unreachable.SOURCE_POLICY) == (0, 5)


def behind_options(raw: bytes) -> bytes:
    """The same packet with a destination options header."""
    packet, _ = parse_ipv6(raw)
    options = bytes((packet.next_header,)) + bytes(7)
    return emit_ipv6(packet._replace(next_header=DESTINATION_OPTIONS, payload=options + packet.payload))


ERRORS = [sent(DestinationUnreachable(3, b"")), sent(PacketTooBig(1280, b"")), sent(OtherICMPv6(127, 0, b""))]
INFORMATION = [sent(EchoRequest(1, 1, b"")), sent(EchoReply(1, 1, b"")), sent(OtherICMPv6(255, 0, b""))]
REDIRECT = sent(OtherICMPv6(137, 0, bytes(36)))
DATA = emit_ipv6(IPv6Packet(0, 0, UDP, 64, CLIENT_A, NATIVE, bytes(20)))
NO_TYPE = emit_ipv6(IPv6Packet(0, 0, ICMPV6, 64, CLIENT_A, NATIVE, b""))
CUT_CHAIN = emit_ipv6(IPv6Packet(0, 0, DESTINATION_OPTIONS, 64, CLIENT_A, NATIVE, b"\x3a\x01"))
LATER_FRAGMENT = emit_ipv6(IPv6Packet(0, 0, FRAGMENT, 64, CLIENT_A, NATIVE, bytes.fromhex("3a00000800000001")))


def test_an_error_is_known_behind_extension_headers_too() -> None:
    for raw in ERRORS:
        assert is_icmpv6_error(raw)
        assert is_icmpv6_error(behind_options(raw))
    for raw in (*INFORMATION, REDIRECT, DATA, NO_TYPE, LATER_FRAGMENT):
        assert not is_icmpv6_error(raw)
        assert not is_icmpv6_error(raw + b"\x01")
    with pytest.raises(MalformedPacket):
        is_icmpv6_error(CUT_CHAIN)


def test_no_error_is_caused_by_an_error_or_a_redirect() -> None:
    for raw in (*ERRORS, REDIRECT):
        assert not may_cause_error(raw)
        assert not may_cause_error(behind_options(raw))


def test_an_error_may_be_caused_by_data_and_echo() -> None:
    for raw in (*INFORMATION, DATA):
        assert may_cause_error(raw)
        assert may_cause_error(behind_options(raw))
    assert may_cause_error(LATER_FRAGMENT)


@pytest.mark.parametrize("text", ["ff02::1", "ff0e::1"])
def test_no_error_is_caused_by_a_packet_to_or_from_multicast(text: str) -> None:
    packet, _ = parse_ipv6(DATA)
    assert not may_cause_error(emit_ipv6(packet._replace(destination=address(text))))
    assert not may_cause_error(emit_ipv6(packet._replace(source=address(text))))


@pytest.mark.parametrize("text", ["::", "::1"])
def test_no_error_is_caused_by_a_source_that_is_not_one_node(text: str) -> None:
    packet, _ = parse_ipv6(DATA)
    assert not may_cause_error(emit_ipv6(packet._replace(source=address(text))))


def test_no_error_is_caused_by_what_cannot_be_read() -> None:
    for raw in (NO_TYPE, NO_TYPE + b"\x80", CUT_CHAIN, DATA[:-1], b""):
        assert not may_cause_error(raw)
