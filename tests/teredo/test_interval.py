# SPDX-License-Identifier: MIT
"""How long a client may be silent is found out on a second port, and then it is as silent as that."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.scope import IPv4Scope
from miredo.lab.links import Link
from miredo.lab.nat import LINUX_MASQUERADE, Filtering, Mapping, NatBehaviour, PortAssignment
from miredo.teredo.actions import (
    FILTERING_PORT,
    PRIMARY,
    SECONDARY,
    Action,
    ClosePort,
    OpenPort,
    Qualified,
    RefreshDetermined,
    SendDatagram,
    Unqualified,
)
from miredo.teredo.client import Client
from miredo.teredo.constants import LONGEST_REFRESH_INTERVAL, SETTLED_LIFE
from miredo.teredo.drops import Drop
from miredo.teredo.recording import parse_recording, replay
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.ipv6 import destination_of, source_of
from tests.recorded import recorded_worlds
from tests.teredo.cores import (
    ELSEWHERE,
    MAPPED,
    PEER_MAPPED,
    PRIMARY_ENDPOINT,
    SERVER,
    advertisement,
    only,
    rolled,
    solicitation_nonce,
)
from tests.world import Lab, WatchedWorld, nat_of

pytestmark = pytest.mark.untraced

HOUR = 3600.0
FOUND = {20.0: 30.0, 35.0: 30.0, 50.0: 45.0, 70.0: 60.0, 100.0: 90.0, 300.0: 90.0}
"""What comes out, by how long the NAT remembers."""


def lab(behaviour: NatBehaviour, *, longest: float | None = LONGEST_REFRESH_INTERVAL, link: Link | None = None) -> Lab:
    """A client behind a NAT that was started just now and looks for its refresh interval."""
    world = WatchedWorld(7, link or Link(delay=0.02))
    server = world.server("203.0.113.1", "203.0.113.2")
    relay, host = world.relay("203.0.113.3"), world.host("2001:db8::1")
    client = world.client("198.51.100.7", server, behaviour, longest_interval=longest)
    client.start()
    return Lab(world, server, relay, host, client)


def find(client: Lab, seconds: float = 600.0) -> float | None:
    client.world.run_until(lambda: client.client.refresh_interval is not None, seconds)
    return client.client.refresh_interval


def solicitations(client: Lab, seconds: float) -> int:
    """How many leave the service port in that time."""
    client.world.forget(client.client)
    client.world.run(seconds)
    sent = only(SendDatagram, client.client.actions)
    return len([each for each in sent if each.payload.startswith(b"\0\1") and each.via == PRIMARY])


# ------------------------------------------------------------------ behind NATs


@pytest.mark.requirement("C63", "C64")
@pytest.mark.parametrize("inbound", [False, True], ids=["refreshed from inside", "refreshed from both sides"])
@pytest.mark.parametrize(("lifetime", "interval"), FOUND.items())
def test_the_interval_is_the_longest_that_was_seen_to_do(lifetime: float, interval: float, inbound: bool) -> None:
    behind = lab(NatBehaviour(lifetime=lifetime, inbound_refresh=inbound))
    assert find(behind) == interval
    assert behind.world.now < 300
    assert behind.client.open_ports == {PRIMARY}


@pytest.mark.requirement("C63")
@pytest.mark.parametrize("mapping", Mapping)
@pytest.mark.parametrize("filtering", Filtering)
def test_it_is_found_behind_every_kind_of_nat(mapping: Mapping, filtering: Filtering) -> None:
    assert find(lab(NatBehaviour(mapping, filtering, lifetime=70.0))) == 60.0


@pytest.mark.requirement("C63")
@pytest.mark.parametrize(("lifetime", "interval"), [(50.0, 45.0), (70.0, 60.0), (100.0, 90.0), (300.0, 90.0)])
def test_the_address_is_kept_for_a_day_with_fewer_solicitations(lifetime: float, interval: float) -> None:
    """30 s are 3600 / (30 * 0.875) = 137 an hour, for the interval is drawn between 75 and 100 % of it (C60)."""
    usual = lab(NatBehaviour(lifetime=lifetime, ports=PortAssignment.RANDOM), longest=None)
    searching = lab(NatBehaviour(lifetime=lifetime, ports=PortAssignment.RANDOM))
    find(searching)
    with_it, without = solicitations(searching, 24 * HOUR) / 24, solicitations(usual, 24 * HOUR) / 24
    assert without == pytest.approx(HOUR / (30.0 * 0.875), rel=0.02)
    assert with_it == pytest.approx(HOUR / (interval * 0.875), rel=0.02)
    assert [each for each in searching.client.actions if isinstance(each, (Qualified, Unqualified))] == []


@pytest.mark.requirement("C63")
def test_a_nat_that_forgets_sooner_than_the_shortest_interval_ends_the_search() -> None:
    """Each refresh has another mapping then; and that for ever."""
    behind = lab(NatBehaviour(lifetime=20.0, ports=PortAssignment.RANDOM))
    behind.world.run(HOUR)
    assert len(only(Qualified, behind.client.actions)) > 100
    assert len(only(OpenPort, behind.client.actions)) == 1
    assert behind.client.open_ports == {PRIMARY}


@pytest.mark.requirement("C63")
def test_it_is_found_behind_linux_masquerade_too() -> None:
    assert LINUX_MASQUERADE.lifetime > 90.0
    assert find(lab(LINUX_MASQUERADE)) == 90.0


@pytest.mark.requirement("C63")
def test_the_secondary_port_serves_nothing_else() -> None:
    behind = lab(NatBehaviour())
    find(behind)
    assert behind.answered(behind.ping())
    behind.world.run(HOUR)
    sent = [each for each in only(SendDatagram, behind.client.actions) if each.via == SECONDARY]
    assert {each.to for each in sent} == {behind.server.addresses[PRIMARY] + b"\x0d\xd8"}
    assert [each.payload[:2] for each in sent] == [b"\0\1", b"\0\1"]  # solicitations: before 60 s, and before 90 s


@pytest.mark.requirement("C63")
def test_links_that_lose_packets_make_the_interval_shorter_and_never_longer_than_the_nat_allows() -> None:
    for seed in range(5):
        behind = lab(NatBehaviour(lifetime=70.0), link=Link(delay=0.02, loss=0.05 * seed))
        assert (find(behind) or 30.0) in (30.0, 37.5, 45.0, 60.0)


def test_a_search_is_had_again_from_its_middle() -> None:
    """From a recording whose beginning was overwritten."""
    with recorded_worlds(limit=8000) as recorders:
        behind = lab(NatBehaviour(lifetime=70.0))
        find(behind)
        recording = next(parse_recording(each.contents()) for each in recorders if each.role == "client")
    assert recording.inputs[0].at > 60.0
    again = list(replay(recording))
    assert [each.difference for each in again] == [None] * len(again)
    assert "receive_on" in {each.recorded.name for each in again}


# ------------------------------------------------------------------ what puts it back


@pytest.mark.requirement("C63")
def test_a_mapping_that_is_lost_after_an_hour_begins_a_new_search() -> None:
    behind = lab(NatBehaviour(ports=PortAssignment.RANDOM))
    assert find(behind) == 90.0
    behind.world.run(SETTLED_LIFE)
    behind.world.forget(behind.client)
    nat_of(behind.client).reboot()
    behind.world.run(400)
    assert len(only(Qualified, behind.client.actions)) == 1
    assert [each.interval for each in only(RefreshDetermined, behind.client.actions)] == [30.0, 90.0]


@pytest.mark.requirement("C63")
def test_a_mapping_that_is_lost_sooner_is_put_down_to_the_interval() -> None:
    behind = lab(NatBehaviour(ports=PortAssignment.RANDOM))
    assert find(behind) == 90.0
    behind.world.forget(behind.client)
    nat_of(behind.client).reboot()
    behind.world.run(400)
    assert [each.interval for each in only(RefreshDetermined, behind.client.actions)] == [30.0]
    assert only(OpenPort, behind.client.actions) == []
    assert behind.client.core.qualification.refresh_interval == 30.0


@pytest.mark.requirement("C62", "C63")
@pytest.mark.parametrize("after", [5.0, 100.0, 1000.0], ids=["in the first silence", "in the second", "at the end"])
def test_a_machine_that_wakes_begins_anew(after: float) -> None:
    """The network may be another; and a port that was open is closed first."""
    behind = lab(NatBehaviour())
    behind.world.run(after)
    behind.world.forget(behind.client)
    behind.client.resume()
    behind.client.refresh_interval = None
    assert behind.client.core.qualification.refresh_interval == 30.0
    assert find(behind) == 90.0
    ports = [each for each in behind.client.actions if isinstance(each, (OpenPort, ClosePort))]
    assert all(type(one) is not type(other) for one, other in pairwise(ports))
    assert ports[-2:] == [OpenPort(SECONDARY), ClosePort(SECONDARY)]


@pytest.mark.requirement("C63")
@pytest.mark.parametrize("after", [5.0, 61.0, 100.0])
def test_a_client_that_stops_closes_its_secondary_port(after: float) -> None:
    behind = lab(NatBehaviour(lifetime=35.0))
    behind.world.run(after)
    assert only(ClosePort, behind.client.actions) == []
    behind.client.stop()
    assert behind.client.actions[-2:-1] == [ClosePort(SECONDARY)]
    assert behind.client.core.deadline is None


@pytest.mark.requirement("C63")
def test_an_address_that_is_lost_ends_the_search() -> None:
    behind = lab(NatBehaviour())
    behind.world.run(5.0)
    behind.server.up = False
    assert behind.world.run_until(lambda: behind.client.qualified is None, 60.0)
    assert behind.client.open_ports == {PRIMARY}
    behind.server.up = True
    assert find(behind) == 90.0


def test_who_does_not_ask_for_it_has_no_secondary_port() -> None:
    behind = lab(NatBehaviour(), longest=None)
    behind.world.run(HOUR)
    assert only(OpenPort, behind.client.actions) == []


@pytest.mark.parametrize("interval", [90.0, 120.0])
def test_an_interval_that_is_long_enough_is_not_made_longer(interval: float) -> None:
    client = Client([SERVER], IPv4Scope(), rolled(), refresh_interval=interval, longest_interval=120.0)
    assert only(OpenPort, qualify(client, client.start(0.0), PRIMARY)) == []


# ------------------------------------------------------------------ step by step


@given(st.binary(max_size=120), st.sampled_from([SECONDARY, FILTERING_PORT]), st.sampled_from([0.0, 60.0]))
def test_any_bytes_that_come_to_another_port_are_dropped(datagram: bytes, via: int, at: float) -> None:
    client = searching()
    if at:
        client.bubble(at)
    assert client.core.receive_on(via, datagram, PRIMARY_ENDPOINT, at) == []
    assert client.core.drops.total() == 1


class Searching(NamedTuple):
    """A client whose secondary port has been silent since time 0; it is seen as L{ELSEWHERE}."""

    core: Client
    own: bytes

    def bubble(self, at: float) -> bytes:
        """That which it sends to itself then."""
        ((payload, to, via, _),) = [each for each in sent(self.core.expire(at)) if is_bubble(each.payload)]
        assert (to, via, source_of(payload)) == (PRIMARY_ENDPOINT, PRIMARY, self.own)
        return payload


def sent(actions: list[Action]) -> list[SendDatagram]:
    return only(SendDatagram, actions)


def qualify(client: Client, actions: list[Action], via: int, now: float = 0.0) -> list[Action]:
    """The server answers the solicitation that leaves one of the two ports."""
    (nonce,) = [
        solicitation_nonce(each.payload) for each in sent(actions) if (each.to, each.via) == (PRIMARY_ENDPOINT, via)
    ]
    if via == SECONDARY:
        return client.receive_on(SECONDARY, advertisement(nonce, ELSEWHERE), PRIMARY_ENDPOINT, now)
    return client.receive(advertisement(nonce, MAPPED), PRIMARY_ENDPOINT, now)


def searching() -> Searching:
    client = Client([SERVER], IPv4Scope(), rolled(), longest_interval=120.0)
    actions = qualify(client, client.start(0.0), PRIMARY)
    assert only(OpenPort, actions) == [OpenPort(SECONDARY)]
    assert qualify(client, actions, SECONDARY) == []
    assert client.address is not None
    kept_alive(client, 59.9)
    return Searching(client, client.address)


def kept_alive(client: Client, until: float) -> None:
    """The server answers what comes from the service port; nothing goes through the secondary port."""
    while client.deadline is not None and client.deadline <= until:
        now = client.deadline
        for each in sent(client.expire(now)):
            assert each.via == PRIMARY
            assert not is_bubble(each.payload)
            client.receive(advertisement(solicitation_nonce(each.payload), MAPPED), each.to, now)


@pytest.mark.requirement("C63")
def test_a_bubble_through_the_server_tests_the_mapping_of_the_secondary_port() -> None:
    client = searching()
    bubble = client.bubble(60.0)
    assert destination_of(bubble)[4:8] == SERVER.primary
    actions = client.core.receive_on(SECONDARY, bubble, PRIMARY_ENDPOINT, 60.1)
    assert [(each.to, each.via) for each in sent(actions)] == [(PRIMARY_ENDPOINT, SECONDARY)]  # step 6
    assert client.core.qualification.refresh_interval == 60.0


@pytest.mark.requirement("C63")
@pytest.mark.parametrize("lost_before", [0, 1, 2, 3])
def test_a_bubble_is_repeated_three_times(lost_before: int) -> None:
    client = searching()
    for number in range(lost_before):
        client.bubble(60.0 + 2 * number)
    now = 60.0 + 2 * lost_before
    assert client.core.receive_on(SECONDARY, client.bubble(now), PRIMARY_ENDPOINT, now) != []
    assert client.core.qualification.refresh_interval == 60.0


@pytest.mark.requirement("C63")
def test_four_lost_bubbles_are_a_failure_after_8_seconds() -> None:
    client = searching()
    for at in (60.0, 62.0, 64.0, 66.0):
        late = client.bubble(at)
    (solicitation,) = [each for each in sent(client.core.expire(68.0)) if each.via == SECONDARY]
    assert solicitation.to == PRIMARY_ENDPOINT
    assert client.core.receive_on(SECONDARY, late, PRIMARY_ENDPOINT, 68.1) == []
    assert client.core.qualification.refresh_interval == 30.0


@pytest.mark.requirement("C63")
def test_only_our_own_bubble_from_our_server_counts() -> None:
    client = searching()
    bubble = client.bubble(60.0)
    foreign = emit_bubble(destination_of(bubble), destination_of(bubble))
    data = bubble[:4] + b"\x00\x00\x3a" + bubble[7:]
    for datagram, outer in ((bubble, PEER_MAPPED), (foreign, PRIMARY_ENDPOINT), (data, PRIMARY_ENDPOINT)):
        assert client.core.receive_on(SECONDARY, datagram, outer, 60.1) == []
    assert client.core.drops == {Drop.SECONDARY_PORT: 3}
    assert client.core.qualification.refresh_interval == 30.0


@pytest.mark.requirement("C63")
@pytest.mark.parametrize("noise", [b"", b"\x60", emit_bubble(bytes(16), bytes(16))])
def test_whatever_comes_to_the_secondary_port_begins_the_wait_anew(noise: bytes) -> None:
    """The NAT may have taken it for a sign of life, and remember longer than it does by itself."""
    client = searching()
    assert client.core.receive_on(SECONDARY, noise, PEER_MAPPED, 59.95) == []
    kept_alive(client.core, 119.9)
    client.bubble(119.95)


@pytest.mark.requirement("C63")
def test_a_secondary_port_that_does_not_qualify_leaves_the_interval_as_it_is() -> None:
    client = Client([SERVER], IPv4Scope(), rolled(), longest_interval=120.0)
    qualify(client, client.start(0.0), PRIMARY)
    actions: list[Action] = []
    while client.deadline is not None and client.deadline <= 12.0:
        actions += client.expire(client.deadline)
    assert len([each for each in sent(actions) if each.via == SECONDARY]) == 2
    assert actions[-2:] == [ClosePort(SECONDARY), RefreshDetermined(30.0)]
