# SPDX-License-Identifier: MIT
"""Secure qualification from the configuration on: who shares a secret meets, who does not is told why or stays out."""

from pathlib import Path

import pytest

from miredo.service.daemon import CannotStart
from tests.service.internet import ROLES, TeredoInternet, logging

SECRET = "client-7 correct horse battery staple\n"


def put(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def secured(tmp_path: Path, client: str | None = SECRET, server: str = SECRET, more: str = "") -> TeredoInternet:
    """Roles that are started, and time enough to qualify."""
    secrets = put(tmp_path / "server", server)
    text = ROLES.replace("ServerBindAddress", f"SecretFile {secrets}\n{more}ServerBindAddress")
    if client is not None:
        text += f"SecretFile {put(tmp_path / 'client', client)}\n"
    internet = TeredoInternet(text)
    internet.start()
    internet.run(1.0)
    return internet


@pytest.mark.requirement("C2", "C10", "S5", "S18")
def test_a_client_with_the_secret_of_the_server_qualifies(tmp_path: Path) -> None:
    internet = secured(tmp_path, more="RequireSecret yes\n")
    assert len(internet.qualified) == 1
    ping = internet.ping()
    internet.run()
    assert ping.answered is not None


@pytest.mark.requirement("S5")
@pytest.mark.parametrize("client", [None, SECRET.replace("horse", "house"), SECRET.replace("7", "8")])
def test_a_client_without_it_does_not(tmp_path: Path, client: str | None) -> None:
    with logging() as logged:
        internet = secured(tmp_path, client, more="RequireSecret yes\n")
        internet.run(20.0)
    assert internet.qualified == []
    refused, line = logged.at("warn")
    assert line.startswith("client a: No reply from Teredo server (192.0.2.1:3544)")
    assert ("does not take our secret" in line) == (client is not None)
    assert refused.startswith("server s: clients were refused: ")
    assert (" 0 solicitations had" in refused) == (client is None)
    assert (" 0 none" in refused) == (client is not None)


def test_a_server_says_no_more_than_once_an_hour_whom_it_refuses(tmp_path: Path) -> None:
    with logging() as logged:
        secured(tmp_path, None, more="RequireSecret yes\n").run(2 * 3600.0)
    lines = [line for line in logged.at("warn") if "were refused" in line]
    assert len(lines) == 2
    assert int(lines[1].split(",")[-1].split()[0]) > 20


@pytest.mark.requirement("S5")
def test_a_client_without_one_qualifies_where_none_is_required(tmp_path: Path) -> None:
    assert len(secured(tmp_path, None).qualified) == 1


@pytest.mark.requirement("C11")
def test_that_a_secret_is_to_be_replaced_is_logged(tmp_path: Path) -> None:
    with logging() as logged:
        internet = secured(tmp_path, server=SECRET.replace("client-7 ", "client-7 expiring "))
        internet.run(300.0)
    assert len(internet.qualified) == 1
    (line,) = logged.at("warn")
    assert line.startswith("client a: the server 192.0.2.1:3544 says that our secret is to be replaced")


@pytest.mark.requirement("C2")
def test_a_secret_is_never_logged(tmp_path: Path) -> None:
    with logging() as logged:
        internet = secured(tmp_path)
        internet.run(100.0)
        internet.stop()
    assert logged.lines != []
    assert not any("horse" in text for _, text in logged.lines)


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (SECRET, 0o644, "others may read it; cure: chmod 600"),
        ("", 0o600, "holds no secret"),
        ("client-7 short", 0o600, "line 1: the secret has 5 bytes, and must have 16 at least"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_directive(
    tmp_path: Path, text: str, mode: int, reason: str
) -> None:
    path = put(tmp_path / "client", text, mode)
    internet = TeredoInternet(f"{ROLES}SecretFile {path}\n")
    with pytest.raises(CannotStart) as failure:
        internet.roles.privilegedStartService()
    assert str(failure.value) == f"miredo: lab.conf:11: SecretFile {path}: {reason}"
    assert internet.client.open_things() == []


def test_a_client_has_one_secret(tmp_path: Path) -> None:
    path = put(tmp_path / "client", SECRET + SECRET.replace("7", "8"))
    with pytest.raises(CannotStart, match="a client has one secret, and there are several"):
        TeredoInternet(f"{ROLES}SecretFile {path}\n").roles.privilegedStartService()


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"SecretFile .*: No such file or directory"):
        TeredoInternet(f"{ROLES}SecretFile {tmp_path}/nothing\n").roles.privilegedStartService()
