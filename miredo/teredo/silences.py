# SPDX-License-Identifier: MIT
"""Peers that were sent to and have not been heard since: when something is to be done about it (ours).

A silence begins with the first packet to a peer after the last one from it. It is told when it has lasted

    2 s           nothing may come to our port at all: the server knows
    3 s to 3.5 s  the peer's relay may be gone: another may serve
    6, 12, 24 s   the same again, then every 24 s: a stream that nobody answers is no reason to ask all the time

and is over when a packet of the peer comes. Only the first packet of a silence touches a timer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from miredo.address.endpoint import Dice, IPv6
from miredo.teredo.buckets import uniform
from miredo.teredo.constants import RELAY_PATIENCE, SILENCE
from miredo.teredo.timers import Agenda

JITTER = 0.5
"""Seconds by which those that a relay served at the same time do not ask for another at the same time. Ours."""


class Addressed(Protocol):
    """A peer; C{unanswered} is when the packet was sent that began its silence, if it is silent."""

    address: IPv6
    unanswered: float | None


class Silence(NamedTuple):
    """A peer is silent; C{step} counts how often that was told before."""

    address: IPv6
    step: int


class _Watched:
    __slots__ = ("peer", "since", "step", "steps")

    def __init__(self, peer: Addressed, steps: tuple[float, ...]) -> None:
        self.peer = peer
        self.since = peer.unanswered
        self.step = 0
        self.steps = steps


class Silences:
    """The silences of some peers.

    @param is_current: whether a peer is still one.
    """

    def __init__(self, dice: Dice, is_current: Callable[[Addressed], bool]) -> None:
        self._dice = dice
        self._is_current = is_current
        self._watched: dict[IPv6, _Watched] = {}
        self._agenda: Agenda[_Watched] = Agenda()

    def __len__(self) -> int:
        return len(self._watched)

    @property
    def deadline(self) -> float | None:
        return self._agenda.deadline

    def begin(self, peer: Addressed) -> None:
        """A silence of C{peer} has begun; one that is watched already is looked at in its time."""
        if peer.unanswered is None or peer.address in self._watched:
            return
        relay = RELAY_PATIENCE + uniform(self._dice, 0.0, JITTER)
        watched = self._watched[peer.address] = _Watched(peer, (SILENCE, relay, 6.0, 12.0, 24.0))
        self._agenda.put(peer.unanswered + SILENCE, watched)

    def expire(self, now: float) -> list[Silence]:
        """Those that have lasted until now."""
        found = []
        while (watched := self._agenda.pop(now)) is not None:
            peer = watched.peer
            since = peer.unanswered if self._is_current(peer) else None
            if since is None:
                del self._watched[peer.address]
                continue
            if since != watched.since:
                watched.since, watched.step = since, 0
            if since + _step(watched) <= now:
                found.append(Silence(peer.address, watched.step))
            while since + _step(watched) <= now:
                watched.step += 1
            self._agenda.put(since + _step(watched), watched)
        return found

    def clear(self) -> None:
        self._watched.clear()
        self._agenda.clear()


def _step(watched: _Watched) -> float:
    """Seconds from the begin of the silence to when it is to be told next."""
    steps = watched.steps
    if watched.step < len(steps):
        return steps[watched.step]
    return steps[-1] * (watched.step - len(steps) + 2)
