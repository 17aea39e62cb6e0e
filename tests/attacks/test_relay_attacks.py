# SPDX-License-Identifier: MIT
"""What can be tried at a relay, a test for each way, named after its row of doc/requirements.md."""

import pytest

from miredo.address.endpoint import endpoint, parse_ipv4
from miredo.address.teredo import CONE, compose, mapped_of
from miredo.lab.nat import Filtering, NatBehaviour
from miredo.lab.world import RELAY_PORT
from miredo.teredo.constants import ATTEMPT_LIMIT, ATTEMPT_WINDOW, ERROR_BURST, ERROR_RATE
from miredo.teredo.drops import Drop
from miredo.teredo.newcomers import NETWORK_BURST
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.icmpv6 import DestinationUnreachable, emit_icmpv6
from tests.attacks.attacker import Attacker, endpoints_of, sent_by, sent_to
from tests.teredo.cores import FORBIDDEN, data, routed
from tests.world import Lab, client_and_relay, qualified_lab, reachable

pytestmark = pytest.mark.untraced

OPEN = NatBehaviour(filtering=Filtering.ENDPOINT_INDEPENDENT)
RELAY = endpoint(parse_ipv4("203.0.113.3"), RELAY_PORT)
FLOODERS = [bytes.fromhex("2400dead") + number.to_bytes(2, "big") + bytes(9) + b"\x01" for number in range(256)]
"""Native sources, each in a network of its own."""


def attacked(seed: int = 0) -> tuple[Lab, Attacker]:
    """A lab whose relay serves the client, in which nothing has been carried yet, and somebody who is up to no good."""
    lab = qualified_lab(OPEN, seed=seed)
    assert lab.answered(lab.ping())
    lab.world.carried.clear()
    return lab, Attacker(lab.world)


def known_attacker(lab: Lab) -> tuple[Attacker, bytes]:
    """Somebody whom the relay serves, as it has answered the relay's bubble, and his address."""
    attacker = Attacker(lab.world)
    address = attacker.address(lab.server)
    lab.world.route_natively(data(lab.host.address, address), "host")
    lab.world.run(0.0)
    attacker.send(RELAY, emit_bubble(address, lab.host.address))
    lab.host.kernel.received.clear()
    lab.world.carried.clear()
    return attacker, address


@pytest.mark.requirement("T4")
def test_t4_a_relay_takes_nothing_from_teredo_back_into_teredo() -> None:
    """RFC 6324 3.3. Relay._refusal and Relay.admits in miredo/teredo/relay.py."""
    lab = qualified_lab(OPEN)
    attacker, own = known_attacker(lab)
    round_trip = lab.world.host(f"2002:{RELAY[:4].hex(':', 2)}::1", "6to4")
    victim = compose(lab.server.addresses[0], endpoint(parse_ipv4("192.0.2.99"), 99), 0)
    for destination in (victim, lab.address, own, compose(RELAY[:4], RELAY, 0)):
        attacker.send(RELAY, data(own, destination))
    lab.world.run(10.0)
    assert sent_by(lab.world, "relay") == []
    assert round_trip.kernel.received == []
    assert lab.relay.core.drops[Drop.INTO_TEREDO] == 4
    attacker.send(RELAY, data(own, lab.host.address))
    assert len(lab.host.kernel.received) == 1


@pytest.mark.requirement("T8")
@pytest.mark.parametrize("flags", [0, CONE])
def test_t8_a_victim_of_the_native_network_gets_nothing_by_way_of_a_relay(flags: int) -> None:
    """RFC 4380 7.4.3. Relay.transmit: what is not trusted waits for Relay._attempt, whatever its cone bit."""
    lab, _ = attacked()
    victim = Attacker(lab.world, "192.0.2.99", 53, name="victim")
    address = compose(lab.server.addresses[0], victim.endpoint, flags)
    for _ in range(10_000):
        lab.world.route_natively(data(lab.host.address, address), "host")
        lab.world.run(0.02)
    assert 200 <= lab.world.now < ATTEMPT_WINDOW
    assert [to for _, to in sent_by(lab.world, "relay") if to == victim.endpoint] == []
    bubbles = [payload for payload, to in sent_by(lab.world, "relay") if to in endpoints_of(lab.server)]
    assert 1 <= len(bubbles) <= ATTEMPT_LIMIT
    assert len(sent_to(lab.world, victim.endpoint)) <= ATTEMPT_LIMIT


@pytest.mark.requirement("T9")
@pytest.mark.parametrize("forbidden", FORBIDDEN, ids=lambda ipv4: ".".join(map(str, ipv4)))
def test_t9_a_relay_sends_nothing_to_a_forbidden_address(forbidden: bytes) -> None:
    """RFC 4380 5.2.4. Relay.transmit, for client and server; Relay.receive for the sender."""
    lab, attacker = attacked()
    there = endpoint(forbidden, 4096)
    for address in (compose(lab.server.addresses[0], there, 0), compose(forbidden, attacker.endpoint, 0)):
        lab.world.route_natively(data(lab.host.address, address), "host")
        attacker.send(RELAY, emit_bubble(address, lab.host.address), source=there)
    lab.world.run(10.0)
    assert sent_by(lab.world, "relay") == []


@pytest.mark.requirement("T11")
def test_t11_a_relay_forwards_no_live_routing_header() -> None:
    """RFC 6169 2.3, RFC 5095. Relay._refusal."""
    lab = qualified_lab(OPEN)
    attacker, own = known_attacker(lab)
    attacker.send(RELAY, routed(own, lab.host.address))
    assert lab.host.kernel.received == []
    attacker.send(RELAY, routed(own, lab.host.address, segments_left=0))
    assert len(lab.host.kernel.received) == 1


@pytest.mark.requirement("T20")
def test_t20_a_client_of_the_relay_is_not_taken_over() -> None:
    """RFC 6081 7. Relay._is_proved: rules (a) to (d), none of which somebody elsewhere can meet."""
    lab, attacker = attacked()
    lab.host.kernel.received.clear()
    for destination in (lab.host.address, bytes.fromhex("fe80000000000000aabbccdd11223344"), bytes(15) + b"\x01"):
        for trailer in (b"", *(b"\x04\x04" + number.to_bytes(4, "big") for number in range(100))):
            attacker.send(RELAY, emit_bubble(lab.address, destination) + trailer)
        attacker.send(RELAY, data(lab.address, destination))
    assert lab.host.kernel.received == []
    peer = lab.relay.core.peers.get(lab.address)
    assert peer is not None
    assert peer.endpoint == mapped_of(lab.address)
    assert lab.answered(lab.ping_back())
    assert attacker.received == []


@pytest.mark.manual("M37")
@pytest.mark.requirement("T24")
@pytest.mark.parametrize("networks", [1, 256])
def test_t24_a_hundred_thousand_destinations_take_bounded_memory_and_no_service(networks: int) -> None:
    """RFC 4380 7.3.5. Traversal._contact makes room, and Newcomers.admit in newcomers.py limits who does."""
    limit = 256
    lab = client_and_relay(OPEN)
    lab.relay = lab.world.relay("203.0.113.3", contact_limit=limit)
    lab.qualify()
    assert lab.answered(lab.ping())
    sizes: list[int] = []
    for number in range(100_000):
        client = compose(parse_ipv4("203.0.113.99"), endpoint((45 << 24 | number).to_bytes(4, "big"), 40000), 0)
        lab.relay.transmit(data(FLOODERS[number % networks], client))
        if number % 20 == 19:
            lab.world.run(0.001)
        if number % 10_000 == 9_999:
            lab.world.forget(lab.relay, lab.client)
            assert lab.answered(lab.ping(), 0.1)
            sizes.append(reachable(lab.relay.core))
    noted = 0 if networks == 1 else 100_000
    assert max(sizes) <= 40 * limit + noted


@pytest.mark.manual("M37")
@pytest.mark.requirement("T24")
def test_t24_a_network_that_floods_does_not_keep_others_from_a_new_client() -> None:
    """Newcomers in miredo/teredo/newcomers.py, rule 1: the bucket of the flood's own network is empty, no other is."""
    lab, _ = attacked()
    other = lab.world.client("198.51.100.9", lab.server, OPEN, name="other")
    other.start()
    assert lab.world.run_until(lambda: other.qualified is not None, 5.0)
    lab.world.carried.clear()
    for number in range(20_000):
        client = compose(parse_ipv4("203.0.113.99"), endpoint((45 << 24 | number).to_bytes(4, "big"), 40000), 0)
        lab.relay.transmit(data(FLOODERS[0], client))
    assert len(sent_by(lab.world, "relay")) <= NETWORK_BURST
    assert lab.relay.core.drops[Drop.RATE_LIMITED] >= 20_000 - NETWORK_BURST
    assert other.qualified is not None
    assert lab.answered(lab.host.ping(other.qualified.address), 1.0)


@pytest.mark.requirement("T32")
def test_t32_errors_are_answered_with_none_and_others_with_few() -> None:
    """RFC 4443 2.4 (e) and (f). Traversal.refuse in miredo/teredo/traversal.py."""
    lab, attacker = attacked()
    silent = compose(lab.server.addresses[0], attacker.endpoint, 0)
    error = emit_icmpv6(lab.host.address, silent, DestinationUnreachable(1, data(silent, lab.host.address)), 64)
    for _ in range(10_000):
        lab.relay.transmit(error)
    lab.world.run(20.0)
    assert lab.host.kernel.errors == []
    begun = lab.world.now
    for _ in range(10_000):
        lab.relay.transmit(data(lab.host.address, silent))
    assert 0 < len(lab.host.kernel.errors) <= ERROR_BURST + ERROR_RATE * (lab.world.now - begun)
    assert len([payload for payload in sent_to(lab.world, attacker.endpoint) if is_bubble(payload)]) <= ATTEMPT_LIMIT


@pytest.mark.requirement("T24")
def test_t24_a_flood_from_everywhere_delays_a_new_client_by_a_second_ping() -> None:
    """Newcomers, rule 3: who means it comes again."""
    lab, _ = attacked()
    other = lab.world.client("198.51.100.9", lab.server, OPEN, name="other")
    other.start()
    assert lab.world.run_until(lambda: other.qualified is not None, 5.0)
    assert other.qualified is not None
    pings = []
    for number in range(60_000):
        client = compose(parse_ipv4("203.0.113.99"), endpoint((45 << 24 | number).to_bytes(4, "big"), 40000), 0)
        lab.relay.transmit(data(b"\x24\x00" + number.to_bytes(4, "big") + bytes(10), client))
        if number % 20_000 == 10_000:
            pings.append(lab.host.ping(other.qualified.address))
        if number % 20 == 19:
            lab.world.run(0.001)
    assert [ping.answered is not None for ping in pings] == [False, True, True]
