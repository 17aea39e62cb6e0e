# SPDX-License-Identifier: MIT
"""Whatever comes from a stranger or from the host: no core raises, and none sends where it must not."""

from collections.abc import Callable
from random import Random

import pytest

from miredo.address.endpoint import Endpoint, ipv4_of
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import compose
from miredo.teredo.actions import Action, ForwardPacket, SendDatagram, SendError
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
    SECONDARY_ENDPOINT,
    SERVER,
    advertisement,
    data,
    echo_reply,
    indirect,
    qualified_client,
    relay_core,
    routed,
    sent,
    with_nonce,
)
from tests.wire.vectors import VECTORS

pytestmark = pytest.mark.untraced

ROUNDS = 20000
ENDPOINTS = [MAPPED, PEER_MAPPED, ELSEWHERE, RELAY, PRIMARY_ENDPOINT, SECONDARY_ENDPOINT, bytes([10, 0, 0, 1, 0, 80])]
SCOPE = IPv4Scope()


class Mutations:
    """Good packets, and what a mischievous network makes of them."""

    def __init__(self, random: Random, own: bytes) -> None:
        self._random = random
        sources = [PEER, NATIVE, own, bytes.fromhex("fe80") + bytes(14), compose(OTHER_SERVER.primary, ELSEWHERE, 1)]
        destinations = [own, PEER, NATIVE, bytes.fromhex("ff02") + bytes(14)]
        self._good = [
            *VECTORS.values(),
            *(make(source, to) for make in (emit_bubble, data, routed) for source in sources for to in destinations),
            *(indirect(source, own, PEER_MAPPED, b"abcd") for source in sources),
            *(emit_icmpv6(source, own, EchoRequest(1, 1, bytes(16))) for source in sources),
            with_nonce(emit_bubble(PEER, own), b"abcd"),
            echo_reply(NATIVE, own, bytes(16)),
            advertisement(bytes(8)),
        ]

    def next(self) -> bytes:
        choice = self._random.random()
        if choice < 0.1:
            return self._random.randbytes(self._random.randrange(120))
        packet = bytearray(self._random.choice(self._good))
        if choice < 0.3:
            return bytes(packet)
        for _ in range(self._random.randrange(1, 4)):
            if packet:
                packet[self._random.randrange(min(len(packet), 60))] = self._random.randrange(256)
        if choice > 0.85:
            del packet[self._random.randrange(len(packet) + 1) :]
        elif choice > 0.8:
            packet += self._random.randbytes(self._random.randrange(10))
        return bytes(packet)


def check(actions: list[Action]) -> None:
    """What a core asks for can be done, and may be."""
    for action in actions:
        match action:
            case SendDatagram(payload, to):
                assert len(to) == 6
                assert len(payload) >= 40
                assert SCOPE.permits(ipv4_of(to))
            case SendError(message, destination):
                assert 8 <= len(message) <= 1240
                assert len(destination) == 16
            case ForwardPacket(packet, destination):
                assert packet[24:40] == destination
            case _:
                pass


def storm(seed: int, own: bytes, steps: Callable[[bytes, Endpoint, float], list[Action]]) -> None:
    random = Random(seed)
    mutations, now = Mutations(random, own), 1.0
    for _ in range(ROUNDS):
        now += random.choice([0.0, 0.001, 0.1, 1.0, 30.0])
        check(steps(mutations.next(), random.choice(ENDPOINTS), now))


@pytest.mark.requirement("C20", "T31", "C45")
@pytest.mark.parametrize("seed", [1, 2])
def test_a_client_survives_whatever_comes(seed: int) -> None:
    client = qualified_client(contact_limit=20, peer_limit=20)

    def step(packet: bytes, outer: Endpoint, now: float) -> list[Action]:
        actions = client.expire_until(now)
        actions += client.passes_or_receives(packet, outer, now)
        return actions + client.core.transmit(packet, now)

    storm(seed, client.address, step)
    assert client.core.address == client.address
    assert len(client.core.peers) <= 20


@pytest.mark.requirement("R2", "T31")
@pytest.mark.parametrize("seed", [1, 2])
def test_a_relay_survives_whatever_comes(seed: int) -> None:
    relay = relay_core(contact_limit=20, peer_limit=20, direct_bubbles=True)

    def step(packet: bytes, outer: Endpoint, now: float) -> list[Action]:
        actions = relay.expire(now)
        if not relay.passes(packet, outer, now):
            actions += relay.receive(packet, outer, now)
        return actions + relay.transmit(packet, now)

    storm(seed, PEER, step)
    assert len(relay.peers) <= 20


@pytest.mark.requirement("S2", "S12", "T31")
@pytest.mark.parametrize("seed", [1, 2])
def test_a_server_survives_whatever_comes(seed: int) -> None:
    server = Server(SERVER, SCOPE)
    storm(
        seed,
        compose(SERVER.primary, MAPPED, 0),
        lambda packet, outer, now: server.receive(packet, outer, int(now) % 2, now),
    )
    assert sent(server.receive(VECTORS["rs_vista"], MAPPED, 0, 0.0)) == [(VECTORS["ra_origin"], MAPPED)]
