# SPDX-License-Identifier: MIT
"""Links with delay, jitter, loss, reordering and a rate on real packets: what lies between two TUN devices.

A kernel may have no netem, and an ordinary user may not load it; so a packet that the kernel routes into one device
waits here for its time and is written to the other. It is the same L{Link} as in memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

from zope.interface import implementer

from miredo.kernel.interfaces import IClock, ITunnel
from miredo.lab.links import Link, Transmitter


class Passage:
    """One direction: packets go in, and come out when the link lets them.

    @ivar lost: packets that never come out.
    """

    def __init__(self, link: Link, clock: IClock, dice: Random, deliver: Callable[[bytes], object]) -> None:
        self.lost = 0
        self._transmitter = Transmitter(link)
        self._clock = clock
        self._roll = dice.random
        self._deliver = deliver
        self._under_way: list[tuple[float, int, bytes]] = []
        self._sent = 0
        self._alarm = clock.alarm(self._arrive)

    def send(self, packet: bytes) -> None:
        arrivals = self._transmitter.deliveries(self._clock.now(), len(packet), self._roll)
        if not arrivals:
            self.lost += 1
            return
        for at in arrivals:
            self._sent += 1
            heapq.heappush(self._under_way, (at, self._sent, packet))
        self._alarm.arm(self._under_way[0][0])

    def close(self) -> None:
        self._alarm.cancel()
        self._under_way.clear()

    def _arrive(self) -> None:
        now = self._clock.now()
        while self._under_way and self._under_way[0][0] <= now:
            self._deliver(heapq.heappop(self._under_way)[2])
        if self._under_way:
            self._alarm.arm(self._under_way[0][0])


class Cable:
    """Two devices joined by a link, the same in both directions; it owns them."""

    def __init__(self, one: ITunnel, other: ITunnel, link: Link, clock: IClock, dice: Random) -> None:
        self._ends = one, other
        self._passages = Passage(link, clock, dice, other.write), Passage(link, clock, dice, one.write)

    def start(self) -> None:
        for end, passage in zip(self._ends, self._passages, strict=True):
            end.start(passage.send)

    def close(self) -> None:
        for end, passage in zip(self._ends, self._passages, strict=True):
            passage.close()
            end.close()


@implementer(ITunnel)
class DistantTunnel:
    """A device at the far end of a link: what is written takes its time, and so does what is read."""

    def __init__(self, tunnel: ITunnel, link: Link, clock: IClock, dice: Random) -> None:
        self.name, self.index = tunnel.name, tunnel.index
        self._tunnel = tunnel
        self._receive: Callable[[bytes], None] | None = None
        self._towards = Passage(link, clock, dice, tunnel.write)
        self._from = Passage(link, clock, dice, self._received)

    def start(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive
        self._tunnel.start(self._from.send)

    def write(self, packet: bytes) -> bool:
        self._towards.send(packet)
        return True

    def close(self) -> None:
        self._towards.close()
        self._from.close()
        self._tunnel.close()

    def _received(self, packet: bytes) -> None:
        if self._receive is not None:
            self._receive(packet)
