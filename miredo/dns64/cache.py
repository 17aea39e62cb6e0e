# SPDX-License-Identifier: MIT
"""Replies that are kept for as long as they say (RFC 1035 3.2.1, RFC 2308 5), the least recently used leaving first."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from twisted.names import dns

from miredo.dns64.message import ANY, data_of, parse_message
from miredo.dns64.names import Name

LONGEST = 86400
"""Seconds that anything is kept. RFC 8767 4 has a week; ours, as unbound's."""
LONGEST_NEGATIVE = 10800
"""Seconds that it is kept that there is nothing (RFC 2308 5)."""
FAILURE = 5
"""Seconds that a failure is kept: 1 at least, 300 at most (RFC 9520 3.2)."""
OVERHEAD = 200
"""Bytes that an entry is reckoned at beside its message: keys and tables. Ours."""
_MINIMUM = slice(-4, None)


class Key(NamedTuple):
    """What a reply belongs to; the name is in lower case."""

    name: Name
    kind: int
    cls: int
    dnssec_ok: bool
    checking_disabled: bool


class _Kept(NamedTuple):
    octets: bytes
    at: float
    until: float


class Cache:
    """
    @param limit: bytes.
    @ivar octets: what it holds, C{OVERHEAD} for each reply included.
    """

    def __init__(self, limit: int) -> None:
        self.octets = 0
        self._limit = limit
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, key: Key, octets: bytes, now: float) -> None:
        """
        Keep a message, unless it may not be kept or is too large.

        @raise MalformedPacket: it is no message.
        """
        self._drop(key)
        lifetime = lifetime_of(parse_message(octets))
        size = len(octets) + OVERHEAD
        if lifetime <= 0 or size > self._limit:
            return
        while self.octets + size > self._limit:
            self._drop(next(iter(self._kept)))
        self._kept[key] = _Kept(octets, now, now + lifetime)
        self.octets += size

    def get(self, key: Key, now: float) -> dns.Message | None:
        """The message, its records as much older as they are."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if now >= kept.until:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        message = parse_message(kept.octets)
        age = int(now - kept.at)
        for record in (*message.answers, *message.authority, *message.additional):
            if record.type != dns.OPT:
                record.ttl = max(0, record.ttl - age)
        return message

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()
        self.octets = 0

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.octets -= len(kept.octets) + OVERHEAD


def lifetime_of(message: dns.Message) -> int:
    """For how many seconds a message may be kept."""
    if message.trunc:
        return 0
    if message.rCode not in (dns.OK, dns.ENAME):
        return FAILURE
    ttls = [each.ttl for each in (*message.answers, *message.authority, *message.additional) if each.type != dns.OPT]
    if _is_positive(message):
        return min(LONGEST, *ttls)
    soas = [each for each in message.authority if each.type == dns.SOA]
    if not soas:
        return 0  # RFC 2308 5: without a SOA it should not be kept
    minima = [int.from_bytes(data_of(each)[_MINIMUM], "big") for each in soas]
    return min(LONGEST_NEGATIVE, *ttls, *minima)


def _is_positive(message: dns.Message) -> bool:
    """Whether it has what was asked for."""
    if message.rCode != dns.OK or not message.answers:
        return False
    kinds = {asked.type for asked in message.queries}
    return ANY in kinds or any(each.type in kinds for each in message.answers)
