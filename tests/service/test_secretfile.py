# SPDX-License-Identifier: MIT
"""A file of secrets: what it may hold, who may read it, and that no error shows what it is there to hide."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.kernel.openings import open_file
from miredo.service.secretfile import LARGEST_FILE, BadSecretFileError, parse_credentials, read_credentials
from miredo.teredo.security import Algorithm, Credential

SECRET = b"correct horse battery staple"
LINE = b"client-7 " + SECRET


def put(path: Path, text: bytes, mode: int = 0o600) -> str:
    path.write_bytes(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.requirement("C2")
def test_a_file_of_mode_0600_is_read(tmp_path: Path) -> None:
    path = put(
        tmp_path / "secrets", b"# clients\n\n" + LINE + b"\r\n  client-8  hmac-sha256  hex:" + b"0f" * 16 + b"\n"
    )
    first, second = read_credentials(path, open_file)
    assert first == Credential(b"client-7", SECRET)
    assert second == Credential(b"client-8", b"\x0f" * 16, Algorithm.HMAC_SHA256)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (LINE, Credential(b"client-7", SECRET)),
        (b"c hmac-md5 " + SECRET, Credential(b"c", SECRET, Algorithm.HMAC_MD5)),
        (b"c expiring " + SECRET, Credential(b"c", SECRET, expiring=True)),
        (b"c expiring hmac-sha256 " + SECRET, Credential(b"c", SECRET, Algorithm.HMAC_SHA256, expiring=True)),
        (b"\xc3\xa9 " + SECRET, Credential(b"\xc3\xa9", SECRET)),
    ],
)
def test_a_line_is_read(line: bytes, expected: Credential) -> None:
    assert parse_credentials(line) == [expected]


@pytest.mark.requirement("C2")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o606, 0o610, 0o601])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(BadSecretFileError, match="chmod 600"):
        read_credentials(put(tmp_path / "secrets", LINE, mode), open_file)


def test_what_is_not_a_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(BadSecretFileError, match="not a file"):
        read_credentials(str(tmp_path / "pipe"), open_file)
    with pytest.raises(OSError, match="No such file"):
        read_credentials(str(tmp_path / "nothing"), open_file)


def test_a_file_that_never_ends_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSecretFileError, match="more than"):
        read_credentials(put(tmp_path / "secrets", b"#" * (LARGEST_FILE + 1)), open_file)


@pytest.mark.requirement("C2")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "holds no secret"),
        (b"# only a comment\n", "holds no secret"),
        (b"\nclient-7\n", "line 2: the secret has 0 bytes"),
        (b"client-7 staple-battery", "line 1: the secret has 14 bytes"),
        (b"client-7 hex:staple" + SECRET, "line 1: what follows hex: is no bytes"),
        (b"c md5 " + SECRET, "line 1: there is no such algorithm"),
        (b"c SHA-256 " + SECRET, "line 1: there is no such algorithm"),
        (b"c hmac-sha9 " + SECRET, "line 1: there is no such algorithm; there are hmac-sha1, hmac-sha256, hmac-md5"),
        (b"x" * 256 + b" " + SECRET, "line 1: the identifier has more than 255 bytes"),
        (LINE + b"\n" + LINE, "line 2: the identifier comes twice"),
    ],
)
def test_a_bad_file_is_refused_without_a_word_of_a_secret(text: bytes, message: str) -> None:
    with pytest.raises(BadSecretFileError, match=message) as refused:
        parse_credentials(text)
    assert "staple" not in str(refused.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        credentials = parse_credentials(text)
    except BadSecretFileError:
        return
    assert all(len(each.secret) >= 16 for each in credentials)
