# SPDX-License-Identifier: MIT
"""How a client gets and keeps its address: rounds and rests, what counts as an answer, refreshing."""

import itertools

import pytest

from miredo.address.endpoint import Endpoint, parse_ipv4
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import (
    ALL_ROUTERS,
    CLIENT_LINK_LOCAL,
    LEGACY_PREFIX,
    RANDOM_BITS,
    SERVICE_PREFIX,
    flags_of,
    has_cone_bit,
    mapped_of,
    server_of,
)
from miredo.teredo.actions import (
    AllLost,
    Qualified,
    SendDatagram,
    ServerSilent,
    Unqualified,
)
from miredo.teredo.client import Client
from miredo.teredo.drops import Drop
from miredo.teredo.qualification import Idle, Resting, Server
from miredo.wire.bubble import emit_bubble
from miredo.wire.encapsulation import parse_encapsulation
from miredo.wire.icmpv6 import (
    EchoReply,
    OtherICMPv6,
    RouterSolicitation,
    check_router_solicitation,
    emit_icmpv6_body,
    parse_icmpv6,
    teredo_router_advertisement,
)
from miredo.wire.ipv6 import parse_ipv6
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
    expire_until,
    indirect,
    only,
    qualified_client,
    qualify,
    refreshed_at,
    rolled,
    sent,
    solicitation_nonce,
    solicitations,
)
from tests.wire.vectors import CLIENT_B, MAPPED_B, VECTORS

ADVERTISEMENT = teredo_router_advertisement(SERVICE_PREFIX + SERVER.primary)


# ---------------------------------------------------------------- asking


@pytest.mark.requirement("C4", "C5", "C7", "A8")
def test_a_client_begins_with_a_solicitation_without_the_cone_bit() -> None:
    client = client_core()
    assert client.deadline is None
    ((datagram, to),) = sent(client.start(0.0))
    assert to == PRIMARY_ENDPOINT
    encapsulated = parse_encapsulation(datagram)
    packet, rest = parse_ipv6(encapsulated.packet)
    assert (packet.source, packet.destination, rest) == (CLIENT_LINK_LOCAL, ALL_ROUTERS, b"")
    assert not has_cone_bit(packet.source)
    assert check_router_solicitation(packet, parse_icmpv6(packet)) == RouterSolicitation()
    assert (encapsulated.origin, encapsulated.trailers) == (None, b"")


@pytest.mark.requirement("C7", "C9")
def test_a_solicitation_is_that_of_the_vectors() -> None:
    ((datagram, _),) = sent(client_core().start(0.0))
    nonce = solicitation_nonce(datagram)
    assert datagram.replace(nonce, bytes.fromhex("0123456789abcdef")) == VECTORS["rs_vista_auth"]


@pytest.mark.requirement("C15", "A7")
def test_a_silent_server_is_asked_three_times_then_less_often() -> None:
    client = client_core()
    assert len(sent(client.start(0.0))) == 1
    assert len(sent(client.expire(4.0))) == 1
    assert len(sent(client.expire(8.0))) == 1
    assert client.expire(12.0) == [ServerSilent(PRIMARY_ENDPOINT)]
    resting = client.qualification.state
    assert isinstance(resting, Resting)
    assert 16.0 <= resting.until <= 20.0
    assert client.expire(resting.until - 0.01) == []
    assert len(sent(client.expire(resting.until))) == 1


@pytest.mark.requirement("C15", "A7")
def test_every_round_has_three_solicitations_4_s_apart() -> None:
    client = client_core()
    client.start(0.0)
    times = [0.0, *(time for time, _ in solicitations(client, 300.0))]
    for first, second, third in zip(times[0::3], times[1::3], times[2::3], strict=False):
        assert (second - first, third - second) == pytest.approx((4.0, 4.0))


@pytest.mark.requirement("C9", "A12", "T14")
def test_each_solicitation_has_a_nonce_of_its_own() -> None:
    client = client_core()
    nonces = [asked(client.start(0.0)), asked(client.expire(4.0)), asked(client.expire(8.0))]
    assert len(set(nonces)) == 3


@pytest.mark.requirement("C15")
def test_rests_are_short_for_ten_minutes_and_then_double_up_to_100_s() -> None:
    client = client_core()
    client.start(0.0)
    times = [0.0, *(time for time, _ in solicitations(client, 3600.0))]
    rests = [(before, after - before) for before, after in itertools.pairwise(times)]
    rests = [(start, pause) for start, pause in rests if pause > 4.5]
    short = [pause for start, pause in rests if start + 4.0 <= 600.0]
    assert all(8.0 <= pause <= 12.0 for pause in short)
    assert len(short) >= 600 // 24
    assert max(short) - min(short) > 1.0
    long = [pause for start, pause in rests if start + 4.0 > 600.0]
    for before, after in itertools.pairwise(long):
        assert after == pytest.approx(min(2 * before, 100.0))
    assert long[-1] == 100.0


@pytest.mark.requirement("C15")
def test_rests_of_two_clients_differ() -> None:
    """Else a thousand clients of one server would all ask it in the same second."""
    untils = set()
    for seed in range(5):
        client = client_core(seed=seed)
        client.start(0.0)
        expire_until(client, 12.0)
        untils.add(client.deadline)
    assert len(untils) == 5


@pytest.mark.requirement("C15", "C62")
def test_an_event_ends_a_rest_and_the_ten_minutes_begin_anew() -> None:
    client = client_core()
    client.start(0.0)
    expire_until(client, 2000.0)
    while not isinstance(client.qualification.state, Resting):
        expire_until(client, client.deadline or 0.0)
    now = client.qualification.state.until - 50.0
    assert len(sent(client.start(now))) == 1
    times = [time for time, _ in solicitations(client, now + 600.0)]
    assert max(after - before for before, after in itertools.pairwise(times)) <= 12.0


@pytest.mark.requirement("C15", "C62")
def test_an_event_during_a_round_begins_the_round_anew() -> None:
    """The link came back just before the third loss: that is no reason to rest."""
    client = client_core()
    client.start(0.0)
    expire_until(client, 11.0)
    first = asked(client.start(11.0))
    assert [time for time, _ in solicitations(client, 20.0)] == [15.0, 19.0]
    assert client.receive(advertisement(first), PRIMARY_ENDPOINT, 20.0) == []
    assert client.drops == {Drop.WRONG_NONCE: 1}


@pytest.mark.requirement("C1", "C15")
def test_several_servers_are_tried_in_turn_before_the_rest() -> None:
    client = client_core(servers=[SERVER, OTHER_SERVER])
    client.start(0.0)
    assert solicitations(client, 23.9) == [
        (4.0, PRIMARY_ENDPOINT),
        (8.0, PRIMARY_ENDPOINT),
        (12.0, OTHER_ENDPOINT),
        (16.0, OTHER_ENDPOINT),
        (20.0, OTHER_ENDPOINT),
    ]
    assert client.expire(24.0) == [ServerSilent(OTHER_ENDPOINT)]
    assert isinstance(client.qualification.state, Resting)
    ((_, to),) = sent(client.expire(client.qualification.state.until))
    assert to == PRIMARY_ENDPOINT


@pytest.mark.requirement("C1", "C15")
def test_servers_are_tried_in_their_order_of_preference() -> None:
    third = Server(parse_ipv4("203.0.113.200"), parse_ipv4("203.0.113.201"))
    client = client_core(servers=[SERVER, OTHER_SERVER, third])
    client.start(0.0)
    asked_in_turn = list(dict.fromkeys(to[:4] for _, to in solicitations(client, 60.0)))
    assert asked_in_turn == [SERVER.primary, OTHER_SERVER.primary, third.primary]


@pytest.mark.requirement("C1", "C8")
def test_the_second_server_gives_an_address_of_its_own() -> None:
    client = client_core(servers=[SERVER, OTHER_SERVER])
    client.start(0.0)
    nonce = asked(only(SendDatagram, expire_until(client, 12.0))[-1:])
    late = advertisement(nonce, server=OTHER_SERVER.primary)
    (qualified,) = only(Qualified, client.receive(late, OTHER_ENDPOINT, 12.5))
    assert server_of(qualified.address) == OTHER_SERVER.primary
    assert qualified.server == OTHER_ENDPOINT


@pytest.mark.requirement("C15")
def test_a_server_that_falls_silent_is_followed_by_each_of_the_others_before_a_rest() -> None:
    client = client_core(servers=[SERVER, OTHER_SERVER])
    client.start(0.0)
    nonce = asked(only(SendDatagram, expire_until(client, 12.0))[-1:])
    client.receive(advertisement(nonce, server=OTHER_SERVER.primary), OTHER_ENDPOINT, 12.5)
    asked_after = [(time, to) for time, to in solicitations(client, 80.0) if time > 30.0]
    turn = next(index for index, (_, to) in enumerate(asked_after) if to == PRIMARY_ENDPOINT)
    assert [to for _, to in asked_after[:turn]] == [OTHER_ENDPOINT] * 3
    assert asked_after[turn][0] - asked_after[turn - 1][0] == pytest.approx(4.0)


# ---------------------------------------------------------------- the answer


@pytest.mark.requirement("C8", "C14", "C16", "E1", "C19")
def test_the_first_valid_advertisement_gives_the_address() -> None:
    client = client_core()
    actions = qualify(client, client.start(0.0), 0.1)
    (qualified,) = only(Qualified, actions)
    assert (qualified.mtu, qualified.mapped, qualified.server) == (1280, MAPPED, PRIMARY_ENDPOINT)
    address = qualified.address
    assert (address[:4], server_of(address), mapped_of(address)) == (SERVICE_PREFIX, SERVER.primary, MAPPED)
    assert client.address == address


@pytest.mark.requirement("C5", "C16", "T29")
def test_a_client_address_has_twelve_random_flag_bits_and_no_other() -> None:
    seen_ones, seen_zeros = 0, 0
    for seed in range(100):
        client = client_core(seed=seed)
        (qualified,) = only(Qualified, qualify(client, client.start(0.0), 0.1))
        seen_ones |= flags_of(qualified.address)
        seen_zeros |= ~flags_of(qualified.address)
    assert seen_ones == RANDOM_BITS == 0x3CFF
    assert seen_zeros & RANDOM_BITS == RANDOM_BITS


TWO_PREFIXES = ADVERTISEMENT._replace(prefixes=ADVERTISEMENT.prefixes * 2)
NO_PREFIX = ADVERTISEMENT._replace(prefixes=())
LEGACY = teredo_router_advertisement(LEGACY_PREFIX + SERVER.primary)
FOREIGN = teredo_router_advertisement(SERVICE_PREFIX + OTHER_SERVER.primary)
SHORT = ADVERTISEMENT._replace(prefixes=(ADVERTISEMENT.prefixes[0]._replace(length=32),))
GLOBAL_SOURCE = bytes.fromhex("20010db8") + bytes(12)


def _answers(nonce: bytes) -> dict[str, bytes]:
    """Answers that are wrong in one thing each, all with the right nonce."""
    right = advertisement(nonce)
    with_code = OtherICMPv6(134, 1, emit_icmpv6_body(ADVERTISEMENT)[4:])
    return {
        "no origin indication": advertisement(nonce, None),
        "hop limit 254": advertisement(nonce, hop_limit=254),
        "wrong checksum": right[:-1] + bytes([right[-1] ^ 1]),
        "code 1": advertisement(nonce, message=with_code),
        "source not link-local": advertisement(nonce, source=GLOBAL_SOURCE),
        "two prefix options": advertisement(nonce, message=TWO_PREFIXES),
        "no prefix option": advertisement(nonce, message=NO_PREFIX),
        "prefix of another server": advertisement(nonce, message=FOREIGN),
        "prefix of 32 bits": advertisement(nonce, message=SHORT),
        "another message": advertisement(nonce, message=EchoReply(1, 1, b"")),
    }


@pytest.mark.requirement("C8")
def test_the_prefix_of_the_drafts_stands_for_the_service_prefix() -> None:
    """Microsoft's servers advertised it for a time; the address is composed with the RFC's all the same."""
    client = client_core()
    nonce = asked(client.start(0.0))
    (qualified,) = only(Qualified, client.receive(advertisement(nonce, message=LEGACY), PRIMARY_ENDPOINT, 0.1))
    assert qualified.address.startswith(SERVICE_PREFIX + SERVER.primary)


@pytest.mark.requirement("C8")
@pytest.mark.parametrize("wrong", list(_answers(bytes(8))))
def test_an_advertisement_that_is_wrong_in_one_thing_is_ignored(wrong: str) -> None:
    client = client_core()
    nonce = asked(client.start(0.0))
    assert client.receive(_answers(nonce)[wrong], PRIMARY_ENDPOINT, 0.1) == []
    assert client.drops == {Drop.BAD_ADVERTISEMENT: 1}
    assert client.address is None
    assert only(Qualified, client.receive(advertisement(nonce), PRIMARY_ENDPOINT, 0.2))


@pytest.mark.requirement("C8")
def test_an_advertisement_for_another_link_local_address_is_ignored() -> None:
    client = client_core()
    nonce = asked(client.start(0.0))
    other = VECTORS["lla_client_xp"]
    assert client.receive(advertisement(nonce, destination=other), PRIMARY_ENDPOINT, 0.1) == []
    assert client.address is None


@pytest.mark.requirement("C9", "A12", "T14")
@pytest.mark.parametrize("nonce", [None, bytes(8), b"\xff" * 8])
def test_an_advertisement_without_our_nonce_is_ignored(nonce: bytes | None) -> None:
    client = client_core()
    client.start(0.0)
    assert client.receive(advertisement(nonce), PRIMARY_ENDPOINT, 0.1) == []
    assert client.drops == {Drop.WRONG_NONCE: 1}
    assert client.address is None


@pytest.mark.requirement("C19", "A12")
@pytest.mark.parametrize("outer", [PRIMARY_ENDPOINT[:4] + b"\x0d\xd9", OTHER_ENDPOINT, ELSEWHERE])
def test_an_advertisement_from_elsewhere_is_ignored(outer: Endpoint) -> None:
    client = client_core()
    nonce = asked(client.start(0.0))
    assert client.receive(advertisement(nonce), outer, 0.1) == []
    assert client.address is None
    assert only(Qualified, client.receive(advertisement(nonce), PRIMARY_ENDPOINT, 0.2))


@pytest.mark.requirement("C9")
def test_the_nonce_of_an_earlier_solicitation_no_longer_counts() -> None:
    client = client_core()
    first = asked(client.start(0.0))
    client.expire(4.0)
    assert client.receive(advertisement(first), PRIMARY_ENDPOINT, 4.1) == []
    assert client.drops == {Drop.WRONG_NONCE: 1}


@pytest.mark.requirement("C9", "C61")
def test_a_replayed_advertisement_changes_nothing() -> None:
    client = client_core()
    nonce = asked(client.start(0.0))
    client.receive(advertisement(nonce), PRIMARY_ENDPOINT, 0.1)
    before = client.qualification.state, client.address
    assert client.receive(advertisement(nonce), PRIMARY_ENDPOINT, 5.0) == []
    assert client.receive(advertisement(nonce, ELSEWHERE), PRIMARY_ENDPOINT, 5.0) == []
    assert (client.qualification.state, client.address) == before
    assert client.drops == {Drop.WRONG_NONCE: 2}


def test_an_advertisement_with_trailers_that_demand_it_is_discarded() -> None:
    client = client_core()
    nonce = asked(client.start(0.0))
    assert client.receive(advertisement(nonce) + b"\x41\x00", PRIMARY_ENDPOINT, 0.1) == []
    assert client.drops == {Drop.TRAILER_DISCARDS: 1}


@pytest.mark.requirement("E1")
@pytest.mark.parametrize(
    ("advertised", "used"),
    [
        (None, 1280),
        (0, 1280),
        (1279, 1280),
        (1280, 1280),
        (1400, 1400),
        (65507, 65507),
        (65508, 1280),
        (2**32 - 1, 1280),
    ],
)
def test_the_mtu_is_1280_unless_a_possible_one_is_advertised(advertised: int | None, used: int) -> None:
    client = client_core()
    message = ADVERTISEMENT._replace(mtu=advertised)
    nonce = asked(client.start(0.0))
    (qualified,) = only(Qualified, client.receive(advertisement(nonce, message=message), PRIMARY_ENDPOINT, 0.1))
    assert qualified.mtu == used


# ---------------------------------------------------------------- keeping the address


@pytest.mark.requirement("C60")
def test_the_refresh_comes_after_75_to_100_percent_of_the_interval() -> None:
    pauses: list[float] = []
    client = qualified_client().core
    for _ in range(200):
        now = refreshed_at(client)
        assert qualify(client, client.expire(now), now) == []
        pauses.append(refreshed_at(client) - now)
    assert all(22.5 <= pause <= 30.0 for pause in pauses)
    assert min(pauses) < 23.0
    assert max(pauses) > 29.5


@pytest.mark.requirement("C60")
def test_the_interval_can_be_set() -> None:
    client = Client([SERVER], IPv4Scope(), rolled(), refresh_interval=100.0)
    qualify(client, client.start(0.0), 0.0)
    assert 75.0 <= refreshed_at(client) <= 100.0


@pytest.mark.requirement("C22", "C60")
def test_a_packet_of_the_server_puts_the_refresh_off() -> None:
    client = qualified_client()
    assert refreshed_at(client.core) <= 30.0
    bubble = indirect(CLIENT_B, client.address, MAPPED_B)
    client.core.receive(bubble, PRIMARY_ENDPOINT, 20.0)
    assert refreshed_at(client.core) >= 42.5


@pytest.mark.requirement("C60")
def test_a_packet_of_the_secondary_address_keeps_no_mapping_alive_that_matters() -> None:
    client = qualified_client()
    expected = refreshed_at(client.core)
    bubble = indirect(CLIENT_B, client.address, MAPPED_B)
    client.core.receive(bubble, SECONDARY_ENDPOINT, 20.0)
    assert refreshed_at(client.core) == expected


@pytest.mark.requirement("C60")
def test_a_packet_of_anybody_else_puts_nothing_off() -> None:
    client = qualified_client()
    before = refreshed_at(client.core)
    client.core.receive(indirect(CLIENT_B, client.address, MAPPED_B), ELSEWHERE, 20.0)
    assert refreshed_at(client.core) == before


@pytest.mark.requirement("C16", "C60", "C61")
def test_a_refresh_that_changes_nothing_is_not_news() -> None:
    client = qualified_client()
    now = refreshed_at(client.core)
    refresh = client.core.expire(now)
    assert client.core.address == client.address
    assert qualify(client.core, refresh, now + 0.1) == []
    assert client.core.address == client.address


@pytest.mark.requirement("C16", "C61")
def test_another_mapping_makes_another_address_with_fresh_bits() -> None:
    client = qualified_client()
    now = refreshed_at(client.core)
    actions = qualify(client.core, client.core.expire(now), now, ELSEWHERE)
    (qualified,) = only(Qualified, actions)
    assert mapped_of(qualified.address) == ELSEWHERE
    assert flags_of(qualified.address) != flags_of(client.address)
    assert client.core.address == qualified.address


@pytest.mark.requirement("C61")
def test_another_mapping_ends_all_trust_before_the_new_address_is_used() -> None:
    client = qualified_client()
    client.core.receive(emit_bubble(CLIENT_B, client.address), MAPPED_B, 1.0)
    assert len(client.core.peers) == 1
    now = refreshed_at(client.core)
    actions = qualify(client.core, client.core.expire(now), now, ELSEWHERE)
    kinds = [type(action) for action in actions]
    assert kinds.index(AllLost) < kinds.index(Qualified)
    assert len(client.core.peers) == 0


@pytest.mark.requirement("C60", "C15")
def test_the_address_stays_in_use_until_three_solicitations_were_lost() -> None:
    client = qualified_client()
    now = refreshed_at(client.core)
    assert [time for time, _ in solicitations(client.core, now + 11.9)] == [now, now + 4.0, now + 8.0]
    assert client.core.address == client.address
    assert client.core.expire(now + 12.0) == [
        ServerSilent(PRIMARY_ENDPOINT),
        Unqualified(client.address, "no reply from the server"),
    ]
    assert client.core.address is None


@pytest.mark.requirement("C15")
def test_a_lost_server_is_followed_by_the_next_one_at_once() -> None:
    client = client_core(servers=[SERVER, OTHER_SERVER])
    qualify(client, client.start(0.0), 0.0)
    now = refreshed_at(client)
    actions = expire_until(client, now + 12.0)
    assert sent(actions)[-1][1] == OTHER_ENDPOINT


@pytest.mark.requirement("C62")
def test_an_event_makes_a_holder_ask_at_once_and_keep_its_address() -> None:
    client = qualified_client()
    actions = client.core.start(5.0)
    assert [to for _, to in sent(actions)] == [PRIMARY_ENDPOINT]
    assert client.core.address == client.address
    assert qualify(client.core, actions, 5.1) == []
    assert client.core.address == client.address


@pytest.mark.requirement("C62")
def test_resuming_drops_trust_and_solicits_at_once() -> None:
    client = qualified_client()
    client.core.receive(emit_bubble(CLIENT_B, client.address), MAPPED_B, 1.0)
    actions = client.core.resumed(1000.0)
    assert actions[0] == AllLost()
    assert [to for _, to in sent(actions)] == [PRIMARY_ENDPOINT]
    assert len(client.core.peers) == 0


def test_stopping_gives_the_address_up_and_leaves_no_deadline() -> None:
    client = qualified_client()
    assert client.core.stop(1.0) == [Unqualified(client.address, "stopped")]
    assert (client.core.deadline, client.core.address) == (None, None)
    assert client.core.qualification.state == Idle()
    assert client.core.expire(1000.0) == []
    assert client.core.stop(2.0) == []


def test_stopping_while_asking_says_nothing() -> None:
    client = client_core()
    client.start(0.0)
    assert client.stop(1.0) == []
    assert client.deadline is None


def test_an_answer_to_a_stopped_client_is_ignored() -> None:
    client = client_core()
    nonce = asked(client.start(0.0))
    client.stop(0.1)
    assert client.receive(advertisement(nonce), PRIMARY_ENDPOINT, 0.2) == []
    assert client.address is None


@pytest.mark.requirement("C16", "E1")
def test_another_mtu_is_news_and_keeps_the_address() -> None:
    client = qualified_client()
    now = refreshed_at(client.core)
    nonce = asked(client.core.expire(now))
    wider = advertisement(nonce, message=ADVERTISEMENT._replace(mtu=1400))
    (qualified,) = only(Qualified, client.core.receive(wider, PRIMARY_ENDPOINT, now))
    assert (qualified.address, qualified.mtu) == (client.address, 1400)


@pytest.mark.requirement("C61")
def test_what_was_learned_under_an_address_lives_as_long_as_the_address() -> None:
    client = qualified_client()
    now = refreshed_at(client.core)
    client.core.peers.trust(CLIENT_B, MAPPED_B, now)
    wider = advertisement(asked(client.core.expire(now)), message=ADVERTISEMENT._replace(mtu=1400))
    assert only(AllLost, client.core.receive(wider, PRIMARY_ENDPOINT, now)) == []
    assert client.core.peers.egress(CLIENT_B, now) == MAPPED_B


def test_a_client_without_a_server_waits_until_one_is_known() -> None:
    client = client_core(servers=[])
    assert (client.start(0.0), client.resumed(1.0), client.deadline) == ([], [], None)
    assert client.receive(advertisement(bytes(8)), PRIMARY_ENDPOINT, 1.0) == []
    client.qualification.use_servers([SERVER])
    assert only(Qualified, qualify(client, client.start(2.0), 2.1))


def test_an_address_stays_in_use_when_its_server_is_still_in_the_list() -> None:
    client = qualified_client()
    client.core.peers.trust(CLIENT_B, MAPPED_B, 1.0)
    client.core.qualification.use_servers([OTHER_SERVER, SERVER])
    actions = client.core.start(1.0)
    assert (only(Unqualified, actions), only(AllLost, actions)) == ([], [])
    assert [to for _, to in sent(actions)] == [PRIMARY_ENDPOINT]
    assert only(Qualified, client.core.receive(advertisement(asked(actions)), PRIMARY_ENDPOINT, 1.1)) == []
    assert (client.core.address, client.core.qualification.server) == (client.address, SERVER)
    assert client.core.peers.egress(CLIENT_B, 1.2) == MAPPED_B


def test_a_server_with_another_second_address_is_still_the_server_of_its_address() -> None:
    client = qualified_client()
    moved = Server(SERVER.primary, OTHER_SERVER.secondary)
    client.core.qualification.use_servers([moved])
    assert only(Unqualified, client.core.start(1.0)) == []
    assert (client.core.address, client.core.qualification.server) == (client.address, moved)


def test_an_address_is_given_up_with_all_that_was_learned_under_it_when_its_server_is_replaced() -> None:
    client = qualified_client()
    client.core.peers.trust(CLIENT_B, MAPPED_B, 1.0)
    client.core.qualification.use_servers([OTHER_SERVER])
    actions = client.core.start(1.0)
    assert only(Unqualified, actions) == [Unqualified(client.address, "its server is no longer to be used")]
    assert only(AllLost, actions) == [AllLost()]
    assert client.core.peers.egress(CLIENT_B, 1.0) is None
    assert [to for _, to in sent(actions)] == [OTHER_ENDPOINT]
    answer = advertisement(asked(actions), server=OTHER_SERVER.primary)
    (qualified,) = only(Qualified, client.core.receive(answer, OTHER_ENDPOINT, 1.1))
    assert server_of(qualified.address) == OTHER_SERVER.primary


def test_an_answer_to_what_was_asked_before_the_servers_were_replaced_is_ignored() -> None:
    client = client_core(servers=[OTHER_SERVER, SERVER])
    nonces = [solicitation_nonce(datagram) for datagram, _ in sent(client.start(0.0))]
    client.qualification.use_servers([SERVER])
    for nonce in nonces:
        for outer, server in ((PRIMARY_ENDPOINT, SERVER), (OTHER_ENDPOINT, OTHER_SERVER)):
            assert client.receive(advertisement(nonce, server=server.primary), outer, 0.1) == []
    assert only(Qualified, qualify(client, client.start(0.2), 0.3))


def test_servers_that_are_replaced_during_a_rest_are_asked_at_once() -> None:
    client = client_core()
    client.start(0.0)
    expire_until(client, 13.0)
    assert isinstance(client.qualification.state, Resting)
    client.qualification.use_servers([OTHER_SERVER])
    assert [to for _, to in sent(client.start(13.0))] == [OTHER_ENDPOINT]


def test_servers_that_are_replaced_while_stopped_are_asked_at_the_next_start() -> None:
    client = qualified_client()
    client.core.stop(1.0)
    client.core.qualification.use_servers([OTHER_SERVER])
    assert only(Unqualified, actions := client.core.start(2.0)) == []
    assert [to for _, to in sent(actions)] == [OTHER_ENDPOINT]
