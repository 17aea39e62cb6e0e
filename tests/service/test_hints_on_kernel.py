# SPDX-License-Identifier: MIT
"""ICMP errors on real sockets: a client behind a NAT hears them, forged or not, and loses no peer by them."""

import os
import socket
from collections.abc import Awaitable, Callable

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorCore

from miredo.address.endpoint import Endpoint, endpoint, ipv4_of, parse_endpoint, port_of, show_ipv4
from miredo.assembly import assemble_on
from miredo.config import parse
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.memory.endpoints import unreachable_port
from miredo.kernel.namespaces import entered
from miredo.lab.building import Laboratory
from miredo.lab.pings import Ping
from miredo.lab.pingsocket import PingSocket, is_configured
from miredo.lab.plan import USUAL_NAT
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET
from miredo.service.roles import TeredoClientService, TeredoRelayService
from miredo.service.surroundings import Did, Sent, Took
from tests.namespaced import install_reactor, pause, run_reactor, until

pytestmark = pytest.mark.namespaced

RELAY, PRIMARY = parse_endpoint("192.0.2.17:3545"), parse_endpoint("192.0.2.1:3544")

ROLES = """\
[server s]
Namespace server
ServerBindAddress 192.0.2.1
[relay r]
Namespace relay
BindAddress 192.0.2.17
BindPort 3545
[client a]
Namespace client-a
ServerAddress 192.0.2.1
"""


class World:
    """The roles, a ping program beside the client, and what the client has sent since the last look."""

    def __init__(self, client: TeredoClientService, relay: TeredoRelayService, pings: PingSocket) -> None:
        self.client, self.relay = client, relay
        self.sent: list[Endpoint] = []
        self._pings = pings

    async def ping(self) -> Ping:
        ping = self._pings.ping(HOST_ADDRESS)
        await until(lambda: ping.answered is not None)
        return ping

    def send(self) -> None:
        """A ping that nobody waits for."""
        self._pings.ping(HOST_ADDRESS)

    @property
    def mapped(self) -> Endpoint:
        held = self.client.protocol.core.qualification.held
        assert held is not None
        return held.mapped

    @property
    def relay_of_the_host(self) -> Endpoint | None:
        peer = self.client.protocol.core.peers.get(HOST_ADDRESS)
        return None if peer is None else peer.endpoint


def in_the_lab(body: Callable[[World], Awaitable[None]]) -> None:
    """Let C{body} run where the client has pinged the host."""
    reactor = install_reactor()
    clock = BoottimeClock(reactor)
    lab = Laboratory(TEREDO_INTERNET, lambda node: KernelEndpoints(node, reactor), clock, os.urandom)
    sent: list[Endpoint] = []

    def observe(event: Sent | Took | Did) -> None:
        if isinstance(event, Sent) and event.role == "client a":
            sent.append(event.to)

    roles = assemble_on(IReactorCore(reactor), parse(ROLES, "lab.conf", strict=True), observe)

    async def whole() -> None:
        lab.build(dict.fromkeys(("client-a", "client-b"), USUAL_NAT))
        lab.start()
        roles.privilegedStartService()
        roles.startService()
        _, relay, client = roles
        assert isinstance(client, TeredoClientService)
        assert isinstance(relay, TeredoRelayService)
        await until(lambda: (own := client.protocol.core.address) is not None and is_configured("client-a", own))
        with PingSocket("client-a", reactor, clock, os.urandom) as pings:
            world = World(client, relay, pings)
            world.sent = sent
            await world.ping()
            sent.clear()
            await body(world)
        await maybeDeferred(roles.stopService)
        lab.close()

    run_reactor(whole(), timeout=20)


def forge(source: Endpoint, destination: Endpoint) -> None:
    """A node of the Internet says that a datagram could not be delivered."""
    packet = unreachable_port(
        (ipv4_of(source), port_of(source)), (ipv4_of(destination), port_of(destination)), b"forged"
    )
    with entered("core"), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.sendto(packet[20:], (show_ipv4(ipv4_of(source)), 0))


@pytest.mark.requirement("T33", "E9")
def test_one_forged_error_has_the_host_tested_and_its_relay_stays() -> None:
    async def body(world: World) -> None:
        forge(world.mapped, RELAY)
        await until(lambda: PRIMARY in world.sent)
        assert world.sent[:2] == [PRIMARY, RELAY]
        await pause(0.2)
        assert world.relay_of_the_host == RELAY
        assert (await world.ping()).rtt is not None
        assert world.relay_of_the_host == RELAY

    in_the_lab(body)


@pytest.mark.requirement("T33")
def test_an_error_about_what_another_socket_of_the_host_sent_does_nothing() -> None:
    async def body(world: World) -> None:
        with entered("client-a"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"not Teredo", ("192.0.2.17", 3545))
            port = other.getsockname()[1]
            await pause(0.1)
        forge(endpoint(ipv4_of(world.mapped), port), RELAY)  # the NAT preserves ports, so this one is let in
        await pause(0.1)
        assert world.sent == []

    in_the_lab(body)


@pytest.mark.requirement("E9", "C28a")
def test_a_relay_whose_socket_is_closed_is_told_by_its_host_and_its_hosts_are_tested_at_once() -> None:
    async def body(world: World) -> None:
        await maybeDeferred(world.relay.stopService)
        world.send()
        await until(lambda: PRIMARY in world.sent, 0.5)
        assert world.sent[:2] == [RELAY, PRIMARY]
        assert world.relay_of_the_host == RELAY

    in_the_lab(body)
