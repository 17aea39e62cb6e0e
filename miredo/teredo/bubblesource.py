# SPDX-License-Identifier: MIT
"""A keyed bubble source: a link-local address that only the owner of a Teredo address can learn.

RFC 4380 5.4.1 lets a relay send its bubbles from "a local IPv6 address". Ours is fe80::/64 with the first
64 bits of HMAC-SHA256(key, the client's Teredo address): a bubble that comes back to it proves that the
client received ours through its server, whatever its NAT maps, and the relay keeps no state until then.
A client does so in some of its attempts, for peers that know no nonce (RFC 6081 5.2.4).
"""

from __future__ import annotations

import hmac

from miredo.address.endpoint import Dice, IPv6
from miredo.teredo.constants import KEY_EPOCH

LINK_LOCAL = bytes.fromhex("fe80000000000000")
KEY_LENGTH = 32


class BubbleSources:
    """Makes and recognises keyed sources; the key changes every 300 s and the one before still counts."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._key = self._previous = b""
        self._epoch: int | None = None

    def source_for(self, client: IPv6, now: float) -> IPv6:
        self._turn(now)
        return _keyed(self._key, client)

    def is_source_for(self, address: IPv6, client: IPv6, now: float) -> bool:
        self._turn(now)
        current = hmac.compare_digest(address, _keyed(self._key, client))
        return current or hmac.compare_digest(address, _keyed(self._previous, client))

    def _turn(self, now: float) -> None:
        epoch = int(now // KEY_EPOCH)
        if epoch == self._epoch:
            return
        follows = self._epoch is not None and epoch == self._epoch + 1
        fresh = self._dice(KEY_LENGTH)
        self._previous = self._key if follows else fresh
        self._key, self._epoch = fresh, epoch


def _keyed(key: bytes, client: IPv6) -> IPv6:
    return LINK_LOCAL + hmac.digest(key, client, "sha256")[:8]
