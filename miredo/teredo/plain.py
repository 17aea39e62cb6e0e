# SPDX-License-Identifier: MIT
"""Which datagrams are data and nothing else, and which of their headers would have us forward for strangers."""

from __future__ import annotations

from miredo.teredo.drops import Drop
from miredo.wire.ipv6 import (
    AUTHENTICATION_HEADER,
    DESTINATION_OPTIONS,
    FRAGMENT,
    HEADER_LENGTH,
    HOP_BY_HOP,
    NO_NEXT_HEADER,
    ROUTING,
    has_live_routing_header,
    length_of,
)
from miredo.wire.reader import MalformedPacket

_LOOKED_AT = frozenset({HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION_HEADER, DESTINATION_OPTIONS, NO_NEXT_HEADER})


def is_plain_data(datagram: bytes) -> bool:
    """An IPv6 packet alone: no bubble, no header before it, nothing behind it, no extension header to look at."""
    return (
        len(datagram) > HEADER_LENGTH
        and datagram[0] >> 4 == 6
        and datagram[6] not in _LOOKED_AT
        and length_of(datagram) == len(datagram)
    )


def routing_refusal(packet: bytes) -> Drop | None:
    """RFC 5095: a routing header with segments left would have us forward for strangers."""
    try:
        return Drop.ROUTING_HEADER if has_live_routing_header(packet) else None
    except MalformedPacket:
        return Drop.MALFORMED
