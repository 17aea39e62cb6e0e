# SPDX-License-Identifier: MIT
"""
What the worker may ask of its privileged child, as values; how they travel; and what is answered.

A command is a L{box<miredo.kernel.privileged.boxes>} with its name under C{command} and each of its fields under the
name of that. A field that is C{None} is left out. Texts are UTF-8, numbers decimal and of 32 bits, truth is C{1} or
C{0}, an environment is a box. An answer has C{value}, if there is one; or C{errno},
C{strerror} and perhaps C{filename} of the refusal. A descriptor comes before it, with an empty box, so that the child
has it no more when the answer is there: a tunnel that the worker closes then is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple, get_type_hints

from miredo.address.endpoint import IPv4, IPv6
from miredo.kernel.privileged.boxes import Box, MalformedBox, decode, encode

NAMED = "command"
NUMBER_LIMIT = 1 << 32


@dataclass(frozen=True)
class Command:
    """Something that is asked for. Who has no fields of its own is no dataclass of its own: each takes its time."""


@dataclass(frozen=True)
class InNamespace(Command):
    """It concerns a network namespace; C{None} is that of the child."""

    namespace: str | None


@dataclass(frozen=True)
class OpenUDP(InNamespace):
    """A UDP socket that is bound."""

    address: str
    port: int


@dataclass(frozen=True)
class OpenGroup(InNamespace):
    """A UDP socket for a multicast group."""

    address: str
    port: int


class OpenRawIPv6(InNamespace):
    """A socket that sends whole IPv6 packets."""


class OpenICMPv6(InNamespace):
    """A raw ICMPv6 socket that receives nothing."""


class OpenICMPErrors(InNamespace):
    """A raw ICMP socket that hears Destination Unreachable."""


@dataclass(frozen=True)
class OpenNetlink(InNamespace):
    """A netlink socket, for questions or for news."""

    news: bool


@dataclass(frozen=True)
class OpenTunnel(InNamespace):
    """A TUN device that is up; the value is the interface's index."""

    name: str
    mtu: int


@dataclass(frozen=True)
class CheckTunnel(InNamespace):
    """Whether L{OpenTunnel} would be refused by the system."""

    name: str


@dataclass(frozen=True)
class ReadSysctl(InNamespace):
    """The value is that of the variable, a text."""

    path: str


@dataclass(frozen=True)
class OpenFile(Command):
    """A descriptor to read a file with."""

    path: str


@dataclass(frozen=True)
class OpenRecord(Command):
    """A descriptor to write a recording with; the value is whether the file was made."""

    path: str


@dataclass(frozen=True)
class DiscardRecord(Command):
    """Remove a file that L{OpenRecord} made."""

    path: str


@dataclass(frozen=True)
class LinkChange(InNamespace):
    """It changes a tunnel."""

    index: int


@dataclass(frozen=True)
class SetUp(LinkChange):
    """Set a tunnel up."""

    mtu: int | None


class SetDown(LinkChange):
    """Set a tunnel down."""


@dataclass(frozen=True)
class AddressChange(LinkChange):
    """An address of a tunnel."""

    address: IPv4 | IPv6
    prefix_length: int


class AddAddress(AddressChange):
    """Give a tunnel an address."""


class DeleteAddress(AddressChange):
    """Take it from it."""


@dataclass(frozen=True)
class RouteChange(LinkChange):
    """A route into a tunnel."""

    destination: IPv4 | IPv6
    prefix_length: int
    metric: int | None
    gateway: IPv4 | IPv6 | None
    table: int | None


class AddRoute(RouteChange):
    """Add it."""


class DeleteRoute(RouteChange):
    """Delete it."""


@dataclass(frozen=True)
class RuleChange(InNamespace):
    """A rule that packets from C{source} look into a table."""

    source: IPv6
    table: int
    priority: int


class AddRule(RuleChange):
    """Add it."""


class DeleteRule(RuleChange):
    """Delete it."""


class RemoveLeftovers(InNamespace):
    """Delete the rules of those who were killed; the value is their sources, 16 bytes each."""


@dataclass(frozen=True)
class NumberTable(Command):
    """The value is the number of the routing table of that name; there is none if there is no such table."""

    name: str


class OpenSyslog(Command):
    """A socket that is connected to the system's log."""


@dataclass(frozen=True)
class RunHook(InNamespace):
    """
    Run the hook of the client whose tunnel C{IFACE} is, when those before it have ended; the value is the number that
    its end is told with.
    """

    environment: dict[str, str]


class Detach(Command):
    """Let go of the terminal: what the child has to say goes nowhere from now on."""


class End(Command):
    """Undo everything and end."""


class Answer(NamedTuple):
    """What came of a command that was obeyed; the descriptor is the receiver's."""

    value: bytes | None = None
    descriptor: int | None = None


# ------------------------------------------------------------------ fields


def number(octets: bytes) -> int:
    """
    A number of 32 bits.

    @raise MalformedBox: it is none.
    """
    if not (octets.isdigit() and len(octets) <= len(str(NUMBER_LIMIT)) and int(octets) < NUMBER_LIMIT):
        raise MalformedBox("a number that is none")
    return int(octets)


def text(octets: bytes) -> str:
    """
    A text.

    @raise MalformedBox: it is not UTF-8.
    """
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise MalformedBox("a text that is none") from error


def write_number(value: int) -> bytes:
    """
    The inverse of L{number}.

    @raise OverflowError: it does not fit.
    """
    if not 0 <= value < NUMBER_LIMIT:
        raise OverflowError(f"{value} is no number of 32 bits")
    return str(value).encode()


def _truth(octets: bytes) -> bool:
    if octets not in (b"0", b"1"):
        raise MalformedBox("neither true nor false")
    return octets == b"1"


def _environment(octets: bytes) -> dict[str, str]:
    return {key: text(value) for key, value in decode(octets).items()}


def _write(value: object) -> bytes:
    match value:
        case bool():
            return b"1" if value else b"0"
        case int():
            return write_number(value)
        case str():
            return value.encode()
        case bytes():
            return value
        case dict():
            return encode({key: one.encode() for key, one in value.items()})
        case _:
            raise TypeError(f"{value!r} does not travel")


_READERS: Mapping[object, Callable[[bytes], object]] = {
    str: text,
    int: number,
    bool: _truth,
    bytes: bytes,
    dict[str, str]: _environment,
    str | None: text,
    int | None: number,
    bytes | None: bytes,
}
_OPTIONAL = (str | None, int | None, bytes | None)
_KINDS = (
    OpenUDP,
    OpenGroup,
    OpenRawIPv6,
    OpenICMPv6,
    OpenICMPErrors,
    OpenNetlink,
    OpenTunnel,
    CheckTunnel,
    ReadSysctl,
    OpenFile,
    OpenRecord,
    DiscardRecord,
    SetUp,
    SetDown,
    AddAddress,
    DeleteAddress,
    AddRoute,
    DeleteRoute,
    AddRule,
    DeleteRule,
    RemoveLeftovers,
    NumberTable,
    OpenSyslog,
    RunHook,
    Detach,
    End,
)
COMMANDS: Mapping[str, type[Command]] = {kind.__name__: kind for kind in _KINDS}
"""Every command by its name."""
_FIELDS: Mapping[type[Command], dict[str, object]] = {kind: get_type_hints(kind) for kind in _KINDS}


def command_in(box: Box) -> Command:
    """
    The command that a box is.

    @raise MalformedBox: it is none.
    """
    kind = COMMANDS.get(text(box.get(NAMED, b"")))
    if kind is None:
        raise MalformedBox("no command")
    hints = _FIELDS[kind]
    if unknown := box.keys() - hints.keys() - {NAMED}:
        raise MalformedBox(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    values: dict[str, object] = {}
    for name, hint in hints.items():
        if name in box:
            values[name] = _READERS[hint](box[name])
        elif hint in _OPTIONAL:
            values[name] = None
        else:
            raise MalformedBox(f"{kind.__name__} without {name}")
    make: Callable[..., Command] = kind
    return make(**values)


def box_of(command: Command) -> Box:
    """
    The inverse of L{command_in}.

    @raise OverflowError: a number in it does not fit.
    @raise ValueError: the whole does not.
    """
    values = ((field.name, getattr(command, field.name)) for field in fields(command))
    return {
        NAMED: type(command).__name__.encode(),
        **{name: _write(value) for name, value in values if value is not None},
    }


# ------------------------------------------------------------------ answers


def answered(answer: Answer) -> Box:
    """The box of an answer, without its descriptor."""
    return {} if answer.value is None else {"value": answer.value}


def refusal(error: OSError) -> Box:
    """The box of a refusal."""
    box = {"errno": write_number(error.errno or 0), "strerror": (error.strerror or str(error)).encode()}
    return box if error.filename is None else {**box, "filename": str(error.filename).encode()}


def answer_in(box: Box, descriptor: int | None) -> Answer:
    """
    What a box answers.

    @raise OSError: the refusal, as the child met it.
    @raise MalformedBox: it is no answer.
    """
    if "errno" in box:
        errno, strerror = number(box["errno"]), text(box.get("strerror", b""))
        if "filename" in box:
            raise OSError(errno, strerror, text(box["filename"]))
        raise OSError(errno, strerror)
    return Answer(box.get("value"), descriptor)
