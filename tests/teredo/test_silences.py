# SPDX-License-Identifier: MIT
"""Who was sent to and does not answer: when that is noticed, what is done, and how seldom it is done for a stream."""

import pytest

from miredo.address.endpoint import Endpoint, endpoint, parse_ipv4
from miredo.teredo.actions import Action, PeerTrusted
from miredo.teredo.client import HEEDED_BURST, HEEDED_RATE, RETESTED
from miredo.teredo.peers import Peers
from miredo.wire.bubble import is_bubble
from miredo.wire.ipv6 import destination_of
from tests.teredo.cores import (
    NATIVE,
    OTHER_NATIVE,
    PEER,
    PEER_MAPPED,
    PRIMARY_ENDPOINT,
    RELAY,
    QualifiedClient,
    advertisement,
    bubble_to,
    data,
    delivered,
    echo_reply,
    echo_request_in,
    only,
    qualified_client,
    rolled,
    sent,
    solicitation_nonce,
)

OTHER_RELAY = endpoint(parse_ipv4("198.51.100.8"), 3545)


def befriended() -> QualifiedClient:
    """A client that trusts a native host's relay since 1.0."""
    client = qualified_client()
    client.befriend(NATIVE, 1.0)
    return client


def sends(client: QualifiedClient, now: float) -> None:
    """A packet goes straight to the host's relay."""
    packet = data(client.address, NATIVE)
    assert sent(client.core.transmit(packet, now)) == [(packet, RELAY)]


def hears(client: QualifiedClient, now: float, outer: Endpoint = RELAY) -> None:
    packet = data(NATIVE, client.address)
    assert delivered(client.passes_or_receives(packet, outer, now)) == [packet]


def asked(actions: list[Action]) -> list[str]:
    """What goes out: solicitations, tests, bubbles to a relay."""
    words = []
    for datagram, to in sent(actions):
        if datagram.startswith(b"\x00\x01"):
            words.append("solicitation")
        elif to == PRIMARY_ENDPOINT:
            words.append("test")
        elif is_bubble(datagram):
            words.append("bubble")
        else:
            words.append("data")
    return words


def until(client: QualifiedClient, now: float, *, answering: bool = True) -> list[tuple[float, str]]:
    """What goes out without the host, up to C{now}; the server answers solicitations."""
    found = []
    while client.core.deadline is not None and client.core.deadline <= now:
        at = client.core.deadline
        actions = client.core.expire(at)
        found += [(at, word) for word in asked(actions)]
        for datagram, to in sent(actions):
            if answering and datagram.startswith(b"\x00\x01"):
                client.core.receive(advertisement(solicitation_nonce(datagram)), to, at)
    return found


# ---------------------------------------------------------------- when


@pytest.mark.requirement("C62")
def test_when_nothing_comes_back_for_2_s_the_server_is_asked() -> None:
    client = befriended()
    sends(client, 10.0)
    assert until(client, 12.9) == [(12.0, "solicitation")]


@pytest.mark.requirement("C28a")
def test_when_a_host_is_silent_for_3_s_its_relay_is_tested_with_a_bubble_for_the_old_one() -> None:
    client = befriended()
    sends(client, 10.0)
    found = [entry for entry in until(client, 13.5) if entry[1] != "solicitation"]
    assert [word for _, word in found] == ["test", "bubble"]
    assert 13.0 <= found[0][0] <= 13.5
    sends(client, 13.6)  # the old mapping is used until the nonce returns


@pytest.mark.requirement("C28a")
def test_those_of_one_relay_are_not_tested_at_the_same_moment() -> None:
    times: set[float] = set()
    for seed in range(20):
        client = qualified_client(seed=seed)
        client.befriend(NATIVE, 1.0)
        sends(client, 10.0)
        times.update(at for at, word in until(client, 13.5) if word == "test")
    assert len(times) > 15
    assert max(times) - min(times) > 0.3


def test_an_answer_ends_the_silence_and_the_next_one_begins_with_the_next_packet() -> None:
    client = befriended()
    for second in range(10, 40):
        sends(client, float(second))
        hears(client, second + 0.9)
        assert [word for at, word in until(client, second + 0.95) if at > 31.0 or word != "solicitation"] == []
    sends(client, 40.0)
    assert (42.0, "solicitation") in until(client, 42.5)


def test_while_others_answer_the_server_is_not_suspected() -> None:
    client = befriended()
    client.befriend(OTHER_NATIVE, 1.0, OTHER_RELAY)
    sends(client, 10.0)
    packet = data(OTHER_NATIVE, client.address)
    assert client.core.passes(packet, OTHER_RELAY, 11.0)
    assert until(client, 12.9) == []


def test_a_client_that_is_silent_too_asks_nothing() -> None:
    client = befriended()
    assert [word for _, word in until(client, 22.0)] == []


@pytest.mark.requirement("C28a")
def test_a_stream_that_nobody_answers_costs_ever_less() -> None:
    """The relay answers every test, and the host sends nothing: a log, say."""
    client = befriended()
    tests = []
    for tenth in range(100, 1800):
        now = tenth / 10
        sends(client, now)
        while client.core.deadline is not None and client.core.deadline <= now:
            actions = client.core.expire(now)
            for datagram, to in sent(actions):
                if datagram.startswith(b"\x00\x01"):
                    client.core.receive(advertisement(solicitation_nonce(datagram)), to, now)
                elif to == PRIMARY_ENDPOINT:
                    tests.append(now - 10.0)
                    nonce = echo_request_in(datagram).data
                    client.core.receive(echo_reply(NATIVE, client.address, nonce), RELAY, now)
    assert [round(test) for test in tests] == [3, 6, 12, 24, 48, 72, 96, 120, 144, 168]


@pytest.mark.requirement("C28a")
def test_teredo_peers_are_not_tested_they_have_bubbles_of_their_own() -> None:
    client = qualified_client()
    client.core.receive(bubble_to(client), PEER_MAPPED, 1.0)
    assert sent(client.core.transmit(data(client.address, PEER), 2.0)) != []
    assert {word for _, word in until(client, 20.0)} == {"solicitation"}


# ---------------------------------------------------------------- what for


@pytest.mark.requirement("C28a", "C24")
def test_another_relay_that_answers_takes_over_at_once() -> None:
    client = befriended()
    sends(client, 10.0)
    tested = [at for at, word in until(client, 12.9) if word == "test"]
    assert tested == []
    deadline = client.core.deadline
    assert deadline is not None
    test, _ = sent(client.core.expire(deadline))
    nonce = echo_request_in(test[0]).data
    actions = client.core.receive(echo_reply(NATIVE, client.address, nonce), OTHER_RELAY, deadline + 0.1)
    assert only(PeerTrusted, actions) == [PeerTrusted(NATIVE, OTHER_RELAY)]
    packet = data(client.address, NATIVE)
    assert sent(client.core.transmit(packet, deadline + 0.2)) == [(packet, OTHER_RELAY)]


@pytest.mark.requirement("C28a", "E9")
def test_word_that_a_relay_is_unreachable_has_its_hosts_tested_at_once() -> None:
    client = befriended()
    sends(client, 10.0)
    assert asked(client.core.unreachable(RELAY, 10.01)) == ["test", "bubble"]
    assert client.core.unreachable(RELAY, 10.02) == []


@pytest.mark.requirement("E9", "T33")
def test_a_forged_error_costs_a_test_and_no_peer() -> None:
    client = befriended()
    for _ in range(100):
        client.core.unreachable(RELAY, 10.0)
    assert client.core.unreachable(OTHER_RELAY, 10.0) == []
    sends(client, 10.1)
    hears(client, 10.2)
    sends(client, 39.0)


@pytest.mark.requirement("C28a", "E9")
def test_one_error_has_a_bounded_number_of_hosts_tested() -> None:
    client = qualified_client()
    for number in range(RETESTED + 10):
        client.core.peers.trust(NATIVE[:15] + bytes([number]), RELAY, 1.0)
    tests = asked(client.core.unreachable(RELAY, 2.0))
    assert tests.count("test") == RETESTED


@pytest.mark.requirement("T33")
def test_a_flood_of_forged_errors_leaves_attempts_for_others() -> None:
    client = qualified_client()
    for number in range(RETESTED):
        client.core.peers.trust(NATIVE[:15] + bytes([number]), RELAY, 1.0)
    tests = []
    for hundredth in range(1000):  # 10 s, and each test is answered
        now = 10.0 + hundredth / 100
        for datagram, to in sent(client.core.unreachable(RELAY, now)):
            if to == PRIMARY_ENDPOINT:
                tests.append(now)
                host = destination_of(datagram)
                nonce = echo_request_in(datagram).data
                client.core.receive(echo_reply(host, client.address, nonce), RELAY, now)
    assert len(tests) <= RETESTED * (HEEDED_BURST + HEEDED_RATE * 10)
    assert asked(client.core.transmit(data(client.address, NATIVE[:14] + b"\x01\x00"), 20.0)) == ["test"]


@pytest.mark.requirement("E9")
def test_errors_about_others_do_not_keep_a_relays_from_being_heeded() -> None:
    client = befriended()
    for _ in range(19):
        assert client.core.unreachable(PEER_MAPPED, 10.0) == []
    assert asked(client.core.unreachable(RELAY, 10.0)) == ["test", "bubble"]


def test_a_dead_destination_makes_the_client_ask_whether_its_server_is_dead_too() -> None:
    client = qualified_client()
    client.core.transmit(data(client.address, PEER), 10.0)
    found = until(client, 13.0, answering=False)
    assert found[0] == (12.25, "solicitation")
    assert client.address == client.core.address
    found += until(client, 24.3, answering=False)
    assert client.core.address is None  # 14.25 s after the packet


# ---------------------------------------------------------------- the fast path


@pytest.mark.requirement("C28a")
def test_what_the_fast_path_tells_late_counts_as_well() -> None:
    client = befriended()
    client.core.peers.seen(NATIVE, 9.0, 10.0)
    found = until(client, 14.0)
    assert [word for _, word in found] == ["solicitation", "test", "bubble"]
    client.core.peers.seen(NATIVE, 14.5, 14.0)
    client.core.peers.seen(NATIVE, 14.5, 15.0)
    assert "solicitation" in [word for _, word in until(client, 17.0)]


def test_silences_of_peers_that_are_forgotten_are_forgotten() -> None:
    peers = Peers(4, dice=rolled())
    for number in range(8):
        address = NATIVE[:15] + bytes([number])
        peers.trust(address, RELAY, 1.0)
        peers.egress(address, 1.0)
    assert len(peers.silent(10.0)) <= 4
    peers.forget_all()
    assert peers.silent(100.0) == []
    assert peers.deadline is None


def test_the_silence_of_the_last_peer_ends_with_everything_else() -> None:
    """It was driven out of the table, which is empty then; its silence is still watched."""
    peers = Peers(1, dice=rolled())
    peers.trust(NATIVE, RELAY, 1.0)
    peers.egress(NATIVE, 1.0)
    peers.expire(400.0)
    assert len(peers) == 0
    peers.forget_all()
    assert peers.deadline is None


def test_a_relay_watches_nobody() -> None:
    peers = Peers(4)
    peers.trust(PEER, PEER_MAPPED, 1.0)
    peers.egress(PEER, 1.0)
    assert peers.silent(100.0) == []
