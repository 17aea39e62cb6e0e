# SPDX-License-Identifier: MIT
"""A Teredo echo responder: one IPv4 host that can be pinged at a Teredo address, without state or tunnel.

It is there to test relays and clients with, and asks for nothing itself. Its address embeds the host twice, as the
server and as the mapped endpoint C{own:3545}; any flags will do. What is answered, by one datagram that is not longer,
from port 3545, to where the question came from:

    on port 3544, its server's    a bubble for it         a direct bubble, with the nonce (RFC 6081 4.2) if it had one
    on port 3545, its client's    an echo request for it  an echo reply

if the source is a Teredo address that embeds the endpoint it came from (RFC 4380 5.3.1/7), or a global address that
some relay has forwarded, or, of a bubble, link-local, as relays have it (5.4.1). What is not answered, among others:

    Router Solicitations          it is nobody else's server
    echo requests on port 3544    RFC 4380 has no one send them there: a connectivity test goes through the server of
                                  who makes it (5.2.9), and before data comes a bubble (5.2.4, 5.4.1)
    bubbles on port 3545          the answer to a bubble is a bubble: two such responders would never come to an end.
                                  As it is, an answer is for a proved client, or for no Teredo address, and so never a
                                  question to another responder
"""

from __future__ import annotations

from miredo.address.endpoint import Endpoint, IPv4, IPv6, endpoint, ipv4_of
from miredo.address.scope import IPv4Scope, is_global_ipv6, is_link_local
from miredo.address.teredo import TEREDO_PORT, compose, is_teredo, mapped_of, server_of
from miredo.teredo.actions import SendDatagram
from miredo.teredo.constants import MIRE_PORT
from miredo.teredo.drops import Drop, Drops
from miredo.teredo.server import ECHO_HOP_LIMIT
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.encapsulation import Encapsulated, parse_encapsulation
from miredo.wire.icmpv6 import EchoReply, EchoRequest, emit_icmpv6, parse_icmpv6
from miredo.wire.ipv6 import ICMPV6, destination_of, next_header_of, parse_ipv6, source_of
from miredo.wire.reader import MalformedPacket
from miredo.wire.trailers import DiscardPacket, NonceTrailer, emit_trailer, nonce_in

SERVER_PORT = TEREDO_PORT
"""Where it takes bubbles as the server that its address names."""
CLIENT_PORT = MIRE_PORT
"""Where it takes echo requests, and what all answers come from."""


class Mire:
    """The protocol core of one responder.

    @param ipv4: its public address.
    """

    def __init__(self, ipv4: IPv4, scope: IPv4Scope) -> None:
        self.drops: Drops = Drops()
        self._ipv4 = ipv4
        self._scope = scope
        self._mapped = endpoint(ipv4, CLIENT_PORT)

    @property
    def address(self) -> IPv6:
        """The Teredo address that it answers at, with the flags 0."""
        return compose(self._ipv4, self._mapped, 0)

    def receive(self, datagram: bytes, outer: Endpoint, port: int) -> SendDatagram | None:
        """A datagram came to our port C{port}; the answer, if it has one."""
        answer = self._answer(datagram, outer, port)
        if isinstance(answer, Drop):
            self.drops[answer] += 1
            return None
        return SendDatagram(answer, outer)

    def _answer(self, datagram: bytes, outer: Endpoint, port: int) -> bytes | Drop:
        if ipv4_of(outer) == self._ipv4:
            return Drop.OWN_ADDRESS
        if not self._scope.permits(ipv4_of(outer)):
            return Drop.FORBIDDEN_IPV4
        try:
            encapsulated = parse_encapsulation(datagram)
            nonce = nonce_in(encapsulated.trailers)
        except DiscardPacket:
            return Drop.TRAILER_DISCARDS
        except MalformedPacket:
            return Drop.MALFORMED
        refusal = self._refusal(encapsulated, outer, port)
        if refusal is not None:
            return refusal
        packet = encapsulated.packet
        return _bubble_back(packet, nonce) if port == SERVER_PORT else _echo_back(packet)

    def _refusal(self, encapsulated: Encapsulated, outer: Endpoint, port: int) -> Drop | None:
        """Why a datagram is not answered, whatever it asks."""
        if not self._is_ours(destination_of(encapsulated.packet)):
            return Drop.WRONG_DESTINATION
        if encapsulated.authentication is not None or encapsulated.origin is not None:
            return Drop.UNEXPECTED_HEADER
        source = source_of(encapsulated.packet)
        if is_teredo(source):
            return None if mapped_of(source) == outer else Drop.SOURCE_UNPROVED
        if is_global_ipv6(source, self._scope) or (port == SERVER_PORT and is_link_local(source)):
            return None
        return Drop.NOT_GLOBAL

    def _is_ours(self, destination: IPv6) -> bool:
        """Whatever its flags."""
        return is_teredo(destination) and (server_of(destination), mapped_of(destination)) == (self._ipv4, self._mapped)


def _bubble_back(packet: bytes, nonce: bytes | None) -> bytes | Drop:
    """The direct bubble of RFC 4380 5.2.3, last paragraph, with the nonce of the indirect one (RFC 6081 5.2.4.3)."""
    if not is_bubble(packet):
        return Drop.NOT_A_QUESTION
    trailer = b"" if nonce is None else emit_trailer(NonceTrailer(nonce))
    return emit_bubble(destination_of(packet), source_of(packet)) + trailer


def _echo_back(packet: bytes) -> bytes | Drop:
    """RFC 4443 4.2: from the address that was asked, with what was sent."""
    if next_header_of(packet) != ICMPV6:
        return Drop.NOT_A_QUESTION
    try:
        parsed, _ = parse_ipv6(packet)
        message = parse_icmpv6(parsed)
    except MalformedPacket:
        return Drop.MALFORMED
    if not isinstance(message, EchoRequest):
        return Drop.NOT_A_QUESTION
    reply = EchoReply(message.identifier, message.sequence, message.data)
    return emit_icmpv6(parsed.destination, parsed.source, reply, ECHO_HOP_LIMIT)
