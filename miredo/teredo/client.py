# SPDX-License-Identifier: MIT
"""A Teredo client (RFC 4380 5.2, 5991, and of RFC 6081 the nonce).

In: datagrams from the service port, packets from the tunnel, the deadline. Out: actions. What comes in:

    from the server  advertisement        -> qualification
                     bubble with origin   -> one direct bubble back, nothing else (5.2.3, last paragraph)
                     anything else        -> held until a connectivity test has proved its source
    from elsewhere   trusted endpoint     -> delivered (case 1)
                     echo reply, nonce    -> its source is trusted by that endpoint (case 2)
                     embedded = outer     -> trusted (case 3)
                     bubble with our nonce -> trusted by that endpoint (RFC 6081 5.2.4.4)
                     else Teredo          -> held 1 s for the bubble with the nonce, if we asked for one
                     else native          -> held until a connectivity test has proved its source (case 6)

And what goes out: to a trusted peer at once; else it waits for an attempt (L{Traversal}): for a Teredo address
a direct bubble and one through its server, for any other a connectivity test through our own.
"""

from __future__ import annotations

from collections.abc import Sequence

from miredo.address.endpoint import Dice, Endpoint, IPv6, ipv4_of
from miredo.address.scope import IPv4Scope, is_link_local, is_multicast
from miredo.address.teredo import CLIENT_LINK_LOCAL, is_teredo, mapped_of, server_of
from miredo.teredo.actions import Action, DeliverPacket, SendDatagram
from miredo.teredo.buckets import TokenBucket
from miredo.teredo.constants import (
    ATTEMPT_WINDOW,
    ECHO_NONCE_LENGTH,
    HELD_AGE,
    NATIVE_PAUSE,
    PATIENCE,
    REFRESH_INTERVAL,
    SILENCE,
)
from miredo.teredo.drops import Drop, Drops
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
RETESTED = 32
"""Native hosts that one ICMP error has tested anew at most. Ours."""
STRANGERS_RATE, STRANGERS_BURST = 25.0, 50.0
"""Connectivity tests a second for sources that the host has not sent to, and at once. Ours."""


class Client:
    """The protocol core of one client.

    @param servers: in order of preference; none while their names are looked up.
    @param scope: the IPv4 addresses that may be sent to.
    @param dice: random bytes of cryptographic quality.
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
    ) -> None:
        self.drops: Drops = Drops()
        self._answers = Answers()
        self.peers = Peers(peer_limit, self._answers.heard_directly, dice)
        self.qualification = Qualification(
            servers, dice, refresh_interval, credential, in_order=in_order, strict=strict
        )
        self._scope = scope
        self._dice = dice
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
        deadlines = (self.qualification.deadline, self._traversal.deadline, self.peers.deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def start(self, now: float) -> list[Action]:
        return self._after(self.qualification.start(now), now)

    def stop(self, now: float) -> list[Action]:
        return [*self._forget_all(now), *self.qualification.stop()]

    def resumed(self, now: float) -> list[Action]:
        """The machine slept: mappings may be gone, so nobody is trusted, and the server is asked at once."""
        return [*self.peers.forget_all(), *self.start(now)]

    def expire(self, now: float) -> list[Action]:
        actions = self._after(self.qualification.expire(now), now)
        actions += [*self._traversal.expire(now), *self.peers.expire(now)]
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
        hosts = [peer.address for peer in self.peers if peer.endpoint == endpoint and not is_teredo(peer.address)]
        return [action for host in hosts[:RETESTED] for action in self._traversal.test_again(host, now)]

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
            if not (self._permits(mapped_of(destination)) and self._scope.permits_server(server_of(destination))):
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
        refusal = self._refusal(encapsulated.packet, outer, held)
        if refusal is not None:
            return self._drop(refusal)
        return self._receive_from_peer(encapsulated.packet, nonce, outer, now)

    def _refusal(self, packet: bytes, outer: Endpoint, held: Address) -> Drop | None:
        """Why a packet from elsewhere than the server is dropped whoever its source is."""
        source = source_of(packet)
        if source == held.address or outer == held.mapped:
            return Drop.OWN_ADDRESS
        if is_multicast(destination_of(packet)) or is_link_local(source):
            return Drop.NO_TRANSIT
        if destination_of(packet) != held.address:
            return Drop.WRONG_DESTINATION
        if not self._permits(outer):
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
        if not self._answers.allow(to, now):
            return self._drop(Drop.ANSWERS_EXCEEDED)
        # RFC 6081 5.2.4.3: the nonce comes back so that the peer knows us by it whatever our NAT maps.
        trailer = emit_trailer(NonceTrailer(nonce)) if nonce is not None else b""
        return [SendDatagram(emit_bubble(own, source) + trailer, to)]

    def _receive_from_peer(self, packet: bytes, nonce: bytes | None, outer: Endpoint, now: float) -> list[Action]:
        source = source_of(packet)
        if not is_teredo(source):
            return self._receive_from_native(packet, outer, now)
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
            return self._trust(source, outer, now)  # the reply itself is not for the host, which never asked
        if self.peers.matches(source, outer):
            return self._accept(packet, outer, now)
        if is_bubble(packet):
            return self._drop(Drop.UNKNOWN_PEER)
        return self._traversal.hold(source, packet, outer, now + PATIENCE, now)

    def _accept(self, packet: bytes, outer: Endpoint, now: float) -> list[Action]:
        actions = self._trust(source_of(packet), outer, now)
        return actions if is_bubble(packet) else [*actions, DeliverPacket(packet)]

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
        return [*doubt, *self._tried(contact, held)]

    def _tried(self, contact: Contact, held: Address) -> list[Action]:
        address = contact.address
        if not is_teredo(address):
            return self._connectivity_test(contact, held)
        bubble = emit_bubble(held.address, address)
        direct = SendDatagram(bubble, mapped_of(address))
        trailer = fresh_nonce_trailer(contact, self._dice)
        return [direct, SendDatagram(bubble + trailer, server_endpoint(server_of(address)))]

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
        return actions if self._own == before else [*self._forget_all(now), *actions]

    def _forget_all(self, now: float) -> list[Action]:
        self._answers.clear()
        return [*self._traversal.forget_all(now), *self.peers.forget_all()]

    def _refuse(self, packet: bytes, code: int, now: float) -> list[Action]:
        return self._traversal.refuse(packet, unreachable_body(code, packet), now)

    def _permits(self, to: Endpoint) -> bool:
        return self._scope.permits(ipv4_of(to))

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
