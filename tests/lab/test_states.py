# SPDX-License-Identifier: MIT
"""The state of a client in words, and which it was at what time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.endpoint import endpoint, parse_ipv4, show_ipv6
from miredo.address.teredo import compose
from miredo.lab.states import SHOWN, History, describe_client
from miredo.teredo.constants import PEER_VALIDITY
from miredo.teredo.qualification import Holding
from tests.teredo.cores import (
    MAPPED,
    NATIVE,
    OTHER_NATIVE,
    PEER,
    PEER_MAPPED,
    PRIMARY_ENDPOINT,
    RELAY,
    SECONDARY_ENDPOINT,
    SERVER,
    QualifiedClient,
    advertisement,
    bubble_to,
    client_core,
    data,
    expire_until,
    qualified_client,
    sent,
    solicitation_nonce,
)

LONGEST = 1000
"""Characters that a state may have, whatever the client met."""


def qualified(client: QualifiedClient, mapping: str = "mapping endpoint-independent") -> str:
    return f"qualified {show_ipv6(client.address)}, mapped 192.0.2.1:4096, {mapping}"


def test_a_client_that_has_not_started_is_idle() -> None:
    assert describe_client(client_core()) == "idle"
    unknown = client_core(servers=())
    unknown.start(0.0)
    assert describe_client(unknown) == "idle"


def test_a_client_solicits_three_times_and_rests() -> None:
    core = client_core()
    core.start(0.0)
    told = [describe_client(core)]
    for now in (4.0, 8.0, 12.0):
        core.expire(now)
        told.append(describe_client(core))
    assert told == [
        "soliciting 203.0.113.120, try 1 of 3",
        "soliciting 203.0.113.120, try 2 of 3",
        "soliciting 203.0.113.120, try 3 of 3",
        "resting, no server answered",
    ]


def test_a_qualified_client_tells_its_address_its_mapping_and_what_it_learned_of_its_nat() -> None:
    core = client_core()
    ((solicitation, _),) = sent(core.start(0.0))
    actions = core.receive(advertisement(solicitation_nonce(solicitation)), PRIMARY_ENDPOINT, 0.1)
    assert core.address is not None
    client = QualifiedClient(core, core.address)
    assert describe_client(core) == qualified(client, "mapping not known yet")
    ((probe, _),) = sent(actions)
    core.receive(advertisement(solicitation_nonce(probe), PEER_MAPPED), SECONDARY_ENDPOINT, 0.2)
    assert describe_client(core) == qualified(client, "mapping destination-dependent")


def test_a_client_whose_secondary_server_address_is_silent_does_not_know_its_mapping() -> None:
    core = client_core()
    ((solicitation, _),) = sent(core.start(0.0))
    core.receive(advertisement(solicitation_nonce(solicitation)), PRIMARY_ENDPOINT, 0.1)
    assert core.address is not None
    expire_until(core, 13.0)
    assert describe_client(core) == qualified(QualifiedClient(core, core.address), "mapping unknown")


def test_a_client_that_refreshes_still_has_its_address() -> None:
    client = qualified_client()
    state = client.core.qualification.state
    assert isinstance(state, Holding)
    client.core.expire(state.until)
    assert describe_client(client.core) == f"soliciting 203.0.113.120, try 1 of 3, still {qualified(client)}"


def test_a_stopped_client_is_idle_and_knows_nobody() -> None:
    client = qualified_client()
    client.befriend(NATIVE, 1.0)
    client.core.transmit(data(client.address, OTHER_NATIVE), 1.0)
    client.core.stop(2.0)
    assert describe_client(client.core) == "idle"


def test_a_peer_is_trusted_at_its_endpoint_and_silent_after_30_s() -> None:
    client = qualified_client()
    client.core.receive(bubble_to(client), PEER_MAPPED, 1.0)
    assert describe_client(client.core) == f"{qualified(client)}; peers: {show_ipv6(PEER)} trusted at 192.0.2.10:8192"
    client.core.peers.expire(1.0 + PEER_VALIDITY)
    assert describe_client(client.core) == f"{qualified(client)}; peers: {show_ipv6(PEER)} silent at 192.0.2.10:8192"


def test_a_contact_tells_its_attempts_and_what_waits_and_in_the_end_that_it_was_in_vain() -> None:
    client = qualified_client()
    client.core.transmit(data(client.address, NATIVE), 1.0)
    assert describe_client(client.core).endswith("; contacting 2001:db8::1 (attempt 1 of 4, 1 packet waiting)")
    client.core.transmit(data(client.address, NATIVE), 2.0)
    client.expire_until(3.25)
    assert describe_client(client.core).endswith("; contacting 2001:db8::1 (attempt 2 of 4, 2 packets waiting)")
    client.expire_until(10.0)
    assert describe_client(client.core).endswith("; contacting 2001:db8::1 in vain")


def test_a_contact_tells_what_it_holds_of_a_stranger() -> None:
    client = qualified_client()
    client.core.receive(data(NATIVE, client.address), RELAY, 1.0)
    assert describe_client(client.core).endswith("; contacting 2001:db8::1 (attempt 1 of 4, 1 packet held)")


def test_a_peer_that_was_just_sent_to_is_not_tried_yet() -> None:
    client = qualified_client()
    client.core.receive(bubble_to(client), PEER_MAPPED, 1.0)
    client.core.peers.seen(PEER, 1.0, 31.5)
    client.core.transmit(data(client.address, PEER), 32.0)
    assert describe_client(client.core).endswith(f"; contacting {show_ipv6(PEER)} (no attempt yet, 1 packet waiting)")


def test_the_newest_peers_and_contacts_are_named_and_the_others_counted() -> None:
    client = qualified_client()
    count = SHOWN + 2
    for number in range(count):
        mapped = endpoint(parse_ipv4("198.51.100.100"), 50000 + number)
        client.core.peers.trust(compose(SERVER.primary, mapped, 0xFFFF), mapped, 1.0)
        client.core.transmit(data(client.address, NATIVE[:15] + bytes([number])), 1.0)
    told = describe_client(client.core)
    assert told.count(" and 2 more") == 2
    assert told.count(" trusted at ") == told.count("1 packet waiting") == SHOWN
    assert "50004, " in told
    assert "2001:db8::4 (" in told
    assert len(told) < LONGEST


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_state_is_one_line_and_not_long_however_many_there_are(peers: int, contacts: int) -> None:
    client = qualified_client()
    for number in range(peers):
        client.core.peers.trust(OTHER_NATIVE[:15] + bytes([number]), MAPPED, 1.0)
    for number in range(contacts):
        client.core.transmit(data(client.address, b"\x20\x01" + bytes([number] * 14)), 1.0)
    told = describe_client(client.core)
    assert len(told) < LONGEST
    assert told.isprintable()


def test_what_held_at_a_time_is_remembered() -> None:
    history = History()
    history.note("client-b", 1.0, "idle")
    history.note("client-a", 2.0, "soliciting")
    history.note("client-a", 2.5, "qualified")
    assert [history.at("client-a", when) for when in (1.9, 2.0, 2.4, 2.5, 99.0)] == [
        "",
        "soliciting",
        "soliciting",
        "qualified",
        "qualified",
    ]
    assert history.at("client-b", 1.0) == "idle"
    assert history.at("nobody", 1.0) == ""
    assert history.clients == ["client-a", "client-b"]


def test_only_changes_take_room_and_the_oldest_is_forgotten() -> None:
    history = History(limit=2)
    for at, state in enumerate(["idle", "soliciting", "soliciting", "soliciting", "qualified"]):
        history.note("client-a", float(at), state)
    assert [history.at("client-a", when) for when in (0.5, 1.0, 3.9, 4.0)] == [
        "",
        "soliciting",
        "soliciting",
        "qualified",
    ]


@pytest.mark.parametrize("state", ["soliciting", "idle"])
def test_the_later_of_two_states_of_one_moment_holds(state: str) -> None:
    history = History()
    history.note("client-a", 1.0, "qualified")
    history.note("client-a", 1.0, state)
    assert history.at("client-a", 1.0) == state
