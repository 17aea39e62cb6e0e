# SPDX-License-Identifier: MIT
"""Packets that wait: first in, first out, bounded in packets, bytes and age."""

from __future__ import annotations

from collections import deque

from miredo.address.endpoint import Endpoint
from miredo.teredo.constants import HELD_PACKETS, QUEUE_BYTES, QUEUE_PACKETS


class PacketQueue:
    """IPv6 packets of the host for one peer that is being contacted (RFC 4380 5.2.4, 5.4.1).

    Its age is bounded by its owner, which empties it when the last attempt has failed.
    """

    __slots__ = ("_bytes", "_packets")

    def __init__(self) -> None:
        self._packets: deque[bytes] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._packets)

    def put(self, packet: bytes) -> bool:
        """Append; False when the queue is full, and the packet was not taken."""
        if len(self._packets) >= QUEUE_PACKETS or self._bytes + len(packet) > QUEUE_BYTES:
            return False
        self._packets.append(packet)
        self._bytes += len(packet)
        return True

    def drain(self) -> list[bytes]:
        """All packets, oldest first; the queue is empty afterwards."""
        packets = list(self._packets)
        self._packets.clear()
        self._bytes = 0
        return packets


class HeldPackets:
    """Received packets of a source that is not verified yet, with the endpoint that each came from."""

    __slots__ = ("_bytes", "_packets")

    def __init__(self) -> None:
        self._packets: deque[tuple[float, Endpoint, bytes]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._packets)

    def put(self, packet: bytes, outer: Endpoint, until: float) -> bool:
        """Hold until C{until}; False when there is no room."""
        if len(self._packets) >= HELD_PACKETS or self._bytes + len(packet) > QUEUE_BYTES:
            return False
        self._packets.append((until, outer, packet))
        self._bytes += len(packet)
        return True

    def drop_older(self, now: float) -> int:
        """Drop what was held long enough; how many those were."""
        before = len(self._packets)
        self._packets = deque(held for held in self._packets if held[0] > now)
        self._bytes = sum(len(packet) for _, _, packet in self._packets)
        return before - len(self._packets)

    def drain(self, outer: Endpoint, now: float) -> list[bytes]:
        """The packets that came from C{outer} and are not too old, oldest first; empty afterwards."""
        packets = [packet for until, source, packet in self._packets if source == outer and until > now]
        self._packets.clear()
        self._bytes = 0
        return packets
