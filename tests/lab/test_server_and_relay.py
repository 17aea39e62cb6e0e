# SPDX-License-Identifier: MIT
"""One host of the laboratory is server and relay at once, on real packets (RFC 4380 5.4.3)."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorCore

from miredo.address.endpoint import IPv6
from miredo.assembly import assemble_on
from miredo.config import parse
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.lab.building import Laboratory
from miredo.lab.pings import Ping
from miredo.lab.pingsocket import PingSocket, is_configured
from miredo.lab.plan import USUAL_NAT
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET, Route
from miredo.service.surroundings import Did, Sent, Took
from miredo.teredo.actions import Qualified
from tests.namespaced import install_reactor, run_reactor, until
from tests.service.internet import logging

EXAMPLE = Path(__file__).parents[2] / "etc" / "server-and-relay.conf"
CLIENT = "[client a]\nNamespace client-a\nServerAddress 192.0.2.1\n"
TOPOLOGY = replace(
    TEREDO_INTERNET,
    routes=(*TEREDO_INTERNET.routes[:-1], Route("six", "2001::/32", "server", "2001:db8:1::1")),
    ipv6_routers=("six", "server"),
)
"""That of the demonstration, whose native network knows the server's host as the way to Teredo."""


async def pinged(node: str, destination: IPv6) -> Ping:
    """An echo request of C{node}, answered."""
    reactor = install_reactor()
    with PingSocket(node, reactor, BoottimeClock(reactor), os.urandom) as pinging:
        ping = pinging.ping(destination)
        await until(lambda: ping.answered is not None)
    return ping


@pytest.mark.parametrize("host_first", [False, True])
@pytest.mark.requirement("S24")
@pytest.mark.namespaced
def test_a_client_and_a_native_host_reach_each_other_through_the_server_s_own_host(host_first: bool) -> None:
    text = EXAMPLE.read_text()
    for section in ("[server s]", "[relay r]"):
        text = text.replace(section, f"{section}\nNamespace server")
    events: list[Sent | Took | Did] = []

    def addresses() -> list[IPv6]:
        actions = [event.action for event in events if isinstance(event, Did)]
        return [action.address for action in actions if isinstance(action, Qualified)]

    async def body() -> None:
        reactor = install_reactor()
        built = Laboratory(TOPOLOGY, lambda node: KernelEndpoints(node, reactor), BoottimeClock(reactor), os.urandom)
        built.build(dict.fromkeys(("client-a", "client-b"), USUAL_NAT))
        built.start()
        await until(lambda: built.is_ready)
        roles = assemble_on(IReactorCore(reactor), parse(f"{text}\n{CLIENT}", "both.conf", strict=True), events.append)
        with logging() as logged:
            roles.privilegedStartService()
            roles.startService()
            await until(lambda: addresses() != [] and is_configured("client-a", addresses()[0]))
            pings = [("host", addresses()[0]), ("client-a", HOST_ADDRESS)]
            for node, destination in pings if host_first else reversed(pings):
                await pinged(node, destination)
            await maybeDeferred(roles.stopService)
        assert logged.at("warn") == []
        built.close()

    run_reactor(body(), timeout=30)
