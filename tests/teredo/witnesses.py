# SPDX-License-Identifier: MIT
"""Witnesses at the doors of cores: each sees all that goes in and comes out, and objects to what must never be.

Each check is a method of its own whose name is the fact. They know a core by what it is told and what it asks for;
only the packets that wait are counted inside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from miredo.address.endpoint import Endpoint, IPv4, IPv6, ipv4_of, port_of
from miredo.address.scope import FORBIDDEN_IPV4, IPv4Scope, is_global_ipv6, is_link_local
from miredo.address.teredo import ALL_ROUTERS, TEREDO_PORT, is_teredo, mapped_of, server_link_local, server_of
from miredo.lab.pings import Kernel
from miredo.lab.world import ServerNode, TunnelNode
from miredo.teredo.actions import (
    PRIMARY,
    Action,
    DeliverPacket,
    ForwardPacket,
    PeerTrusted,
    Qualified,
    SendDatagram,
    Unqualified,
)
from miredo.teredo.client import Client
from miredo.teredo.constants import (
    ANSWER_LIMIT,
    ANSWER_SPACING,
    ATTEMPT_LIMIT,
    ATTEMPT_SPACING,
    ATTEMPT_WINDOW,
    FOREIGN_PORT_BUBBLE_LIMIT,
    HELD_PACKETS,
    NATIVE_PAUSE,
    PATIENCE,
    QUEUE_BYTES,
    QUEUE_PACKETS,
    SERVER_ICMPV6_LIMIT,
)
from miredo.teredo.traversal import STRANGERS_SHARE
from miredo.wire.bubble import is_bubble
from miredo.wire.encapsulation import emit_origin, parse_encapsulation
from miredo.wire.ipv6 import HEADER_LENGTH, ICMPV6, ROUTING, destination_of, next_header_of, source_of
from miredo.wire.reader import MalformedPacket
from tests.world import Carried, WatchedWorld, holds_only_trusted

EPSILON = 1e-6
"""Seconds, or tokens, that sums of floats may be off by."""
NEVER = float("-inf")
SOLICITATION_LENGTH, ADVERTISEMENT_LENGTH, ORIGIN_LENGTH = 48, 96, 8
"""Bytes: the shortest solicitation, our servers' advertisement, and an origin indication."""
FORGED = b"forged"
"""In packets that nobody may ever get."""


def is_forbidden(ipv4: IPv4) -> bool:
    """As L{IPv4Scope.permits} should have it, without it."""
    return any(row.first <= ipv4 <= row.last for row in FORBIDDEN_IPV4)


class WireWitness:
    """At the IPv4 core, and behind the tunnels."""

    def __init__(self, world: WatchedWorld, kernels: list[Kernel]) -> None:
        self._world = world
        self._kernels = kernels

    def look(self) -> None:
        """At what is new."""
        for datagram in self._world.carried:
            self.nothing_goes_to_a_forbidden_address(datagram)
        self._world.forget()
        for kernel in self._kernels:
            for packet in kernel.received:
                self.nothing_forged_is_received(packet)
            kernel.received.clear()

    def nothing_goes_to_a_forbidden_address(self, datagram: Carried) -> None:
        """RFC 4380 5.2.4, whoever sends: client, relay, server."""
        assert not is_forbidden(ipv4_of(datagram.to)), datagram

    def nothing_forged_is_received(self, packet: bytes) -> None:
        """Whichever way it came."""
        assert FORGED not in packet
        assert packet[6] != ROUTING


class Rate:
    """The most that happened in any window of time, beyond what a rate allows for the window's length."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._count = 0
        self._lowest = float("inf")

    def happened(self, now: float) -> float:
        """One more; the largest excess of all windows that end now.

        The window from event i to event j has j - i + 1 events in it, so the worst i is the one with the lowest level.
        """
        self._count += 1
        level = self._count - self._rate * now
        self._lowest = min(self._lowest, level)
        return level - self._lowest + 1


class TunnelWitness:
    """At the door of a client or a relay.

    @param truth: whether an endpoint really answers for an address.
    @param limit: how many contacts the core may have.
    @param own: a rate and a burst for the attempts that the host asks for.
    @param strangers: the same for those that only received packets ask for.
    """

    def __init__(
        self,
        node: TunnelNode,
        truth: Callable[[IPv6, Endpoint], bool],
        limit: int,
        own: tuple[float, float],
        strangers: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.core = node.core
        self._check_fast_path = holds_only_trusted(node)
        self._truth = truth
        self._limit = limit
        self._burst, self._strangers_burst = own[1] + strangers[1], strangers[1]
        self._all, self._for_strangers = Rate(own[0] + strangers[0]), Rate(strangers[0])
        self._attempts: dict[IPv6, list[float]] = defaultdict(list)
        self._answers: dict[Endpoint, list[float]] = defaultdict(list)
        self._heard: dict[bytes, float] = {}  # by address, and by endpoint
        self._sent: dict[IPv6, float] = {}
        self._begun = NEVER  # what was sent until then keeps nobody waiting
        self._used: list[IPv6] = []
        self._used_at: dict[IPv6, int] = {}
        self._evictable: set[IPv6] = set()
        self._came: dict[bytes, set[Endpoint]] = defaultdict(set)
        core, fast = node.core, node.fast
        self._passes, self._receive, self._transmit = core.passes, core.receive, core.transmit
        self._expire, self._resumed = core.expire, core.resumed
        self._ingress, self._report = fast.ingress, fast.report
        if isinstance(core, Client):
            self._discovered = core.discovered
            vars(core)["discovered"] = self.discovered
        for name in ("passes", "receive", "transmit", "expire", "resumed"):
            setattr(core, name, getattr(self, name))
        for name in ("ingress", "report"):
            setattr(fast, name, getattr(self, name))

    @property
    def known(self) -> list[IPv6]:
        """Whom the host sent to."""
        return list(self._used_at)

    # ------------------------------------------------------------ the doors

    def passes(self, datagram: bytes, outer: Endpoint, now: float) -> bool:
        passed = self._passes(datagram, outer, now)
        if passed:
            self._came[datagram].add(outer)
            self.nothing_untrusted_is_delivered(datagram)
            self._heard_directly(source_of(datagram), outer, now)
        return passed

    def receive(self, datagram: bytes, outer: Endpoint, now: float) -> list[Action]:
        packet = packet_in(datagram)
        if packet is not None:
            self._came[packet].add(outer)
            self._used.append(source_of(packet))
        actions = self._receive(datagram, outer, now)
        if packet is not None and self.core.peers.matches(source_of(packet), outer):
            self._heard_directly(source_of(packet), outer, now)
        self._came_out(actions, now, answering=True)
        if packet is not None:
            self.queues_are_bounded([source_of(packet)])
        return actions

    def discovered(self, datagram: bytes, outer: Endpoint, now: float) -> list[Action]:
        """By the discovery group, which only a client hears."""
        assert isinstance(self.core, Client)
        actions = self._discovered(datagram, outer, now)
        self._came_out(actions, now, answering=True)
        return actions

    def transmit(self, packet: bytes, now: float) -> list[Action]:
        destination = destination_of(packet)
        self._use(destination)
        actions = self._transmit(packet, now)
        self._came_out(actions, now)
        self.queues_are_bounded([destination])
        return actions

    def expire(self, now: float) -> list[Action]:
        actions = self._expire(now)
        self._came_out(actions, now)
        return actions

    def resumed(self, now: float) -> list[Action]:
        """Nobody can tell how long ago that is what was sent before the sleep."""
        self._begun = now
        return self._resumed(now)

    def ingress(self, source: IPv6, outer: Endpoint, now: float) -> bool:
        passed = self._ingress(source, outer, now)
        if passed:
            self._heard_directly(source, outer, now)
        return passed

    def report(self) -> list[tuple[IPv6, float, float]]:
        """What the fast path sent, which the core cannot know earlier."""
        seen = self._report()
        self._sent.update({address: last_tx for address, _, last_tx in seen})
        return seen

    # ------------------------------------------------------------ what happened

    def _heard_directly(self, source: IPv6, outer: Endpoint, now: float) -> None:
        self._heard[source] = self._heard[outer] = now

    def _use(self, address: IPv6) -> None:
        """The host sends to C{address}.

        The least recently used contact makes room. So it may be gone if as many others as there is room for were sent
        to, or heard of, since it was sent to last; and only then are its attempts counted anew.
        """
        last = self._used_at.get(address)
        if last is not None and len(self._used) - last > self._limit and self._others_since(last) >= self._limit:
            self._evictable.add(address)
        self._used_at[address] = len(self._used)
        self._used.append(address)

    def _others_since(self, when: int) -> int:
        return len(set(self._used[when + 1 :]))

    def _came_out(self, actions: list[Action], now: float, *, answering: bool = False) -> None:
        for action in actions:
            if isinstance(action, DeliverPacket):
                self.nothing_untrusted_is_delivered(action.packet)
            elif isinstance(action, PeerTrusted):
                self.only_who_was_proved_is_trusted(action.address, action.endpoint)
            elif isinstance(action, (Qualified, Unqualified)):  # under another address all counts begin anew
                self._attempts.clear()
                self._answers.clear()
                self._begun = now
        sent = [action for action in actions if isinstance(action, SendDatagram) and action.payload[0] >> 4 == 6]
        self._sort_out(sent, now, answering=answering)

    def _sort_out(self, sent: list[SendDatagram], now: float, *, answering: bool) -> None:
        """Answers, attempts and data.

        A bubble that a received packet led to is an answer, unless it goes to a native host's relay beside a test of
        that host; what else goes for one peer at once is one attempt (A13).
        """
        tested = {destination_of(action.payload) for action in sent if port_of(action.to) == TEREDO_PORT}
        attempts: dict[IPv6, None] = {}
        for payload, to, *_ in sent:
            destination = destination_of(payload)
            for_who_asked = is_teredo(destination) or destination not in tested
            if answering and is_bubble(payload) and for_who_asked:
                self._answered(to, now)
            elif is_bubble(payload) or port_of(to) == TEREDO_PORT:
                attempts[destination] = None
            else:
                self._sent[destination] = now
        for address in attempts:
            self._attempted(address, now)

    def _attempted(self, address: IPv6, now: float) -> None:
        self.all_attempts_stay_in_the_bucket(address, now)
        if address in self._evictable:
            self._evictable.discard(address)
            self._attempts.pop(address, None)
        self.attempts_keep_their_distance(address, now)
        self.attempts_stay_within_their_count(address, now)
        self._attempts[address].append(now)

    def _answered(self, to: Endpoint, now: float) -> None:
        self.answers_stay_within_their_limits(to, now)
        self._answers[to].append(now)

    # ------------------------------------------------------------ what always holds

    def the_fast_path_holds_only_the_trusted(self) -> None:
        self._check_fast_path()

    def nothing_untrusted_is_delivered(self, packet: bytes) -> None:
        """What comes out of the tunnel came from the endpoint that is trusted for its source now."""
        peer = self.core.peers.get(source_of(packet))
        assert peer is not None, packet
        assert peer.fresh, packet
        assert peer.endpoint in self._came[packet], packet
        assert self.core.admits(destination_of(packet)), packet

    def only_who_was_proved_is_trusted(self, address: IPv6, outer: Endpoint) -> None:
        assert self._truth(address, outer), (address, outer)

    def attempts_keep_their_distance(self, address: IPv6, now: float) -> None:
        """RFC 4380 5.2.6, A13: 2 s after the last transmission, data or attempt.

        It bounds bubbles, not tests of native hosts: one that has just been trusted is tested again when somebody
        else sends under its name, as often as the strangers' bucket allows.
        """
        sent = [*self._attempts[address][-1:], self._sent.get(address, NEVER)]
        last = max((at for at in sent if at > self._begun), default=NEVER)
        assert not is_teredo(address) or now - last >= ATTEMPT_SPACING - EPSILON, address

    def attempts_stay_within_their_count(self, address: IPv6, now: float) -> None:
        """RFC 4380 5.2.6, A13: four in 300 s without a direct packet.

        Tests of native hosts have two rounds of four in 19 s: one for the host, and one for a stranger who sent under
        its name before.
        """
        limit, window = ATTEMPT_LIMIT, ATTEMPT_WINDOW
        if not is_teredo(address):
            limit, window = 2 * ATTEMPT_LIMIT, PATIENCE + NATIVE_PAUSE
        since = max(now - window + EPSILON, self._heard.get(address, NEVER))
        assert len([at for at in self._attempts[address] if at > since]) < limit, address

    def all_attempts_stay_in_the_bucket(self, address: IPv6, now: float) -> None:
        """A13: over all peers, whatever was evicted."""
        assert self._all.happened(now) <= self._burst + EPSILON
        if address not in self._used_at:
            assert self._for_strangers.happened(now) <= self._strangers_burst + EPSILON

    def answers_stay_within_their_limits(self, to: Endpoint, now: float) -> None:
        """A13: 1 s apart, four in 300 s without a direct packet."""
        given = self._answers[to]
        assert not given or now - given[-1] >= ANSWER_SPACING - EPSILON, to
        since = max(now - ATTEMPT_WINDOW + EPSILON, self._heard.get(to, NEVER))
        assert len([at for at in given if at > since]) < ANSWER_LIMIT, to

    def queues_are_bounded(self, addresses: list[IPv6]) -> None:
        """In packets and bytes for each contact, and in contacts."""
        traversal = self.core._traversal
        assert len(traversal) <= self._limit + max(1, self._limit // STRANGERS_SHARE)
        for address in addresses:
            contact = traversal.get(address)
            if contact is None:
                continue
            assert len(contact.queue) <= QUEUE_PACKETS, address
            assert sum(map(len, contact.queue._packets)) <= QUEUE_BYTES, address
            assert len(contact.held) <= HELD_PACKETS, address
            assert sum(len(packet) for _, _, packet in contact.held._packets) <= QUEUE_BYTES, address

    def there_is_always_something_to_come(self, now: float) -> None:
        """A client that was started never ends up waiting for nothing."""
        deadline = self.core.deadline
        assert deadline is not None
        assert deadline >= now - EPSILON


class ServerWitness:
    """At the door of a server."""

    def __init__(self, node: ServerNode) -> None:
        self._addresses = node.addresses
        self._link_local = server_link_local(node.addresses[PRIMARY])
        self._receive = node.core.receive
        for name in ("receive",):  # mypy lets no method be replaced by name
            setattr(node.core, name, self.receive)

    def receive(self, datagram: bytes, outer: Endpoint, via: int, now: float) -> list[Action]:
        actions = self._receive(datagram, outer, via, now)
        self.one_datagram_leads_to_one_at_most(actions, outer)
        for action in actions:
            if isinstance(action, SendDatagram):
                self._sent(datagram, outer, action)
            else:
                assert isinstance(action, ForwardPacket)
                self.only_clients_reach_the_native_network(datagram, outer, action.packet)
        return actions

    def _sent(self, datagram: bytes, outer: Endpoint, action: SendDatagram) -> None:
        if destination_of(parse_encapsulation(datagram).packet) in (ALL_ROUTERS, self._link_local):
            self.an_answer_goes_to_who_asked(datagram, outer, action)
        else:
            self.what_goes_on_is_what_came_and_names_its_sender(datagram, outer, action)
            self.only_what_is_proved_goes_on(datagram, outer)

    def _is_ours(self, address: IPv6) -> bool:
        return is_teredo(address) and server_of(address) in self._addresses

    # ------------------------------------------------------------ what always holds

    def one_datagram_leads_to_one_at_most(self, actions: list[Action], outer: Endpoint) -> None:
        """RFC 4380 5.3: it is stateless; and 5.3.1/3: nothing comes of a forbidden source."""
        assert len(actions) <= (0 if is_forbidden(ipv4_of(outer)) else 1), actions

    def an_answer_goes_to_who_asked(self, datagram: bytes, outer: Endpoint, action: SendDatagram) -> None:
        """RFC 4380 5.3.1, 5.3.2: an advertisement, longer by no more than its form is, or the reply to an echo."""
        asked = parse_encapsulation(datagram).packet
        assert action.to == outer
        if destination_of(asked) == ALL_ROUTERS:
            assert is_link_local(source_of(asked))
            added = ORIGIN_LENGTH + ADVERTISEMENT_LENGTH - SOLICITATION_LENGTH
            assert len(action.payload) <= len(datagram) + added
        else:
            assert is_teredo(source_of(asked))
            assert mapped_of(source_of(asked)) == outer
            assert len(action.payload) <= len(asked)

    def what_goes_on_is_what_came_and_names_its_sender(
        self, datagram: bytes, outer: Endpoint, action: SendDatagram
    ) -> None:
        """RFC 4380 5.3.1: the same bytes for the client that they are for, and an origin if it is a client of ours."""
        _, _, packet, trailers = parse_encapsulation(datagram)
        destination = destination_of(packet)
        origin = emit_origin(outer) if self._is_ours(destination) else b""
        assert action.payload == origin + packet + trailers
        assert action.to == mapped_of(destination)
        assert ipv4_of(action.to) not in self._addresses

    def only_what_is_proved_goes_on(self, datagram: bytes, outer: Endpoint) -> None:
        """RFC 4380 5.3.1/2, 5 to 7: bubbles and short ICMPv6, from who has the address or for a client of ours."""
        _, _, packet, trailers = parse_encapsulation(datagram)
        source = source_of(packet)
        is_short = next_header_of(packet) == ICMPV6 and len(packet) - HEADER_LENGTH <= SERVER_ICMPV6_LIMIT
        assert is_short or is_bubble(packet)
        if not is_teredo(source):
            assert self._is_ours(destination_of(packet))
        elif mapped_of(source) != outer:
            assert ipv4_of(mapped_of(source)) == ipv4_of(outer)
            assert is_bubble(packet)
            assert len(packet + trailers) <= FOREIGN_PORT_BUBBLE_LIMIT
            assert self._is_ours(destination_of(packet))

    def only_clients_reach_the_native_network(self, datagram: bytes, outer: Endpoint, forwarded: bytes) -> None:
        """RFC 4380 5.3.1: from the endpoint that its source embeds, to a global address, one hop further."""
        packet = parse_encapsulation(datagram).packet
        source, destination = source_of(packet), destination_of(packet)
        assert is_teredo(source)
        assert mapped_of(source) == outer
        assert is_bubble(packet) or next_header_of(packet) == ICMPV6
        assert not is_teredo(destination)
        assert is_global_ipv6(destination, IPv4Scope())
        assert destination[:6] not in [b"\x20\x02" + own for own in self._addresses]
        assert forwarded == packet[:7] + bytes([packet[7] - 1]) + packet[8:]


def packet_in(datagram: bytes) -> bytes | None:
    """The IPv6 packet of a datagram, if there is one."""
    try:
        return parse_encapsulation(datagram).packet
    except MalformedPacket:
        return None


CHECKS: dict[str, type] = {
    name: witness
    for witness, names in {
        TunnelWitness: (
            "the_fast_path_holds_only_the_trusted",
            "nothing_untrusted_is_delivered",
            "only_who_was_proved_is_trusted",
            "attempts_keep_their_distance",
            "attempts_stay_within_their_count",
            "all_attempts_stay_in_the_bucket",
            "answers_stay_within_their_limits",
            "queues_are_bounded",
            "there_is_always_something_to_come",
        ),
        ServerWitness: (
            "one_datagram_leads_to_one_at_most",
            "an_answer_goes_to_who_asked",
            "what_goes_on_is_what_came_and_names_its_sender",
            "only_what_is_proved_goes_on",
            "only_clients_reach_the_native_network",
        ),
        WireWitness: ("nothing_goes_to_a_forbidden_address", "nothing_forged_is_received"),
    }.items()
    for name in names
}
"""The witness of each check."""
