# SPDX-License-Identifier: MIT
"""
A NAT: no socket, no clock and no dice of its own.

What it does is told in the words of L{miredo.lab.natbehaviour}; what it remembers is in L{miredo.lab.mappings}, or, if
it is a plain Linux masquerade, in L{miredo.lab.conntrack}. Here is what is around them: whether an address is ours,
what comes back in, and a counter for the packets that did not pass.
"""

from collections import Counter
from typing import Final, Protocol

from miredo.address.endpoint import Dice, Endpoint, IPv4, ipv4_of
from miredo.lab.conntrack import Conntrack
from miredo.lab.mappings import Mappings
from miredo.lab.natbehaviour import (
    BEHAVIOURS,
    FAMILIAR,
    GRAMMAR,
    KINDS,
    LINUX_MASQUERADE,
    Filtering,
    Mapping,
    NatBehaviour,
    Pooling,
    PortAssignment,
    Refusal,
    parse_behaviour,
)
from miredo.lab.natports import UNPRIVILEGED, WELL_KNOWN, pool_of

__all__ = [
    "BEHAVIOURS",
    "FAMILIAR",
    "GRAMMAR",
    "KINDS",
    "LINUX_MASQUERADE",
    "SESSIONS",
    "UNPRIVILEGED",
    "WELL_KNOWN",
    "Filtering",
    "Mapping",
    "Nat",
    "NatBehaviour",
    "Pooling",
    "PortAssignment",
    "Refusal",
    "parse_behaviour",
]

SESSIONS: Final = 65536
"""How many sessions a NAT remembers; our number, what a small Linux router keeps (nf_conntrack_max)."""


class Translation(Protocol):
    """What a NAT remembers, all of which a reboot takes away."""

    def __len__(self) -> int: ...

    def leave(self, inside: Endpoint, destination: Endpoint, now: float) -> Endpoint | Refusal: ...

    def enter(self, source: Endpoint, external: Endpoint, now: float) -> Endpoint | Refusal: ...

    def behind(self, external: Endpoint, destination: Endpoint) -> Endpoint | Refusal: ...

    def expire(self, now: float) -> None: ...


class Nat:
    """
    A NAT with one external address or a pool of them.

    Times are seconds and never go back from one call to the next.

    @ivar addresses: the external addresses; the first is the one that it was given.
    @ivar refused: how many packets did not pass, by reason.
    """

    def __init__(
        self,
        behaviour: NatBehaviour,
        external: IPv4,
        dice: Dice,
        *,
        ports: range = UNPRIVILEGED,
        sessions: int = SESSIONS,
    ) -> None:
        """
        @param ports: the external ports for inside ports from 1024 on; a carrier's NAT has but a block of them.
        @param sessions: how many sessions are remembered at most.
        @raise ValueError: C{ports} is empty, or goes beyond L{UNPRIVILEGED}.
        """
        if not ports or ports[0] not in UNPRIVILEGED or ports[-1] not in UNPRIVILEGED:
            raise ValueError(f"a NAT's ports are {ports}: must be some of {UNPRIVILEGED}")
        self.behaviour = behaviour
        self.addresses = pool_of(external, behaviour.pool)
        self.refused: Counter[Refusal] = Counter()
        self._dice = dice
        self._ports = ports
        self._session_limit = sessions
        self._translation = self._empty()

    @property
    def external(self) -> IPv4:
        """The first external address."""
        return self.addresses[0]

    @property
    def mappings(self) -> int:
        """How many mappings there are, those included that have expired since the last packet."""
        return len(self._translation)

    def owns(self, destination: Endpoint) -> bool:
        """Is this one of our external addresses?"""
        return ipv4_of(destination) in self.addresses

    def outbound(self, inside: Endpoint, destination: Endpoint, now: float) -> Endpoint | None:
        """
        The external endpoint that a packet leaves with; C{None} if it does not pass (counted in L{refused}).

        If we L{own<owns>} the destination, the packet does not leave: it is L{inbound} with that external endpoint as
        its source (REQ-9 a, "External source IP address and port").
        """
        self._translation.expire(now)
        if self.owns(destination) and not self.behaviour.hairpinning:
            return self._counted(Refusal.HAIRPIN)
        return self._counted(self._translation.leave(inside, destination, now))

    def inbound(self, source: Endpoint, external: Endpoint, now: float) -> Endpoint | None:
        """The inside endpoint that a packet to C{external} is for; C{None} if it does not pass (counted)."""
        self._translation.expire(now)
        if not self.owns(external):
            return self._counted(Refusal.NOT_OURS)
        return self._counted(self._translation.enter(source, external, now))

    def sender(self, external: Endpoint, destination: Endpoint, now: float) -> Endpoint | None:
        """Who inside has sent to C{destination} from C{external}, for an ICMP error about that; nothing is refreshed.

        (RFC 5508 3.2 REQ-4 and REQ-5)
        """
        self._translation.expire(now)
        return self._counted(self._translation.behind(external, destination))

    def reboot(self, external: IPv4 | None = None) -> None:
        """Forget all mappings; C{external} is the new (first) external address, if it has changed."""
        if external is not None:
            self.addresses = pool_of(external, self.behaviour.pool)
        self._translation = self._empty()

    def _empty(self) -> Translation:
        if self.behaviour.masquerade:
            return Conntrack(self.external, self._dice, self.behaviour.lifetime, self._ports, self._session_limit)
        return Mappings(self.behaviour, self.addresses, self._dice, self._ports, self._session_limit)

    def _counted(self, verdict: Endpoint | Refusal) -> Endpoint | None:
        if isinstance(verdict, Refusal):
            self.refused[verdict] += 1
            return None
        return verdict
