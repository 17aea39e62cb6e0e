# SPDX-License-Identifier: MIT
"""The directive C{Record}: any role may have a file, and no two the same."""

import pytest

from miredo.config import ConfigError, parse

SERVER = "[server s]\nServerBindAddress 192.0.2.1\nNamespace s\nRecord {}\n"
RELAY = "[relay r]\nNamespace r\nRecord {}\n"
CLIENT = "[client c]\nServerAddress 192.0.2.1\nNamespace c\nRecord {}\n"


def test_every_role_may_have_a_file() -> None:
    text = SERVER.format("/run/s") + RELAY.format("/run/r") + CLIENT.format("/run/c")
    assert [role.record for role in parse(text, "a.conf", strict=True).roles] == ["/run/s", "/run/r", "/run/c"]


def test_there_is_none_unless_it_is_given() -> None:
    (role,) = parse("ServerAddress 192.0.2.1", "a.conf").roles
    assert role.record is None


@pytest.mark.parametrize("other", ["/run/x", "/run//x", "/run/./x"])
def test_two_roles_do_not_write_one_file_in_whatever_namespaces(other: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(SERVER.format("/run/x") + CLIENT.format(other), "a.conf", strict=True)
    (problem,) = caught.value.problems
    assert problem.message == "file /run/x is taken by [server s] (a.conf:4: Record /run/x)"
    assert problem.hint == "give one of them another Record"
    assert problem.line == 8


def test_a_path_that_is_not_absolute_is_refused() -> None:
    with pytest.raises(ConfigError, match="not an absolute path"):
        parse(RELAY.format("here"), "a.conf", strict=True)
