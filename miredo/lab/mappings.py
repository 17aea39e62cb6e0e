# SPDX-License-Identifier: MIT
"""
The mappings and sessions of a NAT in the words of RFC 4787. The rules, all of them:

  - A I{mapping} is the external endpoint that stands for an inside endpoint. It is shared by all destinations of that
    endpoint (endpoint-independent), by those of one address (address-dependent), or serves one destination only
    (address-and-port-dependent) (4.1). No two mappings hold the same external endpoint at the same time (REQ-3).
  - A packet that leaves opens a I{session} on its mapping: for everybody, for the destination's address, or for the
    destination's address and port. A packet that arrives is let in when its source fits a session of the mapping that
    it was sent to (5).
  - A session lives until it has been idle for the lifetime, a mapping as long as its last session.

So mapping and filtering ask one question twice: how much of the remote endpoint counts? Its first 0, 4 or 6 bytes.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from miredo.address.endpoint import Dice, Endpoint, IPv4, endpoint, port_of
from miredo.lab.natbehaviour import NatBehaviour, Refusal
from miredo.lab.natports import UNPRIVILEGED, WELL_KNOWN, Pool, Ports

_SIGNIFICANT: Final[dict[str, int]] = {
    "endpoint-independent": 0,
    "address-dependent": 4,
    "address-and-port-dependent": 6,
}
"""How many bytes of a remote endpoint count."""


@dataclass(slots=True)
class _Mapped:
    """The inside endpoint behind an external one."""

    inside: Endpoint
    key: bytes
    """The inside endpoint, then what counts of the destination."""
    ports: Ports
    sessions: int = 0


class Mappings:
    """All that a NAT forgets when it is rebooted.

    @param addresses: the external addresses.
    @param ports: the external ports for inside ports from 1024 on.
    @param limit: how many sessions are remembered at most.
    """

    def __init__(
        self, behaviour: NatBehaviour, addresses: tuple[IPv4, ...], dice: Dice, ports: range, limit: int
    ) -> None:
        self._behaviour = behaviour
        self._limit = limit
        self._mapping_bytes = _SIGNIFICANT[behaviour.mapping]
        self._filtering_bytes = _SIGNIFICANT[behaviour.filtering]
        self._pool = Pool(addresses, behaviour.pooling, dice)
        load = behaviour.load / len(addresses)
        self._ports = {each: (Ports(WELL_KNOWN, dice), Ports(ports, dice, load)) for each in addresses}
        self._externals: dict[bytes, Endpoint] = {}
        """The external endpoint of each mapping, by its key."""
        self._mapped: dict[Endpoint, _Mapped] = {}
        self._sessions: OrderedDict[tuple[Endpoint, bytes], float] = OrderedDict()
        """When that of an external with (what counts of) a remote endpoint was last refreshed, oldest first."""

    def __len__(self) -> int:
        return len(self._mapped)

    def leave(self, inside: Endpoint, destination: Endpoint, now: float) -> Endpoint | Refusal:
        """The external endpoint that a packet leaves with."""
        key = inside + destination[: self._mapping_bytes]
        remote = destination[: self._filtering_bytes]
        external = self._externals.get(key)
        if external is None or (external, remote) not in self._sessions:
            if len(self._sessions) >= self._limit:
                return Refusal.SESSIONS_EXHAUSTED
            if external is None and (external := self._map(inside, destination, key, now)) is None:
                return Refusal.PORTS_EXHAUSTED
            self._mapped[external].sessions += 1
        self._refresh((external, remote), now)
        return external

    def enter(self, source: Endpoint, external: Endpoint, now: float) -> Endpoint | Refusal:
        """The inside endpoint that a packet is for."""
        mapped = self._mapped.get(external)
        if mapped is None:
            return Refusal.NO_MAPPING
        session = (external, source[: self._filtering_bytes])
        if session not in self._sessions:
            return Refusal.FILTERED
        if self._behaviour.inbound_refresh:
            self._refresh(session, now)
        return mapped.inside

    def behind(self, external: Endpoint, destination: Endpoint) -> Endpoint | Refusal:
        """The inside endpoint whose packets to a destination leave with C{external}."""
        mapped = self._mapped.get(external)
        sent = mapped is not None and (external, destination[: self._filtering_bytes]) in self._sessions
        return mapped.inside if mapped is not None and sent else Refusal.NO_MAPPING

    def expire(self, now: float) -> None:
        """All sessions live equally long, so the oldest refresh is the first to go."""
        sessions = self._sessions
        while sessions and next(iter(sessions.values())) + self._behaviour.lifetime <= now:
            (external, _), _ = sessions.popitem(last=False)
            mapped = self._mapped[external]
            mapped.sessions -= 1
            if mapped.sessions == 0:
                self._unmap(external, mapped)

    def _map(self, inside: Endpoint, destination: Endpoint, key: bytes, now: float) -> Endpoint | None:
        wanted = port_of(inside)
        address = self._pool.of(inside, destination)
        ports = self._ports[address][wanted >= UNPRIVILEGED.start]
        port = ports.take(self._behaviour.ports, wanted, now)
        if port is None:
            return None
        external = self._externals[key] = endpoint(address, port)
        self._mapped[external] = _Mapped(inside, key, ports)
        return external

    def _unmap(self, external: Endpoint, mapped: _Mapped) -> None:
        del self._externals[mapped.key]
        del self._mapped[external]
        mapped.ports.release(port_of(external))

    def _refresh(self, session: tuple[Endpoint, bytes], now: float) -> None:
        self._sessions[session] = now
        self._sessions.move_to_end(session)
