# SPDX-License-Identifier: MIT
"""C{twistd miredo}: its options, and the service that they ask for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from twisted.application.service import MultiService
from twisted.python import usage

from miredo.config import ConfigError, Configuration, load

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

    configuration: Configuration

    def parseArgs(self, server_name: str | None = None) -> None:
        self["server_name"] = server_name

    def postOptions(self) -> None:
        """Read the file, so that whatever is wrong with it is said before anything is touched.

        @raise SystemExit: every error of the file, each with its line and column; a usage text would bury them.
        """
        try:
            self.configuration = load(self["config"] or default_file(), server_name=self["server_name"])
        except ConfigError as error:
            raise SystemExit(str(error)) from error
        for warning in self.configuration.warnings:
            sys.stderr.write(f"{warning.render()}\n")


def default_file() -> str:
    """The first default configuration file that exists; the first one, for the message, if none does."""
    return next((name for name in DEFAULT_FILES if Path(name).exists()), DEFAULT_FILES[0])


def makeService(options: Options) -> MultiService:
    """The service of all roles that the configuration names."""
    from twisted.internet import reactor

    from miredo.assembly import assemble_on

    return assemble_on(reactor, options.configuration)
