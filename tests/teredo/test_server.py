# SPDX-License-Identifier: MIT
"""A server, row by row of RFC 4380 5.3.1, and byte for byte as in the vectors."""

from itertools import product

import pytest

from miredo.address.endpoint import Endpoint, IPv6, endpoint, ipv4_of, parse_endpoint, parse_ipv4
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import (
    ALL_NODES,
    ALL_ROUTERS,
    CLIENT_LINK_LOCAL,
    TEREDO_PORT,
    compose,
    has_cone_bit,
    server_link_local,
)
from miredo.teredo.actions import PRIMARY, SECONDARY, Action, ForwardPacket, SendDatagram
from miredo.teredo.drops import Drop
from miredo.teredo.server import Server
from miredo.teredo.symmetric import SymmetricBubbles
from miredo.wire.bubble import emit_bubble
from miredo.wire.encapsulation import emit_nonce_authentication, emit_origin, parse_encapsulation
from miredo.wire.icmpv6 import EchoReply, EchoRequest, OtherICMPv6, RouterAdvertisement, emit_icmpv6, parse_icmpv6
from miredo.wire.ipv6 import TCP, IPv6Packet, emit_ipv6, parse_ipv6
from tests.teredo.cores import FORBIDDEN, data, dropped, sent, with_nonce
from tests.wire.vectors import (
    CLIENT_A,
    CLIENT_B,
    MAPPED_A,
    MAPPED_B,
    NATIVE,
    NONCE,
    SERVER,
    SERVER_B,
    VECTORS,
)

SERVER_SECONDARY = parse_ipv4("203.0.113.121")
SERVER_B_SECONDARY = parse_ipv4("198.51.100.119")
OTHER_PORT: Endpoint = MAPPED_A[:4] + b"\xea\x60"
STRANGER = parse_endpoint("192.0.2.77:7777")
"""Neither client's address."""


def server(addresses: tuple[bytes, bytes] = (SERVER, SERVER_SECONDARY), scope: IPv4Scope | None = None) -> Server:
    return Server(addresses, scope or IPv4Scope())


def server_b() -> Server:
    """Client B's server."""
    return server((SERVER_B, SERVER_B_SECONDARY))


def sole(actions: list[Action]) -> SendDatagram:
    (action,) = actions
    assert isinstance(action, SendDatagram)
    return action


def advertised(datagram: bytes) -> RouterAdvertisement:
    message = parse_icmpv6(parse_ipv6(parse_encapsulation(datagram).packet)[0])
    assert isinstance(message, RouterAdvertisement)
    return message


def echo(source: IPv6, destination: IPv6, payload: int, hop_limit: int = 64) -> bytes:
    """An echo request of so many bytes of ICMPv6."""
    return emit_icmpv6(source, destination, EchoRequest(1, 1, bytes(payload - 8)), hop_limit)


# ---------------------------------------------------------------- solicitations (rule 4, 5.3.2)


@pytest.mark.requirement("S15", "S16", "S14", "E1")
@pytest.mark.parametrize(
    ("solicitation", "answer", "via"),
    [
        ("rs_vista_auth", "ra_auth_origin", PRIMARY),
        ("rs_vista", "ra_origin", PRIMARY),
    ],
)
def test_a_solicitation_is_answered_byte_for_byte(solicitation: str, answer: str, via: int) -> None:
    assert server().receive(VECTORS[solicitation], MAPPED_A, PRIMARY, 0.0) == [
        SendDatagram(VECTORS[answer], MAPPED_A, via)
    ]


@pytest.mark.requirement("S16")
def test_a_cone_solicitation_is_answered_byte_for_byte_from_the_other_address() -> None:
    solicitation = emit_nonce_authentication(NONCE) + VECTORS["rs_cone"]
    assert server().receive(solicitation, MAPPED_A, PRIMARY, 0.0) == [
        SendDatagram(VECTORS["ra_cone"], MAPPED_A, SECONDARY)
    ]
    assert server().receive(solicitation, MAPPED_A, SECONDARY, 0.0) == [
        SendDatagram(VECTORS["ra_cone"], MAPPED_A, PRIMARY)
    ]


@pytest.mark.requirement("S1", "S15", "S16")
@pytest.mark.parametrize(
    ("name", "via"), list(product(["rs_vista", "rs_win", "rs_xp", "rs_cone"], [PRIMARY, SECONDARY]))
)
def test_every_kind_of_solicitation_is_answered_from_the_right_address(name: str, via: int) -> None:
    solicitor = VECTORS[name][8:24]
    action = sole(server().receive(VECTORS[name], MAPPED_A, via, 0.0))
    assert action.to == MAPPED_A
    assert (action.via != via) == has_cone_bit(solicitor)
    found = parse_encapsulation(action.payload)
    packet, _ = parse_ipv6(found.packet)
    assert (found.origin, packet.source) == (MAPPED_A, server_link_local(SERVER))
    assert (packet.destination, packet.hop_limit) == (solicitor, 255)
    advertisement = advertised(action.payload)
    (prefix,) = advertisement.prefixes
    assert (prefix.length, prefix.prefix) == (64, b"\x20\x01\x00\x00" + SERVER + bytes(8))
    assert advertisement.mtu == 1280


@pytest.mark.requirement("S1", "S19", "T15", "T17")
def test_nothing_of_one_client_is_told_to_another() -> None:
    """RFC 4380 5.3: stateless; no authentication goes out where none came in."""
    core = server()
    core.receive(VECTORS["rs_vista_auth"], MAPPED_A, PRIMARY, 0.0)
    action = sole(core.receive(VECTORS["rs_vista"], STRANGER, PRIMARY, 0.0))
    assert parse_encapsulation(action.payload).authentication is None
    assert NONCE not in action.payload
    assert core.receive(VECTORS["rs_vista_auth"], MAPPED_A, PRIMARY, 0.0) == [
        SendDatagram(VECTORS["ra_auth_origin"], MAPPED_A, PRIMARY)
    ]


@pytest.mark.parametrize("name", ["rs_secure_sha1", "rs_secure_md5"])
def test_a_secured_solicitation_gets_its_nonce_back_and_no_more(name: str) -> None:
    assert server().receive(VECTORS[name], MAPPED_A, PRIMARY, 0.0) == [
        SendDatagram(VECTORS["ra_auth_origin"], MAPPED_A, PRIMARY)
    ]


@pytest.mark.requirement("S2", "S8")
def test_a_solicitation_that_is_wrong_in_one_thing_is_dropped() -> None:
    core = server()
    right = VECTORS["rs_vista"]
    wrong = [
        right[:7] + b"\x40" + right[8:],  # may have been forwarded
        right[:-1] + b"\x01",  # checksum
        emit_icmpv6(right[8:24], ALL_ROUTERS, EchoRequest(1, 1, b"")),
        emit_icmpv6(right[8:24], ALL_ROUTERS, OtherICMPv6(133, 1, bytes(4))),
        emit_icmpv6(CLIENT_A, ALL_ROUTERS, OtherICMPv6(133, 0, bytes(4))),  # source not link-local
        emit_icmpv6(NATIVE, ALL_ROUTERS, OtherICMPv6(133, 0, bytes(4))),
        emit_bubble(right[8:24], ALL_ROUTERS),
    ]
    for datagram in wrong:
        assert core.receive(datagram, MAPPED_A, PRIMARY, 0.0) == []
    assert dropped(core) == {Drop.BAD_SOLICITATION: len(wrong)}


@pytest.mark.requirement("S2")
@pytest.mark.parametrize("cut", range(61))
def test_a_solicitation_cut_short_is_dropped(cut: int) -> None:
    core = server()
    assert core.receive(VECTORS["rs_vista_auth"][:cut], MAPPED_A, PRIMARY, 0.0) == []
    assert dropped(core) == {Drop.MALFORMED: 1}


# ---------------------------------------------------------------- rule 3: the IPv4 source


@pytest.mark.requirement("S4", "S17", "S12", "T9")
@pytest.mark.parametrize("ipv4", FORBIDDEN, ids=lambda ipv4: ".".join(map(str, ipv4)))
def test_a_forbidden_ipv4_source_gets_nothing_and_nowhere(ipv4: bytes) -> None:
    core = server()
    outer = endpoint(ipv4, 4096)
    source = compose(SERVER_B, outer, 0)
    for datagram in (VECTORS["rs_vista_auth"], emit_bubble(source, CLIENT_A), echo(source, NATIVE, 64)):
        assert core.receive(datagram, outer, PRIMARY, 0.0) == []
    assert dropped(core) == {Drop.FORBIDDEN_IPV4: 3}


@pytest.mark.requirement("S20", "T1")
@pytest.mark.parametrize("own", [SERVER, SERVER_SECONDARY])
def test_the_servers_own_endpoint_as_source_is_dropped(own: bytes) -> None:
    core = server()
    outer = endpoint(own, TEREDO_PORT)
    itself = compose(SERVER, outer, 0)
    for datagram in (emit_bubble(itself, itself), VECTORS["rs_vista"], emit_bubble(NATIVE, CLIENT_A)):
        for via in (PRIMARY, SECONDARY):
            assert core.receive(datagram, outer, via, 0.0) == []
    assert dropped(core) == {Drop.OWN_ADDRESS: 6}


@pytest.mark.requirement("S20", "S7")
@pytest.mark.parametrize(
    "outer", [STRANGER[:4] + b"\x0d\xd8", endpoint(SERVER, 3545)], ids=["port 3544", "own address"]
)
def test_the_teredo_port_elsewhere_and_another_port_of_its_own_are_let_in(outer: Endpoint) -> None:
    """A client may be mapped to port 3544, and a relay may run beside the server."""
    bubble = emit_bubble(NATIVE, CLIENT_A)
    assert sole(server().receive(bubble, outer, PRIMARY, 0.0)).payload == emit_origin(outer) + bubble


@pytest.mark.requirement("S20", "T1")
@pytest.mark.parametrize("own", [SERVER, SERVER_SECONDARY])
def test_the_servers_own_address_as_embedded_destination_is_dropped(own: bytes) -> None:
    core = server()
    itself = compose(SERVER, endpoint(own, TEREDO_PORT), 0)
    assert core.receive(emit_bubble(CLIENT_A, itself), MAPPED_A, PRIMARY, 0.0) == []
    assert dropped(core) == {Drop.OWN_ADDRESS: 1}


@pytest.mark.requirement("T2")
@pytest.mark.parametrize("source_server", [SERVER, SERVER_B])
@pytest.mark.parametrize("served_by", [SERVER, SERVER_B])
def test_two_servers_pass_a_packet_on_once_at_most(source_server: bytes, served_by: bytes) -> None:
    """A packet that pretends to be from one server, to a client that pretends to be the other."""
    first, second = endpoint(SERVER, TEREDO_PORT), endpoint(SERVER_B, TEREDO_PORT)
    for source in (compose(source_server, second, 0), NATIVE, server_link_local(SERVER_B)):
        packet = emit_bubble(source, compose(served_by, second, 0))
        forwards = 0
        here, there, outer, datagram = server(), server_b(), second, packet
        for _ in range(10):
            actions = here.receive(datagram, outer, PRIMARY, 0.0)
            if not actions:
                break
            forwards += 1
            datagram, outer = sole(actions).payload, first if here is not there else second
            here, there = there, here
        assert forwards <= 1


# ---------------------------------------------------------------- rule 2: what goes through at all


@pytest.mark.requirement("S3")
def test_only_bubbles_and_icmpv6_go_through() -> None:
    core = server()
    tcp = emit_ipv6(IPv6Packet(0, 0, TCP, 64, CLIENT_A, NATIVE, bytes(20)))
    full_59 = emit_ipv6(IPv6Packet(0, 0, 59, 64, CLIENT_A, NATIVE, bytes(4)))
    for packet in (tcp, data(CLIENT_A, CLIENT_B), full_59):
        assert core.receive(packet, MAPPED_A, PRIMARY, 0.0) == []
    assert dropped(core) == {Drop.NOT_ALLOWED_THROUGH: 3}


@pytest.mark.requirement("S21")
@pytest.mark.parametrize(("payload", "through"), [(8, True), (84, True), (88, True), (89, False), (1240, False)])
def test_icmpv6_goes_through_up_to_88_bytes(payload: int, through: bool) -> None:
    core = server()
    actions = core.receive(echo(CLIENT_A, NATIVE, payload), MAPPED_A, PRIMARY, 0.0)
    assert bool(actions) == through
    assert dropped(core) == ({} if through else {Drop.TOO_LARGE_THROUGH: 1})


@pytest.mark.requirement("S2", "S8")
def test_an_origin_indication_from_a_client_is_dropped() -> None:
    core = server()
    assert core.receive(emit_origin(MAPPED_A) + VECTORS["bubble_A_B"], MAPPED_A, PRIMARY, 0.0) == []
    assert dropped(core) == {Drop.UNEXPECTED_HEADER: 1}


# ---------------------------------------------------------------- rules 5 to 7: whose packets


@pytest.mark.requirement("S6", "S13", "S14", "S22")
def test_a_bubble_for_a_client_of_its_own_goes_on_with_its_origin_byte_for_byte() -> None:
    assert server_b().receive(VECTORS["bubble_A_B"], MAPPED_A, PRIMARY, 0.0) == [
        SendDatagram(VECTORS["bubble_indirect_out"], MAPPED_B, PRIMARY)
    ]


@pytest.mark.requirement("S6", "S13", "S14")
def test_a_bubble_for_a_client_of_another_server_goes_on_without() -> None:
    assert server().receive(VECTORS["bubble_A_B"], MAPPED_A, PRIMARY, 0.0) == [
        SendDatagram(VECTORS["bubble_A_B"], MAPPED_B, PRIMARY)
    ]


@pytest.mark.requirement("S22")
@pytest.mark.parametrize(
    "name",
    [
        "bubble_hairpin",
        "bubble_rport",
        "bubble_unknown_drop",
        "bubble_unknown_skip",
        "bubble_trunc1",
        "bubble_trunc2",
        "bubble_alt_bad",
    ],
)
def test_trailers_go_on_untouched_and_unread(name: str) -> None:
    action = sole(server_b().receive(VECTORS[name], MAPPED_A, PRIMARY, 0.0))
    assert action.payload == emit_origin(MAPPED_A) + VECTORS[name]


@pytest.mark.requirement("S22", "S21")
def test_a_packet_to_a_client_keeps_its_hop_limit() -> None:
    bubble = emit_bubble(CLIENT_A, CLIENT_B, hop_limit=0)
    assert sole(server_b().receive(bubble, MAPPED_A, PRIMARY, 0.0)).payload == emit_origin(MAPPED_A) + bubble


@pytest.mark.requirement("S6", "S8", "T6")
@pytest.mark.parametrize("outer", [OTHER_PORT, STRANGER])
@pytest.mark.parametrize("destination", [NATIVE, CLIENT_B])
def test_a_teredo_source_that_does_not_match_is_dropped(outer: Endpoint, destination: IPv6) -> None:
    core = server()
    for packet in (emit_bubble(CLIENT_A, destination), echo(CLIENT_A, destination, 64)):
        assert core.receive(packet, outer, PRIMARY, 0.0) == []
    assert dropped(core) == {Drop.SOURCE_UNPROVED: 2}


@pytest.mark.requirement("A15", "S14")
def test_a_bubble_from_another_port_of_the_address_reaches_a_client_of_its_own_with_its_origin() -> None:
    bubble = with_nonce(VECTORS["bubble_A_B"], b"\1\2\3\4")
    assert server_b().receive(bubble, OTHER_PORT, PRIMARY, 0.0) == [
        SendDatagram(emit_origin(OTHER_PORT) + bubble, MAPPED_B, PRIMARY)
    ]


@pytest.mark.requirement("A15", "T6", "S8")
def test_that_exception_is_for_the_same_address_small_bubbles_and_own_clients() -> None:
    bubble = VECTORS["bubble_A_B"]
    core = server_b()
    assert core.receive(bubble, STRANGER, PRIMARY, 0.0) == []
    assert core.receive(echo(CLIENT_A, CLIENT_B, 64), OTHER_PORT, PRIMARY, 0.0) == []
    assert core.receive(bubble + bytes(89), OTHER_PORT, PRIMARY, 0.0) == []
    assert len(core.receive(bubble + bytes(88), OTHER_PORT, PRIMARY, 0.0)) == 1
    assert server().receive(bubble, OTHER_PORT, PRIMARY, 0.0) == []
    assert dropped(core) == {Drop.SOURCE_UNPROVED: 3}


@pytest.mark.requirement("S7", "S14")
@pytest.mark.parametrize("source", [NATIVE, bytes.fromhex("fe80000000000000aabbccdd11223344")])
def test_a_relays_bubble_reaches_a_client_of_its_own_with_its_origin(source: IPv6) -> None:
    bubble = emit_bubble(source, CLIENT_A)
    assert server().receive(bubble, STRANGER, PRIMARY, 0.0) == [
        SendDatagram(emit_origin(STRANGER) + bubble, MAPPED_A, PRIMARY)
    ]


@pytest.mark.requirement("S7", "S14")
def test_a_client_that_names_the_secondary_address_is_its_own_too() -> None:
    client = compose(SERVER_SECONDARY, MAPPED_A, 0)
    bubble = emit_bubble(NATIVE, client)
    assert sole(server().receive(bubble, STRANGER, SECONDARY, 0.0)).payload == emit_origin(STRANGER) + bubble


@pytest.mark.requirement("S7", "S8", "T6", "T7")
@pytest.mark.parametrize("source", [NATIVE, bytes.fromhex("fe80000000000000aabbccdd11223344")])
@pytest.mark.parametrize("destination", [CLIENT_B, NATIVE, bytes.fromhex("2001470000000000") + bytes(8)])
def test_any_other_source_gets_nowhere_else(source: IPv6, destination: IPv6) -> None:
    core = server()
    for packet in (emit_bubble(source, destination), echo(source, destination, 64)):
        assert core.receive(packet, STRANGER, PRIMARY, 0.0) == []
    assert dropped(core) == {Drop.SOURCE_UNPROVED: 2}


# ---------------------------------------------------------------- the destination


@pytest.mark.requirement("S12", "T9")
@pytest.mark.parametrize("ipv4", FORBIDDEN, ids=lambda ipv4: ".".join(map(str, ipv4)))
@pytest.mark.parametrize("served_by", [SERVER, SERVER_B])
def test_a_destination_at_a_forbidden_address_gets_nothing(ipv4: bytes, served_by: bytes) -> None:
    core = server()
    assert (
        core.receive(emit_bubble(CLIENT_A, compose(served_by, endpoint(ipv4, 4096), 0)), MAPPED_A, PRIMARY, 0.0) == []
    )
    assert dropped(core) == {Drop.FORBIDDEN_IPV4: 1}


@pytest.mark.requirement("S12", "T9")
def test_directed_broadcasts_and_own_addresses_get_nothing() -> None:
    core = server(scope=IPv4Scope([], [ipv4_of(MAPPED_A)], [ipv4_of(MAPPED_B)]))
    assert core.receive(emit_bubble(NATIVE, CLIENT_A), STRANGER, PRIMARY, 0.0) == []
    assert core.receive(emit_bubble(NATIVE, compose(SERVER, MAPPED_B, 0)), STRANGER, PRIMARY, 0.0) == []


@pytest.mark.requirement("S11", "E12")
def test_a_test_goes_to_the_native_network_as_it_is_but_for_its_hop_limit() -> None:
    ping = VECTORS["ping_test"]
    hop_limit = bytes([ping[7] - 1])
    assert server().receive(ping, MAPPED_A, PRIMARY, 0.0) == [ForwardPacket(ping[:7] + hop_limit + ping[8:], NATIVE)]


@pytest.mark.requirement("S11")
@pytest.mark.parametrize(("hop_limit", "through"), [(0, False), (1, False), (2, True), (255, True)])
def test_a_hop_limit_that_runs_out_ends_the_way(hop_limit: int, through: bool) -> None:
    core = server()
    assert bool(core.receive(echo(CLIENT_A, NATIVE, 64, hop_limit), MAPPED_A, PRIMARY, 0.0)) == through
    assert dropped(core) == ({} if through else {Drop.HOP_LIMIT: 1})


@pytest.mark.requirement("S10", "S8")
@pytest.mark.parametrize(
    "destination",
    [
        bytes(16),
        bytes(15) + b"\x01",
        bytes(10) + b"\xff\xff\xc0\x00\x02\x01",
        bytes.fromhex("fe80") + bytes(13) + b"\x01",
        bytes.fromhex("fec0") + bytes(13) + b"\x01",
        ALL_NODES,
        bytes.fromhex("ff0e") + bytes(14),
        bytes.fromhex("20020a000001") + bytes(10),
        bytes.fromhex("20027f000001") + bytes(10),
        server_link_local(SERVER_B),
    ],
    ids=bytes.hex,
)
def test_what_is_not_global_is_not_forwarded_to(destination: IPv6) -> None:
    core = server()
    assert core.receive(echo(CLIENT_A, destination, 64), MAPPED_A, PRIMARY, 0.0) == []
    assert dropped(core) == {Drop.NOT_GLOBAL: 1}


@pytest.mark.requirement("S9")
@pytest.mark.parametrize("via", [PRIMARY, SECONDARY])
@pytest.mark.parametrize("own", [SERVER, SERVER_SECONDARY], ids=["primary", "secondary"])
def test_an_echo_request_to_its_link_local_address_is_answered(own: bytes, via: int) -> None:
    request = echo(CLIENT_A, server_link_local(own), 64)
    ((answer, to),) = sent(server().receive(request, MAPPED_A, via, 0.0))
    reply, _ = parse_ipv6(answer)
    assert (to, reply.source, reply.destination) == (MAPPED_A, server_link_local(own), CLIENT_A)
    assert parse_icmpv6(reply) == EchoReply(1, 1, bytes(56))


@pytest.mark.requirement("S9")
def test_nothing_else_to_its_link_local_address_is_answered_and_nobody_elses_request() -> None:
    own = server_link_local(SERVER)
    unreachable = emit_icmpv6(CLIENT_A, own, OtherICMPv6(1, 0, bytes(8)))
    for packet, outer in (
        (unreachable, MAPPED_A),
        (emit_bubble(CLIENT_A, own), MAPPED_A),
        (echo(CLIENT_A, own, 64)[:-1] + b"x", MAPPED_A),
        (echo(CLIENT_A, own, 64), OTHER_PORT),
        (echo(NATIVE, own, 64), MAPPED_A),
        (echo(CLIENT_LINK_LOCAL, own, 64), MAPPED_A),
    ):
        assert server().receive(packet, outer, PRIMARY, 0.0) == []


@pytest.mark.requirement("A15")
def test_how_bubbles_of_symmetric_clients_are_let_through_is_a_choice() -> None:
    """To our own client; from the embedded endpoint, from another port of its address, from elsewhere."""
    bubble = VECTORS["bubble_A_B"]
    for choice, through in (
        (SymmetricBubbles.STRICT, [True, False, False]),
        (SymmetricBubbles.PORT, [True, True, False]),
        (SymmetricBubbles.ANY, [True, True, True]),
    ):
        core = Server((SERVER_B, SERVER_B_SECONDARY), IPv4Scope(), symmetric_bubbles=choice)
        passed = [core.receive(bubble, outer, PRIMARY, 0.0) for outer in (MAPPED_A, OTHER_PORT, STRANGER)]
        assert [bool(actions) for actions in passed] == through
        assert core.receive(echo(CLIENT_A, CLIENT_B, 64), STRANGER, PRIMARY, 0.0) == []


@pytest.mark.requirement("S10", "S11")
@pytest.mark.parametrize(
    "destination",
    [
        bytes.fromhex("fd00") + bytes(13) + b"\x01",
        bytes.fromhex("0064ff9b") + bytes(8) + bytes([192, 0, 2, 1]),
        bytes.fromhex("2002c0000201") + bytes(10),
    ],
    ids=bytes.hex,
)
def test_what_is_global_enough_is_forwarded_to(destination: IPv6) -> None:
    (action,) = server().receive(echo(CLIENT_A, destination, 64), MAPPED_A, PRIMARY, 0.0)
    assert isinstance(action, ForwardPacket)
    assert action.to == destination


@pytest.mark.requirement("S11", "T4")
@pytest.mark.parametrize("own", [SERVER, SERVER_SECONDARY])
def test_6to4_and_isatap_addresses_of_its_own_are_not_forwarded_to(own: bytes) -> None:
    core = server()
    six_to_four = b"\x20\x02" + own + bytes(10)
    isatap = NATIVE[:8] + bytes.fromhex("00005efe") + own
    for destination in (six_to_four, isatap, NATIVE[:8] + bytes.fromhex("02005efe") + own):
        assert core.receive(echo(CLIENT_A, destination, 64), MAPPED_A, PRIMARY, 0.0) == []
    assert dropped(core) == {Drop.OWN_ADDRESS: 3}


def test_a_server_of_another_prefix_advertises_and_forwards_that() -> None:
    prefix = bytes.fromhex("20010db8")
    core = Server((SERVER, SERVER_SECONDARY), IPv4Scope(), prefix=prefix, mtu=1400)
    action = sole(core.receive(VECTORS["rs_vista"], MAPPED_A, PRIMARY, 0.0))
    advertisement = advertised(action.payload)
    assert (advertisement.prefixes[0].prefix, advertisement.mtu) == (prefix + SERVER + bytes(8), 1400)
    own = compose(SERVER, MAPPED_A, 0, prefix)
    assert (
        sole(core.receive(emit_bubble(bytes.fromhex("20010db9") + bytes(12), own), STRANGER, PRIMARY, 0.0)).to
        == MAPPED_A
    )
