# SPDX-License-Identifier: MIT
"""C{ClientHook}: a program by its path, or none."""

import pytest

from miredo.config import ClientConfig, ConfigError, parse

CLIENT = "ServerAddress 192.0.2.1\n"


def hook(text: str) -> str | None:
    (role,) = parse(CLIENT + text, "miredo.conf", strict=True).roles
    assert isinstance(role, ClientConfig)
    return role.client_hook


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", None),
        ("ClientHook none", None),
        ("clienthook NONE", None),
        ("ClientHook /etc/miredo/client-hook", "/etc/miredo/client-hook"),
        ("ClientHook /opt/a hook", "/opt/a hook"),
    ],
)
def test_a_client_has_the_hook_that_is_named(text: str, path: str | None) -> None:
    assert hook(text) == path


def test_whether_there_is_to_be_none_can_be_told_from_silence() -> None:
    for text, written in (("", False), ("ClientHook none\n", True)):
        (role,) = parse(CLIENT + text, "miredo.conf").roles
        assert ("ClientHook" in role.places) == written


def test_a_path_that_is_not_absolute_is_refused() -> None:
    with pytest.raises(ConfigError, match="2:12: error: ClientHook: client-hook is not an absolute path"):
        hook("ClientHook client-hook")


def test_a_relay_has_no_hook() -> None:
    with pytest.raises(ConfigError, match="ClientHook"):
        parse("RelayType relay\nClientHook /etc/miredo/client-hook", "miredo.conf", strict=True)
