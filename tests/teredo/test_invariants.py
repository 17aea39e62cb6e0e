# SPDX-License-Identifier: MIT
"""Whatever happens in whatever order to a client and a relay, and whatever a stranger sends them: what always holds."""

from collections import defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from miredo.address.endpoint import Endpoint, IPv6, endpoint, ipv4_of, parse_ipv4
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import TEREDO_PORT, compose, is_teredo, server_of
from miredo.lab.links import Link
from miredo.lab.nat import Filtering, Mapping, NatBehaviour, PortAssignment
from miredo.lab.world import Port, TunnelNode
from miredo.teredo.actions import Qualified, Unqualified
from miredo.teredo.constants import ATTEMPT_LIMIT, ATTEMPT_SPACING, ATTEMPT_WINDOW, PEER_VALIDITY, QUEUE_PACKETS
from miredo.teredo.drops import Drop
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.ipv6 import UDP, IPv6Packet, destination_of, emit_ipv6
from tests.teredo.cores import FORBIDDEN, data, echo_reply, indirect, routed, with_nonce
from tests.world import client_and_relay, holds_only_trusted

pytestmark = pytest.mark.untraced

BEHAVIOURS = [
    None,
    NatBehaviour(),
    NatBehaviour(filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT, ports=PortAssignment.RANDOM),
    NatBehaviour(Mapping.ADDRESS_AND_PORT_DEPENDENT, Filtering.ENDPOINT_INDEPENDENT, PortAssignment.SEQUENTIAL),
]
SCOPE = IPv4Scope()
STRANGER = endpoint(parse_ipv4("198.51.100.200"), 6666)
ABSENT = compose(parse_ipv4("203.0.113.1"), endpoint(parse_ipv4("198.51.100.99"), 4096), 0)
ELSEWHERE = compose(parse_ipv4("203.0.113.9"), endpoint(parse_ipv4("198.51.100.98"), 4096), 0)
FORGED = b"forged"
BURST = 60

forbidden = st.sampled_from(FORBIDDEN)
sources = st.sampled_from(["host", "client", "absent", "link-local"])


def forgery(source: IPv6, destination: IPv6) -> bytes:
    """Data that must never come out of a tunnel."""
    return emit_ipv6(IPv6Packet(0, 0, UDP, 64, source, destination, FORGED + bytes(10)))


class ASmallInternet(RuleBasedStateMachine):
    """A client, a relay, their fast paths, and a stranger who forges every address but the endpoint he sends from."""

    @initialize(
        behaviour=st.sampled_from(BEHAVIOURS),
        loss=st.sampled_from([0.0, 0.1]),
        fast=st.booleans(),
        seed=st.integers(0, 1000),
    )
    def begin(self, behaviour: NatBehaviour | None, loss: float, fast: bool, seed: int) -> None:
        self.lab = client_and_relay(behaviour, Link(delay=0.02, loss=loss), fast=fast, seed=seed)
        self.world, self.client, self.relay = self.lab.world, self.lab.client, self.lab.relay
        self.stranger = Port(self.world, "stranger", lambda payload, source, to: None)
        self.world.claim(ipv4_of(STRANGER), self.stranger)
        self.looked_at = 0
        self.actions_seen = 0
        self.attempts: dict[tuple[str, IPv6], list[float]] = defaultdict(list)
        self.world.checks += [holds_only_trusted(self.client), holds_only_trusted(self.relay), self.count_attempts]

    # ------------------------------------------------------------ what happens

    @rule(seconds=st.sampled_from([0.01, 0.05, 0.5, 2.25, 9.0, 31.0, 130.0, 301.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.run(seconds)

    @precondition(lambda self: self.client.qualified is not None)
    @rule(to=st.sampled_from(["host", "absent", "elsewhere"]))
    def the_client_pings(self, to: str) -> None:
        self.client.ping({"host": self.lab.host.address, "absent": ABSENT, "elsewhere": ELSEWHERE}[to])

    @precondition(lambda self: self.client.qualified is not None)
    @rule()
    def the_host_pings_the_client(self) -> None:
        self.lab.ping_back()

    @rule()
    def the_host_pings_somebody_absent(self) -> None:
        self.lab.host.ping(ABSENT)

    @precondition(lambda self: self.client.qualified is not None)
    @rule(to=st.sampled_from(["host", "absent"]))
    def the_client_sends_more_than_may_wait(self, to: str) -> None:
        destination = {"host": self.lab.host.address, "absent": ABSENT}[to]
        drops, peer = self.client.core.drops, self.client.core.peers.get(destination)
        reachable = peer is not None and self.world.now - peer.last_rx < PEER_VALIDITY
        reachable = reachable or destination in self.client.fast.endpoints  # it hears of a loss up to a second late
        before = drops[Drop.QUEUE_FULL] + drops[Drop.PEER_SILENT]
        for _ in range(BURST):
            self.client.transmit(data(self.lab.address, destination))
        after = drops[Drop.QUEUE_FULL] + drops[Drop.PEER_SILENT]
        assert after - before >= (0 if reachable else BURST - QUEUE_PACKETS)

    @rule(ipv4=forbidden, where=st.sampled_from(["mapped", "server"]))
    def packets_go_to_forbidden_addresses(self, ipv4: bytes, where: str) -> None:
        good = parse_ipv4("203.0.113.1")
        mapped, server = (ipv4, good) if where == "mapped" else (good, ipv4)
        destination = compose(server, endpoint(mapped, 4096), 0)
        self.relay.transmit(forgery(self.lab.host.address, destination))
        if self.client.qualified is not None:
            self.client.transmit(forgery(self.lab.address, destination))

    @rule()
    def the_server_goes_or_comes(self) -> None:
        self.lab.server.up = not self.lab.server.up

    @precondition(lambda self: self.client.port.nat is not None)
    @rule()
    def the_nat_reboots(self) -> None:
        self.lab.nat.reboot()

    @rule(which=st.sampled_from(["client", "relay"]))
    def a_machine_resumes(self, which: str) -> None:
        {"client": self.client, "relay": self.relay}[which].resume()

    # ------------------------------------------------------------ what the stranger does

    def named(self, source: str) -> IPv6:
        own = self.client.qualified.address if self.client.qualified else ELSEWHERE
        return {
            "host": self.lab.host.address,
            "client": own,
            "absent": ABSENT,
            "link-local": bytes.fromhex("fe80") + bytes(14),
        }[source]

    @precondition(lambda self: self.client.qualified is not None)
    @rule(source=sources, kind=st.sampled_from(["data", "routed", "bubble", "nonce", "reply", "group"]))
    def the_stranger_sends_to_the_client(self, source: str, kind: str) -> None:
        forged, own = self.named(source), self.lab.address
        datagram = {
            "data": forgery(forged, own),
            "routed": routed(forged, own),
            "bubble": emit_bubble(forged, own),
            "nonce": with_nonce(emit_bubble(forged, own), b"nonc"),
            "reply": echo_reply(forged, own, bytes(16)),
            "group": forgery(forged, bytes.fromhex("ff02") + bytes(14)),
        }[kind]
        self.arrive(datagram, self.mapped)

    @precondition(lambda self: self.client.qualified is not None)
    @rule(source=sources, origin=forbidden | st.just(ipv4_of(STRANGER)), discard=st.booleans())
    def the_stranger_pretends_to_be_the_server(self, source: str, origin: bytes, discard: bool) -> None:
        datagram = indirect(self.named(source), self.lab.address, endpoint(origin, 99), b"nonc")
        server = endpoint(self.lab.server.addresses[0], TEREDO_PORT)
        self.world.carry(self.stranger, server, self.mapped, datagram + b"\x41\x00" * discard)

    @rule(source=sources, kind=st.sampled_from(["data", "bubble", "nonce"]))
    def the_stranger_sends_to_the_relay(self, source: str, kind: str) -> None:
        forged, host = self.named(source), self.lab.host.address
        datagram = {
            "data": forgery(forged, host),
            "bubble": emit_bubble(forged, host),
            "nonce": with_nonce(emit_bubble(forged, host), b"nonc"),
        }[kind]
        self.arrive(datagram, endpoint(parse_ipv4("203.0.113.3"), 3545))

    @property
    def mapped(self) -> Endpoint:
        assert self.client.qualified is not None
        return self.client.qualified.mapped

    def arrive(self, datagram: bytes, to: Endpoint) -> None:
        self.world.carry(self.stranger, STRANGER, to, datagram)

    # ------------------------------------------------------------ what always holds

    @invariant()
    def nothing_goes_to_a_forbidden_address(self) -> None:
        for carried in self.world.carried[self.looked_at :]:
            assert SCOPE.permits(ipv4_of(carried.to)), carried
        self.looked_at = len(self.world.carried)

    @invariant()
    def nothing_that_was_forged_is_delivered(self) -> None:
        for received in (self.client.kernel.received, self.lab.host.kernel.received):
            for packet in received:
                assert FORGED not in packet
                assert packet[6] != 43

    @invariant()
    def only_who_was_proved_is_trusted(self) -> None:
        """Nobody but the relay speaks for the host and nobody but the client's NAT for the client."""
        host = self.client.core.peers.get(self.lab.host.address)
        assert host is None or ipv4_of(host.endpoint) == parse_ipv4("203.0.113.3")
        assert len(self.client.core.peers) <= 1
        for address in (ABSENT, ELSEWHERE):
            assert self.relay.core.peers.get(address) is None
        for action in self.relay.actions:
            outer = getattr(action, "endpoint", None)
            assert outer is None or ipv4_of(outer) == parse_ipv4("198.51.100.7")

    @invariant()
    def there_is_always_something_to_come(self) -> None:
        """A client that was started never ends up waiting for nothing."""
        deadline = self.client.core.deadline
        assert deadline is not None
        assert deadline >= self.world.now - 1e-9

    def count_attempts(self) -> None:
        """RFC 4380 5.2.6: four in 300 s without a direct packet, 2 s apart; counted from outside."""
        for node in (self.client, self.relay):
            self.forget_what_was_answered(node)
        for carried in self.world.carried[self.looked_at :]:
            if carried.sender in ("client", "relay") and is_bubble(carried.payload):
                destination = destination_of(carried.payload)
                if is_teredo(destination) and carried.to == endpoint(server_of(destination), TEREDO_PORT):
                    self.attempted((carried.sender, destination), carried.at)
        self.nothing_goes_to_a_forbidden_address()

    def attempted(self, key: tuple[str, IPv6], at: float) -> None:
        times = [time for time in self.attempts[key] if time > at - ATTEMPT_WINDOW + 1e-6]
        assert len(times) < ATTEMPT_LIMIT, key
        assert not times or at - times[-1] >= ATTEMPT_SPACING
        self.attempts[key] = [*times, at]

    def forget_what_was_answered(self, node: TunnelNode) -> None:
        for (sender, destination), times in self.attempts.items():
            peer = node.core.peers.get(destination)
            if sender == node.name and peer is not None:
                times[:] = [time for time in times if time > peer.last_rx]
        for action in self.client.actions[self.actions_seen :]:
            if isinstance(action, (Qualified, Unqualified)):  # under another address the count begins anew
                for key in [key for key in self.attempts if key[0] == "client"]:
                    del self.attempts[key]
        self.actions_seen = len(self.client.actions)


TestASmallInternet = pytest.mark.requirement("C45", "C25", "C29", "C47", "A13", "C50", "R2", "R8", "R12", "T3", "T20")(
    ASmallInternet.TestCase
)
TestASmallInternet.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
