# SPDX-License-Identifier: MIT
"""Simulated days: NATs that are rebooted, servers that are away, links that lose packets, machines that sleep."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from random import Random

import pytest

from miredo.address.endpoint import parse_ipv4
from miredo.lab.links import Link
from miredo.lab.nat import KINDS, NatBehaviour, parse_behaviour
from miredo.lab.pings import Ping
from miredo.teredo.actions import AllLost
from miredo.teredo.constants import (
    ATTEMPT_WINDOW,
    PATIENCE,
    REFRESH_INTERVAL,
    REST_LONGEST,
    SOLICITATION_TIMEOUT,
    SOLICITATIONS,
)
from miredo.teredo.qualification import SOLICITATION, server_endpoint
from tests.recorded import recorded_worlds
from tests.world import Lab, holds_only_trusted, qualified_lab, reachable

MINUTE, HOUR = 60.0, 3600.0
LINK = Link(delay=0.02, jitter=0.02, loss=0.05)
OUTAGES = (3.0, 20.0, 90.0, 10 * MINUTE, 75 * MINUTE)
"""Seconds that a server is away; each time half as long to half as long again."""
PAUSE = (5 * MINUTE, 75 * MINUTE)
"""Seconds from one trouble to the next of its kind, at least and at most."""
EXTERNAL = [parse_ipv4(address) for address in ("198.51.100.7", "198.51.100.77", "198.51.100.78")]
"""The addresses that the NAT has in turn."""
RETRY = 5.0
"""Seconds between pings after a trouble."""

RECOVERY = REFRESH_INTERVAL + REST_LONGEST + SOLICITATIONS * SOLICITATION_TIMEOUT + ATTEMPT_WINDOW + PATIENCE + MINUTE
"""Seconds in which a way is found after a trouble: until it is noticed, the longest rest, a round of solicitations, the
time for which RFC 4380 5.2.6 lets a relay try no more, an attempt, and the next ping. Links that lose packets may cost
another L{ATTEMPT_WINDOW}."""
USUAL_RECOVERY = REFRESH_INTERVAL + REST_LONGEST
"""Seconds in which it is found nine times out of ten."""

slow_or_fast = pytest.mark.parametrize("fast", [False, True], ids=["portable", "fast path"])


class Troubles:
    """The server is away now and then, and the NAT is rebooted now and then, one time in two with another address.

    @ivar over: when the last trouble ended.
    """

    def __init__(self, lab: Lab, luck: Random) -> None:
        self.over = lab.world.now
        self.reboots = self.outages = 0
        self._lab = lab
        self._luck = luck
        self._ended = False
        self._lengths = cycle(OUTAGES)
        self._addresses = cycle([None, EXTERNAL[1], None, EXTERNAL[2], None, EXTERNAL[0]])
        for address in EXTERNAL:
            lab.world.claim(address, lab.client.port)
        self._later(self._leave)
        self._later(self._reboot)

    @property
    def present(self) -> bool:
        return not self._lab.server.up

    def end(self) -> None:
        """No more of them."""
        self._ended = True

    def _later(self, begin: Callable[[], None]) -> None:
        self._lab.world.at(self._lab.world.now + self._luck.uniform(*PAUSE), lambda: None if self._ended else begin())

    def _leave(self) -> None:
        self._lab.server.up = False
        self._lab.world.at(self._lab.world.now + next(self._lengths) * self._luck.uniform(0.5, 1.5), self._come_back)

    def _come_back(self) -> None:
        self._lab.server.up = True
        self._over()
        self.outages += 1
        self._later(self._leave)

    def _reboot(self) -> None:
        self._lab.nat.reboot(next(self._addresses))
        self._over()
        self.reboots += 1
        self._later(self._reboot)

    def _over(self) -> None:
        self.over = self._lab.world.now


class Conversation:
    """The client's host and the native one ping each other every minute, more often from a trouble to an answer.

    @ivar took: seconds from the end of each trouble to the first answer to a ping sent since, in both directions.
    """

    def __init__(self, lab: Lab, troubles: Troubles) -> None:
        self.took: list[float] = []
        self._lab = lab
        self._troubles = troubles
        self._known = lab.address
        self._sent: list[list[Ping]] = [[], []]
        self._open = {0, 1}
        self._since = troubles.over

    @property
    def disturbed(self) -> bool:
        """Whether some direction has had no answer since the last trouble."""
        return self._troubles.present or bool(self._open)

    def last(self, seconds: float) -> None:
        """Go on for so long."""
        world = self._lab.world
        end = world.now + seconds
        while world.now < end:
            self._ping()
            wait = RETRY if self._open and not self._troubles.present else MINUTE
            world.run(min(wait, end - world.now))
            self._look()
            self._forget()

    def _ping(self) -> None:
        there, back = self._sent
        if self._lab.client.qualified is not None:
            self._known = self._lab.address
            there.append(self._lab.ping())
        back.append(self._lab.host.ping(self._known))

    def _look(self) -> None:
        if self._since != self._troubles.over:
            self._since, self._open = self._troubles.over, {0, 1}
        for direction in tuple(self._open):
            answers = [ping.answered for ping in self._sent[direction] if ping.sent >= self._since and ping.answered]
            if answers and not self._troubles.present:
                self._open.remove(direction)
                self.took.append(min(answers) - self._since)
        assert (
            self._troubles.present or not self._open or self._lab.world.now - self._since <= RECOVERY + ATTEMPT_WINDOW
        )

    def _forget(self) -> None:
        """All records of what happened; pings that are too old to be answered."""
        self._lab.world.forget(self._lab.client, self._lab.relay)
        oldest = self._lab.world.now - 2 * PATIENCE
        self._sent = [[ping for ping in pings if ping.sent > oldest] for pings in self._sent]
        for kernel in (self._lab.client.kernel, self._lab.host.kernel):
            kernel.received.clear()
            kernel.errors.clear()
            kernel.pings.waiting = {data: ping for data, ping in kernel.pings.waiting.items() if ping.sent > oldest}


def never_stuck(lab: Lab) -> Callable[[], None]:
    """A check: a client always has something to do next, and no deadline has been passed over."""

    def check() -> None:
        now, next_of_client, next_of_relay = lab.world.now, lab.client.core.deadline, lab.relay.core.deadline
        assert next_of_client is not None
        assert now <= next_of_client <= now + REST_LONGEST
        assert next_of_relay is None or now <= next_of_relay

    return check


def size(lab: Lab) -> int:
    """How many objects the cores, the fast paths and the world that their dice belong to hold on to."""
    return reachable(lab.client.core, lab.client.fast, lab.relay.core, lab.relay.fast, lab.server.core)


@pytest.mark.untraced
@pytest.mark.requirement("C15", "C16", "C49", "C51", "C60", "C61")
@slow_or_fast
@pytest.mark.parametrize("behaviour", ["port-restricted", "port-restricted/random", "linux-masquerade"])
def test_a_day_of_troubles_leaves_nobody_stuck_and_nothing_behind(behaviour: str, fast: bool) -> None:
    with recorded_worlds(limit=0):  # a day is far more than a recording keeps, and is repeated in seconds
        lab = qualified_lab(parse_behaviour(behaviour), LINK, fast=fast, seed=6081)
    lab.world.checks += [never_stuck(lab), holds_only_trusted(lab.client), holds_only_trusted(lab.relay)]
    troubles = Troubles(lab, Random(4380))
    conversation = Conversation(lab, troubles)
    sizes = []
    for _ in range(24):
        conversation.last(HOUR)
        sizes.append(size(lab))
    troubles.end()
    while conversation.disturbed:
        conversation.last(MINUTE)
    assert troubles.outages >= 2 * len(OUTAGES)
    assert troubles.reboots >= 2 * len(EXTERNAL)
    took = sorted(conversation.took)
    assert took[len(took) * 9 // 10] <= USUAL_RECOVERY
    assert took[-1] <= RECOVERY + ATTEMPT_WINDOW
    assert max(sizes[12:]) <= max(sizes[:12]) + 50


# ---------------------------------------------------------------- a machine that sleeps


@pytest.mark.requirement("C62")
@slow_or_fast
@pytest.mark.parametrize("asleep", [40.0, HOUR])
@pytest.mark.parametrize("behaviour", KINDS, ids=str)
def test_a_machine_that_slept_asks_at_once_trusts_nobody_and_the_next_packet_is_delivered(
    behaviour: NatBehaviour, asleep: float, fast: bool
) -> None:
    lab = qualified_lab(behaviour, Link(delay=0.02), fast=fast)
    assert lab.answered(lab.ping())
    lab.client.suspend()
    lab.world.run(asleep)
    lab.world.forget(lab.client)
    lab.client.resume()
    assert lab.client.actions[0] == AllLost()
    assert len(lab.client.core.peers) == 0
    assert lab.client.fast.endpoints == {}
    (solicitation,) = lab.world.carried
    assert (solicitation.at, solicitation.to) == (lab.world.now, server_endpoint(lab.server.addresses[0]))
    assert solicitation.payload.endswith(SOLICITATION)
    assert lab.answered(lab.ping())
    assert lab.answered(lab.ping_back())


@pytest.mark.requirement("C61", "C62")
@slow_or_fast
def test_a_machine_that_slept_behind_a_nat_that_forgot_it_has_another_address_at_once(fast: bool) -> None:
    lab = qualified_lab(parse_behaviour("port-restricted/random"), Link(delay=0.02), fast=fast)
    before, back = lab.address, lab.ping_back()
    assert lab.answered(back)
    lab.client.suspend()
    lab.world.run(HOUR)
    lab.client.resume()
    assert lab.world.run_until(lambda: lab.address != before, 4 * 0.02)
    assert lab.answered(lab.ping_back())
    assert lab.answered(lab.ping())


@pytest.mark.requirement("C62")
def test_nothing_reaches_a_machine_that_sleeps_and_nothing_comes_from_it() -> None:
    lab = qualified_lab(parse_behaviour("cone"), Link(delay=0.02))
    lab.client.suspend()
    lab.world.forget(lab.client)
    ping = lab.ping_back()
    lab.world.run(HOUR)
    assert ping.answered is None
    assert [carried for carried in lab.world.carried if carried.sender == "client"] == []
    lab.client.resume()
    lab.world.run(1.0)
    assert lab.client.core.deadline is not None
    assert lab.client.core.deadline > lab.world.now
