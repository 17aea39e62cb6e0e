# SPDX-License-Identifier: MIT
"""A client or a relay on trial: it is told a story, and whatever it asks for is held against what it may.

The promises, each judged from outside, by what went in and what came out:

  1. It never raises, and after L{expire} nothing is due any more.
  2. Nothing goes to an IPv4 address that is forbidden.
  3. An endpoint is trusted for an address only after it has proved itself (RFC 4380 5.2.3, 5.4.2; RFC 6081 5.2.4.4).
  4. Only what came from an endpoint that is trusted for its source is delivered, and only packets of the host leave
     for a trusted endpoint.
  5. Queues, tables and errors are bounded.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from enum import IntEnum

from miredo.address.endpoint import Endpoint, IPv4, IPv6, endpoint, ipv4_of, parse_endpoint, parse_ipv4
from miredo.address.scope import IPv4Scope, is_multicast
from miredo.address.teredo import ALL_NODES, compose, mapped_of
from miredo.teredo.actions import Action, AllLost, DeliverPacket, PeerLost, PeerTrusted, SendDatagram, SendError
from miredo.teredo.client import Client
from miredo.teredo.constants import ERROR_BURST, ERROR_RATE, HELD_PACKETS, QUEUE_BYTES, QUEUE_PACKETS
from miredo.teredo.drops import Drop
from miredo.teredo.relay import Relay
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.encapsulation import Encapsulated, parse_encapsulation
from miredo.wire.icmpv6 import EchoRequest, OtherICMPv6, emit_icmpv6
from miredo.wire.ipv6 import UDP, IPv6Packet, destination_of, emit_ipv6, has_live_routing_header, source_of
from miredo.wire.reader import MalformedPacket
from miredo.wire.trailers import nonce_in
from tests.fuzz.script import Script
from tests.teredo.cores import (
    ELSEWHERE,
    KEYED,
    MAPPED,
    NATIVE,
    OTHER_ENDPOINT,
    OTHER_NATIVE,
    OTHER_SERVER,
    PEER,
    PEER_MAPPED,
    PRIMARY_ENDPOINT,
    RELAY,
    SECONDARY_ENDPOINT,
    indirect,
    routed,
    with_nonce,
)

STEPS, PEER_LIMIT, CONTACT_LIMIT, BURST = 64, 4, 4, 40
LATE = 10_000
"""Deadlines that one wait may have; more is a core that never comes to rest."""
LONGEST_ERROR = 1240
"""Bytes: what RFC 4443 2.4(c) leaves beside an IPv6 header."""
DURATIONS = (0.001, 0.05, 0.5, 1.0, 2.0, 2.25, 4.0, 9.0, 29.9, 30.0, 31.0, 60.0, 300.0, 301.0)
SCOPE = IPv4Scope()
NONCE = b"\xde\xad\xbe\xef"


def teredo(number: int, server: IPv4 = OTHER_SERVER.primary) -> IPv6:
    return compose(server, endpoint(bytes((192, 0, 2, 100 + number)), 4096), number)


ENDPOINTS = (
    MAPPED,
    PEER_MAPPED,
    ELSEWHERE,
    RELAY,
    PRIMARY_ENDPOINT,
    SECONDARY_ENDPOINT,
    OTHER_ENDPOINT,
    parse_endpoint("10.0.0.1:80"),
    parse_endpoint("255.255.255.255:4096"),
    parse_endpoint("192.0.2.1:4097"),
    *(mapped_of(teredo(number)) for number in range(6)),
)
ADDRESSES = (
    PEER,
    NATIVE,
    OTHER_NATIVE,
    KEYED,
    ALL_NODES,
    compose(OTHER_SERVER.primary, parse_endpoint("10.0.0.1:80"), 0),
    teredo(9, parse_ipv4("127.0.0.1")),
    bytes(16),
    bytes.fromhex("2002c00002010000") + bytes(8),
    *(teredo(number) for number in range(6)),
    *(NATIVE[:15] + bytes((number,)) for number in range(16, 20)),
)


class Step(IntEnum):
    """What can happen, by the byte that a script has for it."""

    WAIT = 0
    RAW_DATAGRAM = 1
    DATAGRAM = 2
    RAW_PACKET = 3
    PACKET = 4
    PACKETS = 5
    EXPIRE_EARLY = 6
    RESUME = 7
    RESTART = 8
    FAST_PATH_REPORTS = 9
    SERVER_CHANGES = 10


class Kind(IntEnum):
    """What a well-formed datagram can be."""

    DATA = 0
    BUBBLE = 1
    BUBBLE_WITH_NONCE = 2
    INDIRECT = 3
    ECHO_REPLY = 4
    ROUTED = 5
    ANSWER_TO_KEYED = 6


class Dice:
    """Alike in every run, and no two rolls alike."""

    def __init__(self) -> None:
        self._rolls = 0

    def __call__(self, count: int) -> bytes:
        self._rolls += 1
        return (self._rolls * 0x9E3779B97F4A7C15 % (1 << 64)).to_bytes(8, "big").ljust(count, b"\x5a")[:count]


class Trial(ABC):
    """One story; L{tell} it."""

    def __init__(self, core: Client | Relay) -> None:
        self.core = core
        self.now = 1.0
        self.trusted: dict[IPv6, Endpoint] = {}
        self.proved: set[tuple[IPv6, Endpoint]] = set()
        self.ever_proved: set[tuple[IPv6, Endpoint]] = set()
        self.arrived: dict[bytes, set[Endpoint]] = defaultdict(set)
        self.given: set[bytes] = set()
        self.quotable: set[bytes] = set()
        self.nonces: dict[IPv6, list[bytes]] = defaultdict(list)
        self.keyed: dict[IPv6, list[IPv6]] = defaultdict(list)
        self.cause: tuple[Encapsulated, Endpoint] | None = None
        self._errors = 0
        self._serial = 0

    # ------------------------------------------------------------ the story

    def tell(self, script: Script) -> None:
        self.obey(self.core.start(self.now))
        for _ in range(STEPS):
            if script.is_over:
                break
            self.step(script)
            self.look()
        self.end()

    def step(self, script: Script) -> None:
        match script.byte() % len(Step):
            case Step.WAIT:
                self.wait(script.choice(DURATIONS))
            case Step.RAW_DATAGRAM:
                self.arrive(script.text(), script.choice(ENDPOINTS))
            case Step.DATAGRAM:
                outer = script.choice(ENDPOINTS)
                self.arrive(script.damage(self.datagram(script)), outer)
            case Step.RAW_PACKET:
                self.transmit(script.text())
            case Step.PACKET:
                source, destination = self.own(script), self.address(script)
                self.transmit(script.damage(self.packet(script, source, destination)))
            case Step.PACKETS:
                source, destination, size = self.own(script), self.address(script), 48 + 16 * script.byte()
                for _ in range(BURST):
                    self.transmit(self.data(source, destination, size))
            case Step.SERVER_CHANGES:
                self.change_server(script)
            case seldom:
                self.interfere(Step(seldom), script)

    def interfere(self, step: Step, script: Script) -> None:
        """What comes from the shell rather than from the network or the host."""
        match step:
            case Step.EXPIRE_EARLY:
                self.obey(self.core.expire(self.now))
            case Step.RESUME:
                self.obey(self.core.resumed(self.now))
            case Step.RESTART:
                self.obey(self.core.stop(self.now))
                self.obey(self.core.start(self.now))
            case _ if self.trusted:  # the fast path can have seen only whom it was told of
                self.core.peers.seen(script.choice(list(self.trusted)), self.now - 1, self.now - 1)

    def wait(self, seconds: float) -> None:
        """Each deadline passes at its time."""
        until = self.now + seconds
        for _ in range(LATE):
            deadline = self.core.deadline
            if deadline is None or deadline > until:
                self.now = until
                return
            self.now = max(self.now, deadline)
            self.obey(self.core.expire(self.now))
            assert self.core.deadline is None or self.core.deadline > self.now, "still due after it expired"
        raise AssertionError(f"{LATE} deadlines within {seconds} s")

    def arrive(self, datagram: bytes, outer: Endpoint) -> None:
        """A datagram comes; the per-packet path has it first, as in the shell."""
        self.cause = None
        try:
            self.cause = parse_encapsulation(datagram), outer
            self.arrived[self.cause[0].packet].add(outer)
        except MalformedPacket:
            pass
        if self.core.passes(datagram, outer, self.now):
            self.obey([DeliverPacket(datagram)])
        else:
            self.obey(self.core.receive(datagram, outer, self.now))
        self.cause = None

    def transmit(self, packet: bytes) -> None:
        """The host sends a packet."""
        self.given.add(packet)
        self.quotable.add(packet[: LONGEST_ERROR - 8])
        self.obey(self.core.transmit(packet, self.now))

    def end(self) -> None:
        """All that waits is given up and counted, so that it can be seen how much there was."""
        drops = self.core.drops
        before = drops[Drop.NO_ANSWER], drops[Drop.HELD_TOO_LONG]
        self.obey(self.core.stop(self.now))
        assert drops[Drop.NO_ANSWER] - before[0] <= CONTACT_LIMIT * QUEUE_PACKETS, "more waits than may"
        assert drops[Drop.HELD_TOO_LONG] - before[1] <= 2 * CONTACT_LIMIT * HELD_PACKETS, "more is held than may"
        assert len(self.core.peers) == 0
        assert self.core.deadline is None

    # ------------------------------------------------------------ what a role adds

    @abstractmethod
    def own(self, script: Script) -> IPv6:
        """The source of a packet of the host."""

    @abstractmethod
    def change_server(self, script: Script) -> None:
        """The server behaves in another way from now on."""

    @abstractmethod
    def is_proof(self, content: Encapsulated, nonce: bytes | None, outer: Endpoint) -> bool:
        """Whether a datagram lets C{outer} be trusted for its source."""

    def note(self, content: Encapsulated, to: Endpoint) -> None:
        """The core sent this of its own accord."""
        if is_bubble(content.packet):
            nonce = nonce_in(content.trailers)
            peer = destination_of(content.packet)
            self.keyed[peer].append(source_of(content.packet))
            self.nonces[peer] += [nonce] if nonce is not None else []

    def check_delivery(self, packet: bytes) -> None:
        """A packet may be given to the host."""
        assert self.trusted.get(source_of(packet)) in self.arrived[packet], "delivered from who is not trusted"
        assert not is_bubble(packet)
        assert not has_live_routing_header(packet)

    # ------------------------------------------------------------ packets

    def address(self, script: Script) -> IPv6:
        return script.choice(ADDRESSES)

    def packet(self, script: Script, source: IPv6, destination: IPv6) -> bytes:
        match script.byte() % 5:
            case 1:
                return emit_bubble(source, destination)
            case 2:
                return emit_icmpv6(source, destination, EchoRequest(1, 1, bytes(16)), 64)
            case 3:
                return emit_icmpv6(source, destination, OtherICMPv6(script.byte(), 0, bytes(48)), 64)
            case 4:
                return routed(source, destination, script.byte() & 1)
            case _:
                return self.data(source, destination, 60)

    def data(self, source: IPv6, destination: IPv6, size: int) -> bytes:
        """No two of them are alike."""
        self._serial += 1
        payload = self._serial.to_bytes(8, "big") + bytes(size - 48)
        return emit_ipv6(IPv6Packet(0, 0, UDP, 64, source, destination, payload))

    def datagram(self, script: Script) -> bytes:
        """What a peer sends, honest or not."""
        kind, source, destination = script.byte() % len(Kind), self.address(script), self.destination(script)
        nonce = self.nonces[source][-1] if self.nonces[source] else NONCE
        match kind:
            case Kind.BUBBLE:
                return emit_bubble(source, destination)
            case Kind.BUBBLE_WITH_NONCE:
                return with_nonce(emit_bubble(source, destination), nonce)
            case Kind.INDIRECT:
                return indirect(source, destination, script.choice(ENDPOINTS), nonce if script.byte() & 1 else None)
            case Kind.ECHO_REPLY:
                return self.reply(source, destination)
            case Kind.ROUTED:
                return routed(source, destination)
            case Kind.ANSWER_TO_KEYED:
                return emit_bubble(source, self.keyed[source][-1] if self.keyed[source] else KEYED)
            case _:
                return self.data(source, destination, 60)

    @abstractmethod
    def destination(self, script: Script) -> IPv6:
        """Where a datagram's packet goes."""

    def reply(self, source: IPv6, destination: IPv6) -> bytes:
        """What a connectivity test gets back; only a client makes any."""
        return emit_icmpv6(source, destination, OtherICMPv6(129, 0, bytes(20)), 64)

    # ------------------------------------------------------------ the judgement

    def obey(self, actions: list[Action]) -> None:
        released: dict[IPv6, list[int]] = defaultdict(list)
        delivered = 0
        for action in actions:
            match action:
                case SendDatagram(payload, to):
                    self.check_sending(payload, to)
                    if payload in self.given:
                        released[destination_of(payload)].append(len(payload))
                case DeliverPacket(packet):
                    self.check_delivery(packet)
                    delivered += 1
                case SendError(message, to):
                    self.check_error(message, to)
                case PeerTrusted(address, outer):
                    assert self.proves(address, outer), "trusted without proof"
                    self.proved.add((address, outer))
                    self.ever_proved.add((address, outer))
                    self.trusted[address] = outer
                case PeerLost(address):
                    del self.trusted[address]
                case AllLost():
                    self.trusted.clear()
                    self.proved.clear()
                case _:
                    self.change(action)
        assert delivered <= HELD_PACKETS + 1
        for sizes in released.values():
            assert len(sizes) <= QUEUE_PACKETS
            assert len(sizes) == 1 or sum(sizes) <= QUEUE_BYTES

    def change(self, action: Action) -> None:
        """Something that only one role asks for; the others have nothing to note."""
        del action

    def check_sending(self, payload: bytes, to: Endpoint) -> None:
        assert SCOPE.permits(ipv4_of(to)), "sent to a forbidden address"
        if payload not in self.given:
            self.note(parse_encapsulation(payload), to)
        elif not is_bubble(payload):  # the core may have to send the very bubble that the host has made
            assert self.trusted.get(destination_of(payload)) == to

    def check_error(self, message: bytes, to: IPv6) -> None:
        """RFC 4443 2.4: about a packet of the host, no longer than 1280 bytes, and not too often."""
        self._errors += 1
        assert self._errors <= ERROR_BURST + ERROR_RATE * self.now
        assert len(message) <= LONGEST_ERROR
        assert not is_multicast(to)
        assert message[8:] in self.quotable

    def proves(self, address: IPv6, outer: Endpoint) -> bool:
        if (address, outer) in self.proved:
            return True
        if self.cause is None:
            return False
        content, came_from = self.cause
        named = source_of(content.packet) == address and came_from == outer
        return named and self.is_proof(content, nonce_in(content.trailers), outer)

    def look(self) -> None:
        """The fast path, which holds whom it was told of, has nobody whom the core does not trust."""
        assert len(self.core.peers) <= PEER_LIMIT, "more peers than may be"
        for address, outer in self.trusted.items():
            peer = self.core.peers.get(address)
            assert peer is not None
            assert (peer.fresh, peer.endpoint) == (True, outer)
