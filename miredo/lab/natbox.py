# SPDX-License-Identifier: MIT
"""The NAT model on real packets: two TUN devices with L{Nat} between them, translating UDP over IPv4.

What is sent from the inside to an external address comes back out of the inside's device (hairpinning).
It does what a router does besides: it takes one from the TTL, and it lets nothing through whose checksums are wrong.
An ICMP error from outside about what somebody inside has sent goes to that one; other protocols and fragments it
drops, as a NAT may that never sees one, and counts them.
"""

from __future__ import annotations

from collections import Counter

from miredo.address.endpoint import Endpoint, endpoint, ipv4_of, port_of
from miredo.kernel.interfaces import IClock, ITunnel
from miredo.lab.nat import Nat
from miredo.wire.icmpv4 import emit_unreachable, parse_unreachable, requoted
from miredo.wire.ipv4 import ICMP, IPv4Packet, emit_ipv4_packet, parse_ipv4_packet
from miredo.wire.ipv6 import UDP
from miredo.wire.reader import MalformedPacket
from miredo.wire.udp import UDPDatagram, emit_udp, parse_udp


class NatBox:
    """A NAT between its client's device and the core's.

    @ivar dropped: packets that are not translated, by reason; what L{Nat} refuses it counts itself.
    """

    def __init__(self, nat: Nat, inside: ITunnel, outside: ITunnel, clock: IClock) -> None:
        self.nat = nat
        self.dropped: Counter[str] = Counter()
        self._inside = inside
        self._outside = outside
        self._clock = clock

    def start(self) -> None:
        self._inside.start(self._from_inside)
        self._outside.start(self._from_outside)

    def close(self) -> None:
        self._inside.close()
        self._outside.close()

    def _from_inside(self, raw: bytes) -> None:
        opened = self._opened(raw)
        if opened is None or not self._routed(opened[0]):
            return
        packet, datagram = opened
        source, destination = _ends(packet, datagram)
        external = self.nat.outbound(source, destination, self._clock.now())
        if external is None:
            return
        if self.nat.owns(destination):
            self._let_in(packet, datagram, external, destination)
        else:
            self._write(self._outside, _rewritten(packet, datagram, external, destination))

    def _from_outside(self, raw: bytes) -> None:
        if raw[0] >> 4 == 4 and self._let_error_in(raw):
            return
        opened = self._opened(raw)
        if opened is not None:
            self._let_in(*opened, *_ends(*opened))

    def _let_in(self, packet: IPv4Packet, datagram: UDPDatagram, source: Endpoint, external: Endpoint) -> None:
        """The packet has come to our external address, from outside or from our own inside."""
        inside = self.nat.inbound(source, external, self._clock.now())
        if inside is not None and self._routed(packet):
            self._write(self._inside, _rewritten(packet, datagram, source, inside))

    def _let_error_in(self, raw: bytes) -> bool:
        """An ICMP error about what somebody inside has sent comes to whoever sent it (RFC 5508 3.2)."""
        try:
            packet = parse_ipv4_packet(raw)
            error = parse_unreachable(packet.payload) if packet.protocol == ICMP else None
        except MalformedPacket:
            return False
        inside = error and self.nat.sender(error.source, error.destination, self._clock.now())
        if not (error and inside and self._routed(packet)):
            return error is not None
        message = emit_unreachable(error.code, error.second_word, requoted(error.quote, inside))
        moved = packet._replace(ttl=packet.ttl - 1, destination=ipv4_of(inside), payload=message)
        self._write(self._inside, emit_ipv4_packet(moved))
        return True

    def _write(self, device: ITunnel, packet: bytes) -> None:
        if not device.write(packet):
            self._dropped("refused by the kernel")

    def _opened(self, raw: bytes) -> tuple[IPv4Packet, UDPDatagram] | None:
        if raw[0] >> 4 != 4:
            return self._dropped("not IPv4")  # the kernel's own IPv6 chatter on a new link
        try:
            packet = parse_ipv4_packet(raw)
            if packet.protocol != UDP or packet.more_fragments or packet.fragment_offset:
                return self._dropped("not a whole UDP datagram")
            datagram = parse_udp(packet.payload, packet.source, packet.destination)
        except MalformedPacket:
            return self._dropped("malformed")
        return packet, datagram

    def _routed(self, packet: IPv4Packet) -> bool:
        """As Linux: on the way out before there is a mapping, on the way in after it was looked for."""
        if packet.ttl > 1:
            return True
        self._dropped("TTL")
        return False

    def _dropped(self, reason: str) -> tuple[IPv4Packet, UDPDatagram] | None:
        self.dropped[reason] += 1
        return None


def _ends(packet: IPv4Packet, datagram: UDPDatagram) -> tuple[Endpoint, Endpoint]:
    source = endpoint(packet.source, datagram.source_port)
    return source, endpoint(packet.destination, datagram.destination_port)


def _rewritten(packet: IPv4Packet, datagram: UDPDatagram, source: Endpoint, destination: Endpoint) -> bytes:
    moved = UDPDatagram(port_of(source), port_of(destination), datagram.payload)
    payload = emit_udp(moved, ipv4_of(source), ipv4_of(destination))
    return emit_ipv4_packet(
        packet._replace(ttl=packet.ttl - 1, source=ipv4_of(source), destination=ipv4_of(destination), payload=payload)
    )
