# SPDX-License-Identifier: MIT
"""The options of the commands, each declared once.

The parsers of the commands, what C{-h} prints, the manual pages and the shells' completions all read them here. It
imports the standard library only, since the wheel's manual pages are made from it where nothing else is installed::

    options, operands = getopt.gnu_getopt(arguments, MIREDO.letters, MIREDO.words)
    print(MIREDO.help())
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMN = 24
"""Where the meaning of an option begins in a help text."""


class Kind(Enum):
    """What a value is, for who completes it."""

    FILE = "file"
    DIRECTORY = "directory"
    USER = "user"
    HOST = "host"


class Value(NamedTuple):
    """What follows an option, or stands by itself: C{word} is how it is called."""

    word: str
    kind: Kind


FILE = Value("FILE", Kind.FILE)
DIRECTORY = Value("DIRECTORY", Kind.DIRECTORY)
USER = Value("USER", Kind.USER)
ADDRESS = Value("ADDRESS", Kind.HOST)


class Option(NamedTuple):
    """An option: C{meaning} is a line of the help text, C{more} what only the manual page says, in whole sentences."""

    letter: str
    word: str
    value: Value | None
    meaning: str
    more: str = ""

    def __str__(self) -> str:
        """C{-c, --config FILE}."""
        return f"-{self.letter}, --{self.word}" + (f" {self.value.word}" if self.value else "")


class Operand(NamedTuple):
    """What stands on the command line without an option before it."""

    value: Value
    required: bool
    meaning: str
    more: str = ""

    def __str__(self) -> str:
        """C{[server_name]}."""
        return self.value.word if self.required else f"[{self.value.word}]"


class Command(NamedTuple):
    """A command: C{name} is the console script, C{purpose} the rest of the line that C{whatis} shows."""

    name: str
    section: int
    purpose: str
    options: Sequence[Option]
    operand: Operand | None

    @property
    def letters(self) -> str:
        """The short options, in the words of C{getopt}."""
        return "".join(one.letter + (":" if one.value else "") for one in self.options)

    @property
    def words(self) -> list[str]:
        """The long options, in the words of C{getopt}."""
        return [one.word + ("=" if one.value else "") for one in self.options]

    @property
    def synopsis(self) -> str:
        """C{miredo [OPTIONS] [server_name]}."""
        return " ".join([self.name, "[OPTIONS]", *([str(self.operand)] if self.operand else [])])

    def option(self, written: str) -> Option:
        """The option that C{getopt} returns as C{-c} or C{--config}."""
        return next(one for one in self.options if written in (f"-{one.letter}", f"--{one.word}"))

    def help(self) -> str:
        """What C{-h} prints, without a newline at its end."""
        rows = [(str(one), one.meaning) for one in self.options]
        rows += [(self.operand.value.word, self.operand.meaning)] if self.operand else []
        width = max(_COLUMN, *(len(left) + 2 for left, _ in rows))
        lines = [f"  {left:<{width}}{meaning}" for left, meaning in rows]
        purpose = self.purpose[:1].upper() + self.purpose[1:]
        return "\n".join([f"Usage: {self.synopsis}", f"{purpose}.", "", *lines])


_FOREGROUND = Option(
    "f",
    "foreground",
    None,
    "do not detach; log to standard error",
    "A line has the time before it on a terminal, and a priority where systemd reads it.",
)
_HELP = Option("h", "help", None, "print this text and exit")
_PID_FILE = Option(
    "p",
    "pidfile",
    FILE,
    "file that gets the number of the process",
    "It is locked as long as the program runs, and removed at its end; one that a killed program has left is "
    "taken over by the next. It overrides the directive PidFile.",
)
_CHROOT = Option(
    "t",
    "chroot",
    DIRECTORY,
    "directory that the program locks itself into (default: /run/miredo); / is none",
    "The directory had better be empty. It overrides the directive Chroot. Without either it is /run/miredo, which "
    "is made if it is not there; any other is to be there.",
)
_USER = Option(
    "u",
    "user",
    USER,
    "user that the program becomes once all is open (default: nobody)",
    "It overrides the directive User. Without either it is nobody. To stay root is refused unless root is asked for by "
    "name.",
)
_VERSION = Option("V", "version", None, "print the version and exit")


def _config(default: str, other: str) -> Option:
    more = f"Without it the file is {default}, or {other} where the first is not there."
    return Option("c", "config", FILE, f"configuration file (default: {default})", more)


SERVER_OF_2004 = Option(
    "s",
    "server",
    ADDRESS,
    "be a Teredo server on this address and the next one",
    "It is how the server was started before miredo-server had a program of its own, and needs no configuration file.",
)

MIREDO = Command(
    "miredo",
    8,
    "Teredo client or relay: IPv6 in UDP through NATs",
    (
        _config("/etc/miredo/miredo.conf", "/etc/miredo.conf"),
        _FOREGROUND,
        _HELP,
        _PID_FILE,
        SERVER_OF_2004,
        _CHROOT,
        _USER,
        _VERSION,
    ),
    Operand(
        Value("server_name", Kind.HOST),
        required=False,
        meaning="Teredo server, in the place of the file's",
        more="It takes the place of every ServerAddress and ServerAddress2 in the file. A relay ignores it, and says "
        "so.",
    ),
)

MIREDO_SERVER = Command(
    "miredo-server",
    8,
    "Teredo server",
    (
        _config("/etc/miredo/miredo-server.conf", "/etc/miredo-server.conf"),
        _FOREGROUND,
        _HELP,
        _PID_FILE,
        _CHROOT,
        _USER,
        _VERSION,
    ),
    Operand(
        Value("server_name", Kind.HOST),
        required=False,
        meaning="first IPv4 address of the server, in the place of the file's",
        more="It takes the place of ServerBindAddress and ServerBindAddress2 in the file; the second address is the "
        "next one.",
    ),
)

_OF_DAEMONS = "Debian's unit file and script for the C program hand over options of the daemon."

MIREDO_CHECKCONF = Command(
    "miredo-checkconf",
    8,
    "say what is wrong with a configuration file of miredo",
    (
        Option("c", "config", FILE, "the same as conf_file"),
        Option("f", "foreground", None, "accepted and ignored", _OF_DAEMONS),
        _HELP,
        Option(
            "j",
            "json",
            None,
            "print an object about the file, and nothing else",
            "It has the members file, good, kind (classic or sections; null if the file could not be read), roles "
            "(each with kind and name) and problems (each with severity, file, line, column, span, message, hint and "
            "source). Lines and columns count from 1; columns and span count characters.",
        ),
        Option("p", "pidfile", FILE, "accepted and ignored", _OF_DAEMONS),
        Option(
            "r",
            "resolve",
            None,
            "look up the names of servers too",
            "A name without an IPv4 address that Teredo could use is then an error; all names together have 10 "
            "seconds. Without it the network is not asked: the same file gets the same answer everywhere, and a host "
            "can start while its network is not there yet. A client looks the names up again by itself.",
        ),
        Option(
            "s",
            "server",
            None,
            "the file is that of miredo-server",
            "A file with ServerBindAddress, with sections, or whose name begins with miredo-server needs it not.",
        ),
        Option("S", "strict", None, "a file with warnings is bad, too"),
        Option("t", "chroot", DIRECTORY, "accepted and ignored", _OF_DAEMONS),
        Option("u", "user", USER, "accepted and ignored", _OF_DAEMONS),
        _VERSION,
    ),
    Operand(
        Value("conf_file", Kind.FILE),
        required=False,
        meaning="file to look at, - is standard input (default: /etc/miredo/miredo.conf)",
        more="Without it the file is /etc/miredo/miredo.conf, or /etc/miredo.conf where the first is not there; with "
        "-s miredo-server.conf likewise.",
    ),
)

TEREDO_MIRE = Command(
    "teredo-mire",
    8,
    "stateless Teredo echo responder",
    (_FOREGROUND, _HELP, _PID_FILE, _CHROOT, _USER, _VERSION),
    Operand(
        ADDRESS,
        required=True,
        meaning="public IPv4 address that the responder answers on",
        more="Its Teredo address embeds it twice.",
    ),
)

COMMANDS = (MIREDO, MIREDO_SERVER, MIREDO_CHECKCONF, TEREDO_MIRE)
"""Every command that is installed."""
