# SPDX-License-Identifier: MIT
"""Every test vector is read as its note says, and written again byte for byte."""

import hmac
from collections.abc import Callable

import pytest

from miredo.address.endpoint import Endpoint, IPv4, IPv6, parse_endpoint
from miredo.address.teredo import (
    ALL_NODES,
    ALL_ROUTERS,
    CLIENT_LINK_LOCAL,
    LEGACY_PREFIX,
    SERVICE_PREFIX,
    compose,
    flags_of,
    has_cone_bit,
    is_teredo,
    mapped_of,
    server_link_local,
    server_of,
)
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.encapsulation import (
    Authentication,
    Encapsulated,
    emit_encapsulation,
    emit_nonce_authentication,
    emit_origin,
    parse_encapsulation,
)
from miredo.wire.icmpv6 import (
    DestinationUnreachable,
    EchoReply,
    EchoRequest,
    ICMPv6Message,
    PacketTooBig,
    RouterSolicitation,
    check_router_advertisement,
    check_router_solicitation,
    emit_icmpv6,
    parse_icmpv6,
    teredo_router_advertisement,
)
from miredo.wire.ipv6 import emit_ipv6, parse_ipv6
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
from tests.wire.vectors import (
    CLIENT_A,
    CLIENT_B,
    MAPPED_A,
    MAPPED_B,
    NATIVE,
    NONCE,
    PING,
    SECRET,
    SERVER,
    SERVER_B,
    VECTORS,
)

Reading = Callable[[bytes], None]

NONCE_TRAILER = NonceTrailer(bytes.fromhex("deadbeef"))
ALTERNATES = parse_endpoint("192.168.1.10:51234"), parse_endpoint("10.0.0.7:4095")
NONCE_ONLY = Authentication(b"", b"", NONCE, 0)


def address(server: IPv4, mapped: Endpoint, flags: int, prefix: bytes = SERVICE_PREFIX) -> Reading:
    """A client's address."""

    def read(data: bytes) -> None:
        assert compose(server, mapped, flags, prefix) == data
        assert (server_of(data), mapped_of(data), flags_of(data)) == (server, mapped, flags)
        assert is_teredo(data) == (prefix == SERVICE_PREFIX)
        assert has_cone_bit(data) == (flags == 0x8000)

    return read


def link_local(identifier: str, *, cone: bool) -> Reading:
    """A client's link-local address, of which only the cone bit means something."""

    def read(data: bytes) -> None:
        assert data == bytes.fromhex("fe80000000000000" + identifier)
        assert has_cone_bit(data) == cone

    return read


def server_address(data: bytes) -> None:
    """The server's own link-local address."""
    assert server_link_local(SERVER) == data
    assert has_cone_bit(data)


def origin(data: bytes) -> None:
    """The example of RFC 4380 5.1.1, before a bubble since it never stands alone."""
    endpoint = parse_endpoint("1.2.3.4:337")
    bubble = VECTORS["bubble_A_B"]
    assert emit_origin(endpoint) == data
    assert parse_encapsulation(data + bubble) == Encapsulated(None, endpoint, bubble, b"")
    with pytest.raises(MalformedPacket):
        parse_encapsulation(data)


def icmpv6(source: IPv6, destination: IPv6, message: ICMPv6Message, hop_limit: int = 255) -> Reading:
    """An IPv6 packet with an ICMPv6 message and nothing else."""

    def read(data: bytes) -> None:
        packet, rest = parse_ipv6(data)
        assert rest == b""
        assert (packet.source, packet.destination, packet.hop_limit) == (source, destination, hop_limit)
        assert parse_icmpv6(packet) == message
        assert type(parse_icmpv6(packet)) is type(message)
        assert emit_icmpv6(source, destination, message, hop_limit) == data
        assert emit_ipv6(packet) == data

    return read


def enclosed(reading: Reading, authentication: Authentication | None = None, origin: Endpoint | None = None) -> Reading:
    """A datagram that holds that IPv6 packet, and no trailers."""

    def read(data: bytes) -> None:
        found = parse_encapsulation(data)
        assert found == Encapsulated(authentication, origin, found.packet, b"")
        reading(found.packet)
        assert emit_encapsulation(found) == data

    return read


def solicitation(source: str, authentication: Authentication | None = None) -> Reading:
    """A client asks its server."""
    client = bytes.fromhex(source)
    inner = icmpv6(client, ALL_ROUTERS, RouterSolicitation())

    def read(packet: bytes) -> None:
        inner(packet)
        parsed = parse_ipv6(packet)[0]
        assert check_router_solicitation(parsed, parse_icmpv6(parsed)) == RouterSolicitation()

    return enclosed(read, authentication)


def advertisement(
    client: IPv6 = CLIENT_LINK_LOCAL, authentication: Authentication | None = None, origin: Endpoint | None = None
) -> Reading:
    """The server answers."""
    message = teredo_router_advertisement(SERVICE_PREFIX + SERVER, 1280)
    inner = icmpv6(server_link_local(SERVER), client, message)

    def read(packet: bytes) -> None:
        inner(packet)
        parsed = parse_ipv6(packet)[0]
        assert check_router_advertisement(parsed, parse_icmpv6(parsed)) == message

    return enclosed(read, authentication, origin)


def secured(value: str, confirmation: int = 0) -> Authentication:
    return Authentication(b"client-7", bytes.fromhex(value), NONCE, confirmation)


def bubble(
    *trailers: Trailer,
    destination: IPv6 = CLIENT_B,
    hop_limit: int = 255,
    origin: Endpoint | None = None,
    rest: str = "",
) -> Reading:
    """A bubble of A: trailers that we know, and around them C{rest}, which is kept and not understood."""

    def read(data: bytes) -> None:
        found = parse_encapsulation(data)
        assert found == Encapsulated(None, origin, emit_bubble(CLIENT_A, destination, hop_limit), found.trailers)
        assert is_bubble(found.packet)
        assert parse_trailers(found.trailers) == trailers
        assert nonce_in(found.trailers) == next((t.nonce for t in trailers if isinstance(t, NonceTrailer)), None)
        known = b"".join(map(emit_trailer, trailers))
        assert found.trailers in (known + bytes.fromhex(rest), bytes.fromhex(rest) + known)
        assert emit_encapsulation(found) == data

    return read


def discarded(rest: str) -> Reading:
    """A bubble that is well formed but for trailers that demand its end."""

    def read(data: bytes) -> None:
        found = parse_encapsulation(data)
        assert found == Encapsulated(None, None, emit_bubble(CLIENT_A, CLIENT_B), bytes.fromhex(rest))
        with pytest.raises(DiscardPacket):
            parse_trailers(found.trailers)
        with pytest.raises(DiscardPacket):
            nonce_in(found.trailers)
        assert emit_encapsulation(found) == data

    return read


def trailer(value: Trailer) -> Reading:
    """A trailer alone."""

    def read(data: bytes) -> None:
        assert parse_trailers(data) == (value,)
        assert type(parse_trailers(data)[0]) is type(value)
        assert emit_trailer(value) == data

    return read


XP_CONE = "8000" + "54455245444f"
XP = "0000" + "54455245444f"
VISTA = "0000" + "ffffffffffff"
WINDOWS = "0000" + "fffffffffffe"
LINK_LOCAL = "fe80000000000000"

READINGS: dict[str, Reading] = {
    "addr_A": address(SERVER, MAPPED_A, 0),
    "addr_B": address(SERVER_B, MAPPED_B, 0),
    "addr_A_cone": address(SERVER, MAPPED_A, 0x8000),
    "addr_A_rand": address(SERVER, MAPPED_A, 0x2C5A),
    "addr_A_old": address(SERVER, MAPPED_A, 0, LEGACY_PREFIX),
    "origin_rfc": origin,
    "lla_client_cone_xp": link_local(XP_CONE, cone=True),
    "lla_client_xp": link_local(XP, cone=False),
    "lla_client_vista": link_local(VISTA, cone=False),
    "lla_server": server_address,
    "rs_cone": solicitation(LINK_LOCAL + XP_CONE),
    "rs_vista": solicitation(LINK_LOCAL + VISTA),
    "lla_client_win": link_local(WINDOWS, cone=False),
    "rs_win": solicitation(LINK_LOCAL + WINDOWS),
    "rs_xp": solicitation(LINK_LOCAL + XP),
    "rs_vista_auth": solicitation(LINK_LOCAL + VISTA, NONCE_ONLY),
    "ra_inner": advertisement(),
    "ra_origin": advertisement(origin=MAPPED_A),
    "ra_auth_origin": advertisement(authentication=NONCE_ONLY, origin=MAPPED_A),
    "ra_cone": advertisement(bytes.fromhex(LINK_LOCAL + XP_CONE), NONCE_ONLY, MAPPED_A),
    "rs_secure_sha1": solicitation(LINK_LOCAL + VISTA, secured("690bfd63a37d21f268f3a3754da64195788cbf18")),
    "ra_secure_sha1": advertisement(
        authentication=secured("da31cc83b2458e49f622907e7596204613ffd8a9"), origin=MAPPED_A
    ),
    "ra_secure_sha1_conf1": advertisement(
        authentication=secured("1b9dea09a512f8caf746106efca44d88d6ac6145", confirmation=1), origin=MAPPED_A
    ),
    "rs_secure_md5": solicitation(LINK_LOCAL + VISTA, secured("4203009a9b3fe8b1e1aee014c16540e4")),
    "bubble_A_B": bubble(),
    "bubble_indirect_out": bubble(origin=MAPPED_A),
    "bubble_local": bubble(destination=ALL_NODES, hop_limit=1),
    "ping_test": enclosed(icmpv6(CLIENT_A, NATIVE, EchoRequest(0x1234, 1, PING), hop_limit=64)),
    "pong_test": enclosed(icmpv6(NATIVE, CLIENT_A, EchoReply(0x1234, 1, PING), hop_limit=60)),
    "tr_nonce": trailer(NONCE_TRAILER),
    "tr_alt1": trailer(AlternateAddressTrailer(ALTERNATES[:1])),
    "tr_alt2": trailer(AlternateAddressTrailer(ALTERNATES)),
    "tr_nd_sol": trailer(NeighborDiscoveryTrailer(advertisement=False)),
    "tr_nd_adv": trailer(NeighborDiscoveryTrailer(advertisement=True)),
    "tr_rport": trailer(RandomPortTrailer(40000)),
    "bubble_hairpin": bubble(NONCE_TRAILER, AlternateAddressTrailer(ALTERNATES)),
    "bubble_rport": bubble(NONCE_TRAILER, RandomPortTrailer(40000)),
    "bubble_slr": bubble(NeighborDiscoveryTrailer(advertisement=False)),
    "bubble_unknown_skip": bubble(NONCE_TRAILER, rest="3f0378797a"),
    "bubble_unknown_drop": discarded("410378797a0104deadbeef"),
    "bubble_unknown_skip10": bubble(NONCE_TRAILER, rest="8100"),
    "bubble_unknown_skip11": bubble(NONCE_TRAILER, rest="c100"),
    "bubble_trunc1": bubble(NONCE_TRAILER, rest="03"),
    "bubble_trunc2": bubble(NONCE_TRAILER, rest="03080000"),
    "bubble_alt_bad": discarded("0104deadbeef0309000000000000000000"),
    "icmp_unreach3": enclosed(
        icmpv6(CLIENT_A, CLIENT_A, DestinationUnreachable(3, VECTORS["icmp_unreach3"][48:])),
    ),
    "icmp_ptb": enclosed(icmpv6(CLIENT_A, CLIENT_A, PacketTooBig(1280, VECTORS["icmp_ptb"][48:]))),
}


def test_there_are_47_vectors_and_each_has_its_reading() -> None:
    assert len(VECTORS) == 47
    assert list(READINGS) == list(VECTORS)


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_is_read_as_its_note_says_and_written_byte_for_byte(name: str) -> None:
    READINGS[name](VECTORS[name])


def test_our_solicitation_and_its_authentication_are_the_vector() -> None:
    packet = emit_icmpv6(CLIENT_LINK_LOCAL, ALL_ROUTERS, RouterSolicitation())
    assert emit_nonce_authentication(NONCE) + packet == VECTORS["rs_vista_auth"]


def test_an_error_about_a_long_packet_is_cut_to_the_vector_of_1280_bytes() -> None:
    whole = VECTORS["icmp_ptb"][48:] + bytes(200)
    assert emit_icmpv6(CLIENT_A, CLIENT_A, PacketTooBig(1280, whole)) == VECTORS["icmp_ptb"]


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("rs_secure_sha1", "sha1"),
        ("ra_secure_sha1", "sha1"),
        ("ra_secure_sha1_conf1", "sha1"),
        ("rs_secure_md5", "md5"),
    ],
)
def test_what_is_cut_out_of_a_secure_vector_is_what_its_authentication_value_covers(name: str, digest: str) -> None:
    found = parse_encapsulation(VECTORS[name])
    assert found.authentication is not None
    _, value, nonce, confirmation = found.authentication
    origin = b"" if found.origin is None else emit_origin(found.origin)
    covered = nonce + bytes((confirmation,)) + origin + found.packet
    assert hmac.digest(SECRET, covered, digest) == value
