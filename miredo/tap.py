# SPDX-License-Identifier: MIT
"""C{twistd miredo}: its options, and the service that they ask for."""

from __future__ import annotations

import atexit
import os
import sys
from dataclasses import replace
from typing import ClassVar, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.python import usage

from miredo.config import ClientConfig, ConfigError, Configuration
from miredo.config.source import DEFAULT_FILES, default_file
from miredo.kernel.notifying import ServiceManager
from miredo.service.daemon import Circumstances, Daemon
from miredo.service.dropping import CannotDrop, Decision, decide
from miredo.service.logbook import heed, own_log
from miredo.service.origin import Origin


class Options(usage.Options):
    """The command line of C{twistd miredo}."""

    synopsis = "[options] [server_name]"
    longdesc = (
        "Runs every role of the configuration file: Teredo clients, relays and servers, each on its own or all in "
        "one process. server_name overrides the file's ServerAddress. Two of them in one directory need twistd's "
        "own option --pidfile=, given before the word miredo."
    )
    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", "c", None, "Configuration file (default: the first of " + ", ".join(DEFAULT_FILES["miredo"]) + ")"]
    ]

    optFlags: ClassVar[list[list[str | None]]] = [
        ["check", None, "Say what is wrong with the file and with this host, and how to cure it; start nothing"],
        ["probe-filtering", None, "Look into the filtering of each client's NAT, as ProbeFiltering yes does"],
    ]

    origin: Origin
    configuration: Configuration
    decision = Decision(None)

    def parseArgs(self, server_name: str | None = None) -> None:
        self["server_name"] = server_name

    def postOptions(self) -> None:
        """Read the file, so that whatever is wrong with it is said before anything is touched.

        @raise SystemExit: every error of the file, each with its line and column; a usage text would bury them. Or
            C{--check} has ended, before twistd looks for another one of its kind.
        """
        try:
            self._read()
        except ConfigError as error:
            raise SystemExit(str(error)) from error
        if self["probe-filtering"] and not any(isinstance(role, ClientConfig) for role in self.configuration.roles):
            raise SystemExit("--probe-filtering is for a client, and there is none")
        for warning in self.configuration.warnings:
            sys.stderr.write(f"{warning.render()}\n")
        if self["check"]:
            run_check(self.configuration)
        try:
            self.decision = self._decided()
        except CannotDrop as reason:
            raise SystemExit(f"miredo: {reason}") from reason

    def _read(self) -> None:
        shown = self["config"] or default_file()
        origin = Origin.of_file("miredo", shown, self["server_name"])
        self.origin = replace(origin, probe_filtering=bool(self["probe-filtering"]))
        self.configuration = self.origin.configuration()

    def _decided(self) -> Decision:
        """What is given up; C{twistd}'s own options go before the file, and are taken from it.

        @raise CannotDrop: it cannot be.
        """
        twistd = self.parent if self.parent is not None else {}
        process = self.configuration.process
        uid, gid = twistd.get("uid"), twistd.get("gid")
        user = process.user if uid is None else str(uid)
        if twistd.get("chroot") is not None:
            raise CannotDrop("twistd's --chroot comes before anything is opened; write Chroot in the file instead")
        if twistd.get("euid") and uid is not None:
            raise CannotDrop("twistd's --euid would leave a way back to root; leave it out")
        if gid is not None and user is None:
            raise CannotDrop("twistd's --gid alone would leave the process root; give --uid too")
        drop, notices = decide(user, process.chroot, usually=False, gid=gid)
        twistd["uid"] = twistd["gid"] = None
        unheeded = heed(self.configuration, twistd)
        return Decision(drop, (*notices, *([unheeded] if unheeded else [])))


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


def makeService(options: Options) -> Daemon:
    """The service of all roles that the configuration names, and of the process that they live in."""
    from twisted.internet import reactor

    from miredo.assembly import daemon_on

    circumstances = Circumstances(
        "miredo",
        options.decision,
        ServiceManager(os.environ),
        options.configuration.process.pid_file,
        log=own_log(options.parent if options.parent is not None else {}),
    )
    return daemon_on(
        IReactorCore(reactor),
        options.origin,
        options.configuration,
        circumstances,
        fail_at_the_end,
    )


def fail_at_the_end() -> None:
    """Have the process end with status 1, which twistd has no way to be asked for."""
    atexit.register(_fail)


def _fail() -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
