# SPDX-License-Identifier: MIT
"""What a client receives from peers and relays, case by case (RFC 4380 5.2.3; RFC 6081 5.2.4)."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.endpoint import Endpoint, IPv6
from miredo.address.teredo import ALL_NODES, CLIENT_LINK_LOCAL, compose
from miredo.teredo.actions import Action, PeerTrusted, SendDatagram
from miredo.teredo.constants import HELD_PACKETS
from miredo.teredo.drops import Drop
from miredo.teredo.plain import is_plain_data, routing_refusal
from miredo.wire.bubble import emit_bubble
from miredo.wire.encapsulation import emit_nonce_authentication, emit_origin
from miredo.wire.icmpv6 import (
    EchoRequest,
    OtherICMPv6,
    emit_icmpv6,
    teredo_router_advertisement,
)
from miredo.wire.ipv6 import IPv6Packet, emit_ipv6
from tests.teredo.cores import (
    ELSEWHERE,
    FORBIDDEN,
    KEYED,
    NATIVE,
    NONCE,
    OTHER_NATIVE,
    OTHER_SERVER,
    PEER,
    PEER_MAPPED,
    PRIMARY_ENDPOINT,
    RELAY,
    QualifiedClient,
    bubble_to,
    data,
    delivered,
    echo_reply,
    echo_request_in,
    indirect,
    only,
    qualified_client,
    routed,
    sent,
    trailer_nonce,
    with_nonce,
)

# ---------------------------------------------------------------- who is trusted


@pytest.mark.requirement("C20")
@pytest.mark.parametrize("cut", range(41))
def test_a_datagram_cut_short_is_dropped(cut: int) -> None:
    client = qualified_client()
    datagram = bubble_to(client)
    actions = client.core.receive(datagram[:cut], PEER_MAPPED, 1.0)
    assert bool(actions) == (cut == 40)
    assert client.core.drops[Drop.MALFORMED] == (cut < 40)


@pytest.mark.requirement("C20")
def test_a_packet_may_be_shorter_than_its_datagram_and_not_longer() -> None:
    client = qualified_client()
    packet = data(PEER, client.address)
    assert delivered(client.core.receive(packet + b"\x00", PEER_MAPPED, 1.0)) == [packet]
    assert client.core.receive(packet[:-1], PEER_MAPPED, 1.0) == []


@pytest.mark.requirement("C20", "T22")
@pytest.mark.parametrize("packet", [lambda client: bubble_to(client), lambda client: data(PEER, client.address)])
def test_a_trailer_that_demands_it_discards_the_packet_whoever_sent_it(
    packet: Callable[[QualifiedClient], bytes],
) -> None:
    """RFC 6081 4.1 speaks of every packet, not of bubbles whose nonce is looked for."""
    client = qualified_client()
    discard = b"\x41\x03xyz"
    assert client.core.receive(packet(client) + discard, PEER_MAPPED, 1.0) == []
    assert client.core.receive(indirect(PEER, client.address, PEER_MAPPED) + discard, PRIMARY_ENDPOINT, 1.0) == []
    assert client.dropped == {Drop.TRAILER_DISCARDS: 2}
    assert len(client.core.peers) == 0


@pytest.mark.requirement("A11", "T22")
def test_a_badly_formed_alternate_address_trailer_discards_its_bubble() -> None:
    client = qualified_client()
    through = indirect(PEER, client.address, PEER_MAPPED)
    assert client.core.receive(through + b"\x03\x09" + bytes(9), PRIMARY_ENDPOINT, 1.0) == []
    assert client.dropped == {Drop.TRAILER_DISCARDS: 1}


@pytest.mark.requirement("C21")
@pytest.mark.parametrize("destination", [PEER, NATIVE])
def test_a_packet_for_another_address_is_dropped(destination: IPv6) -> None:
    client = qualified_client()
    assert client.core.receive(data(PEER, destination), PEER_MAPPED, 1.0) == []
    assert not client.core.passes(data(PEER, destination), PEER_MAPPED, 1.0)
    assert client.dropped == {Drop.WRONG_DESTINATION: 1}


@pytest.mark.requirement("C25", "C30")
def test_a_packet_from_its_embedded_endpoint_is_trusted_and_delivered() -> None:
    client = qualified_client()
    packet = data(PEER, client.address)
    actions = client.core.receive(packet, PEER_MAPPED, 100.0)
    assert only(PeerTrusted, actions) == [PeerTrusted(PEER, PEER_MAPPED)]
    assert delivered(actions) == [packet]
    peer = client.core.peers.get(PEER)
    assert peer is not None
    assert (peer.last_rx, peer.last_tx) == (100.0, 70.0)


@pytest.mark.requirement("C25", "C31")
def test_a_direct_bubble_makes_trust_and_is_dropped_afterwards() -> None:
    client = qualified_client()
    assert client.core.receive(bubble_to(client), PEER_MAPPED, 1.0) == [PeerTrusted(PEER, PEER_MAPPED)]
    assert client.core.receive(bubble_to(client), PEER_MAPPED, 2.0) == []


@pytest.mark.requirement("C30", "T10")
@pytest.mark.parametrize("ipv4", FORBIDDEN, ids=lambda ipv4: ".".join(map(str, ipv4)))
def test_no_peer_with_a_forbidden_address_is_trusted(ipv4: bytes) -> None:
    client = qualified_client()
    mapped = ipv4 + b"\x20\x00"
    peer = compose(OTHER_SERVER.primary, mapped, 0)
    assert client.core.receive(data(peer, client.address), mapped, 1.0) == []
    assert len(client.core.peers) == 0
    assert client.dropped == {Drop.FORBIDDEN_IPV4: 1}


@pytest.mark.requirement("C23")
def test_a_trusted_peers_packets_are_delivered_as_they_are() -> None:
    client = qualified_client()
    client.core.receive(bubble_to(client), PEER_MAPPED, 1.0)
    assert client.core.passes(data(PEER, client.address), PEER_MAPPED, 2.0)
    peer = client.core.peers.get(PEER)
    assert peer is not None
    assert peer.last_rx == 2.0


@pytest.mark.requirement("C24", "C41", "T18")
def test_the_reply_to_the_test_makes_trust_and_lets_go_what_waited() -> None:
    client = qualified_client()
    packet = data(client.address, NATIVE)
    ((test, _),) = sent(client.core.transmit(packet, 1.0))
    reply = echo_reply(NATIVE, client.address, echo_request_in(test).data)
    assert client.core.receive(reply, RELAY, 1.1) == [PeerTrusted(NATIVE, RELAY), SendDatagram(packet, RELAY)]
    assert client.trusts(NATIVE, RELAY, 2.0)


@pytest.mark.requirement("C24", "T18")
def test_the_reply_to_a_second_test_of_a_known_host_is_not_for_the_host_either() -> None:
    client = qualified_client()
    client.befriend(NATIVE, 1.0)
    client.expire_until(60.0)
    actions = client.befriend(NATIVE, 60.0)
    assert only(PeerTrusted, actions) == [PeerTrusted(NATIVE, RELAY)]
    assert delivered(actions) == []


@pytest.mark.requirement("T18")
def test_no_reply_but_the_right_one_makes_trust() -> None:
    client = qualified_client()
    nonce = client.tested(NATIVE, 1.0)
    other = client.tested(OTHER_NATIVE, 1.0)
    for data_ in (b"", nonce[:-1], nonce + b"x", bytes(16), other):
        client.core.receive(echo_reply(NATIVE, client.address, data_), RELAY, 1.1)
    client.core.receive(echo_reply(OTHER_NATIVE, client.address, nonce), RELAY, 1.1)
    client.core.receive(emit_icmpv6(NATIVE, client.address, EchoRequest(1, 1, nonce), 64), RELAY, 1.1)
    with_code = emit_icmpv6(NATIVE, client.address, OtherICMPv6(129, 1, bytes(4) + nonce), 64)
    client.core.receive(with_code, RELAY, 1.1)
    good = echo_reply(NATIVE, client.address, nonce)
    client.core.receive(good[:42] + bytes([good[42] ^ 1]) + good[43:], RELAY, 1.1)
    assert len(client.core.peers) == 0
    client.core.receive(good, RELAY, 1.2)
    assert len(client.core.peers) == 1


@pytest.mark.requirement("T18")
def test_a_reply_older_than_30_s_makes_no_trust() -> None:
    client = qualified_client()
    nonce = client.tested(NATIVE, 0.0)
    client.expire_until(29.0)
    client.core.receive(echo_reply(NATIVE, client.address, nonce), RELAY, 30.0)
    assert len(client.core.peers) == 0


@pytest.mark.requirement("C24", "T18")
def test_the_same_reply_from_another_relay_makes_no_trust_again() -> None:
    client = qualified_client()
    nonce = client.tested(NATIVE, 1.0)
    client.core.receive(echo_reply(NATIVE, client.address, nonce), RELAY, 1.1)
    again = client.core.receive(echo_reply(NATIVE, client.address, nonce), ELSEWHERE, 1.2)
    assert only(PeerTrusted, again) == []
    assert client.core.peers.egress(NATIVE, 1.3) == RELAY


@pytest.mark.requirement("C28")
def test_another_relay_is_tested_at_once_however_much_is_sent_and_takes_over() -> None:
    client = qualified_client()
    client.befriend(NATIVE, 1.0)
    assert sent(client.core.transmit(data(client.address, NATIVE), 5.0)) != []
    packet = data(NATIVE, client.address)
    ((test, to), _) = sent(client.core.receive(packet, ELSEWHERE, 5.1))
    assert to == PRIMARY_ENDPOINT
    actions = client.core.receive(echo_reply(NATIVE, client.address, echo_request_in(test).data), ELSEWHERE, 5.2)
    assert only(PeerTrusted, actions) == [PeerTrusted(NATIVE, ELSEWHERE)]
    assert delivered(actions) == [packet]


@pytest.mark.requirement("C28", "T12")
def test_relays_that_take_turns_are_tested_every_2_s() -> None:
    client = qualified_client()
    client.befriend(NATIVE, 1.0)
    packet = data(NATIVE, client.address)
    tests: list[float] = []

    def tested(actions: list[Action], now: float) -> None:
        for test, to in sent(actions):
            if to == PRIMARY_ENDPOINT:
                tests.append(now)
                client.core.receive(echo_reply(NATIVE, client.address, echo_request_in(test).data), turn, now)

    for tenth in range(50, 150):
        now, turn = tenth / 10, (RELAY, ELSEWHERE)[tenth % 2]
        tested(client.core.expire(now), now)
        tested(client.core.receive(packet, turn, now), now)
    assert 5 <= len(tests) <= 6
    assert min(later - earlier for earlier, later in pairwise(tests)) >= 2.0


@pytest.mark.requirement("C28", "A17")
def test_a_native_stranger_is_tested_before_its_packets_are_delivered() -> None:
    client = qualified_client()
    packets = [data(NATIVE, client.address) for _ in range(3)]
    tests = [sent(client.core.receive(packet, RELAY, 1.0)) for packet in packets]
    ((test, to),) = tests[0]
    assert (tests[1:], to) == ([[], []], PRIMARY_ENDPOINT)
    reply = echo_reply(NATIVE, client.address, echo_request_in(test).data)
    assert delivered(client.core.receive(reply, RELAY, 1.2)) == packets


@pytest.mark.requirement("C28", "T10")
def test_what_a_forger_sent_meanwhile_is_not_delivered() -> None:
    client = qualified_client()
    forged = data(NATIVE, client.address)
    ((test, _),) = sent(client.core.receive(forged, ELSEWHERE, 1.0))
    reply = echo_reply(NATIVE, client.address, echo_request_in(test).data)
    assert delivered(client.core.receive(reply, RELAY, 1.2)) == []
    assert not client.trusts(NATIVE, ELSEWHERE, 1.3)


@pytest.mark.requirement("T12")
def test_forged_strangers_get_no_more_tests_than_the_bucket_has() -> None:
    client = qualified_client()
    tests = 0
    for number in range(10000):
        stranger = NATIVE[:-2] + number.to_bytes(2, "big")
        tests += len(sent(client.core.receive(data(stranger, client.address), ELSEWHERE, number / 10000)))
    assert tests <= 300


@pytest.mark.requirement("C31", "T27")
@pytest.mark.parametrize("source", [KEYED, CLIENT_LINK_LOCAL])
def test_an_inner_link_local_source_never_reaches_the_host(source: IPv6) -> None:
    client = qualified_client()
    message = teredo_router_advertisement(NATIVE[:8])
    for packet in (emit_icmpv6(source, client.address, message), data(source, client.address)):
        assert client.core.receive(packet, PEER_MAPPED, 1.0) == []
    assert client.dropped == {Drop.NO_TRANSIT: 2}


@pytest.mark.requirement("C31")
@pytest.mark.parametrize("destination", [ALL_NODES, bytes.fromhex("ff0e") + bytes(14)])
def test_a_group_is_never_delivered_to_the_host(destination: IPv6) -> None:
    client = qualified_client()
    client.core.receive(bubble_to(client), PEER_MAPPED, 1.0)
    for packet in (data(PEER, destination), emit_bubble(PEER, destination)):
        assert client.passes_or_receives(packet, PEER_MAPPED, 2.0) == []
    assert client.dropped == {Drop.NO_TRANSIT: 2}


def test_a_group_as_source_is_dropped() -> None:
    client = qualified_client()
    assert client.core.receive(data(ALL_NODES, client.address), ELSEWHERE, 1.0) == []
    assert client.dropped == {Drop.NO_TRANSIT: 1}


def test_headers_of_a_server_from_elsewhere_are_dropped() -> None:
    client = qualified_client()
    for header in (emit_origin(RELAY), emit_nonce_authentication(bytes(8))):
        assert client.core.receive(header + bubble_to(client), PEER_MAPPED, 1.0) == []
    assert client.dropped == {Drop.UNEXPECTED_HEADER: 2}


def test_a_native_bubble_is_no_reason_for_a_test() -> None:
    client = qualified_client()
    assert client.core.receive(bubble_to(client, NATIVE), RELAY, 1.0) == []
    assert client.dropped == {Drop.UNKNOWN_PEER: 1}


@pytest.mark.requirement("T11")
@pytest.mark.parametrize(
    ("source", "outer"), [(PEER, PEER_MAPPED), (NATIVE, RELAY), (OTHER_NATIVE, RELAY), (NATIVE, PRIMARY_ENDPOINT)]
)
def test_a_live_routing_header_is_dropped_whoever_it_is_from(source: IPv6, outer: Endpoint) -> None:
    client = qualified_client()
    client.core.receive(bubble_to(client), PEER_MAPPED, 1.0)
    client.befriend(NATIVE, 1.0, PRIMARY_ENDPOINT if outer == PRIMARY_ENDPOINT else RELAY)
    assert client.passes_or_receives(routed(source, client.address), outer, 2.0) == []
    assert client.dropped == {Drop.ROUTING_HEADER: 1}


@pytest.mark.requirement("T11")
def test_a_spent_routing_header_is_let_through() -> None:
    client = qualified_client()
    client.core.receive(bubble_to(client), PEER_MAPPED, 1.0)
    packet = routed(PEER, client.address, 0)
    assert delivered(client.passes_or_receives(packet, PEER_MAPPED, 2.0)) == [packet]


# ---------------------------------------------------------------- RFC 6081: the nonce


def asked_peer(client: QualifiedClient, now: float) -> bytes:
    """The nonce that goes to the other client through its server."""
    _, (through, _) = sent(client.core.transmit(data(client.address, PEER), now))
    nonce = trailer_nonce(through)
    assert nonce is not None
    return nonce


@pytest.mark.requirement("C29", "C13")
def test_a_bubble_with_our_nonce_makes_its_mapping_that_of_the_peer() -> None:
    client = qualified_client()
    nonce = asked_peer(client, 1.0)
    actions = client.core.receive(with_nonce(bubble_to(client), nonce), ELSEWHERE, 1.1)
    assert only(PeerTrusted, actions) == [PeerTrusted(PEER, ELSEWHERE)]
    assert [to for _, to in sent(actions)] == [ELSEWHERE]
    assert client.trusts(PEER, ELSEWHERE, 1.2)


@pytest.mark.requirement("C29", "T20")
@pytest.mark.parametrize("nonce", [None, bytes(4), b"\xff" * 4])
def test_a_bubble_from_another_mapping_without_our_nonce_is_dropped(nonce: bytes | None) -> None:
    client = qualified_client()
    asked_peer(client, 1.0)
    bubble = bubble_to(client)
    assert client.core.receive(bubble if nonce is None else with_nonce(bubble, nonce), ELSEWHERE, 1.1) == []
    assert client.dropped == {Drop.MAPPING_MISMATCH: 1}
    assert len(client.core.peers) == 0


@pytest.mark.requirement("C29", "T20")
def test_the_nonce_of_an_earlier_attempt_no_longer_counts() -> None:
    client = qualified_client()
    first = asked_peer(client, 1.0)
    client.core.expire(3.25)
    assert client.core.receive(with_nonce(bubble_to(client), first), ELSEWHERE, 3.3) == []


@pytest.mark.requirement("C29", "T20")
def test_an_unasked_nonce_does_not_move_a_trusted_peer() -> None:
    client = qualified_client()
    client.core.receive(bubble_to(client), PEER_MAPPED, 1.0)
    assert client.core.receive(with_nonce(bubble_to(client), NONCE), ELSEWHERE, 2.0) == []
    assert client.core.receive(data(PEER, client.address), ELSEWHERE, 2.0) == []
    assert client.core.peers.egress(PEER, 3.0) == PEER_MAPPED
    assert client.dropped == {Drop.MAPPING_MISMATCH: 2}


@pytest.mark.requirement("C29")
def test_a_nonce_is_of_no_use_for_another_peer() -> None:
    client = qualified_client()
    nonce = asked_peer(client, 1.0)
    other = compose(OTHER_SERVER.primary, PEER_MAPPED, 0x0001)
    assert client.core.receive(with_nonce(emit_bubble(other, client.address), nonce), ELSEWHERE, 1.1) == []
    assert len(client.core.peers) == 0


@pytest.mark.requirement("A17")
def test_data_that_overtakes_the_nonce_is_held_and_then_delivered() -> None:
    client = qualified_client()
    nonce = asked_peer(client, 1.0)
    packets = [data(PEER, client.address) for _ in range(HELD_PACKETS + 1)]
    for packet in packets:
        assert client.core.receive(packet, ELSEWHERE, 1.1) == []
    actions = client.core.receive(with_nonce(bubble_to(client), nonce), ELSEWHERE, 1.5)
    assert delivered(actions) == packets[:HELD_PACKETS]
    assert client.core.drops[Drop.HELD_TOO_MANY] == 1


@pytest.mark.requirement("A17")
def test_data_is_held_for_a_second_and_no_longer() -> None:
    client = qualified_client()
    nonce = asked_peer(client, 1.0)
    client.core.receive(data(PEER, client.address), ELSEWHERE, 1.1)
    actions = client.core.receive(with_nonce(bubble_to(client), nonce), ELSEWHERE, 2.1)
    assert only(PeerTrusted, actions) == [PeerTrusted(PEER, ELSEWHERE)]
    assert delivered(actions) == []


@pytest.mark.requirement("A17", "T20")
def test_data_from_another_mapping_is_not_held_when_nobody_was_asked() -> None:
    client = qualified_client()
    assert client.core.receive(data(PEER, client.address), ELSEWHERE, 1.1) == []
    assert client.dropped == {Drop.MAPPING_MISMATCH: 1}


# ---------------------------------------------------------------- the per-packet path

headers = st.sampled_from([0, 6, 17, 43, 44, 50, 51, 58, 59, 60, 135, 255])


@pytest.mark.requirement("C23", "T11")
@given(kind=headers, body=st.binary(max_size=60), behind=st.binary(max_size=3), cut=st.integers(0, 2))
def test_what_the_per_packet_path_lets_in_the_whole_path_delivers_too(
    kind: int, body: bytes, behind: bytes, cut: int
) -> None:
    quick, thorough = qualified_client(), qualified_client()
    for client in (quick, thorough):
        client.core.receive(bubble_to(client), PEER_MAPPED, 1.0)
    packet = emit_ipv6(IPv6Packet(0, 0, kind, 64, PEER, quick.address, body)) + behind
    datagram = packet[: len(packet) - cut]
    if quick.core.passes(datagram, PEER_MAPPED, 2.0):
        assert delivered(thorough.core.receive(datagram, PEER_MAPPED, 2.0)) == [datagram]


@pytest.mark.requirement("T11")
def test_a_routing_header_behind_another_header_is_found() -> None:
    """The authentication header comes before it only in an odd chain (RFC 8200 4.1), and odd is what an attacker is."""
    client = qualified_client()
    client.core.receive(bubble_to(client), PEER_MAPPED, 1.0)
    inner = routed(PEER, client.address)
    for kind, header in ((60, bytes([43, 0]) + bytes(6)), (51, bytes([43, 1]) + bytes(10))):
        packet = emit_ipv6(IPv6Packet(0, 0, kind, 64, PEER, client.address, header + inner[40:]))
        assert not is_plain_data(packet)
        assert routing_refusal(packet) is Drop.ROUTING_HEADER
        assert client.passes_or_receives(packet, PEER_MAPPED, 2.0) == []
    assert client.dropped == {Drop.ROUTING_HEADER: 2}
