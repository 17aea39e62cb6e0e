# SPDX-License-Identifier: MIT
"""What is dropped, or answered with an error, for what reason; a counter each."""

from enum import Enum


class Drop(Enum):
    """A reason; its value is a stable name, and behind it stands who said so."""

    # From clients.
    NOT_A_QUESTION = "not-a-question"
    """A response, or less than a header: no answer, which could go round for ever (RFC 1035 4.1.1, RFC 5452)."""
    MALFORMED = "malformed"
    """Answered with FORMERR (RFC 1035 4.1.1)."""
    OPCODE = "opcode"
    """Answered with NOTIMP (RFC 1035 4.1.1)."""
    EDNS_VERSION = "edns-version"
    """Answered with BADVERS (RFC 6891 6.1.3)."""
    CLIENT = "client"
    """Somebody who may not ask; answered with REFUSED."""
    TRANSFER = "transfer"
    """A zone is asked for; answered with REFUSED (RFC 5936 2.2.1)."""
    BUSY = "busy"
    """Too many questions are under way; no answer."""
    CONNECTIONS = "connections"
    """Too many connections; closed at once."""
    UNSENT = "unsent"
    """The kernel would not send an answer."""

    # From name servers.
    STRANGER = "stranger"
    """Not from whom was asked, not the identifier or not the question (RFC 5452 9.1)."""
    UPSTREAM_MALFORMED = "upstream-malformed"
    """No message."""
    MISCASED = "miscased"
    """The question in other letters than it was asked in: asked again over TCP."""
