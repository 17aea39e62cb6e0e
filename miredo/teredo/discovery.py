# SPDX-License-Identifier: MIT
"""Other clients on a link of ours: who they are, and when we say that we are there (RFC 4380 5.2.8).

The rules:

  1. A discovery bubble goes to 224.0.0.253 on every link where the group is joined: when the client gets its
     address, then every 200 to 300 s; and besides, at most one a second, when we look for a peer that may be
     there or hear of one that was not (ours: else who comes later learns of us after minutes).
  2. What comes by the group counts only as a bubble of a Teredo address to ff02::1, from another host of a subnet
     of ours, whose client has the same mapped IPv4 address as we: the RFC's MAY, so that nobody on the link
     can take the place of a peer that is elsewhere. The TTL is not looked at: it is 1 only where the sender is
     honest, and no router passes the group on.
  3. Such a bubble makes a neighbour, or moves one. It is not trusted before a packet comes from its local endpoint
     by unicast (5.2.3 case 5), and is local for 600 s (5.2.4 case 3).
  4. Neighbours are few, and few a host; who is not trusted and was heard longest ago makes room.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import NamedTuple

from miredo.address.endpoint import Dice, Endpoint, IPv4, IPv6, ipv4_of
from miredo.address.teredo import ALL_NODES, is_teredo, mapped_of
from miredo.teredo.actions import Action, SendToGroup
from miredo.teredo.buckets import TokenBucket, uniform
from miredo.teredo.constants import (
    DISCOVERY_HIGH,
    DISCOVERY_LOW,
    DISCOVERY_SPACING,
    NEIGHBOUR_VALIDITY,
)
from miredo.teredo.drops import Drop
from miredo.teredo.qualification import Address
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.ipv6 import destination_of, source_of

NEIGHBOUR_LIMIT, HOST_LIMIT = 256, 8
"""Neighbours kept at most, and of one IPv4 address. Ours."""
ANSWER_RATE, ANSWER_BURST = 10.0, 20.0
"""Answers to discovery bubbles a second, and at once. Ours."""
HOP_LIMIT = 1
"""Of a discovery bubble's IPv6 header (RFC 4380 5.2.8)."""


class Subnet(NamedTuple):
    """A subnet on whose link the group is joined: our address there, and its prefix length."""

    own: IPv4
    prefix_length: int

    def has_host(self, ipv4: IPv4) -> bool:
        """Whether C{ipv4} is another host there; neither the broadcast address nor its counterpart of zeros is one."""
        bits = 32 - self.prefix_length
        address, own = int.from_bytes(ipv4, "big"), int.from_bytes(self.own, "big")
        host = address & (1 << bits) - 1
        return address >> bits == own >> bits and address != own and 0 < host < (1 << bits) - 1


class Neighbour:
    """A client on a link of ours, and where discovery bubbles of it came from.

    @ivar heard: when the last one came.
    """

    __slots__ = ("address", "endpoint", "heard")

    def __init__(self, address: IPv6, endpoint: Endpoint, heard: float) -> None:
        self.address = address
        self.endpoint = endpoint
        self.heard = heard


class Discovery:
    """The neighbours of a client; none as long as no subnet is attached.

    @param is_trusted: whether an endpoint was proved to answer for an address.
    """

    def __init__(self, dice: Dice, is_trusted: Callable[[IPv6, Endpoint], bool]) -> None:
        self._dice = dice
        self._is_trusted = is_trusted
        self._subnets: tuple[Subnet, ...] = ()
        self._own: Address | None = None
        self._last = -inf
        self._next = inf
        self._answers = TokenBucket(ANSWER_RATE, ANSWER_BURST)
        self._neighbours: OrderedDict[IPv6, Neighbour] = OrderedDict()  # in the order in which they were heard

    def __len__(self) -> int:
        return len(self._neighbours)

    def __iter__(self) -> Iterator[Neighbour]:
        """The neighbours, who was heard last first."""
        return reversed(self._neighbours.values())

    # ------------------------------------------------------------ life

    def attached(self, subnets: Sequence[Subnet]) -> bool:
        """The group is joined on these links and no other; whether that is a change, which ends what was known."""
        if tuple(subnets) == self._subnets:
            return False
        self._subnets = tuple(subnets)
        self._neighbours.clear()
        return True

    def begin(self, own: Address | None, now: float) -> list[Action]:
        """Our address is C{own} now: all others are to know."""
        self._own = own
        self._neighbours.clear()
        self._last, self._next = -inf, inf
        return self.announce(now)

    def end(self) -> None:
        """We have no address any more."""
        self._own = None
        self._neighbours.clear()

    @property
    def deadline(self) -> float | None:
        return self._next if self._is_on and self._next < inf else None

    def expire(self, now: float) -> list[Action]:
        return self.announce(now) if self._next <= now else []

    def announce(self, now: float) -> list[Action]:
        """A discovery bubble; if one has just left, a second after that one."""
        if self._own is None or not self._is_on:
            return []
        if now - self._last < DISCOVERY_SPACING:
            self._next = min(self._next, self._last + DISCOVERY_SPACING)
            return []
        self._forget_the_gone(now)
        self._last, self._next = now, now + uniform(self._dice, DISCOVERY_LOW, DISCOVERY_HIGH)
        return [SendToGroup(emit_bubble(self._own.address, ALL_NODES, HOP_LIMIT))]

    @property
    def _is_on(self) -> bool:
        return self._own is not None and self._subnets != ()

    # ------------------------------------------------------------ neighbours

    def whereabouts(self, address: IPv6, now: float) -> Endpoint | None:
        """The local endpoint of a neighbour that was heard in the last 600 s (RFC 4380 5.2.4 case 3)."""
        neighbour = self._neighbours.get(address)
        return neighbour.endpoint if neighbour is not None and now - neighbour.heard < NEIGHBOUR_VALIDITY else None

    def matches(self, address: IPv6, endpoint: Endpoint) -> bool:
        """Whether C{endpoint} is the local one of a neighbour (RFC 4380 5.2.3 case 5)."""
        neighbour = self._neighbours.get(address)
        return neighbour is not None and neighbour.endpoint == endpoint

    def may_be_near(self, address: IPv6) -> bool:
        """Whether another client is behind the NAT that we are behind, so that it may be on a link of ours."""
        if self._own is None or not self._is_on or not is_teredo(address):
            return False
        return ipv4_of(mapped_of(address)) == ipv4_of(self._own.mapped)

    def refusal(self, packet: bytes, outer: Endpoint) -> Drop | None:
        """Why a packet that came by the group is no discovery bubble of a neighbour (RFC 4380 5.2.8)."""
        source = source_of(packet)
        if self._own is not None and source == self._own.address:
            return Drop.OWN_ADDRESS
        if not (is_bubble(packet) and destination_of(packet) == ALL_NODES and is_teredo(source)):
            return Drop.NOT_A_DISCOVERY
        if not any(subnet.has_host(ipv4_of(outer)) for subnet in self._subnets) or self._is_ours(ipv4_of(outer)):
            return Drop.OFF_SUBNET
        return None if self.may_be_near(source) else Drop.OTHER_NAT

    def heard(self, address: IPv6, endpoint: Endpoint, now: float) -> bool:
        """A discovery bubble of C{address} came from C{endpoint}; False when there is no room for one more."""
        neighbour = self._neighbours.get(address)
        if neighbour is None or ipv4_of(neighbour.endpoint) != ipv4_of(endpoint):
            if not self._make_room(ipv4_of(endpoint)):
                return False
            neighbour = self._neighbours[address] = Neighbour(address, endpoint, now)
        neighbour.endpoint, neighbour.heard = endpoint, now
        self._neighbours.move_to_end(address)
        return True

    def may_answer(self, now: float) -> bool:
        """Whether one more discovery bubble may be answered; it is counted if so."""
        return self._answers.take(now)

    def _is_ours(self, ipv4: IPv4) -> bool:
        return any(subnet.own == ipv4 for subnet in self._subnets)

    def _make_room(self, ipv4: IPv4) -> bool:
        """For one more at C{ipv4}: one of that host goes if it has many, else one of any when all room is taken."""
        crowd = [one for one in self._neighbours.values() if ipv4_of(one.endpoint) == ipv4]
        if len(crowd) < HOST_LIMIT:
            if len(self._neighbours) < NEIGHBOUR_LIMIT:
                return True
            crowd = list(self._neighbours.values())
        for one in crowd:
            if not self._is_trusted(one.address, one.endpoint):
                del self._neighbours[one.address]
                return True
        return False

    def _forget_the_gone(self, now: float) -> None:
        for one in list(self._neighbours.values()):
            if now - one.heard >= NEIGHBOUR_VALIDITY and not self._is_trusted(one.address, one.endpoint):
                del self._neighbours[one.address]
