# SPDX-License-Identifier: MIT
"""What a server says of the clients that it refused for their secret: the first soon, then the sum of each hour."""

from __future__ import annotations

from twisted.logger import Logger

from miredo.kernel.interfaces import IClock
from miredo.teredo.drops import Drop, Drops

LOOK_INTERVAL = 10.0
"""Seconds between looks at the counters. Ours: anybody can have refused as much as he likes, and fills no log so."""
QUIET = 3600.0
"""Seconds between two lines. Ours."""


class Refusals:
    """Looks at the counters of a server that has secrets, from the start until L{end}.

    @param drops: the server's.
    """

    def __init__(self, role: str, drops: Drops, clock: IClock) -> None:
        self._role = role
        self._drops = drops
        self._clock = clock
        self._said = 0, 0
        self._next = clock.now()
        self._alarm = clock.alarm(self._look)
        self._alarm.arm(clock.now() + LOOK_INTERVAL)
        self._log = Logger(namespace="miredo")

    def end(self) -> None:
        """Look no more."""
        self._alarm.cancel()

    def _look(self) -> None:
        now = self._clock.now()
        self._alarm.arm(now + LOOK_INTERVAL)
        wrong, none = refused = self._drops[Drop.BAD_AUTHENTICATION], self._drops[Drop.NO_AUTHENTICATION]
        if refused == self._said or now < self._next:
            return
        self._log.warn(
            "{role}: clients were refused: {wrong} solicitations had a secret that the SecretFile has not, {none} none",
            role=self._role,
            wrong=wrong - self._said[0],
            none=none - self._said[1],
        )
        self._said, self._next = refused, now + QUIET
