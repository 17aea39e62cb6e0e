# SPDX-License-Identifier: MIT
"""One question to a name server, and what is an answer to it (RFC 5452 9.1)."""

from __future__ import annotations

from enum import Enum, auto

from twisted.names import dns

from miredo.address.endpoint import Dice
from miredo.dns64.cache import Key
from miredo.dns64.message import Edns, Message, edns_record, emit_message, parse_message, question
from miredo.dns64.names import Name, is_same

UDP_SIZE = 1232
"""Bytes of a datagram that we take and send at most: none of that size is fragmented (RFC 9715 3)."""


_LOWER = range(ord("a"), ord("z") + 1)


class Fit(Enum):
    """How a message fits a question."""

    ANSWER = auto()
    MISCASED = auto()
    """In other letters than were asked for."""
    STRANGER = auto()


class Query:
    """
    A question with an identifier and a spelling of its own.

    @param dice: draws the two.
    @param mix_case: letters are upper or lower case at random.
    @param edns: with OPT; some name servers know nothing of it (RFC 6891 6.2.2).
    @ivar octets: what is sent.
    """

    def __init__(self, key: Key, dice: Dice, *, mix_case: bool = True, edns: bool = True) -> None:
        self.key = key
        self.identifier = int.from_bytes(dice(2), "big")
        self.name = mixed(key.name, dice) if mix_case else key.name
        self._asked = question(self.name, key.kind, key.cls)
        message = Message(self.identifier, recDes=1, checkingDisabled=key.checking_disabled)
        message.queries = [self._asked]
        if edns:
            message.additional = [edns_record(Edns(UDP_SIZE, key.dnssec_ok))]
        self.octets = emit_message(message)

    def fit(self, message: dns.Message) -> Fit:
        """Whether this is the answer."""
        if not message.answer or message.opCode or message.id != self.identifier or len(message.queries) != 1:
            return Fit.STRANGER
        (query,) = message.queries
        if (query.type, query.cls) != (self._asked.type, self._asked.cls) or not is_same(query.name.name, self.name):
            return Fit.STRANGER
        return Fit.ANSWER if query.name.name == self.name else Fit.MISCASED

    def read(self, octets: bytes) -> dns.Message | None:
        """
        What an answer says, if these are the octets of one; letters do not matter.

        @raise MalformedPacket: they have the identifier and are no message.
        """
        if octets[:2] != self.octets[:2]:
            return None
        message = parse_message(octets)
        return None if self.fit(message) is Fit.STRANGER else message


def mixed(name: Name, dice: Dice) -> Name:
    """A name in random upper and lower case."""
    bits = int.from_bytes(dice(len(name) // 8 + 1), "big")
    return bytes(
        octet ^ 0x20 if octet in _LOWER and bits >> index & 1 else octet for index, octet in enumerate(name.lower())
    )
