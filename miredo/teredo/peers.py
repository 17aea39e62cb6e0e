# SPDX-License-Identifier: MIT
"""The one policy for data packets: which peer may be sent to, and whose packets may come in.

The rules (RFC 4380 5.2.3, 5.2.4, 5.4.1, 5.4.2):

  1. A trusted peer is an IPv6 address and the one IPv4 endpoint that was proved to answer for it.
  2. A packet may leave for a trusted peer that was heard less than 30 s ago.
  3. A packet may come in from a trusted peer if it came from that endpoint.
  4. A peer that was silent for 30 s is stale: it takes no packet, but a packet from its endpoint makes it
     fresh again. After 300 s it is forgotten.
  5. When the table is full, the peer that was silent longest makes room: a stale one first; then one that came to us
     uninvited, as anybody can who may write any source on a datagram; then one that our host has sent to first.

C{egress} and C{ingress} are the whole per-packet path; everything else about a peer is told to the fast
path by L{PeerTrusted}, L{PeerLost} and L{AllLost}, and the fast path tells what it saw by L{Peers.seen}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

from miredo.address.endpoint import Dice, Endpoint, IPv6
from miredo.teredo.actions import Action, AllLost, PeerLost, PeerTrusted
from miredo.teredo.constants import PEER_RETENTION, PEER_VALIDITY
from miredo.teredo.silences import Addressed, Silence, Silences
from miredo.teredo.timers import Wheel

SPARED, SPARING_AGE = 8, 1.0
"""Of the uninvited, how many are looked at for one that has been silent for so many seconds. Ours."""


class Peer:
    """One trusted peer; times in seconds of the core's clock.

    @ivar unanswered: when the first packet was sent to it since the last one came from it.
    @ivar tried: when an attempt was last made to find out whether it is behind another endpoint now.
    """

    __slots__ = ("address", "check", "endpoint", "fresh", "last_rx", "last_tx", "tried", "unanswered")

    def __init__(self, address: IPv6, endpoint: Endpoint, now: float) -> None:
        self.address = address
        self.endpoint = endpoint
        self.last_rx = now
        self.tried = -inf
        # RFC 4380 5.2.3 case 3: as if last sent to 30 s ago, so that the first bubble is allowed.
        self.last_tx = now - PEER_VALIDITY
        self.unanswered: float | None = None
        self.fresh = True
        self.check = 0


class Peers:
    """The trusted peers of a client or a relay.

    @param limit: how many peers are kept at most.
    @param heard: is told, at least every 30 s, of endpoints that data came from without a word to the core,
        and when it did last.
    @param dice: for a client, which wants to know of silences; a relay's clients need not answer.
    @ivar last_heard: when any peer was heard last.
    """

    def __init__(
        self,
        limit: int,
        heard: Callable[[Endpoint, float], None] = lambda endpoint, at: None,
        dice: Dice | None = None,
    ) -> None:
        self.last_heard = -inf
        self._limit = limit
        self._heard = heard
        self._silences = None if dice is None else Silences(dice, self._is_current)
        self._peers: dict[IPv6, Peer] = {}
        self._stale: dict[IPv6, Peer] = {}  # in the order in which they fell silent
        self._uninvited: dict[IPv6, Peer] = {}  # in the order in which they came, or were spared last
        self._aging: Wheel[Peer] = Wheel()

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        """The peers, fresh and stale, the one that was trusted last first."""
        return reversed(self._peers.values())

    def get(self, address: IPv6) -> Peer | None:
        return self._peers.get(address)

    # ------------------------------------------------------------ per packet

    def egress(self, destination: IPv6, now: float) -> Endpoint | None:
        """Where a packet for C{destination} may be sent now; None sends it to the core."""
        peer = self._peers.get(destination)
        if peer is None or now - peer.last_rx >= PEER_VALIDITY:
            return None
        peer.last_tx = now
        if peer.unanswered is None:
            peer.unanswered = now
            if self._silences is not None:
                self._silences.begin(peer)
        return peer.endpoint

    def ingress(self, source: IPv6, outer: Endpoint, now: float) -> bool:
        """Whether a packet of C{source} that came from C{outer} may come in; False sends it to the core."""
        peer = self._peers.get(source)
        if peer is None or peer.endpoint != outer or now - peer.last_rx >= PEER_VALIDITY or not peer.fresh:
            return False  # the core has to know of a stale one, which it may be trying to reach
        peer.last_rx = self.last_heard = now
        peer.unanswered = None
        return True

    # ------------------------------------------------------------ what the core learns

    def trust(self, address: IPv6, endpoint: Endpoint, now: float, *, invited: bool = True) -> list[Action]:
        """C{endpoint} was proved to answer for C{address}, just now.

        @param invited: whether our host has sent to it first.
        """
        peer = self._peers.get(address)
        self.last_heard = now
        if invited:
            self._uninvited.pop(address, None)
        if peer is None:
            evicted = self._make_room(now)
            peer = self._peers[address] = Peer(address, endpoint, now)
            if not invited:
                self._uninvited[address] = peer
            self._look_again(peer, now + PEER_VALIDITY)
            return [*evicted, PeerTrusted(address, endpoint)]
        peer.last_rx = now
        if peer.fresh and peer.endpoint == endpoint:
            return []
        if not peer.fresh:
            del self._stale[address]
            self._look_again(peer, now + PEER_VALIDITY)
        peer.endpoint, peer.fresh, peer.unanswered = endpoint, True, None
        return [PeerTrusted(address, endpoint)]

    def matches(self, address: IPv6, endpoint: Endpoint) -> bool:
        """Whether C{endpoint} was proved for C{address} before, however long ago it was heard."""
        peer = self._peers.get(address)
        return peer is not None and peer.endpoint == endpoint

    def seen(self, address: IPv6, last_rx: float, last_tx: float) -> None:
        """The fast path saw packets of a peer; times may be reported late, and never go back."""
        peer = self._peers.get(address)
        if peer is None:
            return
        peer.last_rx = max(peer.last_rx, last_rx)
        peer.last_tx = max(peer.last_tx, last_tx)
        self.last_heard = max(self.last_heard, last_rx)
        if peer.unanswered is not None and peer.unanswered <= last_rx:
            peer.unanswered = None
        if peer.unanswered is None and last_tx > peer.last_rx:
            peer.unanswered = last_tx
            if self._silences is not None:
                self._silences.begin(peer)

    def forget_all(self) -> list[Action]:
        """Our own address or our trust in time is gone: nobody is trusted any more."""
        had_any = bool(self._peers)
        self._peers.clear()
        self._stale.clear()
        self._uninvited.clear()
        self._aging.clear()
        if self._silences is not None:
            self._silences.clear()
        return [AllLost()] if had_any else []

    # ------------------------------------------------------------ aging

    def silent(self, now: float) -> list[Silence]:
        """The silences that have lasted long enough to be told, each as often as L{Silences} has it."""
        return [] if self._silences is None else self._silences.expire(now)

    @property
    def deadline(self) -> float | None:
        """When L{expire} and L{silent} are to be called next."""
        aging = self._aging.deadline
        silence = None if self._silences is None else self._silences.deadline
        if aging is None or silence is None:
            return aging if silence is None else silence
        return min(aging, silence)

    def expire(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while due := self._aging.pop(now):
            for peer in due:
                if self._is_current(peer) and peer.check <= now:
                    self._age(peer, now, actions)
        return actions

    def _age(self, peer: Peer, now: float, actions: list[Action]) -> None:
        silent = now - peer.last_rx
        if silent < PEER_VALIDITY:
            self._heard(peer.endpoint, peer.last_rx)
            self._look_again(peer, peer.last_rx + PEER_VALIDITY)
            return
        if peer.fresh:
            peer.fresh = False
            self._stale[peer.address] = peer
            actions.append(PeerLost(peer.address))
        if silent >= PEER_RETENTION:
            self._forget(peer)
        else:
            self._look_again(peer, peer.last_rx + PEER_RETENTION)

    def _look_again(self, peer: Peer, when: float) -> None:
        peer.check = self._aging.put(when, peer)
        if len(self._aging) > 2 * self._limit:  # most of them made room for others before their time
            self._aging.sift(lambda second, each: self._is_current(each) and each.check == second)

    def _is_current(self, peer: Addressed) -> bool:
        return self._peers.get(peer.address) is peer

    def _forget(self, peer: Peer) -> None:
        del self._peers[peer.address]
        self._stale.pop(peer.address, None)
        self._uninvited.pop(peer.address, None)

    def _first_uninvited(self, now: float) -> Peer | None:
        """The one that came first; a few that were heard a moment ago are spared."""
        for _ in range(min(SPARED, len(self._uninvited))):
            address, peer = next(iter(self._uninvited.items()))
            if now - peer.last_rx >= SPARING_AGE:
                return peer
            del self._uninvited[address]
            self._uninvited[address] = peer
        return next(iter(self._uninvited.values()), None)

    def _make_room(self, now: float) -> list[Action]:
        """The peer silent longest goes, as far as the aging order knows; 0 or 1 action."""
        if len(self._peers) < self._limit:
            return []
        if self._stale:
            self._forget(next(iter(self._stale.values())))
            return []
        uninvited = self._first_uninvited(now)
        if uninvited is not None:
            self._forget(uninvited)
            return [PeerLost(uninvited.address)]
        while first := self._aging.take_first():
            second, peer = first
            if not self._is_current(peer) or second != peer.check:
                continue
            if peer.last_rx + PEER_VALIDITY > second:  # heard since it was put there
                self._look_again(peer, peer.last_rx + PEER_VALIDITY)
                continue
            self._forget(peer)
            return [PeerLost(peer.address)]
        return []
