# SPDX-License-Identifier: MIT
"""A classic command's daemon, run as Twisted's application runner would, of which nothing else is of use here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger

from miredo.assembly import daemon_on
from miredo.commands.classic import FAILURE
from miredo.service.daemon import CannotStart, Circumstances, Daemon
from miredo.service.logbook import is_classic, open_log

if TYPE_CHECKING:
    from miredo.commands.classic import Launch
    from miredo.kernel.detaching import Detached
    from miredo.kernel.notifying import ServiceManager
    from miredo.kernel.privileged.beginning import Begun


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
    core = IReactorCore(reactor)
    daemon = daemon_on(core, launch.origin, launch.configuration, circumstances, lambda: failed.append(True))
    log.begin()
    try:
        serve(core, daemon)
    except CannotStart as reason:
        if detached is not None:
            Logger(namespace="miredo").critical("{reason}", reason=str(reason))
        log.flush_and_close()
        print(reason, file=sys.stderr)
        return FAILURE
    log.flush_and_close()
    return FAILURE if failed else 0


def serve(reactor: IReactorCore, daemon: Daemon) -> None:
    """
    Start it, and let the reactor run until its end.

    @raise CannotStart: it cannot be started.
    """
    daemon.privilegedStartService()
    daemon.startService()
    reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
    reactor.run()
