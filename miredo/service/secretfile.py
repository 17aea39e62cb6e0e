# SPDX-License-Identifier: MIT
"""The file of C{SecretFile}: what clients and a server share for secure qualification, a line each::

    IDENTIFIER [hmac-sha1 | hmac-sha256 | hmac-md5] [expiring] SECRET

The identifier has no blanks. The secret is the rest of the line, or C{hex:} and its bytes; it does not show in any
error. C{expiring} is the server's: the client is told to get another secret. A line that starts with # is a comment.
The file must be its owner's alone.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from errno import EINVAL, EISDIR

from miredo.teredo.security import Algorithm, Credential
from miredo.wire.encapsulation import FIELD_LIMIT

LARGEST_FILE = 1 << 20
"""Bytes; ours."""
SHORTEST_SECRET = 16
"""Bytes: an HMAC's key should not be shorter than half its hash (RFC 2104 3). Ours."""
EXPIRING = "expiring"
_LIKE_AN_ALGORITHM = re.compile(rb"hmac-.*|(hmac[-_]?)?(md5|sha-?[0-9]+)", re.IGNORECASE)
"""What somebody writes who means an algorithm; taken for the first word of a secret, it would fit nobody else's."""


class BadSecretFileError(ValueError):
    """A secret file that cannot be used; the text names the line and never the secret."""


def read_credentials(path: str, open_file: Callable[[str], int]) -> list[Credential]:
    """
    The credentials of a file, in its order.

    @param open_file: of L{IEndpoints<miredo.kernel.interfaces.IEndpoints>}.
    @raise OSError: it cannot be read.
    @raise BadSecretFileError: others may read it, or a line of it cannot be used.
    """
    try:
        descriptor = open_file(path)
    except OSError as error:
        if error.errno in (EINVAL, EISDIR):
            raise BadSecretFileError("is not a file") from error
        raise
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_uid not in (0, os.geteuid()):
            raise BadSecretFileError("belongs to another user; cure: chown it to who starts the program")
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadSecretFileError("others may read it; cure: chmod 600")
        text = file.read(LARGEST_FILE + 1)
    if len(text) > LARGEST_FILE:
        raise BadSecretFileError(f"has more than {LARGEST_FILE} bytes")
    return parse_credentials(text)


def parse_credentials(text: bytes) -> list[Credential]:
    """
    The credentials of a file's text.

    @raise BadSecretFileError: a line cannot be used, an identifier comes twice, or there is none at all.
    """
    found: dict[bytes, Credential] = {}
    for number, line in enumerate(text.split(b"\n"), 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        try:
            credential = _credential(line)
        except ValueError as wrong:
            raise BadSecretFileError(f"line {number}: {wrong}") from None
        if credential.identifier in found:
            raise BadSecretFileError(f"line {number}: the identifier comes twice")
        found[credential.identifier] = credential
    if not found:
        raise BadSecretFileError("holds no secret")
    return list(found.values())


def _credential(line: bytes) -> Credential:
    identifier, _, rest = line.strip().partition(b" ")
    if len(identifier) > FIELD_LIMIT:
        raise ValueError(f"the identifier has more than {FIELD_LIMIT} bytes")
    algorithm, expiring = Algorithm.HMAC_SHA1, False
    while True:
        word, _, after = rest.lstrip().partition(b" ")
        if word.decode("ascii", "replace") in list(Algorithm):
            algorithm, rest = Algorithm(word.decode()), after
        elif word == EXPIRING.encode():
            expiring, rest = True, after
        elif _LIKE_AN_ALGORITHM.fullmatch(word):
            raise ValueError(f"there is no such algorithm; there are {', '.join(Algorithm)}")
        else:
            break
    secret = _secret(rest.strip())
    if len(secret) < SHORTEST_SECRET:
        raise ValueError(f"the secret has {len(secret)} bytes, and must have {SHORTEST_SECRET} at least")
    return Credential(identifier, secret, algorithm, expiring)


def _secret(text: bytes) -> bytes:
    if not text.startswith(b"hex:"):
        return text
    try:
        return bytes.fromhex(text.removeprefix(b"hex:").decode("ascii"))
    except ValueError:
        raise ValueError("what follows hex: is no bytes") from None
