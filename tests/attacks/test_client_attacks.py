# SPDX-License-Identifier: MIT
"""What can be tried at a client, a test for each way, named after its row of doc/requirements.md."""

from itertools import pairwise

import pytest

from miredo.address.endpoint import endpoint, parse_endpoint, parse_ipv4
from miredo.address.scope import is_link_local
from miredo.address.teredo import ALL_NODES, CLIENT_LINK_LOCAL, compose, has_cone_bit, mapped_of, random_flags
from miredo.lab.links import Link
from miredo.lab.nat import Filtering, Mapping, NatBehaviour
from miredo.lab.world import CLIENT_PORT
from miredo.teredo.client import STRANGERS_BURST, STRANGERS_RATE
from miredo.teredo.constants import ATTEMPT_LIMIT, ECHO_NONCE_LENGTH, ERROR_BURST, ERROR_RATE, PATIENCE
from miredo.teredo.drops import Drop
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.encapsulation import emit_origin
from miredo.wire.icmpv6 import (
    DestinationUnreachable,
    EchoReply,
    EchoRequest,
    ICMPv6Message,
    emit_icmpv6,
    parse_icmpv6,
    teredo_router_advertisement,
)
from miredo.wire.ipv6 import destination_of, parse_ipv6, source_of
from miredo.wire.reader import MalformedPacket
from tests.attacks.attacker import Attacker, endpoints_of, sent_by, sent_to
from tests.service.internet import HOST, RELAY, ROLES, TeredoInternet, logging
from tests.teredo.cores import FORBIDDEN, advertisement, asked, data, echo_reply, qualified_client, rolled, routed
from tests.teredo.cores import client_core as started_client
from tests.world import Lab, address_of, client_and_relay, qualified_lab, qualified_pair, reachable

pytestmark = pytest.mark.untraced

OPEN = NatBehaviour(filtering=Filtering.ENDPOINT_INDEPENDENT)
"""A NAT that stops nothing: whatever is stopped, the client stops."""
SYMMETRIC = NatBehaviour(Mapping.ADDRESS_AND_PORT_DEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT)
HAIRPINNING = NatBehaviour(hairpinning=True)


def attacked(behaviour: NatBehaviour | None = OPEN) -> tuple[Lab, Attacker]:
    """A qualified lab in which nothing has been carried yet, and somebody who is up to no good."""
    lab = qualified_lab(behaviour)
    lab.world.carried.clear()
    return lab, Attacker(lab.world)


def connectivity_test(datagram: bytes) -> EchoRequest | None:
    """The echo request that a datagram is."""
    try:
        message = parse_icmpv6(parse_ipv6(datagram)[0])
    except MalformedPacket:
        return None
    return message if isinstance(message, EchoRequest) else None


def induced_by(lab: Lab) -> list[EchoRequest]:
    """The connectivity tests that the client has made; no other echo request goes to a server."""
    servers = endpoints_of(lab.server)
    found = [connectivity_test(payload) for payload, to in sent_by(lab.world, "client") if to in servers]
    return [test for test in found if test is not None]


# ---------------------------------------------------------------- sent in circles, or elsewhere


@pytest.mark.requirement("T3")
def test_t3_a_bubble_from_oneself_is_not_answered() -> None:
    """USENIX WOOT '09, Nakibly and Arov. Client._refusal and Client._receive_from_server in miredo/teredo/client.py."""
    lab, attacker = attacked(HAIRPINNING)
    mapped = mapped_of(lab.address)
    for bubble in (emit_bubble(lab.address, lab.address), emit_bubble(attacker.address(lab.server), lab.address)):
        attacker.send(mapped, bubble, source=mapped)
    for server in endpoints_of(lab.server):
        attacker.send(mapped, emit_origin(mapped) + emit_bubble(lab.address, lab.address), source=server)
        attacker.send(server, emit_bubble(lab.address, lab.address), source=mapped)
    lab.world.run(10.0)
    assert sent_by(lab.world, "client") == []
    assert lab.client.core.drops[Drop.OWN_ADDRESS] >= 3


@pytest.mark.requirement("T9")
@pytest.mark.parametrize("forbidden", FORBIDDEN, ids=lambda ipv4: ".".join(map(str, ipv4)))
def test_t9_a_client_sends_nothing_to_a_forbidden_address(forbidden: bytes) -> None:
    """RFC 4380 5.2.4. Client._permits, in transmit, _refusal and _answer; the server may be anybody here."""
    lab, attacker = attacked()
    there, server = endpoint(forbidden, 4096), endpoints_of(lab.server)[0]
    peer = compose(lab.server.addresses[0], there, 0)
    attacker.send(mapped_of(lab.address), emit_origin(there) + emit_bubble(peer, lab.address), source=server)
    attacker.send(
        mapped_of(lab.address), emit_origin(there) + emit_bubble(lab.host.address, lab.address), source=server
    )
    attacker.send(mapped_of(lab.address), emit_bubble(peer, lab.address), source=there)
    lab.client.transmit(data(lab.address, peer))
    lab.client.transmit(data(lab.address, compose(forbidden, attacker.endpoint, 0)))
    lab.world.run(10.0)
    assert sent_by(lab.world, "client") == []


@pytest.mark.requirement("T10")
def test_t10_no_host_of_an_intranet_is_trusted() -> None:
    """CVE-2006-6264. Client._refusal wants a global outer address, and case 3 that it is the one embedded."""
    lab, attacker = attacked(None)
    for intranet in ("10.1.2.3", "172.16.1.1", "192.168.1.99"):
        inside = endpoint(parse_ipv4(intranet), 4096)
        peer = compose(lab.server.addresses[0], inside, 0)
        for outer in (inside, attacker.endpoint):
            attacker.send(mapped_of(lab.address), emit_bubble(peer, lab.address), source=outer)
            attacker.send(mapped_of(lab.address), data(peer, lab.address), source=outer)
        assert lab.client.core.peers.get(peer) is None
    assert lab.client.kernel.received == []


# ---------------------------------------------------------------- let in, or made to answer


@pytest.mark.requirement("T11")
def test_t11_a_live_routing_header_reaches_no_host() -> None:
    """CVE-2006-6263, RFC 5095. routing_refusal in miredo/teredo/plain.py, for trusted peers too."""
    lab, attacker = attacked()
    peer = attacker.address(lab.server)
    attacker.send(mapped_of(lab.address), emit_bubble(peer, lab.address))
    for kind in (peer, lab.host.address):
        attacker.send(mapped_of(lab.address), routed(kind, lab.address))
    assert lab.client.kernel.received == []
    attacker.send(mapped_of(lab.address), data(peer, lab.address))
    assert len(lab.client.kernel.received) == 1


@pytest.mark.requirement("T12")
def test_t12_strangers_induce_no_more_tests_than_a_bucket_has() -> None:
    """CVE-2006-6266. Traversal.hold in miredo/teredo/traversal.py: strangers have a bucket and a table of their own."""
    lab, attacker = attacked()
    begun = lab.world.now
    for number in range(10_000):
        stranger = bytes.fromhex("20010db8dead") + number.to_bytes(10, "big")
        attacker.send(mapped_of(lab.address), data(stranger, lab.address))
        lab.world.run(0.001)
    assert len(induced_by(lab)) <= STRANGERS_BURST + STRANGERS_RATE * (lab.world.now - begun)
    assert len(lab.client.core.contacts) <= 1024
    assert lab.answered(lab.ping(), 1.0)


@pytest.mark.requirement("T13")
def test_t13_who_accepts_no_strangers_answers_only_whom_it_has_sent_to() -> None:
    """CVE-2006-6265, RFC 6169 4.3: C{AcceptStrangers no}. Client._may_begin."""
    internet = TeredoInternet(ROLES + "AcceptStrangers no\n")
    internet.start()
    internet.run(1.0)
    before = len(internet.sent("client a"))
    internet.client_host.received.clear()
    cold = internet.host.ping(HOST, internet.qualified[-1], internet.clock.now())
    internet.run(8.0)
    assert cold.answered is None
    assert internet.client_host.received == []
    answers = internet.sent("client a")[before:]
    assert [(is_bubble(each.datagram), each.to) for each in answers] == [(True, parse_endpoint(f"{RELAY}:3545"))]
    ping = internet.ping()
    internet.run(1.0)
    assert ping.answered is not None
    back = internet.host.ping(HOST, internet.qualified[-1], internet.clock.now())
    internet.run(1.0)
    assert back.answered is not None
    internet.stop()


@pytest.mark.requirement("T13")
def test_t13_nothing_of_a_stranger_is_let_in_or_tested() -> None:
    """Neither of a client, straight or through the server, nor of a native host."""
    client = qualified_client(accept_strangers=False)
    outer = parse_endpoint("192.0.2.66:6666")
    peer, native = compose(parse_ipv4("203.0.113.120"), outer, 0), bytes.fromhex("20010db8000000000000000000000bad")
    server = parse_endpoint("203.0.113.120:3544")
    through = emit_origin(outer) + emit_bubble(peer, client.address)
    for datagram, source in (
        (through, server),
        (emit_bubble(peer, client.address), outer),
        (data(peer, client.address), outer),
        (data(native, client.address), outer),
        (data(native, client.address), server),
    ):
        assert client.passes_or_receives(datagram, source, 1.0) == []
    assert client.dropped[Drop.UNSOLICITED] == 5
    client.core.transmit(data(client.address, peer), 2.0)
    assert client.core.receive(through, server, 2.1) != []
    assert client.trusts(peer, outer, 2.2)


@pytest.mark.requirement("T27")
def test_t27_no_router_advertisement_of_a_peer_reaches_the_kernel() -> None:
    """Client._refusal and Client._receive_from_native: no link-local source, and nothing to a group."""
    lab, attacker = attacked()
    peer, mapped = attacker.address(lab.server), mapped_of(lab.address)
    attacker.send(mapped, emit_bubble(peer, lab.address))
    rogue = teredo_router_advertisement(bytes.fromhex("20010db8bad00000"))
    for source in (bytes.fromhex("fe80000000000000000000000000bad0"), CLIENT_LINK_LOCAL, peer, lab.host.address):
        for destination in (ALL_NODES, CLIENT_LINK_LOCAL, lab.address):
            packet = emit_icmpv6(source, destination, rogue)
            for outer in (attacker.endpoint, *endpoints_of(lab.server)):
                attacker.send(mapped, packet, source=outer)
    lab.world.run(10.0)
    received = lab.client.kernel.received
    assert [
        packet for packet in received if is_link_local(source_of(packet)) or destination_of(packet) != lab.address
    ] == []
    assert lab.address == address_of(lab.client)


# ---------------------------------------------------------------- false servers


@pytest.mark.requirement("T14")
def test_t14_an_advertisement_that_guesses_changes_nothing() -> None:
    """RFC 4380 7.2.1. Qualification.advertised in miredo/teredo/qualification.py: the nonce names what was asked."""
    lab = client_and_relay(OPEN, Link(delay=0.5))
    attacker, dice = Attacker(lab.world), rolled(1)
    victim = endpoint(lab.nat.addresses[0], CLIENT_PORT)
    server, lies = lab.server.addresses[0], attacker.endpoint
    for nonce in (None, bytes(8), *(dice(8) for _ in range(1000))):
        for source in endpoints_of(lab.server):
            attacker.send(victim, advertisement(nonce, lies, server), source=source)
    lab.qualify()
    assert mapped_of(lab.address) == victim
    assert lab.client.core.drops[Drop.WRONG_NONCE] == 2004


@pytest.mark.requirement("T14")
def test_t14_every_solicitation_has_64_fresh_bits() -> None:
    client = started_client()
    nonces = [asked(client.start(float(number))) for number in range(1000)]
    assert {len(nonce) for nonce in nonces} == {8}
    assert len(set(nonces)) == len(nonces)
    steps = {int.from_bytes(later, "big") - int.from_bytes(before, "big") for before, later in pairwise(nonces)}
    assert len(steps) == len(nonces) - 1


@pytest.mark.requirement("T17")
def test_t17_an_advertisement_counts_once() -> None:
    """Qualification._asked: the nonce is of what is asked now; what was answered is asked no more."""
    lab, attacker = attacked()
    lab.client.start()
    lab.world.run(1.0)
    answer = next(payload for payload, _ in sent_by(lab.world, "server") if payload.startswith(b"\x00\x01"))
    lab.client.actions.clear()
    state = lab.client.core.qualification.state
    for source in endpoints_of(lab.server):
        attacker.send(mapped_of(lab.address), answer, source=source)
    assert lab.client.core.drops[Drop.WRONG_NONCE] == 2
    assert (lab.client.actions, lab.client.core.qualification.state) == ([], state)


# ---------------------------------------------------------------- false relays


@pytest.mark.requirement("T18")
def test_t18_a_native_host_is_trusted_by_nobody_who_does_not_know_the_nonce() -> None:
    """RFC 4380 7.2.2. Client._receive_from_native: the 16 bytes of the test, in an echo reply, of that very host."""
    lab, attacker = attacked()
    mapped = mapped_of(lab.address)
    host, other = (bytes.fromhex(f"20010db800000000000000000000{word}") for word in ("600d", "0bad"))
    for silent in (host, other):
        lab.client.transmit(data(lab.address, silent))
    ours, known = (test.data for test in induced_by(lab))  # the attacker is asked itself, and so knows one of them
    assert len(ours) == ECHO_NONCE_LENGTH
    forgeries: list[ICMPv6Message] = [
        EchoReply(1, 1, bytes(16)),
        EchoReply(1, 1, known),
        EchoReply(1, 1, ours[:8]),
        EchoReply(1, 1, ours + b"\x00"),
        EchoRequest(1, 1, ours),
        DestinationUnreachable(3, emit_icmpv6(lab.address, host, EchoRequest(1, 1, ours), 64)),
    ]
    for message in forgeries:
        attacker.send(mapped, emit_icmpv6(host, lab.address, message, 64))
        assert lab.client.core.peers.get(host) is None
    attacker.send(mapped, emit_icmpv6(other, lab.address, EchoReply(1, 1, known), 64))
    assert lab.client.core.peers.get(other) is not None
    lab.world.run(31.0)
    attacker.send(mapped, echo_reply(host, lab.address, ours))
    assert lab.client.core.peers.get(host) is None
    assert host not in map(destination_of, sent_to(lab.world, attacker.endpoint))


@pytest.mark.requirement("T19")
def test_t19_a_server_that_is_the_relay_too_is_told_of_once() -> None:
    """RFC 6169 6.1.2. Client._suspicious."""
    roles = ROLES.replace("Namespace relay\nBindAddress 192.0.2.17", "Namespace server\nBindAddress 192.0.2.1")
    internet = TeredoInternet(roles)
    internet.relay = internet.server
    with logging() as logged:
        internet.start()
        internet.run(1.0)
        for _ in range(2):
            ping = internet.ping()
            internet.run(400.0)
            assert ping.answered is not None
        internet.stop()
    said = [line for line in logged.at("info") if "RFC 6169 6.1.2" in line]
    assert said == [
        "client a: the server 192.0.2.1:3544 is also the relay to 2001:db8:3::1, and so could answer in the place of "
        "any host (RFC 6169 6.1.2)"
    ]


@pytest.mark.requirement("T19")
def test_t19_a_relay_elsewhere_is_not_worth_a_word() -> None:
    with logging() as logged:
        internet = TeredoInternet()
        internet.start()
        internet.run(1.0)
        ping = internet.ping()
        internet.run(1.0)
        internet.stop()
    assert ping.answered is not None
    assert [line for line in logged.at("info") if "RFC 6169" in line] == []


# ---------------------------------------------------------------- false peers


@pytest.mark.requirement("T20")
def test_t20_a_peer_is_not_moved_without_the_nonce_that_it_was_sent() -> None:
    """RFC 6081 7. Client._receive_from_peer: the nonce of the attempt under way, and of that peer."""
    pair = qualified_pair(SYMMETRIC, OPEN)
    assert pair.answered(pair.right.ping(address_of(pair.left)))
    attacker = Attacker(pair.world)
    victim, peer = address_of(pair.right), address_of(pair.left)
    known = pair.right.core.peers.get(peer)
    assert known is not None
    true = known.endpoint
    for nonce in (b"", b"\x04\x04" + bytes(4), *(b"\x04\x04" + rolled(seed)(4) for seed in range(1000))):
        attacker.send(mapped_of(victim), emit_bubble(peer, victim) + nonce)
    attacker.send(mapped_of(victim), data(peer, victim))
    assert known.endpoint == true
    pair.right.resume()  # nobody is trusted any more, and the peer has to be tried anew
    for node in pair.servers:
        node.up = False
    pair.right.ping(peer)
    for seed in range(1000):
        attacker.send(mapped_of(victim), emit_bubble(peer, victim) + b"\x04\x04" + rolled(seed)(4))
    assert pair.right.core.peers.get(peer) is None


@pytest.mark.requirement("T23")
@pytest.mark.parametrize("kind", ["clients that prove themselves", "native hosts"])
def test_t23_a_hundred_thousand_false_peers_drive_nobody_out(kind: str) -> None:
    """RFC 4380 7.3.3. Peers._make_room in miredo/teredo/peers.py, and the strangers' own table in traversal.py."""
    client = qualified_client(contact_limit=1024, peer_limit=4096)
    friend, relay = bytes.fromhex("20010db8000000000000000000000001"), parse_endpoint("198.51.100.7:3545")
    client.befriend(friend, 1.0, relay)
    sizes: list[int] = []
    for number in range(100_000):
        now = 2.0 + number / 10_000
        outer = endpoint((45 << 24 | number).to_bytes(4, "big"), 40000)
        if kind == "native hosts":
            source = bytes.fromhex("20010db8dead") + number.to_bytes(10, "big")
        else:
            source = compose(parse_ipv4("203.0.113.120"), outer, 0)
        client.passes_or_receives(data(source, client.address), outer, now)
        if number % 1000 == 0:
            client.expire_until(now)
            assert client.trusts(friend, relay, now)
            assert client.core.transmit(data(client.address, friend), now)
        if number % 20_000 == 19_999:
            sizes.append(reachable(client.core))
    assert max(sizes) <= sizes[0] * 1.1
    assert len(client.core.peers) <= 4096


# ---------------------------------------------------------------- looked for, or made to shout


@pytest.mark.requirement("T28")
def test_t28_the_random_bits_of_addresses_are_evenly_spread() -> None:
    """RFC 5991 3.1. random_flags in miredo/address/teredo.py; chi-square of 16 values in each place of 4 bits."""
    flags = [random_flags(rolled(seed)) for seed in range(10_000)]
    assert all(each & 0b1100_0011_0000_0000 == 0 for each in flags)
    for shift in (0, 4, 10):
        seen = [each >> shift & 0xF for each in flags]
        expected = len(flags) / 16
        chi_square = sum((seen.count(value) - expected) ** 2 / expected for value in range(16))
        assert chi_square < 44.3  # 15 degrees of freedom: one run in 10,000 is beyond that


@pytest.mark.requirement("T29")
def test_t29_no_address_of_a_client_has_the_cone_bit() -> None:
    """RFC 5991 3.2, RFC 6169 5.2. Qualification._qualify: from behind no NAT whatever."""
    for behaviour in (None, OPEN, SYMMETRIC):
        for seed in range(100):
            lab = client_and_relay(behaviour, seed=seed)
            lab.qualify()
            assert not has_cone_bit(lab.address)


@pytest.mark.requirement("T32")
def test_t32_errors_are_answered_with_none_and_others_with_few() -> None:
    """RFC 4443 2.4 (e) and (f). Traversal.refuse: may_cause_error, then a bucket."""
    lab, attacker = attacked()
    silent = compose(lab.server.addresses[0], attacker.endpoint, 0)
    quoted = data(silent, lab.address)
    error = emit_icmpv6(lab.address, silent, DestinationUnreachable(1, quoted), 64)
    for _ in range(10_000):
        lab.client.transmit(error)
    lab.world.run(2 * PATIENCE)
    assert lab.client.kernel.errors == []
    begun = lab.world.now
    for _ in range(10_000):
        lab.client.transmit(data(lab.address, silent))
    assert 0 < len(lab.client.kernel.errors) <= ERROR_BURST + ERROR_RATE * (lab.world.now - begun)
    assert len([payload for payload in sent_to(lab.world, attacker.endpoint) if is_bubble(payload)]) <= ATTEMPT_LIMIT


@pytest.mark.requirement("T32")
def test_t32_a_flood_of_errors_from_the_network_has_no_echo() -> None:
    """They are for the host's kernel if their sender is trusted, and nobody's business otherwise."""
    lab, attacker = attacked()
    for number in range(1000):
        host = bytes.fromhex("20010db8dead") + number.to_bytes(10, "big")
        error = emit_icmpv6(host, lab.address, DestinationUnreachable(3, data(lab.address, host)), 64)
        attacker.send(mapped_of(lab.address), error)
    assert lab.client.kernel.errors == []
    assert len(induced_by(lab)) <= STRANGERS_BURST


@pytest.mark.requirement("T22")
@pytest.mark.parametrize(
    ("trailers", "trusted"),
    [(b"\x41\x00", False), (b"\x01\x00\x41\x00", False), (b"\x01\x02ab", True), (b"\x04", True), (b"\x01\xffab", True)],
)
def test_t22_trailers_are_read_to_the_first_malformed_one(trailers: bytes, trusted: bool) -> None:
    """RFC 6081 4.1 and 5.1.2. parse_trailers in miredo/wire/trailers.py, told by DiscardPacket."""
    lab, attacker = attacked()
    peer = attacker.address(lab.server)
    attacker.send(mapped_of(lab.address), emit_bubble(peer, lab.address) + trailers)
    assert (lab.client.core.peers.get(peer) is not None) is trusted
