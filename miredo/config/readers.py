# SPDX-License-Identifier: MIT
"""A reader takes the text of a value and gives what the program uses, or raises L{BadValueError}.

An IPv4 address becomes its 4 bytes. A host is either that or, a C{str}, a name that the role resolves later.
"""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, TypeVar

from miredo.address.endpoint import IPv4, parse_ipv4, parse_ipv6
from miredo.address.scope import FORBIDDEN_IPV4, IPv4Scope, is_global_ipv6
from miredo.config.problem import did_you_mean
from miredo.config.words import RelayType

if TYPE_CHECKING:
    from collections.abc import Callable

Host = bytes | str
"""An IPv4 address (4 bytes) or a name (C{str})."""

ANY_IPV4 = bytes(4)
"""0.0.0.0, every address of the host."""

_Choice = TypeVar("_Choice", bound=StrEnum)

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER_IN_C = re.compile(r"\+?(0[xX][0-9A-Fa-f]{1,8}|(0)[0-7]{0,11}|[1-9][0-9]{0,9})")
_QUAD_LIKE = re.compile(r"[0-9.]+")


class BadValueError(ValueError):
    """A value that its directive does not take; C{span} is the offset and length of the part at fault."""

    def __init__(self, message: str, hint: str | None = None, span: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.span = span


def slip(value: str) -> BadValueError | None:
    """What other configuration languages have and this one has not: C{=}, quotes, comments after a value, C{\\}."""
    if comment := re.search(r"(^|[ \t])#", value):
        offset = comment.end() - 1
        hint = "a comment has a line of its own"
        return BadValueError("a comment may not follow a value", hint, (offset, len(value) - offset))
    if value[:1] in ("=", ":") and not value.startswith("::"):
        return BadValueError(f'"{value[0]}" is not part of the language', "it is written: Directive value", (0, 1))
    if value[:1] in ('"', "'"):
        bare = value.strip(value[0])
        return BadValueError("a value has no quotes", f"write {bare}" if bare else None)
    if value.endswith("\\"):
        return BadValueError("a line is not continued on the next", None, (len(value) - 1, 1))
    return None


def whole_number(low: int, high: int, noun: str) -> Callable[[str], int]:
    """A reader of decimal numbers from C{low} to C{high}."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high):
            raise BadValueError(f"{text} is not {noun} from {low} to {high}", _in_decimal(text, low, high))
        if text != str(int(text)):
            raise BadValueError(f"{text} begins with 0: to miredo 1.2.6 it is octal", _in_decimal(text, low, high))
        return int(text)

    return read


def _in_decimal(text: str, low: int, high: int) -> str | None:
    """What miredo 1.2.6 made of a number, as C does: 0x10 is 16, and so are 020 and +16."""
    if match := _NUMBER_IN_C.fullmatch(text):
        number = int(match[1], 16 if "x" in text.lower() else 8 if match[2] else 10)
        if low <= number <= high:
            return f"write {number}"
    return None


def choice(*members: _Choice) -> Callable[[str], _Choice]:
    """A reader of one of a few words, in upper or lower case."""
    words = {str(member): member for member in members}

    def read(text: str) -> _Choice:
        if member := words.get(text.lower()):
            return member
        raise BadValueError(f"{text} is not one of {', '.join(words)}", did_you_mean(text, words))

    return read


def switch(text: str) -> bool:
    """yes or no, on or off."""
    if text.lower() in ("yes", "on"):
        return True
    if text.lower() in ("no", "off"):
        return False
    raise BadValueError(f"{text} is neither yes nor no", did_you_mean(text, ("yes", "no", "on", "off")))


def relay_type(*members: RelayType) -> Callable[[str], RelayType]:
    """A reader of those words of RelayType that fit a kind of role; a word that fits none is told all of them."""
    fitting, any_at_all = choice(*members), choice(*RelayType)

    def read(text: str) -> RelayType:
        any_at_all(text)
        return fitting(text)

    return read


def day(text: str) -> date:
    """A date as ISO 8601 writes it."""
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        raise BadValueError(f"{text} is no day of the calendar") from None
    raise BadValueError(f"{text} is not a date", "write the year, the month and the day: 2027-01-31")


port = whole_number(0, 65535, "a port")

link_mtu = whole_number(1280, 65535, "an MTU")
"""IPv6 needs links of 1280 bytes (RFC 8200 5)."""


def ipv4(text: str) -> IPv4:
    """A dotted quad."""
    try:
        return parse_ipv4(text)
    except ValueError:
        hint = None if _QUAD_LIKE.fullmatch(text) else "write the address: a name is not looked up here"
        raise BadValueError(f"{text} is not an IPv4 address", hint) from None


def bind_address(text: str) -> IPv4:
    """An address that a host can have, or 0.0.0.0 for all of them."""
    address = ipv4(text)
    if address != ANY_IPV4 and (address[0] == 0 or 224 <= address[0] <= 239 or address == b"\xff\xff\xff\xff"):
        raise BadValueError(f"{text} cannot be the address of a host")
    return address


def host(text: str) -> Host:
    """An IPv4 address or a host name (RFC 1123 2.1, underscores tolerated)."""
    if _QUAD_LIKE.fullmatch(text):
        return ipv4(text)
    if ":" in text:
        cure = "the port of a server is 3544, always" if text.count(":") == 1 else "a Teredo server has IPv4 addresses"
        raise BadValueError(f"{text} is neither a host name nor an IPv4 address", cure)
    labels = text.removesuffix(".").split(".")
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        hint = "a further server has a line of its own" if " " in text or "\t" in text or "," in text else None
        raise BadValueError(f"{text} is neither a host name nor an IPv4 address", hint)
    return text


def ipv4_ranges(text: str) -> tuple[str, ...]:
    """Ranges in CIDR notation with blanks between, in canonical form."""
    return tuple(_ipv4_range(word[0], word.start()) for word in re.finditer(r"[^ \t]+", text))


def ipv6_ranges(text: str) -> tuple[str, ...]:
    """IPv6 prefixes with blanks between, in canonical form."""
    return tuple(_ipv6_range(word[0], word.start()) for word in re.finditer(r"[^ \t]+", text))


def _ipv6_range(word: str, offset: int) -> str:
    span = (offset, len(word))
    try:
        network = IPv6Network(word, strict=False)
    except ValueError:
        hint = "prefixes are separated by blanks" if "," in word else None
        raise BadValueError(f"{word} is not an IPv6 prefix such as 2001:db8::/32", hint, span) from None
    if int(IPv6Network((word.partition("/")[0], 128)).network_address) != int(network.network_address):
        raise BadValueError(f"{word} has bits beyond its length", f'did you mean "{network}"?', span)
    return str(network)


def _ipv4_range(word: str, offset: int) -> str:
    span = (offset, len(word))
    try:
        network = IPv4Network(word, strict=False)
    except ValueError:
        hint = "ranges are separated by blanks" if "," in word else None
        raise BadValueError(f"{word} is not an IPv4 range such as 10.0.0.0/8", hint, span) from None
    if word.partition("/")[0] != str(network.network_address):
        raise BadValueError(f"{word} has bits beyond its length", f'did you mean "{network}"?', span)
    first, last = network.network_address.packed, network.broadcast_address.packed
    for row in FORBIDDEN_IPV4:
        if row.lasting and row.first <= first and last <= row.last:
            raise BadValueError(f"{word} cannot be allowed ({row.name}, {row.source})", None, span)
    return str(network)


def service_prefix(text: str) -> bytes:
    """The first 4 bytes of a Teredo service prefix: C{2001:0::} or C{2001:0::/32} (RFC 4380 2.6)."""
    address, slash, length = text.partition("/")
    try:
        octets = parse_ipv6(address)
    except ValueError:
        raise BadValueError(f"{text} is not an IPv6 prefix such as 2001:0::") from None
    if slash and length != "32":
        raise BadValueError(
            "a Teredo prefix has 32 bits", f"write {address} or {address}/32", (len(address), 1 + len(length))
        )
    if any(octets[4:]):
        raise BadValueError(f"{address} has bits beyond the first 32", None, (0, len(address)))
    if not is_global_ipv6(octets, IPv4Scope()):
        raise BadValueError(f"{address} cannot be a Teredo prefix: it is not global unicast", None, (0, len(address)))
    return octets[:4]


def interface_name(text: str) -> str:
    """The name of a network interface, as Linux's C{dev_valid_name} and C{dev_alloc_name} take it."""
    return _name(text, "a network interface", r"[/:%\s]", limit=15)


def namespace_name(text: str) -> str:
    """The name of a network namespace, as C{ip netns} takes it: a file of /run/netns."""
    return _name(text, "a network namespace", r"[/\s]", limit=255)


def user_name(text: str) -> str:
    """The name of a user of the system; whether it exists is seen at the start."""
    return _name(text, "a user", r"[/:\s]", limit=255)


def absolute_path(text: str) -> str:
    """A path from the root: a daemon's working directory is not the one that it was started in."""
    if not text.startswith("/"):
        raise BadValueError(f"{text} is not an absolute path")
    return text


def hook_path(text: str) -> str | None:
    """The path of a program, or C{none}."""
    return None if text.lower() == "none" else absolute_path(text)


def _name(text: str, noun: str, banned: str, limit: int) -> str:
    if bad := re.search(banned, text):
        raise BadValueError(f'"{bad[0]}" cannot be in the name of {noun}', None, (bad.start(), 1))
    if len(text.encode()) > limit:
        raise BadValueError(f"{text} has {len(text.encode())} bytes, the name of {noun} has at most {limit}")
    if text in (".", ".."):
        raise BadValueError(f"{text} cannot be the name of {noun}")
    return text
