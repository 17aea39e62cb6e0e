# SPDX-License-Identifier: MIT
"""What holds of links and addresses without asking the kernel."""

from errno import EINVAL, ENAMETOOLONG
from ipaddress import IPv4Network

from miredo.address.endpoint import IPv4, IPv6, show_ipv4, show_ipv6
from miredo.kernel.errors import refused

NAME_LIMIT = 15
"""Bytes in the name of an interface: IFNAMSIZ, less the final zero (linux/if.h)."""

GLOBAL_UNICAST = b"\x20" + bytes(15)
"""2000::/3: a route to it is as good as a default route."""


def check_name(name: str) -> None:
    """
    Refuse what cannot name an interface.

    @raise OSError: ENAMETOOLONG, or EINVAL where the kernel would not take it or read it as a template (C{tun%d}).
    """
    if len(name.encode()) > NAME_LIMIT:
        raise refused(ENAMETOOLONG, f"interface {name!r}", f"a name has {NAME_LIMIT} bytes at most")
    if name in ("", ".", "..") or any(letter in "/:%\0" or letter.isspace() for letter in name):
        raise refused(EINVAL, f"interface {name!r}", "not a name")


def broadcasts_of(addresses: list[tuple[IPv4, int]]) -> list[IPv4]:
    """The directed broadcasts of the subnets of C{addresses}, each once; RFC 3021 leaves a /31 without one."""
    subnets = {IPv4Network((address, length), strict=False) for address, length in addresses if length <= 30}
    return sorted(subnet.broadcast_address.packed for subnet in subnets)


def show_address(address: IPv4 | IPv6) -> str:
    """The text of an address of either family."""
    return show_ipv4(address) if len(address) == 4 else show_ipv6(address)


def show_prefix(address: IPv4 | IPv6, prefix_length: int) -> str:
    """An address and its prefix length, as C{192.0.2.1/24}."""
    return f"{show_address(address)}/{prefix_length}"


def is_within(one: tuple[IPv4 | IPv6, int], other: tuple[IPv4 | IPv6, int]) -> bool:
    """Whether a prefix, an address and its length, is another one or a part of it."""
    (address, length), (whole, wider) = one, other
    bits = 8 * len(whole) - wider
    same = int.from_bytes(address, "big") >> bits == int.from_bytes(whole, "big") >> bits
    return len(address) == len(whole) and length >= wider and same
