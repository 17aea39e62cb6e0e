# SPDX-License-Identifier: MIT
"""Real services in the laboratory while a clock jumps: the wall clock is set, or the machine was asleep."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from twisted.internet.base import ReactorBase
from twisted.internet.defer import ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IReactorCore

from miredo.address.endpoint import IPv6, endpoint, parse_ipv4
from miredo.address.teredo import TEREDO_PORT
from miredo.assembly import Roles, assemble, assemble_on
from miredo.config import ClientConfig, Configuration, load
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.libc import create_step_timer
from miredo.lab.building import Laboratory
from miredo.lab.nat import FAMILIAR
from miredo.lab.pingsocket import PingSocket, is_configured
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET
from miredo.service.roles import TeredoClientService, TeredoRelayService
from miredo.service.surroundings import Did, Sent, Took
from miredo.teredo.actions import AllLost, DeliverPacket, PeerTrusted
from miredo.teredo.constants import REFRESH_HIGH, REFRESH_LOW
from miredo.teredo.qualification import SOLICITATION
from tests.namespaced import install_reactor, pause, run_reactor, until
from tests.service.internet import Names

LAB_FILE = Path(__file__).parents[2] / "etc" / "lab.conf"
NODE = "client-a"
SERVER = endpoint(parse_ipv4("192.0.2.1"), TEREDO_PORT)
HOUR = 3600.0
QUICK = 1
"""Seconds of refresh interval, so that a test sees several; a file may not have so few."""
PHASE = 1.75
"""Seconds between two steps of the wall clock: enough for a refresh at least."""
LATENESS = 0.5
"""Seconds by which a loaded machine may be late."""


@dataclass
class Running:
    """A server, a relay and a client behind a NAT, and what they did."""

    laboratory: Laboratory
    roles: Roles
    events: list[Sent | Took | Did]

    @property
    def client(self) -> TeredoClientService:
        return next(role for role in self.roles if isinstance(role, TeredoClientService))

    @property
    def address(self) -> IPv6 | None:
        """The client's address."""
        return self.client.protocol.core.address

    @property
    def trust(self) -> tuple[bool, bool]:
        """Whether the client trusts the native host, and the relay the client."""
        relay = next(role for role in self.roles if isinstance(role, TeredoRelayService))
        own = self.address
        return (
            self.client.protocol.core.peers.get(HOST_ADDRESS) is not None,
            own is not None and relay.protocol.core.peers.get(own) is not None,
        )

    @property
    def asked(self) -> list[Sent]:
        """What the client sent to its server."""
        return [event for event in self.events if isinstance(event, Sent) and event.to == SERVER]

    @property
    def changes(self) -> list[Did]:
        """What any role did but delivering packets."""
        return [
            event for event in self.events if isinstance(event, Did) and not isinstance(event.action, DeliverPacket)
        ]

    async def ping(self) -> None:
        """The client's kernel pings the native host once, and is answered."""
        reactor = install_reactor()
        with PingSocket(NODE, reactor, BoottimeClock(reactor), os.urandom) as pings:
            ping = pings.ping(HOST_ADDRESS)
            await until(lambda: ping.answered is not None)


def lab_file(refresh_interval: int) -> Configuration:
    """The laboratory's roles, with one client."""
    configuration = load(LAB_FILE)
    roles = [
        replace(role, refresh_interval=refresh_interval) if isinstance(role, ClientConfig) else role
        for role in configuration.roles
        if role.title != "client b"
    ]
    return replace(configuration, roles=tuple(roles))


def in_the_lab(make: Callable[[list[Sent | Took | Did]], Roles], body: Callable[[Running], Awaitable[None]]) -> None:
    """Run C{body} when the client has its address and a ping was answered."""
    reactor = install_reactor()

    async def whole() -> None:
        laboratory = Laboratory(
            TEREDO_INTERNET, lambda node: KernelEndpoints(node, reactor), BoottimeClock(reactor), os.urandom
        )
        laboratory.build(dict.fromkeys(("client-a", "client-b"), FAMILIAR["port-restricted"]))
        laboratory.start()
        events: list[Sent | Took | Did] = []
        running = Running(laboratory, make(events), events)
        running.roles.privilegedStartService()
        running.roles.startService()
        await until(lambda: running.address is not None and is_configured(NODE, running.address))
        await running.ping()
        assert running.trust == (True, True)
        await body(running)
        await maybeDeferred(running.roles.stopService)
        laboratory.close()

    run_reactor(whole())


@pytest.mark.requirement("C60")
@pytest.mark.namespaced
def test_a_wall_clock_that_is_set_by_an_hour_and_back_changes_nothing(
    closes_descriptors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = [0.0]
    wall_clock = time.time

    def stepped() -> float:
        return wall_clock() + step[0]

    monkeypatch.setattr(time, "time", stepped)
    monkeypatch.setattr(ReactorBase, "seconds", staticmethod(stepped))  # which was the one above
    reactor = IReactorCore(install_reactor())

    async def body(running: Running) -> None:
        address = running.address
        await pause(1.2 * QUICK)  # the cold ping's answer was a sign of life of the server too
        running.events.clear()
        for by in (HOUR, -HOUR):
            begun, waiting = time.monotonic(), ensureDeferred(pause(PHASE))
            step[0] += by
            await waiting
            assert PHASE <= time.monotonic() - begun < PHASE + LATENESS
            await running.ping()
        assert running.changes == []
        assert (running.address, running.trust) == (address, (True, True))
        assert all(event.datagram.endswith(SOLICITATION) for event in running.asked)
        asked = [event.at for event in running.asked]
        pauses = [after - before for before, after in pairwise(asked)]
        assert len(pauses) >= 2
        assert min(pauses) >= REFRESH_LOW * QUICK
        assert max(pauses) <= REFRESH_HIGH * QUICK + LATENESS

    in_the_lab(lambda events: assemble_on(reactor, lab_file(QUICK), events.append), body)


@pytest.mark.requirement("C62")
@pytest.mark.namespaced
@pytest.mark.parametrize("told", [True, False], ids=["the kernel tells", "the next alarm tells"])
def test_a_machine_that_slept_asks_at_once_trusts_nobody_and_the_next_ping_is_answered(
    closes_descriptors: None, told: bool
) -> None:
    """A monotonic clock that falls behind is what a suspension looks like; an eventfd is the kernel's word of it."""
    asleep = [0.0]
    reactor = install_reactor()
    news = os.eventfd(0, os.EFD_NONBLOCK)
    clock = BoottimeClock(
        reactor,
        monotonic=lambda: time.monotonic() - asleep[0],
        step_timer=(lambda: os.dup(news)) if told else create_step_timer,
    )

    def make(events: list[Sent | Took | Did]) -> Roles:
        return assemble(
            lab_file(30 if told else QUICK),
            clock=clock,
            endpoints=lambda namespace: KernelEndpoints(namespace, reactor),
            resolve=Names(),
            observer=events.append,
        )

    async def body(running: Running) -> None:
        running.laboratory.nats[NODE].nat.reboot()  # an hour is longer than any mapping lives
        running.events.clear()
        asleep[0] = HOUR
        woke = clock.now()
        if told:
            os.eventfd_write(news, 1)
        await until(lambda: running.changes != [])
        assert running.trust == (False, False)
        assert {(event.role, event.action) for event in running.changes} == {
            ("client a", AllLost()),
            ("relay r", AllLost()),
        }
        solicitation = running.asked[0]
        assert solicitation.datagram.endswith(SOLICITATION)
        assert solicitation.at - woke < (LATENESS if told else QUICK + LATENESS)
        await running.ping()
        assert running.trust == (True, True)
        trusted = [event for event in running.changes if isinstance(event.action, PeerTrusted)]
        assert {event.role for event in trusted} == {"client a", "relay r"}

    in_the_lab(make, body)
    os.close(news)
