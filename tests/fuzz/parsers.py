# SPDX-License-Identifier: MIT
"""The parsers as targets: nothing but the documented error comes out, and what was read is written again."""

from errno import EINVAL, ENAMETOOLONG, EPERM
from zlib import crc32

from twisted.names import dns

from miredo.address.endpoint import (
    parse_endpoint,
    parse_ipv4,
    parse_ipv6,
    show_endpoint,
    show_ipv4,
    show_ipv6,
)
from miredo.address.teredo import ALL_NODES, LINK_LOCAL_PREFIX
from miredo.config import Configuration
from miredo.kernel.privileged.boxes import MalformedBox, decode, encode
from miredo.kernel.privileged.commands import Command, box_of, command_in
from miredo.lab.ladder import describe, describe_ipv6
from miredo.lab.nat import parse_behaviour
from miredo.service.names import Question, addresses_in
from miredo.service.secretfile import SHORTEST_SECRET, BadSecretFileError, parse_credentials
from miredo.teredo.recording import MAGIC, parse_recording
from miredo.teredo.snapshots import DamagedRecording, load
from miredo.wire import ipv6 as ipv6_wire
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.checksum import internet_checksum, transport_checksum
from miredo.wire.encapsulation import emit_encapsulation, parse_encapsulation
from miredo.wire.icmpv4 import emit_unreachable, parse_unreachable, requoted
from miredo.wire.icmpv6 import (
    check_router_advertisement,
    check_router_solicitation,
    emit_icmpv6,
    is_icmpv6_error,
    may_cause_error,
    parse_icmpv6,
)
from miredo.wire.ipv4 import emit_ipv4_packet, parse_ipv4_packet
from miredo.wire.reader import MalformedPacket
from miredo.wire.trailers import DiscardPacket, NonceTrailer, emit_trailer, nonce_in, parse_trailers
from miredo.wire.udp import emit_udp, parse_udp
from tests.config.test_properties import check, outcome
from tests.kernel.privileged.test_permits import usual_permits
from tests.wire.test_mutations import repaired
from tests.wire.vectors import CLIENT_A, CLIENT_B, SERVER, SERVER_B

PERMITS = usual_permits()
LINK_LOCAL = LINK_LOCAL_PREFIX + bytes(7) + b"\x01"


def encapsulation(data: bytes) -> None:
    """The payload of a UDP datagram."""
    assert describe(data)
    try:
        found = parse_encapsulation(data)
    except MalformedPacket:
        return
    assert emit_encapsulation(found) == data
    assert ipv6_wire.is_ipv6(found.packet)
    assert ipv6_wire.parse_ipv6(found.packet)[1] == b""


def trailers(data: bytes) -> None:
    """What follows an IPv6 packet."""
    try:
        found = parse_trailers(data)
    except DiscardPacket:
        return
    assert parse_trailers(b"".join(map(emit_trailer, found))) == found
    nonces = [trailer.nonce for trailer in found if isinstance(trailer, NonceTrailer)]
    assert nonce_in(data) == (nonces[0] if nonces else None)


def ipv6(data: bytes) -> None:
    """An IPv6 packet with its extension headers."""
    assert describe_ipv6(data)
    for look in (
        is_bubble,
        may_cause_error,
        is_icmpv6_error,
        ipv6_wire.is_ipv6,
        ipv6_wire.has_live_routing_header,
    ):
        try:
            look(data)
        except MalformedPacket:
            continue
    try:
        packet, rest = ipv6_wire.parse_ipv6(data)
        assert ipv6_wire.emit_ipv6(packet) + rest == data
        _, at = ipv6_wire.upper_layer(data)
    except MalformedPacket:
        return
    assert ipv6_wire.HEADER_LENGTH <= at <= len(data)


def icmpv6(data: bytes) -> None:
    """An ICMPv6 message, once its checksum is right."""
    whole = ipv6_wire.IPv6Packet(0, 0, ipv6_wire.ICMPV6, 255, LINK_LOCAL, ALL_NODES, data)
    packet = repaired(whole)
    try:
        message = parse_icmpv6(packet)
    except MalformedPacket:
        return
    again, rest = ipv6_wire.parse_ipv6(emit_icmpv6(packet.source, packet.destination, message))
    assert (parse_icmpv6(again), rest) == (message, b"")
    for valid in (check_router_solicitation, check_router_advertisement):
        try:
            assert valid(packet, message) is message
        except MalformedPacket:
            continue


def ipv4(data: bytes) -> None:
    """An IPv4 packet, as it is and with the right checksum."""
    for variant in (data, with_ipv4_checksum(data)):
        try:
            packet = parse_ipv4_packet(variant)
        except MalformedPacket:
            continue
        assert parse_ipv4_packet(emit_ipv4_packet(packet)) == packet


def with_ipv4_checksum(data: bytes) -> bytes:
    header = data[: (data[0] & 0x0F) * 4] if data else b""
    cleared = header[:10] + bytes(2) + header[12:]
    return cleared[:10] + internet_checksum(cleared).to_bytes(2, "big") + data[12:]


def icmpv4(data: bytes) -> None:
    """An ICMP error about a UDP datagram, as it is and with the right checksum."""
    cleared = data[:2] + bytes(2) + data[4:]
    for variant in (data, data[:2] + internet_checksum(cleared).to_bytes(2, "big") + data[4:]):
        try:
            found = parse_unreachable(variant)
        except MalformedPacket:
            continue
        assert parse_unreachable(emit_unreachable(found.code, found.second_word, found.quote)) == found
        again = parse_unreachable(emit_unreachable(3, 0, requoted(found.quote, found.destination)))
        assert (again.source, again.destination) == (found.destination, found.destination)


def udp(data: bytes) -> None:
    """A UDP datagram over IPv4 and over IPv6, as it is and with the right checksum."""
    for source, destination in ((SERVER, SERVER_B), (CLIENT_A, CLIENT_B)):
        length = int.from_bytes(data[4:6], "big")
        cleared = data[:6] + bytes(2) + data[8:length]
        checksum = transport_checksum(source, destination, ipv6_wire.UDP, cleared)
        for variant in (data, data[:6] + checksum.to_bytes(2, "big") + data[8:]):
            try:
                found = parse_udp(variant, source, destination)
            except MalformedPacket:
                continue
            assert parse_udp(emit_udp(found, source, destination), source, destination) == found


def address(data: bytes) -> None:
    """The text of an address or an endpoint."""
    text = data.decode("utf-8", "surrogateescape")
    for parse, show in ((parse_ipv4, show_ipv4), (parse_ipv6, show_ipv6), (parse_endpoint, show_endpoint)):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert parse(show(value)) == value


def config(data: bytes) -> None:
    """A configuration file, for both programs; what is read strictly means the same when it is read leniently."""
    check(outcome(data, program="miredo-server"))
    strictly, leniently = outcome(data), outcome(data, strict=False)
    check(strictly)
    check(leniently)
    assert strictly == leniently or not isinstance(strictly, Configuration)


def recording(data: bytes) -> None:
    """What a flight recorder has written: a whole file, as it is and with the right checksums, and one value of it."""
    for octets, read in ((data, parse_recording), (with_checksums(data), parse_recording), (data, load)):
        try:
            read(octets)
        except DamagedRecording:
            continue


def with_checksums(data: bytes) -> bytes:
    """A recording as if each of its chunks had been written as it is."""
    mended, at = bytearray(data), len(MAGIC)
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        mended[at + 4 : at + 8] = crc32(data[at + 8 : end]).to_bytes(4, "big")
        at = end
    return bytes(mended)


def nat(data: bytes) -> None:
    """The words for a NAT."""
    try:
        behaviour = parse_behaviour(data.decode("utf-8", "surrogateescape"))
    except ValueError:
        return
    assert parse_behaviour(str(behaviour)) == behaviour


def secrets(data: bytes) -> None:
    """The file of SecretFile."""
    try:
        credentials = parse_credentials(data)
    except BadSecretFileError:
        return
    identifiers = [credential.identifier for credential in credentials]
    assert len(set(identifiers)) == len(identifiers) > 0
    packet = emit_bubble(CLIENT_A, CLIENT_B)
    for credential in credentials:
        assert len(credential.secret) >= SHORTEST_SECRET
        found = parse_encapsulation(credential.protect(bytes(8), 0, packet))
        assert found.authentication is not None
        assert credential.proves(found.authentication, found.packet)


def name_answer(data: bytes) -> None:
    """A datagram from a name server; its first two bytes are the number of the question."""
    name = "teredo.example.org"
    question = Question(name, "192.0.2.53", int.from_bytes(data[:2].ljust(2, b"\0"), "big"))
    found: list[dns.Message] = []
    question.answer.addCallback(lambda message: found.append(message) if message is not None else None)
    question.datagramReceived(data, ("192.0.2.53", 53))
    for message in found:
        assert all(len(address) == 4 for address in addresses_in(message, name))


def commands(data: bytes) -> None:
    """What a worker sends its privileged child: a box, a command, and perhaps a permitted one."""
    try:
        box = decode(data)
        assert encode(box) == data
        command = command_in(box)
    except MalformedBox:
        return
    assert command_in(box_of(command)) == command
    assert _refusal(command) in (None, EPERM, EINVAL, ENAMETOOLONG)


def _refusal(command: Command) -> int | None:
    try:
        PERMITS.check(command)
    except OSError as refused:
        return refused.errno
    return None
