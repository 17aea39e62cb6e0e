# SPDX-License-Identifier: MIT
"""
Bubbles: IPv6 packets with nothing in them, sent to open a mapping in a NAT (RFC 4380 2.8)::

    +-------+-----------------------+-------------------------------+
    |   6   |           0           |               0               |
    +-------+-----------------------+---------------+---------------+
    |       Payload Length 0        | No Next Header|   Hop Limit   |
    +-------------------------------+---------------+---------------+
    |                     Source Address (16)                       |
    +---------------------------------------------------------------+
    |                   Destination Address (16)                    |
    +---------------------------------------------------------------+
    | trailers may follow (RFC 6081 4)

The hop limit is in no RFC; 255 is ours (miredo sends 0), 1 in a local discovery bubble.
"""

from miredo.address.endpoint import IPv6

_START = b"\x60\x00\x00\x00\x00\x00\x3b"
_EMPTY = b"\x00\x00\x3b"


def emit_bubble(source: IPv6, destination: IPv6, hop_limit: int = 255) -> bytes:
    """A bubble: 40 bytes."""
    return _START + hop_limit.to_bytes(1, "big") + source + destination


def is_bubble(packet: bytes) -> bool:
    """Whether an IPv6 packet has the next header 59 and no payload."""
    return packet[4:7] == _EMPTY
