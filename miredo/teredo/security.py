# SPDX-License-Identifier: MIT
"""Secure qualification (RFC 4380 5.2.2): a secret that a client and its server share, and what it proves.

The authentication value is an HMAC with the secret over

    nonce | confirmation byte | origin indication, if there is one | IPv6 packet

without padding. The client identifier is not covered; it only names the secret. A server that has no secret of an
identifier does the same work as for one that it has, so that its time to answer tells nobody who its clients are.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from miredo.address.endpoint import Endpoint
from miredo.wire.encapsulation import Authentication, emit_authentication, emit_origin

KEY_VALID, KEY_EXPIRING = 0, 1
"""Confirmation bytes of a server: the secret is good, and good but to be replaced."""


class Algorithm(StrEnum):
    """How the authentication value is computed; the first is the RFC's default, the last what its 7.2.1 names."""

    HMAC_SHA1 = "hmac-sha1"
    HMAC_SHA256 = "hmac-sha256"
    HMAC_MD5 = "hmac-md5"


@dataclass(frozen=True, slots=True)
class Credential:
    """What client and server agree on; the secret does not show.

    @ivar expiring: the server tells the client to get another one.
    """

    identifier: bytes
    secret: bytes = field(repr=False)
    algorithm: Algorithm = Algorithm.HMAC_SHA1
    expiring: bool = False

    def protect(self, nonce: bytes, confirmation: int, packet: bytes, origin: Endpoint | None = None) -> bytes:
        """A whole datagram: the authentication block, the origin indication if there is one, the packet."""
        value = self._value(nonce, confirmation, origin, packet)
        block = emit_authentication(Authentication(self.identifier, value, nonce, confirmation))
        return block + _origin(origin) + packet

    def proves(self, authentication: Authentication, packet: bytes, origin: Endpoint | None = None) -> bool:
        """Whether whoever made the block has the secret; in a time that does not depend on where values differ."""
        expected = self._value(authentication.nonce, authentication.confirmation, origin, packet)
        return hmac.compare_digest(expected, authentication.value)

    def _value(self, nonce: bytes, confirmation: int, origin: Endpoint | None, packet: bytes) -> bytes:
        text = nonce + bytes((confirmation,)) + _origin(origin) + packet
        return hmac.digest(self.secret, text, self.algorithm.removeprefix("hmac-"))


_DECOY = Credential(b"", bytes(32))


class Keyring:
    """A server's credentials, by identifier."""

    def __init__(self, credentials: Iterable[Credential] = ()) -> None:
        self._credentials = {each.identifier: each for each in credentials}

    def __bool__(self) -> bool:
        return bool(self._credentials)

    def authenticated(self, authentication: Authentication, packet: bytes) -> Credential | None:
        """Who made this block around a Router Solicitation, if that is proved."""
        known = self._credentials.get(authentication.identifier)
        proved = (known or _DECOY).proves(authentication, packet)
        return known if proved else None


def _origin(origin: Endpoint | None) -> bytes:
    return b"" if origin is None else emit_origin(origin)
