# SPDX-License-Identifier: MIT
"""
IPv6 addresses with an IPv4 address in them: RFC 6052 2.2, whose figure 1 in octets is::

    length   0       4   5   6   7   8   9  10  11  12  13  14  15
            +-------+---+---+---+---+---+---+---+---+---+---+---+---+
      32    |prefix |     IPv4      | u |          suffix           |
      40    |prefix     |   IPv4    | u | v4|        suffix         |
      48    |prefix         | IPv4  | u | IPv4  |      suffix       |
      56    |prefix             | v4| u |   IPv4    |    suffix     |
      64    |prefix                 | u |     IPv4      |  suffix   |
      96    |prefix                                 |     IPv4      |
            +-------+---+---+---+---+---+---+---+---+---+---+---+---+

The octet u is 0 in every address, those of a /96 prefix too. The suffix is 0 when it is written, and is not looked at
when it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Network

from miredo.address.endpoint import IPv4, IPv6, parse_ipv6, show_ipv4, show_ipv6
from miredo.address.scope import is_link_local, is_multicast

LENGTHS = (32, 40, 48, 56, 64, 96)
"""The lengths that a prefix can have."""

RESERVED = 8
"""The index of the octet u, bits 64 to 71."""

_EMBEDDED = {length: [at for at in range(length // 8, 16) if at != RESERVED][:4] for length in LENGTHS}
"""The indices of the octets that an IPv4 address has, by the length of the prefix."""

_LISTED = ", ".join(map(str, LENGTHS[:-1])) + f" or {LENGTHS[-1]}"
_WELL_KNOWN = bytes.fromhex("0064ff9b") + bytes(8)


@dataclass(frozen=True, slots=True)
class Prefix:
    """
    A prefix that IPv4 addresses are embedded under; its text is C{2001:db8:64::/96}.

    @ivar octets: as many as the length says.
    @raise ValueError: no translator can have this prefix; the text says why.
    """

    octets: bytes

    def __post_init__(self) -> None:
        if fault := self._fault():
            raise ValueError(f"{self} {fault}")

    @property
    def length(self) -> int:
        """In bits."""
        return len(self.octets) * 8

    def __str__(self) -> str:
        return f"{show_ipv6(self.octets.ljust(16, bytes(1)))}/{self.length}"

    def __contains__(self, address: IPv6) -> bool:
        return address.startswith(self.octets)

    def embed(self, ipv4: IPv4) -> IPv6:
        """The address of C{ipv4} under this prefix."""
        address = bytearray(self.octets.ljust(16, bytes(1)))
        for at, octet in zip(_EMBEDDED[self.length], ipv4, strict=True):
            address[at] = octet
        return bytes(address)

    def extract(self, address: IPv6) -> IPv4:
        """The IPv4 address in an address under this prefix, whatever its octet u (L{is_well_formed}) and suffix are."""
        return bytes([address[at] for at in _EMBEDDED[self.length]])

    def show(self, ipv4: IPv4) -> str:
        """The text of the address of C{ipv4}: with a dotted quad where there can be one (RFC 6052 2.4)."""
        address = self.embed(ipv4)
        if self.length != 96:
            return show_ipv6(address)
        # Two groups that are not 0, so that no "::" reaches into the place of the quad.
        groups = show_ipv6(self.octets + b"\xff\xff\xff\xff").rsplit(":", 2)[0]
        return f"{groups}:{show_ipv4(ipv4)}"

    def _fault(self) -> str | None:
        """Why these octets are no prefix of a translator, if they are none."""
        if self.length not in LENGTHS:
            return f"has no length that RFC 6052 knows: {_LISTED}"
        if self.octets != _WELL_KNOWN and _WELL_KNOWN.startswith(self.octets):
            return "holds the Well-Known Prefix, whose length is 96"
        if self.octets.startswith(bytes(4)):
            return "holds addresses that are no network's own, as IPv4-mapped ones are"
        if is_multicast(self.octets) or is_link_local(self.octets):
            return "is not for unicast through a router"
        if any(self.octets[RESERVED : RESERVED + 1]):
            return "has bits 64 to 71 that are not 0"
        return None


WELL_KNOWN = Prefix(_WELL_KNOWN)
"""64:ff9b::/96, the Well-Known Prefix (RFC 6052 2.1): for global IPv4 addresses only (3.1)."""

LOCAL_USE = Prefix(bytes.fromhex("0064ff9b0001"))
"""64:ff9b:1::/48, for any IPv4 address, within one network (RFC 8215)."""


def is_well_formed(address: IPv6) -> bool:
    """Whether the octet u is 0, as it must be in every address with an IPv4 address in it."""
    return address[RESERVED] == 0


def parse_prefix(text: str) -> Prefix:
    """
    Read C{2001:db8:64::/96}.

    @raise ValueError: C{text} is no such prefix, has bits beyond its length, or no translator can have it.
    """
    first, slash, digits = text.partition("/")
    address = parse_ipv6(first)
    if not slash or digits not in map(str, LENGTHS):
        raise ValueError(f"{text} has no length that RFC 6052 knows: {_LISTED}")
    octets = address[: int(digits) // 8]
    if any(address[len(octets) :]):
        meant = IPv6Network((address, int(digits)), strict=False)
        raise ValueError(f"{text} has bits beyond its length; {meant} has none")
    return Prefix(octets)
