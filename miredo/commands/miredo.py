# SPDX-License-Identifier: MIT
"""
The command C{miredo}: a Teredo client or relay, as its configuration file says, like the C program of that name.

Without a file at the usual places it is what it was in 2004, when there was none: a client of the server on its command
line, with C{-s} a server on that address and the next, or else a relay.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from miredo.commands.classic import WrongUsage
from miredo.commands.classic import main as run
from miredo.commands.usage import MIREDO
from miredo.config.source import DEFAULT_FILES
from miredo.kernel.identity import is_known
from miredo.service.origin import Origin

if TYPE_CHECKING:
    from miredo.commands.classic import Words

PROGRAM, SERVER = "miredo", "miredo-server"
RELAY = "RelayType relay\n"
CLIENT_HOOK = "/etc/miredo/client-hook"
"""Configures a client's tunnel where there is one, as with miredo 1.2.6."""


def main(arguments: list[str] | None = None) -> int:
    """Run it; the exit status."""
    return run(MIREDO, origin, arguments)


def origin(words: Words) -> Origin:
    """What the command line means.

    @raise WrongUsage: it means two things.
    @raise ConfigError: the file cannot be read.
    """
    address = words.options.get("server")
    if address is not None:
        return _server(words, address)
    return replace(_usual(words), hook=CLIENT_HOOK if _is_program(CLIENT_HOOK) else None)


def _usual(words: Words) -> Origin:
    file = words.path("config") or next(filter(os.path.exists, DEFAULT_FILES[PROGRAM]), None)
    if file is not None:
        return Origin.of_file(PROGRAM, file, words.operand)
    if words.operand is not None:
        return Origin.of_command_line(PROGRAM, "", words.operand)
    print(f"miredo: there is no {DEFAULT_FILES[PROGRAM][0]}: runs as a Teredo relay", file=sys.stderr)
    return Origin.of_command_line(PROGRAM, RELAY)


def _server(words: Words, address: str) -> Origin:
    """C{-s} reads no file at the usual places, which is a client's; one that C{-c} names is read as a server's."""
    if words.operand is not None:
        raise WrongUsage(f'"{words.operand}" is a server for a client, and -s makes this a server')
    file = words.path("config")
    return Origin.of_file(SERVER, file, address) if file else Origin.of_command_line(SERVER, "", address)


def _is_program(path: str) -> bool:
    """A host's hook is not for whoever is root in a user namespace of this host alone."""
    return os.path.isfile(path) and os.access(path, os.X_OK) and is_known(os.stat(path).st_uid)


if __name__ == "__main__":
    sys.exit(main())
