# SPDX-License-Identifier: MIT
"""What is asked and what is replied, without the headers of messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from twisted.names import dns

from miredo.dns64.names import Name


class Asked(NamedTuple):
    """
    What a client wants to know.

    @ivar client: its address, 4 or 16 bytes.
    @ivar recursion: somebody else may be asked for it.
    """

    name: Name
    kind: int
    cls: int = dns.IN
    client: bytes = bytes(15) + b"\1"
    dnssec_ok: bool = False
    checking_disabled: bool = False
    recursion: bool = True

    @property
    def validates(self) -> bool:
        """Whether the client validates, and makes addresses itself (RFC 6147 5.5, 3)."""
        return self.dnssec_ok and self.checking_disabled


class Reply(NamedTuple):
    """
    What is known of it.

    @ivar code: the response code, all 12 bits.
    """

    code: int
    answers: Sequence[dns.RRHeader] = ()
    authority: Sequence[dns.RRHeader] = ()
    additional: Sequence[dns.RRHeader] = ()
    authoritative: bool = False
