# SPDX-License-Identifier: MIT
"""Attempts on a timer, packets that wait meanwhile, and what becomes of them; answers, counted."""

import gc
import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from miredo.address.endpoint import Endpoint, IPv6, parse_ipv6
from miredo.teredo.actions import Action, DeliverPacket, PeerTrusted, SendDatagram, SendError
from miredo.teredo.buckets import TokenBucket
from miredo.teredo.constants import (
    ATTEMPT_INTERVAL,
    ATTEMPT_LIMIT,
    ATTEMPT_WINDOW,
    ERROR_BURST,
    HELD_PACKETS,
    QUEUE_BYTES,
    QUEUE_PACKETS,
)
from miredo.teredo.drops import Drop, Drops
from miredo.teredo.peers import Peers
from miredo.teredo.traversal import (
    ADDRESS_UNREACHABLE,
    ANSWERED_ENDPOINTS,
    NO_ROUTE,
    STRANGERS_SHARE,
    Answers,
    Contact,
    Traversal,
    fresh_nonce_trailer,
)
from miredo.wire.icmpv6 import DestinationUnreachable, EchoRequest, emit_icmpv6, unreachable_body
from miredo.wire.trailers import nonce_in
from tests.teredo.cores import ELSEWHERE, NATIVE, PEER, PEER_MAPPED, data, error_in, only, rolled
from tests.wire.vectors import CLIENT_A

ATTEMPT_TIMES = [0.0, 2.25, 4.5, 6.75]
GIVEN_UP = 9.0


@dataclass
class Attempted:
    """A traversal whose attempts are noted down."""

    limit: int = 100
    rate: float = 1000.0
    pause: float = ATTEMPT_WINDOW
    at: list[tuple[IPv6, float]] = field(default_factory=list)
    peers: Peers = field(default_factory=lambda: Peers(100))
    drops: Drops = field(default_factory=Drops)

    def __post_init__(self) -> None:
        bucket = TokenBucket(self.rate, self.rate)
        self.traversal = Traversal(
            self.peers, self.drops, self.limit, bucket, TokenBucket(1e6, 1e6), self.attempt, lambda address: self.pause
        )

    def attempt(self, contact: Contact, now: float) -> list[Action]:
        self.at.append((contact.address, now))
        return []

    @property
    def dropped(self) -> dict[Drop, int]:
        return {reason: count for reason, count in self.drops.items() if count}

    @property
    def times(self) -> list[float]:
        return [time for _, time in self.at]

    def expire_until(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while self.traversal.deadline is not None and self.traversal.deadline <= now:
            actions += self.traversal.expire(self.traversal.deadline)
        return actions


def host_packet(size: int = 60, destination: IPv6 = PEER) -> bytes:
    return data(CLIENT_A, destination, size)


# ---------------------------------------------------------------- attempts


@pytest.mark.requirement("A13", "C44", "C41", "A7")
def test_a_packet_has_four_attempts_2_25_s_apart_and_is_given_up_at_9_s() -> None:
    attempted = Attempted()
    packet = host_packet()
    assert attempted.traversal.queue(PEER, packet, 0.0) == []
    assert attempted.expire_until(8.99) == []
    assert attempted.times == ATTEMPT_TIMES
    (error,) = only(SendError, attempted.expire_until(GIVEN_UP))
    assert error.to == CLIENT_A
    assert error_in(error) == DestinationUnreachable(ADDRESS_UNREACHABLE, packet)
    assert attempted.times == ATTEMPT_TIMES
    assert attempted.dropped == {Drop.NO_ANSWER: 1}


@pytest.mark.requirement("C50", "R6")
def test_each_packet_that_waited_is_answered_when_it_is_given_up() -> None:
    attempted = Attempted()
    packets = [host_packet() for _ in range(5)]
    for packet in packets:
        attempted.traversal.queue(PEER, packet, 0.5)
    errors = only(SendError, attempted.expire_until(10.0))
    assert [error_in(error).invoking for error in errors] == packets


@pytest.mark.requirement("C50", "E7", "T32")
def test_errors_stay_within_their_bucket() -> None:
    attempted = Attempted()
    for _ in range(QUEUE_PACKETS):
        attempted.traversal.queue(PEER, host_packet(), 0.0)
    assert len(attempted.expire_until(10.0)) == ERROR_BURST
    assert attempted.dropped == {
        Drop.NO_ANSWER: QUEUE_PACKETS,
        Drop.ERROR_LIMITED: QUEUE_PACKETS - ERROR_BURST,
    }


@pytest.mark.requirement("C50", "E6", "T32")
def test_no_error_is_answered_with_an_error() -> None:
    attempted = Attempted()
    error = emit_icmpv6(CLIENT_A, PEER, DestinationUnreachable(3, bytes(40)))
    assert attempted.traversal.refuse(error, unreachable_body(NO_ROUTE, error), 0.0) == []
    request = emit_icmpv6(CLIENT_A, PEER, EchoRequest(1, 1, b""))
    assert len(attempted.traversal.refuse(request, unreachable_body(NO_ROUTE, request), 0.0)) == 1
    assert attempted.dropped == {}


@pytest.mark.requirement("C44", "R6", "C25")
def test_what_waited_goes_to_the_trusted_endpoint_oldest_first() -> None:
    attempted = Attempted()
    packets = [host_packet() for _ in range(10)]
    for packet in packets:
        attempted.traversal.queue(PEER, packet, 0.0)
    assert attempted.traversal.trust(PEER, ELSEWHERE, 0.1) == [
        PeerTrusted(PEER, ELSEWHERE),
        *(SendDatagram(packet, ELSEWHERE) for packet in packets),
    ]
    assert attempted.traversal.deadline is None
    assert len(attempted.traversal) == 0
    peer = attempted.peers.get(PEER)
    assert peer is not None
    assert peer.last_tx == 0.1


@pytest.mark.requirement("A13", "C47")
def test_a_direct_packet_ends_the_attempts_and_the_count_begins_anew() -> None:
    attempted = Attempted()
    attempted.traversal.queue(PEER, host_packet(), 0.0)
    attempted.expire_until(5.0)
    attempted.traversal.trust(PEER, PEER_MAPPED, 5.0)
    assert attempted.expire_until(40.0) == []
    assert attempted.times == ATTEMPT_TIMES[:3]
    attempted.traversal.queue(PEER, host_packet(), 40.0)
    attempted.expire_until(49.0)
    assert attempted.times[3:] == [40.0 + time for time in ATTEMPT_TIMES]


@pytest.mark.requirement("C44")
def test_more_packets_make_no_more_attempts() -> None:
    attempted = Attempted()
    for step in range(100):
        attempted.traversal.queue(PEER, host_packet(), step / 50)
    assert attempted.times == [0.0]


@pytest.mark.requirement("C47", "A13")
def test_the_first_attempt_is_2_s_after_the_last_transmission() -> None:
    attempted = Attempted()
    attempted.peers.trust(PEER, PEER_MAPPED, 70.0)
    assert attempted.peers.egress(PEER, 99.5) == PEER_MAPPED
    attempted.traversal.queue(PEER, host_packet(), 100.0)
    attempted.traversal.queue(PEER, host_packet(), 100.0)
    attempted.traversal.queue(PEER, host_packet(), 100.5)
    assert attempted.times == []
    attempted.expire_until(200.0)
    assert attempted.times == [101.5 + time for time in ATTEMPT_TIMES]


@pytest.mark.requirement("C47", "A13")
def test_a_peer_not_sent_to_for_2_s_is_tried_at_once() -> None:
    attempted = Attempted()
    attempted.peers.trust(PEER, PEER_MAPPED, 70.0)
    attempted.peers.egress(PEER, 98.0)
    attempted.traversal.queue(PEER, host_packet(), 100.0)
    assert attempted.times == [100.0]


@pytest.mark.requirement("C47", "C51", "A13", "R5")
def test_a_peer_that_did_not_answer_is_not_tried_for_300_s_from_the_first_attempt() -> None:
    attempted = Attempted()
    attempted.peers.trust(PEER, PEER_MAPPED, 0.0)
    attempted.peers.egress(PEER, 29.5)
    for tenth in range(300, 7000):
        attempted.peers.expire(tenth / 10)
        attempted.expire_until(tenth / 10)
        attempted.traversal.queue(PEER, host_packet(), tenth / 10)
    assert attempted.times[:5] == [31.5, 33.75, 36.0, 38.25, pytest.approx(331.5, abs=0.11)]
    for first, fifth in zip(attempted.times, attempted.times[ATTEMPT_LIMIT:], strict=False):
        assert fifth - first >= ATTEMPT_WINDOW


@pytest.mark.requirement("C47", "A13")
def test_attempts_made_late_after_a_sleep_put_off_the_next_round() -> None:
    attempted = Attempted()
    attempted.traversal.queue(PEER, host_packet(), 0.0)
    for quarter in range(400, 2000):
        attempted.traversal.expire(quarter / 4)
        attempted.traversal.queue(PEER, host_packet(), quarter / 4)
    assert attempted.times[:5] == [0.0, 100.0, 102.25, 104.5, 397.75]
    for first, fifth in zip(attempted.times, attempted.times[ATTEMPT_LIMIT:], strict=False):
        assert fifth - first >= ATTEMPT_WINDOW


@pytest.mark.requirement("C51", "C50")
def test_while_a_peer_is_refused_its_packets_are_answered_at_once() -> None:
    attempted = Attempted()
    attempted.traversal.queue(PEER, host_packet(), 0.0)
    attempted.expire_until(GIVEN_UP)
    for now in (9.5, 100.0, 299.0):
        packet = host_packet()
        (error,) = only(SendError, attempted.traversal.queue(PEER, packet, now))
        assert error_in(error) == DestinationUnreachable(ADDRESS_UNREACHABLE, packet)
    assert attempted.dropped == {Drop.NO_ANSWER: 1, Drop.PEER_SILENT: 3}
    assert attempted.times == ATTEMPT_TIMES


@pytest.mark.requirement("C51")
def test_a_negative_entry_never_lasts_longer_under_load() -> None:
    attempted = Attempted(pause=20.0)
    for second in range(21):
        attempted.expire_until(second)
        attempted.traversal.queue(PEER, host_packet(), second)
    assert attempted.times == [*ATTEMPT_TIMES, 20.0]


@pytest.mark.requirement("C24", "C25")
def test_a_refused_peer_that_answers_after_all_is_trusted() -> None:
    attempted = Attempted()
    attempted.traversal.queue(PEER, host_packet(), 0.0)
    attempted.expire_until(GIVEN_UP)
    assert attempted.traversal.trust(PEER, PEER_MAPPED, 50.0) == [PeerTrusted(PEER, PEER_MAPPED)]
    assert len(attempted.traversal) == 0
    assert attempted.peers.egress(PEER, 51.0) == PEER_MAPPED


@pytest.mark.requirement("A13")
def test_one_bucket_bounds_all_attempts() -> None:
    attempted = Attempted(rate=3.0)
    peers = [PEER[:-1] + bytes([number]) for number in range(10)]
    for peer in peers:
        attempted.traversal.queue(peer, host_packet(), 0.0)
    assert [address for address, _ in attempted.at] == peers[:3]
    assert attempted.dropped == {Drop.ATTEMPTS_EXCEEDED: 7}


@pytest.mark.requirement("A13", "C49")
def test_eviction_does_not_get_round_the_bucket() -> None:
    attempted = Attempted(limit=1, rate=5.0)
    for _ in range(50):
        attempted.traversal.queue(PEER, host_packet(), 0.0)
        attempted.traversal.queue(NATIVE, host_packet(destination=NATIVE), 0.0)
    assert len(attempted.at) == 5


def test_a_clock_that_jumps_makes_one_attempt_and_not_all_at_once() -> None:
    attempted = Attempted()
    attempted.traversal.queue(PEER, host_packet(), 0.0)
    attempted.traversal.expire(1000.0)
    assert attempted.times == [0.0, 1000.0]


# ---------------------------------------------------------------- bounds


@pytest.mark.requirement("C50", "R6")
def test_the_queue_of_one_peer_is_bounded_in_packets_and_the_last_one_is_answered() -> None:
    attempted = Attempted()
    for _ in range(QUEUE_PACKETS):
        assert attempted.traversal.queue(PEER, host_packet(), 0.0) == []
    packet = host_packet()
    (error,) = only(SendError, attempted.traversal.queue(PEER, packet, 0.0))
    assert error_in(error).invoking == packet
    assert attempted.dropped == {Drop.QUEUE_FULL: 1}
    assert len(only(SendDatagram, attempted.traversal.trust(PEER, PEER_MAPPED, 1.0))) == QUEUE_PACKETS


@pytest.mark.requirement("C50", "R6")
def test_the_queue_of_one_peer_is_bounded_in_bytes() -> None:
    attempted = Attempted()
    count = QUEUE_BYTES // 10000
    for _ in range(count + 3):
        attempted.traversal.queue(PEER, host_packet(10000), 0.0)
    assert attempted.dropped == {Drop.QUEUE_FULL: 3}


def test_a_first_packet_too_long_for_the_queue_leaves_the_peer_reachable() -> None:
    attempted = Attempted()
    too_long = host_packet(QUEUE_BYTES + 1)
    assert len(attempted.traversal.queue(PEER, too_long, 0.0)) == 1
    attempted.traversal.queue(PEER, host_packet(), 1.0)
    attempted.expire_until(20.0)
    assert attempted.times == ATTEMPT_TIMES
    attempted.expire_until(400.0)
    assert len(attempted.traversal) == 0


@pytest.mark.requirement("C49", "R5", "T24")
def test_the_least_recently_used_contact_makes_room_and_its_packets_are_answered() -> None:
    attempted = Attempted(limit=2)
    first, second, third = (PEER[:-1] + bytes([number]) for number in range(3))
    packets = {address: host_packet(destination=address) for address in (first, second, third)}
    attempted.traversal.queue(first, packets[first], 0.0)
    attempted.traversal.queue(second, packets[second], 0.0)
    attempted.traversal.queue(first, host_packet(destination=first), 0.1)
    (error,) = only(SendError, attempted.traversal.queue(third, packets[third], 0.2))
    assert error_in(error) == DestinationUnreachable(ADDRESS_UNREACHABLE, packets[second])
    assert attempted.traversal.get(second) is None
    assert len(attempted.traversal) == 2


@pytest.mark.requirement("T24", "R11")
def test_contacts_that_were_driven_out_leave_nothing_behind() -> None:
    gc.collect()
    before = sum(isinstance(each, Contact) for each in gc.get_objects())
    attempted = Attempted(limit=10)
    for number in range(2000):
        address = PEER[:-2] + number.to_bytes(2, "big")
        attempted.traversal.queue(address, host_packet(), number / 1000)
    assert len(attempted.traversal) == 10
    attempted.expire_until(12.0)
    gc.collect()
    assert sum(isinstance(each, Contact) for each in gc.get_objects()) == before + 10
    attempted.expire_until(400.0)
    assert (len(attempted.traversal), attempted.traversal.deadline) == (0, None)


# ---------------------------------------------------------------- held packets


@pytest.mark.requirement("A17", "C28")
def test_a_held_packet_is_delivered_when_its_endpoint_becomes_trusted() -> None:
    attempted = Attempted()
    packet, forged = host_packet(), host_packet()
    attempted.traversal.hold(NATIVE, forged, PEER_MAPPED, 1.0, 0.0)
    attempted.traversal.hold(NATIVE, packet, ELSEWHERE, 1.0, 0.0)
    assert attempted.times == [0.0]
    assert attempted.traversal.trust(NATIVE, ELSEWHERE, 0.5) == [
        PeerTrusted(NATIVE, ELSEWHERE),
        DeliverPacket(packet),
    ]
    assert attempted.dropped == {Drop.HELD_TOO_LONG: 1}


@pytest.mark.requirement("A17")
def test_a_packet_held_too_long_is_dropped() -> None:
    attempted = Attempted()
    attempted.traversal.hold(NATIVE, host_packet(), ELSEWHERE, 1.0, 0.0)
    young = host_packet()
    attempted.traversal.hold(NATIVE, young, ELSEWHERE, 2.0, 1.0)
    assert attempted.dropped == {Drop.HELD_TOO_LONG: 1}
    assert attempted.traversal.trust(NATIVE, ELSEWHERE, 1.9)[1:] == [DeliverPacket(young)]


@pytest.mark.requirement("A17")
def test_no_more_than_eight_packets_are_held() -> None:
    attempted = Attempted()
    for _ in range(HELD_PACKETS + 2):
        attempted.traversal.hold(NATIVE, host_packet(), ELSEWHERE, 1.0, 0.0)
    assert attempted.dropped == {Drop.HELD_TOO_MANY: 2}
    assert len(only(DeliverPacket, attempted.traversal.trust(NATIVE, ELSEWHERE, 0.5))) == HELD_PACKETS


@pytest.mark.requirement("A17", "C51")
def test_nothing_is_held_for_a_source_that_failed_its_test() -> None:
    attempted = Attempted()
    attempted.traversal.hold(NATIVE, host_packet(), ELSEWHERE, 9.0, 0.0)
    attempted.expire_until(GIVEN_UP)
    assert attempted.dropped == {Drop.HELD_TOO_LONG: 1}
    assert attempted.traversal.hold(NATIVE, host_packet(), ELSEWHERE, 19.0, 10.0) == []
    assert attempted.dropped == {Drop.HELD_TOO_LONG: 1, Drop.PEER_SILENT: 1}


def test_strangers_neither_drive_out_nor_starve_what_the_host_wants() -> None:
    attempted = Attempted(limit=8, rate=1.0)
    wanted = parse_ipv6("2001:db8:aaaa::1")
    for number in range(100):
        attempted.traversal.hold(parse_ipv6(f"2001:db8::{number + 1:x}"), host_packet(), ELSEWHERE, 9.0, 0.0)
    attempted.traversal.queue(wanted, host_packet(), 0.0)
    assert attempted.at[-1] == (wanted, 0.0)
    for number in range(100):
        attempted.traversal.hold(parse_ipv6(f"2001:db8:1::{number + 1:x}"), host_packet(), ELSEWHERE, 9.0, 0.1)
    assert attempted.traversal.get(wanted) is not None
    assert len(attempted.traversal) <= 1 + 8 // STRANGERS_SHARE


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_smallest_table_has_room_for_one_stranger(limit: int) -> None:
    attempted = Attempted(limit=limit)
    for number in range(3):
        attempted.traversal.hold(parse_ipv6(f"2001:db8::{number + 1:x}"), host_packet(), ELSEWHERE, 9.0, 0.0)
    assert len(attempted.traversal) == 1


def test_a_stranger_that_the_host_sends_to_is_a_stranger_no_more() -> None:
    attempted = Attempted(limit=8)
    attempted.traversal.hold(NATIVE, host_packet(), ELSEWHERE, 9.0, 0.0)
    attempted.traversal.queue(NATIVE, host_packet(), 0.1)
    for number in range(100):
        attempted.traversal.hold(parse_ipv6(f"2001:db8:1::{number + 1:x}"), host_packet(), ELSEWHERE, 9.0, 0.2)
    trusted = attempted.traversal.trust(NATIVE, ELSEWHERE, 0.3)
    assert len(only(SendDatagram, trusted)) == 1
    assert len(only(DeliverPacket, trusted)) == 1


def test_a_stranger_whose_attempts_came_to_nothing_has_all_of_them_when_the_host_asks() -> None:
    attempted = Attempted(limit=8)
    attempted.traversal.hold(NATIVE, host_packet(), ELSEWHERE, 9.0, 0.0)
    attempted.expire_until(GIVEN_UP)
    attempted.at.clear()
    attempted.traversal.queue(NATIVE, host_packet(), 10.0)
    attempted.expire_until(30.0)
    assert attempted.times == [10.0 + time for time in ATTEMPT_TIMES]


def test_forgetting_all_answers_what_waited() -> None:
    attempted = Attempted()
    packet = host_packet()
    attempted.traversal.queue(PEER, packet, 0.0)
    attempted.traversal.hold(NATIVE, host_packet(), ELSEWHERE, 5.0, 0.0)
    (error,) = only(SendError, attempted.traversal.forget_all(1.0))
    assert error_in(error).invoking == packet
    assert attempted.dropped == {Drop.NO_ANSWER: 1, Drop.HELD_TOO_LONG: 1}
    assert (len(attempted.traversal), attempted.traversal.deadline) == (0, None)


# ---------------------------------------------------------------- nonces


@pytest.mark.requirement("C29", "R13")
def test_each_attempt_has_a_fresh_nonce_but_the_third_goes_without_a_trailer() -> None:
    dice, contact = rolled(), Contact(PEER)
    nonces: list[bytes | None] = []
    for attempt in range(1, ATTEMPT_LIMIT + 1):
        contact.attempts = attempt
        before = contact.nonce
        nonce = nonce_in(fresh_nonce_trailer(contact, dice))
        nonces.append(nonce)
        assert contact.nonce == (before if nonce is None else nonce)
    assert nonces[2] is None
    assert len(set(nonces)) == ATTEMPT_LIMIT


# ---------------------------------------------------------------- answers


@pytest.mark.requirement("A13", "C22")
def test_answers_are_at_least_1_s_apart() -> None:
    answers = Answers()
    assert [answers.allow(PEER_MAPPED, now) for now in (0.0, 0.5, 0.99, 1.0, 1.5, 2.0)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]


@pytest.mark.requirement("A13", "C22")
def test_answers_are_at_most_four_without_a_direct_packet() -> None:
    answers = Answers()
    assert [answers.allow(PEER_MAPPED, now) for now in range(10)] == [True] * 4 + [False] * 6
    assert not answers.allow(PEER_MAPPED, 299.9)
    assert answers.allow(PEER_MAPPED, 300.0)


@pytest.mark.requirement("A13", "C22")
def test_a_direct_packet_begins_the_count_of_answers_anew() -> None:
    answers = Answers()
    for now in range(4):
        answers.allow(PEER_MAPPED, now)
    answers.heard_directly(PEER_MAPPED)
    answers.heard_directly(ELSEWHERE)
    assert [answers.allow(PEER_MAPPED, now) for now in range(4, 10)] == [True] * 4 + [False] * 2


@pytest.mark.requirement("A13", "C22")
def test_a_direct_packet_does_not_bring_answers_closer_together() -> None:
    answers = Answers()
    assert answers.allow(PEER_MAPPED, 0.0)
    answers.heard_directly(PEER_MAPPED)
    assert [answers.allow(PEER_MAPPED, now) for now in (0.5, 1.0)] == [False, True]


@pytest.mark.requirement("A13", "C22")
def test_what_was_answered_after_a_direct_packet_counts_although_the_packet_is_told_of_late() -> None:
    answers = Answers()
    assert [answers.allow(PEER_MAPPED, now) for now in range(4)] == [True] * 4
    answers.heard_directly(PEER_MAPPED, at=1.5)
    assert [answers.allow(PEER_MAPPED, now) for now in range(4, 8)] == [True, True, False, False]


@pytest.mark.requirement("A13")
def test_endpoints_are_counted_each_for_itself() -> None:
    answers = Answers()
    assert answers.allow(PEER_MAPPED, 0.0)
    assert answers.allow(ELSEWHERE, 0.0)


@pytest.mark.requirement("A13")
@example([0.1, 299.0, 1.0, 1.0, 1.0, 1.0])
@given(st.lists(st.sampled_from([0.1, 0.5, 1.0, 2.0, 30.0, 100.0, 295.0, 299.0]), max_size=60))
def test_no_pattern_of_bubbles_gets_more_than_four_answers_in_any_300_s(pauses: list[float]) -> None:
    answers, now = Answers(), 0.0
    given_at: list[float] = []
    for pause in pauses:
        now += pause
        if answers.allow(PEER_MAPPED, now):
            given_at.append(now)
    for first, second in itertools.pairwise(given_at):
        assert second - first >= 1.0 - 1e-9
    for first, fifth in zip(given_at, given_at[4:], strict=False):
        assert fifth - first >= 300.0 - 1e-6


def test_the_endpoint_answered_longest_ago_is_forgotten_when_there_are_too_many() -> None:
    answers = Answers()
    for now in range(4):
        answers.allow(PEER_MAPPED, now)
    for number in range(ANSWERED_ENDPOINTS - 1):
        answers.allow(Endpoint(number.to_bytes(6, "big")), 4.0)
    assert not answers.allow(PEER_MAPPED, 5.0)
    for number in range(ANSWERED_ENDPOINTS):
        answers.allow(Endpoint(number.to_bytes(6, "big")), 6.0)
    assert answers.allow(PEER_MAPPED, 7.0)


def test_answers_can_be_forgotten_altogether() -> None:
    answers = Answers()
    answers.allow(PEER_MAPPED, 0.0)
    answers.clear()
    assert answers.allow(PEER_MAPPED, 0.1)


def test_the_numbers_fit_together() -> None:
    assert [ATTEMPT_INTERVAL * attempt for attempt in range(ATTEMPT_LIMIT)] == ATTEMPT_TIMES
    assert ATTEMPT_INTERVAL * ATTEMPT_LIMIT == GIVEN_UP
