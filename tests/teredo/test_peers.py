# SPDX-License-Identifier: MIT
"""The one policy for data packets, rule by rule, and against a slow and obvious model."""

import tracemalloc
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from miredo.address.endpoint import Endpoint, IPv6
from miredo.lab.fastpath import FastPathMap
from miredo.teredo.actions import Action, AllLost, PeerLost, PeerTrusted
from miredo.teredo.constants import PEER_RETENTION, PEER_VALIDITY
from miredo.teredo.peers import Peers
from tests.teredo.cores import ELSEWHERE, NATIVE, PEER, PEER_MAPPED
from tests.world import reachable


def numbered(number: int) -> IPv6:
    """One of many addresses."""
    return bytes.fromhex("20010db8") + number.to_bytes(12, "big")


def let_pass(peers: Peers, now: float) -> list[Action]:
    """Every deadline up to C{now}, each at its time."""
    actions: list[Action] = []
    while peers.deadline is not None and peers.deadline <= now:
        actions += peers.expire(peers.deadline)
    return actions


def test_rule_1_a_stranger_is_neither_sent_to_nor_let_in() -> None:
    peers = Peers(10)
    assert peers.egress(PEER, 0.0) is None
    assert not peers.ingress(PEER, PEER_MAPPED, 0.0)
    assert not peers.matches(PEER, PEER_MAPPED)
    assert (len(peers), peers.deadline) == (0, None)


@pytest.mark.requirement("C40", "R3")
def test_rule_2_a_peer_is_sent_to_for_30_s_after_it_was_heard() -> None:
    peers = Peers(10)
    assert peers.trust(PEER, PEER_MAPPED, 100.0) == [PeerTrusted(PEER, PEER_MAPPED)]
    assert peers.egress(PEER, 129.99) == PEER_MAPPED
    assert peers.egress(PEER, 130.0) is None
    assert peers.egress(NATIVE, 100.0) is None


@pytest.mark.requirement("C40")
def test_sending_is_noted_and_keeps_no_peer_fresh() -> None:
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 0.0)
    peers.egress(PEER, 20.0)
    peer = peers.get(PEER)
    assert peer is not None
    assert (peer.last_tx, peer.last_rx) == (20.0, 0.0)
    assert peers.egress(PEER, 30.0) is None


@pytest.mark.requirement("C23", "C40")
def test_rule_3_a_packet_comes_in_from_the_proved_endpoint_alone() -> None:
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 0.0)
    assert not peers.ingress(PEER, ELSEWHERE, 10.0)
    assert peers.egress(PEER, 29.0) == PEER_MAPPED
    assert peers.ingress(PEER, PEER_MAPPED, 29.0)
    assert peers.egress(PEER, 58.9) == PEER_MAPPED


@pytest.mark.requirement("C48", "C25")
def test_a_new_peer_counts_as_last_sent_to_30_s_ago() -> None:
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 100.0)
    peer = peers.get(PEER)
    assert peer is not None
    assert (peer.last_rx, peer.last_tx) == (100.0, 70.0)


def test_rule_4_a_silent_peer_is_lost_after_30_s_known_for_300_s_and_then_forgotten() -> None:
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 0.0)
    assert peers.expire(29.9) == []
    assert peers.expire(30.0) == [PeerLost(PEER)]
    assert not peers.ingress(PEER, PEER_MAPPED, 31.0)
    assert let_pass(peers, 299.9) == []
    assert peers.matches(PEER, PEER_MAPPED)
    assert let_pass(peers, 300.0) == []
    assert (len(peers), peers.get(PEER), peers.deadline) == (0, None, None)


def test_rule_4_a_stale_peer_is_fresh_again_when_it_is_heard() -> None:
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 0.0)
    peers.expire(30.0)
    assert peers.trust(PEER, PEER_MAPPED, 40.0) == [PeerTrusted(PEER, PEER_MAPPED)]
    assert peers.ingress(PEER, PEER_MAPPED, 41.0)
    assert let_pass(peers, 70.9) == []
    assert let_pass(peers, 72.0) == [PeerLost(PEER)]


def test_a_peer_that_is_heard_all_the_time_is_never_lost() -> None:
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 0.0)
    for second in range(1, 3600):
        assert let_pass(peers, float(second)) == []
        assert peers.ingress(PEER, PEER_MAPPED, float(second))
    assert let_pass(peers, 3599 + PEER_VALIDITY) == [PeerLost(PEER)]


def test_a_peer_is_lost_less_than_a_second_late() -> None:
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 0.25)
    assert let_pass(peers, 30.25) == []
    assert let_pass(peers, 31.0) == [PeerLost(PEER)]


def test_trust_that_changes_nothing_is_not_news() -> None:
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 0.0)
    assert peers.trust(PEER, PEER_MAPPED, 1.0) == []
    assert peers.trust(PEER, ELSEWHERE, 2.0) == [PeerTrusted(PEER, ELSEWHERE)]
    assert peers.egress(PEER, 3.0) == ELSEWHERE
    assert not peers.matches(PEER, PEER_MAPPED)


def test_what_the_fast_path_saw_counts_as_heard() -> None:
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 0.0)
    peers.seen(PEER, 25.0, 26.0)
    assert peers.egress(PEER, 54.9) == PEER_MAPPED
    assert let_pass(peers, 54.0) == []
    assert let_pass(peers, 55.0) == [PeerLost(PEER)]


def test_a_late_report_never_turns_time_back() -> None:
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 0.0)
    assert peers.ingress(PEER, PEER_MAPPED, 20.0)
    peers.egress(PEER, 21.0)
    peers.seen(PEER, 10.0, 11.0)
    peers.seen(PEER, float("-inf"), float("-inf"))
    peer = peers.get(PEER)
    assert peer is not None
    assert (peer.last_rx, peer.last_tx) == (20.0, 21.0)


def test_a_report_about_somebody_forgotten_is_ignored() -> None:
    peers = Peers(10)
    peers.seen(PEER, 1.0, 1.0)
    assert (len(peers), peers.deadline) == (0, None)


def test_a_report_that_comes_after_the_loss_makes_a_peer_sendable_and_known_longer() -> None:
    """The fast path was told to forget it and stays so, until the core hears it itself."""
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 0.0)
    assert peers.expire(30.0) == [PeerLost(PEER)]
    peers.seen(PEER, 29.5, 29.6)
    assert peers.egress(PEER, 31.0) == PEER_MAPPED
    assert not peers.ingress(PEER, PEER_MAPPED, 31.0)
    assert peers.trust(PEER, PEER_MAPPED, 31.0) == [PeerTrusted(PEER, PEER_MAPPED)]


def test_a_late_report_about_a_stale_peer_puts_off_its_end() -> None:
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 0.0)
    peers.expire(30.0)
    peers.seen(PEER, 29.0, 29.0)
    assert let_pass(peers, 328.9) == []
    assert len(peers) == 1
    assert let_pass(peers, 29.0 + PEER_RETENTION) == []
    assert len(peers) == 0


def test_forgetting_all_is_said_once() -> None:
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 0.0)
    peers.trust(NATIVE, ELSEWHERE, 0.0)
    assert peers.forget_all() == [AllLost()]
    assert (len(peers), peers.deadline) == (0, None)
    assert peers.forget_all() == []
    assert let_pass(peers, 1000.0) == []


def test_who_was_stale_when_all_were_forgotten_is_gone_for_good() -> None:
    peers = Peers(1)
    peers.trust(PEER, PEER_MAPPED, 0.0)
    peers.expire(30.0)
    peers.forget_all()
    peers.trust(NATIVE, ELSEWHERE, 31.0)
    assert peers.trust(PEER, PEER_MAPPED, 32.0) == [PeerLost(NATIVE), PeerTrusted(PEER, PEER_MAPPED)]


# ---------------------------------------------------------------- rule 5


@pytest.mark.requirement("C49", "R11")
def test_rule_5_the_peer_that_was_silent_longest_makes_room() -> None:
    peers = Peers(3)
    for number in range(3):
        peers.trust(numbered(number), PEER_MAPPED, number * 2.0)
    assert peers.ingress(numbered(0), PEER_MAPPED, 10.0)
    assert peers.trust(numbered(9), PEER_MAPPED, 11.0) == [
        PeerLost(numbered(1)),
        PeerTrusted(numbered(9), PEER_MAPPED),
    ]
    assert peers.trust(numbered(10), PEER_MAPPED, 12.0)[0] == PeerLost(numbered(2))
    assert peers.trust(numbered(11), PEER_MAPPED, 13.0)[0] == PeerLost(numbered(0))
    assert len(peers) == 3


@pytest.mark.requirement("C49")
def test_rule_5_a_stale_peer_goes_before_a_fresh_one_and_nothing_is_lost() -> None:
    peers = Peers(2)
    peers.trust(numbered(1), PEER_MAPPED, 0.0)
    peers.expire(30.0)
    peers.trust(numbered(2), PEER_MAPPED, 39.0)
    assert peers.trust(numbered(3), PEER_MAPPED, 40.0) == [PeerTrusted(numbered(3), PEER_MAPPED)]
    assert peers.get(numbered(1)) is None
    assert peers.get(numbered(2)) is not None


def test_rule_5_a_peer_that_came_back_is_not_taken_for_silent() -> None:
    peers = Peers(2)
    peers.trust(numbered(1), PEER_MAPPED, 0.0)
    let_pass(peers, 30.0)
    peers.trust(numbered(2), PEER_MAPPED, 290.0)
    peers.trust(numbered(1), PEER_MAPPED, 299.0)
    assert PeerLost(numbered(2)) in peers.trust(numbered(3), PEER_MAPPED, 299.5)
    assert peers.get(numbered(1)) is not None


def test_rule_5_what_the_fast_path_reported_counts() -> None:
    peers = Peers(2)
    peers.trust(numbered(1), PEER_MAPPED, 0.0)
    peers.trust(numbered(2), PEER_MAPPED, 5.0)
    peers.seen(numbered(1), 20.0, 20.0)
    assert peers.trust(numbered(3), PEER_MAPPED, 21.0)[0] == PeerLost(numbered(2))


@pytest.mark.requirement("C47")
def test_rule_4_a_packet_of_a_stale_peer_is_the_cores_to_see_before_aging_has_noticed() -> None:
    """The core may be trying to reach it, and would go on after data has been sent."""
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 0.2)
    assert peers.egress(PEER, 30.3) is None
    assert not peers.ingress(PEER, PEER_MAPPED, 30.4)
    peers.trust(PEER, PEER_MAPPED, 30.4)
    assert peers.ingress(PEER, PEER_MAPPED, 30.5)


@pytest.mark.requirement("T23", "C49")
def test_rule_5_the_uninvited_make_room_before_whom_the_host_has_sent_to() -> None:
    peers = Peers(4)
    friends = [numbered(number) for number in range(2)]
    for friend in friends:
        peers.trust(friend, PEER_MAPPED, 0.0)
    for number in range(100, 200):
        peers.trust(numbered(number), ELSEWHERE, 20.0, invited=False)
    assert all(peers.get(friend) for friend in friends)
    assert len(peers) == 4


@pytest.mark.requirement("T23")
def test_rule_5_of_the_uninvited_one_that_was_heard_a_moment_ago_is_spared() -> None:
    peers = Peers(3)
    for number in range(3):
        peers.trust(numbered(number), ELSEWHERE, 0.0, invited=False)
    assert peers.ingress(numbered(0), ELSEWHERE, 5.0)
    assert peers.trust(numbered(3), ELSEWHERE, 5.5, invited=False)[0] == PeerLost(numbered(1))
    assert peers.get(numbered(0)) is not None


def test_one_that_the_host_sent_to_later_is_uninvited_no_more() -> None:
    peers = Peers(2)
    peers.trust(PEER, PEER_MAPPED, 0.0, invited=False)
    peers.trust(PEER, PEER_MAPPED, 1.0)
    peers.trust(numbered(1), ELSEWHERE, 2.0, invited=False)
    peers.trust(numbered(2), ELSEWHERE, 2.0, invited=False)
    assert peers.get(PEER) is not None
    assert len(peers) == 2


def test_peers_that_made_room_leave_nothing_behind() -> None:
    """Aging would find them only after 30 s."""
    peers = Peers(100)
    for number in range(10_000):
        peers.trust(numbered(number), ELSEWHERE, number / 10_000, invited=number % 2 == 0)
    assert reachable(peers) < 100 * 30


def test_a_known_peer_never_needs_room() -> None:
    peers = Peers(1)
    peers.trust(PEER, PEER_MAPPED, 0.0)
    assert peers.trust(PEER, ELSEWHERE, 1.0) == [PeerTrusted(PEER, ELSEWHERE)]
    assert len(peers) == 1


@pytest.mark.requirement("T24", "R11")
def test_a_flood_of_peers_stays_within_the_table() -> None:
    peers = Peers(100)
    for number in range(10000):
        peers.trust(numbered(number), PEER_MAPPED, number / 1000)
    assert len(peers) == 100
    survivors = [number for number in range(10000) if peers.get(numbered(number)) is not None]
    assert min(survivors) >= 10000 - 100 - 1000  # the order is known by the second


def _growth(peers: Peers, renew: int) -> int:
    """Bytes that so many renewals in one second leave behind."""
    tracemalloc.start()
    try:
        for number in range(renew):
            peers.trust(PEER, ELSEWHERE if number % 2 else PEER_MAPPED, 10.0)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_a_peer_that_changes_its_endpoint_all_the_time_takes_no_memory() -> None:
    peers = Peers(10)
    peers.trust(PEER, PEER_MAPPED, 9.0)
    assert _growth(peers, 5000) < 10000


# ---------------------------------------------------------------- the model


@dataclass
class Known:
    """A peer as the rules have it, times to the second so that the wheel's lateness is nothing."""

    endpoint: Endpoint
    heard: int
    told: bool
    """Whether the fast path may have it."""


class PeersAgreeWithTheRules(RuleBasedStateMachine):
    """A dictionary that is searched through does the same; the fake map holds what it should."""

    addresses = st.integers(0, 4).map(numbered)
    endpoints = st.sampled_from([PEER_MAPPED, ELSEWHERE])

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000
        self.peers = Peers(3)
        self.fast = FastPathMap()
        self.model: dict[IPv6, Known] = {}

    def obey(self, actions: list[Action]) -> None:
        for action in actions:
            assert isinstance(action, (PeerTrusted, PeerLost, AllLost))
            self.fast.obey(action)

    @rule(seconds=st.sampled_from([1, 2, 5, 17, 29, 30, 31, 270, 300]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.obey(let_pass(self.peers, self.now))
        for address, known in list(self.model.items()):
            known.told = known.told and self.now - known.heard < PEER_VALIDITY
            if self.now - known.heard >= PEER_RETENTION:
                del self.model[address]

    @rule(address=addresses, endpoint=endpoints)
    def trusted(self, address: IPv6, endpoint: Endpoint) -> None:
        if address not in self.model and len(self.model) == 3:
            longest = min(known.heard for known in self.model.values())
            candidates = [each for each, known in self.model.items() if known.heard == longest]
            self.obey(self.peers.trust(address, endpoint, self.now))
            (gone,) = [each for each in self.model if self.peers.get(each) is None]
            assert gone in candidates
            del self.model[gone]
        else:
            self.obey(self.peers.trust(address, endpoint, self.now))
        self.model[address] = Known(endpoint, self.now, told=True)

    @rule(address=addresses, endpoint=endpoints)
    def comes_in(self, address: IPv6, endpoint: Endpoint) -> None:
        known = self.model.get(address)
        expected = known is not None and known.told and known.endpoint == endpoint
        assert self.peers.ingress(address, endpoint, self.now) == expected
        if known is not None and expected:
            known.heard = self.now

    @rule(address=addresses)
    def goes_out(self, address: IPv6) -> None:
        known = self.model.get(address)
        valid = known is not None and self.now - known.heard < PEER_VALIDITY
        assert self.peers.egress(address, self.now) == (known.endpoint if known is not None and valid else None)

    @rule()
    def all_is_forgotten(self) -> None:
        self.obey(self.peers.forget_all())
        self.model.clear()

    @invariant()
    def the_fast_path_has_who_is_fresh(self) -> None:
        assert self.fast.endpoints == {address: known.endpoint for address, known in self.model.items() if known.told}

    @invariant()
    def nobody_else_is_known(self) -> None:
        assert len(self.peers) == len(self.model)
        for address, known in self.model.items():
            assert self.peers.matches(address, known.endpoint)


TestPeersAgreeWithTheRules = PeersAgreeWithTheRules.TestCase
TestPeersAgreeWithTheRules.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
