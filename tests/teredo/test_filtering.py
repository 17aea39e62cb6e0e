# SPDX-License-Identifier: MIT
"""C{ProbeFiltering}: what an answer from an address that was not sent to yet tells of a NAT's filtering."""

from __future__ import annotations

import pytest

from miredo.address.endpoint import Endpoint, IPv6
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import CLIENT_LINK_LOCAL, CONE, CONE_LINK_LOCAL, flags_of, has_cone_bit, mapped_of
from miredo.lab import nat
from miredo.lab.links import Link
from miredo.lab.nat import KINDS, NatBehaviour
from miredo.teredo.actions import (
    FILTERING_PORT,
    PRIMARY,
    Action,
    ClosePort,
    Filtering,
    Mapping,
    NatObserved,
    OpenPort,
    Qualified,
    SendDatagram,
)
from miredo.teredo.client import Client
from miredo.teredo.drops import Drop
from miredo.teredo.security import KEY_VALID, Credential
from miredo.wire.bubble import emit_bubble
from miredo.wire.encapsulation import parse_encapsulation
from miredo.wire.ipv6 import source_of
from tests.teredo.cores import (
    ELSEWHERE,
    MAPPED,
    PEER,
    PEER_MAPPED,
    PRIMARY_ENDPOINT,
    SECONDARY_ENDPOINT,
    SERVER,
    advertisement,
    asked,
    only,
    qualify,
    rolled,
    solicitation_nonce,
)
from tests.world import WatchedWorld

INDEPENDENT, DEPENDENT = Filtering.ENDPOINT_INDEPENDENT, Filtering.ENDPOINT_DEPENDENT


def observed(
    behaviour: NatBehaviour | None, *, probing: bool = True, link: Link | None = None, seed: int = 0
) -> tuple[NatObserved, list[Action]]:
    """What a client learns of its NAT, and all that it did."""
    world = WatchedWorld(seed, link or Link(delay=0.02))
    server = world.server("203.0.113.1", "203.0.113.2")
    client = world.client("198.51.100.7", server, behaviour, probe_filtering=probing)
    client.start()
    assert world.run_until(lambda: client.observed is not None, 60.0)
    assert client.observed is not None
    return client.observed, client.actions


def solicitors(actions: list[Action]) -> list[bytes]:
    """The link-local addresses that were solicited from."""
    return [source_of(parse_encapsulation(each.payload).packet) for each in only(SendDatagram, actions)]


@pytest.mark.requirement("A16", "C5")
@pytest.mark.parametrize("behaviour", KINDS, ids=str)
def test_endpoint_independent_filtering_is_told_from_the_others(behaviour: NatBehaviour) -> None:
    told, actions = observed(behaviour)
    assert told.filtering is (INDEPENDENT if behaviour.filtering is nat.Filtering.ENDPOINT_INDEPENDENT else DEPENDENT)
    (qualified,) = only(Qualified, actions)
    assert flags_of(qualified.address) & CONE == 0
    assert not has_cone_bit(qualified.address)
    assert mapped_of(qualified.address) == told.mapped


@pytest.mark.requirement("A16")
@pytest.mark.parametrize("behaviour", KINDS, ids=str)
def test_it_changes_nothing_of_what_is_told_of_the_mapping(behaviour: NatBehaviour) -> None:
    probing, usual = observed(behaviour)[0], observed(behaviour, probing=False)[0]
    assert (probing.mapping, probing.same_address) == (usual.mapping, usual.same_address)
    assert probing.preserves(40000) == usual.preserves(40000)


def test_without_a_nat_everybody_is_let_in() -> None:
    assert observed(None)[0].filtering is INDEPENDENT


@pytest.mark.requirement("A16", "C5")
@pytest.mark.parametrize("behaviour", KINDS, ids=str)
def test_nobody_who_does_not_ask_solicits_with_the_cone_bit(behaviour: NatBehaviour) -> None:
    told, actions = observed(behaviour, probing=False)
    assert told.filtering is Filtering.NOT_MEASURED
    assert set(solicitors(actions)) == {CLIENT_LINK_LOCAL}


@pytest.mark.requirement("A16")
def test_one_solicitation_does_where_the_answer_comes_and_three_where_it_does_not() -> None:
    assert solicitors(observed(NatBehaviour())[1]).count(CONE_LINK_LOCAL) == 1
    filtering = NatBehaviour(filtering=nat.Filtering.ADDRESS_DEPENDENT)
    assert solicitors(observed(filtering)[1]).count(CONE_LINK_LOCAL) == 3


@pytest.mark.requirement("A16")
def test_a_lost_packet_is_not_taken_for_filtering() -> None:
    """A question or its answer in five is lost; all three would have to be."""
    told = [observed(NatBehaviour(), link=Link(delay=0.02, loss=0.05), seed=seed)[0].filtering for seed in range(30)]
    assert told.count(INDEPENDENT) >= 28
    assert observed(NatBehaviour(), link=Link(delay=0.02))[0].filtering is INDEPENDENT


# ------------------------------------------------------------------ step by step


def client_core(*, strict: bool = False, credential: Credential | None = None) -> Client:
    return Client([SERVER], IPv4Scope(), rolled(), strict=strict, credential=credential, probe_filtering=True)


def questions(actions: list[Action], via: int = FILTERING_PORT, to: Endpoint = PRIMARY_ENDPOINT) -> list[bytes]:
    """The nonces of the solicitations that leave a port for an address."""
    found = [each for each in only(SendDatagram, actions) if (each.via, each.to) == (via, to)]
    return [solicitation_nonce(each.payload) for each in found]


def begun(client: Client, now: float = 0.0, mapped: Endpoint = MAPPED) -> tuple[bytes, bytes]:
    """The client has its address: the nonces with which it asks the other address, and for an answer from there."""
    actions = qualify(client, client.start(now), now, mapped)
    assert only(OpenPort, actions) == [OpenPort(FILTERING_PORT)]
    ((other,), (cone,)) = questions(actions, PRIMARY, SECONDARY_ENDPOINT), questions(actions)
    return other, cone


def cone_answer(nonce: bytes, mapped: Endpoint = ELSEWHERE) -> bytes:
    return advertisement(nonce, mapped, destination=CONE_LINK_LOCAL)


def silent_for(client: Client, until: float) -> list[Action]:
    """Nobody answers anything."""
    actions: list[Action] = []
    while client.deadline is not None and client.deadline <= until:
        actions += client.expire(client.deadline)
    return actions


@pytest.mark.requirement("A16", "C5")
def test_the_answer_from_the_other_address_is_never_used_for_the_address() -> None:
    client = client_core()
    other, cone = begun(client)
    before = client.address
    assert client.receive_on(FILTERING_PORT, cone_answer(cone), SECONDARY_ENDPOINT, 0.1) == [ClosePort(FILTERING_PORT)]
    assert client.address == before is not None
    assert client.receive(advertisement(other), SECONDARY_ENDPOINT, 0.2) == [
        NatObserved(Mapping.ENDPOINT_INDEPENDENT, MAPPED, MAPPED, INDEPENDENT)
    ]


@pytest.mark.requirement("A16")
def test_what_is_told_of_the_nat_waits_for_the_filtering() -> None:
    client = client_core()
    other, _ = begun(client)
    assert client.receive(advertisement(other), SECONDARY_ENDPOINT, 0.1) == []
    actions = silent_for(client, 12.0)
    assert len(questions(actions)) == 2
    assert actions[-2:] == [
        ClosePort(FILTERING_PORT),
        NatObserved(Mapping.ENDPOINT_INDEPENDENT, MAPPED, MAPPED, DEPENDENT),
    ]


@pytest.mark.requirement("A16")
def test_silence_is_filtering_only_if_the_other_address_answers_who_asks_itself() -> None:
    client = client_core()
    begun(client)
    assert only(NatObserved, silent_for(client, 12.0)) == [
        NatObserved(Mapping.UNKNOWN, MAPPED, None, Filtering.NOT_SEEN)
    ]


@pytest.mark.requirement("A16")
def test_a_server_that_does_not_know_the_cone_bit_shows_nothing() -> None:
    client = client_core()
    other, cone = begun(client)
    client.receive_on(FILTERING_PORT, cone_answer(cone), PRIMARY_ENDPOINT, 0.1)
    (told,) = only(NatObserved, client.receive(advertisement(other), SECONDARY_ENDPOINT, 0.2))
    assert told.filtering is Filtering.NOT_SEEN


@pytest.mark.requirement("A16", "C8")
def test_what_else_comes_to_the_port_is_dropped() -> None:
    client = client_core()
    other, cone = begun(client)
    datagrams = [cone_answer(other), cone_answer(bytes(8)), advertisement(cone), emit_bubble(PEER, PEER), b""]
    for datagram in datagrams:
        assert client.receive_on(FILTERING_PORT, datagram, SECONDARY_ENDPOINT, 0.1) == []
    assert client.receive_on(FILTERING_PORT, cone_answer(cone), PEER_MAPPED, 0.1) == []
    assert client.receive(cone_answer(cone), SECONDARY_ENDPOINT, 0.1) == []
    assert client.drops.total() == len(datagrams) + 2
    assert client.receive_on(FILTERING_PORT, cone_answer(cone), SECONDARY_ENDPOINT, 0.2) == [ClosePort(FILTERING_PORT)]


@pytest.mark.requirement("A16")
def test_what_was_seen_counts_as_long_as_the_mapping() -> None:
    client = client_core()
    _, cone = begun(client)
    client.receive_on(FILTERING_PORT, cone_answer(cone), SECONDARY_ENDPOINT, 0.1)
    again = qualify(client, client.start(1.0), 1.1)
    assert only(OpenPort, again) == []
    (other,) = questions(again, PRIMARY, SECONDARY_ENDPOINT)
    (told,) = only(NatObserved, client.receive(advertisement(other), SECONDARY_ENDPOINT, 1.2))
    assert told.filtering is INDEPENDENT
    begun(client, 2.0, ELSEWHERE)


@pytest.mark.requirement("A16")
def test_a_probe_never_outlives_the_address() -> None:
    client = client_core()
    begun(client)
    assert ClosePort(FILTERING_PORT) in client.stop(1.0)
    assert client.deadline is None


@pytest.mark.requirement("A16", "C14")
def test_a_strict_client_does_not_wait_for_it() -> None:
    client = client_core(strict=True)
    (other,) = questions(qualify(client, client.start(0.0), 0.0), PRIMARY, SECONDARY_ENDPOINT)
    qualified = client.receive(advertisement(other), SECONDARY_ENDPOINT, 0.1)
    assert [type(each) for each in qualified] == [Qualified, OpenPort, SendDatagram]
    (cone,) = questions(qualified)
    told = client.receive_on(FILTERING_PORT, cone_answer(cone), SECONDARY_ENDPOINT, 0.2)
    assert told[1:] == [NatObserved(Mapping.ENDPOINT_INDEPENDENT, MAPPED, MAPPED, INDEPENDENT)]


@pytest.mark.requirement("A16", "C9")
def test_the_answer_is_authenticated_like_any_other() -> None:
    credential = Credential(b"client-7", b"correct horse battery staple")
    client = client_core(credential=credential)

    def answer(nonce: bytes, to: IPv6) -> bytes:
        packet = parse_encapsulation(advertisement(None, None, destination=to)).packet
        return credential.protect(nonce, KEY_VALID, packet, MAPPED)

    qualified = client.receive(answer(asked(client.start(0.0)), CLIENT_LINK_LOCAL), PRIMARY_ENDPOINT, 0.0)
    (cone,) = questions(qualified)
    assert client.receive_on(FILTERING_PORT, cone_answer(cone), SECONDARY_ENDPOINT, 0.1) == []
    assert client.drops == {Drop.BAD_AUTHENTICATION: 1}
    proved = answer(cone, CONE_LINK_LOCAL)
    assert client.receive_on(FILTERING_PORT, proved, SECONDARY_ENDPOINT, 0.2) == [ClosePort(FILTERING_PORT)]
