# SPDX-License-Identifier: MIT
"""
Roles as a process of their own: number file, privileges, signals, service manager.

1. The number is written, and its file locked; then the privileged child is spawned, if privileges are given up later.
2. The roles open what they need, through the child if there is one.
3. What can be needed is imported, then the privileges are given up.
4. The roles begin; once the reactor runs, the process is ready.

SIGHUP has the configuration read again. At the end the roles stop, then the child undoes what it did.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from errno import EACCES, EROFS
from typing import Protocol

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorCore, IReactorFDSet, IReactorFromThreads
from twisted.logger import Logger

from miredo.config import ConfigError, Configuration, Problem
from miredo.config.reading import read_text
from miredo.config.source import FILE_LIMIT
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.detaching import Detached
from miredo.kernel.identity import StillPrivileged, give_up
from miredo.kernel.interfaces import IEndpoints
from miredo.kernel.notifying import ServiceManager
from miredo.kernel.pidfile import AnotherRuns, PidFile
from miredo.kernel.privileged.beginning import Begun
from miredo.service.dropping import CannotDrop, Decision, Drop, prepare
from miredo.service.endsignals import MEANINGLESS, EndSignals, disarm
from miredo.service.hangup import Hangup
from miredo.service.imports import LateImports, import_all
from miredo.service.logbook import Log
from miredo.service.origin import Origin
from miredo.service.readiness import Readiness


class CannotStart(SystemExit, Exception):
    """Ends the process with one line for a person.

    It is an C{Exception} too, because twistd removes its pid file and answers its waiting parent for nothing else.
    """


class Child(Protocol):
    """What a daemon asks of its privileged child; L{miredo.kernel.privileged.PrivilegedChild} is one."""

    def endpoints(self, namespace: str | None, reactor: IReactorFDSet) -> IEndpoints:
        """Opens things there."""

    def read(self, path: str, limit: int) -> bytes:
        """The first C{limit} bytes of a file."""

    def open_syslog(self) -> int:
        """A connected, non-blocking descriptor of syslogd's socket."""

    def attach(self, reactor: IReactorFDSet, lost: Callable[[str], None]) -> None:
        """Have C{lost} called with the reason if it ends by itself."""

    def detach(self) -> None:
        """Have it leave the terminal."""

    def end(self) -> Deferred[None]:
        """Have it undo everything."""


class Roles(Protocol):
    """What a daemon asks of its roles; L{miredo.assembly.Roles} is so."""

    @property
    def status(self) -> str:
        """What there is to say of them in a few words."""

    def setServiceParent(self, parent: MultiService) -> None:
        """Live in a tree."""

    async def reload(self, configuration: Configuration) -> None:
        """Become what a configuration says."""


@dataclass(frozen=True)
class Circumstances:
    """
    How a process was started.

    @ivar program: what its messages begin with.
    @ivar decision: what it gives up.
    @ivar pid_file: the file for its number.
    @ivar pid_file_told: it was asked for; one that is merely usual may be out of an ordinary user's reach.
    @ivar launch: the terminal that it was detached from.
    @ivar log: the log, if it is the daemon's own.
    @ivar begun: the privileged child, if it has been begun already.
    """

    program: str
    decision: Decision
    manager: ServiceManager
    pid_file: str | None = None
    pid_file_told: bool = True
    launch: Detached | None = None
    log: Log | None = None
    begun: Begun | None = None


class Daemon(MultiService):
    """
    Roles, and the process that they live in.

    @param build: makes the roles, which do what needs privileges through the child, if there is one.
    @param spawn: spawns the privileged child, to remove the file with the number in the end; raises C{OSError}.
    @param failed: is called when the end that begins is a failure.
    """

    _pid_file: PidFile | None = None
    _child: Child | None = None
    _roles: Roles | None = None

    def __init__(
        self,
        reactor: IReactorCore,
        origin: Origin,
        circumstances: Circumstances,
        build: Callable[[Child | None], Roles],
        spawn: Callable[[str | None], Child],
        failed: Callable[[], None],
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._origin = origin
        self._around = circumstances
        self._build = build
        self._spawn = spawn
        self._failed = failed
        self._log = Logger(namespace="miredo")
        clock = BoottimeClock(IReactorFDSet(reactor))
        if circumstances.log is not None:
            circumstances.log.keep_time(clock)
        leave = self._leave_terminal if circumstances.launch is not None else None
        self._readiness = Readiness(reactor, clock, circumstances.manager, self._status, leave)

    def privilegedStartService(self) -> None:
        """Open everything, and give up the privileges.

        @raise CannotStart: it cannot be, and nothing is left.
        """
        disarm(*MEANINGLESS)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])  # it would kill until somebody sees to it
        for notice in self._around.decision.notices:
            self._log.warn("{notice}", notice=notice)
        try:
            self._write_number()
            self._open()
        except CannotStart:
            self._leave_no_number()
            raise
        except (AnotherRuns, CannotDrop, StillPrivileged, OSError) as error:
            self._leave_no_number()
            raise CannotStart(f"{self._around.program}: {_in_one_line(error)}") from error

    def _leave_no_number(self) -> None:
        if self._pid_file is not None:
            self._pid_file.remove()

    def _write_number(self) -> None:
        path = self._around.pid_file
        try:
            self._pid_file = PidFile(path) if path is not None else None
        except OSError as error:
            if self._around.pid_file_told or error.errno not in (EACCES, EROFS):
                raise
            line = f"no file with the number of the process: {_in_one_line(error)}"
            self._log.warn("{line}", line=line)
            if self._around.launch is not None:  # whoever started it is still there, and shall not look for it in vain
                sys.stderr.write(f"{self._around.program}: {line}\n")

    def _open(self) -> None:
        drop = self._around.decision.drop
        if drop is not None:
            self._spawn_child(drop)
        self._roles = self._build(self._child)
        self._roles.setServiceParent(self)
        for service in self._of_the_process():
            service.setServiceParent(self)
        super().privilegedStartService()
        if drop is not None:
            import_all()
            LateImports().install()
            give_up(*drop)

    def _spawn_child(self, drop: Drop) -> None:
        prepare(drop)
        self._child = self._spawn(None if self._pid_file is None else self._pid_file.path)
        self._child.attach(IReactorFDSet(self._reactor), self._child_lost)
        if self._around.log is not None:
            self._around.log.reopen_by(self._child.open_syslog)

    def _of_the_process(self) -> list[Service]:
        """What comes after the roles; the last is ready when all are."""
        hangup = Hangup(IReactorFromThreads(self._reactor), self.reload)
        return [hangup, EndSignals(self._reactor), self._readiness]

    def startService(self) -> None:
        super().startService()
        self._reactor.callWhenRunning(spare_the_lasting)

    def stopService(self) -> Deferred[None]:
        """Stop the roles, and only then what they need to take back what they did."""
        return maybeDeferred(super().stopService).addCallback(lambda _: self._child_ended()).addCallback(self._removed)

    def _child_ended(self) -> Deferred[None] | None:
        child, self._child = self._child, None
        return child.end() if child is not None else None

    def _removed(self, _: object) -> None:
        self._leave_no_number()
        self._around.manager.close()

    def _child_lost(self, reason: str) -> None:
        """Nothing that needs privileges can be done any more: the next one does it better."""
        self._child = None
        self._log.critical("the privileged child has ended: {reason}", reason=reason)
        self._failed()
        if self.running:
            self._reactor.stop()

    def reload(self) -> None:
        """Run what the file says now; one that is wrong changes nothing."""
        self._log.info("Reloading configuration on signal 1 (Hangup)", notice=True)
        self._readiness.reloading()
        done = Deferred.fromCoroutine(self._reloaded())
        done.addErrback(lambda why: self._log.failure("cannot reload", why))
        done.addCallback(lambda _: self._readiness.ready())

    async def _reloaded(self) -> None:
        if self._origin.file is None:
            self._log.info("there is no configuration file to read: all roles run on as they are")
            return
        try:
            configuration = self._origin.saying(self._text(self._origin.file)).configuration()
        except ConfigError as error:
            self._log.error("{error}\nall roles run on as they are", error=str(error))
            return
        if self._roles is not None:
            await self._roles.reload(configuration)

    def _text(self, file: str) -> bytes:
        """
        What stands in the file now.

        @raise ConfigError: it cannot be read.
        """
        if self._child is None:
            return read_text(file)
        try:
            return self._child.read(file, FILE_LIMIT)
        except OSError as error:
            reason = f"{error.strerror or error} (errno {error.errno})"
            raise ConfigError([Problem(self._origin.shown, None, None, reason)]) from error

    def _leave_terminal(self) -> None:
        if self._child is not None:
            with suppress(OSError):  # it has ended, and that is being seen to
                self._child.detach()
        if self._around.launch is not None:
            self._around.launch.succeeded()

    def _status(self) -> str:
        return f"Running: {self._roles.status}" if self._roles is not None else ""


def spare_the_lasting() -> None:
    """Have the garbage collector look no more at what is there by now, and stays.

    Each look at it holds up packets for some 50 ms, and a flood, of which much is kept for a while, causes many.
    """
    gc.collect()
    gc.freeze()


def _in_one_line(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    named = f"{error.filename}: " if error.filename else ""
    return f"{named}{error.strerror or error}"
