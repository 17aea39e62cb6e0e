# SPDX-License-Identifier: MIT
"""A Teredo client (RFC 4380 5.2, 5991, and of RFC 6081 the nonce).

In: datagrams from the service port, packets from the tunnel, the deadline. Out: actions. What comes in:

    from the server  advertisement        -> qualification
                     bubble with origin   -> one direct bubble back, nothing else (5.2.3, last paragraph)
                     anything else        -> held until a connectivity test has proved its source
    from elsewhere   trusted endpoint     -> delivered (case 1)
                     echo reply, nonce    -> its source is trusted by that endpoint (case 2)
                     embedded = outer     -> trusted (case 3)
                     from a neighbour's local endpoint -> trusted (case 5; before the nonce, which would drop it)
                     bubble with our nonce -> trusted by that endpoint (RFC 6081 5.2.4.4)
                     bubble to our keyed source for its sender -> likewise (ours, as a relay does: L{BubbleSources})
                     else Teredo          -> held 1 s for the bubble with the nonce, if we asked for one
                     else native          -> held until a connectivity test has proved its source (case 6)

And what goes out: to a trusted peer at once; else it waits for an attempt (L{Traversal}): for a Teredo address
a direct bubble and one through its server, for any other a connectivity test through our own. The first direct
bubble is not to arrive (ours): its TTL is just enough for our own NAT, or for the next router where there is none.
A neighbour (L{Discovery}) has a bubble to its local endpoint and one to the group first, then all of these.
"""

from __future__ import annotations

from collections.abc import Sequence

from miredo.address.endpoint import Dice, Endpoint, IPv6, ipv4_of
from miredo.address.scope import IPv4Scope, is_link_local, is_multicast
from miredo.address.teredo import CLIENT_LINK_LOCAL, is_teredo, mapped_of, server_of
from miredo.teredo.actions import Action, DeliverPacket, PeerTrusted, SendDatagram, ServerRelays
from miredo.teredo.bubblesource import BubbleSources
from miredo.teredo.buckets import TokenBucket
from miredo.teredo.constants import (
    ATTEMPT_WINDOW,
    BUBBLE_TTL,
    ECHO_NONCE_LENGTH,
    HELD_AGE,
    NATIVE_PAUSE,
    PATIENCE,
    REFRESH_INTERVAL,
    SILENCE,
)
from miredo.teredo.discovery import Discovery, Subnet
from miredo.teredo.drops import Drop, Drops
from miredo.teredo.otherports import OtherPorts
from miredo.teredo.peers import Peers
from miredo.teredo.plain import is_plain_data, routing_refusal
from miredo.teredo.qualification import Address, Qualification, Server, server_endpoint
from miredo.teredo.security import Credential
from miredo.teredo.silences import Silence
from miredo.teredo.traversal import (
    ADDRESS_UNREACHABLE,
    SOURCE_REFUSED,
    Answers,
    Contact,
    Traversal,
    fresh_nonce_trailer,
)
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.encapsulation import Encapsulated, parse_encapsulation
from miredo.wire.icmpv6 import (
    EchoReply,
    EchoRequest,
    emit_icmpv6,
    packet_too_big_body,
    parse_icmpv6,
    unreachable_body,
)
from miredo.wire.ipv6 import (
    ICMPV6,
    destination_of,
    is_ipv6,
    next_header_of,
    parse_ipv6,
    source_of,
)
from miredo.wire.reader import MalformedPacket
from miredo.wire.trailers import DiscardPacket, NonceTrailer, emit_trailer, nonce_in

PEER_LIMIT, CONTACT_LIMIT = 65536, 1024
"""Trusted peers and contacts kept at most. Ours."""
ATTEMPT_RATE, ATTEMPT_BURST = 100.0, 200.0
"""Attempts a second over all peers, and at once. Ours."""
HINT_RATE, HINT_BURST = 20.0, 20.0
"""ICMP errors looked into a second, and at once: each is a look at every peer. Ours."""
HEEDED_RATE, HEEDED_BURST = 1.0, 4.0
"""Those of them that have hosts tested: forged ones shall not use up the attempts. Ours."""
KEYED_ATTEMPTS = (2, 4)
"""The attempts whose indirect bubble has a keyed source, as a relay's: who knows no nonce answers to it. Ours."""
RETESTED = 32
"""Native hosts that one ICMP error has tested anew at most. Ours."""
STRANGERS_RATE, STRANGERS_BURST = 25.0, 50.0
"""Connectivity tests a second for sources that the host has not sent to, and at once. Ours."""


class Client:
    """The protocol core of one client.

    @param servers: in order of preference; none while their names are looked up.
    @param scope: the IPv4 addresses that may be sent to.
    @param dice: random bytes of cryptographic quality.
    @param accept_strangers: whether anybody may begin; if not, only peers that the host has sent to are let in, and no
        other client is answered (RFC 6169 4.3).
    @param bubble_ttl: of the first direct bubble to a client; 0 is no TTL of its own.
    @param longest_interval: seconds up to which a longer refresh interval is looked for (RFC 4380 5.2.7); C{None}: not
        at all.
    @param probe_filtering: whether the NAT's filtering is looked into.
    @param credential, in_order, strict: as L{Qualification} has them.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        scope: IPv4Scope,
        dice: Dice,
        *,
        refresh_interval: float = REFRESH_INTERVAL,
        peer_limit: int = PEER_LIMIT,
        contact_limit: int = CONTACT_LIMIT,
        credential: Credential | None = None,
        in_order: bool = False,
        strict: bool = False,
        accept_strangers: bool = True,
        bubble_ttl: int = BUBBLE_TTL,
        longest_interval: float | None = None,
        probe_filtering: bool = False,
    ) -> None:
        self.drops: Drops = Drops()
        self._answers = Answers()
        self.peers = Peers(peer_limit, self._answers.heard_directly, dice)
        self.qualification = Qualification(
            servers,
            dice,
            refresh_interval,
            credential,
            in_order=in_order,
            strict=strict,
        )
        self._other_ports = OtherPorts(
            self.qualification, dice, credential, longest_interval, probe_filtering=probe_filtering
        )
        self.discovery = Discovery(dice, self.peers.matches)
        self._scope = scope
        self._dice = dice
        self._accept_strangers = accept_strangers
        self._bubble_ttl = bubble_ttl
        self._relaying_server: Endpoint | None = None  # it has been told that this one relays
        self._hints = TokenBucket(HINT_RATE, HINT_BURST)
        self._heeded_hints = TokenBucket(HEEDED_RATE, HEEDED_BURST)
        self._sources = BubbleSources(dice)
        self._own: IPv6 | None = None  # the address under which peers were learned
        self._traversal = Traversal(
            self.peers,
            self.drops,
            contact_limit,
            TokenBucket(ATTEMPT_RATE, ATTEMPT_BURST),
            TokenBucket(STRANGERS_RATE, STRANGERS_BURST),
            self._attempt,
            _pause,
        )

    # ------------------------------------------------------------ time and life

    @property
    def address(self) -> IPv6 | None:
        """Our Teredo address while we are qualified."""
        held = self.qualification.held
        return held.address if held else None

    @property
    def contacts(self) -> Traversal:
        """Whom it tries to reach, or tried in vain; to be looked at only."""
        return self._traversal

    @property
    def deadline(self) -> float | None:
        """When L{expire} is to be called next."""
        parts = self.qualification.deadline, self._traversal.deadline, self.peers.deadline
        deadlines = (*parts, self.discovery.deadline, self._other_ports.deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def start(self, now: float) -> list[Action]:
        return [*self._other_ports.begin_anew(), *self._after(self.qualification.start(now), now)]

    def stop(self, now: float) -> list[Action]:
        return [*self._forget_all(now), *self._other_ports.abandon(), *self.qualification.stop()]

    def resumed(self, now: float) -> list[Action]:
        """The machine slept: mappings may be gone, so nobody is trusted, and the server is asked at once."""
        return [*self.peers.forget_all(), *self.start(now)]

    def expire(self, now: float) -> list[Action]:
        actions = self._after(self.qualification.expire(now), now)
        actions += [*self._traversal.expire(now), *self.peers.expire(now), *self.discovery.expire(now)]
        actions += self._other_ports.expire(now)
        for silence in self.peers.silent(now):
            actions += self._fell_silent(silence, now)
        return actions

    def _fell_silent(self, silence: Silence, now: float) -> list[Action]:
        """Nothing comes back from a peer: either nothing comes to us at all, or its relay is gone."""
        actions: list[Action] = []
        if now - self.peers.last_heard >= SILENCE:
            actions += self.qualification.suspect(now)
        if silence.step > 0 and not is_teredo(silence.address):
            actions += self._traversal.test_again(silence.address, now)
        return actions

    def unreachable(self, endpoint: Endpoint, now: float) -> list[Action]:
        """The network said that C{endpoint} cannot be reached: hosts behind it are tested anew, and nobody is lost.

        Anybody can say so, so it is a hint and no more.
        """
        if not self._hints.take(now):
            return []
        hosts = [peer.address for peer in self.peers if peer.endpoint == endpoint and not is_teredo(peer.address)]
        if not (hosts and self._heeded_hints.take(now)):
            return []
        return [action for host in hosts[:RETESTED] for action in self._traversal.test_again(host, now)]

    def attached(self, subnets: Sequence[Subnet], now: float) -> list[Action]:
        """The discovery group is joined on the links of these subnets of ours; on none, there is no local discovery."""
        had_neighbours = len(self.discovery) > 0
        if not self.discovery.attached(subnets):
            return []
        # A private endpoint may be anybody's on the new link.
        return [*(self.peers.forget_all() if had_neighbours else []), *self.discovery.announce(now)]

    # ------------------------------------------------------------ from the host

    def transmit(self, packet: bytes, now: float) -> list[Action]:
        """A packet came from the tunnel interface (RFC 4380 5.2.4)."""
        if not is_ipv6(packet):
            return self._drop(Drop.MALFORMED)
        destination = destination_of(packet)
        if is_multicast(destination) or is_link_local(destination):
            return self._drop(Drop.NO_TRANSIT)
        held = self.qualification.held
        if held is None:
            return self._drop(Drop.NOT_QUALIFIED, self._refuse(packet, ADDRESS_UNREACHABLE, now))
        if source_of(packet) != held.address:
            # A Teredo address that is not ours may have been: no error finds its way to it.
            told = [] if is_teredo(source_of(packet)) else self._refuse(packet, SOURCE_REFUSED, now)
            return self._drop(Drop.WRONG_SOURCE, told)
        if len(packet) > held.mtu:
            return self._drop(Drop.TOO_BIG, self._traversal.refuse(packet, packet_too_big_body(held.mtu, packet), now))
        to = self.peers.egress(destination, now)
        if to is not None:
            return [SendDatagram(packet, to)]
        if is_teredo(destination):
            if destination == held.address:
                return self._drop(Drop.OWN_ADDRESS)
            if self.discovery.whereabouts(destination, now) is None and not self._permits_both(destination):
                return self._drop(Drop.FORBIDDEN_IPV4)
        return self._traversal.queue(destination, packet, now)

    # ------------------------------------------------------------ from the network

    def passes(self, datagram: bytes, outer: Endpoint, now: float) -> bool:
        """Whether a datagram is a plain data packet of a trusted peer for us, to be delivered as it is.

        The per-packet path: what it refuses goes to L{receive}, which decides alike.
        """
        return (
            is_plain_data(datagram) and self.admits(datagram[24:40]) and self.peers.ingress(datagram[8:24], outer, now)
        )

    def admits(self, destination: IPv6) -> bool:
        """Whether packets of peers may go to C{destination}: to us and nobody else."""
        held = self.qualification.held
        return held is not None and destination == held.address

    def receive(self, datagram: bytes, outer: Endpoint, now: float) -> list[Action]:
        """A datagram came to the service port (RFC 4380 5.2.3)."""
        try:
            encapsulated = parse_encapsulation(datagram)
            nonce = nonce_in(encapsulated.trailers)
        except DiscardPacket:
            return self._drop(Drop.TRAILER_DISCARDS)
        except MalformedPacket:
            return self._drop(Drop.MALFORMED)
        if self.qualification.is_server(outer):
            return self._receive_from_server(encapsulated, nonce, outer, now)
        held = self.qualification.held
        if held is None:
            return self._drop(Drop.NOT_QUALIFIED)
        if encapsulated.authentication is not None or encapsulated.origin is not None:
            return self._drop(Drop.UNEXPECTED_HEADER)
        if is_bubble(encapsulated.packet) and is_link_local(destination_of(encapsulated.packet)):
            return self._receive_keyed(encapsulated.packet, outer, held, now)
        refusal = self._refusal(encapsulated.packet, outer, held)
        if refusal is not None:
            return self._drop(refusal)
        return self._receive_from_peer(encapsulated.packet, nonce, outer, now)

    def discovered(self, datagram: bytes, outer: Endpoint, now: float) -> list[Action]:
        """A datagram came by the discovery group (RFC 4380 5.2.3 case 4, 5.2.8)."""
        try:
            authentication, origin, packet, _ = parse_encapsulation(datagram)
        except MalformedPacket:
            return self._drop(Drop.MALFORMED)
        held = self.qualification.held
        if held is None:
            return self._drop(Drop.NOT_QUALIFIED)
        if authentication is not None or origin is not None:
            return self._drop(Drop.UNEXPECTED_HEADER)
        refusal = self.discovery.refusal(packet, outer)
        if refusal is not None:
            return self._drop(refusal)
        return self._meet(source_of(packet), outer, held.address, now)

    def _meet(self, source: IPv6, outer: Endpoint, own: IPv6, now: float) -> list[Action]:
        """A neighbour is there: it gets a bubble, and before that, if it was not there before, gets to know us too."""
        known = self.discovery.matches(source, outer)
        if not self.discovery.heard(source, outer, now):
            return self._drop(Drop.NEIGHBOURS_FULL)
        if not self._may_begin(source):
            return self._drop(Drop.UNSOLICITED)
        if not (self._answers.allow(outer, now) and self.discovery.may_answer(now)):
            return self._drop(Drop.ANSWERS_EXCEEDED)
        introduction = [] if known else self.discovery.announce(now)
        return [*introduction, SendDatagram(emit_bubble(own, source), outer)]

    def receive_on(self, via: int, datagram: bytes, outer: Endpoint, now: float) -> list[Action]:
        """A datagram came to another port than the service port: no packet for the host ever does."""
        answer = self._other_ports.receive(via, datagram, outer, now)
        return self._drop(answer) if isinstance(answer, Drop) else answer

    def _receive_keyed(self, packet: bytes, outer: Endpoint, held: Address, now: float) -> list[Action]:
        """The answer to a bubble from a keyed source: only who received that can have made it."""
        source = source_of(packet)
        if self._traversal.get(source) is None:
            return self._drop(Drop.UNKNOWN_PEER)
        if not self._sources.is_source_for(destination_of(packet), source, now):
            return self._drop(Drop.WRONG_DESTINATION)
        if outer == held.mapped or not self._permits(outer):
            return self._drop(Drop.FORBIDDEN_IPV4)
        return self._accept(packet, outer, now)

    def _refusal(self, packet: bytes, outer: Endpoint, held: Address) -> Drop | None:
        """Why a packet from elsewhere than the server is dropped whoever its source is."""
        source = source_of(packet)
        if source == held.address or outer == held.mapped:
            return Drop.OWN_ADDRESS
        if is_multicast(destination_of(packet)) or is_link_local(source):
            return Drop.NO_TRANSIT
        if destination_of(packet) != held.address:
            return Drop.WRONG_DESTINATION
        if not (self._permits(outer) or self.discovery.matches(source, outer)):
            return Drop.FORBIDDEN_IPV4
        return None if is_bubble(packet) else routing_refusal(packet)

    def _receive_from_server(
        self, encapsulated: Encapsulated, nonce: bytes | None, outer: Endpoint, now: float
    ) -> list[Action]:
        packet = encapsulated.packet
        if destination_of(packet) == CLIENT_LINK_LOCAL:
            answer = self.qualification.advertised(encapsulated, outer, now)
            if isinstance(answer, Drop):
                return self._drop(answer)
            self.peers.last_heard = now
            return self._after(answer, now)
        held = self.qualification.held
        if held is None:
            return self._drop(Drop.NOT_QUALIFIED)
        if source_of(packet) == held.address:
            return self._drop(Drop.OWN_ADDRESS)
        if destination_of(packet) != held.address:
            return self._drop(Drop.WRONG_DESTINATION)
        self.qualification.heard(outer, now)
        self.peers.last_heard = now
        if is_bubble(packet):
            return self._answer(encapsulated, nonce, held.address, now)
        refusal = routing_refusal(packet)
        if refusal is not None:
            return self._drop(refusal)
        return self._receive_from_native(packet, outer, now)

    def _answer(self, encapsulated: Encapsulated, nonce: bytes | None, own: IPv6, now: float) -> list[Action]:
        """An indirect bubble: open our NAT towards its sender with one direct bubble (RFC 4380 5.2.3)."""
        source = source_of(encapsulated.packet)
        to = mapped_of(source) if is_teredo(source) else encapsulated.origin
        if encapsulated.origin is None or to is None:
            return self._drop(Drop.UNEXPECTED_HEADER)
        if not self._permits(to):
            return self._drop(Drop.FORBIDDEN_IPV4)
        # A relay is answered all the same: one that takes us for silent would keep back what is for our host too.
        if is_teredo(source) and not self._may_begin(source):
            return self._drop(Drop.UNSOLICITED)
        if not self._answers.allow(to, now):
            return self._drop(Drop.ANSWERS_EXCEEDED)
        # RFC 6081 5.2.4.3: the nonce comes back so that the peer knows us by it whatever our NAT maps.
        trailer = emit_trailer(NonceTrailer(nonce)) if nonce is not None else b""
        return [SendDatagram(emit_bubble(own, source) + trailer, to), *self._answer_locally(source, own, now)]

    def _receive_from_peer(self, packet: bytes, nonce: bytes | None, outer: Endpoint, now: float) -> list[Action]:
        source = source_of(packet)
        if not is_teredo(source):
            return self._receive_from_native(packet, outer, now)
        if not self._may_begin(source):
            return self._drop(Drop.UNSOLICITED)
        if self.discovery.matches(source, outer):
            return self._accept_neighbour(packet, outer, now)
        if self.peers.matches(source, outer) or mapped_of(source) == outer:
            return self._accept(packet, outer, now)
        contact = self._traversal.get(source)
        if contact is None or contact.nonce is None:
            return self._drop(Drop.MAPPING_MISMATCH)
        if not is_bubble(packet):
            # The bubble that proves this endpoint may be right behind.
            return self._traversal.hold(source, packet, outer, now + HELD_AGE, now)
        if nonce != contact.nonce:
            return self._drop(Drop.MAPPING_MISMATCH)
        return self._accept(packet, outer, now)

    def _receive_from_native(self, packet: bytes, outer: Endpoint, now: float) -> list[Action]:
        """From a relay, which may be our server (RFC 4380 5.4.3): the answer to our test, or a reason to make one."""
        source = source_of(packet)
        if is_teredo(source) or is_link_local(source) or is_multicast(source):
            return self._drop(Drop.NO_TRANSIT)
        contact = self._traversal.get(source)
        if contact is not None and contact.test is not None and _echoed(packet) == contact.test:
            # The reply itself is not for the host, which never asked.
            return [*self._trust(source, outer, now), *self._suspicious(source, outer)]
        if self.peers.matches(source, outer):
            return self._accept(packet, outer, now)
        if is_bubble(packet):
            return self._drop(Drop.UNKNOWN_PEER)
        if not self._may_begin(source):
            return self._drop(Drop.UNSOLICITED)
        return self._traversal.hold(source, packet, outer, now + PATIENCE, now)

    def _may_begin(self, source: IPv6) -> bool:
        """Whether C{source} need not have been sent to first."""
        known = self._accept_strangers or self.peers.get(source) is not None
        return known or self._traversal.get(source) is not None

    def _suspicious(self, host: IPv6, relay: Endpoint) -> list[Action]:
        """RFC 6169 6.1.2: a server that answers our test itself may be anybody to us; it is told once a server."""
        server = self.qualification.server
        told, to = self._relaying_server, server_endpoint(server.primary)
        if ipv4_of(relay) not in server or told == to:
            return []
        self._relaying_server = to
        return [ServerRelays(to, host)]

    def _accept(self, packet: bytes, outer: Endpoint, now: float) -> list[Action]:
        actions = self._trust(source_of(packet), outer, now)
        return actions if is_bubble(packet) else [*actions, DeliverPacket(packet)]

    def _accept_neighbour(self, packet: bytes, outer: Endpoint, now: float) -> list[Action]:
        """RFC 4380 5.2.3 case 5. Who is trusted by a bubble gets one back, as 5.2.3 allows: so both ends are."""
        actions = self._accept(packet, outer, now)
        newly = any(isinstance(action, PeerTrusted) for action in actions)
        if newly and is_bubble(packet) and self._answers.allow(outer, now):
            actions.append(SendDatagram(emit_bubble(destination_of(packet), source_of(packet)), outer))
        return actions

    def _trust(self, source: IPv6, outer: Endpoint, now: float) -> list[Action]:
        self._answers.heard_directly(outer)
        return self._traversal.trust(source, outer, now)

    # ------------------------------------------------------------ attempts

    def _attempt(self, contact: Contact, now: float) -> list[Action]:
        held = self.qualification.held
        if held is None:
            return []
        # The attempt before had no answer: is it the peer that is silent, or the server that both ways lead through?
        doubt = self.qualification.suspect(now) if contact.attempts == 2 else []
        return [*doubt, *self._tried(contact, held, now)]

    def _tried(self, contact: Contact, held: Address, now: float) -> list[Action]:
        address = contact.address
        if not is_teredo(address):
            return self._connectivity_test(contact, held)
        locally = self._locally(address, held.address, now)
        is_first = contact.attempts == 1 and self.discovery.whereabouts(address, now) is not None
        if is_first or not self._permits_both(address):
            return locally  # RFC 4380 5.2.4: case 3 before case 5; and only case 5 needs these addresses
        bubble = emit_bubble(held.address, address)
        direct = SendDatagram(bubble, mapped_of(address), ttl=None if contact.bubbled else self._opener_ttl(held))
        contact.bubbled = True
        trailer = fresh_nonce_trailer(contact, self._dice)
        if contact.attempts in KEYED_ATTEMPTS:
            bubble = emit_bubble(self._sources.source_for(address, now), address)
        return [*locally, direct, SendDatagram(bubble + trailer, server_endpoint(server_of(address)))]

    def _answer_locally(self, source: IPv6, own: IPv6, now: float) -> list[Action]:
        """What came through the server may come from next door, where our NAT's answer never arrives (ours)."""
        near = self.discovery.whereabouts(source, now)
        return self._locally(source, own, now) if near is None or self._answers.allow(near, now) else []

    def _locally(self, address: IPv6, own: IPv6, now: float) -> list[Action]:
        """RFC 4380 5.2.4 case 3: the local way to a neighbour; who is behind our NAT may become one (ours)."""
        near = self.discovery.whereabouts(address, now)
        if near is None:
            return self.discovery.announce(now) if self.discovery.may_be_near(address) else []
        return [*self.discovery.announce(now), SendDatagram(emit_bubble(own, address), near)]

    def _opener_ttl(self, held: Address) -> int | None:
        """Of a bubble that opens our NAT and goes no further; where there is none, our own firewall is behind us."""
        if self._bubble_ttl == 0:
            return None
        return 1 if self._scope.owns(ipv4_of(held.mapped)) else self._bubble_ttl

    def _connectivity_test(self, contact: Contact, held: Address) -> list[Action]:
        """RFC 4380 5.2.9: an echo request through our server; the relay brings the reply.

        A relay that is known already gets a bubble besides: it may have given us up, and be silent for 300 s.
        """
        if contact.test is None:
            contact.test = self._dice(ECHO_NONCE_LENGTH)
        identifier = int.from_bytes(contact.test[:2], "big")
        request = EchoRequest(identifier, contact.attempts, contact.test)
        packet = emit_icmpv6(held.address, contact.address, request, hop_limit=64)
        test = SendDatagram(packet, server_endpoint(self.qualification.server.primary))
        peer = self.peers.get(contact.address)
        known = [SendDatagram(emit_bubble(held.address, contact.address), peer.endpoint)] if peer is not None else []
        return [test, *known]

    # ------------------------------------------------------------ small things

    def _after(self, actions: list[Action], now: float) -> list[Action]:
        """What a change of our address means for everything that was learned under the old one."""
        before, self._own = self._own, self.address
        if self._own != before:
            actions = [*self._forget_all(now), *actions, *self.discovery.begin(self.qualification.held, now)]
        return self._other_ports.follow(actions, now)

    def _forget_all(self, now: float) -> list[Action]:
        self._answers.clear()
        self.discovery.end()
        return [*self._traversal.forget_all(now), *self.peers.forget_all()]

    def _refuse(self, packet: bytes, code: int, now: float) -> list[Action]:
        return self._traversal.refuse(packet, unreachable_body(code, packet), now)

    def _permits(self, to: Endpoint) -> bool:
        return self._scope.permits(ipv4_of(to))

    def _permits_both(self, peer: IPv6) -> bool:
        """Whether a client, and its server, may be sent to at the IPv4 addresses in its Teredo address."""
        return self._permits(mapped_of(peer)) and self._scope.permits_server(server_of(peer))

    def _drop(self, reason: Drop, actions: list[Action] | None = None) -> list[Action]:
        self.drops[reason] += 1
        return actions or []


def _echoed(packet: bytes) -> bytes | None:
    """The data of an ICMPv6 echo reply."""
    if next_header_of(packet) != ICMPV6:
        return None
    try:
        message = parse_icmpv6(parse_ipv6(packet)[0])
    except MalformedPacket:
        return None
    return message.data if isinstance(message, EchoReply) else None


def _pause(address: IPv6) -> float:
    """RFC 4380 5.2.6 bounds bubbles to Teredo peers; a native host may be tested again soon."""
    return ATTEMPT_WINDOW if is_teredo(address) else PATIENCE + NATIVE_PAUSE
