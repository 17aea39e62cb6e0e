# SPDX-License-Identifier: MIT
"""C{twistd miredo}: its options, and the service that they ask for."""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NoReturn

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.logger import Logger
from twisted.python import usage

from miredo.config import ClientConfig, ConfigError, Configuration, load

if TYPE_CHECKING:
    from miredo.assembly import Roles

DEFAULT_FILES = ("/etc/miredo/miredo.conf", "/etc/miredo.conf")


class Options(usage.Options):
    """The command line of C{twistd miredo}."""

    synopsis = "[options] [server_name]"
    longdesc = (
        "Runs every role of the configuration file: Teredo clients, relays and servers, each on its own or all in "
        "one process. server_name overrides the file's ServerAddress. Two of them in one directory need twistd's "
        "own option --pidfile=, given before the word miredo."
    )
    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", "c", None, "Configuration file (default: the first of " + ", ".join(DEFAULT_FILES) + ")"]
    ]

    optFlags: ClassVar[list[list[str | None]]] = [
        ["check", None, "Say what is wrong with the file and with this host, and how to cure it; start nothing"],
        ["probe-filtering", None, "Look into the filtering of each client's NAT, as ProbeFiltering yes does"],
    ]

    configuration: Configuration

    def parseArgs(self, server_name: str | None = None) -> None:
        self["server_name"] = server_name

    def read(self) -> Configuration:
        """What the file, and the command line, say now.

        @raise ConfigError: it cannot be read.
        """
        configuration = load(self["config"] or default_file(), server_name=self["server_name"])
        return probing_filtering(configuration) if self["probe-filtering"] else configuration

    def postOptions(self) -> None:
        """Read the file, so that whatever is wrong with it is said before anything is touched.

        @raise SystemExit: every error of the file, each with its line and column; a usage text would bury them. Or
            C{--check} has ended, before twistd looks for another one of its kind.
        """
        try:
            self.configuration = self.read()
        except ConfigError as error:
            raise SystemExit(str(error)) from error
        if self["probe-filtering"] and not any(isinstance(role, ClientConfig) for role in self.configuration.roles):
            raise SystemExit("--probe-filtering is for a client, and there is none")
        for warning in self.configuration.warnings:
            sys.stderr.write(f"{warning.render()}\n")
        if self["check"]:
            run_check(self.configuration)


def probing_filtering(configuration: Configuration) -> Configuration:
    """The same, but every client looks into the filtering of its NAT."""
    roles = [
        replace(role, probe_filtering=True) if isinstance(role, ClientConfig) else role for role in configuration.roles
    ]
    return replace(configuration, roles=tuple(roles))


def default_file() -> str:
    """The first default configuration file that exists; the first one, for the message, if none does."""
    return next((name for name in DEFAULT_FILES if Path(name).exists()), DEFAULT_FILES[0])


def run_check(configuration: Configuration) -> NoReturn:
    """Print what is wrong, a line each.

    @raise SystemExit: with 1 if a role could not start as it is, else with 0.
    """
    from twisted.internet import reactor, task

    from miredo.assembly import check_on
    from miredo.service.checking import line

    async def checked() -> None:
        findings = await check_on(reactor, configuration)
        errors = sum(finding.prevents for _, finding in findings)
        lines = [line(title, finding) for title, finding in findings]
        sys.stdout.write("".join(f"{one}\n" for one in [*lines, *([] if errors else ["ok"])]))
        if errors:
            raise SystemExit(1)

    task.react(lambda _: Deferred.fromCoroutine(checked()), _reactor=reactor)


def makeService(options: Options) -> MultiService:
    """The service of all roles that the configuration names, which reads its file again at SIGHUP."""
    from twisted.internet import reactor

    from miredo.assembly import assemble_on
    from miredo.service.hangup import Hangup

    service = MultiService()
    roles = assemble_on(reactor, options.configuration)
    roles.setServiceParent(service)
    Hangup(IReactorFromThreads(reactor), lambda: reload(options, roles)).setServiceParent(service)
    IReactorCore(reactor).callWhenRunning(spare_the_lasting)
    return service


def spare_the_lasting() -> None:
    """Have the garbage collector look no more at what is there by now, and stays.

    Each look at it holds up packets for some 50 ms, and a flood, of which much is kept for a while, causes many.
    """
    gc.collect()
    gc.freeze()


def reload(options: Options, roles: Roles) -> None:
    """Run what the file says now; one that is wrong changes nothing."""
    log = Logger(namespace="miredo")
    log.info("Reloading configuration on signal 1 (Hangup)")
    try:
        configuration = options.read()
    except ConfigError as error:
        log.error("{error}\nall roles run on as they are", error=str(error))
        return
    Deferred.fromCoroutine(roles.reload(configuration)).addErrback(lambda why: log.failure("cannot reload", why))
