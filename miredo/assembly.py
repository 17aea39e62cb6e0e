# SPDX-License-Identifier: MIT
"""A configuration in, a C{MultiService} out: the only file that knows every role."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore, IReactorFDSet
from twisted.logger import Logger

from miredo.address.endpoint import Dice, IPv4
from miredo.config import ClientConfig, Configuration, MireConfig, ProcessConfig, RelayConfig, RoleConfig, ServerConfig
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.interfaces import IClock, IEndpoints
from miredo.service.mire import TeredoMireService
from miredo.service.names import HostNames
from miredo.service.roles import TeredoClientService, TeredoRelayService, TeredoServerService
from miredo.service.surroundings import Observer, StartFailure, Surroundings


class CannotStart(SystemExit, Exception):
    """Ends the process with one line for a person.

    It is an C{Exception} too, because twistd removes its pid file and answers its waiting parent for nothing else.
    """


class Roles(MultiService):
    """All roles of one configuration; they start together or not at all."""

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
            raise CannotStart(f"miredo: {failure}") from failure


def assemble(
    configuration: Configuration,
    *,
    clock: IClock,
    endpoints: Callable[[str | None], IEndpoints],
    resolve: Callable[[str], Deferred[list[IPv4]]] | None = None,
    dice: Dice = os.urandom,
    observer: Observer | None = None,
) -> Roles:
    """The services of a configuration, not started.

    @param endpoints: opens things in the network namespace of that name.
    @param resolve: looks up the names of all roles; without it each role asks in its own namespace.
    """
    roles = Roles()
    for config in configuration.roles:
        own = endpoints(config.namespace)
        around = Surroundings(own, clock, dice, resolve or HostNames(own, clock, dice), observer)
        _service(config, around).setServiceParent(roles)
    return roles


def assemble_on(reactor: IReactorCore, configuration: Configuration, observer: Observer | None = None) -> Roles:
    """The services of a configuration on the kernel's clock, sockets and devices, read by C{reactor}."""
    _say_what_is_not_obeyed(configuration.process)
    # Twisted's own delayed calls shall not follow steps of the wall clock.
    vars(reactor)["seconds"] = time.monotonic
    descriptors = IReactorFDSet(reactor)
    return assemble(
        configuration,
        clock=BoottimeClock(descriptors),
        endpoints=lambda namespace: KernelEndpoints(namespace, descriptors),
        observer=observer,
    )


def _say_what_is_not_obeyed(process: ProcessConfig) -> None:
    """A directive that is read and has no effect yet is said to have none."""
    log = Logger(namespace="miredo")
    for keyword in process.places:
        log.warn("{where}: not obeyed by this version", where=process.where(keyword))


def _service(config: RoleConfig, around: Surroundings) -> Service:
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
