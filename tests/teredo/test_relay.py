# SPDX-License-Identifier: MIT
"""A relay's sending and receiving, case by case (RFC 4380 5.4.1, 5.4.2)."""

import pytest

from miredo.address.endpoint import Endpoint, IPv6, parse_ipv4, parse_ipv6
from miredo.address.ranges import IPv6Ranges
from miredo.address.scope import IPv4Scope, is_link_local
from miredo.address.teredo import ALL_NODES, CLIENT_LINK_LOCAL, compose
from miredo.teredo.actions import AllLost, PeerLost, PeerTrusted, SendDatagram, SendError
from miredo.teredo.constants import KEY_EPOCH, QUEUE_PACKETS
from miredo.teredo.drops import Drop
from miredo.teredo.relay import Relay
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.encapsulation import emit_nonce_authentication, emit_origin
from miredo.wire.icmpv6 import DestinationUnreachable, packet_too_big_body
from miredo.wire.ipv6 import destination_of, source_of
from tests.teredo.cores import (
    ELSEWHERE,
    FORBIDDEN,
    NATIVE,
    OTHER_ENDPOINT,
    OTHER_SERVER,
    PEER,
    PEER_MAPPED,
    PERIOD,
    data,
    delivered,
    dropped,
    error_in,
    expire_until,
    only,
    relay_core,
    rolled,
    routed,
    sent,
    trailer_nonce,
    with_nonce,
)
from tests.world import reachable


def asked(relay: Relay, client: IPv6 = PEER, now: float = 1.0) -> bytes:
    """The bubble that goes to a client through its server because a native host sent it a packet."""
    ((bubble, _),) = sent(relay.transmit(data(NATIVE, client), now))
    return bubble


def back(bubble: bytes, *, nonce: bool = True) -> bytes:
    """A client's answer to a relay's bubble; a client of plain RFC 4380 sends no nonce."""
    answer = emit_bubble(destination_of(bubble), source_of(bubble))
    found = trailer_nonce(bubble)
    return with_nonce(answer, found) if nonce and found is not None else answer


def trusting(now: float = 1.0, outer: Endpoint = PEER_MAPPED, contact_limit: int = 1024) -> Relay:
    """A relay that trusts the client."""
    relay = relay_core(contact_limit=contact_limit)
    relay.receive(back(asked(relay, now=now)), outer, now)
    return relay


def passes_or_receives(relay: Relay, datagram: bytes, outer: Endpoint, now: float) -> list[bytes]:
    """What is forwarded, as the shell has it: the per-packet path first."""
    return [datagram] if relay.passes(datagram, outer, now) else delivered(relay.receive(datagram, outer, now))


# ---------------------------------------------------------------- to clients


@pytest.mark.requirement("R5", "R13", "R4", "T8")
@pytest.mark.parametrize("flags", [0x0000, 0x8000])
def test_a_client_gets_a_bubble_through_its_server_and_no_data_whatever_its_cone_bit(flags: int) -> None:
    client = compose(OTHER_SERVER.primary, PEER_MAPPED, flags)
    ((bubble, to),) = sent(relay_core().transmit(data(NATIVE, client), 1.0))
    assert to == OTHER_ENDPOINT
    assert is_bubble(bubble)
    assert is_link_local(source_of(bubble))
    assert destination_of(bubble) == client
    assert len(trailer_nonce(bubble) or b"") == 4


@pytest.mark.requirement("R5", "A13", "A7", "T8")
def test_a_silent_client_gets_four_bubbles_in_300_s_and_the_sender_an_error() -> None:
    relay = relay_core()
    packet = data(NATIVE, PEER)
    times = [1.0 for _ in sent(relay.transmit(packet, 1.0))]
    errors = []
    for tenth in range(11, 3010):
        actions = relay.expire(tenth / 10)
        times += [tenth / 10 for _ in sent(actions)]
        errors += only(SendError, actions)
        if tenth % 7 == 0:
            assert sent(relay.transmit(data(NATIVE, PEER), tenth / 10)) == []
    assert times == [1.0, 3.3, 5.6, 7.9]
    assert (error_in(errors[0]), errors[0].to) == (DestinationUnreachable(3, packet), NATIVE)
    relay.expire(1.2 + PERIOD)  # the attempts were up to 0.15 s late, and so is the next round
    assert len(sent(relay.transmit(packet, 1.2 + PERIOD))) == 1


@pytest.mark.requirement("R3", "R6")
def test_what_waited_leaves_in_its_order_when_the_client_answers() -> None:
    relay = relay_core()
    first = data(NATIVE, PEER)
    ((bubble, _),) = sent(relay.transmit(first, 1.0))
    packets = [first, *(data(NATIVE, PEER) for _ in range(QUEUE_PACKETS - 1))]
    for packet in packets[1:]:
        assert relay.transmit(packet, 1.0) == []
    actions = relay.receive(back(bubble), PEER_MAPPED, 1.1)
    assert actions == [PeerTrusted(PEER, PEER_MAPPED), *(SendDatagram(packet, PEER_MAPPED) for packet in packets)]
    packet = data(NATIVE, PEER)
    assert relay.transmit(packet, 1.2) == [SendDatagram(packet, PEER_MAPPED)]


@pytest.mark.requirement("R3")
def test_a_client_silent_for_30_s_is_asked_again_before_it_gets_data() -> None:
    relay = trusting(1.0)
    assert expire_until(relay, 31.0) == [PeerLost(PEER)]
    ((bubble, to),) = sent(relay.transmit(data(NATIVE, PEER), 31.5))
    assert (is_bubble(bubble), to) == (True, OTHER_ENDPOINT)


@pytest.mark.requirement("R1")
def test_a_destination_outside_the_prefix_has_no_route() -> None:
    relay = relay_core()
    packet = data(NATIVE, NATIVE)
    (error,) = relay.transmit(packet, 1.0)
    assert isinstance(error, SendError)
    assert error_in(error) == DestinationUnreachable(0, packet)
    assert dropped(relay) == {Drop.NOT_TEREDO: 1}


@pytest.mark.requirement("R1")
def test_a_relay_may_serve_another_prefix() -> None:
    prefix = bytes.fromhex("20010db8")
    relay = Relay(IPv4Scope(), bytes, prefix=prefix)
    client = compose(OTHER_SERVER.primary, PEER_MAPPED, 0, prefix)
    assert [to for _, to in sent(relay.transmit(data(bytes.fromhex("20010db9") + bytes(12), client), 1.0))] == [
        OTHER_ENDPOINT
    ]
    assert sent(relay.transmit(data(NATIVE, PEER), 1.0)) == []


@pytest.mark.requirement("R2", "T9")
@pytest.mark.parametrize("ipv4", FORBIDDEN, ids=lambda ipv4: ".".join(map(str, ipv4)))
def test_nothing_is_sent_to_a_client_with_a_forbidden_address_or_server(ipv4: bytes) -> None:
    relay = relay_core()
    assert relay.transmit(data(NATIVE, compose(OTHER_SERVER.primary, ipv4 + b"\x20\x00", 0)), 1.0) == []
    assert relay.transmit(data(NATIVE, compose(ipv4, PEER_MAPPED, 0)), 1.0) == []
    assert dropped(relay) == {Drop.FORBIDDEN_IPV4: 2}
    assert relay.deadline is None


@pytest.mark.requirement("R2", "T9")
def test_the_relays_own_addresses_and_broadcasts_are_forbidden() -> None:
    ours, broadcast = parse_ipv4("192.0.2.50"), parse_ipv4("192.0.2.255")
    relay = relay_core(scope=IPv4Scope([], [ours], [broadcast]))
    for ipv4 in (ours, broadcast):
        assert relay.transmit(data(NATIVE, compose(OTHER_SERVER.primary, ipv4 + b"\x20\x00", 0)), 1.0) == []


@pytest.mark.requirement("R7")
def test_a_relay_behind_a_nat_also_sends_direct_bubbles() -> None:
    relay = relay_core(direct_bubbles=True)
    direct, through = sent(relay.transmit(data(NATIVE, PEER), 1.0))
    assert (direct[0], direct[1]) == (through[0][:40], PEER_MAPPED)
    assert through[1] == OTHER_ENDPOINT


@pytest.mark.parametrize("destination", [ALL_NODES, CLIENT_LINK_LOCAL])
def test_groups_and_links_are_not_forwarded_to(destination: IPv6) -> None:
    relay = relay_core()
    assert relay.transmit(data(NATIVE, destination), 1.0) == []
    assert dropped(relay) == {Drop.NO_TRANSIT: 1}


@pytest.mark.parametrize("packet", [b"", bytes(60), b"\x60" + bytes(38)])
def test_what_is_no_ipv6_is_not_forwarded(packet: bytes) -> None:
    relay = relay_core()
    assert relay.transmit(packet, 1.0) == []
    assert dropped(relay) == {Drop.MALFORMED: 1}


# ---------------------------------------------------------------- from clients: rule (a)


@pytest.mark.requirement("R8", "R3")
def test_rule_a_a_trusted_client_is_let_in_from_its_endpoint_alone() -> None:
    relay = trusting()
    packet = data(PEER, NATIVE)
    assert relay.passes(packet, PEER_MAPPED, 2.0)
    assert delivered(relay.receive(packet, PEER_MAPPED, 2.0)) == [packet]
    assert passes_or_receives(relay, packet, ELSEWHERE, 2.0) == []
    assert relay.peers.egress(PEER, 3.0) == PEER_MAPPED
    assert dropped(relay) == {Drop.UNKNOWN_PEER: 1}


@pytest.mark.requirement("R8")
def test_rule_a_a_client_that_was_silent_for_a_while_is_let_in_again() -> None:
    relay = trusting(1.0, ELSEWHERE)
    expire_until(relay, 100.0)
    packet = data(PEER, NATIVE)
    assert relay.receive(packet, ELSEWHERE, 100.0)[0] == PeerTrusted(PEER, ELSEWHERE)
    assert passes_or_receives(relay, packet, ELSEWHERE, 101.0) == [packet]


@pytest.mark.requirement("R8", "R12", "T20")
def test_rule_a_forgets_a_client_after_300_s() -> None:
    relay = trusting(1.0, ELSEWHERE)
    expire_until(relay, 301.0)
    assert passes_or_receives(relay, data(PEER, NATIVE), ELSEWHERE, 301.0) == []
    assert len(relay.peers) == 0


# ---------------------------------------------------------------- rule (b)


@pytest.mark.requirement("R8")
def test_rule_b_the_embedded_endpoint_is_enough_for_a_client_that_was_asked() -> None:
    relay = relay_core()
    asked(relay)
    packet = data(PEER, NATIVE)
    actions = relay.receive(packet, PEER_MAPPED, 1.1)
    assert actions[0] == PeerTrusted(PEER, PEER_MAPPED)
    assert delivered(actions) == [packet]


@pytest.mark.requirement("R8", "T20")
def test_rule_b_moves_a_known_client_to_its_embedded_endpoint() -> None:
    relay = trusting(1.0, ELSEWHERE)
    assert relay.receive(data(PEER, NATIVE), PEER_MAPPED, 2.0)[0] == PeerTrusted(PEER, PEER_MAPPED)


@pytest.mark.requirement("R8", "R9", "R12", "R11")
def test_rule_b_is_not_for_a_client_that_was_never_asked() -> None:
    relay = relay_core()
    assert relay.receive(data(PEER, NATIVE), PEER_MAPPED, 1.0) == []
    assert relay.receive(emit_bubble(PEER, NATIVE), PEER_MAPPED, 1.0) == []
    assert dropped(relay) == {Drop.UNKNOWN_PEER: 2}
    assert len(relay.peers) == 0


# ---------------------------------------------------------------- rules (c) and (d)


@pytest.mark.requirement("R8", "R13")
@pytest.mark.parametrize("outer", [PEER_MAPPED, ELSEWHERE])
def test_rule_c_a_bubble_to_the_keyed_source_proves_any_mapping(outer: Endpoint) -> None:
    relay = relay_core()
    answer = back(asked(relay), nonce=False)
    assert relay.receive(answer, outer, 1.1)[0] == PeerTrusted(PEER, outer)
    assert delivered(relay.receive(answer, outer, 1.2)) == []


@pytest.mark.requirement("R5", "R8")
def test_rule_c_needs_no_entry_and_knows_the_epoch_before() -> None:
    """The source itself is the record of what was sent: no state until the answer."""
    relay = relay_core(contact_limit=1)
    answer = back(asked(relay, now=KEY_EPOCH - 1.0), nonce=False)
    asked(relay, compose(OTHER_SERVER.primary, PEER_MAPPED, 1), KEY_EPOCH - 0.5)
    assert relay.receive(answer, ELSEWHERE, KEY_EPOCH + 1.0) == [PeerTrusted(PEER, ELSEWHERE)]


@pytest.mark.requirement("R8", "T20")
def test_rule_c_is_for_the_client_that_the_source_was_made_for() -> None:
    relay = relay_core()
    keyed = source_of(asked(relay))
    other = compose(OTHER_SERVER.primary, PEER_MAPPED, 1)
    assert relay.receive(emit_bubble(other, keyed), ELSEWHERE, 1.1) == []
    assert relay.receive(emit_bubble(PEER, CLIENT_LINK_LOCAL), ELSEWHERE, 1.1) == []
    assert len(relay.peers) == 0


@pytest.mark.requirement("R8", "T20")
def test_rule_c_is_for_bubbles_and_not_for_data() -> None:
    relay = relay_core()
    keyed = source_of(asked(relay))
    assert relay.receive(data(PEER, keyed), ELSEWHERE, 1.1) == []
    assert len(relay.peers) == 0


@pytest.mark.requirement("R8", "R13", "C29")
def test_rule_d_a_bubble_with_our_nonce_proves_any_mapping() -> None:
    relay = relay_core()
    nonce = trailer_nonce(asked(relay))
    assert nonce is not None
    elsewhere = with_nonce(emit_bubble(PEER, NATIVE), nonce)
    assert relay.receive(elsewhere, ELSEWHERE, 1.1)[0] == PeerTrusted(PEER, ELSEWHERE)


@pytest.mark.requirement("R8", "T20")
@pytest.mark.parametrize("nonce", [bytes(4), b"\xff" * 4])
def test_rule_d_a_wrong_nonce_proves_nothing_and_leaves_a_known_client_alone(nonce: bytes) -> None:
    relay = relay_core()
    asked(relay)
    forged = with_nonce(emit_bubble(PEER, NATIVE), nonce)
    assert relay.receive(forged, ELSEWHERE, 1.1) == []
    relay.receive(emit_bubble(PEER, NATIVE), PEER_MAPPED, 1.2)
    assert relay.receive(forged, ELSEWHERE, 1.3) == []
    assert relay.peers.egress(PEER, 1.4) == PEER_MAPPED
    assert dropped(relay) == {Drop.UNKNOWN_PEER: 2}


@pytest.mark.requirement("R8", "T20")
def test_data_with_a_nonce_moves_nothing() -> None:
    relay = relay_core()
    nonce = trailer_nonce(asked(relay))
    assert nonce is not None
    assert relay.receive(with_nonce(data(PEER, NATIVE), nonce), ELSEWHERE, 1.1) == []
    assert len(relay.peers) == 0


# ---------------------------------------------------------------- what is never forwarded


@pytest.mark.requirement("R8")
def test_only_teredo_sources_come_from_teredo() -> None:
    relay = relay_core()
    for source in (NATIVE, CLIENT_LINK_LOCAL):
        assert relay.receive(data(source, NATIVE), PEER_MAPPED, 1.0) == []
    assert dropped(relay) == {Drop.NOT_TEREDO: 2}


@pytest.mark.requirement("R8", "T9")
@pytest.mark.parametrize("ipv4", FORBIDDEN, ids=lambda ipv4: ".".join(map(str, ipv4)))
def test_no_client_at_a_forbidden_address_is_trusted(ipv4: bytes) -> None:
    relay = relay_core()
    answer = back(asked(relay))
    assert relay.receive(answer, ipv4 + b"\x20\x00", 1.1) == []
    assert dropped(relay) == {Drop.FORBIDDEN_IPV4: 1}


@pytest.mark.requirement("R8")
def test_headers_of_a_server_are_not_for_a_relay() -> None:
    relay = relay_core()
    answer = back(asked(relay))
    for header in (emit_origin(PEER_MAPPED), emit_nonce_authentication(bytes(8))):
        assert relay.receive(header + answer, PEER_MAPPED, 1.1) == []
    assert dropped(relay) == {Drop.UNEXPECTED_HEADER: 2}


@pytest.mark.requirement("R8", "T4")
def test_a_packet_into_the_teredo_prefix_is_not_forwarded() -> None:
    relay = trusting()
    other = compose(OTHER_SERVER.primary, ELSEWHERE, 0)
    assert passes_or_receives(relay, data(PEER, other), PEER_MAPPED, 2.0) == []
    assert dropped(relay) == {Drop.INTO_TEREDO: 1}


@pytest.mark.requirement("T4")
def test_a_packet_to_a_6to4_address_of_our_own_is_not_forwarded() -> None:
    ours = parse_ipv4("198.51.100.7")
    relay = relay_core(scope=IPv4Scope([], [ours]))
    relay.receive(back(asked(relay)), PEER_MAPPED, 1.0)
    for ipv4 in (ours, parse_ipv4("10.0.0.1")):
        destination = b"\x20\x02" + ipv4 + bytes(10)
        assert passes_or_receives(relay, data(PEER, destination), PEER_MAPPED, 2.0) == []
    assert dropped(relay) == {Drop.NOT_GLOBAL: 2}


@pytest.mark.requirement("R10", "H4")
def test_a_relay_forwards_only_to_what_it_serves() -> None:
    relay = Relay(IPv4Scope(), rolled(), served=IPv6Ranges(["2001:db8::/64"]))
    relay.receive(back(asked(relay)), PEER_MAPPED, 1.0)
    inside, outside = (data(PEER, parse_ipv6(text)) for text in ("2001:db8::77", "2001:db8:1::77"))
    assert passes_or_receives(relay, inside, PEER_MAPPED, 1.0) == [inside]
    assert passes_or_receives(relay, outside, PEER_MAPPED, 1.0) == []
    assert dropped(relay) == {Drop.NOT_SERVED: 1}
    relay.serve([parse_ipv6("2001:db8:1::77")])
    assert passes_or_receives(relay, outside, PEER_MAPPED, 1.0) == [outside]
    assert passes_or_receives(relay, inside, PEER_MAPPED, 1.0) == []


@pytest.mark.requirement("R9")
def test_an_open_relay_takes_a_client_whose_endpoint_is_that_of_its_address() -> None:
    """And nobody else: what is not embedded has to be proved there too."""
    packet = data(PEER, NATIVE)
    closed, opened = relay_core(), Relay(IPv4Scope(), rolled(), open_to_all=True)
    assert delivered(closed.receive(packet, PEER_MAPPED, 1.0)) == []
    assert delivered(opened.receive(packet, ELSEWHERE, 1.0)) == []
    assert delivered(opened.receive(packet, PEER_MAPPED, 1.0)) == [packet]
    assert sent(opened.transmit(data(NATIVE, PEER), 1.1)) != []


@pytest.mark.requirement("R9", "R11")
def test_an_open_relay_keeps_no_more_strangers_than_it_may() -> None:
    relay = Relay(IPv4Scope(), rolled(), open_to_all=True, peer_limit=10)
    for number in range(100):
        mapped = bytes([198, 51, 100, number + 1, 0x20, 0x00])
        relay.receive(data(compose(OTHER_SERVER.primary, mapped, 0), NATIVE), mapped, 1.0)
    assert len(relay.peers) == 10


@pytest.mark.requirement("E8")
def test_a_packet_larger_than_the_tunnel_is_answered_with_packet_too_big() -> None:
    relay = Relay(IPv4Scope(), rolled(), mtu=1300)
    packet = data(NATIVE, PEER, 1301)
    assert relay.transmit(packet, 1.0) == [SendError(packet_too_big_body(1300, packet), NATIVE)]
    assert dropped(relay) == {Drop.TOO_BIG: 1}
    assert len(sent(relay.transmit(data(NATIVE, PEER, 1300), 1.0))) == 1


@pytest.mark.requirement("R8")
@pytest.mark.parametrize("destination", [ALL_NODES, CLIENT_LINK_LOCAL, bytes(16), bytes(15) + b"\x01"])
def test_what_is_not_global_is_not_forwarded(destination: IPv6) -> None:
    relay = trusting()
    assert passes_or_receives(relay, data(PEER, destination), PEER_MAPPED, 2.0) == []
    assert dropped(relay) == {Drop.NOT_GLOBAL: 1}


@pytest.mark.requirement("T11")
def test_a_live_routing_header_is_not_forwarded_and_a_spent_one_is() -> None:
    relay = trusting()
    assert passes_or_receives(relay, routed(PEER, NATIVE), PEER_MAPPED, 2.0) == []
    assert dropped(relay) == {Drop.ROUTING_HEADER: 1}
    spent = routed(PEER, NATIVE, 0)
    assert passes_or_receives(relay, spent, PEER_MAPPED, 2.0) == [spent]


@pytest.mark.requirement("R8", "T22")
def test_a_trailer_that_demands_it_discards_the_packet() -> None:
    relay = relay_core()
    answer = back(asked(relay), nonce=False)
    assert relay.receive(answer + b"\x41\x00", PEER_MAPPED, 1.1) == []
    assert dropped(relay) == {Drop.TRAILER_DISCARDS: 1}
    trusted = trusting()
    assert passes_or_receives(trusted, data(PEER, NATIVE) + b"\x41\x00", PEER_MAPPED, 2.0) == []


@pytest.mark.requirement("R8")
@pytest.mark.parametrize("cut", [0, 1, 39, 59])
def test_a_datagram_cut_short_is_dropped(cut: int) -> None:
    relay = trusting()
    assert passes_or_receives(relay, data(PEER, NATIVE)[:cut], PEER_MAPPED, 2.0) == []
    assert dropped(relay) == {Drop.MALFORMED: 1}


# ---------------------------------------------------------------- bounds


@pytest.mark.requirement("T24", "R11", "R5", "R6")
def test_a_flood_of_destinations_takes_bounded_memory_and_established_clients_go_on() -> None:
    relay = trusting(1.0, contact_limit=64)
    sizes = []
    for number in range(20000):
        now = 1.0 + number / 1000
        client = compose(OTHER_SERVER.primary, PEER_MAPPED, 0)[:10] + number.to_bytes(6, "big")
        relay.transmit(data(NATIVE, client), now)
        expire_until(relay, now)
        if number % 5000 == 4999:
            sizes.append(reachable(relay))
    assert sizes[-1] < sizes[0] * 1.25
    packet = data(NATIVE, PEER)
    assert relay.transmit(packet, 21.0) == [SendDatagram(packet, PEER_MAPPED)]


@pytest.mark.requirement("R11")
def test_the_table_of_clients_is_bounded() -> None:
    relay = relay_core(peer_limit=10)
    for number in range(100):
        client = compose(OTHER_SERVER.primary, PEER_MAPPED, number)
        relay.receive(back(asked(relay, client, number / 10)), ELSEWHERE, number / 10)
    assert len(relay.peers) == 10


def test_resuming_and_stopping_forget_who_was_trusted() -> None:
    relay = trusting()
    assert relay.start(1.0) == []
    assert relay.resumed(2.0) == [AllLost()]
    relay.transmit(data(NATIVE, PEER), 3.0)
    assert [type(action) for action in relay.stop(4.0)] == [SendError]
    assert relay.deadline is None
