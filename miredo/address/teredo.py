# SPDX-License-Identifier: MIT
"""
Teredo addresses: RFC 4380 4, with the flag bits of RFC 5991 3.1::

     0               4               8       10      12              16
    +---------------+---------------+-------+-------+---------------+
    |    Prefix     |  Server IPv4  | Flags | Port  |  Client IPv4  |
    +---------------+---------------+-------+-------+---------------+
                                              XOR ffff, XOR ffffffff

    Flags:  C z R R R R U G  R R R R R R R R
            C  cone bit: 0 in a client's address (RFC 5991 3.2 drops the cone phase)
            z  must be 0
            R  12 random bits
            U  universal/local, G  individual/group: both 0

Port and address are those of the client's mapping, that is: as its server sees them from outside the NAT.
"""

from miredo.address.endpoint import Dice, Endpoint, IPv4, IPv6, endpoint

SERVICE_PREFIX = b"\x20\x01\x00\x00"
"""2001::/32, the Teredo service prefix (RFC 4380 2.6)."""

LEGACY_PREFIX = b"\x3f\xfe\x83\x1f"
"""3ffe:831f::/32, the prefix of the drafts, as Windows XP spoke them before MS06-064."""

TEREDO_PORT = 3544
"""The UDP port of Teredo servers (RFC 4380 2.7)."""

DISCOVERY_GROUP: Endpoint = b"\xe0\x00\x00\xfd" + TEREDO_PORT.to_bytes(2, "big")
"""224.0.0.253, the Teredo IPv4 Discovery Address (RFC 4380 2.17), and the port that its bubbles go to (5.2.8)."""

CONE = 0x8000
"""The cone bit of the flags."""

RANDOM_BITS = 0x3CFF
"""The 12 bits of the flags that are drawn at random (RFC 5991 3.1)."""

LINK_LOCAL_PREFIX = b"\xfe\x80" + bytes(6)
"""fe80::/64, the prefix of every link-local address in use (RFC 4291 2.5.6)."""

CLIENT_LINK_LOCAL = LINK_LOCAL_PREFIX + b"\x00\x00\xff\xff\xff\xff\xff\xff"
"""fe80::ffff:ffff:ffff, the source of our solicitations: cone bit 0, nothing of the client's mapping in it."""

CONE_LINK_LOCAL = LINK_LOCAL_PREFIX + b"\x80\x00\xff\xff\xff\xff\xff\xff"
"""fe80::8000:ffff:ffff:ffff, as L{CLIENT_LINK_LOCAL} with the cone bit set: the answer is to come from elsewhere."""

ALL_NODES = b"\xff\x02" + bytes(13) + b"\x01"
"""ff02::1 (RFC 4291 2.7.1)."""

ALL_ROUTERS = b"\xff\x02" + bytes(13) + b"\x02"
"""ff02::2 (RFC 4291 2.7.1)."""

_OBFUSCATION = 0xFFFF_FFFF_FFFF


def is_teredo(address: IPv6, prefix: bytes = SERVICE_PREFIX) -> bool:
    """Whether the first 32 bits are the service prefix."""
    return address.startswith(prefix)


def compose(server: IPv4, mapped: Endpoint, flags: int, prefix: bytes = SERVICE_PREFIX) -> IPv6:
    """The address of the client of C{server} that is seen as C{mapped}."""
    return prefix + server + _identifier(flags, mapped)


def server_of(address: IPv6) -> IPv4:
    """The server of a client, from the client's address."""
    return address[4:8]


def flags_of(address: IPv6) -> int:
    """The 16 flag bits of an address."""
    return address[8] << 8 | address[9]


def mapped_of(address: IPv6) -> Endpoint:
    """The mapped address and port of a client, in clear."""
    clear = (int.from_bytes(address[10:16], "big") ^ _OBFUSCATION).to_bytes(6, "big")
    return clear[2:] + clear[:2]


def random_flags(dice: Dice) -> int:
    """The flags of a new client address: 12 random bits, the others 0 (RFC 5991 3.1)."""
    return int.from_bytes(dice(2), "big") & RANDOM_BITS


def server_link_local(server: IPv4) -> IPv6:
    """The source of a server's advertisements: its own endpoint, cone bit set (RFC 4380 5.3.2)."""
    return LINK_LOCAL_PREFIX + _identifier(CONE, endpoint(server, TEREDO_PORT))


def has_cone_bit(address: IPv6) -> bool:
    """Whether the cone bit is set. A server must heed it in the source of a solicitation (RFC 5991 3.2)."""
    return address[8] >= CONE >> 8


def _identifier(flags: int, mapped: Endpoint) -> bytes:
    """The lower 64 bits of an address."""
    obfuscated = int.from_bytes(mapped[4:] + mapped[:4], "big") ^ _OBFUSCATION
    return flags.to_bytes(2, "big") + obfuscated.to_bytes(6, "big")
