# SPDX-License-Identifier: MIT
"""
Commands, replies and the addresses in them, as FTP writes them; a parameter is what stands behind the verb.

::

    PORT  h,h,h,h,p,p                            RFC 959 5.3.2
    227   any text (h,h,h,h,p,p)                 RFC 959; the parentheses are often not there (RFC 1123 4.1.2.6)
    EPRT  |2|2001:db8::1|5282|                   RFC 2428 2; any printable byte may stand for the bars
    229   any text (|||5282|)                    RFC 2428 3
    LPRT  6,16,h, ... 16 of them ... h,2,p,p     RFC 1639 2
    228   any text (6,16,h, ... h,2,p,p)         RFC 1639 3
"""

import re
from typing import NamedTuple

from miredo.address.endpoint import Endpoint, IPv4, IPv6, endpoint, parse_ipv6

_IPV6_IN_EPRT = 2
_IPV6_IN_LPRT = 6
_LONG_ADDRESS_LENGTH = 21
_SIX_NUMBERS = re.compile(rb"(?<![0-9,])" + rb", ?".join([rb"([0-9]{1,3})"] * 6) + rb"(?![0-9,])")
_EXTENDED_PORT = re.compile(rb"\(([!-~])\1\1([0-9]{1,5})\1\)")
_REPLY = re.compile(rb"([1-5][0-9][0-9])([ -]|\r?\n|\Z)")


class IllegalParameterError(ValueError):
    """This is no address and port."""


class UnsupportedFamilyError(ValueError):
    """This may be an address, but none of IPv6."""


class ClientPort(NamedTuple):
    """Where a client waits for a data connection."""

    address: IPv6
    port: int


class Command(NamedTuple):
    """A command line: its verb in capitals, and its parameter without the blanks around it."""

    verb: bytes
    parameter: bytes


class ReplyStart(NamedTuple):
    """The first line of a reply; there are C{more} lines if a hyphen stands behind the code (RFC 959 4.2)."""

    code: int
    more: bool


# ------------------------------------------------------------ lines


def parse_command(line: bytes) -> Command:
    """Take a line apart at its first blank; any line is a command of some kind."""
    verb, _, parameter = line.strip().partition(b" ")
    return Command(verb.upper(), parameter.strip())


def parse_reply_start(line: bytes) -> ReplyStart | None:
    """The code of a line that may begin a reply, or C{None}."""
    found = _REPLY.match(line)
    return None if found is None else ReplyStart(int(found[1]), found[2] == b"-")


def is_last_line(line: bytes, code: int) -> bool:
    """Whether a reply of more than one line ends with this one: the same code, and no hyphen (RFC 959 4.2)."""
    return parse_reply_start(line) == ReplyStart(code, more=False)


def with_word(text: bytes, server_word: bytes, client_word: bytes) -> bytes:
    """A reply with the name of the command that the client has sent, in the place of what the server was told."""
    return re.sub(rb"\b" + server_word + rb"\b", client_word, text)


# ------------------------------------------------------------ addresses in commands


def parse_extended(parameter: bytes) -> ClientPort:
    """
    Read the parameter of EPRT.

    @raise UnsupportedFamilyError: its family is not that of IPv6.
    @raise IllegalParameterError: it is malformed.
    """
    fields = parameter.split(parameter[:1]) if b"!" <= parameter[:1] <= b"~" else []
    if len(fields) != 5 or fields[0] or fields[4]:
        raise IllegalParameterError("five equal delimiters are expected around family, address and port")
    if _number(fields[1], 0xFFFF) != _IPV6_IN_EPRT:
        raise UnsupportedFamilyError
    try:
        address = parse_ipv6(fields[2].decode("ascii"))
    except ValueError as error:
        raise IllegalParameterError("no IPv6 address") from error
    return ClientPort(address, _port(_number(fields[3], 0xFFFF)))


def parse_long(parameter: bytes) -> ClientPort:
    """
    Read the parameter of LPRT.

    @raise UnsupportedFamilyError: its family is not that of IPv6.
    @raise IllegalParameterError: it is malformed.
    """
    octets = [_number(field, 0xFF) for field in parameter.split(b",")]
    if octets[0] != _IPV6_IN_LPRT:
        raise UnsupportedFamilyError
    if len(octets) != _LONG_ADDRESS_LENGTH or octets[1] != 16 or octets[18] != 2:
        raise IllegalParameterError("an address of 16 octets and a port of 2 are expected")
    return ClientPort(bytes(octets[2:18]), _port(octets[19] << 8 | octets[20]))


def show_host_port(at: Endpoint) -> bytes:
    """The parameter of PORT."""
    return _decimal(at)


# ------------------------------------------------------------ addresses in replies


def host_port_in(text: bytes) -> Endpoint | None:
    """The endpoint in a 227 reply, or C{None} if there is none; the code itself is not to be in C{text}."""
    for found in _SIX_NUMBERS.finditer(text):
        octets = [int(number) for number in found.groups()]
        if max(octets) <= 0xFF and octets[4:] != [0, 0]:
            return bytes(octets)
    return None


def extended_port_in(text: bytes) -> int | None:
    """The port in a 229 reply, or C{None} if there is none."""
    found = _EXTENDED_PORT.search(text)
    return int(found[2]) if found and 0 < int(found[2]) <= 0xFFFF else None


def show_passive(word: bytes, address: IPv6, port: int) -> bytes:
    """The good answer to EPSV or LPSV."""
    if word == b"LPSV":
        return b"228 Entering Long Passive Mode (6,16,%b,2,%b)\r\n" % (_decimal(address), _decimal(_octets(port)))
    return b"229 Entering Extended Passive Mode (|||%d|)\r\n" % port


def passive_endpoint(server: IPv4, text: bytes, extended: bool) -> Endpoint | None:
    """Where a 227 reply, or an C{extended} one, 229, says that the server listens."""
    if not extended:
        return host_port_in(text)
    port = extended_port_in(text)
    return None if port is None else endpoint(server, port)


def _decimal(octets: bytes) -> bytes:
    return ",".join(map(str, octets)).encode()


def _octets(port: int) -> bytes:
    return port.to_bytes(2, "big")


def _number(digits: bytes, largest: int) -> int:
    if not (digits.isdigit() and len(digits) <= 5 and int(digits) <= largest):
        raise IllegalParameterError(f"a decimal number up to {largest} is expected")
    return int(digits)


def _port(number: int) -> int:
    if number == 0:
        raise IllegalParameterError("no port has the number 0")
    return number
