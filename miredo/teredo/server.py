# SPDX-License-Identifier: MIT
"""A Teredo server (RFC 4380 5.3): stateless but for limits; a datagram is answered, forwarded or dropped by itself.

What is let through, in the order of RFC 4380 5.3.1:

    IPv4 source          must be global unicast, and not ourselves
    to ff02::2           a Router Solicitation from a link-local source: answered; nothing else. Where secrets are
                         required, only with a proof of one (5.2.2); a wrong proof is dropped anywhere
    not a bubble and not ICMPv6                     dropped
    Teredo source        embedded endpoint = outer: forwarded
                         another port, a small bubble for a client of ours: forwarded with its origin
                         (L{SymmetricBubbles}). Ours: the letter drops it, and with it every symmetric-NAT client
                         of another server that RFC 6081 is about; the address stays proved.
    any other source     for a client of ours: forwarded; else dropped
    to our link-local    an Echo Request is answered; nothing else
    Teredo destination   to the embedded endpoint, with an origin indication if it is a client of ours
    other destination    to the native IPv6 network, from a proved Teredo source only

What passed all this still has a limit a source: one for answers, and one for what is forwarded, so that solicitations
under the false address of somebody do not stop what that one has forwarded.
"""

from __future__ import annotations

from miredo.address.endpoint import Endpoint, IPv4, IPv6, ipv4_of, port_of
from miredo.address.scope import IPv4Scope, is_global_ipv6, is_link_local
from miredo.address.teredo import (
    ALL_ROUTERS,
    SERVICE_PREFIX,
    TEREDO_PORT,
    has_cone_bit,
    is_teredo,
    mapped_of,
    server_link_local,
    server_of,
)
from miredo.teredo.actions import PRIMARY, SECONDARY, Action, ForwardPacket, SendDatagram
from miredo.teredo.buckets import SourceBuckets
from miredo.teredo.constants import (
    FOREIGN_PORT_BUBBLE_LIMIT,
    SERVER_BURST,
    SERVER_ICMPV6_LIMIT,
    SERVER_SOURCES,
    TUNNEL_MTU,
)
from miredo.teredo.drops import Drop, Drops
from miredo.teredo.security import KEY_EXPIRING, KEY_VALID, Keyring
from miredo.teredo.symmetric import SymmetricBubbles
from miredo.wire.bubble import is_bubble
from miredo.wire.encapsulation import (
    Encapsulated,
    emit_nonce_authentication,
    emit_origin,
    parse_encapsulation,
)
from miredo.wire.icmpv6 import (
    EchoReply,
    EchoRequest,
    RouterSolicitation,
    check_router_solicitation,
    emit_icmpv6,
    parse_icmpv6,
    teredo_router_advertisement,
)
from miredo.wire.ipv6 import HEADER_LENGTH, ICMPV6, destination_of, next_header_of, parse_ipv6, source_of
from miredo.wire.reader import MalformedPacket

ECHO_HOP_LIMIT = 64
"""Of our echo replies; ours."""
SIX_TO_FOUR = b"\x20\x02"
ISATAP = b"\x5e\xfe"
"""Bytes 10 and 11 of an address that embeds an IPv4 address behind them (RFC 5214 6.1)."""


class Server:
    """The protocol core of one server.

    @param addresses: its primary and its secondary IPv4 address.
    @param mtu: what its Router Advertisements say, in bytes.
    @param keyring: the secrets shared with clients.
    @param secrets_required: only clients that prove a secret are answered (RFC 4380 5.3.1/4).
    @param rate_limit: answers a second to one IPv4 address, and packets a second forwarded from one; 0 is no limit.
    """

    def __init__(
        self,
        addresses: tuple[IPv4, IPv4],
        scope: IPv4Scope,
        *,
        prefix: bytes = SERVICE_PREFIX,
        mtu: int = TUNNEL_MTU,
        keyring: Keyring | None = None,
        secrets_required: bool = False,
        symmetric_bubbles: SymmetricBubbles = SymmetricBubbles.PORT,
        rate_limit: int = 0,
    ) -> None:
        self.drops: Drops = Drops()
        self._addresses = addresses
        self._scope = scope
        self._prefix = prefix
        self._keyring = keyring or Keyring()
        self._secrets_required = secrets_required
        self._symmetric_bubbles = symmetric_bubbles
        self._link_local = server_link_local(addresses[PRIMARY])
        self._link_locals = tuple(map(server_link_local, addresses))
        burst = SERVER_BURST * rate_limit
        self._answered = SourceBuckets(rate_limit, burst, SERVER_SOURCES)
        self._forwarded = SourceBuckets(rate_limit, burst, SERVER_SOURCES)
        self._advertisement = teredo_router_advertisement(prefix + addresses[PRIMARY], mtu)

    def receive(self, datagram: bytes, outer: Endpoint, via: int, now: float) -> list[Action]:
        """A datagram came to our address number C{via}."""
        source_ipv4 = ipv4_of(outer)
        if source_ipv4 in self._addresses and port_of(outer) == TEREDO_PORT:
            return self._drop(Drop.OWN_ADDRESS)
        if not self._scope.permits(source_ipv4):
            return self._drop(Drop.FORBIDDEN_IPV4)
        try:
            encapsulated = parse_encapsulation(datagram)
        except MalformedPacket:
            return self._drop(Drop.MALFORMED)
        if encapsulated.origin is not None:
            return self._drop(Drop.UNEXPECTED_HEADER)
        destination = destination_of(encapsulated.packet)
        if destination == ALL_ROUTERS:
            return self._advertise(encapsulated, outer, via, now)
        if destination in self._link_locals:
            return self._echo(encapsulated.packet, outer, via, now)
        return self._forward(encapsulated, outer, now)

    # ------------------------------------------------------------ Router Solicitations

    def _advertise(self, encapsulated: Encapsulated, outer: Endpoint, via: int, now: float) -> list[Action]:
        """RFC 4380 5.3.2. A cone solicitation is answered from the other address (RFC 5991 3.2 keeps that)."""
        solicited = self._solicitor(encapsulated.packet)
        if solicited is None:
            return self._drop(Drop.BAD_SOLICITATION)
        if not self._answered.take(ipv4_of(outer), now):
            return self._drop(Drop.RATE_LIMITED)
        authentication, credential = encapsulated.authentication, None
        if self._keyring and authentication is not None and authentication.identifier:
            credential = self._keyring.authenticated(authentication, encapsulated.packet)
            if credential is None:
                return self._drop(Drop.BAD_AUTHENTICATION)
        if credential is None and self._secrets_required:
            return self._drop(Drop.NO_AUTHENTICATION)
        advertisement = emit_icmpv6(self._link_local, solicited, self._advertisement)
        if authentication is None:
            answer = emit_origin(outer) + advertisement
        elif credential is None:
            answer = emit_nonce_authentication(authentication.nonce) + emit_origin(outer) + advertisement
        else:
            confirmation = KEY_EXPIRING if credential.expiring else KEY_VALID
            answer = credential.protect(authentication.nonce, confirmation, advertisement, outer)
        other = SECONDARY if via == PRIMARY else PRIMARY
        return [SendDatagram(answer, outer, other if has_cone_bit(solicited) else via)]

    def _solicitor(self, packet: bytes) -> IPv6 | None:
        """The link-local source of a valid Router Solicitation (RFC 4861 6.1.1)."""
        if not is_link_local(source_of(packet)):
            return None
        try:
            parsed, _ = parse_ipv6(packet)
            message = parse_icmpv6(parsed)
            if not isinstance(message, RouterSolicitation):
                return None
            check_router_solicitation(parsed, message)
        except MalformedPacket:
            return None
        return parsed.source

    # ------------------------------------------------------------ echo requests

    def _echo(self, packet: bytes, outer: Endpoint, via: int, now: float) -> list[Action]:
        """An Echo Request to our link-local address (RFC 4380 5.3.1), from a proved Teredo source."""
        refusal = self._refusal(packet, len(packet), outer)
        if refusal is not None:
            return self._drop(refusal)
        try:
            parsed, _ = parse_ipv6(packet)
            message = parse_icmpv6(parsed)
        except MalformedPacket:
            return self._drop(Drop.MALFORMED)
        if not isinstance(message, EchoRequest):
            return self._drop(Drop.NOT_GLOBAL)
        if not self._answered.take(ipv4_of(outer), now):
            return self._drop(Drop.RATE_LIMITED)
        reply = EchoReply(message.identifier, message.sequence, message.data)
        return [SendDatagram(emit_icmpv6(parsed.destination, parsed.source, reply, ECHO_HOP_LIMIT), outer, via)]

    # ------------------------------------------------------------ everything else

    def _forward(self, encapsulated: Encapsulated, outer: Endpoint, now: float) -> list[Action]:
        packet = encapsulated.packet
        refusal = self._refusal(packet, len(packet) + len(encapsulated.trailers), outer)
        if refusal is not None:
            return self._drop(refusal)
        if not self._forwarded.take(ipv4_of(outer), now):
            return self._drop(Drop.RATE_LIMITED)
        if is_teredo(destination_of(packet), self._prefix):
            return self._to_client(packet + encapsulated.trailers, outer)
        return self._to_native(packet)

    def _refusal(self, packet: bytes, size: int, outer: Endpoint) -> Drop | None:
        """Rules 2 and 5 to 7 of RFC 4380 5.3.1."""
        bubble = is_bubble(packet)
        if not bubble and next_header_of(packet) != ICMPV6:
            return Drop.NOT_ALLOWED_THROUGH
        if not bubble and len(packet) - HEADER_LENGTH > SERVER_ICMPV6_LIMIT:
            return Drop.TOO_LARGE_THROUGH
        source = source_of(packet)
        ours = self._is_client_of_ours(destination_of(packet))
        if is_teredo(source, self._prefix):
            small = bubble and size <= FOREIGN_PORT_BUBBLE_LIMIT
            proved = mapped_of(source) == outer or (ours and small and self._may_be_symmetric(source, outer))
        else:
            proved = ours
        return None if proved else Drop.SOURCE_UNPROVED

    def _may_be_symmetric(self, source: IPv6, outer: Endpoint) -> bool:
        if self._symmetric_bubbles is SymmetricBubbles.PORT:
            return ipv4_of(mapped_of(source)) == ipv4_of(outer)
        return self._symmetric_bubbles is SymmetricBubbles.ANY

    def _is_client_of_ours(self, destination: IPv6) -> bool:
        return is_teredo(destination, self._prefix) and server_of(destination) in self._addresses

    def _to_client(self, packet: bytes, outer: Endpoint) -> list[Action]:
        """Trailers go along untouched (RFC 6081 4)."""
        destination = destination_of(packet)
        mapped = mapped_of(destination)
        if not self._scope.permits(ipv4_of(mapped)):
            return self._drop(Drop.FORBIDDEN_IPV4)
        if ipv4_of(mapped) in self._addresses:
            return self._drop(Drop.OWN_ADDRESS)
        origin = emit_origin(outer) if self._is_client_of_ours(destination) else b""
        return [SendDatagram(origin + packet, mapped)]

    def _to_native(self, packet: bytes) -> list[Action]:
        destination = destination_of(packet)
        if not is_global_ipv6(destination, self._scope):
            return self._drop(Drop.NOT_GLOBAL)
        if self._leads_back(destination):
            return self._drop(Drop.OWN_ADDRESS)
        hop_limit = packet[7]
        if hop_limit <= 1:
            return self._drop(Drop.HOP_LIMIT)
        return [ForwardPacket(packet[:7] + bytes([hop_limit - 1]) + packet[8:], destination)]

    def _leads_back(self, destination: IPv6) -> bool:
        """A 6to4 or ISATAP address of our own would send the packet round to us (RFC 6324 3)."""
        six_to_four = destination.startswith(SIX_TO_FOUR) and destination[2:6] in self._addresses
        return six_to_four or (destination[10:12] == ISATAP and destination[12:] in self._addresses)

    def _drop(self, reason: Drop) -> list[Action]:
        self.drops[reason] += 1
        return []
