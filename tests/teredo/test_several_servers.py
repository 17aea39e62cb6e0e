# SPDX-License-Identifier: MIT
"""Several servers at once, the strict order of RFC 4380, and solicitations out of suspicion."""

from itertools import pairwise

import pytest

from miredo.address.teredo import server_of
from miredo.teredo.actions import Mapping, NatObserved, Qualified, SendDatagram, ServerSilent, Unqualified
from miredo.teredo.client import Client
from miredo.teredo.constants import SUSPICION_SPACING
from miredo.teredo.drops import Drop
from miredo.teredo.qualification import Resting
from tests.teredo.cores import (
    ELSEWHERE,
    MAPPED,
    OTHER_ENDPOINT,
    OTHER_SERVER,
    PRIMARY_ENDPOINT,
    SECONDARY_ENDPOINT,
    SERVER,
    advertisement,
    asked,
    client_core,
    dropped,
    expire_until,
    only,
    qualified_client,
    qualify,
    sent,
    solicitation_nonce,
)


def both() -> Client:
    return client_core(servers=[SERVER, OTHER_SERVER], in_order=False)


def nonces(actions: list[SendDatagram]) -> dict[bytes, bytes]:
    """The nonce that each server was given."""
    return {action.to: solicitation_nonce(action.payload) for action in actions}


# ---------------------------------------------------------------- all at once


@pytest.mark.requirement("C1")
def test_all_servers_are_solicited_at_once_with_a_nonce_each() -> None:
    given = nonces(only(SendDatagram, both().start(0.0)))
    assert set(given) == {PRIMARY_ENDPOINT, OTHER_ENDPOINT}
    assert len(set(given.values())) == 2


@pytest.mark.requirement("C1", "C8")
@pytest.mark.parametrize("server", [SERVER, OTHER_SERVER])
def test_the_first_to_answer_has_the_client(server: tuple[bytes, bytes]) -> None:
    client = both()
    given = nonces(only(SendDatagram, client.start(0.0)))
    outer = server[0] + PRIMARY_ENDPOINT[4:]
    actions = client.receive(advertisement(given[outer], server=server[0]), outer, 0.1)
    (qualified,) = only(Qualified, actions)
    assert (server_of(qualified.address), qualified.server) == (server[0], outer)
    ((_, probed),) = sent(actions)
    assert probed[:4] == server[1]
    late = OTHER_ENDPOINT if outer == PRIMARY_ENDPOINT else PRIMARY_ENDPOINT
    assert client.receive(advertisement(given[late], server=late[:4]), late, 0.2) == []
    assert client.address == qualified.address


@pytest.mark.requirement("C9", "A12")
def test_a_server_cannot_answer_for_another() -> None:
    client = both()
    given = nonces(only(SendDatagram, client.start(0.0)))
    for nonce, server, outer in (
        (given[PRIMARY_ENDPOINT], SERVER, OTHER_ENDPOINT),
        (given[PRIMARY_ENDPOINT], OTHER_SERVER, OTHER_ENDPOINT),
        (given[OTHER_ENDPOINT], SERVER, OTHER_ENDPOINT),
    ):
        assert client.receive(advertisement(nonce, server=server.primary), outer, 0.1) == []
    assert client.address is None
    assert dropped(client) == {Drop.WRONG_NONCE: 2, Drop.BAD_ADVERTISEMENT: 1}


@pytest.mark.requirement("C15")
def test_when_all_are_silent_all_are_told_and_there_is_one_rest() -> None:
    client = both()
    client.start(0.0)
    actions = expire_until(client, 12.0)
    assert [action.server for action in only(ServerSilent, actions)] == [PRIMARY_ENDPOINT, OTHER_ENDPOINT]
    assert len(sent(actions)) == 4
    assert isinstance(client.qualification.state, Resting)


@pytest.mark.requirement("C15", "C60")
def test_a_server_that_falls_silent_is_followed_at_once_by_the_fastest_of_all() -> None:
    client = both()
    given = nonces(only(SendDatagram, client.start(0.0)))
    client.receive(advertisement(given[PRIMARY_ENDPOINT]), PRIMARY_ENDPOINT, 0.0)
    actions = expire_until(client, 43.0)
    assert only(Unqualified, actions) != []
    latest = nonces(only(SendDatagram, actions)[-2:])
    (qualified,) = only(
        Qualified,
        client.receive(advertisement(latest[OTHER_ENDPOINT], server=OTHER_SERVER.primary), OTHER_ENDPOINT, 43.0),
    )
    assert server_of(qualified.address) == OTHER_SERVER.primary


def test_only_the_server_that_has_the_client_is_refreshed() -> None:
    client = both()
    given = nonces(only(SendDatagram, client.start(0.0)))
    ((probe, _),) = sent(client.receive(advertisement(given[PRIMARY_ENDPOINT]), PRIMARY_ENDPOINT, 0.0))
    client.receive(advertisement(solicitation_nonce(probe)), SECONDARY_ENDPOINT, 0.0)
    deadline = client.deadline
    assert deadline is not None
    assert [to for _, to in sent(client.expire(deadline))] == [PRIMARY_ENDPOINT]


# ---------------------------------------------------------------- strict


@pytest.mark.requirement("C14", "C12")
def test_strictly_there_is_no_address_before_the_secondary_has_answered() -> None:
    client = client_core(strict=True)
    actions = qualify(client, client.start(0.0), 0.1)
    assert (only(Qualified, actions), client.address) == ([], None)
    (probe,) = only(SendDatagram, actions)
    assert probe.to == SECONDARY_ENDPOINT
    answer = client.receive(advertisement(solicitation_nonce(probe.payload)), SECONDARY_ENDPOINT, 0.2)
    (qualified,) = only(Qualified, answer)
    assert only(NatObserved, answer) == [NatObserved(Mapping.ENDPOINT_INDEPENDENT, MAPPED, MAPPED)]
    assert client.address == qualified.address


@pytest.mark.requirement("C14", "C13")
def test_strictly_a_symmetric_nat_is_no_hindrance_either() -> None:
    client = client_core(strict=True)
    (probe,) = only(SendDatagram, qualify(client, client.start(0.0), 0.1))
    answer = client.receive(advertisement(solicitation_nonce(probe.payload), ELSEWHERE), SECONDARY_ENDPOINT, 0.2)
    assert only(NatObserved, answer) == [NatObserved(Mapping.DESTINATION_DEPENDENT, MAPPED, ELSEWHERE)]
    assert client.address is not None


@pytest.mark.requirement("C14")
def test_strictly_without_an_answer_of_the_secondary_the_service_is_not_usable() -> None:
    client = client_core(strict=True)
    qualify(client, client.start(0.0), 0.1)
    actions = expire_until(client, 12.1)
    assert [to for _, to in sent(actions)] == [SECONDARY_ENDPOINT] * 2
    assert only(ServerSilent, actions) != []
    assert (client.address, only(Qualified, actions)) == (None, [])
    assert isinstance(client.qualification.state, Resting)


@pytest.mark.requirement("C14")
def test_strictly_a_late_answer_of_the_secondary_is_in_time() -> None:
    client = client_core(strict=True)
    qualify(client, client.start(0.0), 0.1)
    nonce = asked(only(SendDatagram, expire_until(client, 8.2))[-1:])
    assert only(Qualified, client.receive(advertisement(nonce), SECONDARY_ENDPOINT, 9.0)) != []


# ---------------------------------------------------------------- suspicion


@pytest.mark.requirement("C62")
def test_suspicion_solicits_at_once_and_again_5_s_later_at_the_earliest() -> None:
    client = qualified_client().core
    times = []
    for tenth in range(10, 200):
        now = tenth / 10
        for datagram, to in sent(client.qualification.suspect(now)):
            times.append(now)
            client.receive(advertisement(solicitation_nonce(datagram)), to, now)
    assert times[0] == 1.0
    assert {round(later - earlier, 6) for earlier, later in pairwise(times)} == {SUSPICION_SPACING}


@pytest.mark.requirement("C62")
def test_suspicion_finds_a_new_mapping_and_keeps_an_old_one() -> None:
    client = qualified_client()
    (same,) = sent(client.core.qualification.suspect(1.0))
    assert client.core.receive(advertisement(solicitation_nonce(same[0])), PRIMARY_ENDPOINT, 1.1) == []
    (other,) = sent(client.core.qualification.suspect(7.0))
    changed = client.core.receive(advertisement(solicitation_nonce(other[0]), ELSEWHERE), PRIMARY_ENDPOINT, 7.1)
    assert [event.mapped for event in only(Qualified, changed)] == [ELSEWHERE]


def test_nothing_is_suspected_without_an_address_or_while_the_server_is_being_asked() -> None:
    client = client_core()
    assert client.qualification.suspect(0.0) == []
    client.start(0.0)
    assert client.qualification.suspect(1.0) == []
