# SPDX-License-Identifier: MIT
"""The lab's Internet with another relay, which the route for the Teredo prefix can be moved to."""

from __future__ import annotations

from dataclasses import replace

from miredo.lab.topology import TEREDO_INTERNET, End, Route, Wire

RELAY, OTHER_RELAY = "relay", "relay-2"

TWO_RELAYS = replace(
    TEREDO_INTERNET,
    nodes=(*TEREDO_INTERNET.nodes, OTHER_RELAY),
    wires=(
        *TEREDO_INTERNET.wires,
        Wire(End("core", OTHER_RELAY, ("192.0.2.46/28",)), End(OTHER_RELAY, "wan", ("192.0.2.33/28",))),
        Wire(End("six", OTHER_RELAY, ("2001:db8:4::2/64",)), End(OTHER_RELAY, "six", ("2001:db8:4::1/64",))),
    ),
    routes=(
        *TEREDO_INTERNET.routes,
        Route(OTHER_RELAY, "0.0.0.0/0", "wan", "192.0.2.46"),
        Route(OTHER_RELAY, "::/0", "six", "2001:db8:4::2"),
    ),
    ipv6_routers=(*TEREDO_INTERNET.ipv6_routers, OTHER_RELAY),
)

TO_THE_OTHER_RELAY = Route("six", "2001::/32", OTHER_RELAY, "2001:db8:4::1")
"""What the native network has once it has noticed that the first relay is gone."""
