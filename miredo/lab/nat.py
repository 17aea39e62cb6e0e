# SPDX-License-Identifier: MIT
"""
A NAT in the words of RFC 4787: no socket, no clock and no dice of its own.

The rules, all of them:

  - A I{mapping} is the external port that stands for an inside endpoint. It is shared by all destinations of that
    endpoint (endpoint-independent), by those of one address (address-dependent), or serves one destination only
    (address-and-port-dependent) (4.1). No two mappings hold the same port at the same time (REQ-3).
  - A packet that leaves opens a I{session} on its mapping: for everybody, for the destination's address, or for the
    destination's address and port. A packet that arrives is let in when its source fits a session of the mapping that
    it was sent to (5).
  - A session lives until it has been idle for the lifetime, a mapping as long as its last session.

So mapping and filtering ask one question twice: how much of the remote endpoint counts? Its first 0, 4 or 6 bytes.
There is one external address and no hairpinning.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from miredo.address.endpoint import Dice, Endpoint, IPv4, endpoint, ipv4_of, port_of

WELL_KNOWN: Final = range(1, 1024)
"""The external ports for inside ports below 1024 (REQ-3 a)."""

UNPRIVILEGED: Final = range(1024, 65536)
"""The external ports for inside ports from 1024 on (REQ-3 a)."""

SESSIONS: Final = 65536
"""How many sessions a NAT remembers; our number, what a small Linux router keeps (nf_conntrack_max)."""

RANDOM_TRIES: Final = 16
"""How often a taken random port is rolled anew before the ports after it are tried in order; our number."""


class Mapping(StrEnum):
    """Which destinations share the external endpoint of an inside endpoint (RFC 4787, 4.1)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class Filtering(StrEnum):
    """Who may answer to an external endpoint (RFC 4787, 5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class PortAssignment(StrEnum):
    """Which external port a new mapping gets (RFC 4787, 4.2.1)."""

    PRESERVING = "preserving"
    """The inside port if no mapping holds it, else a random one."""
    SEQUENTIAL = "sequential"
    """The next free one of a counter."""
    RANDOM = "random"


class Refusal(StrEnum):
    """Why a packet did not pass."""

    NOT_OURS = "not to our address"
    NO_MAPPING = "no mapping"
    FILTERED = "filtered"
    HAIRPIN = "hairpin"
    PORTS_EXHAUSTED = "ports exhausted"
    SESSIONS_EXHAUSTED = "sessions exhausted"


_SIGNIFICANT: Final[dict[str, int]] = {
    "endpoint-independent": 0,
    "address-dependent": 4,
    "address-and-port-dependent": 6,
}
"""How many bytes of a remote endpoint count."""


@dataclass(frozen=True, slots=True)
class NatBehaviour:
    """What RFC 4787 asks of a NAT to be described by."""

    mapping: Mapping = Mapping.ENDPOINT_INDEPENDENT
    filtering: Filtering = Filtering.ENDPOINT_INDEPENDENT
    ports: PortAssignment = PortAssignment.PRESERVING
    lifetime: float = 300.0
    """Seconds that an idle session lives. REQ-5 recommends 300 and wants 120 at least; there are NATs with less."""
    inbound_refresh: bool = False
    """Does a packet from outside keep its session alive too (REQ-6 a)? One from inside always does (REQ-6)."""

    def __post_init__(self) -> None:
        if not self.lifetime > 0:
            raise ValueError(f"the lifetime of a NAT's mappings is {self.lifetime} s: must be more than 0")

    def __str__(self) -> str:
        """The words that L{parse_behaviour} takes; the usual port assignment goes without saying."""
        words = [self.mapping, self.filtering]
        if self.ports is not PortAssignment.PRESERVING:
            words.append(self.ports)
        return "/".join(words)


BEHAVIOURS: Final = tuple(NatBehaviour(mapping, filtering) for mapping in Mapping for filtering in Filtering)
"""The nine kinds of mapping and filtering."""


def parse_behaviour(text: str) -> NatBehaviour:
    """
    Read C{mapping/filtering} or C{mapping/filtering/ports}.

    @raise ValueError: a word is not known; the message lists those that are.
    """
    match text.split("/"):
        case [mapping, filtering]:
            ports: str = PortAssignment.PRESERVING
        case [mapping, filtering, ports]:
            pass
        case _:
            raise ValueError(f"NAT behaviour {text!r}: must be MAPPING/FILTERING or MAPPING/FILTERING/PORTS; {_WORDS}")
    try:
        return NatBehaviour(Mapping(mapping), Filtering(filtering), PortAssignment(ports))
    except ValueError as wrong:
        raise ValueError(f"NAT behaviour {text!r}: {wrong}; {_WORDS}") from None


_WORDS: Final = "; ".join(
    f"{place} is one of {', '.join(words)}"
    for place, words in (("MAPPING", Mapping), ("FILTERING", Filtering), ("PORTS", PortAssignment))
)


class _Ports:
    """The external ports of one range, and which of them are taken."""

    def __init__(self, ports: range, dice: Dice) -> None:
        self._ports = ports
        self._dice = dice
        self._taken: set[int] = set()
        self._counter = self._roll()

    def take(self, assignment: PortAssignment, wanted: int) -> int | None:
        """A port that was free, now taken; C{None} if all are taken."""
        if len(self._taken) == len(self._ports):
            return None
        match assignment:
            case PortAssignment.SEQUENTIAL:
                port = self._free_from(self._counter)
                self._counter = port + 1
            case PortAssignment.PRESERVING if wanted in self._ports and wanted not in self._taken:
                port = wanted
            case _:
                port = self._random()
        self._taken.add(port)
        return port

    def release(self, port: int) -> None:
        """The mapping that held C{port} is gone."""
        self._taken.remove(port)

    def _random(self) -> int:
        for _ in range(RANDOM_TRIES):
            port = self._roll()
            if port not in self._taken:
                return port
        return self._free_from(port)

    def _free_from(self, start: int) -> int:
        """The first free port from C{start} on, from the range's end back to its beginning."""
        first = start - self._ports.start
        around = (self._ports[step % len(self._ports)] for step in range(first, first + len(self._ports)))
        return next(port for port in around if port not in self._taken)

    def _roll(self) -> int:
        return self._ports[int.from_bytes(self._dice(4), "big") % len(self._ports)]


@dataclass(slots=True)
class _Mapped:
    """The inside endpoint behind an external port."""

    inside: Endpoint
    key: bytes
    """The inside endpoint, then what counts of the destination."""
    ports: _Ports
    sessions: int = 0


@dataclass(slots=True)
class _Table:
    """All that a NAT forgets when it is rebooted."""

    well_known: _Ports
    unprivileged: _Ports
    ports: dict[bytes, int] = field(default_factory=dict)
    """The external port of each mapping, by its key."""
    mapped: dict[int, _Mapped] = field(default_factory=dict)
    sessions: OrderedDict[tuple[int, bytes], float] = field(default_factory=OrderedDict)
    """When the session of an external port with (what counts of) a remote endpoint was last refreshed, oldest first."""


class Nat:
    """
    A NAT with one external address.

    Times are seconds and never go back from one call to the next.

    @ivar external: the external address.
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
        self.external = external
        self.refused: Counter[Refusal] = Counter()
        self._dice = dice
        self._port_range = ports
        self._session_limit = sessions
        self._mapping_bytes = _SIGNIFICANT[behaviour.mapping]
        self._filtering_bytes = _SIGNIFICANT[behaviour.filtering]
        self._table = self._empty()

    @property
    def mappings(self) -> int:
        """How many mappings there are, those included that have expired since the last packet."""
        return len(self._table.ports)

    def outbound(self, inside: Endpoint, destination: Endpoint, now: float) -> Endpoint | None:
        """The external endpoint that a packet leaves with; C{None} if it does not pass (counted in L{refused})."""
        self._expire(now)
        return self._counted(self._leave(inside, destination, now))

    def inbound(self, source: Endpoint, external: Endpoint, now: float) -> Endpoint | None:
        """The inside endpoint that a packet to C{external} is for; C{None} if it does not pass (counted)."""
        self._expire(now)
        return self._counted(self._enter(source, external, now))

    def reboot(self, external: IPv4 | None = None) -> None:
        """Forget all mappings; C{external} is the new external address, if it has changed."""
        if external is not None:
            self.external = external
        self._table = self._empty()

    def _empty(self) -> _Table:
        return _Table(_Ports(WELL_KNOWN, self._dice), _Ports(self._port_range, self._dice))

    def _leave(self, inside: Endpoint, destination: Endpoint, now: float) -> Endpoint | Refusal:
        if ipv4_of(destination) == self.external:
            return Refusal.HAIRPIN
        key = inside + destination[: self._mapping_bytes]
        remote = destination[: self._filtering_bytes]
        port = self._table.ports.get(key)
        if port is None or (port, remote) not in self._table.sessions:
            if len(self._table.sessions) >= self._session_limit:
                return Refusal.SESSIONS_EXHAUSTED
            if port is None and (port := self._map(inside, key)) is None:
                return Refusal.PORTS_EXHAUSTED
            self._table.mapped[port].sessions += 1
        self._refresh((port, remote), now)
        return endpoint(self.external, port)

    def _enter(self, source: Endpoint, external: Endpoint, now: float) -> Endpoint | Refusal:
        if ipv4_of(external) != self.external:
            return Refusal.NOT_OURS
        port = port_of(external)
        mapped = self._table.mapped.get(port)
        if mapped is None:
            return Refusal.NO_MAPPING
        session = (port, source[: self._filtering_bytes])
        if session not in self._table.sessions:
            return Refusal.FILTERED
        if self.behaviour.inbound_refresh:
            self._refresh(session, now)
        return mapped.inside

    def _counted(self, verdict: Endpoint | Refusal) -> Endpoint | None:
        if isinstance(verdict, Refusal):
            self.refused[verdict] += 1
            return None
        return verdict

    def _map(self, inside: Endpoint, key: bytes) -> int | None:
        wanted = port_of(inside)
        ports = self._table.well_known if wanted < UNPRIVILEGED.start else self._table.unprivileged
        port = ports.take(self.behaviour.ports, wanted)
        if port is not None:
            self._table.ports[key] = port
            self._table.mapped[port] = _Mapped(inside, key, ports)
        return port

    def _refresh(self, session: tuple[int, bytes], now: float) -> None:
        self._table.sessions[session] = now
        self._table.sessions.move_to_end(session)

    def _expire(self, now: float) -> None:
        """All sessions live equally long, so the oldest refresh is the first to go."""
        sessions = self._table.sessions
        while sessions and next(iter(sessions.values())) + self.behaviour.lifetime <= now:
            (port, _), _ = sessions.popitem(last=False)
            mapped = self._table.mapped[port]
            mapped.sessions -= 1
            if mapped.sessions == 0:
                self._unmap(port, mapped)

    def _unmap(self, port: int, mapped: _Mapped) -> None:
        del self._table.ports[mapped.key]
        del self._table.mapped[port]
        mapped.ports.release(port)
