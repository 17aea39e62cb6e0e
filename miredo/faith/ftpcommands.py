# SPDX-License-Identifier: MIT
"""What a client's command means to the gateway, and the answers to those that the server never hears of."""

from dataclasses import dataclass

from miredo.address.endpoint import IPv6
from miredo.faith.ftpwords import (
    ClientPort,
    Command,
    IllegalParameterError,
    UnsupportedFamilyError,
    parse_command,
    parse_extended,
    parse_long,
)

DATA_COMMANDS = frozenset((b"RETR", b"STOR", b"STOU", b"APPE", b"LIST", b"NLST", b"MLSD"))
"""Those that use a data connection (RFC 959 4.1.3, RFC 3659 7)."""

PROTOCOL_NOT_SUPPORTED = b"522 Network protocol not supported, use (2)\r\n"
"""RFC 2428 2."""
FAMILY_NOT_SUPPORTED = b"521 Supported address families are (6)\r\n"
"""RFC 1639 4."""
ONLY_EXTENDED_PASSIVE = b"200 EPSV ALL command successful.\r\n"
PARAMETER_NOT_IMPLEMENTED = b"504 Command not implemented for that parameter\r\n"
"""RFC 6384 6 and 11."""
TRANSLATING = b"216 EPSVEPRT EPSV is translated to PASV, EPRT to PORT\r\n"
NOT_TRANSLATING = b"216 NONE Neither EPSV nor EPRT is translated\r\n"
"""RFC 6384 11."""


@dataclass(frozen=True, slots=True)
class FtpPolicy:
    """
    What may be done in more than one way; the defaults are those of faithd where it had a way that works.

    @ivar strict_host: a 227 that names another host than the server is 425 (RFC 6384 6).
    @ivar only_extended: C{EPSV ALL} is 200, as faithd has it, and not 504, as RFC 6384 6 has it.
    @ivar refuse_auth: AUTH is refused, so that clients go on without and can be translated.
    @ivar hide_auth: FEAT does not list AUTH.
    @ivar add_features: FEAT lists EPRT and EPSV.
    @ivar synchronise: NOOP for what the server is not told (RFC 6384 12).
    """

    strict_host: bool = False
    only_extended: bool = True
    refuse_auth: bool = False
    hide_auth: bool = False
    add_features: bool = False
    synchronise: bool = True


@dataclass(frozen=True, slots=True)
class Forward:
    """The server is told, and nothing is to be known of it."""

    verb: bytes


@dataclass(frozen=True, slots=True)
class ForwardData:
    """The server is told, and a data connection will be used."""

    verb: bytes


@dataclass(frozen=True, slots=True)
class ForwardAuth:
    """The server is told, and its reply may be the last that we understand."""


@dataclass(frozen=True, slots=True)
class ForwardFeatures:
    """The server is told, and its reply is a list that may want changing."""


@dataclass(frozen=True, slots=True)
class AskPassive:
    """The client wants to know where to connect to."""

    word: bytes


@dataclass(frozen=True, slots=True)
class AskActive:
    """The client says where it is to be connected to."""

    word: bytes
    at: ClientPort


@dataclass(frozen=True, slots=True)
class Answer:
    """The server does not hear of it, and the client gets this."""

    text: bytes


Meaning = Forward | ForwardData | ForwardAuth | ForwardFeatures | AskPassive | AskActive | Answer


class Commands:
    """
    Tells what commands mean; what was said before can make a difference.

    @ivar translating: the client has not switched it off (RFC 6384 11).
    """

    def __init__(self, client: IPv6, policy: FtpPolicy) -> None:
        self._client = client
        self._policy = policy
        self._only_extended = False
        self.translating = True

    def read(self, line: bytes) -> Meaning:
        """What to do about a whole line of the client."""
        command = parse_command(line)
        match command.verb:
            case b"ALGS":
                return self._status(command.parameter.upper())
            case b"AUTH" if not (self._policy.refuse_auth and self.translating):
                return ForwardAuth()
            case verb if not self.translating:
                return Forward(verb)
            case b"EPSV":
                return self._extended_passive(command.parameter.upper())
            case b"EPRT" | b"LPRT" | b"LPSV" as verb if self._only_extended:
                return Answer(b"501 %b disallowed in EPSV ALL\r\n" % verb)
            case b"LPSV" as verb:
                return AskPassive(verb)
            case b"EPRT" | b"LPRT":
                return self._port(command)
            case b"PORT" | b"PASV" | b"AUTH" as verb:
                return Answer(b"502 %b not implemented.\r\n" % verb)
            case b"FEAT":
                return ForwardFeatures()
            case verb:
                return ForwardData(verb) if verb in DATA_COMMANDS else Forward(verb)

    def _status(self, asked: bytes) -> Answer:
        match asked:
            case b"ENABLE64" | b"DISABLE64":
                self.translating = asked == b"ENABLE64"
            case b"STATUS64":
                pass
            case _:
                return Answer(PARAMETER_NOT_IMPLEMENTED)
        return Answer(TRANSLATING if self.translating else NOT_TRANSLATING)

    def _extended_passive(self, asked: bytes) -> Meaning:
        match asked:
            case b"" | b"2":
                return AskPassive(b"EPSV")
            case b"ALL" if self._policy.only_extended:
                self._only_extended = True
                return Answer(ONLY_EXTENDED_PASSIVE)
            case b"ALL":
                return Answer(PARAMETER_NOT_IMPLEMENTED)
            case _ if asked.isdigit():
                return Answer(PROTOCOL_NOT_SUPPORTED)
            case _:
                return Answer(b"501 illegal parameter to EPSV\r\n")

    def _port(self, command: Command) -> Meaning:
        """RFC 2577 3: the client's own address, and no other."""
        verb, parameter = command
        try:
            at = parse_extended(parameter) if verb == b"EPRT" else parse_long(parameter)
        except UnsupportedFamilyError:
            return Answer(PROTOCOL_NOT_SUPPORTED if verb == b"EPRT" else FAMILY_NOT_SUPPORTED)
        except IllegalParameterError:
            return _illegal(verb)
        return AskActive(verb, at) if at.address == self._client else _illegal(verb)


def _illegal(verb: bytes) -> Answer:
    return Answer(b"501 illegal parameter to %b\r\n" % verb)
