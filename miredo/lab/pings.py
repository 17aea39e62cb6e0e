# SPDX-License-Identifier: MIT
"""Echo requests and replies, as a host's kernel and its ping program would deal with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from miredo.address.endpoint import Dice, IPv6
from miredo.wire.icmpv6 import EchoReply, EchoRequest, emit_icmpv6, parse_icmpv6
from miredo.wire.ipv6 import ICMPV6, parse_ipv6
from miredo.wire.reader import MalformedPacket

HOP_LIMIT = 64
PAYLOAD_LENGTH = 32


@dataclass(slots=True)
class Ping:
    """One echo request; times in seconds of whatever clock its sender has."""

    sent: float
    answered: float | None = None

    @property
    def rtt(self) -> float | None:
        return None if self.answered is None else self.answered - self.sent


@dataclass(slots=True)
class Pings:
    """The echo requests that one node has sent, by the random data that each carries."""

    dice: Dice
    waiting: dict[bytes, Ping] = field(default_factory=dict)
    sent: int = 0

    def request(self, now: float) -> tuple[Ping, EchoRequest]:
        """A new echo request, counted as sent now."""
        data = self.dice(PAYLOAD_LENGTH)
        self.sent += 1
        ping = self.waiting[data] = Ping(now)
        return ping, EchoRequest(int.from_bytes(data[:2], "big"), self.sent & 0xFFFF, data)

    def replied(self, data: bytes, now: float) -> None:
        """An echo reply came; the first one for a request counts."""
        ping = self.waiting.pop(data, None)
        if ping is not None:
            ping.answered = now


class Kernel:
    """What a simulated host does with the packets that reach it: it answers echo requests and counts replies."""

    def __init__(self, dice: Dice, transmit: Callable[[bytes], None]) -> None:
        self.pings = Pings(dice)
        self.received: list[bytes] = []
        self.errors: list[bytes] = []
        self._transmit = transmit

    def ping(self, source: IPv6, destination: IPv6, now: float) -> Ping:
        ping, request = self.pings.request(now)
        self._transmit(emit_icmpv6(source, destination, request, HOP_LIMIT))
        return ping

    def receive(self, packet: bytes, now: float) -> None:
        self.received.append(packet)
        try:
            parsed, _ = parse_ipv6(packet)
            message = parse_icmpv6(parsed) if parsed.next_header == ICMPV6 else None
        except MalformedPacket:
            return
        if isinstance(message, EchoRequest):
            reply = EchoReply(message.identifier, message.sequence, message.data)
            self._transmit(emit_icmpv6(parsed.destination, parsed.source, reply, HOP_LIMIT))
        elif isinstance(message, EchoReply):
            self.pings.replied(message.data, now)
