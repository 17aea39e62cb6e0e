# SPDX-License-Identifier: MIT
"""The echo responder answers a bubble to its server and an echo request, each once and shortly, and nothing else."""

from collections import Counter, deque

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from miredo.address.endpoint import Endpoint, IPv4, IPv6, endpoint, ipv4_of, parse_endpoint, parse_ipv4, parse_ipv6
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import (
    ALL_NODES,
    ALL_ROUTERS,
    CLIENT_LINK_LOCAL,
    compose,
    flags_of,
    mapped_of,
    server_link_local,
    server_of,
)
from miredo.lab.attachments import Port
from miredo.lab.nat import BEHAVIOURS, NatBehaviour
from miredo.lab.nat import Mapping as NatMapping
from miredo.teredo.actions import SendDatagram
from miredo.teredo.drops import Drop
from miredo.teredo.mire import CLIENT_PORT, SERVER_PORT, Mire
from miredo.teredo.qualification import SOLICITATION
from miredo.wire.bubble import emit_bubble
from miredo.wire.encapsulation import emit_nonce_authentication, emit_origin
from miredo.wire.icmpv6 import (
    DestinationUnreachable,
    EchoReply,
    EchoRequest,
    ICMPv6Message,
    OtherICMPv6,
    PacketTooBig,
    RouterSolicitation,
    emit_icmpv6,
    parse_icmpv6,
)
from miredo.wire.ipv6 import ICMPV6, IPv6Packet, destination_of, emit_ipv6, source_of
from miredo.wire.ipv6 import parse_ipv6 as parse_packet
from miredo.wire.trailers import NeighborDiscoveryTrailer, RandomPortTrailer, emit_trailer
from tests.teredo.cores import FORBIDDEN, KEYED, NATIVE, NONCE, data, routed, with_nonce
from tests.world import Lab, qualified_lab, reachable

OWN = parse_ipv4("192.0.2.25")
OWN_ADDRESS = compose(OWN, endpoint(OWN, CLIENT_PORT), 0)
OTHER = parse_ipv4("192.0.2.26")
OTHER_ADDRESS = compose(OTHER, endpoint(OTHER, CLIENT_PORT), 0)

MAPPED = parse_endpoint("198.51.100.7:40000")
CLIENT = compose(parse_ipv4("203.0.113.1"), MAPPED, 0x1234)
"""A client of some server, which embeds where it comes from."""
RELAY = parse_endpoint("203.0.113.3:3545")
"""Where a relay's datagrams come from, of whatever source."""
SIX_TO_FOUR_PRIVATE = parse_ipv6("2002:a00:1::1")
LEGACY_CLIENT = parse_ipv6("3ffe:831f:cb00:7101:0:63bf:39cc:9bf8")

SOURCES = [pytest.param(CLIENT, MAPPED, id="client"), pytest.param(NATIVE, RELAY, id="native")]


def request(source: IPv6, destination: IPv6 = OWN_ADDRESS, size: int = 8) -> bytes:
    return emit_icmpv6(source, destination, EchoRequest(0x1234, 7, bytes(at & 0xFF for at in range(size))), 64)


def message(answer: bytes) -> ICMPv6Message:
    """What a packet says; its checksum is right, or this fails."""
    return parse_icmpv6(parse_packet(answer)[0])


def mire(scope: IPv4Scope | None = None) -> Mire:
    return Mire(OWN, scope or IPv4Scope())


def test_its_address_embeds_it_as_server_and_as_mapped_endpoint() -> None:
    address = mire().address
    assert (server_of(address), mapped_of(address), flags_of(address)) == (OWN, parse_endpoint("192.0.2.25:3545"), 0)
    assert address == parse_ipv6("2001:0:c000:219:0:f226:3fff:fde6")


# ---------------------------------------------------------------- what is answered


@pytest.mark.parametrize(("source", "outer"), [*SOURCES, pytest.param(KEYED, RELAY, id="relay")])
def test_a_bubble_to_its_server_is_answered_with_one_bubble_back(source: IPv6, outer: Endpoint) -> None:
    core = mire()
    answer = core.receive(emit_bubble(source, OWN_ADDRESS), outer, SERVER_PORT)
    assert answer == SendDatagram(emit_bubble(OWN_ADDRESS, source), outer)
    assert core.drops == Counter()


@pytest.mark.parametrize(("source", "outer"), [*SOURCES, pytest.param(KEYED, RELAY, id="relay")])
def test_the_nonce_of_a_bubble_comes_back_and_other_trailers_do_not(source: IPv6, outer: Endpoint) -> None:
    others = emit_trailer(NeighborDiscoveryTrailer(advertisement=False)), emit_trailer(RandomPortTrailer(5000))
    datagram = with_nonce(emit_bubble(source, OWN_ADDRESS) + others[0], NONCE) + others[1]
    answer = mire().receive(datagram, outer, SERVER_PORT)
    assert answer == SendDatagram(with_nonce(emit_bubble(OWN_ADDRESS, source), NONCE), outer)


@pytest.mark.parametrize(("source", "outer"), SOURCES)
@pytest.mark.parametrize("size", [0, 1, 56, 1232, 60000])
def test_an_echo_request_is_answered_with_what_it_brought(source: IPv6, outer: Endpoint, size: int) -> None:
    asked = request(source, size=size)
    answer = mire().receive(asked, outer, CLIENT_PORT)
    assert answer is not None
    assert answer.to == outer
    packet, _ = parse_packet(answer.payload)
    reply, question = message(answer.payload), message(asked)
    assert isinstance(reply, EchoReply)
    assert isinstance(question, EchoRequest)
    assert tuple(reply) == tuple(question)
    assert (packet.source, packet.destination, packet.hop_limit) == (OWN_ADDRESS, source, 64)
    assert len(answer.payload) == len(asked)


@pytest.mark.parametrize("flags", [0, 0x8000, 0x3CFF, 0x0300, 0xFFFF])
def test_it_answers_from_the_address_that_was_asked_whatever_its_flags(flags: int) -> None:
    address = compose(OWN, endpoint(OWN, CLIENT_PORT), flags)
    met = mire().receive(emit_bubble(CLIENT, address), MAPPED, SERVER_PORT)
    echoed = mire().receive(request(CLIENT, address), MAPPED, CLIENT_PORT)
    assert met is not None
    assert echoed is not None
    assert source_of(met.payload) == source_of(echoed.payload) == address


def test_it_answers_the_same_question_again_alike() -> None:
    core = mire()
    for _ in range(3):
        assert core.receive(request(CLIENT), MAPPED, CLIENT_PORT) == mire().receive(
            request(CLIENT), MAPPED, CLIENT_PORT
        )


def test_trailers_behind_an_echo_request_are_not_sent_back() -> None:
    answer = mire().receive(with_nonce(request(NATIVE), NONCE), RELAY, CLIENT_PORT)
    assert answer == mire().receive(request(NATIVE), RELAY, CLIENT_PORT)


# ---------------------------------------------------------------- what is not


def checksum_off_by_one(packet: bytes) -> bytes:
    return packet[:43] + bytes([packet[43] ^ 1]) + packet[44:]


@pytest.mark.parametrize(
    ("datagram", "outer", "port", "reason"),
    [
        pytest.param(emit_bubble(CLIENT, OWN_ADDRESS), MAPPED, 3545, Drop.NOT_A_QUESTION, id="direct bubble"),
        pytest.param(emit_bubble(NATIVE, OWN_ADDRESS), RELAY, 3545, Drop.NOT_A_QUESTION, id="direct native bubble"),
        pytest.param(request(CLIENT), MAPPED, 3544, Drop.NOT_A_QUESTION, id="request to the server"),
        pytest.param(request(NATIVE), RELAY, 3544, Drop.NOT_A_QUESTION, id="native request to the server"),
        pytest.param(data(CLIENT, OWN_ADDRESS), MAPPED, 3545, Drop.NOT_A_QUESTION, id="data"),
        pytest.param(data(CLIENT, OWN_ADDRESS), MAPPED, 3544, Drop.NOT_A_QUESTION, id="data to the server"),
        pytest.param(routed(CLIENT, OWN_ADDRESS), MAPPED, 3545, Drop.NOT_A_QUESTION, id="routing header"),
        pytest.param(
            emit_icmpv6(CLIENT, OWN_ADDRESS, EchoReply(1, 1, b"")), MAPPED, 3545, Drop.NOT_A_QUESTION, id="reply"
        ),
        pytest.param(
            emit_icmpv6(NATIVE, OWN_ADDRESS, DestinationUnreachable(0, request(OWN_ADDRESS, NATIVE))),
            RELAY,
            3545,
            Drop.NOT_A_QUESTION,
            id="error",
        ),
        pytest.param(
            emit_icmpv6(NATIVE, OWN_ADDRESS, PacketTooBig(1280, b"")), RELAY, 3545, Drop.NOT_A_QUESTION, id="too big"
        ),
        pytest.param(
            emit_icmpv6(CLIENT, OWN_ADDRESS, OtherICMPv6(200, 0, b"1234")),
            MAPPED,
            3545,
            Drop.NOT_A_QUESTION,
            id="unknown message",
        ),
        pytest.param(
            emit_icmpv6(CLIENT, OWN_ADDRESS, RouterSolicitation()), MAPPED, 3545, Drop.NOT_A_QUESTION, id="solicitation"
        ),
        pytest.param(SOLICITATION, MAPPED, 3544, Drop.WRONG_DESTINATION, id="to all routers"),
        pytest.param(
            emit_nonce_authentication(bytes(8)) + SOLICITATION, MAPPED, 3544, Drop.WRONG_DESTINATION, id="with a nonce"
        ),
        pytest.param(
            emit_icmpv6(CLIENT_LINK_LOCAL, server_link_local(OWN), EchoRequest(1, 1, b"")),
            MAPPED,
            3544,
            Drop.WRONG_DESTINATION,
            id="to a server's link-local address",
        ),
        pytest.param(request(CLIENT, ALL_NODES), MAPPED, 3545, Drop.WRONG_DESTINATION, id="to all nodes"),
        pytest.param(emit_bubble(CLIENT, ALL_ROUTERS), MAPPED, 3544, Drop.WRONG_DESTINATION, id="bubble to a group"),
        pytest.param(request(CLIENT, NATIVE), MAPPED, 3544, Drop.WRONG_DESTINATION, id="connectivity test"),
        pytest.param(emit_bubble(CLIENT, OTHER_ADDRESS), MAPPED, 3544, Drop.WRONG_DESTINATION, id="for another one"),
        pytest.param(
            emit_bubble(CLIENT, compose(OWN, MAPPED, 0)), MAPPED, 3544, Drop.WRONG_DESTINATION, id="for a client"
        ),
        pytest.param(
            request(CLIENT, compose(OTHER, endpoint(OWN, 3545), 0)),
            MAPPED,
            3545,
            Drop.WRONG_DESTINATION,
            id="of another server",
        ),
        pytest.param(
            request(CLIENT, compose(OWN, endpoint(OWN, 3544), 0)), MAPPED, 3545, Drop.WRONG_DESTINATION, id="port 3544"
        ),
        pytest.param(
            emit_bubble(CLIENT, b"\x3f\xfe\x83\x1f" + OWN_ADDRESS[4:]),
            MAPPED,
            3544,
            Drop.WRONG_DESTINATION,
            id="another prefix",
        ),
        pytest.param(emit_bubble(CLIENT, OWN_ADDRESS), RELAY, 3544, Drop.SOURCE_UNPROVED, id="bubble from elsewhere"),
        pytest.param(
            emit_bubble(CLIENT, OWN_ADDRESS), MAPPED[:4] + b"\0\7", 3544, Drop.SOURCE_UNPROVED, id="another port"
        ),
        pytest.param(request(CLIENT), RELAY, 3545, Drop.SOURCE_UNPROVED, id="request from elsewhere"),
        pytest.param(request(OWN_ADDRESS), RELAY, 3545, Drop.SOURCE_UNPROVED, id="own source"),
        pytest.param(request(KEYED), RELAY, 3545, Drop.NOT_GLOBAL, id="link-local request"),
        pytest.param(request(ALL_NODES), RELAY, 3545, Drop.NOT_GLOBAL, id="request from a group"),
        pytest.param(emit_bubble(ALL_NODES, OWN_ADDRESS), RELAY, 3544, Drop.NOT_GLOBAL, id="bubble from a group"),
        pytest.param(emit_bubble(bytes(16), OWN_ADDRESS), RELAY, 3544, Drop.NOT_GLOBAL, id="bubble from nowhere"),
        pytest.param(request(bytes(15) + b"\1"), RELAY, 3545, Drop.NOT_GLOBAL, id="request from the loopback"),
        pytest.param(request(SIX_TO_FOUR_PRIVATE), RELAY, 3545, Drop.NOT_GLOBAL, id="private 6to4"),
        pytest.param(
            emit_origin(RELAY) + emit_bubble(CLIENT, OWN_ADDRESS), MAPPED, 3544, Drop.UNEXPECTED_HEADER, id="origin"
        ),
        pytest.param(
            emit_nonce_authentication(bytes(8)) + request(CLIENT),
            MAPPED,
            3545,
            Drop.UNEXPECTED_HEADER,
            id="authentication",
        ),
        pytest.param(
            emit_bubble(CLIENT, OWN_ADDRESS) + b"\x41\0", MAPPED, 3544, Drop.TRAILER_DISCARDS, id="discarding trailer"
        ),
        pytest.param(
            request(CLIENT) + b"\x41\0", MAPPED, 3545, Drop.TRAILER_DISCARDS, id="discarding trailer of a request"
        ),
        pytest.param(checksum_off_by_one(request(CLIENT)), MAPPED, 3545, Drop.MALFORMED, id="checksum"),
        pytest.param(
            emit_ipv6(IPv6Packet(0, 0, ICMPV6, 64, CLIENT, OWN_ADDRESS, b"\x80")),
            MAPPED,
            3545,
            Drop.MALFORMED,
            id="one byte of a message",
        ),
        pytest.param(b"", MAPPED, 3544, Drop.MALFORMED, id="nothing"),
        pytest.param(b"\0\1" * 9, MAPPED, 3545, Drop.MALFORMED, id="rubbish"),
        pytest.param(request(CLIENT), endpoint(OWN, 4000), 3545, Drop.OWN_ADDRESS, id="from itself"),
        pytest.param(emit_bubble(KEYED, OWN_ADDRESS), endpoint(OWN, 3544), 3544, Drop.OWN_ADDRESS, id="its own port"),
    ],
)
def test_everything_else_is_dropped_and_counted(datagram: bytes, outer: Endpoint, port: int, reason: Drop) -> None:
    core = mire()
    assert core.receive(datagram, outer, port) is None
    assert core.drops == {reason: 1}


@pytest.mark.parametrize("ipv4", FORBIDDEN, ids=lambda ipv4: ".".join(map(str, ipv4)))
@pytest.mark.parametrize("port", [SERVER_PORT, CLIENT_PORT])
def test_nothing_goes_to_forbidden_ipv4(ipv4: IPv4, port: int) -> None:
    core, outer = mire(), endpoint(ipv4, 40000)
    client = compose(parse_ipv4("203.0.113.1"), outer, 0)
    for source in (client, NATIVE, KEYED):
        for datagram in (emit_bubble(source, OWN_ADDRESS), request(source)):
            assert core.receive(datagram, outer, port) is None
    assert core.drops == {Drop.FORBIDDEN_IPV4: 6}


def test_a_private_teredo_may_use_what_is_allowed() -> None:
    outer = parse_endpoint("10.0.0.7:40000")
    client = compose(OTHER, outer, 0)
    assert mire(IPv4Scope(["10.0.0.0/8"])).receive(request(client), outer, CLIENT_PORT) is not None


def test_the_host_s_other_addresses_and_broadcasts_are_not_answered() -> None:
    scope = IPv4Scope(own=[OTHER], broadcasts=[parse_ipv4("192.0.2.31")])
    core = mire(scope)
    for last in (26, 31):
        assert core.receive(request(NATIVE), endpoint(OWN[:3] + bytes([last]), 40000), CLIENT_PORT) is None
    assert core.drops == {Drop.FORBIDDEN_IPV4: 2}


@pytest.mark.parametrize("port", [SERVER_PORT, CLIENT_PORT])
def test_every_truncation_of_a_question_is_malformed(port: int) -> None:
    whole = emit_bubble(CLIENT, OWN_ADDRESS) if port == SERVER_PORT else request(CLIENT)
    core = mire()
    for length in range(len(whole)):
        assert core.receive(whole[:length], MAPPED, port) is None
    assert core.drops == {Drop.MALFORMED: len(whole)}
    assert core.receive(whole, MAPPED, port) is not None


# ---------------------------------------------------------------- whatever comes

ports = st.sampled_from([SERVER_PORT, CLIENT_PORT])
flags = st.sampled_from([0, 0x8000, 0xFFFF])
hosts = st.sampled_from([MAPPED[:4], RELAY[:4], OTHER, MAPPED[:4], RELAY[:4], OTHER, OWN]) | st.binary(
    min_size=4, max_size=4
)
outers = st.builds(endpoint, hosts, st.sampled_from([3544, 3545, 7, 40000]))
strangers = st.sampled_from(
    [NATIVE, KEYED, NATIVE, KEYED, CLIENT, OWN_ADDRESS, OTHER_ADDRESS, ALL_NODES, bytes(16), LEGACY_CLIENT]
) | st.binary(min_size=16, max_size=16)
octets = st.binary(max_size=60)
requests = st.builds(EchoRequest, st.just(1), st.just(2), octets)
messages = st.one_of(
    requests,
    requests,
    st.builds(EchoReply, st.just(1), st.just(2), octets),
    st.builds(DestinationUnreachable, st.just(0), octets),
    st.builds(OtherICMPv6, st.integers(0, 255), st.just(0), octets),
)
headers = st.sampled_from([b""] * 8 + [emit_origin(RELAY), emit_nonce_authentication(bytes(8))])
trailers = st.sampled_from([b""] * 4 + [emit_trailer(RandomPortTrailer(1)), b"\1\4abcd", b"\1\4", b"\x41\0"])
"""Much that is good, so that what is wrong is wrong in one place mostly."""


@st.composite
def datagrams(draw: st.DrawFn, outer: Endpoint, own: IPv4 = OWN) -> bytes:
    """What may come from an endpoint, for the responder at an address mostly."""
    embedding = draw(st.sampled_from([OWN, OTHER])), outer, draw(flags)
    source = draw(st.just(compose(*embedding)) | strangers)
    destination = draw(st.sampled_from([compose(own, endpoint(own, CLIENT_PORT), draw(flags))] * 6 + [draw(strangers)]))
    packet = draw(
        st.sampled_from([emit_bubble(source, destination), data(source, destination)])
        | st.builds(emit_icmpv6, st.just(source), st.just(destination), messages)
    )
    return draw(headers) + packet + draw(trailers | st.binary(max_size=20))


@st.composite
def damaged(draw: st.DrawFn, outer: Endpoint) -> bytes:
    """A datagram with a byte changed, taken out or put in, or cut."""
    datagram = draw(datagrams(outer))
    at = draw(st.integers(0, len(datagram) - 1))
    rest = draw(st.sampled_from([b"", datagram[at:], datagram[at + 1 :]]))
    return datagram[:at] + draw(st.binary(max_size=1)) + rest


def arrivals(outer: Endpoint) -> st.SearchStrategy[tuple[bytes, Endpoint]]:
    """Anything that may come from an endpoint, and the endpoint."""
    return st.tuples(datagrams(outer) | damaged(outer) | st.binary(max_size=120), st.just(outer))


@given(arrival=outers.flatmap(arrivals), port=ports)
def test_whatever_comes_is_answered_once_and_no_longer_than_it_is_or_counted_once(
    arrival: tuple[bytes, Endpoint], port: int
) -> None:
    core, (datagram, outer) = mire(), arrival
    answer = core.receive(datagram, outer, port)
    assert core.drops.total() == (answer is None)
    if answer is not None:
        assert answer.to == outer
        assert ipv4_of(outer) != OWN
        assert IPv4Scope().permits(ipv4_of(outer))
        assert len(answer.payload) <= len(datagram)
        source = source_of(answer.payload)
        assert (server_of(source), mapped_of(source)) == (OWN, endpoint(OWN, CLIENT_PORT))
        assert port == SERVER_PORT or isinstance(message(answer.payload), EchoReply)


def sent_between_two(datagram: bytes, outer: Endpoint, to: Endpoint, limit: int = 10) -> int:
    """How many datagrams two responders send, at most C{limit}, when one gets a datagram with that forged outer source.

    An echo service on another host throws back to them whatever it gets.
    """
    cores = {each: Mire(each, IPv4Scope()) for each in (OWN, OTHER)}
    under_way = deque([(datagram, outer, to)])
    count = 0
    while under_way and count < limit:
        payload, source, destination = under_way.popleft()
        core = cores.get(ipv4_of(destination))
        if core is None:
            under_way.append((payload, destination, source))
            continue
        answer = core.receive(payload, source, int.from_bytes(destination[4:], "big"))
        if answer is not None:
            count += 1
            under_way.append((answer.payload, endpoint(ipv4_of(destination), CLIENT_PORT), answer.to))
    return count


forged = st.builds(endpoint, st.sampled_from([OTHER, RELAY[:4], OTHER, OWN]), st.sampled_from([3544, 3545, 7]))
own_ports = st.builds(endpoint, st.just(OWN), ports)


def forgeries(outer: Endpoint) -> st.SearchStrategy[tuple[bytes, Endpoint]]:
    """A datagram that claims to come from there, and where it claims to come from."""
    return st.tuples(datagrams(outer), st.just(outer))


@given(forgery=forged.flatmap(forgeries), to=own_ports)
@example((emit_bubble(OTHER_ADDRESS, OWN_ADDRESS), endpoint(OTHER, 3545)), endpoint(OWN, 3544))
@example((emit_bubble(OTHER_ADDRESS, OWN_ADDRESS), endpoint(OTHER, 3544)), endpoint(OWN, 3544))
@example((emit_bubble(NATIVE, OWN_ADDRESS), endpoint(OTHER, 3544)), endpoint(OWN, 3544))
@example((emit_bubble(OWN_ADDRESS, OWN_ADDRESS), endpoint(OWN, 3545)), endpoint(OWN, 3544))
@example((request(OTHER_ADDRESS), endpoint(OTHER, 3545)), endpoint(OWN, 3545))
@example((request(NATIVE), endpoint(OTHER, 3544)), endpoint(OWN, 3545))
@example((request(NATIVE), endpoint(RELAY[:4], 7)), endpoint(OWN, 3545))
@example((emit_bubble(NATIVE, OWN_ADDRESS), endpoint(RELAY[:4], 7)), endpoint(OWN, 3544))
def test_responders_send_one_datagram_at_most_whoever_a_forged_source_says_it_is(
    forgery: tuple[bytes, Endpoint], to: Endpoint
) -> None:
    assert sent_between_two(*forgery, to) <= 1


def test_a_forged_question_from_another_responder_has_an_answer_which_has_none() -> None:
    between = emit_bubble(OTHER_ADDRESS, OWN_ADDRESS), endpoint(OTHER, CLIENT_PORT), endpoint(OWN, SERVER_PORT)
    assert sent_between_two(*between) == 1
    assert sent_between_two(request(OTHER_ADDRESS), endpoint(OTHER, CLIENT_PORT), endpoint(OWN, CLIENT_PORT)) == 1


# ---------------------------------------------------------------- in the simulated world


class MireNode:
    """A responder on the IPv4 core of a simulated world."""

    def __init__(self, lab: Lab) -> None:
        self.core = mire()
        self.received = self.sent = 0
        self._port = Port(lab.world, "mire", self._received)
        lab.world.claim(OWN, self._port)

    def _received(self, payload: bytes, source: Endpoint, to: Endpoint) -> None:
        self.received += 1
        answer = self.core.receive(payload, source, int.from_bytes(to[4:], "big"))
        if answer is not None:
            self.sent += 1
            self._port.send(endpoint(OWN, CLIENT_PORT), answer.to, answer.payload)


REACHED = [None, *(each for each in BEHAVIOURS if each.mapping is NatMapping.ENDPOINT_INDEPENDENT)]
NOT_REACHED = [each for each in BEHAVIOURS if each.mapping is not NatMapping.ENDPOINT_INDEPENDENT]


@pytest.mark.parametrize("behaviour", REACHED, ids=str)
def test_a_client_gets_its_pings_answered(behaviour: NatBehaviour | None) -> None:
    lab = qualified_lab(behaviour)
    node = MireNode(lab)
    assert lab.answered(lab.client.ping(node.core.address), 1.0)
    before = node.sent
    assert lab.answered(lab.client.ping(node.core.address), 1.0)
    assert (before, node.sent) == (2, 3)
    assert source_of(lab.client.kernel.received[-1]) == node.core.address
    assert destination_of(lab.client.kernel.received[-1]) == lab.address


@pytest.mark.parametrize("behaviour", NOT_REACHED, ids=str)
def test_a_client_whose_address_does_not_tell_where_it_comes_from_gets_no_reply(behaviour: NatBehaviour) -> None:
    lab = qualified_lab(behaviour)
    node = MireNode(lab)
    assert not lab.answered(lab.client.ping(node.core.address), 12.0)
    assert node.sent <= 2  # bubbles, for those from a keyed source, which its address has no part in
    assert set(node.core.drops) <= {Drop.SOURCE_UNPROVED}


def test_a_native_host_gets_its_ping_answered_through_our_relay() -> None:
    lab = qualified_lab()
    node = MireNode(lab)
    assert lab.answered(lab.host.ping(node.core.address), 1.0)
    assert lab.answered(lab.host.ping(node.core.address), 1.0)
    assert (node.received, node.sent) == (3, 3)


def test_a_day_of_pings_costs_it_nothing_but_answers() -> None:
    lab = qualified_lab(BEHAVIOURS[0])
    node = MireNode(lab)
    before = reachable(node.core)
    for _ in range(24):
        assert lab.answered(lab.client.ping(node.core.address), 5.0)
        assert lab.answered(lab.host.ping(node.core.address), 5.0)
        lab.world.run(3590.0)
    assert node.sent <= node.received
    node.core.drops.clear()
    assert reachable(node.core) == before
