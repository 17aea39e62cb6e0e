# SPDX-License-Identifier: MIT
"""Every reason to drop a packet is met by some packet, which raises that counter by one and no other."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from miredo.address.endpoint import endpoint, ipv4_of, parse_ipv4
from miredo.address.ranges import IPv6Ranges
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import ALL_NODES, ALL_ROUTERS, CLIENT_LINK_LOCAL, compose
from miredo.teredo.actions import PRIMARY, SECONDARY
from miredo.teredo.client import Client
from miredo.teredo.constants import ERROR_BURST, HELD_PACKETS, QUEUE_PACKETS
from miredo.teredo.discovery import HOST_LIMIT, Subnet
from miredo.teredo.drops import Drop
from miredo.teredo.mire import CLIENT_PORT, Mire
from miredo.teredo.qualification import SOLICITATION
from miredo.teredo.relay import Relay
from miredo.teredo.security import KEY_VALID, Credential, Keyring
from miredo.teredo.server import Server
from miredo.wire.bubble import emit_bubble
from miredo.wire.icmpv6 import EchoRequest, emit_icmpv6
from tests.teredo.cores import (
    ELSEWHERE,
    MAPPED,
    NATIVE,
    OTHER_SERVER,
    PEER,
    PEER_MAPPED,
    PRIMARY_ENDPOINT,
    RELAY,
    SERVER,
    QualifiedClient,
    advertisement,
    client_core,
    data,
    indirect,
    qualified_client,
    relay_core,
    rolled,
    routed,
    sent,
    solicitation_nonce,
)
from tests.wire.vectors import CLIENT_A, MAPPED_A

Core = Client | Relay | Server | Mire
Case = tuple[Core, Callable[[], object]]
"""A core, and what makes it drop one packet."""

CREDENTIAL = Credential(b"client-7", b"correct horse battery staple")
PRIVATE = bytes([10, 0, 0, 1, 0x20, 0x00])
NEAR = compose(OTHER_SERVER.primary, endpoint(ipv4_of(MAPPED), 8192), 0)
"""A client behind the same NAT."""


def received(datagram: Callable[[bytes], bytes], outer: bytes = PEER_MAPPED) -> Callable[[], Case]:
    """A qualified client receives what is made for its address."""

    def case() -> Case:
        client = qualified_client()
        return client.core, lambda: client.core.receive(datagram(client.address), outer, 1.0)

    return case


def transmitted(packet: Callable[[bytes], bytes]) -> Callable[[], Case]:
    """The host of a qualified client sends what is made for its address."""

    def case() -> Case:
        client = qualified_client()
        return client.core, lambda: client.core.transmit(packet(client.address), 1.0)

    return case


def served(datagram: bytes) -> Callable[[], Case]:
    """A server that wants to see a secret receives it from client A."""

    def case() -> Case:
        server = Server(SERVER, IPv4Scope(), keyring=Keyring([CREDENTIAL]), secrets_required=True)
        return server, lambda: server.receive(datagram, MAPPED_A, PRIMARY, 0.0)

    return case


def on_a_link() -> QualifiedClient:
    client = qualified_client()
    client.core.attached([Subnet(parse_ipv4("10.0.0.2"), 8)], 0.0)
    return client


def discovered(datagram: bytes, outer: bytes = PRIVATE) -> Callable[[], Case]:
    """A qualified client hears a datagram by the discovery group."""

    def case() -> Case:
        client = on_a_link()
        return client.core, lambda: client.core.discovered(datagram, outer, 1.0)

    return case


def neighbours_full() -> Case:
    """All that there is room for of one host are trusted."""
    client = on_a_link()
    for number in range(HOST_LIMIT):
        near, outer = NEAR[:10] + bytes([number]) + NEAR[11:], PRIVATE[:4] + bytes([64, number])
        client.core.discovered(emit_bubble(near, ALL_NODES), outer, 0.5)
        client.core.receive(emit_bubble(near, client.address), outer, 0.5)
    return client.core, lambda: client.core.discovered(emit_bubble(NEAR, ALL_NODES), PRIVATE, 1.0)


def queue_full() -> Case:
    client = qualified_client()
    for _ in range(QUEUE_PACKETS):
        client.core.transmit(data(client.address, NATIVE), 1.0)
    return client.core, lambda: client.core.transmit(data(client.address, NATIVE), 1.0)


def no_answer() -> Case:
    client = qualified_client()
    client.core.transmit(data(client.address, NATIVE), 1.0)
    client.expire_until(9.9)
    return client.core, lambda: client.expire_until(10.0)


def peer_silent() -> Case:
    client = qualified_client()
    client.core.transmit(data(client.address, NATIVE), 1.0)
    client.expire_until(10.0)
    return client.core, lambda: client.core.transmit(data(client.address, NATIVE), 11.0)


def held_too_long() -> Case:
    client = qualified_client()
    client.core.receive(data(NATIVE, client.address), RELAY, 1.0)
    return client.core, lambda: client.expire_until(10.0)


def held_too_many() -> Case:
    client = qualified_client()
    for _ in range(HELD_PACKETS):
        client.core.receive(data(NATIVE, client.address), RELAY, 1.0)
    return client.core, lambda: client.core.receive(data(NATIVE, client.address), RELAY, 1.0)


def attempts_exceeded() -> Case:
    client = qualified_client()
    number = 0
    while sent(client.core.transmit(data(client.address, NATIVE[:12] + number.to_bytes(4, "big")), 1.0)):
        number += 1
    client.core.drops.clear()
    return client.core, lambda: client.core.transmit(data(client.address, PEER), 1.0)


def unsolicited() -> Case:
    client = qualified_client(accept_strangers=False)
    return client.core, lambda: client.core.receive(data(PEER, client.address), PEER_MAPPED, 1.0)


def answers_exceeded() -> Case:
    client = qualified_client()
    through = indirect(PEER, client.address, PEER_MAPPED)
    client.core.receive(through, PRIMARY_ENDPOINT, 1.0)
    return client.core, lambda: client.core.receive(through, PRIMARY_ENDPOINT, 1.5)


def error_limited() -> Case:
    """A limit on errors and not on packets: the packet itself has a reason of its own, here for once left out."""
    client = client_core()
    for _ in range(int(ERROR_BURST)):
        client.transmit(data(PEER, NATIVE), 1.0)
    client.drops.clear()

    def act() -> None:
        client.transmit(data(PEER, NATIVE), 1.0)
        assert client.drops.pop(Drop.NOT_QUALIFIED) == 1

    return client, act


def not_qualified() -> Case:
    client = client_core()
    return client, lambda: client.receive(emit_bubble(PEER, PEER), PEER_MAPPED, 1.0)


def wrong_nonce() -> Case:
    client = client_core()
    client.start(0.0)
    return client, lambda: client.receive(advertisement(bytes(8)), PRIMARY_ENDPOINT, 1.0)


def bad_advertisement() -> Case:
    client = client_core()
    ((solicitation, _),) = sent(client.start(0.0))
    datagram = advertisement(solicitation_nonce(solicitation), hop_limit=1)
    return client, lambda: client.receive(datagram, PRIMARY_ENDPOINT, 1.0)


def secondary_port() -> Case:
    client = qualified_client()
    return client.core, lambda: client.core.receive_on(SECONDARY, data(PEER, client.address), PEER_MAPPED, 1.0)


def not_teredo() -> Case:
    relay = relay_core()
    return relay, lambda: relay.transmit(data(NATIVE, NATIVE), 1.0)


def into_teredo() -> Case:
    relay = relay_core()
    relay.transmit(data(NATIVE, PEER), 1.0)
    other = compose(OTHER_SERVER.primary, ELSEWHERE, 0)
    return relay, lambda: relay.receive(data(PEER, other), PEER_MAPPED, 1.1)


def not_served() -> Case:
    relay = Relay(IPv4Scope(), rolled(), open_to_all=True, served=IPv6Ranges())
    return relay, lambda: relay.receive(data(PEER, NATIVE), PEER_MAPPED, 1.0)


def rate_limited() -> Case:
    server = Server(SERVER, IPv4Scope(), rate_limit=1)
    for _ in range(2):
        server.receive(SOLICITATION, MAPPED_A, PRIMARY, 0.0)
    return server, lambda: server.receive(SOLICITATION, MAPPED_A, PRIMARY, 0.0)


def not_a_question() -> Case:
    mire = Mire(ELSEWHERE[:4], IPv4Scope())
    return mire, lambda: mire.receive(emit_bubble(NATIVE, mire.address), RELAY, CLIENT_PORT)


CASES: dict[Drop, Callable[[], Case]] = {
    Drop.MALFORMED: received(lambda own: emit_bubble(PEER, own)[:-1]),
    Drop.TRAILER_DISCARDS: received(lambda own: emit_bubble(PEER, own) + b"\x41\x00"),
    Drop.FORBIDDEN_IPV4: transmitted(lambda own: data(own, compose(OTHER_SERVER.primary, PRIVATE, 0))),
    Drop.UNEXPECTED_HEADER: received(lambda own: indirect(PEER, own, PEER_MAPPED)),
    Drop.ROUTING_HEADER: received(lambda own: routed(PEER, own)),
    Drop.OWN_ADDRESS: received(lambda own: emit_bubble(own, own)),
    Drop.NO_TRANSIT: received(lambda own: data(CLIENT_LINK_LOCAL, own)),
    Drop.QUEUE_FULL: queue_full,
    Drop.NO_ANSWER: no_answer,
    Drop.PEER_SILENT: peer_silent,
    Drop.HELD_TOO_LONG: held_too_long,
    Drop.HELD_TOO_MANY: held_too_many,
    Drop.ATTEMPTS_EXCEEDED: attempts_exceeded,
    Drop.MAPPING_MISMATCH: received(lambda own: data(PEER, own), ELSEWHERE),
    Drop.UNKNOWN_PEER: received(lambda own: emit_bubble(NATIVE, own), RELAY),
    Drop.UNSOLICITED: unsolicited,
    Drop.ERROR_LIMITED: error_limited,
    Drop.NOT_QUALIFIED: not_qualified,
    Drop.TOO_BIG: transmitted(lambda own: data(own, NATIVE, 1281)),
    Drop.WRONG_SOURCE: transmitted(lambda own: data(PEER, NATIVE)),
    Drop.WRONG_DESTINATION: received(lambda own: data(PEER, NATIVE)),
    Drop.WRONG_NONCE: wrong_nonce,
    Drop.BAD_AUTHENTICATION: served(replace(CREDENTIAL, secret=b"wrong").protect(bytes(8), KEY_VALID, SOLICITATION)),
    Drop.BAD_ADVERTISEMENT: bad_advertisement,
    Drop.SECONDARY_PORT: secondary_port,
    Drop.ANSWERS_EXCEEDED: answers_exceeded,
    Drop.NOT_A_DISCOVERY: discovered(emit_bubble(NATIVE, ALL_NODES)),
    Drop.OFF_SUBNET: discovered(emit_bubble(NEAR, ALL_NODES), PEER_MAPPED),
    Drop.OTHER_NAT: discovered(emit_bubble(PEER, ALL_NODES)),
    Drop.NEIGHBOURS_FULL: neighbours_full,
    Drop.NOT_TEREDO: not_teredo,
    Drop.NOT_SERVED: not_served,
    Drop.INTO_TEREDO: into_teredo,
    Drop.NOT_ALLOWED_THROUGH: served(data(CLIENT_A, NATIVE)),
    Drop.TOO_LARGE_THROUGH: served(emit_icmpv6(CLIENT_A, NATIVE, EchoRequest(1, 1, bytes(81)))),
    Drop.SOURCE_UNPROVED: served(emit_bubble(NATIVE, NATIVE)),
    Drop.NOT_GLOBAL: served(emit_bubble(CLIENT_A, CLIENT_LINK_LOCAL)),
    Drop.HOP_LIMIT: served(emit_bubble(CLIENT_A, NATIVE, hop_limit=1)),
    Drop.BAD_SOLICITATION: served(emit_bubble(CLIENT_LINK_LOCAL, ALL_ROUTERS)),
    Drop.RATE_LIMITED: rate_limited,
    Drop.NO_AUTHENTICATION: served(SOLICITATION),
    Drop.NOT_A_QUESTION: not_a_question,
}


@pytest.mark.parametrize("reason", Drop, ids=lambda reason: reason.value)
def test_every_reason_is_met_and_counted_once(reason: Drop) -> None:
    core, act = CASES[reason]()
    before = Counter(core.drops)
    act()
    assert core.drops - before == {reason: 1}


def test_no_case_is_for_a_reason_that_is_gone() -> None:
    assert set(CASES) == set(Drop)


def test_names_are_stable_words_and_each_has_its_paragraph() -> None:
    """They are what counters, metrics and the documentation call them."""
    assert len({reason.value for reason in Drop}) == len(Drop)
    for reason in Drop:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", reason.value)
        assert re.match(r"RFC \d{4} \d|ours", reason.section)
