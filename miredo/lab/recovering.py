# SPDX-License-Identifier: MIT
"""How long a client takes to notice that something broke, and to be back: one trial, on real packets.

To be run inside private namespaces (L{miredo.kernel.userns}), on a reactor that is not running yet. The server and the
two relays are ours, whatever the client is.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum

from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore, IReactorFDSet, IReactorTime
from twisted.python.failure import Failure

from miredo.address.endpoint import IPv6, parse_ipv4
from miredo.address.teredo import is_teredo
from miredo.assembly import Roles, assemble_on
from miredo.config import parse
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.lab.building import Laboratory
from miredo.lab.nat import PortAssignment
from miredo.lab.pings import Ping
from miredo.lab.pingsocket import PingSocket, is_configured
from miredo.lab.plan import CLIENT, PEER, USUAL_NAT
from miredo.lab.topology import HOST_ADDRESS
from miredo.lab.tworelays import TO_THE_OTHER_RELAY, TWO_RELAYS
from miredo.lab.upload import Upload

NAT = replace(USUAL_NAT, ports=PortAssignment.RANDOM)
"""The usual one, with another port after a reboot."""

INFRASTRUCTURE = """\
[server s]
Namespace server
ServerBindAddress 192.0.2.1
[relay r]
Namespace relay
BindAddress 192.0.2.17
BindPort 3545
[relay q]
Namespace relay-2
BindAddress 192.0.2.33
BindPort 3545
"""
OUR_CLIENT = f"""\
[client a]
Namespace {CLIENT}
ServerAddress 192.0.2.1
"""
SERVER, SERVER2, RELAY = map(parse_ipv4, ("192.0.2.1", "192.0.2.2", "192.0.2.17"))
TUNNEL = "teredo"

START_PATIENCE = 40.0
"""Seconds for a client to qualify and to have an answer."""
PATIENCE = 240.0
"""Seconds until something counts as never noticed."""
LOOK_INTERVAL = 0.01
"""Seconds between looks, by which a figure may be too long."""
PING_INTERVAL = 0.05
OPENING_INTERVAL = 1.0
"""Seconds between two destinations that the host opens."""
SETTLING = 1.0
"""Seconds of quiet before something breaks."""
UNDER_WAY = 0.2
"""Seconds in which packets arrive that were sent before."""


class Trial(StrEnum):
    """What breaks, and what the host does meanwhile."""

    SERVER_OPENING = "server-opening"
    SERVER_IDLE = "server-idle"
    NAT_SENDING = "nat-sending"
    NAT_IDLE = "nat-idle"
    RELAY_REFUSING = "relay-refusing"
    RELAY_SILENT = "relay-silent"
    RELAY_UPLOAD = "relay-upload"


class Figure(StrEnum):
    """What is measured, in seconds."""

    NOTICED_OPENING = "server dead, the host opens new destinations: noticed"
    NOTICED_IDLE = "server dead, the host is idle: noticed"
    SERVER_BACK = "server back: address back"
    REMAPPED_SENDING = "NAT remaps, the host sends: new address"
    REMAPPED_IDLE = "NAT remaps, the host is idle: new address"
    RELAY_REFUSING = "relay gone, its host answers unreachable: pings answered"
    RELAY_SILENT = "relay gone, silent: pings answered"
    RELAY_UPLOAD = "relay gone, silent: TCP upload goes on"


Figures = dict[Figure, float | None]
"""C{None}: not within L{PATIENCE}."""


class NoTrial(Exception):
    """A trial could not begin; the text says why."""


class Recovery:
    """One trial with one client.

    @param begin_client: starts a client in a node and returns what ends it; C{None}: ours, in this process.
    """

    def __init__(
        self, reactor: IReactorCore, trial: Trial, begin_client: Callable[[str], Callable[[], object]] | None = None
    ) -> None:
        self._reactor = reactor
        self._trial = trial
        self._begin_client = begin_client
        descriptors = self._descriptors = IReactorFDSet(reactor)
        self._clock = BoottimeClock(descriptors)
        self._lab = Laboratory(TWO_RELAYS, lambda node: KernelEndpoints(node, descriptors), self._clock, os.urandom)
        text = INFRASTRUCTURE if begin_client else INFRASTRUCTURE + OUR_CLIENT
        self._roles: Roles = assemble_on(reactor, parse(text, "recovery.conf", strict=True))
        self._figures: Figures = {}
        self._failure: Failure | None = None

    def run(self, started: Callable[[], object]) -> Figures:
        """Run the reactor until the trial is over.

        @param started: is called when the client has an address.
        @raise NoTrial: it could not begin.
        """
        self._reactor.callWhenRunning(lambda: ensureDeferred(self._whole(started)).addErrback(self._failed))
        self._reactor.run()
        if self._failure is not None:
            self._failure.raiseException()
        return self._figures

    def _failed(self, failure: Failure) -> None:
        self._failure = failure
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    async def _whole(self, started: Callable[[], object]) -> None:
        end_client: Callable[[], object] = _nothing
        try:
            self._lab.build({CLIENT: NAT, PEER: USUAL_NAT})
            await self._begun(lambda: self._lab.is_ready, "the kernel did not set the lab's links up")
            self._lab.start()
            self._roles.privilegedStartService()
            self._roles.startService()
            if self._begin_client is not None:
                end_client = self._begin_client(CLIENT)
            await self._begun(lambda: self._address() is not None, "the client did not qualify")
            started()
            await self._measure()
        finally:
            end_client()
            await maybeDeferred(self._roles.stopService)
            self._lab.close()
            with suppress(ReactorNotRunning):
                self._reactor.stop()

    async def _measure(self) -> None:
        match self._trial:
            case Trial.SERVER_OPENING:
                await self._server_dies_while_the_host_opens()
            case Trial.SERVER_IDLE:
                await self._server_dies_and_comes_back()
            case Trial.NAT_SENDING:
                async with self._pinging(HOST_ADDRESS):
                    await self._remap(Figure.REMAPPED_SENDING)
            case Trial.NAT_IDLE:
                await self._remap(Figure.REMAPPED_IDLE)
            case Trial.RELAY_REFUSING:
                await self._relay_dies(Figure.RELAY_REFUSING, self._end_relay)
            case Trial.RELAY_SILENT:
                await self._relay_dies(Figure.RELAY_SILENT, self._silence_relay)
            case Trial.RELAY_UPLOAD:
                await self._relay_dies_under_an_upload()

    # ------------------------------------------------------------ trials

    async def _server_dies_while_the_host_opens(self) -> None:
        async with self._pinging(None, OPENING_INTERVAL):
            self._kill_server()
            self._figures[Figure.NOTICED_OPENING] = await self._took(lambda: self._address() is None)

    async def _server_dies_and_comes_back(self) -> None:
        await self._pause(SETTLING)
        self._kill_server()
        self._figures[Figure.NOTICED_IDLE] = await self._took(lambda: self._address() is None)
        await self._pause(SETTLING)
        for address in (SERVER, SERVER2):
            self._lab.fill_hole("core", address)
        self._figures[Figure.SERVER_BACK] = await self._took(lambda: self._address() is not None)

    async def _remap(self, figure: Figure) -> None:
        before = self._address()
        await self._pause(SETTLING)
        self._lab.nats[CLIENT].nat.reboot()
        self._figures[figure] = await self._took(lambda: self._address() not in (None, before))

    async def _relay_dies(self, figure: Figure, die: Callable[[], Awaitable[object]]) -> None:
        async with self._pinging(HOST_ADDRESS) as pings:
            await self._pause(SETTLING)
            began = self._clock.now()
            await die()
            self._figures[figure] = await self._took(
                lambda: any(ping.sent >= began and ping.answered is not None for ping in reversed(pings)), began=began
            )

    async def _relay_dies_under_an_upload(self) -> None:
        upload = Upload(IReactorTime(self._reactor), CLIENT, "host", HOST_ADDRESS)
        try:
            await self._begun(lambda: upload.received > 0, "the upload did not begin")
            await self._pause(SETTLING)
            began, before = self._clock.now(), upload.sent
            await self._silence_relay()
            self._figures[Figure.RELAY_UPLOAD] = await self._took(lambda: upload.received > before, began=began)
        finally:
            upload.end()

    # ------------------------------------------------------------ what breaks

    def _kill_server(self) -> None:
        for address in (SERVER, SERVER2):
            self._lab.black_hole("core", address)

    async def _end_relay(self) -> None:
        """Its socket is closed, and its host says so to all that comes."""
        relay = next(role for role in self._roles if role.name == "relay r")
        await maybeDeferred(relay.stopService)
        self._lab.move_route(TO_THE_OTHER_RELAY)

    async def _silence_relay(self) -> None:
        """The other one gets nothing that was under way: it would tell the client at once that it is there."""
        self._lab.black_hole("core", RELAY)
        await self._pause(UNDER_WAY)
        self._lab.move_route(TO_THE_OTHER_RELAY)

    # ------------------------------------------------------------ what is seen

    def _address(self) -> IPv6 | None:
        """The Teredo address that the client's host can use now."""
        network = KernelEndpoints(CLIENT, self._descriptors).network()
        try:
            index = network.index_of(TUNNEL)
            found = [] if index is None else [own for own, _ in network.addresses(index) if is_teredo(own)]
        except OSError:  # the interface has gone meanwhile
            found = []
        finally:
            network.close()
        return found[0] if found and is_configured(CLIENT, found[0]) else None

    def _pinging(self, destination: IPv6 | None, interval: float = PING_INTERVAL) -> _Pinging:
        return _Pinging(self, destination, interval)

    def ping_socket(self) -> PingSocket:
        return PingSocket(CLIENT, self._descriptors, self._clock, os.urandom)

    async def first_answer(self, pings: list[Ping]) -> None:
        """Wait until the way to the host is known."""
        await self._begun(lambda: any(ping.answered is not None for ping in pings), "the host did not answer")

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        IReactorTime(self._reactor).callLater(seconds, call)

    async def _begun(self, holds: Callable[[], bool], otherwise: str) -> None:
        if await self._took(holds, START_PATIENCE) is None:
            raise NoTrial(otherwise)

    async def _took(
        self, holds: Callable[[], bool], patience: float = PATIENCE, began: float | None = None
    ) -> float | None:
        """Seconds until something is so; C{None}: it is not so in time."""
        began = self._clock.now() if began is None else began
        while not holds():
            if self._clock.now() > began + patience:
                return None
            await self._pause(LOOK_INTERVAL)
        return self._clock.now() - began

    def _pause(self, seconds: float) -> Deferred[None]:
        paused: Deferred[None] = Deferred()
        self.later(seconds, lambda: paused.callback(None))
        return paused


class _Pinging:
    """The client's host pings one destination again and again, or another each time; the pings so far.

    @param destination: waited for until it has answered; C{None}: each time one that nobody has.
    """

    def __init__(self, recovery: Recovery, destination: IPv6 | None, interval: float) -> None:
        self._recovery = recovery
        self._destination = destination
        self._interval = interval
        self._pings: list[Ping] = []
        self._going_on = True

    async def __aenter__(self) -> list[Ping]:
        self._socket = self._recovery.ping_socket()
        self._again()
        if self._destination is not None:
            await self._recovery.first_answer(self._pings)
        return self._pings

    async def __aexit__(self, *ignored: object) -> None:
        self._going_on = False
        self._socket.close()

    def _again(self) -> None:
        if not self._going_on:
            return
        with suppress(OSError):  # there is no way out just now
            self._pings.append(self._socket.ping(self._destination or HOST_ADDRESS[:8] + os.urandom(8)))
        self._recovery.later(self._interval, self._again)


def _nothing() -> None:
    """The end of a client that was not begun."""
