# SPDX-License-Identifier: MIT
"""What a server lets through for clients behind symmetric NATs. Apart from it, since a configuration names it too."""

from enum import StrEnum


class SymmetricBubbles(StrEnum):
    """Which small bubbles for our own clients are let through though they do not come from the embedded endpoint."""

    STRICT = "strict"
    """None, which is the letter of RFC 4380 5.3.1."""
    PORT = "port"
    """Those from another port of the embedded address: most symmetric NATs."""
    ANY = "any"
    """All: symmetric NATs with several addresses too. The origin indication tells where a bubble came from."""
