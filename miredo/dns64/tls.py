# SPDX-License-Identifier: MIT
"""How a name server over TLS is verified: by service-identity, against its name, with authorities that are trusted."""

from __future__ import annotations

import re
from collections.abc import Callable

from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)


def verified_as(name: str, authorities: bytes | None = None) -> IOpenSSLClientConnectionCreator:
    """
    TLS to somebody whose certificate says C{name}, a host name or an address (RFC 8310 8.1).

    @param authorities: PEM of the certificates that may have signed it; C{None} is the system's.
    @raise ValueError: there is no certificate in it, or one that cannot be read.
    """
    from OpenSSL.crypto import Error  # OpenSSL takes its time, and most need none
    from twisted.internet import ssl

    if authorities is None:
        return ssl.optionsForClientTLS(name)
    texts = _CERTIFICATE.findall(authorities)
    if not texts:
        raise ValueError("there is no certificate among the authorities")
    try:
        trusted = [ssl.Certificate.loadPEM(text) for text in texts]
    except Error as error:
        raise ValueError("a certificate among the authorities cannot be read") from error
    trust: Callable[[list[ssl.Certificate]], object] = ssl.trustRootFromCertificates
    options: Callable[..., IOpenSSLClientConnectionCreator] = ssl.optionsForClientTLS
    return options(name, trustRoot=trust(trusted))
