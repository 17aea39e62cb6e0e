# SPDX-License-Identifier: MIT
"""The demonstration on real packets: roles, NATs and pings in one process and one reactor.

To be run inside private namespaces (L{miredo.kernel.userns}), on a reactor that is not running yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore, IReactorFDSet, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from miredo.address.endpoint import Endpoint, IPv6, ipv4_of, show_endpoint, show_ipv6
from miredo.address.teredo import is_teredo
from miredo.assembly import Roles, assemble_on
from miredo.config import Configuration, RoleConfig
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.interfaces import IClock
from miredo.lab.building import Laboratory
from miredo.lab.capture import Capture
from miredo.lab.ladder import Step, describe
from miredo.lab.pings import Ping
from miredo.lab.pingsocket import PingSocket, is_configured
from miredo.lab.plan import (
    CLIENT,
    HOST,
    PEER,
    PING_INTERVAL,
    PING_PATIENCE,
    PINGS,
    QUALIFICATION_PATIENCE,
    SHOWN,
    Scenario,
)
from miredo.lab.report import Report
from miredo.lab.states import History, describe_client
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET, Topology
from miredo.lab.visiting import announce
from miredo.service.roles import TeredoClientService, TeredoRelayService
from miredo.service.surroundings import Did, Sent, Took
from miredo.teredo.actions import DeliverPacket, ForwardPacket, NatObserved, Qualified

KERNEL_PATIENCE = 10.0
"""Seconds for the kernel to make a new address usable, which takes milliseconds."""
LOOK_INTERVAL = 0.0005
"""Seconds between looks at whether something has happened; they bound no measured time."""


class Observation:
    """Everything that the roles did, with the nodes' names in place of roles and endpoints.

    @ivar started: when the lab was, in seconds of its clock.
    @ivar roles: those with a tunnel, by their titles.
    @ivar history: learns of every change of a client's state, if there is one.
    """

    def __init__(self, configuration: Configuration, topology: Topology) -> None:
        self.started = 0.0
        self.roles: dict[str, TeredoClientService | TeredoRelayService] = {}
        self.history: History | None = None
        self.steps: list[Step] = []
        self.qualified: dict[str, tuple[float, Qualified]] = {}
        self.observed: dict[str, NatObserved] = {}
        self._nodes = {role.title: _node(role) for role in configuration.roles}
        self._names = topology.ipv4_names()

    def port_of(self, node: str) -> int:
        """The service port of the role that lives in a node."""
        return next(role.port for title, role in self.roles.items() if self._nodes[title] == node)

    def _note(self, node: str, event: Sent | Took | Did) -> None:
        role = self.roles.get(event.role)
        if self.history is not None and isinstance(role, TeredoClientService):
            self.history.note(node, event.at, describe_client(role.protocol.core))

    def __call__(self, event: Sent | Took | Did) -> None:
        node, at = self._nodes[event.role], event.at - self.started
        self._note(node, event)
        match event:
            case Sent(datagram=datagram, to=to):
                self.steps.append(Step(at, node, self._name(to), describe(datagram)))
            case Took(packet=packet):
                if is_teredo(packet[24:40]) and node == "relay":
                    self.steps.append(Step(at, HOST, node, describe(packet)))
            case Did(action=ForwardPacket(packet)):
                self.steps.append(Step(at, node, HOST, describe(packet)))
            case Did(action=DeliverPacket(packet)) if node == "relay":
                self.steps.append(Step(at, node, HOST, describe(packet)))
            case Did(action=Qualified() as qualified):
                self.qualified[node] = at, qualified
            case Did(action=NatObserved() as observed):
                self.observed[node] = observed
            case _:
                pass

    def _name(self, to: Endpoint) -> str:
        return self._names.get(ipv4_of(to), show_endpoint(to))


class Demonstration:
    """One run of the plan.

    @param configuration: the roles, each with the node that it lives in as its namespace.
    @param capture_file: a pcapng file for every packet of every link, or C{None}.
    """

    def __init__(
        self,
        reactor: IReactorCore,
        scenario: Scenario,
        configuration: Configuration,
        capture_file: BinaryIO | None = None,
    ) -> None:
        self.report = Report(simulated=False, scenario=scenario)
        self._reactor = reactor
        self._descriptors = IReactorFDSet(reactor)
        self._clock: IClock = BoottimeClock(self._descriptors)
        self._configuration = configuration
        self._fronts = {CLIENT: scenario.nat, PEER: scenario.peer_nat}
        self._topology = TEREDO_INTERNET.fronted(self._fronts)
        self._capture_file = capture_file
        self._completed = False
        self._keep: Callable[[Report], None] | None = None
        self._ended: Deferred[None] = Deferred()
        self._log = Logger(namespace="miredo")

    def run(self, keep: Callable[[Report], None] | None = None) -> Report:
        """Run the reactor until the plan is done or somebody interrupts.

        @param keep: is given the report when the plan is done; the lab then stays up until somebody interrupts.
        """
        self._keep = keep
        self._reactor.callWhenRunning(lambda: ensureDeferred(self._whole()).addErrback(self._failed))
        self._reactor.run()
        if not self._completed and self.report.failure is None:
            self.report.failure = "interrupted"
        return self.report

    def _failed(self, failure: Failure) -> None:
        """A plan that breaks is told as a failure, and the details are logged."""
        self.report.failure = self.report.failure or failure.getErrorMessage()
        if not isinstance(failure.value, (OSError, SystemExit)):
            self._log.failure("the demonstration broke", failure=failure)

    async def _whole(self) -> None:
        laboratory = Laboratory(
            TEREDO_INTERNET,
            lambda node: KernelEndpoints(node, self._descriptors),
            self._clock,
            os.urandom,
            self.report.scenario.link,
        )
        capture = None
        roles: Roles | None = None
        try:
            laboratory.build(self._fronts)
            if not await self._until(lambda: laboratory.is_ready, KERNEL_PATIENCE):
                self.report.failure = "the kernel did not set the lab's links up"
                return
            observation = Observation(self._configuration, self._topology)
            if self._capture_file is not None:
                history = observation.history = History()
                capture = Capture(self._capture_file, self._topology, self._descriptors, self._clock, history)
            laboratory.start()
            observation.started = self._clock.now()
            self.report.steps = observation.steps
            roles = assemble_on(self._reactor, self._configuration, observation)
            roles.privilegedStartService()
            observation.roles = {
                role.config.title: role for role in roles if isinstance(role, (TeredoClientService, TeredoRelayService))
            }
            roles.startService()
            await self._plan(observation)
            self._completed = True
            if self._keep is not None:
                announce(self.report.nodes)
                self._keep(self.report)
                await self._interrupted()
        finally:
            try:
                await self._end(laboratory, roles, capture)
            finally:
                self._ended.callback(None)
                with suppress(ReactorNotRunning):  # it is being stopped already
                    self._reactor.stop()

    async def _end(self, laboratory: Laboratory, roles: Roles | None, capture: Capture | None) -> None:
        if roles is not None and roles.running:
            await maybeDeferred(roles.stopService)
        laboratory.close()
        if capture is not None:
            capture.close()
            self.report.failure = self.report.failure or capture.failure

    async def _plan(self, observation: Observation) -> None:
        report = self.report
        self._describe(observation)
        if not await self._until(lambda: CLIENT in observation.qualified, QUALIFICATION_PATIENCE):
            report.failure = "the client did not qualify"
            return
        report.qualified, qualified = observation.qualified[CLIENT]
        await self._until(lambda: is_configured(CLIENT, qualified.address), KERNEL_PATIENCE)
        if report.scenario.host_first:
            await self._ping_back(qualified.address)
        with self._pings_from(CLIENT) as client:
            report.first_ping = await self._answer(client.ping(HOST_ADDRESS), PING_PATIENCE)
            for _ in range(PINGS if report.first_ping is not None else 0):
                await self._pause(PING_INTERVAL)
                report.rtts.append(await self._answer(client.ping(HOST_ADDRESS), PING_PATIENCE))
            if not report.scenario.host_first:
                await self._ping_back(qualified.address)
            if await self._until(lambda: PEER in observation.qualified, QUALIFICATION_PATIENCE):
                peer = observation.qualified[PEER][1]
                await self._until(lambda: is_configured(PEER, peer.address), KERNEL_PATIENCE)
                report.peer_ping = await self._answer(client.ping(peer.address), report.scenario.peer_patience)
        await self._until(lambda: CLIENT in observation.observed, QUALIFICATION_PATIENCE)
        self._describe(observation)

    async def _ping_back(self, client: IPv6) -> None:
        with self._pings_from(HOST) as host:
            self.report.back_ping = await self._answer(host.ping(client), PING_PATIENCE)

    def _pings_from(self, node: str) -> PingSocket:
        return PingSocket(node, self._descriptors, self._clock, os.urandom)

    def _describe(self, observation: Observation) -> None:
        """Who is there, with which addresses, as far as is known now."""
        nodes = {node: self._topology.addresses_of(node) for node in SHOWN}
        for node, (_, qualified) in observation.qualified.items():
            nodes[node].append(show_ipv6(qualified.address))
        self.report.nodes = nodes
        observed = observation.observed.get(CLIENT)
        if observed is not None:
            self.report.observe(observed, observation.port_of(CLIENT))

    async def _answer(self, ping: Ping, seconds: float) -> float | None:
        await self._until(lambda: ping.answered is not None, seconds)
        return ping.rtt

    async def _until(self, holds: Callable[[], bool], seconds: float) -> bool:
        end = self._clock.now() + seconds
        while not holds():
            if self._clock.now() >= end:
                return False
            await self._pause(LOOK_INTERVAL)
        return True

    def _interrupted(self) -> Deferred[None]:
        """Fires when the reactor is to stop, which then waits until the lab has ended."""
        interrupted: Deferred[None] = Deferred()

        def stopping() -> Deferred[None]:
            interrupted.callback(None)
            return self._ended

        self._reactor.addSystemEventTrigger("before", "shutdown", stopping)
        return interrupted

    def _pause(self, seconds: float) -> Deferred[None]:
        paused: Deferred[None] = Deferred()
        IReactorTime(self._reactor).callLater(seconds, paused.callback, None)
        return paused


def _node(role: RoleConfig) -> str:
    return role.namespace or role.title
