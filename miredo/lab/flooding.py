# SPDX-License-Identifier: MIT
"""Floods of packets for Teredo clients that are not there, written into a TUN device by a process of its own.

The device stands in a relay's node: what is written there has come from the native IPv6 network, and the kernel routes
it into the relay's tunnel.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from miredo.address.endpoint import IPv4, parse_ipv4, parse_ipv6
from miredo.address.teredo import SERVICE_PREFIX
from miredo.wire.ipv6 import UDP, IPv6Packet, emit_ipv6

SOURCE = parse_ipv6("2001:db8:f::1")
"""Who floods, or the first of them."""
SILENT_SERVER = parse_ipv4("203.0.113.200")
"""The server of all clients that are not there; nobody has the address."""
BACKLOG = 64
"""Packets that are written at once at most."""
CATCHING_UP = 1.25
"""How much faster than said a flood is that has fallen behind."""
NAP = 0.0005
"""Seconds between looks at whether more is due."""
_NO_FLAGS_NO_PORT = b"\x00\x00\x63\xbf"
"""Flags of 0, and port 40000, its bits turned over (RFC 4380 4)."""
_MAPPED = 0xFFFFFFFF ^ 45 << 24
"""The first mapped IPv4 address, 45.0.0.0, its bits turned over."""
_NETWORKS = int.from_bytes(SOURCE[2:6], "big")
"""What tells the first network; the others follow."""
NUMBERS = 1 << 24
"""Of destinations."""


def packets(first: int, sources: int, server: IPv4 = SILENT_SERVER) -> Iterator[bytes]:
    """UDP packets, each to a destination of its own.

    @param first: the number of the first destination.
    @param sources: of how many networks, a /48 each, the packets take turns to come.
    """
    whole = emit_ipv6(IPv6Packet(0, 0, UDP, 64, SOURCE, bytes(16), bytes.fromhex("9c409c4000080000")))
    middle, after = whole[14:24] + SERVICE_PREFIX + server + _NO_FLAGS_NO_PORT, whole[40:]
    before = [whole[:10] + source.to_bytes(4, "big") for source in range(_NETWORKS, _NETWORKS + sources)]
    for number in range(first, NUMBERS):
        yield before[number % sources] + middle + (_MAPPED ^ number).to_bytes(4, "big") + after


@dataclass(frozen=True, slots=True)
class Sent:
    """What a flood was."""

    packets: int
    seconds: float

    @property
    def rate(self) -> float:
        """Packets a second."""
        return self.packets / self.seconds


class Flood:
    """A flood that is under way in a child process.

    @param device: the descriptor of a TUN device that is up.
    @param first: the number of the first destination.
    @param sources: of how many networks it comes.
    @param rate: packets a second; C{inf}: as many as can be.
    @param count: packets in all at most.
    @param seconds: how long it lasts at most.
    """

    def __init__(
        self, device: int, first: int, sources: int, rate: float, count: float = inf, seconds: float = inf
    ) -> None:
        self._told, writing = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                sent = _pour(device, packets(first, sources), rate, count, seconds)
                os.write(writing, json.dumps([sent.packets, sent.seconds]).encode())
            finally:
                sys.stderr.flush()
                os._exit(0)
        os.close(writing)

    @property
    def descriptor(self) -> int:
        """Readable when it has ended."""
        return self._told

    def end(self) -> Sent:
        """Wait for its end.

        @raise ChildProcessError: it failed.
        """
        told = os.read(self._told, 4096)
        os.close(self._told)
        os.waitpid(self._child, 0)
        if not told:
            raise ChildProcessError("the flood ended without a word")
        count, seconds = json.loads(told)
        return Sent(int(count), float(seconds))


def _pour(device: int, source: Iterator[bytes], rate: float, count: float, seconds: float) -> Sent:
    begun = looked = time.monotonic()
    sent = 0
    while sent < count and (now := time.monotonic()) - begun < seconds:
        due = min(BACKLOG, count - sent)
        if rate != inf:
            # Who had the processor taken away makes up for it slowly: a burst would be a flood faster than said.
            due = min(due, (now - begun) * rate - sent, (now - looked) * rate * CATCHING_UP)
        if due < 1:
            time.sleep(NAP)
            continue
        looked = now
        for _ in range(int(due)):
            _write(device, next(source))
        sent += int(due)
    return Sent(sent, time.monotonic() - begun)


def _write(device: int, packet: bytes) -> None:
    while True:
        try:
            os.write(device, packet)
        except BlockingIOError:
            continue
        return
