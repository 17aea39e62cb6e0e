# SPDX-License-Identifier: MIT
"""What can be tried at a server, a test for each way, named after its row of doc/requirements.md."""

import pytest

from miredo.address.endpoint import endpoint, ipv4_of, parse_ipv4
from miredo.address.teredo import CLIENT_LINK_LOCAL, compose, mapped_of, server_link_local
from miredo.lab.nat import NatBehaviour
from miredo.teredo.drops import Drop
from miredo.teredo.qualification import SOLICITATION
from miredo.wire.bubble import emit_bubble
from miredo.wire.encapsulation import emit_nonce_authentication, parse_encapsulation
from miredo.wire.icmpv6 import EchoRequest, emit_icmpv6
from tests.attacks.attacker import Attacker, endpoints_of, sent_by, sent_to
from tests.teredo.cores import FORBIDDEN, data
from tests.world import Lab, WatchedWorld, address_of, qualified_lab

pytestmark = pytest.mark.untraced

VICTIM = "192.0.2.99"


def attacked() -> tuple[Lab, Attacker]:
    """A qualified lab in which nothing has been carried yet, and somebody who is up to no good."""
    lab = qualified_lab(NatBehaviour())
    lab.world.carried.clear()
    return lab, Attacker(lab.world)


@pytest.mark.requirement("T1")
@pytest.mark.parametrize("claimed", [0, 1])
@pytest.mark.parametrize("asked", [0, 1])
def test_t1_a_server_never_sends_to_itself(claimed: int, asked: int) -> None:
    """MTFL-SA 0603. Server.receive and Server._to_client in miredo/teredo/server.py drop own endpoint and address."""
    lab, attacker = attacked()
    ours, target = endpoints_of(lab.server)[claimed], endpoints_of(lab.server)[asked]
    itself = compose(lab.server.addresses[0], ours, 0)
    for packet in (emit_bubble(itself, itself), SOLICITATION, emit_icmpv6(itself, itself, EchoRequest(1, 1, b""))):
        attacker.send(target, packet, source=ours)
        attacker.send(target, packet)
    honest = attacker.address(lab.server)
    attacker.send(target, emit_bubble(honest, itself))
    lab.world.run(60.0)
    own = lab.server.addresses
    assert [payload for payload, to in sent_by(lab.world, "server") if ipv4_of(to) in own] == []
    assert lab.server.core.drops[Drop.OWN_ADDRESS] == 4


@pytest.mark.requirement("T2")
def test_t2_two_servers_pass_nothing_to_and_fro() -> None:
    """RFC 4380 5.3.1 rule 5. Server._refusal: the Teredo source must name the endpoint that a packet came from."""
    world = WatchedWorld()
    servers = world.server("203.0.113.1", "203.0.113.2"), world.server("203.0.113.11", "203.0.113.12", "server 2")
    attacker = Attacker(world)
    first, second = (endpoints_of(server)[0] for server in servers)
    one, other = (compose(server.addresses[0], endpoints_of(server)[0], 0) for server in servers)
    for source, claimed in ((one, first), (other, second), (one, None)):
        for destination, to in ((other, second), (one, first), (other, first), (one, second)):
            world.carried.clear()
            attacker.send(to, emit_bubble(source, destination), source=claimed)
            world.run(10.0)
            assert len([each for each in world.carried if each.sender != "attacker"]) <= 1


@pytest.mark.requirement("T4")
def test_t4_a_server_sends_nothing_round_through_6to4_or_isatap() -> None:
    """RFC 6324 3.3. Server._leads_back."""
    lab, attacker = attacked()
    own, honest = lab.server.addresses[0], attacker.address(lab.server)
    ways_back = [f"2002:{own.hex(':', 2)}::1", f"2001:db8::5efe:{own.hex(':', 2)}"]
    hosts = [lab.world.host(text, text) for text in ways_back]
    for host in hosts:
        attacker.send(endpoints_of(lab.server)[0], emit_icmpv6(honest, host.address, EchoRequest(1, 1, b""), 64))
    lab.world.run(1.0)
    assert [host.kernel.received for host in hosts] == [[], []]
    assert lab.server.core.drops[Drop.OWN_ADDRESS] == 2


@pytest.mark.requirement("T6")
def test_t6_a_server_launders_nothing_for_an_ipv4_victim() -> None:
    """RFC 4380 7.4.1. Server._refusal: rules 2 and 5 to 7 of 5.3.1; what gets through names its sender."""
    lab, attacker = attacked()
    target, server = endpoints_of(lab.server)[0], lab.server.addresses[0]
    victim = endpoint(parse_ipv4(VICTIM), 53)
    at_victim = compose(server, victim, 0)
    elsewhere = compose(server, endpoint(parse_ipv4("192.0.2.98"), 99), 0)
    foreign = compose(parse_ipv4("203.0.113.77"), victim, 0)
    honest = attacker.address(lab.server)
    for packet in (
        emit_bubble(elsewhere, at_victim),
        emit_bubble(at_victim, at_victim),
        emit_bubble(lab.host.address, foreign),
        emit_bubble(CLIENT_LINK_LOCAL, foreign),
        emit_icmpv6(elsewhere, at_victim, EchoRequest(1, 1, bytes(20)), 64),
        emit_icmpv6(honest, at_victim, EchoRequest(1, 1, bytes(81)), 64),
        data(honest, at_victim),
    ):
        attacker.send(target, packet)
    assert sent_to(lab.world, victim) == []
    attacker.send(target, emit_bubble(honest, at_victim))
    (passed,) = sent_to(lab.world, victim)
    assert parse_encapsulation(passed).origin == attacker.endpoint


@pytest.mark.requirement("T7")
def test_t7_an_ipv4_sender_reaches_a_native_host_only_under_its_own_address() -> None:
    """RFC 4380 7.4.2. Server._refusal: another source than a proved Teredo address is for clients of ours only."""
    lab, attacker = attacked()
    target = endpoints_of(lab.server)[0]
    honest = attacker.address(lab.server)
    foreign = bytes.fromhex("20010db8000000000000000000000bad")
    sources = [CLIENT_LINK_LOCAL, server_link_local(lab.server.addresses[0]), foreign, lab.host.address, lab.address]
    for source in sources:
        for packet in (emit_bubble(source, lab.host.address), data(source, lab.host.address)):
            attacker.send(target, packet)
        attacker.send(target, emit_icmpv6(source, lab.host.address, EchoRequest(1, 1, b""), 64))
    attacker.send(target, data(honest, lab.host.address))
    assert lab.host.kernel.received == []
    attacker.send(target, emit_icmpv6(honest, lab.host.address, EchoRequest(1, 1, b""), 64))
    assert len(lab.host.kernel.received) == 1


@pytest.mark.requirement("T9")
@pytest.mark.parametrize("forbidden", FORBIDDEN, ids=lambda ipv4: ".".join(map(str, ipv4)))
def test_t9_a_server_sends_nothing_to_a_forbidden_address(forbidden: bytes) -> None:
    """RFC 4380 5.2.4. Server._to_client for what is embedded, Server.receive for who asks."""
    lab, attacker = attacked()
    target, honest = endpoints_of(lab.server)[0], attacker.address(lab.server)
    there = endpoint(forbidden, 4096)
    attacker.send(target, emit_bubble(honest, compose(lab.server.addresses[0], there, 0)))
    attacker.send(target, SOLICITATION, source=there)
    attacker.send(target, emit_bubble(compose(lab.server.addresses[0], there, 0), lab.address), source=there)
    assert sent_by(lab.world, "server") == []


@pytest.mark.requirement("T15")
def test_t15_an_answer_has_nothing_of_what_others_sent() -> None:
    """Seen in C miredo-server: it echoes another client's nonce. Server._advertise keeps nothing of a datagram."""
    lab, attacker = attacked()
    target = endpoints_of(lab.server)[0]
    nonce = b"secret!!"
    other = Attacker(lab.world, VICTIM, name="another")
    other.send(target, emit_nonce_authentication(nonce) + SOLICITATION)
    attacker.send(target, SOLICITATION)
    ((answer, _),) = attacker.received
    assert parse_encapsulation(answer).authentication is None
    assert nonce not in answer
    assert parse_encapsulation(answer).origin == attacker.endpoint


@pytest.mark.requirement("T17")
def test_t17_a_repeated_solicitation_brings_nothing_but_an_answer_for_who_repeats_it() -> None:
    """The server has no state to upset; its answer goes to the outer source and names that, whoever asked first."""
    lab, attacker = attacked()
    lab.client.start()
    lab.world.run(1.0)
    solicitation = next(payload for payload, to in sent_by(lab.world, "client") if to in endpoints_of(lab.server))
    before, address = sent_to(lab.world, mapped_of(lab.address)), lab.address
    for _ in range(3):
        attacker.send(endpoints_of(lab.server)[0], solicitation)
    lab.world.run(1.0)
    assert [parse_encapsulation(answer).origin for answer, _ in attacker.received] == [attacker.endpoint] * 3
    assert sent_to(lab.world, mapped_of(address)) == before
    assert address_of(lab.client) == address
