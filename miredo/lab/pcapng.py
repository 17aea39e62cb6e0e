# SPDX-License-Identifier: MIT
"""
Packets as a pcapng file: the four kinds of blocks that a capture needs (draft-ietf-opsawg-pcapng).

A file is one L{section_header}, then an L{interface_description} for each interface, whose numbers follow from their
order (the first is 0), then an L{enhanced_packet} for each packet, and at the end L{interface_statistics} for each
interface. Each function gives the bytes of a whole block::

    +--------------+---------------+---- - - ----+---------------+
    |  type (4)    |  length (4)   |    body     |  length (4)   |      little-endian, padded to 4 bytes;
    +--------------+---------------+---- - - ----+---------------+      length counts the whole block
"""

import struct
from typing import Final

SECTION_HEADER: Final = 0x0A0D0D0A
INTERFACE_DESCRIPTION: Final = 1
INTERFACE_STATISTICS: Final = 5
ENHANCED_PACKET: Final = 6

LINKTYPE_RAW: Final = 101
"""Packets that begin with an IPv4 or an IPv6 header."""

_BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
_LENGTH_UNKNOWN: Final = -1
_NO_SNAPLEN: Final = 0
_NANOSECONDS: Final = 9

_OPTION_END: Final = struct.pack("<HH", 0, 0)
_OPTION_COMMENT: Final = 1
_SHB_USERAPPL: Final = 4
_IF_NAME: Final = 2
_IF_TSRESOL: Final = 9
_ISB_IFDROP: Final = 5

_LONGEST_OPTION: Final = 0xFFFF


def section_header(application: str = "miredo") -> bytes:
    """The block that a file begins with (4.1): version 1.0, length of the section not given."""
    fixed = struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, _LENGTH_UNKNOWN)
    return _block(SECTION_HEADER, fixed + _options((_SHB_USERAPPL, _text(application))))


def interface_description(name: str, link_type: int = LINKTYPE_RAW) -> bytes:
    """An interface (4.2) whose packets are whole and carry nanoseconds."""
    fixed = struct.pack("<HHI", link_type, 0, _NO_SNAPLEN)
    return _block(
        INTERFACE_DESCRIPTION,
        fixed + _options((_IF_NAME, _text(name)), (_IF_TSRESOL, bytes([_NANOSECONDS]))),
    )


def enhanced_packet(interface: int, at: int, packet: bytes, comment: str = "") -> bytes:
    """
    A packet (4.3).

    @param interface: the number of its interface.
    @param at: nanoseconds since 1970, or since what the reader shall take for it.
    """
    fixed = struct.pack("<IIIII", interface, *_time(at), len(packet), len(packet))
    options = _options((_OPTION_COMMENT, _text(comment))) if comment else b""
    return _block(ENHANCED_PACKET, fixed + _padded(packet) + options)


def interface_statistics(interface: int, at: int, dropped: int) -> bytes:
    """How many packets of an interface are missing from the file (4.6) at a time, as L{enhanced_packet} has it."""
    fixed = struct.pack("<III", interface, *_time(at))
    return _block(INTERFACE_STATISTICS, fixed + _options((_ISB_IFDROP, struct.pack("<Q", dropped))))


def _time(at: int) -> tuple[int, int]:
    """The upper half of a time first, whatever the byte order."""
    return at >> 32, at & 0xFFFFFFFF


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _options(*options: tuple[int, bytes]) -> bytes:
    """Options, each code (2), length (2) without padding, value padded to 4 bytes (3.5); then the end of options."""
    return b"".join(struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options) + _OPTION_END


def _text(text: str) -> bytes:
    """UTF-8, cut between characters where it would not fit into an option."""
    return text.encode("utf-8", "replace")[:_LONGEST_OPTION].decode("utf-8", "ignore").encode()


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)
