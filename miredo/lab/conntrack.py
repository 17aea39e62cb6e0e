# SPDX-License-Identifier: MIT
"""
Plain Linux masquerade, which has no mappings: only connections that are tracked. The rules, all of them:

  - An I{entry} is an external port and a remote endpoint, and there is one for each such pair at most. It belongs to
    an inside endpoint, or to the NAT itself.
  - A packet that leaves takes the entry of its inside endpoint and destination. Where there is none, it gets one with
    its own port if no entry has that port with that destination, else with a random port.
  - A packet that arrives goes to the owner of the entry with its port and source. Where there is none, it is for the
    NAT itself: it is dropped, and yet I{it leaves an entry}. So a destination that has sent too early is answered from
    another port than all others see, the clash that breaks hole punching.
  - An entry with packets one way only lives 30 s after the last one, with packets both ways for the lifetime.

Seen by one inside host this is port preserving, endpoint-independent in mapping until a clash, and
address-and-port-dependent in filtering. Two inside hosts may have the same external port towards different
destinations, against RFC 4787, REQ-3.
"""

from collections import OrderedDict
from typing import Final

from miredo.address.endpoint import Dice, Endpoint, IPv4, endpoint, port_of
from miredo.lab.natbehaviour import Refusal
from miredo.lab.natports import UNPRIVILEGED, WELL_KNOWN, random_port

ONE_WAY: Final = 30.0
"""Seconds that an entry without an answer lives (nf_conntrack_udp_timeout)."""

_Pair = tuple[int, Endpoint]
"""An external port and a remote endpoint."""


class Conntrack:
    """All that a masquerading Linux forgets when it is rebooted.

    @param lifetime: seconds that an idle entry with packets both ways lives.
    @param ports: the external ports for inside ports from 1024 on.
    @param limit: how many entries are remembered at most.
    """

    def __init__(self, external: IPv4, dice: Dice, lifetime: float, ports: range, limit: int) -> None:
        self._external = external
        self._dice = dice
        self._lifetime = lifetime
        self._port_range = ports
        self._limit = limit
        self._ports: dict[tuple[Endpoint, Endpoint], int] = {}
        """The external port of an inside endpoint and a remote one."""
        self._owners: dict[_Pair, Endpoint | None] = {}
        """The inside endpoint of each entry; C{None} is the NAT itself."""
        self._one_way: OrderedDict[_Pair, float] = OrderedDict()
        self._both_ways: OrderedDict[_Pair, float] = OrderedDict()

    def __len__(self) -> int:
        """How many entries inside endpoints have."""
        return len(self._ports)

    def leave(self, inside: Endpoint, destination: Endpoint, now: float) -> Endpoint | Refusal:
        """The external endpoint that a packet leaves with."""
        port = self._ports.get((inside, destination))
        if port is None:
            if len(self._owners) >= self._limit:
                return Refusal.SESSIONS_EXHAUSTED
            if (port := self._free(port_of(inside), destination)) is None:
                return Refusal.PORTS_EXHAUSTED
            self._ports[inside, destination] = port
            self._owners[port, destination] = inside
        pair = (port, destination)
        _refresh(self._both_ways if pair in self._both_ways else self._one_way, pair, now)
        return endpoint(self._external, port)

    def enter(self, source: Endpoint, external: Endpoint, now: float) -> Endpoint | Refusal:
        """The inside endpoint that a packet is for."""
        pair = (port_of(external), source)
        if pair not in self._owners and len(self._owners) >= self._limit:
            return Refusal.SESSIONS_EXHAUSTED
        owner = self._owners.setdefault(pair, None)
        if owner is None:
            _refresh(self._one_way, pair, now)
            return Refusal.FILTERED
        self._one_way.pop(pair, None)
        _refresh(self._both_ways, pair, now)
        return owner

    def behind(self, external: Endpoint, destination: Endpoint) -> Endpoint | Refusal:
        """The inside endpoint whose packets to a destination leave with C{external}."""
        return self._owners.get((port_of(external), destination)) or Refusal.NO_MAPPING

    def expire(self, now: float) -> None:
        """Each kind of entry lives equally long, so the oldest refresh is the first to go."""
        for entries, lifetime in ((self._one_way, ONE_WAY), (self._both_ways, self._lifetime)):
            while entries and next(iter(entries.values())) + lifetime <= now:
                (port, remote), _ = entries.popitem(last=False)
                owner = self._owners.pop((port, remote))
                if owner is not None:
                    del self._ports[owner, remote]

    def _free(self, wanted: int, remote: Endpoint) -> int | None:
        ports = self._port_range if wanted in UNPRIVILEGED else WELL_KNOWN
        if wanted in ports and (wanted, remote) not in self._owners:
            return wanted
        return random_port(ports, lambda port: (port, remote) in self._owners, self._dice)


def _refresh(entries: OrderedDict[_Pair, float], pair: _Pair, now: float) -> None:
    entries[pair] = now
    entries.move_to_end(pair)
