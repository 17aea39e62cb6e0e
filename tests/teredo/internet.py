# SPDX-License-Identifier: MIT
"""A small Internet in which anything happens in any order: two clients, a relay, a server, two hosts, a stranger.

The clients are behind NATs of their own, behind one, or behind none. The stranger sends whatever he likes from the
one endpoint that he has. To the server he also forges where it comes from, and he is a would-be client of it. What
always holds is said by the witnesses at all doors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from miredo.address.endpoint import Endpoint, IPv6, endpoint, ipv4_of, parse_endpoint, parse_ipv4, parse_ipv6
from miredo.address.teredo import (
    ALL_NODES,
    ALL_ROUTERS,
    CLIENT_LINK_LOCAL,
    TEREDO_PORT,
    compose,
    is_teredo,
    mapped_of,
    server_link_local,
)
from miredo.lab.attachments import INSIDE, Home, Port
from miredo.lab.links import Link
from miredo.lab.nat import Filtering, Mapping, NatBehaviour, PortAssignment
from miredo.lab.world import RELAY_PORT, ClientNode, TunnelNode
from miredo.teredo import client as client_module
from miredo.teredo import relay as relay_module
from miredo.teredo.constants import PEER_VALIDITY
from miredo.wire.bubble import emit_bubble
from miredo.wire.encapsulation import emit_nonce_authentication, emit_origin
from miredo.wire.icmpv6 import EchoRequest, RouterSolicitation, emit_icmpv6
from miredo.wire.ipv6 import UDP, IPv6Packet, emit_ipv6
from tests.teredo.cores import FORBIDDEN, data, echo_reply, indirect, routed, with_nonce
from tests.teredo.witnesses import FORGED, ServerWitness, TunnelWitness, WireWitness
from tests.world import WatchedWorld, address_of

BEHAVIOURS = [
    None,
    NatBehaviour(),
    NatBehaviour(hairpinning=True),
    NatBehaviour(filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT, ports=PortAssignment.RANDOM),
    NatBehaviour(Mapping.ADDRESS_AND_PORT_DEPENDENT, Filtering.ENDPOINT_INDEPENDENT, PortAssignment.SEQUENTIAL),
]
SERVERS = (parse_ipv4("203.0.113.1"), parse_ipv4("203.0.113.2"))
RELAY = endpoint(parse_ipv4("203.0.113.3"), RELAY_PORT)
STRANGER = parse_endpoint("198.51.100.200:6666")
HIMSELF = compose(SERVERS[0], STRANGER, 0x1234)
"""The address that the stranger has as a client of the server."""
ABSENT = compose(SERVERS[0], parse_endpoint("198.51.100.99:4096"), 0)
ELSEWHERE = compose(parse_ipv4("203.0.113.9"), parse_endpoint("198.51.100.98:4096"), 0)
LAN_BROADCAST = endpoint(INSIDE[:3] + b"\xff", 40000)
LINK_LOCAL = bytes.fromhex("fe80") + bytes(14)
NOWHERE = parse_ipv6("2001:db8:dead::1")
NONCE = b"nonc"

OWN, STRANGERS = (20.0, 40.0), (5.0, 10.0)
"""Attempts a second, and at once: a small Internet has small buckets, or nobody would ever get to their bottom."""
SMALL = dict(
    zip(("ATTEMPT_RATE", "ATTEMPT_BURST", "STRANGERS_RATE", "STRANGERS_BURST"), (*OWN, *STRANGERS), strict=True)
)
CONTACTS, CLIENT_CONTACTS = 30, 1024
MANY = 70
"""More than a bucket holds, and more than the relay has room for."""
BURST = 60
"""More packets than wait for one peer."""

forbidden = st.sampled_from(FORBIDDEN)
names = st.sampled_from(["host", "other host", "client", "friend", "absent", "elsewhere", "himself", "link-local"])
who = st.sampled_from(["client", "friend"])
outers = st.sampled_from(["his own", "his own", "another of his", "the client's", "the server's", *FORBIDDEN[1:3]])
"""Where he pretends to send from; and private addresses."""


def forgery(source: IPv6, destination: IPv6) -> bytes:
    """Data that must never come out of a tunnel."""
    return emit_ipv6(IPv6Packet(0, 0, UDP, 64, source, destination, FORGED + bytes(10)))


@contextmanager
def small_buckets(module: ModuleType) -> Iterator[None]:
    """Cores that are made in the C{with} block have them."""
    before = {name: getattr(module, name) for name in SMALL if hasattr(module, name)}
    try:
        vars(module).update({name: SMALL[name] for name in before})
        yield
    finally:
        vars(module).update(before)


class ASmallInternet(RuleBasedStateMachine):
    """Two clients, a relay, their fast paths, a server, and a stranger."""

    @initialize(
        behaviour=st.sampled_from(BEHAVIOURS),
        friends=st.sampled_from([*BEHAVIOURS, "the same", "the same and one LAN"]),
        loss=st.sampled_from([0.0, 0.1]),
        fast=st.booleans(),
        seed=st.integers(0, 1000),
        acquainted=st.sampled_from([False, True, True]),
        pause=st.sampled_from([0.0, 0.05, 0.2]),
    )
    def begin(
        self,
        behaviour: NatBehaviour | None,
        friends: NatBehaviour | str | None,
        loss: float,
        fast: bool,
        seed: int,
        acquainted: bool,
        pause: float,
    ) -> None:
        """C{pause} is how long each rule waits for what it began; C{acquainted}, whether all know each other."""
        self.pause = pause
        self.world = world = WatchedWorld(seed, Link(delay=0.02, loss=loss))
        self.server = world.server("203.0.113.1", "203.0.113.2")
        self.hosts = {"host": world.host("2001:db8::1"), "other host": world.host("2001:db8::2", "other host")}
        with small_buckets(relay_module), small_buckets(client_module):
            self.relay = world.relay("203.0.113.3", contact_limit=CONTACTS)
            self.clients = self.two_clients(behaviour, friends)
        self.stranger = Port(world, "stranger", lambda payload, source, to: None)
        world.claim(ipv4_of(STRANGER), self.stranger)
        self.watch()
        for node in (self.relay, *self.clients.values()):
            node.use_fast_path = fast
            node.start()
        if acquainted:
            self.world.run(5.0)
            for client, to in (("client", "host"), ("friend", "client")):
                self.a_client_pings(client, to)
            self.world.run(5.0)

    def two_clients(self, behaviour: NatBehaviour | None, friends: NatBehaviour | str | None) -> dict[str, ClientNode]:
        world, server = self.world, self.server
        if isinstance(friends, str):
            lan = Link(delay=0.001, loss=world.link.loss) if friends.endswith("LAN") else None
            home = world.home("198.51.100.7", behaviour or NatBehaviour(), lan=lan)
            return {name: world.client_in(home, server, name) for name in ("client", "friend")}
        client = world.client("198.51.100.7", server, behaviour)
        return {"client": client, "friend": world.client("198.51.100.8", server, friends, "friend")}

    def watch(self) -> None:
        """Put the witnesses to their places."""
        clients, hosts = self.clients.values(), self.hosts.values()
        self.witnesses = [TunnelWitness(node, self.is_true, CLIENT_CONTACTS, OWN, STRANGERS) for node in clients]
        self.witnesses.append(TunnelWitness(self.relay, self.is_true, CONTACTS, OWN))
        self.wire = WireWitness(self.world, [*(node.kernel for node in clients), *(host.kernel for host in hosts)])
        ServerWitness(self.server)
        self.world.checks += [witness.the_fast_path_holds_only_the_trusted for witness in self.witnesses]
        self.world.checks.append(self.wire.look)

    def is_true(self, address: IPv6, outer: Endpoint) -> bool:
        """The relay alone speaks for native hosts, and a NAT alone for the clients behind it."""
        if is_teredo(address):
            return ipv4_of(mapped_of(address)) == ipv4_of(outer) or self.is_neighbour(address, outer)
        return outer == RELAY and address in [host.address for host in self.hosts.values()]

    def is_neighbour(self, address: IPv6, outer: Endpoint) -> bool:
        """Whether a client of the LAN sends from that endpoint."""
        nodes = self.clients.values()
        here = [node for node in nodes if isinstance(node.port, Home) and node.port.lan is not None]
        return any(node.qualified is not None and (address_of(node), node._own) == (address, outer) for node in here)

    def named(self, name: str) -> IPv6:
        """An address; a client that has none is nobody."""
        if name in self.clients:
            client = self.clients[name]
            return address_of(client) if client.qualified else ELSEWHERE
        if name in self.hosts:
            return self.hosts[name].address
        return {"absent": ABSENT, "elsewhere": ELSEWHERE, "himself": HIMSELF, "link-local": LINK_LOCAL}[name]

    # ------------------------------------------------------------ what happens

    @rule(seconds=st.sampled_from([0.01, 0.05, 0.5, 2.25, 9.0, 31.0, 130.0, 301.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(client=who, to=names)
    def a_client_pings(self, client: str, to: str) -> None:
        if self.clients[client].qualified is not None:
            self.clients[client].ping(self.named(to))
        self.world.run(self.pause)

    @rule(host=st.sampled_from(["host", "other host"]), to=names)
    def a_host_pings(self, host: str, to: str) -> None:
        self.hosts[host].ping(self.named(to))
        self.world.run(self.pause)

    @rule(by=st.sampled_from(["client", "relay"]), teredo=st.booleans())
    def many_absent_are_pinged_at_once(self, by: str, teredo: bool) -> None:
        """More than the relay has room for, and more than one bucket holds."""
        for number in range(MANY):
            absent = ABSENT[:8] + number.to_bytes(2, "big") + ABSENT[10:]
            if by == "relay":
                self.hosts["host"].ping(absent)
            elif self.clients["client"].qualified is not None:
                self.clients["client"].ping(absent if teredo else NOWHERE[:14] + number.to_bytes(2, "big"))

    @rule(by=st.sampled_from(["client", "relay"]), to=names, size=st.sampled_from([60, 1280, 4000]))
    def more_is_sent_than_may_wait(self, by: str, to: str, size: int) -> None:
        node: TunnelNode = self.clients["client"] if by == "client" else self.relay
        source, destination = self.named("host" if by == "relay" else by), self.named(to)
        for _ in range(BURST):
            node.transmit(data(source, destination, size))

    @rule(ipv4=forbidden, where=st.sampled_from(["mapped", "server"]))
    def packets_go_to_forbidden_addresses(self, ipv4: bytes, where: str) -> None:
        mapped, server = (ipv4, SERVERS[0]) if where == "mapped" else (SERVERS[0], ipv4)
        destination = compose(server, endpoint(mapped, 4096), 0)
        self.relay.transmit(forgery(self.named("host"), destination))
        self.clients["client"].transmit(forgery(self.named("client"), destination))

    @rule()
    def the_server_goes_or_comes(self) -> None:
        self.server.up = not self.server.up

    @rule(client=who)
    def a_nat_reboots(self, client: str) -> None:
        nat = self.clients[client].port.nat
        if nat is not None:
            nat.reboot()

    @rule(which=st.sampled_from(["client", "friend", "relay"]), seconds=st.sampled_from([0.0, 2.25, 100.0]))
    def a_machine_sleeps(self, which: str, seconds: float) -> None:
        node = {**self.clients, "relay": self.relay}[which]
        node.suspend()
        self.world.run(seconds)
        node.resume()
        self.world.run(self.pause)  # what was to be done meanwhile is done at once

    # ------------------------------------------------------------ what the stranger does

    @precondition(lambda self: self.clients["client"].qualified is not None)
    @rule(source=names, kind=st.sampled_from(["data", "routed", "bubble", "nonce", "reply", "group"]))
    def the_stranger_sends_to_the_client(self, source: str, kind: str) -> None:
        forged, own = self.named(source), self.named("client")
        self.arrive(
            {
                "data": self.stranger_data(forged, own),
                "routed": routed(forged, own),
                "bubble": emit_bubble(forged, own),
                "nonce": with_nonce(emit_bubble(forged, own), NONCE),
                "reply": echo_reply(forged, own, bytes(16)),
                "group": forgery(forged, ALL_NODES),
            }[kind],
            self.mapped,
        )
        self.world.run(self.pause)

    @rule(
        source=names,
        outer=st.sampled_from([STRANGER, LAN_BROADCAST, endpoint(INSIDE, 40000), endpoint(SERVERS[0], TEREDO_PORT)]),
        kind=st.sampled_from(["bubble", "data", "to the client"]),
    )
    def the_stranger_has_something_come_by_the_discovery_group(self, source: str, outer: Endpoint, kind: str) -> None:
        """He is not of the subnet, and whatever he says there, nothing comes of it."""
        forged, client = self.named(source), self.clients["client"]
        datagram = {
            "bubble": emit_bubble(forged, ALL_NODES, hop_limit=1),
            "data": forgery(forged, ALL_NODES),
            "to the client": emit_bubble(forged, self.named("client")),
        }[kind]
        assert client.core.discovered(datagram, outer, self.world.now) == []

    @precondition(lambda self: self.clients["client"].qualified is not None)
    @rule()
    def the_stranger_falls_silent(self) -> None:
        """Once he is trusted; so that an attempt is due when data was sent to him a moment ago."""
        self.a_client_pings("client", "himself")
        self.arrive(data(HIMSELF, self.named("client")), self.mapped)
        for seconds in (PEER_VALIDITY - 1.5, 1.7):
            self.world.run(seconds)
            self.a_client_pings("client", "himself")

    @precondition(lambda self: self.clients["client"].qualified is not None)
    @rule(
        source=names,
        origin=forbidden | st.just(ipv4_of(STRANGER)),
        discard=st.booleans(),
        times=st.sampled_from([1, 1, 6]),
    )
    def the_stranger_pretends_to_be_the_server(self, source: str, origin: bytes, discard: bool, times: int) -> None:
        datagram = indirect(self.named(source), self.named("client"), endpoint(origin, 99), NONCE)
        server = endpoint(SERVERS[0], TEREDO_PORT)
        for _ in range(times):
            self.world.carry(self.stranger, server, self.mapped, datagram + b"\x41\x00" * discard)
        self.world.run(self.pause)

    @precondition(lambda self: self.clients["client"].qualified is not None)
    @rule(source=st.sampled_from(["host", "other host", "many"]))
    def the_stranger_floods_the_client(self, source: str) -> None:
        """As one host that would answer a test, or as many that nobody knows."""
        many = [NOWHERE[:14] + (1000 + number).to_bytes(2, "big") for number in range(MANY)]
        for forged in many if source == "many" else BURST * [self.named(source)]:
            self.arrive(forgery(forged, self.named("client")), self.mapped)
        self.world.run(self.pause)

    @rule(source=names, kind=st.sampled_from(["data", "bubble", "nonce", "into Teredo"]))
    def the_stranger_sends_to_the_relay(self, source: str, kind: str) -> None:
        forged, host = self.named(source), self.named("host")
        self.arrive(
            {
                "data": self.stranger_data(forged, host),
                "bubble": emit_bubble(forged, host),
                "nonce": with_nonce(emit_bubble(forged, host), NONCE),
                "into Teredo": forgery(forged, self.named("client")),
            }[kind],
            RELAY,
        )
        self.world.run(self.pause)

    @rule(
        solicitor=st.sampled_from([CLIENT_LINK_LOCAL, LINK_LOCAL, LINK_LOCAL[:8] + b"\x80" + bytes(7), HIMSELF]),
        hop_limit=st.sampled_from([255, 255, 64]),
        authentic=st.booleans(),
        outer=outers,
        via=st.sampled_from(SERVERS),
    )
    def the_stranger_solicits(
        self, solicitor: IPv6, hop_limit: int, authentic: bool, outer: str | bytes, via: bytes
    ) -> None:
        solicitation = emit_icmpv6(solicitor, ALL_ROUTERS, RouterSolicitation(), hop_limit)
        start = emit_nonce_authentication(NONCE * 2) if authentic else b""
        self.ask_the_server(start + solicitation, outer, via)

    @rule(
        source=names,
        kind=st.sampled_from(["bubble", "long bubble", "echo", "long echo", "data", "with origin", "last hop"]),
        destination=names | names | st.sampled_from([b"6to4", b"server", b"its link", b"group", *FORBIDDEN]),
        outer=outers,
        via=st.sampled_from(SERVERS),
    )
    def the_stranger_sends_to_the_server(
        self, source: str, kind: str, destination: str | bytes, outer: str | bytes, via: bytes
    ) -> None:
        """Now as himself, now as somebody else; what he forges may be delivered nowhere."""
        honest = source == "himself" or outer == "the client's"
        come, go = self.named(source), self.destination(destination)
        text = (b"honest" if honest else FORGED) + bytes(10)
        echo = EchoRequest(1, 1, text)
        datagram = {
            "bubble": emit_bubble(come, go),
            "long bubble": with_nonce(emit_bubble(come, go), NONCE) + b"\x7f\xff" + bytes(255),
            "echo": emit_icmpv6(come, go, echo, 64),
            "long echo": emit_icmpv6(come, go, EchoRequest(1, 1, text + bytes(200)), 64),
            "data": data(come, go) if honest else forgery(come, go),
            "with origin": emit_origin(STRANGER) + emit_bubble(come, go),
            "last hop": emit_icmpv6(come, go, echo, 1),
        }[kind]
        self.ask_the_server(datagram, outer, via)

    def destination(self, name: str | bytes) -> IPv6:
        """An address by its name, or the Teredo address with that IPv4 address in it."""
        if isinstance(name, str):
            return self.named(name)
        special = {
            b"6to4": b"\x20\x02" + SERVERS[0] + bytes(10),
            b"server": compose(SERVERS[0], endpoint(SERVERS[1], TEREDO_PORT), 0),
            b"its link": server_link_local(SERVERS[0]),
            b"group": ALL_NODES,
        }
        return special.get(name) or compose(SERVERS[0], endpoint(name, 4096), 0)

    def ask_the_server(self, datagram: bytes, outer: str | bytes, via: bytes) -> None:
        if isinstance(outer, bytes):
            source = endpoint(outer, 4096)
        else:
            source = {
                "his own": STRANGER,
                "another of his": endpoint(ipv4_of(STRANGER), 7777),
                "the client's": self.mapped if self.clients["client"].qualified else STRANGER,
                "the server's": endpoint(SERVERS[1], TEREDO_PORT),
            }[outer]
        self.world.carry(self.stranger, source, endpoint(via, TEREDO_PORT), datagram)
        self.world.run(self.pause)

    @staticmethod
    def stranger_data(source: IPv6, destination: IPv6) -> bytes:
        """What he may well send under his own name is a forgery under any other."""
        return data(source, destination) if source == HIMSELF else forgery(source, destination)

    @property
    def mapped(self) -> Endpoint:
        return mapped_of(self.named("client"))

    def arrive(self, datagram: bytes, to: Endpoint) -> None:
        self.world.carry(self.stranger, STRANGER, to, datagram)

    # ------------------------------------------------------------ what always holds

    @invariant()
    def all_witnesses_are_content(self) -> None:
        self.wire.look()
        for witness in self.witnesses:
            witness.the_fast_path_holds_only_the_trusted()
            witness.queues_are_bounded(witness.known)
        for witness in self.witnesses[:-1]:
            witness.there_is_always_something_to_come(self.world.now)
