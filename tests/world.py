# SPDX-License-Identifier: MIT
"""Worlds to test in: a few nodes that are there in most tests, and eyes that miss nothing."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import ClassVar, TypeVar

from miredo.address.endpoint import Dice, Endpoint, IPv6
from miredo.lab.attachments import USUAL_TTL, Port
from miredo.lab.links import Link
from miredo.lab.nat import Nat, NatBehaviour
from miredo.lab.pings import Ping
from miredo.lab.world import ClientNode, NativeHost, RelayNode, ServerNode, TunnelNode, World
from miredo.teredo.client import Client
from miredo.teredo.constants import BUBBLE_TTL
from miredo.teredo.recording import Recorder
from miredo.teredo.relay import Relay
from miredo.teredo.server import Server

Core = TypeVar("Core", Client, Relay, Server)

PATIENCE = 9.0
"""Seconds after which a packet that waits for its peer is given up."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A datagram on the IPv4 core."""

    at: float
    sender: str
    to: Endpoint
    payload: bytes
    ttl: int = USUAL_TTL


class WatchedWorld(World):
    """Remembers each datagram, and is looked at before every event.

    @cvar recorders: of the nodes of the newest world.
    @cvar record_limit: how many bytes each keeps; none is recorded while it is 0.
    """

    recorders: ClassVar[list[Recorder]] = []
    record_limit: ClassVar[int] = 0

    def __init__(self, seed: int = 0, link: Link | None = None, bubble_ttl: int = BUBBLE_TTL) -> None:
        super().__init__(seed, link, bubble_ttl)
        self.recorders.clear()
        self.carried: list[Carried] = []
        self.checks: list[Callable[[], None]] = []

    def build(self, name: str, make: Callable[[Dice], Core]) -> Core:
        if not self.record_limit:
            return super().build(name, make)
        recorder = Recorder(name, self.dice, lambda: self.now, limit=self.record_limit)
        core = make(recorder.dice)
        recorder.watch(core)
        self.recorders.append(recorder)
        return core

    def carry(self, sender: Port, source: Endpoint, to: Endpoint, payload: bytes, ttl: int = USUAL_TTL) -> None:
        self.carried.append(Carried(self.now, sender.name, to, payload, ttl))
        super().carry(sender, source, to, payload, ttl)

    def run_until(self, holds: Callable[[], bool], seconds: float) -> bool:
        def looked_at() -> bool:
            for check in self.checks:
                check()
            return holds()

        return super().run_until(looked_at, seconds)

    def forget(self, *nodes: TunnelNode) -> None:
        """Drop all records of what happened, for long runs."""
        self.carried.clear()
        self.steps.clear()
        for node in nodes:
            node.actions.clear()


@dataclass
class Lab:
    """One client, behind a NAT or not, a native host, and what lies between."""

    world: WatchedWorld
    server: ServerNode
    relay: RelayNode
    host: NativeHost
    client: ClientNode

    @property
    def address(self) -> IPv6:
        """The client's address."""
        return address_of(self.client)

    @property
    def nat(self) -> Nat:
        return nat_of(self.client)

    def qualify(self, seconds: float = 40.0) -> None:
        assert self.world.run_until(lambda: self.client.qualified is not None, seconds)

    def answered(self, ping: Ping, seconds: float = PATIENCE) -> bool:
        return answered(self.world, ping, seconds)

    def ping(self) -> Ping:
        """The client pings the host."""
        return self.client.ping(self.host.address)

    def ping_back(self) -> Ping:
        """The host pings the client."""
        return self.host.ping(self.address)


@dataclass
class Pair:
    """Two clients of one server, or of two."""

    world: WatchedWorld
    servers: tuple[ServerNode, ServerNode]
    left: ClientNode
    right: ClientNode

    def ping(self) -> Ping:
        """The left client pings the right one."""
        return self.left.ping(address_of(self.right))

    def answered(self, ping: Ping, seconds: float = PATIENCE) -> bool:
        return answered(self.world, ping, seconds)


def client_and_relay(
    behaviour: NatBehaviour | None = None, link: Link | None = None, *, fast: bool = False, seed: int = 0
) -> Lab:
    """A client that was started just now."""
    world = WatchedWorld(seed, link)
    server = world.server("203.0.113.1", "203.0.113.2")
    relay = world.relay("203.0.113.3")
    host = world.host("2001:db8::1")
    client = world.client("198.51.100.7", server, behaviour)
    client.use_fast_path = relay.use_fast_path = fast
    client.start()
    return Lab(world, server, relay, host, client)


def qualified_lab(
    behaviour: NatBehaviour | None = None, link: Link | None = None, *, fast: bool = False, seed: int = 0
) -> Lab:
    """As L{client_and_relay}, and the client has its address and knows its NAT."""
    lab = client_and_relay(behaviour, link, fast=fast, seed=seed)
    lab.qualify()
    assert lab.world.run_until(lambda: lab.client.observed is not None, 40.0)
    return lab


def qualified_pair(
    left: NatBehaviour | None,
    right: NatBehaviour | None,
    link: Link | None = None,
    *,
    fast: bool = False,
    seed: int = 0,
    servers: int = 1,
    bubble_ttl: int = BUBBLE_TTL,
) -> Pair:
    """Two clients that have their addresses and know nothing of each other."""
    world = WatchedWorld(seed, link, bubble_ttl)
    first = world.server("203.0.113.1", "203.0.113.2")
    second = first if servers == 1 else world.server("203.0.113.11", "203.0.113.12", "server 2")
    clients = (
        world.client("198.51.100.7", first, left, "left"),
        world.client("198.51.100.8", second, right, "right"),
    )
    for client in clients:
        client.use_fast_path = fast
        client.start()
    assert world.run_until(lambda: all(client.observed is not None for client in clients), 40.0)
    return Pair(world, (first, second), *clients)


def answered(world: World, ping: Ping, seconds: float = PATIENCE) -> bool:
    """Whether a ping is answered in that time."""
    return world.run_until(lambda: ping.answered is not None, seconds)


def address_of(client: ClientNode) -> IPv6:
    assert client.qualified is not None
    return client.qualified.address


def nat_of(client: ClientNode) -> Nat:
    assert client.port.nat is not None
    return client.port.nat


def holds_only_trusted(node: TunnelNode) -> Callable[[], None]:
    """A check: the fast path never has whom the core does not trust."""

    def check() -> None:
        for address, endpoint in node.fast.endpoints.items():
            peer = node.core.peers.get(address)
            assert peer is not None
            assert (peer.fresh, peer.endpoint) == (True, endpoint)

    return check


def reachable(*roots: object) -> int:
    """How many objects these hold on to, themselves included; code, classes and recorders do not count."""
    seen: dict[int, object] = {}
    found = list(roots)
    while found:
        each = found.pop()
        if id(each) not in seen and not isinstance(each, (type, FunctionType, ModuleType, Recorder)):
            seen[id(each)] = each
            found += gc.get_referents(each)
    return len(seen)
