# SPDX-License-Identifier: MIT
"""
The command C{miredo-checkconf}: every error of a configuration file, each with its line, its column and a cure.

The exit status says whether the file is good: L{GOOD}, L{BAD}, or L{WRONG_USAGE} if it was not looked at. Warnings
leave a file good unless C{--strict} is given. What depends on this host (a user, a secret file, a hook) is a warning at
most, since a file may be checked on another host than it is for; whether the roles could start here, C{twistd miredo
--check} tells. Names are looked up with C{--resolve} only: miredo 1.2.6 always does, and finds the file bad on a host
whose network is not there yet.

Problems go to standard error. Of a good file nothing is said, save to a person at a terminal.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from dataclasses import asdict
from getopt import GetoptError, gnu_getopt
from typing import TYPE_CHECKING, NamedTuple

from miredo import VERSION
from miredo.address.endpoint import show_ipv4
from miredo.address.scope import IPv4Scope
from miredo.commands.output import say
from miredo.commands.usage import MIREDO_CHECKCONF
from miredo.config import ClientConfig, ConfigError, ProcessConfig, ServerConfig
from miredo.config.filling import PROCESS, Filled, Notes
from miredo.config.problem import Problem, in_file_order, printable
from miredo.config.reading import examine, read_text
from miredo.config.source import FILE_LIMIT, default_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from miredo.address.endpoint import IPv4

    Resolver = Callable[[Collection[str]], Mapping[str, list[IPv4] | str]]

GOOD, BAD, WRONG_USAGE = 0, 1, 2
"""The exit status."""
INTERRUPTED = 130
"""What a shell makes of SIGINT."""
STANDARD_INPUT = "-"
SERVER_FILE = "miredo-server"
"""How the name of a file begins that is a server's, whatever it holds."""


class Report(NamedTuple):
    """All that is known of a file: C{kind} is C{classic} or C{sections}, C{None} if it could not be read."""

    file: str
    kind: str | None
    roles: tuple[tuple[str, str], ...]
    problems: tuple[Problem, ...]

    def good(self, *, strict: bool) -> bool:
        """Whether there is no error, and not even a warning if C{strict}."""
        return not any(strict or problem.severity == "error" for problem in self.problems)

    def as_json(self, *, strict: bool) -> str:
        """An object with everything."""
        import json

        found = {
            "file": self.file,
            "good": self.good(strict=strict),
            "kind": self.kind,
            "roles": [{"kind": kind, "name": name} for kind, name in self.roles],
            "problems": [asdict(problem) for problem in self.problems],
        }
        return json.dumps(found, indent=2)

    def praise(self) -> str:
        """What a person is told of a good file."""
        if self.kind == "classic":
            return f"{self.file}: good: a {self.roles[0][0]}"
        return f"{self.file}: good: {', '.join(f'[{kind} {name}]' for kind, name in self.roles)}"


def main(words: list[str] | None = None) -> int:
    """Look at a file; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _obeyed(*gnu_getopt(sys.argv[1:] if words is None else words, *_GETOPT))
    except GetoptError as error:
        complain(f"{MIREDO_CHECKCONF.name}: {printable(error.msg)}\nTry {MIREDO_CHECKCONF.name} --help.")
        return WRONG_USAGE
    except KeyboardInterrupt:
        return INTERRUPTED


_GETOPT = MIREDO_CHECKCONF.letters, MIREDO_CHECKCONF.words


def _obeyed(given: list[tuple[str, str]], operands: list[str]) -> int:
    options = {MIREDO_CHECKCONF.option(name).word: value for name, value in given}
    if "help" in options:
        say(MIREDO_CHECKCONF.help())
        return GOOD
    if "version" in options:
        say(f"{MIREDO_CHECKCONF.name} {VERSION} ({MIREDO_CHECKCONF.purpose})")
        return GOOD
    if operands[1:]:
        raise GetoptError(f'unexpected extra parameter "{operands[1]}"')
    told = operands[0] if operands else options.get("config")
    if told == "":
        raise GetoptError("the file has no name")
    program = "miredo-server" if "server" in options else None
    path = default_file(program or "miredo") if told is None else told
    report = look_at(path, program, _resolver() if "resolve" in options else None)
    return _tell(report, strict="strict" in options, as_json="json" in options)


def _resolver() -> Resolver:
    from miredo.commands.lookup import addresses_of  # few ask for it, as for what else is imported late here

    return addresses_of


def _tell(report: Report, *, strict: bool, as_json: bool) -> int:
    good = report.good(strict=strict)
    if as_json:
        say(report.as_json(strict=strict))
    else:
        for problem in report.problems:
            complain(problem.render())
        if good and sys.stdout is not None and sys.stdout.isatty():
            say(printable(report.praise()))
    return GOOD if good else BAD


def look_at(path: str, program: str | None = None, resolve: Resolver | None = None) -> Report:
    """
    Everything about a file.

    @param program: whose file it is, C{miredo} or C{miredo-server}; C{None}: its name tells.
    @param resolve: looks up the names of servers.
    """
    shown = "standard input" if path == STANDARD_INPUT else path
    try:
        text = _standard_input() if path == STANDARD_INPUT else read_text(path)
    except ConfigError as error:
        return Report(shown, None, (), error.problems)
    named = "miredo-server" if os.path.basename(path).startswith(SERVER_FILE) else "miredo"
    examined = examine(text, shown, program=program or named, strict=True)
    notes = Notes(shown, list(examined.errors), list(examined.warnings))
    for filled in examined.filled:
        _ask_host(filled, notes)
    if resolve is not None:
        _ask_network(examined.filled, notes, resolve)
    return Report(
        shown,
        "classic" if examined.classic else "sections",
        tuple(one.identity for one in examined.filled if one.scope.kind != PROCESS),
        tuple(sorted(notes.errors + notes.warnings, key=in_file_order)),
    )


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise ConfigError([Problem("standard input", None, None, "It is closed")])
    try:
        text = sys.stdin.buffer.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError([Problem("standard input", None, None, str(error.strerror))]) from error
    if len(text) > FILE_LIMIT:
        raise ConfigError([Problem("standard input", None, None, f"There are more than {FILE_LIMIT} bytes")])
    return text


def _ask_host(filled: Filled, notes: Notes) -> None:
    """Warn of what the process or a role asks for and this host has not."""

    def warn(keyword: str, reason: str) -> None:
        message, _, cure = reason.partition("; cure: ")
        notes.warn(notes.about(filled.line(keyword), f"{keyword}: {message}", cure or None))

    config = filled.config
    if isinstance(config, ProcessConfig) and config.user is not None:
        _ask_for_user(config.user, warn)
    if isinstance(config, ProcessConfig) and config.chroot is not None:
        _ask_for_directory(config.chroot, warn)
    if isinstance(config, (ClientConfig, ServerConfig)) and config.secret_file is not None:
        _ask_for_secrets(config.secret_file, warn)
    if isinstance(config, ClientConfig) and config.client_hook is not None:
        _ask_for_hook(config.client_hook, warn)


def _ask_for_user(name: str, warn: Callable[[str, str], None]) -> None:
    from miredo.kernel.identity import UnknownUser, look_up

    try:
        look_up(name)
    except UnknownUser as reason:
        warn("User", str(reason))


def _ask_for_directory(path: str, warn: Callable[[str, str], None]) -> None:
    from miredo.service.dropping import ROOT

    if path == ROOT:  # is made at the start
        return
    try:
        found = os.stat(path)
    except OSError as error:
        warn("Chroot", error.strerror or str(error))
    else:
        if not stat.S_ISDIR(found.st_mode):
            warn("Chroot", "not a directory")


def _ask_for_secrets(path: str, warn: Callable[[str, str], None]) -> None:
    from miredo.kernel.openings import open_file
    from miredo.service.secretfile import BadSecretFileError, read_credentials

    try:
        read_credentials(path, open_file)
    except PermissionError:
        pass  # as it ought to be for whoever does not start the program
    except OSError as error:
        warn("SecretFile", error.strerror or str(error))
    except BadSecretFileError as bad:
        warn("SecretFile", str(bad))


def _ask_for_hook(path: str, warn: Callable[[str, str], None]) -> None:
    from miredo.kernel.hookprogram import check_hook

    try:
        check_hook(path)
    except OSError as error:
        warn("ClientHook", error.strerror or str(error))


def _ask_network(every: Iterable[Filled], notes: Notes, resolve: Resolver) -> None:
    """Look up the servers of all clients, all at once."""
    named = [
        (filled, filled.config, keyword, index, host)
        for filled in every
        if isinstance(filled.config, ClientConfig)
        for keyword, index, host in _hosts(filled.config)
    ]
    answers = resolve({host for _, config, _, _, host in named if config.namespace is None})
    for filled, config, keyword, index, host in named:
        line = filled.line(keyword, index)
        if config.namespace is not None:
            message = f"{keyword}: {host} is looked up in the namespace {config.namespace}, and was not looked up here"
            notes.warn(notes.about(line, message))
        elif wrong := _fault(answers[host], IPv4Scope(config.allow_ipv4)):
            notes.errors.append(notes.about(line, f"{keyword}: {host}: {wrong}"))


def _hosts(config: ClientConfig) -> Iterable[tuple[str, int, str]]:
    """The names among a client's servers, and where each stands."""
    for index, host in enumerate(config.server_address):
        if isinstance(host, str):
            yield "ServerAddress", index, host
    if isinstance(config.server_address2, str):
        yield "ServerAddress2", 0, config.server_address2


def _fault(answer: list[IPv4] | str, scope: IPv4Scope) -> str | None:
    """What is wrong with the addresses of a name."""
    if isinstance(answer, str):
        return answer
    if any(map(scope.permits, answer)):
        return None
    return f"Teredo does not use {', '.join(map(show_ipv4, answer))}"


def complain(text: str) -> None:
    """Write to standard error; where that cannot be, the exit status alone tells."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        # Python would try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


if __name__ == "__main__":
    sys.exit(main())
