# SPDX-License-Identifier: MIT
"""A configuration in, a C{MultiService} out: the only file that knows every role."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.interfaces import IReactorCore, IReactorFDSet, IReactorFromThreads
from twisted.logger import Logger

from miredo.address.endpoint import Dice, IPv4
from miredo.config import ClientConfig, Configuration, MireConfig, ProcessConfig, RelayConfig, RoleConfig, ServerConfig
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.interfaces import IClock, IEndpoints
from miredo.service.daemon import CannotStart, Child, Circumstances, Daemon
from miredo.service.diagnosis import Finding
from miredo.service.draining import StopSignals, drained
from miredo.service.mire import TeredoMireService
from miredo.service.names import HostNames
from miredo.service.origin import Origin
from miredo.service.roles import TeredoClientService, TeredoRelayService, TeredoServerService
from miredo.service.surroundings import Observer, StartFailure, Surroundings

Role = TeredoClientService | TeredoRelayService | TeredoServerService | TeredoMireService
KINDS = TeredoClientService, TeredoRelayService, TeredoServerService, TeredoMireService

Endpoints = Callable[[str | None], IEndpoints]
"""Opens things in the network namespace of that name."""

NOT_OBEYED = "FastPath"
"""The directive that is for a version to come."""


class Roles(MultiService):
    """All roles of one configuration; they start together or not at all.

    @param make: the service of a role.
    @ivar program: what messages begin with.
    @ivar stop_signals: a second one ends at once what takes its time to stop.
    """

    program = "miredo"
    stop_signals: StopSignals | None = None

    def __init__(self, configuration: Configuration, make: Callable[[RoleConfig], Role]) -> None:
        super().__init__()
        self._make = make
        self._process = configuration.process
        self._reloading = DeferredLock()
        self._log = Logger(namespace="miredo")
        for config in configuration.roles:
            make(config).setServiceParent(self)

    @property
    def status(self) -> str:
        """What there is to say of it in a few words."""
        return ", ".join(role.config.title for role in self if isinstance(role, KINDS))

    async def reload(self, configuration: Configuration) -> None:
        """Run what another configuration says. A role that it says the same of runs on as if nothing had happened.

        A role that cannot be had as it says runs on as before; that is logged.
        """
        if configuration.process != self._process:
            self._log.warn("what concerns the process as a whole is not read again")
        async with self._reloading:
            await self._reload(configuration)

    async def _reload(self, configuration: Configuration) -> None:
        before = {role.config.title: role for role in self if isinstance(role, KINDS)}
        wanted = {config.title: config for config in configuration.roles}
        changed = [title for title, role in before.items() if not role.is_as(wanted.get(title))]
        for title in changed:
            await maybeDeferred(before[title].disownServiceParent)
        for title, config in wanted.items():
            old = before.get(title)
            if old is None:
                self._begun(config)
            elif title in changed and not self._begun(config):
                self._log.warn("{role}: begins anew as it was before", role=title)
                self._begun(old.config)
        kept = len(before) - len(changed)
        text = "{kept} of {all} roles run on as they are, {new} begin anew"
        self._log.info(text, kept=kept, all=len(wanted), new=len(wanted) - kept)

    def _begun(self, config: RoleConfig) -> bool:
        """Start a role beside those that run; whether it could be."""
        role = self._make(config)
        try:
            role.setServiceParent(self)
        except StartFailure as failure:
            role.disownServiceParent()
            self._log.error("{failure}", failure=str(failure))
            return False
        return True

    def stopService(self) -> Deferred[None]:
        """Stop all, once the relays have had their C{DrainTime}."""
        relays = [role for role in self if isinstance(role, TeredoRelayService)]
        return drained(relays, self.stop_signals).addCallback(lambda _: super(Roles, self).stopService())

    def privilegedStartService(self) -> None:
        """Open everything.

        @raise CannotStart: a role cannot start, and nothing is left open.
        """
        opened: list[IService] = []
        try:
            for role in self:
                role.privilegedStartService()
                opened.append(role)
        except StartFailure as failure:
            for role in reversed(opened):
                role.stopService()
            raise CannotStart(f"{self.program}: {failure}") from failure


def assemble(
    configuration: Configuration,
    *,
    clock: IClock,
    endpoints: Endpoints,
    resolve: Callable[[str], Deferred[list[IPv4]]] | None = None,
    dice: Dice = os.urandom,
    observer: Observer | None = None,
) -> Roles:
    """The services of a configuration, not started.

    @param endpoints: opens things in the network namespace of that name.
    @param resolve: looks up the names of all roles; without it each role asks in its own namespace.
    """

    def make(config: RoleConfig) -> Role:
        own = endpoints(config.namespace)
        return _service(config, Surroundings(own, clock, dice, resolve or HostNames(own, clock, dice), observer))

    return Roles(configuration, make)


def assemble_on(
    reactor: IReactorCore,
    configuration: Configuration,
    observer: Observer | None = None,
    child: Child | None = None,
) -> Roles:
    """The services of a configuration on the kernel's clock, sockets and devices, read by C{reactor}.

    @param child: opens the sockets and devices, and runs the hooks; without it, the process itself.
    """
    _say_what_is_not_obeyed(configuration.process)
    # Twisted's own delayed calls shall not follow steps of the wall clock.
    vars(reactor)["seconds"] = time.monotonic
    roles = assemble(
        configuration,
        clock=BoottimeClock(IReactorFDSet(reactor)),
        endpoints=_endpoints(reactor) if child is None else partial(child.endpoints, reactor=IReactorFDSet(reactor)),
        observer=observer,
    )
    roles.stop_signals = StopSignals(IReactorFromThreads(reactor))
    return roles


def daemon_on(
    reactor: IReactorCore,
    origin: Origin,
    configuration: Configuration,
    circumstances: Circumstances,
    failed: Callable[[], None],
) -> Daemon:
    """The services of a configuration and of the process that they live in.

    @param failed: is called when the end that begins is a failure.
    """

    def build(child: Child | None) -> Roles:
        roles = assemble_on(reactor, configuration, child=child)
        roles.program = circumstances.program
        return roles

    def spawn(pid_file: str | None) -> Child:
        from miredo.kernel.privileged.charge import Charge
        from miredo.kernel.privileged.worker import PrivilegedChild

        charge = Charge(origin.program, origin.file, origin.text, origin.server_name, pid_file, origin.hook)
        return PrivilegedChild.spawn(charge, circumstances.begun)

    return Daemon(reactor, origin, circumstances, build, spawn, failed)


async def check_on(reactor: IReactorCore, configuration: Configuration) -> list[tuple[str, Finding]]:
    """What would go wrong with a configuration on this machine, each with the title of the role."""
    from miredo.service.checking import check  # which no daemon needs

    clock = BoottimeClock(IReactorFDSet(reactor))
    return await check(configuration.roles, _endpoints(reactor), clock, dice=os.urandom)


def _endpoints(reactor: IReactorCore) -> Endpoints:
    """This process opens by itself."""
    from miredo.kernel.endpoints import KernelEndpoints  # and pyroute2, which a process with a child does without
    from miredo.kernel.hooks import SpawnedHooks

    descriptors = IReactorFDSet(reactor)
    return partial(KernelEndpoints, reactor=descriptors, hooks=SpawnedHooks(descriptors))  # one at a time, of all roles


def _say_what_is_not_obeyed(process: ProcessConfig) -> None:
    """A directive that is read and has no effect yet is said to have none."""
    if NOT_OBEYED in process.places:
        Logger(namespace="miredo").warn("{where}: not obeyed by this version", where=process.where(NOT_OBEYED))


def _service(config: RoleConfig, around: Surroundings) -> Role:
    match config:
        case ClientConfig():
            return TeredoClientService(config, around)
        case RelayConfig():
            return TeredoRelayService(config, around)
        case ServerConfig():
            return TeredoServerService(config, around)
        case MireConfig():
            return TeredoMireService(config, around)
        case _:
            raise AssertionError(f"no service for {config}")
