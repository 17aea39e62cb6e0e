# SPDX-License-Identifier: MIT
"""A client's sending, and what comes from its server (RFC 4380 5.2.3, 5.2.4, 5.2.9), case by case."""

import pytest

from miredo.address.endpoint import IPv6, endpoint, parse_endpoint, parse_ipv4
from miredo.address.scope import IPv4Scope, is_link_local
from miredo.address.teredo import ALL_NODES, CLIENT_LINK_LOCAL, compose
from miredo.teredo.actions import AllLost, PeerTrusted, Qualified, SendDatagram, SendError, Unqualified
from miredo.teredo.client import CONTACT_LIMIT
from miredo.teredo.constants import ANSWER_LIMIT, ECHO_NONCE_LENGTH, QUEUE_PACKETS
from miredo.teredo.drops import Drop
from miredo.wire.bubble import emit_bubble
from miredo.wire.encapsulation import emit_origin
from miredo.wire.icmpv6 import (
    DestinationUnreachable,
    EchoRequest,
    emit_icmpv6,
    packet_too_big_body,
)
from miredo.wire.ipv6 import source_of
from miredo.wire.trailers import NonceTrailer, RandomPortTrailer, emit_trailer
from tests.teredo.cores import (
    ELSEWHERE,
    FORBIDDEN,
    KEYED,
    MAPPED,
    NATIVE,
    NONCE,
    OTHER_ENDPOINT,
    OTHER_SERVER,
    PEER,
    PEER_MAPPED,
    PRIMARY_ENDPOINT,
    RELAY,
    SECONDARY_ENDPOINT,
    QualifiedClient,
    advertisement,
    bubble_to,
    client_core,
    data,
    delivered,
    echo_reply,
    echo_request_in,
    ends,
    error_in,
    indirect,
    only,
    qualified_client,
    sent,
    solicitation_nonce,
    trailer_nonce,
    with_nonce,
)

# ---------------------------------------------------------------- sending


@pytest.mark.requirement("C4")
def test_before_it_is_qualified_a_client_sends_nothing_for_its_host() -> None:
    client = client_core()
    client.start(0.0)
    packet = data(PEER, NATIVE)
    (error,) = client.transmit(packet, 0.5)
    assert isinstance(error, SendError)
    assert error_in(error) == DestinationUnreachable(3, packet)
    assert client.drops == {Drop.NOT_QUALIFIED: 1}


@pytest.mark.requirement("C40")
def test_a_trusted_peer_is_sent_to_directly() -> None:
    client = qualified_client()
    client.core.receive(bubble_to(client), PEER_MAPPED, 1.0)
    packet = data(client.address, PEER)
    assert client.core.transmit(packet, 2.0) == [SendDatagram(packet, PEER_MAPPED)]


@pytest.mark.requirement("C44", "C46", "C43", "C48", "A8")
@pytest.mark.parametrize("flags", [0x0000, 0x8000, 0x3CFF])
def test_a_teredo_peer_gets_a_direct_and_an_indirect_bubble_whatever_its_cone_bit(flags: int) -> None:
    client = qualified_client()
    peer = compose(OTHER_SERVER.primary, PEER_MAPPED, flags)
    direct, through = sent(client.core.transmit(data(client.address, peer), 1.0))
    bubble = emit_bubble(client.address, peer)
    assert direct == (bubble, PEER_MAPPED)
    assert (through[0][:40], through[1]) == (bubble, OTHER_ENDPOINT)
    assert len(trailer_nonce(through[0]) or b"") == 4


@pytest.mark.requirement("C44", "A13", "C47")
def test_one_packet_has_all_four_attempts_and_then_an_error() -> None:
    client = qualified_client()
    packet = data(client.address, PEER)
    attempts = [sent(client.core.transmit(packet, 1.0)), *(sent(client.core.expire(now)) for now in (3.25, 5.5, 7.75))]
    # The first attempt was in vain: does the server still answer?
    assert [PRIMARY_ENDPOINT in [to for _, to in attempt] for attempt in attempts] == [False, True, False, True]
    attempts = [[(payload, to) for payload, to in attempt if to != PRIMARY_ENDPOINT] for attempt in attempts]
    assert [[to for _, to in attempt] for attempt in attempts] == [[PEER_MAPPED, OTHER_ENDPOINT]] * 4
    assert [len(payload) for attempt in attempts for payload, _ in attempt] == [40, 46, 40, 46, 40, 40, 40, 46]
    (error,) = only(SendError, client.expire_until(10.0))
    assert (error_in(error), error.to) == (DestinationUnreachable(3, packet), client.address)


@pytest.mark.requirement("C44", "C50")
def test_what_waited_leaves_in_its_order_when_the_peer_is_heard() -> None:
    client = qualified_client()
    packets = [data(client.address, PEER) for _ in range(QUEUE_PACKETS)]
    for packet in packets:
        client.core.transmit(packet, 1.0)
    actions = client.core.receive(bubble_to(client), PEER_MAPPED, 1.2)
    assert sent(actions) == [(packet, PEER_MAPPED) for packet in packets]


@pytest.mark.requirement("C41")
def test_a_native_host_is_tested_through_our_own_server() -> None:
    client = qualified_client()
    ((packet, to),) = sent(client.core.transmit(data(client.address, NATIVE), 1.0))
    assert to == PRIMARY_ENDPOINT
    assert ends(packet) == (client.address, NATIVE)
    assert len(echo_request_in(packet).data) == ECHO_NONCE_LENGTH >= 8


@pytest.mark.requirement("C41", "A13")
def test_the_connectivity_test_is_repeated_and_another_may_follow_soon() -> None:
    client = qualified_client()
    client.core.transmit(data(client.address, NATIVE), 0.0)
    times = [now for now in (2.25, 4.5, 6.75) if sent(client.core.expire(now))]
    assert times == [2.25, 4.5, 6.75]
    assert len(only(SendError, client.core.expire(9.0))) == 1
    assert len(only(SendError, client.core.transmit(data(client.address, NATIVE), 18.9))) == 1
    client.core.expire(19.0)
    assert len(sent(client.core.transmit(data(client.address, NATIVE), 19.0))) == 1


@pytest.mark.requirement("C45", "T9")
@pytest.mark.parametrize("ipv4", FORBIDDEN, ids=lambda ipv4: ".".join(map(str, ipv4)))
def test_nothing_is_sent_to_a_peer_with_a_forbidden_address_or_server(ipv4: bytes) -> None:
    client = qualified_client()
    mapped = compose(OTHER_SERVER.primary, ipv4 + PEER_MAPPED[4:], 0)
    served = compose(ipv4, PEER_MAPPED, 0)
    assert client.core.transmit(data(client.address, mapped), 1.0) == []
    assert client.core.transmit(data(client.address, served), 1.0) == []
    assert client.dropped == {Drop.FORBIDDEN_IPV4: 2}


@pytest.mark.requirement("C45", "T9")
def test_broadcasts_and_own_addresses_are_forbidden_and_private_ones_may_be_allowed() -> None:
    ours, broadcast = parse_ipv4("192.0.2.50"), parse_ipv4("192.0.2.255")
    scope = IPv4Scope(["10.0.0.0/8"], [ours], [broadcast])
    client = qualified_client(scope=scope)
    for ipv4 in (ours, broadcast):
        assert client.core.transmit(data(client.address, compose(OTHER_SERVER.primary, ipv4 + b"\1\1", 0)), 1.0) == []
    private = parse_endpoint("10.1.2.3:5000")
    actions = client.core.transmit(data(client.address, compose(OTHER_SERVER.primary, private, 0)), 1.0)
    assert [to for _, to in sent(actions)] == [private, OTHER_ENDPOINT]


@pytest.mark.parametrize("destination", [ALL_NODES, CLIENT_LINK_LOCAL, bytes.fromhex("ff0e") + bytes(14)])
def test_groups_and_links_are_not_sent_to(destination: IPv6) -> None:
    client = qualified_client()
    assert client.core.transmit(data(client.address, destination), 1.0) == []
    assert client.dropped == {Drop.NO_TRANSIT: 1}


@pytest.mark.requirement("E8")
def test_a_packet_that_is_not_from_our_address_does_not_leave_and_its_sender_is_told() -> None:
    client = qualified_client()
    (error,) = client.core.transmit(data(NATIVE, PEER), 1.0)
    assert isinstance(error, SendError)
    assert (error_in(error).code, error.to) == (5, NATIVE)
    assert client.core.transmit(data(PEER, NATIVE), 1.0) == []  # an address of ours that is gone gets no answer
    assert client.dropped == {Drop.WRONG_SOURCE: 2}


@pytest.mark.requirement("E8")
def test_a_packet_larger_than_the_tunnel_is_answered_with_packet_too_big() -> None:
    client = qualified_client()
    client.befriend(NATIVE, 1.0)
    assert sent(client.core.transmit(data(client.address, NATIVE, 1280), 1.0)) != []
    packet = data(client.address, NATIVE, 1281)
    assert client.core.transmit(packet, 1.0) == [SendError(packet_too_big_body(1280, packet), client.address)]
    assert client.dropped == {Drop.TOO_BIG: 1}


def test_a_packet_to_ourselves_does_not_leave() -> None:
    client = qualified_client()
    assert client.core.transmit(data(client.address, client.address), 1.0) == []
    assert client.dropped == {Drop.OWN_ADDRESS: 1}


@pytest.mark.parametrize("packet", [b"", bytes(39), bytes(60), b"\x45" + bytes(60)])
def test_what_is_no_ipv6_does_not_leave(packet: bytes) -> None:
    client = qualified_client()
    assert client.core.transmit(packet, 1.0) == []
    assert client.dropped == {Drop.MALFORMED: 1}


@pytest.mark.requirement("C49", "C50")
def test_contacts_are_bounded() -> None:
    client = qualified_client(contact_limit=5)
    for number in range(50):
        client.core.transmit(data(client.address, NATIVE[:-1] + bytes([number])), 1.0)
    assert client.core.drops[Drop.NO_ANSWER] == 45
    assert CONTACT_LIMIT == 1024


# ---------------------------------------------------------------- from the server


@pytest.mark.requirement("C22", "C31", "A8")
@pytest.mark.parametrize("nonce", [None, NONCE])
def test_a_relays_bubble_is_answered_with_one_direct_bubble_to_its_origin(nonce: bytes | None) -> None:
    client = qualified_client()
    actions = client.core.receive(indirect(KEYED, client.address, RELAY, nonce), PRIMARY_ENDPOINT, 1.0)
    answer = emit_bubble(client.address, KEYED)
    assert actions == [SendDatagram(answer if nonce is None else with_nonce(answer, nonce), RELAY)]
    assert len(client.core.peers) == 0


@pytest.mark.requirement("C22", "C29")
def test_another_clients_bubble_is_answered_at_its_embedded_endpoint() -> None:
    client = qualified_client()
    actions = client.core.receive(indirect(PEER, client.address, ELSEWHERE, NONCE), PRIMARY_ENDPOINT, 1.0)
    assert actions == [SendDatagram(with_nonce(emit_bubble(client.address, PEER), NONCE), PEER_MAPPED)]
    assert len(client.core.peers) == 0


@pytest.mark.requirement("C22", "A2", "T22")
@pytest.mark.parametrize("kind", [0x05, 0x02])
def test_a_random_port_trailer_of_either_number_changes_no_answer(kind: int) -> None:
    client = qualified_client()
    trailers = bytes([kind, 2, 0x9C, 0x40]) + emit_trailer(NonceTrailer(NONCE))
    datagram = indirect(PEER, client.address, PEER_MAPPED) + trailers
    ((answer, _),) = sent(client.core.receive(datagram, PRIMARY_ENDPOINT, 1.0))
    assert trailer_nonce(answer) == NONCE
    assert emit_trailer(RandomPortTrailer(40000))[0] == 0x05


@pytest.mark.requirement("C22")
def test_a_bubble_without_its_origin_is_not_answered() -> None:
    client = qualified_client()
    for source in (KEYED, PEER):
        assert client.core.receive(bubble_to(client, source), PRIMARY_ENDPOINT, 1.0) == []
    assert client.dropped == {Drop.UNEXPECTED_HEADER: 2}


@pytest.mark.requirement("C22", "T9")
@pytest.mark.parametrize("ipv4", FORBIDDEN, ids=lambda ipv4: ".".join(map(str, ipv4)))
def test_no_bubble_is_answered_at_a_forbidden_address(ipv4: bytes) -> None:
    client = qualified_client()
    peer = compose(OTHER_SERVER.primary, ipv4 + b"\x20\x00", 0)
    assert client.core.receive(indirect(peer, client.address, PEER_MAPPED), PRIMARY_ENDPOINT, 1.0) == []
    assert client.core.receive(indirect(KEYED, client.address, ipv4 + b"\x20\x00"), PRIMARY_ENDPOINT, 1.0) == []
    assert client.dropped == {Drop.FORBIDDEN_IPV4: 2}


@pytest.mark.requirement("C22", "A13")
def test_answers_are_limited_by_the_endpoint_they_go_to() -> None:
    client = qualified_client()
    answered = [
        bool(
            client.core.receive(indirect(KEYED[:-1] + bytes([second]), client.address, RELAY), PRIMARY_ENDPOINT, second)
        )
        for second in range(10)
    ]
    assert answered == [True] * ANSWER_LIMIT + [False] * 6
    assert client.core.receive(indirect(KEYED, client.address, ELSEWHERE), PRIMARY_ENDPOINT, 9.0) != []
    assert client.dropped == {Drop.ANSWERS_EXCEEDED: 6}


@pytest.mark.requirement("C22", "A13")
def test_a_direct_packet_lets_a_peer_be_answered_again() -> None:
    client = qualified_client()
    through = indirect(PEER, client.address, PEER_MAPPED)
    for second in range(4):
        assert client.core.receive(through, PRIMARY_ENDPOINT, second)
    assert client.core.receive(through, PRIMARY_ENDPOINT, 5.0) == []
    client.core.receive(bubble_to(client), PEER_MAPPED, 5.5)
    assert len(sent(client.core.receive(through, PRIMARY_ENDPOINT, 6.0))) == 1


@pytest.mark.requirement("C22", "A13")
def test_a_peer_that_only_sends_is_answered_however_long_it_goes_on() -> None:
    """Its packets take the per-packet path; once in 30 s its other end has to hear from us."""
    client = qualified_client()
    client.befriend(NATIVE, 0.5)
    for second in range(1, 1200):
        client.expire_until(second)
        assert client.passes_or_receives(data(NATIVE, client.address), RELAY, second) != []
        if second % 30 == 0:
            through = indirect(KEYED, client.address, RELAY)
            assert len(sent(client.core.receive(through, PRIMARY_ENDPOINT, second))) == 1


@pytest.mark.requirement("C22", "C28")
def test_any_other_packet_through_the_server_waits_for_the_connectivity_test() -> None:
    client = qualified_client()
    echo = emit_icmpv6(NATIVE, client.address, EchoRequest(1, 1, b"hello"), 64)
    ((test, to),) = sent(client.core.receive(emit_origin(RELAY) + echo, PRIMARY_ENDPOINT, 1.0))
    assert (ends(test), to) == ((client.address, NATIVE), PRIMARY_ENDPOINT)
    reply = echo_reply(NATIVE, client.address, echo_request_in(test).data)
    actions = client.core.receive(reply, RELAY, 1.1)
    assert only(PeerTrusted, actions) == [PeerTrusted(NATIVE, RELAY)]
    assert delivered(actions) == []  # it came from the server's endpoint, and that was not proved


@pytest.mark.requirement("C22")
def test_a_server_that_is_a_relay_too_is_trusted_like_any_relay() -> None:
    client = qualified_client()
    assert only(PeerTrusted, client.befriend(NATIVE, 1.0, PRIMARY_ENDPOINT)) == [PeerTrusted(NATIVE, PRIMARY_ENDPOINT)]
    assert client.trusts(NATIVE, PRIMARY_ENDPOINT, 2.0)
    client.expire_until(40.0)
    assert client.trusts(NATIVE, PRIMARY_ENDPOINT, 41.0)


@pytest.mark.requirement("C31", "T27")
@pytest.mark.parametrize("source", [CLIENT_LINK_LOCAL, KEYED, ALL_NODES, PEER])
def test_from_the_server_no_link_local_group_or_teredo_source_reaches_the_host(source: IPv6) -> None:
    client = qualified_client()
    assert client.core.receive(data(source, client.address), PRIMARY_ENDPOINT, 1.0) == []
    assert client.dropped == {Drop.NO_TRANSIT: 1}


@pytest.mark.requirement("C21", "C22")
def test_from_the_server_a_packet_for_another_address_is_dropped() -> None:
    client = qualified_client()
    for destination in (PEER, ALL_NODES, KEYED):
        assert client.core.receive(indirect(PEER, destination, PEER_MAPPED), PRIMARY_ENDPOINT, 1.0) == []
    assert client.dropped == {Drop.WRONG_DESTINATION: 3}


@pytest.mark.requirement("T3")
def test_what_comes_from_our_own_mapped_address_is_dropped_whoever_it_says_it_is_from() -> None:
    client = qualified_client()
    assert client.core.receive(bubble_to(client, PEER), MAPPED, 1.0) == []
    assert client.core.receive(data(NATIVE, client.address), MAPPED, 1.0) == []
    assert client.dropped == {Drop.OWN_ADDRESS: 2}


@pytest.mark.requirement("T3")
def test_our_own_bubble_that_comes_round_is_not_answered() -> None:
    client = qualified_client()
    through = indirect(client.address, client.address, MAPPED)
    assert client.core.receive(through, PRIMARY_ENDPOINT, 1.0) == []
    assert client.core.receive(bubble_to(client, client.address), MAPPED, 1.0) == []
    assert client.core.receive(bubble_to(client, client.address), ELSEWHERE, 1.0) == []
    assert client.dropped == {Drop.OWN_ADDRESS: 3}


def test_an_unqualified_client_answers_no_bubble() -> None:
    client = client_core()
    client.start(0.0)
    assert client.receive(indirect(PEER, PEER, PEER_MAPPED), PRIMARY_ENDPOINT, 0.5) == []
    assert client.receive(emit_bubble(PEER, PEER), PEER_MAPPED, 0.5) == []
    assert client.drops == {Drop.NOT_QUALIFIED: 2}


# ---------------------------------------------------------------- life


@pytest.mark.requirement("C50", "C61")
def test_a_lost_address_gives_up_what_waited_and_who_was_trusted() -> None:
    client = qualified_client()
    client.core.receive(bubble_to(client), PEER_MAPPED, 1.0)
    client.core.transmit(data(client.address, NATIVE), 1.0)
    kinds = [type(action) for action in client.core.stop(2.0)]
    assert kinds == [SendError, AllLost, Unqualified]
    assert client.core.deadline is None


@pytest.mark.requirement("C61", "C25")
def test_under_a_new_address_packets_for_the_old_one_are_dropped() -> None:
    client = qualified_client()
    ((solicitation, _),) = sent(client.core.start(5.0))
    nonce = solicitation[4:12]
    client.core.receive(advertisement(nonce, ELSEWHERE), PRIMARY_ENDPOINT, 5.1)
    assert client.core.receive(data(PEER, client.address), PEER_MAPPED, 6.0) == []
    assert client.core.transmit(data(client.address, PEER), 6.0) == []
    assert client.dropped == {Drop.WRONG_DESTINATION: 1, Drop.WRONG_SOURCE: 1}


def test_the_secondary_is_our_server_too() -> None:
    client = qualified_client()
    assert len(sent(client.core.receive(indirect(KEYED, client.address, RELAY), SECONDARY_ENDPOINT, 1.0))) == 1


@pytest.mark.requirement("C61", "A13")
def test_under_a_new_address_the_answers_are_counted_anew() -> None:
    client = qualified_client()
    for second in range(5):
        client.core.receive(indirect(KEYED, client.address, RELAY), PRIMARY_ENDPOINT, second)
    ((solicitation, _),) = sent(client.core.start(5.0))
    moved = advertisement(solicitation_nonce(solicitation), ELSEWHERE)
    (qualified,) = only(Qualified, client.core.receive(moved, PRIMARY_ENDPOINT, 5.1))
    through = indirect(KEYED, qualified.address, RELAY)
    assert [to for _, to in sent(client.core.receive(through, PRIMARY_ENDPOINT, 5.2))] == [RELAY]


# ---------------------------------------------------------------- peers that know no nonce


def keyed_bubble(client: QualifiedClient) -> bytes:
    """The indirect bubble of the second attempt."""
    client.core.transmit(data(client.address, PEER), 1.0)
    return next(payload for payload, to in sent(client.core.expire(3.25)) if to == OTHER_ENDPOINT)


@pytest.mark.requirement("C29")
def test_the_second_and_the_fourth_attempt_go_out_from_a_source_that_only_the_peer_learns() -> None:
    client = qualified_client()
    attempts = [
        client.core.transmit(data(client.address, PEER), 1.0),
        *(client.core.expire(now) for now in (3.25, 5.5, 7.75)),
    ]
    sources = [source_of(payload) for attempt in attempts for payload, to in sent(attempt) if to == OTHER_ENDPOINT]
    assert [is_link_local(source) for source in sources] == [False, True, False, True]
    assert sources[1] == sources[3]
    assert sources[1] != CLIENT_LINK_LOCAL


@pytest.mark.requirement("C29")
def test_a_peer_that_knows_no_nonce_is_known_by_its_answer_to_that_source_whatever_its_nat_maps() -> None:
    client = qualified_client()
    bubble = keyed_bubble(client)
    answer = emit_bubble(PEER, source_of(bubble))
    actions = client.core.receive(answer, ELSEWHERE, 3.3)
    assert only(PeerTrusted, actions) == [PeerTrusted(PEER, ELSEWHERE)]
    assert [to for _, to in sent(actions)] == [ELSEWHERE]  # what waited


@pytest.mark.requirement("C29", "T20", "C31")
def test_nobody_else_is_believed_by_it() -> None:
    client = qualified_client()
    own = source_of(keyed_bubble(client))
    other = compose(OTHER_SERVER.primary, ELSEWHERE, 0)
    for packet, outer in (
        (emit_bubble(other, own), ELSEWHERE),
        (emit_bubble(NATIVE, own), ELSEWHERE),
        (emit_bubble(PEER, KEYED), ELSEWHERE),
        (emit_bubble(PEER, own), MAPPED),
        (emit_bubble(PEER, own), endpoint(FORBIDDEN[1], 4096)),
        (data(PEER, own), ELSEWHERE),
    ):
        assert client.core.receive(packet, outer, 3.3) == []
    assert len(client.core.peers) == 0
