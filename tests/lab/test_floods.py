# SPDX-License-Identifier: MIT
"""Floods at a server that has a limit for each source."""

import tracemalloc

import pytest

from miredo.address.endpoint import Endpoint, endpoint, ipv4_of, parse_endpoint, parse_ipv4
from miredo.address.scope import IPv4Scope
from miredo.lab.attachments import Port
from miredo.teredo import buckets
from miredo.teredo.actions import Unqualified
from miredo.teredo.buckets import SourceBuckets
from miredo.teredo.constants import SERVER_BURST, SERVER_SOURCES
from miredo.teredo.drops import Drop
from miredo.teredo.qualification import SOLICITATION
from miredo.teredo.server import Server
from miredo.wire.bubble import emit_bubble
from tests.world import Lab, WatchedWorld, address_of

pytestmark = pytest.mark.untraced

LIMIT = 20
"""Packets a second: less than a provider's NAT would need, so that the tests are fast."""
VICTIM = parse_endpoint("203.0.113.66:4444")
SERVERS = parse_ipv4("192.0.2.1"), parse_ipv4("192.0.2.2")


def lab() -> Lab:
    """A qualified client of a server with a limit."""
    world = WatchedWorld()
    server = world.server("192.0.2.1", "192.0.2.2", rate_limit=LIMIT)
    relay = world.relay("192.0.2.17")
    made = Lab(world, server, relay, world.host("2001:db8:3::1"), world.client("198.51.100.7", server))
    made.client.start()
    made.qualify()
    return made


def flood(world: WatchedWorld, source: Endpoint, datagram: bytes, seconds: int) -> None:
    """Send a thousand a second under that address."""
    sender = Port(world, "flood", lambda payload, outer, to: None)
    to = endpoint(SERVERS[0], 3544)
    for number in range(1000 * seconds):
        world.at(world.now + number / 1000, lambda: sender.send(source, to, datagram))


@pytest.mark.requirement("T5", "S23")
def test_whoever_is_said_to_ask_a_thousand_times_a_second_gets_answers_within_the_limit() -> None:
    made = lab()
    flood(made.world, VICTIM, SOLICITATION, 10)
    made.world.run(10)
    answers = [carried for carried in made.world.carried if carried.to == VICTIM]
    assert LIMIT * 10 <= len(answers) <= LIMIT * (10 + SERVER_BURST)
    assert made.server.core.drops[Drop.RATE_LIMITED] == 10_000 - len(answers)


@pytest.mark.requirement("T25")
def test_a_flood_of_solicitations_leaves_a_qualified_client_its_address() -> None:
    made = lab()
    address = made.address
    flood(made.world, VICTIM, SOLICITATION, 35)
    flood(made.world, VICTIM, b"nonsense", 35)
    made.world.run(33)  # more than a refresh interval
    assert address_of(made.client) == address
    assert not any(isinstance(action, Unqualified) for action in made.client.actions)
    assert made.answered(made.ping())
    assert made.answered(made.ping_back())


@pytest.mark.requirement("S23", "T25")
def test_solicitations_under_a_false_address_do_not_stop_what_its_owner_has_forwarded() -> None:
    made = lab()
    relay = parse_endpoint("192.0.2.17:9999")
    flood(made.world, relay, SOLICITATION, 10)
    made.world.run(5)
    assert made.answered(made.ping_back())


@pytest.mark.requirement("S23")
def test_what_is_forwarded_from_one_source_has_a_limit_and_another_source_has_its_own() -> None:
    made = lab()
    bubble = emit_bubble(made.host.address, made.address)
    flood(made.world, VICTIM, bubble, 10)
    made.world.run(10)
    to_client = [one for one in made.world.carried if one.payload.endswith(bubble) and one.sender == "server"]
    assert LIMIT * 10 <= len(to_client) <= LIMIT * (10 + SERVER_BURST)
    assert made.answered(made.ping_back())


def taken() -> int:
    """Bytes that the buckets, and this test for their keys, have allocated and that are held; others' do not count."""
    own = [tracemalloc.Filter(True, file) for file in (buckets.__file__, __file__)]
    snapshot = tracemalloc.take_snapshot().filter_traces(own)
    return sum(statistic.size for statistic in snapshot.statistics("filename"))


@pytest.mark.untraced
@pytest.mark.requirement("S23", "T25")
def test_false_senders_without_number_take_no_memory_without_bound() -> None:
    sources = SourceBuckets(LIMIT, SERVER_BURST * LIMIT, SERVER_SOURCES)
    most = []
    tracemalloc.start()
    try:
        for number in range(5 * SERVER_SOURCES):
            sources.take(number.to_bytes(4, "big"), number / 1e6)
            if number % SERVER_SOURCES == 0:
                most.append(taken())
    finally:
        tracemalloc.stop()
    assert len(sources) == SERVER_SOURCES
    assert max(most) < 16_000_000
    assert most[-1] < most[-2] + 1000


def test_without_a_limit_everything_is_answered() -> None:
    core = Server(SERVERS, IPv4Scope())
    assert all(core.receive(SOLICITATION, VICTIM, 0, 0.0) for _ in range(5000))
    assert ipv4_of(VICTIM) not in SERVERS
