# SPDX-License-Identifier: MIT
"""
What the classic commands share: from a command line to a daemon.

1. The command line and the file are read, and all that can be known beforehand is looked at. Whatever is wrong is told
   in one line at the terminal, and the exit status is L{FAILURE}; that of wrong usage is L{WRONG_USAGE}, as with
   miredo 1.2.6.
2. The process detaches, unless it is told to stay.
3. Only then Twisted is imported, while the privileged child begins, and the rest is L{miredo.commands.running}'s.
"""

from __future__ import annotations

import os
import signal
import sys
from getopt import GetoptError, gnu_getopt
from typing import TYPE_CHECKING, NamedTuple

from miredo import VERSION
from miredo.config import ConfigError, Configuration, TunnelConfig
from miredo.kernel.detaching import Detached, detach
from miredo.kernel.notifying import ServiceManager
from miredo.service.dropping import CannotDrop, Decision, decide, missing_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from miredo.commands.usage import Command
    from miredo.kernel.privileged.beginning import Begun
    from miredo.service.origin import Origin

HELD_BACK = signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2
"""Signals that wait until somebody sees to them."""

FAILURE = 1
WRONG_USAGE = 2

_LICENCE = """\
Copyright (C) 2026 the miredo founders
MIT License: this is free software, to be used, changed and given on.
There is NO WARRANTY, to the extent permitted by law."""


class WrongUsage(Exception):
    """The command line cannot be understood; the text is one line for a person."""


class Words(NamedTuple):
    """A command line: the values of its options by their long names, and its operand."""

    options: dict[str, str]
    operand: str | None

    def path(self, name: str) -> str | None:
        """A path that means the same in every directory.

        @raise WrongUsage: it is empty.
        """
        given = self.options.get(name)
        if given == "":
            raise WrongUsage(f"option --{name} needs a name")
        return None if given is None else os.path.abspath(given)


class Launch(NamedTuple):
    """What a command line comes to."""

    program: str
    origin: Origin
    configuration: Configuration
    decision: Decision
    pid_file: str
    pid_file_told: bool
    foreground: bool


def main(command: Command, origin: Callable[[Words], Origin], arguments: list[str] | None = None) -> int:
    """Run a command; its exit status.

    @param origin: where the configuration comes from.
    """
    try:
        words = _parsed(command, sys.argv[1:] if arguments is None else arguments)
        if answer := _answered(command, words):
            print(answer)
            return 0
        launch = _examined(command, words, origin(words))
    except WrongUsage as wrong:
        print(f"{command.name}: {wrong}\nTry {command.name} --help.", file=sys.stderr)
        return WRONG_USAGE
    except ConfigError as error:
        print(error, file=sys.stderr)
        return FAILURE
    except CannotDrop as reason:
        print(f"{command.name}: {reason}", file=sys.stderr)
        return FAILURE
    return _launched(launch)


def _parsed(command: Command, arguments: list[str]) -> Words:
    try:
        given, operands = gnu_getopt(arguments, command.letters, command.words)
    except GetoptError as error:
        raise WrongUsage(error.msg) from error
    if operands[1:]:
        raise WrongUsage(f'unexpected extra parameter "{operands[1]}"')
    return Words({command.option(name).word: value for name, value in given}, next(iter(operands), None))


def _answered(command: Command, words: Words) -> str:
    """What the command line asks to be told, if that is all that it asks for."""
    if "help" in words.options:
        return command.help()
    if "version" in words.options:
        return f"{command.name} {VERSION} ({command.purpose})\n{_LICENCE}"
    return ""


def _examined(command: Command, words: Words, origin: Origin) -> Launch:
    """
    All that can be known before anything is touched.

    @raise ConfigError: the file is wrong.
    @raise CannotDrop: the privileges are too few, or cannot be given up as they are to be.
    """
    configuration = origin.configuration()
    for warning in configuration.warnings:
        print(warning.render(), file=sys.stderr)
    process = configuration.process
    pid_file = words.path("pidfile") or process.pid_file
    decision = decide(words.options.get("user", process.user), words.path("chroot") or process.chroot, usually=True)
    if missing := missing_for(configuration.roles):
        raise CannotDrop(missing)
    usual = f"/run/{command.name}.pid"
    foreground = "foreground" in words.options
    return Launch(command.name, origin, configuration, decision, pid_file or usual, pid_file is not None, foreground)


def _launched(launch: Launch) -> int:
    """Go on, in the background unless it shall not be."""
    detached: Detached | None = None
    if not launch.foreground:
        for notice in launch.decision.notices:
            print(f"{launch.program}: {notice}", file=sys.stderr)
        try:
            detached = detach(launch.program)
        except OSError as error:
            print(f"{launch.program}: cannot detach: {error.strerror}", file=sys.stderr)
            return FAILURE
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    manager = ServiceManager(os.environ)
    begun = _begun(launch)
    from miredo.commands.sparing import spare

    spare()
    from miredo.commands.running import run

    return run(launch, detached, manager, begun)


def _begun(launch: Launch) -> Begun | None:
    """The privileged child, if there is to be one: it has its own imports to do meanwhile."""
    if launch.decision.drop is None:
        return None
    from miredo.kernel.privileged.beginning import begin

    try:
        return begin(tunnels=any(isinstance(role, TunnelConfig) for role in launch.configuration.roles))
    except OSError:
        return None  # the daemon tries again, and tells
