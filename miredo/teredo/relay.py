# SPDX-License-Identifier: MIT
"""A Teredo relay (RFC 4380 5.4): between the native IPv6 network and Teredo clients.

A packet for a client that is not trusted waits while bubbles go to it through its server. They come from a
keyed link-local address and carry a nonce, so whatever the client's NAT maps, its answer proves it. What comes
in from endpoint X with the Teredo source A is accepted (RFC 4380 5.4.2) if

    (a) A is trusted and mapped to X, or
    (b) A embeds X, and we have tried or known A, or
    (c) it is a bubble to A's keyed source, or
    (d) it is a bubble with the nonce that we sent to A, or
    (e) A embeds X, and the operator wants an open relay, which takes over another's clients at once.

(c) and (d) deviate from the text on purpose: it could never serve a client behind a NAT whose mapping depends
on the destination, and they prove more. Data alone never makes or moves a mapping but by (b).
"""

from __future__ import annotations

from miredo.address.endpoint import Dice, Endpoint, IPv6, ipv4_of
from miredo.address.ranges import IPv6Ranges
from miredo.address.scope import IPv4Scope, is_global_ipv6, is_link_local, is_multicast
from miredo.address.teredo import SERVICE_PREFIX, is_teredo, mapped_of, server_of
from miredo.teredo.actions import Action, DeliverPacket, SendDatagram
from miredo.teredo.bubblesource import BubbleSources
from miredo.teredo.buckets import TokenBucket
from miredo.teredo.constants import ATTEMPT_WINDOW, LARGEST_MTU
from miredo.teredo.drops import Drop, Drops
from miredo.teredo.newcomers import Newcomers
from miredo.teredo.peers import Peers
from miredo.teredo.plain import is_plain_data, routing_refusal
from miredo.teredo.qualification import server_endpoint
from miredo.teredo.traversal import NO_ROUTE, Contact, Traversal, fresh_nonce_trailer
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.encapsulation import parse_encapsulation
from miredo.wire.icmpv6 import packet_too_big_body, unreachable_body
from miredo.wire.ipv6 import destination_of, is_ipv6, source_of
from miredo.wire.reader import MalformedPacket
from miredo.wire.trailers import DiscardPacket, nonce_in

PEER_LIMIT, CONTACT_LIMIT = 262144, 16384
"""Trusted clients and contacts kept at most. Ours."""
ATTEMPT_RATE, ATTEMPT_BURST = 10000.0, 10000.0
"""Attempts a second over all clients, and at once. Ours."""


class Relay:
    """The protocol core of one relay.

    @param prefix: the first 32 bits of the Teredo addresses that it serves.
    @param mtu: of the tunnel, in bytes.
    @param direct_bubbles: also send bubbles straight to clients, for a relay that is behind a NAT itself
        (RFC 4380 5.4.1; C{RelayType restricted}).
    @param open_to_all: rule (e), which RFC 4380 5.4.2 allows.
    @param served: the IPv6 addresses that clients reach through us (RFC 4380 5.4.2); C{None}: all global ones.
    """

    def __init__(
        self,
        scope: IPv4Scope,
        dice: Dice,
        *,
        prefix: bytes = SERVICE_PREFIX,
        mtu: int = LARGEST_MTU,
        direct_bubbles: bool = False,
        open_to_all: bool = False,
        served: IPv6Ranges | None = None,
        peer_limit: int = PEER_LIMIT,
        contact_limit: int = CONTACT_LIMIT,
    ) -> None:
        self.drops: Drops = Drops()
        self.peers = Peers(peer_limit)
        self._scope = scope
        self._dice = dice
        self._prefix = prefix
        self._mtu = mtu
        self._direct_bubbles = direct_bubbles
        self._open_to_all = open_to_all
        self._served = served
        self._sources = BubbleSources(dice)
        self._newcomers = Newcomers()
        bucket = TokenBucket(ATTEMPT_RATE, ATTEMPT_BURST)  # a relay holds nothing, so it has no strangers
        self._traversal = Traversal(self.peers, self.drops, contact_limit, bucket, bucket, self._attempt, _pause)

    # ------------------------------------------------------------ time and life

    @property
    def deadline(self) -> float | None:
        """When L{expire} is to be called next."""
        deadlines = (self._traversal.deadline, self.peers.deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def start(self, now: float) -> list[Action]:
        """Nothing to do first; every role has it."""
        del now
        return []

    def stop(self, now: float) -> list[Action]:
        return [*self._traversal.forget_all(now), *self.peers.forget_all()]

    def resumed(self, now: float) -> list[Action]:
        """The machine slept: mappings may be gone, so nobody is trusted."""
        del now
        return self.peers.forget_all()

    def expire(self, now: float) -> list[Action]:
        return [*self._traversal.expire(now), *self.peers.expire(now)]

    def serve(self, addresses: list[IPv6]) -> None:
        """A host-specific relay (RFC 4380 5.4): its host has these addresses now, and clients reach nothing else."""
        self._served = IPv6Ranges(addresses=addresses)

    # ------------------------------------------------------------ from the native network

    def transmit(self, packet: bytes, now: float) -> list[Action]:
        """A packet was routed into the tunnel interface (RFC 4380 5.4.1)."""
        if not is_ipv6(packet):
            return self._drop(Drop.MALFORMED)
        destination = destination_of(packet)
        if is_multicast(destination) or is_link_local(destination):
            return self._drop(Drop.NO_TRANSIT)
        if len(packet) > self._mtu:
            return self._drop(Drop.TOO_BIG, self._traversal.refuse(packet, packet_too_big_body(self._mtu, packet), now))
        if not is_teredo(destination, self._prefix):
            return self._drop(Drop.NOT_TEREDO, self._traversal.refuse(packet, unreachable_body(NO_ROUTE, packet), now))
        to = self.peers.egress(destination, now)
        if to is not None:
            return [SendDatagram(packet, to)]
        if not (self._permits(mapped_of(destination)) and self._scope.permits_server(server_of(destination))):
            return self._drop(Drop.FORBIDDEN_IPV4)
        if not (self._is_known(destination) or self._newcomers.admit(destination, source_of(packet), now)):
            return self._drop(Drop.RATE_LIMITED)
        return self._traversal.queue(destination, packet, now)

    def _is_known(self, client: IPv6) -> bool:
        return self._traversal.get(client) is not None or self.peers.get(client) is not None

    # ------------------------------------------------------------ from Teredo clients

    def passes(self, datagram: bytes, outer: Endpoint, now: float) -> bool:
        """Whether a datagram is a plain data packet of a trusted client, to be delivered as it is.

        The per-packet path: what it refuses goes to L{receive}, which decides alike.
        """
        return (
            is_plain_data(datagram) and self.admits(datagram[24:40]) and self.peers.ingress(datagram[8:24], outer, now)
        )

    def receive(self, datagram: bytes, outer: Endpoint, now: float) -> list[Action]:
        """A datagram came to the service port (RFC 4380 5.4.2)."""
        try:
            encapsulated = parse_encapsulation(datagram)
            nonce = nonce_in(encapsulated.trailers)
        except DiscardPacket:
            return self._drop(Drop.TRAILER_DISCARDS)
        except MalformedPacket:
            return self._drop(Drop.MALFORMED)
        packet = encapsulated.packet
        source = source_of(packet)
        if encapsulated.authentication is not None or encapsulated.origin is not None:
            return self._drop(Drop.UNEXPECTED_HEADER)
        if not is_teredo(source, self._prefix):
            return self._drop(Drop.NOT_TEREDO)
        if not self._permits(outer):
            return self._drop(Drop.FORBIDDEN_IPV4)
        if not self._is_proved(packet, nonce, outer, now):
            return self._drop(Drop.UNKNOWN_PEER)
        return self._accept(packet, outer, now)

    def _is_proved(self, packet: bytes, nonce: bytes | None, outer: Endpoint, now: float) -> bool:
        """Rules (a) to (d) above."""
        source = source_of(packet)
        if self.peers.matches(source, outer):
            return True
        if (self._open_to_all or self._is_known(source)) and mapped_of(source) == outer:
            return True
        if not is_bubble(packet):
            return False
        if self._sources.is_source_for(destination_of(packet), source, now):
            return True
        contact = self._traversal.get(source)
        return contact is not None and contact.nonce is not None and nonce == contact.nonce

    def _accept(self, packet: bytes, outer: Endpoint, now: float) -> list[Action]:
        actions = self._traversal.trust(source_of(packet), outer, now)
        if is_bubble(packet):
            return actions
        refusal = self._refusal(packet)
        if refusal is not None:
            return self._drop(refusal, actions)
        return [*actions, DeliverPacket(packet)]

    def _refusal(self, packet: bytes) -> Drop | None:
        destination = destination_of(packet)
        if is_teredo(destination, self._prefix):
            return Drop.INTO_TEREDO
        if not is_global_ipv6(destination, self._scope):
            return Drop.NOT_GLOBAL
        return routing_refusal(packet) if self._serves(destination) else Drop.NOT_SERVED

    def admits(self, destination: IPv6) -> bool:
        """Clients reach the native network through us, or what we serve of it: not each other, no link, no group."""
        native = not is_teredo(destination, self._prefix) and is_global_ipv6(destination, self._scope)
        return native and self._serves(destination)

    def _serves(self, destination: IPv6) -> bool:
        return self._served is None or destination in self._served

    # ------------------------------------------------------------ attempts

    def _attempt(self, contact: Contact, now: float) -> list[Action]:
        """RFC 4380 5.4.1 case 3: a bubble to the client through its server."""
        client = contact.address
        trailer = fresh_nonce_trailer(contact, self._dice)
        bubble = emit_bubble(self._sources.source_for(client, now), client)
        indirect = SendDatagram(bubble + trailer, server_endpoint(server_of(client)))
        return [SendDatagram(bubble, mapped_of(client)), indirect] if self._direct_bubbles else [indirect]

    # ------------------------------------------------------------ small things

    def _permits(self, to: Endpoint) -> bool:
        return self._scope.permits(ipv4_of(to))

    def _drop(self, reason: Drop, actions: list[Action] | None = None) -> list[Action]:
        self.drops[reason] += 1
        return actions or []


def _pause(client: IPv6) -> float:
    """RFC 4380 5.2.6."""
    del client
    return ATTEMPT_WINDOW
