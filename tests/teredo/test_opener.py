# SPDX-License-Identifier: MIT
"""The first direct bubble to a client has a TTL that ends before it arrives."""

import pytest

from miredo.address.endpoint import IPv4, IPv6, ipv4_of, parse_ipv4
from miredo.address.scope import IPv4Scope
from miredo.teredo.actions import Action, SendDatagram
from miredo.teredo.client import ATTEMPT_BURST
from miredo.teredo.constants import ATTEMPT_WINDOW
from tests.teredo.cores import (
    MAPPED,
    NATIVE,
    NONCE,
    OTHER_ENDPOINT,
    PEER,
    PEER_MAPPED,
    PRIMARY_ENDPOINT,
    QualifiedClient,
    bubble_to,
    data,
    indirect,
    only,
    qualified_client,
    with_nonce,
)

OWN = ipv4_of(MAPPED)
INSIDE = parse_ipv4("192.168.1.2")


def client_at(*own: IPv4, bubble_ttl: int = 2) -> QualifiedClient:
    """A client whose host has these addresses."""
    return qualified_client(scope=IPv4Scope(own=own), bubble_ttl=bubble_ttl)


def direct_ttls(actions: list[Action]) -> list[int | None]:
    return [each.ttl for each in only(SendDatagram, actions) if each.to == PEER_MAPPED]


def tried(client: QualifiedClient, peer: IPv6 = PEER, now: float = 1.0) -> list[Action]:
    """What a packet of the host asks for."""
    return client.core.transmit(data(client.address, peer), now)


@pytest.mark.requirement("C44a")
@pytest.mark.parametrize(
    ("own", "bubble_ttl", "first"),
    [
        ([INSIDE], 2, 2),
        ([INSIDE], 3, 3),
        ([INSIDE, OWN], 2, 1),
        ([OWN], 3, 1),
        ([INSIDE], 0, None),
        ([OWN], 0, None),
    ],
    ids=["behind a NAT", "behind two", "without a NAT", "without, and an option", "off", "without, and off"],
)
def test_the_first_of_four_attempts_is_not_to_arrive(own: list[IPv4], bubble_ttl: int, first: int | None) -> None:
    client = client_at(*own, bubble_ttl=bubble_ttl)
    actions = tried(client) + [action for now in (3.25, 5.5, 7.75) for action in client.core.expire(now)]
    assert direct_ttls(actions) == [first, None, None, None]


@pytest.mark.requirement("C44a")
def test_what_goes_through_a_server_has_its_whole_ttl() -> None:
    client = client_at(INSIDE)
    (through,) = [each for each in only(SendDatagram, tried(client)) if each.to == OTHER_ENDPOINT]
    (test,) = [each for each in only(SendDatagram, tried(client, NATIVE)) if each.to == PRIMARY_ENDPOINT]
    assert (through.ttl, test.ttl) == (None, None)


@pytest.mark.requirement("C44a")
def test_an_answer_to_an_indirect_bubble_is_to_arrive() -> None:
    client = client_at(INSIDE)
    answer = client.core.receive(indirect(PEER, client.address, PEER_MAPPED, NONCE), PRIMARY_ENDPOINT, 1.0)
    assert direct_ttls(answer) == [None]


def test_data_for_who_answered_is_to_arrive() -> None:
    client = client_at(INSIDE)
    tried(client)
    assert direct_ttls(client.core.receive(bubble_to(client), PEER_MAPPED, 1.1)) == [None]
    assert direct_ttls(tried(client, now=1.2)) == [None]


def test_a_peer_that_is_tried_again_after_its_pause_is_opened_again() -> None:
    client = client_at(INSIDE)
    tried(client)
    client.expire_until(ATTEMPT_WINDOW + 2)
    assert direct_ttls(tried(client, now=ATTEMPT_WINDOW + 3)) == [2]


def test_the_first_bubble_that_leaves_is_the_one_when_attempts_had_to_wait() -> None:
    """An attempt that the bucket kept back has opened nothing."""
    client = client_at(INSIDE)
    client.befriend(NATIVE, 1.0)
    for number in range(2, int(ATTEMPT_BURST) + 1):
        tried(client, bytes([*NATIVE[:12], *number.to_bytes(4, "big")]))
    assert direct_ttls(tried(client)) == []
    assert direct_ttls(client.expire_until(3.25)) == [2]


@pytest.mark.requirement("C44a")
def test_addresses_that_change_make_another_choice() -> None:
    """A client that gets the public address itself, as when a modem becomes a bridge, has no NAT any more."""
    scope = IPv4Scope(own=[INSIDE])
    client = qualified_client(scope=scope)
    scope.attached([OWN], [])
    assert direct_ttls(tried(client)) == [1]


def test_a_nonce_is_asked_back_at_the_first_attempt_too() -> None:
    """So a peer behind a NAT that maps by destination is found at once, as before."""
    client = client_at(INSIDE)
    (through,) = [each for each in only(SendDatagram, tried(client)) if each.to == OTHER_ENDPOINT]
    answer = with_nonce(bubble_to(client), through.payload[-4:])
    elsewhere = bytes([*PEER_MAPPED[:4], 0x11, 0x22])
    assert elsewhere in [each.to for each in only(SendDatagram, client.core.receive(answer, elsewhere, 1.1))]
