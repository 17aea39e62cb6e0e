# SPDX-License-Identifier: MIT
"""Why a packet was dropped: one stable name a reason, with the text it obeys, and a counter each.

A drop is silent on the wire and in the log; the counters tell.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum


class Drop(Enum):
    """A reason; C{section} is the paragraph that asks for the drop, or "ours"."""

    section: str

    def __new__(cls, name: str, section: str) -> Drop:
        member = object.__new__(cls)
        member._value_ = name
        member.section = section
        return member

    # Any role
    MALFORMED = ("malformed", "RFC 4380 5.2.3")
    TRAILER_DISCARDS = ("trailer-discards", "RFC 6081 4")
    FORBIDDEN_IPV4 = ("forbidden-ipv4", "RFC 4380 5.2.4")
    UNEXPECTED_HEADER = ("unexpected-header", "RFC 4380 5.2.3")
    ROUTING_HEADER = ("routing-header", "RFC 5095 3")
    OWN_ADDRESS = ("own-address", "ours: a packet that came round to us")
    NO_TRANSIT = ("no-transit", "ours: neither multicast nor link-local goes through the tunnel")

    # Client and relay
    QUEUE_FULL = ("queue-full", "RFC 4380 5.4.1")
    NO_ANSWER = ("no-answer", "RFC 4380 5.2.4")
    PEER_SILENT = ("peer-silent", "RFC 4380 5.2.6")
    HELD_TOO_LONG = ("held-too-long", "ours")
    HELD_TOO_MANY = ("held-too-many", "ours")
    ATTEMPTS_EXCEEDED = ("attempts-exceeded", "RFC 4380 5.2.6")
    MAPPING_MISMATCH = ("mapping-mismatch", "RFC 6081 5.2.4.4")
    UNKNOWN_PEER = ("unknown-peer", "RFC 4380 5.4.2")
    UNSOLICITED = ("unsolicited", "RFC 6169 4.3")
    ERROR_LIMITED = ("error-limited", "RFC 4443 2.4(f)")

    # Client
    NOT_QUALIFIED = ("not-qualified", "RFC 4380 5.2")
    TOO_BIG = ("too-big", "RFC 4443 3.2")
    WRONG_SOURCE = ("wrong-source", "RFC 4380 5.2.4")
    WRONG_DESTINATION = ("wrong-destination", "RFC 4380 5.2.3")
    WRONG_NONCE = ("wrong-nonce", "RFC 4380 5.2.2")
    BAD_AUTHENTICATION = ("bad-authentication", "RFC 4380 5.2.2")
    BAD_ADVERTISEMENT = ("bad-advertisement", "RFC 4380 5.2.1")
    SECONDARY_PORT = ("secondary-port", "RFC 4380 5.2.7")
    ANSWERS_EXCEEDED = ("answers-exceeded", "RFC 4380 5.2.6")
    NOT_A_DISCOVERY = ("not-a-discovery", "RFC 4380 5.2.8")
    OFF_SUBNET = ("off-subnet", "RFC 4380 5.2.8")
    OTHER_NAT = ("other-nat", "RFC 4380 5.2.8")
    NEIGHBOURS_FULL = ("neighbours-full", "ours")

    # Relay
    NOT_TEREDO = ("not-teredo", "RFC 4380 5.4.1")
    NOT_SERVED = ("not-served", "RFC 4380 5.4.2")
    INTO_TEREDO = ("into-teredo", "RFC 4380 5.4.2")

    # Server
    NOT_ALLOWED_THROUGH = ("not-allowed-through", "RFC 4380 5.3.1/2")
    TOO_LARGE_THROUGH = ("too-large-through", "ours: as C miredo and Microsoft")
    SOURCE_UNPROVED = ("source-unproved", "RFC 4380 5.3.1/7")
    NOT_GLOBAL = ("not-global", "RFC 4380 5.3.1")
    HOP_LIMIT = ("hop-limit", "RFC 8200 3")
    BAD_SOLICITATION = ("bad-solicitation", "RFC 4380 5.3.1/4")
    RATE_LIMITED = ("rate-limited", "ours: RFC 4380 7.3.5 and 7.4.1 tell of such floods")
    NO_AUTHENTICATION = ("no-authentication", "RFC 4380 5.3.1/4")

    # Echo responder
    NOT_A_QUESTION = ("not-a-question", "ours: neither a bubble to its server nor an echo request")


Drops = Counter[Drop]
"""How often each reason was met."""
