# SPDX-License-Identifier: MIT
"""What a client may find out through ports other than its service port, each open no longer than it takes.

For a client that asks: how long the NAT remembers it (L{IntervalSearch}), and whom it lets in (L{FilteringProbe}).
"""

from __future__ import annotations

from miredo.address.endpoint import Dice, Endpoint, IPv6
from miredo.teredo.actions import SECONDARY, Action, NatObserved
from miredo.teredo.drops import Drop
from miredo.teredo.filtering import FilteringProbe
from miredo.teredo.interval import IntervalSearch
from miredo.teredo.qualification import Holding, Qualification
from miredo.teredo.security import Credential


class OtherPorts:
    """
    Those of one client.

    @param qualification: of the service port; it is given the refresh interval that was found.
    @param longest_interval: seconds up to which a longer one is looked for; C{None}: not at all.
    @param probe_filtering: whether L{NatObserved} waits for what is seen of the filtering, and tells it.
    """

    def __init__(
        self,
        qualification: Qualification,
        dice: Dice,
        credential: Credential | None,
        longest_interval: float | None,
        *,
        probe_filtering: bool,
    ) -> None:
        self._qualification = qualification
        self._search = IntervalSearch(dice, qualification.refresh_interval, longest_interval, credential)
        self._probe = FilteringProbe(dice, credential)
        self._probing = probe_filtering
        self._probed: IPv6 | None = None  # the address at which the filtering was probed
        self._untold: NatObserved | None = None

    @property
    def deadline(self) -> float | None:
        deadlines = (self._search.deadline, self._probe.deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def begin_anew(self) -> list[Action]:
        """The network may be another: what was found out counts no more."""
        return self._interval_after(self._search.abandon())

    def abandon(self) -> list[Action]:
        """There is no address any more."""
        self._probed = self._untold = None
        return [*self.begin_anew(), *self._probe.abandon()]

    def follow(self, actions: list[Action], now: float) -> list[Action]:
        """The service port's own C{actions}, and what they lead to, once the server has answered."""
        told = [action for action in actions if not self._waits(action)]
        match self._qualification.state:
            case Holding(held):
                server = self._qualification.server
                told += self._interval_after(self._search.qualified(held.address, server, now))
                told += self._probe_at(held.address, now)
            case _ if self._qualification.held is None:
                told += self.abandon()
            case _:
                pass  # the server is asked again
        return self._told(told)

    def expire(self, now: float) -> list[Action]:
        return [*self._interval_after(self._search.expire(now)), *self._told(self._probe.expire(now))]

    def receive(self, via: int, datagram: bytes, outer: Endpoint, now: float) -> list[Action] | Drop:
        """A datagram came to one of the ports: actions, or the reason to drop it."""
        if via == SECONDARY:
            answer = self._search.receive(datagram, outer, now)
            return answer if isinstance(answer, Drop) else self._interval_after(answer)
        answer = self._probe.receive(datagram, outer, now)
        return answer if isinstance(answer, Drop) else self._told(answer)

    def _interval_after(self, actions: list[Action]) -> list[Action]:
        self._qualification.refresh_interval = self._search.interval
        return actions

    def _probe_at(self, address: IPv6, now: float) -> list[Action]:
        if not self._probing or address == self._probed:
            return []
        self._probed = address
        return self._probe.begin(self._qualification.server, now)

    def _waits(self, action: Action) -> bool:
        """What is told of the NAT waits for the filtering, where that is asked for."""
        if not (self._probing and isinstance(action, NatObserved)):
            return False
        self._untold = action
        return True

    def _told(self, actions: list[Action]) -> list[Action]:
        untold = self._untold
        if untold is None or self._probe.under_way:
            return actions
        self._untold = None
        filtering = self._probe.seen(other_address_lives=untold.mapped_for_secondary is not None)
        return [*actions, untold._replace(filtering=filtering)]
