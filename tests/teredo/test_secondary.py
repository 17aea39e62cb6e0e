# SPDX-License-Identifier: MIT
"""The secondary address of a server tells, in the background, what the NAT in front of a client does."""

from collections.abc import Sequence

import pytest

from miredo.teredo.actions import (
    Action,
    Mapping,
    NatObserved,
    Qualified,
)
from miredo.teredo.drops import Drop
from miredo.teredo.qualification import Server
from tests.teredo.cores import (
    ELSEWHERE,
    MAPPED,
    OTHER_SERVER,
    PRIMARY_ENDPOINT,
    SECONDARY_ENDPOINT,
    SERVER,
    advertisement,
    asked,
    client_core,
    only,
    qualified_client,
    qualify,
    refreshed_at,
    sent,
    solicitation_nonce,
    solicitations,
)


def probed(actions: Sequence[Action]) -> bytes:
    """The nonce of the solicitation to the secondary server address."""
    ((datagram, _),) = [(datagram, to) for datagram, to in sent(actions) if to == SECONDARY_ENDPOINT]
    return solicitation_nonce(datagram)


@pytest.mark.requirement("C12", "C14", "A16")
def test_the_secondary_is_asked_in_the_background() -> None:
    client = client_core()
    actions = qualify(client, client.start(0.0), 0.1)
    assert client.address is not None
    nonce = probed(actions)
    assert client.receive(advertisement(nonce), SECONDARY_ENDPOINT, 0.2) == [
        NatObserved(Mapping.ENDPOINT_INDEPENDENT, MAPPED, MAPPED)
    ]


@pytest.mark.requirement("C12", "C13", "A16")
def test_another_mapping_for_the_secondary_is_reported_and_the_client_stays_qualified() -> None:
    client = client_core()
    nonce = probed(qualify(client, client.start(0.0), 0.1))
    address = client.address
    assert client.receive(advertisement(nonce, ELSEWHERE), SECONDARY_ENDPOINT, 0.2) == [
        NatObserved(Mapping.DESTINATION_DEPENDENT, MAPPED, ELSEWHERE)
    ]
    assert client.address == address is not None


@pytest.mark.requirement("C14", "A7", "A16")
def test_a_silent_secondary_is_asked_three_times_and_the_mapping_stays_unknown() -> None:
    client = client_core()
    qualify(client, client.start(0.0), 0.0)
    assert solicitations(client, 11.9) == [(4.0, SECONDARY_ENDPOINT), (8.0, SECONDARY_ENDPOINT)]
    assert client.expire(12.0) == [NatObserved(Mapping.UNKNOWN, MAPPED, None)]
    assert client.address is not None
    assert [to for _, to in solicitations(client, 29.9)][:1] == [PRIMARY_ENDPOINT]


@pytest.mark.requirement("C12", "A12")
def test_the_answer_to_the_probe_counts_from_the_secondary_alone_and_once() -> None:
    client = client_core()
    nonce = probed(qualify(client, client.start(0.0), 0.0))
    assert client.receive(advertisement(nonce), PRIMARY_ENDPOINT, 0.1) == []
    assert client.receive(advertisement(bytes(8)), SECONDARY_ENDPOINT, 0.1) == []
    assert len(client.receive(advertisement(nonce), SECONDARY_ENDPOINT, 0.2)) == 1
    assert client.receive(advertisement(nonce, ELSEWHERE), SECONDARY_ENDPOINT, 0.3) == []
    assert client.drops == {Drop.WRONG_NONCE: 3}


@pytest.mark.requirement("C12", "C61")
def test_a_new_mapping_is_probed_anew() -> None:
    client = qualified_client().core
    now = refreshed_at(client)
    nonce = probed(qualify(client, client.expire(now), now, ELSEWHERE))
    assert client.receive(advertisement(nonce, ELSEWHERE), SECONDARY_ENDPOINT, now) == [
        NatObserved(Mapping.ENDPOINT_INDEPENDENT, ELSEWHERE, ELSEWHERE)
    ]


@pytest.mark.requirement("C12", "C62")
def test_an_event_while_the_secondary_is_asked_does_not_leave_the_mapping_untold() -> None:
    client = client_core()
    qualify(client, client.start(0.0), 0.0)
    again = qualify(client, client.start(1.0), 1.1)
    assert only(Qualified, again) == []
    nonce = probed(again)
    assert client.receive(advertisement(nonce), SECONDARY_ENDPOINT, 1.2) == [
        NatObserved(Mapping.ENDPOINT_INDEPENDENT, MAPPED, MAPPED)
    ]


@pytest.mark.requirement("C14")
def test_a_probe_never_outlives_the_address() -> None:
    client = client_core()
    qualify(client, client.start(0.0), 0.0)
    client.stop(1.0)
    assert client.deadline is None


@pytest.mark.requirement("C1")
def test_primary_and_secondary_need_not_be_neighbours() -> None:
    far = Server(SERVER.primary, OTHER_SERVER.secondary)
    client = client_core(servers=[far])
    nonce = asked(client.start(0.0))
    actions = client.receive(advertisement(nonce), PRIMARY_ENDPOINT, 0.0)
    assert sent(actions)[-1][1] == OTHER_SERVER.secondary + b"\x0d\xd8"
