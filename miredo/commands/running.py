# SPDX-License-Identifier: MIT
"""A classic command's daemon, run by Twisted's application runner without plugins, pid file or detaching of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from twisted.application import app
from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger

from miredo.assembly import daemon_on
from miredo.commands.classic import FAILURE
from miredo.service.daemon import CannotStart, Circumstances, Daemon
from miredo.service.logbook import Log, is_classic, open_log

if TYPE_CHECKING:
    from twisted.application.service import Service

    from miredo.commands.classic import Launch
    from miredo.kernel.detaching import Detached
    from miredo.kernel.notifying import ServiceManager
    from miredo.kernel.privileged.beginning import Begun

_CONFIG = {"nodaemon": True, "debug": False, "profile": None, "savestats": False, "profiler": "cprofile"}
"""Of twistd's options, those that its runner looks at."""


class Logging:
    """What the runner starts and stops."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def start(self, application: Service) -> None:
        del application
        self._log.begin()

    def stop(self) -> None:
        self._log.flush_and_close()


class Runner(app.ApplicationRunner):
    """Runs one daemon until it ends."""

    def __init__(self, daemon: Daemon, log: Log) -> None:
        self.loggerFactory = lambda _: Logging(log)
        super().__init__(dict(_CONFIG))
        self._daemon = daemon

    def preApplication(self) -> None:
        """Everything has been seen to."""

    def createOrGetApplication(self) -> Service:
        return self._daemon

    def postApplication(self) -> None:
        """Start it; the reactor runs until the end.

        @raise CannotStart: it cannot be started.
        """
        self.application.privilegedStartService()
        app.startApplication(self.application, False)
        self.startReactor(None, sys.stdout, sys.stderr)


def run(launch: Launch, detached: Detached | None, manager: ServiceManager, begun: Begun | None) -> int:
    """
    Be that daemon; the exit status.

    @param begun: its privileged child.
    """
    from twisted.internet import reactor

    failed: list[bool] = []
    log = open_log(
        launch.configuration.process,
        program=launch.program,
        foreground=detached is None,
        classic=is_classic(launch.configuration),
    )
    if log.trouble is not None:
        print(f"{launch.program}: no syslog ({log.trouble}): nothing is logged", file=sys.stderr)
    decision = launch.decision
    if detached is not None:  # else they have been told where the log goes
        warnings = [warning.render() for warning in launch.configuration.warnings]
        decision = decision._replace(notices=(*warnings, *decision.notices))
    circumstances = Circumstances(
        launch.program, decision, manager, launch.pid_file, launch.pid_file_told, detached, log, begun
    )
    daemon = daemon_on(
        IReactorCore(reactor), launch.origin, launch.configuration, circumstances, lambda: failed.append(True)
    )
    try:
        Runner(daemon, log).run()
    except CannotStart as reason:
        if detached is not None:
            Logger(namespace="miredo").critical("{reason}", reason=str(reason))
        log.flush_and_close()
        print(reason, file=sys.stderr)
        return FAILURE
    return FAILURE if failed else 0
