# SPDX-License-Identifier: MIT
"""Reaching a peer that is not trusted yet: attempts on a timer, and packets that wait meanwhile.

The rules (RFC 4380 5.2.4, 5.2.6, 5.2.9, 5.4.1):

  1. One attempt is a direct bubble, an indirect bubble, both together, or a connectivity test: what the
     role's C{attempt} makes.
  2. Four attempts, 2.25 s apart; the first not earlier than 2 s after the last transmission to the peer.
     That is RFC 4380 5.2.6, of bubbles. The test of a native host goes to our server and not to the peer: it
     need only be 2 s since the last one while the host was trusted (ours), so that another relay takes over
     at once, and two that take turns do not have us ask all the time.
     The RFC's bound is 4 in 300 s without a direct packet, at least 2 s apart; its retries hang on further
     packets of the host, ours on a timer, so that a single packet has all four.
  3. Packets of the host wait, first in first out. When the last attempt had no answer for 2.25 s they are
     given up, each with an ICMPv6 error, code 3. Until the peer may be tried again, further packets for
     it are answered so at once.
  4. Received packets of a source that is not verified are held, few and not for long, and delivered if the
     endpoint that they came from becomes trusted.
  5. The least recently used contact makes room, and one bucket bounds all attempts, so that driving out
     contacts does not get round rule 2. Contacts that only a received packet began have a smaller table and a
     smaller bucket of their own: strangers cannot keep the host from reaching anybody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from math import inf

from miredo.address.endpoint import Dice, Endpoint, IPv6
from miredo.address.teredo import is_teredo
from miredo.teredo.actions import Action, DeliverPacket, SendDatagram, SendError
from miredo.teredo.buckets import TokenBucket
from miredo.teredo.constants import (
    ANSWER_LIMIT,
    ANSWER_SPACING,
    ATTEMPT_INTERVAL,
    ATTEMPT_LIMIT,
    ATTEMPT_SPACING,
    ATTEMPT_WINDOW,
    ERROR_BURST,
    ERROR_RATE,
)
from miredo.teredo.drops import Drop, Drops
from miredo.teredo.peers import Peers
from miredo.teredo.queues import HeldPackets, PacketQueue
from miredo.teredo.timers import Agenda
from miredo.wire.icmpv6 import may_cause_error, unreachable_body
from miredo.wire.ipv6 import source_of
from miredo.wire.trailers import NonceTrailer, emit_trailer

NO_ROUTE, ADDRESS_UNREACHABLE, SOURCE_REFUSED = 0, 3, 5
"""Codes of ICMPv6 Destination Unreachable (RFC 4443 3.1)."""

PLAIN_ATTEMPT = 3
"""The attempt whose bubble has no trailer: a strict RFC 4380 peer drops a datagram longer than its packet. Ours."""
NONCE_LENGTH = 4
"""Bytes (RFC 6081 4.2)."""

STRANGERS_SHARE = 4
"""Contacts that only a received packet began are at most this part of all others' limit. Ours."""

ANSWERED_ENDPOINTS = 4096
"""How many endpoints' answers are counted. Ours."""


class Contact:
    """A peer that is being tried, or was in vain; C{nonce} and C{test} are what its answer must carry.

    @ivar bubbled: whether a direct bubble has left for it.
    """

    __slots__ = ("address", "attempts", "begun", "bubbled", "held", "nonce", "queue", "refused", "started", "test")

    def __init__(self, address: IPv6) -> None:
        self.address = address
        self.begun = False
        self.started = 0.0
        self.attempts = 0
        self.refused = False
        self.bubbled = False
        self.nonce: bytes | None = None
        self.test: bytes | None = None
        self.queue = PacketQueue()
        self.held = HeldPackets()


class Traversal:
    """The contacts of a client or a relay.

    @param limit: how many contacts are kept at most.
    @param attempts: bounds all attempts together that the host's packets ask for.
    @param for_strangers: bounds all attempts together that only received packets ask for.
    @param attempt: makes one attempt at a contact.
    @param pause: seconds from the first attempt in vain until its peer may be tried again.
    """

    def __init__(
        self,
        peers: Peers,
        drops: Drops,
        limit: int,
        attempts: TokenBucket,
        for_strangers: TokenBucket,
        attempt: Callable[[Contact, float], list[Action]],
        pause: Callable[[IPv6], float],
    ) -> None:
        self._peers = peers
        self._drops = drops
        self._limit = limit
        self._attempts = attempts
        self._for_strangers = for_strangers
        self._attempt = attempt
        self._pause = pause
        self._errors = TokenBucket(ERROR_RATE, ERROR_BURST)
        self._contacts: OrderedDict[IPv6, Contact] = OrderedDict()
        self._strangers: OrderedDict[IPv6, Contact] = OrderedDict()
        self._agenda: Agenda[Contact] = Agenda()

    def __len__(self) -> int:
        return len(self._contacts) + len(self._strangers)

    def __iter__(self) -> Iterator[Contact]:
        """Those that the host sends to, the last used first, then the strangers likewise."""
        yield from reversed(self._contacts.values())
        yield from reversed(self._strangers.values())

    @property
    def deadline(self) -> float | None:
        return self._agenda.deadline

    def get(self, address: IPv6) -> Contact | None:
        return self._contacts.get(address) or self._strangers.get(address)

    # ------------------------------------------------------------ inputs

    def queue(self, address: IPv6, packet: bytes, now: float) -> list[Action]:
        """A packet of the host waits for C{address}."""
        contact, actions = self._contact(self._contacts, self._limit, address, now)
        if contact.refused:
            return [*actions, *self._give_up_packet(packet, Drop.PEER_SILENT, now)]
        if not contact.queue.put(packet):
            actions += self._give_up_packet(packet, Drop.QUEUE_FULL, now)
        return [*actions, *self._begin(contact, now)]

    def hold(self, address: IPv6, packet: bytes, outer: Endpoint, until: float, now: float) -> list[Action]:
        """A packet came from a source that is not verified; it waits until C{until} at most."""
        known = address in self._contacts
        table, limit = (
            (self._contacts, self._limit) if known else (self._strangers, max(1, self._limit // STRANGERS_SHARE))
        )
        contact, actions = self._contact(table, limit, address, now)
        self._drops[Drop.HELD_TOO_LONG] += contact.held.drop_older(now)
        if contact.refused:
            self._drops[Drop.PEER_SILENT] += 1
            return actions
        if not contact.held.put(packet, outer, until):
            self._drops[Drop.HELD_TOO_MANY] += 1
        return [*actions, *self._begin(contact, now)]

    def trust(self, address: IPv6, endpoint: Endpoint, now: float) -> list[Action]:
        """C{endpoint} answers for C{address}: what waited goes its way, oldest first."""
        actions = self._peers.trust(address, endpoint, now, invited=address in self._contacts)
        contact = self._table_of(address).pop(address, None)
        if contact is None:
            return actions
        self._agenda.remove(contact)
        waiting = contact.queue.drain()
        if waiting:
            self._peers.seen(address, now, now)
        actions += [SendDatagram(packet, endpoint) for packet in waiting]
        held = len(contact.held)
        delivered = contact.held.drain(endpoint, now)
        self._drops[Drop.HELD_TOO_LONG] += held - len(delivered)
        actions += [DeliverPacket(packet) for packet in delivered]
        return actions

    def test_again(self, address: IPv6, now: float) -> list[Action]:
        """A trusted peer may no longer be where it was: it is tried anew, and is sent to as before meanwhile."""
        if self.get(address) is not None:
            return []
        contact, actions = self._contact(self._contacts, self._limit, address, now)
        contact.begun = True
        return [*actions, *self._try(contact, now)]

    def refuse(self, packet: bytes, error: bytes, now: float) -> list[Action]:
        """Answer a packet of the host with an ICMPv6 error, if RFC 4443 2.4(e) and (f) let us.

        @param error: the message; its checksum is left to who sends it.
        """
        if not may_cause_error(packet):
            return []
        if not self._errors.take(now):
            self._drops[Drop.ERROR_LIMITED] += 1
            return []
        return [SendError(error, source_of(packet))]

    def forget_all(self, now: float) -> list[Action]:
        """Our own address is gone: what waited is given up."""
        actions: list[Action] = []
        for contact in (*self._contacts.values(), *self._strangers.values()):
            actions += self._give_up(contact, now)
        self._contacts.clear()
        self._strangers.clear()
        self._agenda.clear()
        return actions

    def expire(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while (contact := self._agenda.pop(now)) is not None:
            if contact.refused:
                self._table_of(contact.address).pop(contact.address)
            elif contact.attempts < ATTEMPT_LIMIT:
                actions += self._try(contact, now)
            else:
                contact.refused = True
                self._agenda.put(max(now, contact.started + self._pause(contact.address)), contact)
                actions += self._give_up(contact, now)
        return actions

    # ------------------------------------------------------------ steps

    def _contact(
        self, table: OrderedDict[IPv6, Contact], limit: int, address: IPv6, now: float
    ) -> tuple[Contact, list[Action]]:
        """The contact of C{address} in a table, and what making room for it there asks for."""
        contact = table.get(address)
        if contact is not None:
            table.move_to_end(address)
            return contact, []
        actions: list[Action] = []
        if len(table) >= limit:
            _, oldest = table.popitem(last=False)
            self._agenda.remove(oldest)
            actions = self._give_up(oldest, now)
        contact = table[address] = Contact(address)
        if address in self._strangers and table is not self._strangers:
            # The host sends to a stranger: what is held stays, and no attempt that strangers starved counts.
            stranger = self._strangers.pop(address)
            self._agenda.remove(stranger)
            contact.held, contact.test, contact.bubbled = stranger.held, stranger.test, stranger.bubbled
        return contact, actions

    def _table_of(self, address: IPv6) -> OrderedDict[IPv6, Contact]:
        return self._contacts if address in self._contacts else self._strangers

    def _begin(self, contact: Contact, now: float) -> list[Action]:
        """Make the first attempt, or put it off (rule 2)."""
        if contact.begun:
            return []
        contact.begun = True
        earliest = self._earliest(contact.address, now)
        if earliest > now:
            self._agenda.put(earliest, contact)
            return []
        return self._try(contact, now)

    def _earliest(self, address: IPv6, now: float) -> float:
        peer = self._peers.get(address)
        if peer is None:
            return now
        return (peer.last_tx if is_teredo(address) else peer.tried) + ATTEMPT_SPACING

    def _try(self, contact: Contact, now: float) -> list[Action]:
        # A late attempt, after a sleep, puts off the next round: RFC 4380 5.2.6 counts in any 300 s.
        contact.started = max(contact.started, now - contact.attempts * ATTEMPT_INTERVAL)
        contact.attempts += 1
        self._agenda.put(now + ATTEMPT_INTERVAL, contact)
        peer = self._peers.get(contact.address)
        if peer is not None:
            peer.tried = now
        bucket = self._attempts if contact.address in self._contacts else self._for_strangers
        if not bucket.take(now):
            self._drops[Drop.ATTEMPTS_EXCEEDED] += 1
            return []
        return self._attempt(contact, now)

    def _give_up(self, contact: Contact, now: float) -> list[Action]:
        self._drops[Drop.HELD_TOO_LONG] += contact.held.drop_older(float("inf"))
        actions: list[Action] = []
        for packet in contact.queue.drain():
            actions += self._give_up_packet(packet, Drop.NO_ANSWER, now)
        return actions

    def _give_up_packet(self, packet: bytes, reason: Drop, now: float) -> list[Action]:
        self._drops[reason] += 1
        return self.refuse(packet, unreachable_body(ADDRESS_UNREACHABLE, packet), now)


def fresh_nonce_trailer(contact: Contact, dice: Dice) -> bytes:
    """RFC 6081 5.2.4.2: each indirect bubble carries a fresh nonce; but one goes without a trailer."""
    if contact.attempts == PLAIN_ATTEMPT:
        return b""
    contact.nonce = dice(NONCE_LENGTH)
    return emit_trailer(NonceTrailer(contact.nonce))


class Answers:
    """Answers to indirect bubbles, counted by the endpoint that they go to.

    One each, at least 1 s apart, at most 4 in 300 s without a direct packet from there: RFC 4380 5.2.6 applied
    to answers, with a count of their own so that both ends' attempts do not lock each other out.
    """

    def __init__(self) -> None:
        # When the last answer was given, then when those were that count.
        self._given: OrderedDict[Endpoint, tuple[float, ...]] = OrderedDict()

    def allow(self, to: Endpoint, now: float) -> bool:
        """Whether one more answer may go to C{to}; it is counted if so."""
        last, *given = self._given.pop(to, (-inf,))
        given = [at for at in given if now - at < ATTEMPT_WINDOW]
        allowed = len(given) < ANSWER_LIMIT and now - last >= ANSWER_SPACING
        self._given[to] = (now, *given, now) if allowed else (last, *given)
        if len(self._given) > ANSWERED_ENDPOINTS:
            self._given.popitem(last=False)
        return allowed

    def heard_directly(self, endpoint: Endpoint, at: float = inf) -> None:
        """A direct packet came from there at C{at}: what was given before counts no more, but keeps its distance."""
        given = self._given.get(endpoint)
        if given is not None:
            self._given[endpoint] = (given[0], *(each for each in given[1:] if each > at))

    def clear(self) -> None:
        self._given.clear()
