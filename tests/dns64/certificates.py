# SPDX-License-Identifier: MIT
"""An authority of certificates of our own, for an hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class CertificateAuthority(NamedTuple):
    """Who signs: a certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def identity(self, *names: str) -> bytes:
        """A key, and a certificate for some names and addresses: PEM of both."""
        key = ec.generate_private_key(ec.SECP256R1())
        said = [_general(name) for name in names]
        built = _builder(names[0], self.certificate.subject, key.public_key())
        built = built.add_extension(x509.SubjectAlternativeName(said), critical=False)
        certificate = built.sign(self.key, SHA256()).public_bytes(Encoding.PEM)
        return certificate + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def new_authority(name: str = "authority of a test") -> CertificateAuthority:
    key = ec.generate_private_key(ec.SECP256R1())
    built = _builder(name, _named(name), key.public_key())
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return CertificateAuthority(built.sign(key, SHA256()), key)


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
