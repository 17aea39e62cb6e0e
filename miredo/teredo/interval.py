# SPDX-License-Identifier: MIT
"""How long a client may be silent before its NAT forgets it (RFC 4380 5.2.7).

The rules, in the steps of the RFC. The secondary port is qualified as soon as the service port is; then

  1. nothing goes through it for the candidate interval;
  2. the service port sends it a bubble, through the server (ours: a direct one would need hairpinning);
  3. after 2 s without it again, three times at most: it comes, or the candidate has failed;
  4. it came: the candidate is the refresh interval from now on;
  5. it did not: the candidate is the maximum from now on. When the interval is 75 % of the maximum at least,
     the search has concluded, and the port is closed. Ours: after a success too, or a patient NAT is never done with;
  6. the next candidate is the average of interval and maximum, or twice the interval if that is less; the secondary
     port is solicited for again, which opens its mapping anew.

Whatever comes to the secondary port during its silence begins the wait anew (ours), since a NAT may count it. Whoever
does not qualify there leaves the interval as it is. The port has but one exchange with the server before each silence:
Linux remembers such a mapping for 30 s, and for 120 s once it has carried packets for 2 s. What the service port may
fall back to, when the NAT was restarted, is the shorter time, and so that is what is measured.

An address that is gone, a network that may be another, or a mapping that changes put the interval back. A search then
begins anew, unless the mapping had lived for less than an hour (ours): a NAT that does not keep it for the shortest
interval, or not for the one that was found, would have us search for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from miredo.address.endpoint import Dice, Endpoint, IPv6
from miredo.address.teredo import CLIENT_LINK_LOCAL
from miredo.teredo.actions import (
    SECONDARY,
    Action,
    ClosePort,
    OpenPort,
    RefreshDetermined,
    SendDatagram,
)
from miredo.teredo.constants import (
    CONCLUSIVE_SHARE,
    INTERVAL_BUBBLE_PATIENCE,
    INTERVAL_BUBBLES,
    SETTLED_LIFE,
)
from miredo.teredo.drops import Drop
from miredo.teredo.qualification import Qualification, Resting, Server, server_endpoint
from miredo.teredo.security import Credential
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.encapsulation import parse_encapsulation
from miredo.wire.ipv6 import destination_of, source_of
from miredo.wire.reader import MalformedPacket


@dataclass(frozen=True, slots=True)
class Closed:
    """No search is under way, and there is no secondary port."""


@dataclass(frozen=True, slots=True)
class Soliciting:
    """The secondary port is being qualified, or its mapping opened anew."""


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing goes through the secondary port."""

    until: float


@dataclass(frozen=True, slots=True)
class Testing:
    """A bubble is on its way to the secondary port; it was sent so many times."""

    tries: int
    until: float


State = Closed | Soliciting | Silent | Testing


class IntervalSearch:
    """The search of one client.

    @param shortest: seconds of the refresh interval that is not put in question.
    @param longest: seconds up to which a longer one is looked for; C{None}: not at all.
    @param credential: what is shared with the servers.
    @ivar interval: seconds of the refresh interval, as far as is known.
    """

    def __init__(self, dice: Dice, shortest: float, longest: float | None, credential: Credential | None) -> None:
        self.interval = shortest
        self.state: State = Closed()
        self._shortest, self._longest = shortest, longest
        self._maximum = self._candidate = shortest
        self._second = Qualification([], dice, shortest, credential, diagnosing=False)
        self._address: IPv6 | None = None  # of the service port
        self._since = 0.0  # when that address came

    @property
    def deadline(self) -> float | None:
        match self.state:
            case Closed():
                return None
            case Soliciting():
                return self._second.deadline
            case Silent(until) | Testing(until=until):
                return until
            case other:
                assert_never(other)

    # ------------------------------------------------------------ inputs

    def qualified(self, address: IPv6, server: Server, now: float) -> list[Action]:
        """The service port has this address, which may be the one that it had."""
        before, lived = self._address, now - self._since
        if address == before:
            return []
        interval = self.interval
        actions = self.abandon()
        self._address, self._since = address, now
        if interval != self._shortest:
            actions.append(RefreshDetermined(self._shortest))
        return actions if before is not None and lived < SETTLED_LIFE else [*actions, *self._begin(server, now)]

    def abandon(self) -> list[Action]:
        """The address is gone, or the network may be another: of what was found nothing is known any more."""
        self.interval, self._address = self._shortest, None
        return self._close()

    def receive(self, datagram: bytes, outer: Endpoint, now: float) -> list[Action] | Drop:
        """A datagram came to the secondary port: actions, or the reason to drop it."""
        if isinstance(self.state, Silent):
            self.state = Silent(now + self._candidate)
        try:
            encapsulated = parse_encapsulation(datagram)
        except MalformedPacket:
            return Drop.MALFORMED
        if isinstance(self.state, Soliciting) and destination_of(encapsulated.packet) == CLIENT_LINK_LOCAL:
            answer = self._second.advertised(encapsulated, outer, now)
            if isinstance(answer, Drop):
                return answer
            self.state = Silent(now + self._candidate)  # step 1
            return []
        if isinstance(self.state, Testing) and self._is_our_bubble(encapsulated.packet, outer):
            self.interval = self._candidate  # step 4
            return self._go_on(now)
        return Drop.SECONDARY_PORT

    def expire(self, now: float) -> list[Action]:
        """The L{deadline} may have passed."""
        if self.deadline is None or self.deadline > now:
            return []
        match self.state:
            case Closed():
                return []
            case Soliciting():
                actions = self._through(self._second.expire(now))
                return self._conclude() if isinstance(self._second.state, Resting) else actions
            case Silent():
                return self._test(1, now)
            case Testing(tries) if tries < INTERVAL_BUBBLES:
                return self._test(tries + 1, now)
            case Testing():
                self._maximum = self._candidate  # step 5
                return self._go_on(now)
            case other:
                assert_never(other)

    # ------------------------------------------------------------ steps

    def _begin(self, server: Server, now: float) -> list[Action]:
        if self._longest is None:
            return []
        self._maximum = self._longest
        if self._is_conclusive:
            return []
        self._second.use_servers([server])
        return [OpenPort(SECONDARY), *self._try_another(now)]

    def _test(self, tries: int, now: float) -> list[Action]:
        """Step 2."""
        second = self._second.held
        if self._address is None or second is None:
            return self._conclude()
        self.state = Testing(tries, now + INTERVAL_BUBBLE_PATIENCE)
        bubble = emit_bubble(self._address, second.address)
        return [SendDatagram(bubble, server_endpoint(self._second.server.primary))]

    def _is_our_bubble(self, packet: bytes, outer: Endpoint) -> bool:
        second = self._second.held
        is_for_us = second is not None and destination_of(packet) == second.address
        is_ours = is_bubble(packet) and source_of(packet) == self._address
        return is_for_us and is_ours and outer == server_endpoint(self._second.server.primary)

    def _go_on(self, now: float) -> list[Action]:
        return self._conclude() if self._is_conclusive else self._try_another(now)

    @property
    def _is_conclusive(self) -> bool:
        return self.interval >= CONCLUSIVE_SHARE * self._maximum

    def _try_another(self, now: float) -> list[Action]:
        """Step 6. After a failure twice the interval is never the less, so one formula does for steps 4 and 5."""
        self._candidate = min(2 * self.interval, (self.interval + self._maximum) / 2)
        self.state = Soliciting()
        return self._through(self._second.start(now))

    def _through(self, actions: list[Action]) -> list[Action]:
        """What is to be sent goes through the secondary port; what it says of its address concerns nobody."""
        return [action._replace(via=SECONDARY) for action in actions if isinstance(action, SendDatagram)]

    def _conclude(self) -> list[Action]:
        return [*self._close(), RefreshDetermined(self.interval)]

    def _close(self) -> list[Action]:
        closed = isinstance(self.state, Closed)
        self._second.stop()
        self.state = Closed()
        return [] if closed else [ClosePort(SECONDARY)]
