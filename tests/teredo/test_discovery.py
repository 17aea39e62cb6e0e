# SPDX-License-Identifier: MIT
"""Neighbours: discovery bubbles, and what they are worth (RFC 4380 5.2.8, 5.2.3 cases 4 and 5, 5.2.4 case 3)."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from miredo.address.endpoint import Endpoint, IPv6, endpoint, ipv4_of, parse_endpoint, parse_ipv4
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import ALL_NODES, ALL_ROUTERS, CLIENT_LINK_LOCAL, compose, mapped_of
from miredo.teredo.actions import Action, AllLost, PeerTrusted, SendDatagram, SendToGroup
from miredo.teredo.constants import (
    ATTEMPT_INTERVAL,
    DISCOVERY_HIGH,
    DISCOVERY_LOW,
    DISCOVERY_SPACING,
    NEIGHBOUR_VALIDITY,
)
from miredo.teredo.discovery import ANSWER_BURST, ANSWER_RATE, HOST_LIMIT, NEIGHBOUR_LIMIT, Subnet
from miredo.teredo.drops import Drop
from miredo.wire.bubble import emit_bubble
from miredo.wire.encapsulation import emit_nonce_authentication, emit_origin
from tests.teredo.cores import (
    MAPPED,
    NATIVE,
    OTHER_ENDPOINT,
    OTHER_SERVER,
    PEER,
    PEER_MAPPED,
    PRIMARY_ENDPOINT,
    QualifiedClient,
    client_core,
    data,
    indirect,
    only,
    qualified_client,
    sent,
    with_nonce,
)

SUBNET = Subnet(parse_ipv4("192.168.1.2"), 24)
LOCAL = parse_endpoint("192.168.1.3:40000")
"""Where the neighbour sends from."""
ELSEWHERE = parse_endpoint("192.168.1.4:40000")
NEIGHBOUR = compose(OTHER_SERVER.primary, endpoint(ipv4_of(MAPPED), 8192), 0x1234)
"""A client behind the NAT that the client is behind, of another server."""


def attached(at: float = 0.0, *, accept_strangers: bool = True) -> QualifiedClient:
    """A client on a LAN; what it says at first is said a minute earlier."""
    client = qualified_client(at=at - 60.0, accept_strangers=accept_strangers)
    client.core.attached([SUBNET], at - 60.0)
    return client


def discovery(source: IPv6 = NEIGHBOUR) -> bytes:
    return emit_bubble(source, ALL_NODES, hop_limit=1)


def met(now: float = 0.0) -> QualifiedClient:
    """A client that has heard of its neighbour."""
    client = attached(now)
    client.core.discovered(discovery(), LOCAL, now)
    return client


def groups(actions: Sequence[Action]) -> int:
    return len(only(SendToGroup, actions))


# ------------------------------------------------------------ what is said


@pytest.mark.requirement("C70")
def test_a_client_says_that_it_is_there_when_it_gets_its_address_and_when_a_link_comes() -> None:
    client = qualified_client()
    bubble = SendToGroup(emit_bubble(client.address, ALL_NODES, hop_limit=1))
    assert client.core.attached([SUBNET], 1.0) == [bubble]
    assert client.core.attached([SUBNET], 3.0) == []
    assert client.core.attached([SUBNET, Subnet(parse_ipv4("10.0.0.1"), 8)], 5.0) == [bubble]


@pytest.mark.requirement("C70")
def test_discovery_bubbles_are_200_to_300_s_apart() -> None:
    client = qualified_client()
    client.core.attached([SUBNET], 0.0)
    said = []
    while client.core.deadline is not None and client.core.deadline < 100_000.0:
        now = client.core.deadline
        said += groups(client.expire_until(now)) * [now]
    apart = [after - before for before, after in pairwise(said)]
    assert len(apart) > 300
    assert DISCOVERY_LOW <= min(apart) < 210.0
    assert 290.0 < max(apart) <= DISCOVERY_HIGH


def test_without_a_link_nothing_is_said() -> None:
    client = qualified_client()
    assert groups(client.expire_until(1000.0)) == 0


def test_a_client_without_an_address_says_nothing() -> None:
    core = client_core()
    assert core.attached([SUBNET], 0.0) == []
    core.start(0.0)
    assert groups(core.expire(4.0)) == 0


def test_a_client_that_lost_its_address_says_nothing_more() -> None:
    client = attached()
    client.core.stop(1.0)
    assert client.core.deadline is None
    assert (client.core.expire(1000.0), len(client.core.discovery)) == ([], 0)


def test_links_that_go_end_it() -> None:
    client = met()
    client.core.attached([], 1.0)
    assert len(client.core.discovery) == 0
    assert groups(client.expire_until(1000.0)) == 0


def test_many_lookings_for_neighbours_lead_to_one_discovery_bubble_a_second() -> None:
    client = attached()
    said = 0
    for number in range(1000):
        now = number / 100
        absent = compose(OTHER_SERVER.primary, endpoint(ipv4_of(MAPPED), 1000 + number), 0)
        said += groups(client.core.transmit(data(client.address, absent), now)) + groups(client.expire_until(now))
    assert 8 <= said <= 10.0 / DISCOVERY_SPACING + 1


# ------------------------------------------------------------ what is heard


@pytest.mark.requirement("C26", "C72", "C73")
def test_a_new_neighbour_gets_to_know_us_and_then_has_its_answer() -> None:
    client = attached()
    assert client.core.discovered(discovery(), LOCAL, 0.0) == [
        SendToGroup(emit_bubble(client.address, ALL_NODES, hop_limit=1)),
        SendDatagram(emit_bubble(client.address, NEIGHBOUR), LOCAL),
    ]
    ((address, where),) = [(each.address, each.endpoint) for each in client.core.discovery]
    assert (address, where) == (NEIGHBOUR, LOCAL)
    assert client.dropped == {}


@pytest.mark.requirement("C26", "C73")
def test_a_known_neighbour_has_an_answer_and_no_more() -> None:
    client = met()
    assert client.core.discovered(discovery(), LOCAL, 250.0) == [
        SendDatagram(emit_bubble(client.address, NEIGHBOUR), LOCAL)
    ]


@pytest.mark.requirement("C26", "C72")
def test_a_neighbour_is_not_trusted_by_its_discovery_bubble() -> None:
    client = met()
    assert client.core.peers.get(NEIGHBOUR) is None
    actions = client.core.transmit(data(client.address, NEIGHBOUR), 3.0)
    assert all(payload == emit_bubble(client.address, NEIGHBOUR) for payload, _ in sent(actions))


@pytest.mark.requirement("C72")
def test_a_later_discovery_bubble_moves_its_neighbour() -> None:
    client = met()
    client.core.discovered(discovery(), ELSEWHERE, 10.0)
    assert [each.endpoint for each in client.core.discovery] == [ELSEWHERE]
    assert not client.trusts(NEIGHBOUR, LOCAL, 11.0)
    assert client.trusts(NEIGHBOUR, ELSEWHERE, 11.0)


BAD: dict[str, tuple[Callable[[QualifiedClient], bytes], Endpoint, Drop]] = {
    "another subnet": (lambda client: discovery(), parse_endpoint("192.168.2.3:40000"), Drop.OFF_SUBNET),
    "the Internet": (lambda client: discovery(), PEER_MAPPED, Drop.OFF_SUBNET),
    "ourselves": (lambda client: discovery(), parse_endpoint("192.168.1.2:40000"), Drop.OFF_SUBNET),
    "the broadcast address": (lambda client: discovery(), parse_endpoint("192.168.1.255:40000"), Drop.OFF_SUBNET),
    "the address of the subnet": (lambda client: discovery(), parse_endpoint("192.168.1.0:40000"), Drop.OFF_SUBNET),
    "behind another NAT": (lambda client: discovery(PEER), LOCAL, Drop.OTHER_NAT),
    "a native source": (lambda client: discovery(NATIVE), LOCAL, Drop.NOT_A_DISCOVERY),
    "a link-local source": (lambda client: discovery(CLIENT_LINK_LOCAL), LOCAL, Drop.NOT_A_DISCOVERY),
    "our own address": (lambda client: discovery(client.address), LOCAL, Drop.OWN_ADDRESS),
    "to us": (lambda client: emit_bubble(NEIGHBOUR, client.address), LOCAL, Drop.NOT_A_DISCOVERY),
    "to all routers": (lambda client: emit_bubble(NEIGHBOUR, ALL_ROUTERS), LOCAL, Drop.NOT_A_DISCOVERY),
    "data": (lambda client: data(NEIGHBOUR, ALL_NODES), LOCAL, Drop.NOT_A_DISCOVERY),
    "an origin": (lambda client: emit_origin(LOCAL) + discovery(), LOCAL, Drop.UNEXPECTED_HEADER),
    "an authentication": (
        lambda client: emit_nonce_authentication(bytes(8)) + discovery(),
        LOCAL,
        Drop.UNEXPECTED_HEADER,
    ),
    "cut short": (lambda client: discovery()[:-1], LOCAL, Drop.MALFORMED),
    "nothing": (lambda client: b"", LOCAL, Drop.MALFORMED),
}


@pytest.mark.requirement("T26", "C71", "A6")
@pytest.mark.parametrize("what", BAD)
def test_what_is_no_discovery_bubble_of_a_neighbour_is_dropped_in_silence(what: str) -> None:
    make, outer, reason = BAD[what]
    client = attached()
    assert client.core.discovered(make(client), outer, 0.0) == []
    assert client.dropped == {reason: 1}
    assert len(client.core.discovery) == 0


@pytest.mark.requirement("T26", "C71")
@pytest.mark.parametrize("outer", [LOCAL, PEER_MAPPED, OTHER_ENDPOINT])
def test_a_discovery_bubble_that_comes_by_unicast_is_dropped_in_silence(outer: Endpoint) -> None:
    client = attached()
    assert client.core.receive(discovery(), outer, 0.0) == []
    assert client.dropped == {Drop.NO_TRANSIT: 1}
    assert len(client.core.discovery) == 0


def test_before_it_has_an_address_and_without_a_link_a_client_has_no_neighbours() -> None:
    core = client_core()
    core.attached([SUBNET], 0.0)
    assert core.discovered(discovery(), LOCAL, 0.0) == []
    client = qualified_client()
    assert client.core.discovered(discovery(), LOCAL, 0.0) == []
    assert (core.drops[Drop.NOT_QUALIFIED], client.dropped) == (1, {Drop.OFF_SUBNET: 1})


@pytest.mark.requirement("T13")
def test_a_client_that_takes_no_strangers_answers_only_the_neighbour_that_its_host_sends_to() -> None:
    client = attached(accept_strangers=False)
    assert client.core.discovered(discovery(), LOCAL, 0.0) == []
    assert client.core.receive(emit_bubble(NEIGHBOUR, client.address), LOCAL, 0.1) == []
    assert client.dropped == {Drop.UNSOLICITED: 2}
    client.core.transmit(data(client.address, NEIGHBOUR), 1.0)
    assert client.trusts(NEIGHBOUR, LOCAL, 1.1)


# ------------------------------------------------------------ trust


@pytest.mark.requirement("C27")
def test_a_bubble_from_the_local_endpoint_makes_its_neighbour_trusted_and_is_answered_once() -> None:
    client = met()
    bubble = emit_bubble(NEIGHBOUR, client.address)
    packet = data(client.address, NEIGHBOUR)
    client.core.transmit(packet, 2.0)
    assert client.core.receive(bubble, LOCAL, 2.1) == [
        PeerTrusted(NEIGHBOUR, LOCAL),
        SendDatagram(packet, LOCAL),
        SendDatagram(emit_bubble(client.address, NEIGHBOUR), LOCAL),
    ]
    assert client.core.receive(bubble, LOCAL, 4.0) == []
    assert client.dropped == {}


@pytest.mark.requirement("C27")
def test_data_from_the_local_endpoint_is_accepted_and_from_another_private_one_is_not() -> None:
    client = met()
    assert not client.trusts(NEIGHBOUR, ELSEWHERE, 1.0)
    assert not client.trusts(PEER, LOCAL, 1.0)
    assert client.trusts(NEIGHBOUR, LOCAL, 1.0)
    assert client.dropped == {Drop.FORBIDDEN_IPV4: 2}


@pytest.mark.requirement("A14")
def test_a_local_endpoint_needs_no_nonce_although_one_was_sent() -> None:
    client = attached()
    actions = client.core.transmit(data(client.address, NEIGHBOUR), 0.0)
    assert OTHER_ENDPOINT in [to for _, to in sent(actions)], "it is asked for its nonce"
    client.core.discovered(discovery(), LOCAL, 0.1)
    plain = client.core.receive(emit_bubble(NEIGHBOUR, client.address), LOCAL, 0.2)
    assert PeerTrusted(NEIGHBOUR, LOCAL) in plain


@pytest.mark.requirement("A14")
def test_a_false_nonce_does_not_harm_a_neighbour() -> None:
    client = met()
    bubble = with_nonce(emit_bubble(NEIGHBOUR, client.address), b"nonc")
    assert PeerTrusted(NEIGHBOUR, LOCAL) in client.core.receive(bubble, LOCAL, 0.2)


def test_other_links_end_the_trust_in_local_endpoints() -> None:
    """The same private endpoint may be anybody's there."""
    client = met()
    assert client.trusts(NEIGHBOUR, LOCAL, 1.0)
    assert client.core.attached([Subnet(parse_ipv4("192.168.1.77"), 24)], 2.0)[0] == AllLost()
    assert not client.trusts(NEIGHBOUR, LOCAL, 3.0)


def test_a_private_address_that_a_peer_only_names_is_as_forbidden_as_ever() -> None:
    client = attached()
    named = compose(OTHER_SERVER.primary, LOCAL, 0)
    assert client.core.transmit(data(client.address, named), 1.0) == []
    assert client.core.discovered(discovery(named), LOCAL, 1.0) == []
    assert client.dropped == {Drop.FORBIDDEN_IPV4: 1, Drop.OTHER_NAT: 1}


# ------------------------------------------------------------ sending to a neighbour


@pytest.mark.requirement("C42")
def test_a_packet_for_a_neighbour_waits_for_a_local_bubble_and_one_to_the_group() -> None:
    client = met()
    assert client.core.transmit(data(client.address, NEIGHBOUR), 3.0) == [
        SendToGroup(emit_bubble(client.address, ALL_NODES, hop_limit=1)),
        SendDatagram(emit_bubble(client.address, NEIGHBOUR), LOCAL),
    ]


@pytest.mark.requirement("C42")
def test_when_that_is_in_vain_the_ordinary_attempts_are_made_besides() -> None:
    client = met()
    client.core.transmit(data(client.address, NEIGHBOUR), 3.0)
    second = client.expire_until(3.0 + ATTEMPT_INTERVAL)
    assert groups(second) == 1
    assert {to for _, to in sent(second)} >= {LOCAL, mapped_of(NEIGHBOUR), OTHER_ENDPOINT}


@pytest.mark.requirement("A5")
@pytest.mark.parametrize(
    ("now", "at_once", "ways"),
    [
        (30.9, True, {LOCAL}),
        (31.1, False, {LOCAL}),
        (NEIGHBOUR_VALIDITY - 0.1, False, {LOCAL}),
        (NEIGHBOUR_VALIDITY + 0.1, False, {mapped_of(NEIGHBOUR), OTHER_ENDPOINT}),
    ],
)
def test_a_neighbour_is_sent_to_at_once_for_30_s_and_locally_for_600_s(
    now: float, at_once: bool, ways: set[Endpoint]
) -> None:
    client = met()
    assert client.trusts(NEIGHBOUR, LOCAL, 1.0)
    client.expire_until(now)
    packet = data(client.address, NEIGHBOUR)
    actions = client.core.transmit(packet, now)
    assert {to for _, to in sent(actions)} == ways
    assert ((packet, LOCAL) in sent(actions)) is at_once


def test_on_the_gateway_itself_neighbours_are_reached_although_their_mapped_address_is_our_own() -> None:
    client = qualified_client(scope=IPv4Scope(own=[ipv4_of(MAPPED)]))
    client.core.attached([SUBNET], 0.0)
    assert client.core.transmit(data(client.address, NEIGHBOUR), 2.0) == []
    client.core.discovered(discovery(), LOCAL, 3.0)
    actions = [*client.core.transmit(data(client.address, NEIGHBOUR), 5.0), *client.expire_until(12.0)]
    assert {to for payload, to in sent(actions) if payload == emit_bubble(client.address, NEIGHBOUR)} == {LOCAL}
    assert ipv4_of(MAPPED) not in [ipv4_of(to) for _, to in sent(actions)]


def test_a_client_behind_our_nat_is_looked_for_on_our_links_and_any_other_is_not() -> None:
    client = attached()
    assert groups(client.core.transmit(data(client.address, PEER), 3.0)) == 0
    assert groups(client.core.transmit(data(client.address, NEIGHBOUR), 3.0)) == 1


def test_what_a_neighbour_sends_through_its_server_is_answered_on_the_link_too() -> None:
    """Our NAT may not hairpin; the neighbour may not know us."""
    client = met()
    through = indirect(NEIGHBOUR, client.address, mapped_of(NEIGHBOUR))
    actions = client.core.receive(through, PRIMARY_ENDPOINT, 3.0)
    assert groups(actions) == 1
    assert [to for _, to in sent(actions)] == [mapped_of(NEIGHBOUR), LOCAL]


# ------------------------------------------------------------ floods


@pytest.mark.requirement("C47", "T26")
def test_answers_to_one_endpoint_are_a_second_apart_and_four_in_300_s() -> None:
    client = attached()
    answered = [number for number in range(3000) if client.core.discovered(discovery(), LOCAL, number / 10)]
    assert len(answered) == 4
    assert min(after - before for before, after in pairwise(answered)) >= 10


def fake(number: int) -> tuple[IPv6, Endpoint]:
    """Somebody who says that he is there; every eighth from another IPv4 address."""
    address = compose(OTHER_SERVER.primary, endpoint(ipv4_of(MAPPED), 1024 + number), number)
    return address, endpoint(parse_ipv4("192.168.1.0")[:3] + bytes([10 + number // HOST_LIMIT % 240]), 1024 + number)


@pytest.mark.requirement("T26", "C49")
def test_a_flood_of_false_neighbours_is_bounded_and_drives_out_nobody_who_is_trusted() -> None:
    client = met()
    assert client.trusts(NEIGHBOUR, LOCAL, 0.1)
    answers = 0
    for number in range(5000):
        source, outer = fake(number)
        answers += len(sent(client.core.discovered(discovery(source), outer, 1.0 + number / 1000)))
    assert len(client.core.discovery) == NEIGHBOUR_LIMIT
    assert answers <= ANSWER_BURST + 5.0 * ANSWER_RATE
    assert client.core.discovery.matches(NEIGHBOUR, LOCAL)
    assert client.trusts(NEIGHBOUR, LOCAL, 7.0)


@pytest.mark.requirement("T26")
def test_one_host_has_room_for_eight() -> None:
    client = met()
    for number in range(100):
        source = compose(OTHER_SERVER.primary, endpoint(ipv4_of(MAPPED), 1024 + number), number)
        client.core.discovered(discovery(source), endpoint(ipv4_of(ELSEWHERE), 1024 + number), 1.0)
    assert len(client.core.discovery) == 1 + HOST_LIMIT
    assert client.core.discovery.matches(NEIGHBOUR, LOCAL)


def trusted_neighbours(client: QualifiedClient, count: int) -> None:
    for number in range(count):
        source, outer = fake(number)
        client.core.discovered(discovery(source), outer, 1.0)
        client.core.receive(emit_bubble(source, client.address), outer, 1.0)


def test_where_all_room_is_for_trusted_neighbours_nobody_else_becomes_one() -> None:
    client = attached()
    trusted_neighbours(client, NEIGHBOUR_LIMIT)
    assert client.core.discovered(discovery(), LOCAL, 2.0) == []
    assert client.dropped[Drop.NEIGHBOURS_FULL] == 1
    assert not client.core.discovery.matches(NEIGHBOUR, LOCAL)


def test_neighbours_who_are_gone_are_forgotten() -> None:
    client = met()
    client.expire_until(NEIGHBOUR_VALIDITY + DISCOVERY_HIGH)
    assert len(client.core.discovery) == 0


@pytest.mark.parametrize(
    ("own", "prefix_length", "ipv4", "holds"),
    [
        ("10.1.2.3", 8, "10.255.0.1", True),
        ("10.1.2.3", 8, "11.0.0.1", False),
        ("10.1.2.3", 8, "10.255.255.255", False),
        ("10.1.2.3", 8, "10.0.0.0", False),
        ("192.168.1.1", 30, "192.168.1.2", True),
        ("192.168.1.1", 30, "192.168.1.3", False),
        ("192.168.1.1", 30, "192.168.1.5", False),
        ("192.168.1.1", 24, "192.168.1.1", False),
        ("192.168.1.0", 31, "192.168.1.1", False),
        ("192.168.1.1", 32, "192.168.1.2", False),
    ],
)
def test_a_subnet_knows_its_hosts(own: str, prefix_length: int, ipv4: str, holds: bool) -> None:
    assert Subnet(parse_ipv4(own), prefix_length).has_host(parse_ipv4(ipv4)) is holds
