# SPDX-License-Identifier: MIT
"""Somebody at an IPv4 address of the simulated Internet who may write any other source on a datagram."""

from miredo.address.endpoint import Endpoint, IPv6, endpoint, ipv4_of, parse_ipv4
from miredo.address.teredo import TEREDO_PORT, compose
from miredo.lab.attachments import Port
from miredo.lab.world import ServerNode
from tests.world import WatchedWorld


class Attacker:
    """An IPv4 host without scruples; also the victim of others, as it only listens.

    @ivar received: payload and IPv4 source of all that came.
    """

    def __init__(self, world: WatchedWorld, ipv4: str = "192.0.2.66", port: int = 6666, name: str = "attacker") -> None:
        self.endpoint = endpoint(parse_ipv4(ipv4), port)
        self.received: list[tuple[bytes, Endpoint]] = []
        self._world = world
        self._port = Port(world, name, self._receive)
        world.claim(parse_ipv4(ipv4), self._port)

    def send(self, to: Endpoint, payload: bytes, source: Endpoint | None = None) -> None:
        """Send a datagram, from here or as if from elsewhere, and let it arrive."""
        self._world.carry(self._port, source or self.endpoint, to, payload)
        self._world.run(0.0)

    def address(self, server: ServerNode) -> IPv6:
        """Its own honest Teredo address."""
        return compose(server.addresses[0], self.endpoint, 0)

    def _receive(self, payload: bytes, source: Endpoint, to: Endpoint) -> None:
        del to
        self.received.append((payload, source))


def endpoints_of(server: ServerNode) -> tuple[Endpoint, Endpoint]:
    """Where a server listens."""
    first, second = server.addresses
    return endpoint(first, TEREDO_PORT), endpoint(second, TEREDO_PORT)


def sent_by(world: WatchedWorld, name: str) -> list[tuple[bytes, Endpoint]]:
    """What a node has sent over IPv4 since the world last forgot."""
    return [(each.payload, each.to) for each in world.carried if each.sender == name]


def sent_to(world: WatchedWorld, victim: Endpoint, besides: str = "attacker") -> list[bytes]:
    """What anybody but the attacker has sent to a victim's IPv4 address."""
    return [each.payload for each in world.carried if each.sender != besides and ipv4_of(each.to) == ipv4_of(victim)]
