# SPDX-License-Identifier: MIT
"""What the demonstration does, whether on real packets or in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from miredo.lab.fronts import Front
from miredo.lab.links import Link
from miredo.lab.nat import Filtering, Mapping, NatBehaviour

QUALIFICATION_PATIENCE = 15.0
"""Seconds: three solicitations of 4 s, and a little more."""
PING_PATIENCE = 10.0
"""Seconds: more than a packet waits for its peer."""
PEER_PATIENCE = 3.0
"""Seconds for the ping between clients, which some NATs do not allow; what the links take is added."""
LINKS_BETWEEN_CLIENTS = 18
"""That a first ping crosses with its bubbles, if both clients are behind kernel NATs."""
PINGS = 5
PING_INTERVAL = 0.02
"""Seconds between the pings after the first."""

USUAL_NAT = NatBehaviour(Mapping.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT)
"""The "port-restricted cone" of most homes."""

CLIENT, PEER, HOST = "client-a", "client-b", "host"
SHOWN = ("server", "relay", HOST, CLIENT, PEER)
"""The nodes whose addresses are told."""

SIMULATED_DELAY = 0.01
"""Seconds each way between a node and the core in memory, so that times there mean something."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a run is about.

    @ivar nat, peer_nat: what client-a and client-b are behind.
    @ivar link: what lies along every wire and outside every NAT.
    @ivar host_first: the native host pings the client, cold, before the client has sent anything but solicitations.
    """

    nat: Front = USUAL_NAT
    peer_nat: Front = USUAL_NAT
    link: Link = field(default_factory=Link)
    host_first: bool = False

    @property
    def peer_patience(self) -> float:
        """Seconds for the ping between clients."""
        return PEER_PATIENCE + LINKS_BETWEEN_CLIENTS * self.link.delay
