# SPDX-License-Identifier: MIT
"""The classic commands' words: what they mean, and what they are answered where nothing is started."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from miredo.address.endpoint import parse_ipv4
from miredo.commands import classic, miredo, miredo_server, teredo_mire
from miredo.commands.classic import Launch
from miredo.config import ClientConfig, MireConfig, RelayConfig, ServerConfig
from miredo.config import source as config_source
from miredo.service import dropping

Program = Callable[[list[str] | None], int]
PROGRAMS: dict[str, Program] = {
    "miredo": miredo.main,
    "miredo-server": miredo_server.main,
    "teredo-mire": teredo_mire.main,
}
CLIENT = "ServerAddress 192.0.2.1\n"


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for default files, with none in it."""
    files = {name: (str(tmp_path / f"{name}.conf"), str(tmp_path / "old.conf")) for name in ("miredo", "miredo-server")}
    for module in (miredo, miredo_server, config_source):
        monkeypatch.setattr(module, "DEFAULT_FILES", files)
    monkeypatch.setattr(miredo, "CLIENT_HOOK", str(tmp_path / "client-hook"))
    return tmp_path


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """What would have been started, by a root that may do everything."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(dropping, "lacking", lambda _: [])
    monkeypatch.setattr(dropping, "out_of_reach", lambda _: None)
    launches: list[Launch] = []

    def launched(launch: Launch) -> int:
        launches.append(launch)
        return 0

    monkeypatch.setattr(classic, "_launched", launched)
    return launches


# ---------------------------------------------------------------- what is answered


@pytest.mark.manual("M20", "M21", "N16", "N17")
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("option", ["-h", "--help", "--he"])
def test_help_lists_every_option(name: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAMS[name]([option]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"Usage: {name} ")
    assert all(word in said.out for word in ("--foreground", "--user", "--chroot", "--pidfile", "--help", "--version"))
    assert said.err == ""


@pytest.mark.manual("M25", "M26", "N21", "N22", "O4")
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("option", ["-V", "--version", "-fV"])
def test_the_version_comes_with_the_licence(name: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAMS[name]([option]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{name} 2.")
    assert "MIT License" in said
    assert "NO WARRANTY" in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-Z"], "option -Z not recognized"),
        (["--nonsense"], "option --nonsense not recognized"),
        (["-c"], "option -c requires argument"),
        (["--config"], "option --config requires argument"),
        (["--foreground=yes"], "option --foreground must not have an argument"),
        (["a.example", "b.example"], 'unexpected extra parameter "b.example"'),
        (["-c", ""], "option --config needs a name"),
        (["-s", "192.0.2.1", "a.example"], '"a.example" is a server for a client, and -s makes this a server'),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    words: list[str], why: str, etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert miredo.main(words) == 2
    assert capsys.readouterr() == ("", f"miredo: {why}\nTry miredo --help.\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [([], "needs the IPv4 address to answer on"), (["a.example"], '"a.example" is not an IPv4 address')],
)
def test_a_mire_needs_an_address(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert teredo_mire.main(words) == 2
    assert capsys.readouterr().err == f"teredo-mire: {why}\nTry teredo-mire --help.\n"


# ---------------------------------------------------------------- what the words mean


@pytest.mark.parametrize(
    "words",
    [
        ["-f", "-c", "{}", "-u", "nobody", "-p", "x.pid"],
        ["-fc", "{}", "-unobody", "-px.pid"],
        ["--foreground", "--config", "{}", "--user", "nobody", "--pidfile", "x.pid"],
        ["--fore", "--conf={}", "--us=nobody", "--pid=x.pid"],
        ["-u", "root", "-c", "{}", "--user=nobody", "-f", "-p", "y.pid", "-p", "x.pid"],
    ],
)
@pytest.mark.parametrize("rest", [["a.example"], ["--", "a.example"]])
def test_options_are_written_as_getopt_has_them(
    words: list[str], rest: list[str], etc: Path, launched: list[Launch]
) -> None:
    (etc / "some.conf").write_text(CLIENT)
    assert miredo.main([*(word.format(etc / "some.conf") for word in words), *rest]) == 0
    (launch,) = launched
    assert launch.foreground
    assert launch.pid_file == os.path.abspath("x.pid")
    assert launch.decision.drop is not None
    assert launch.decision.drop.identity is not None
    assert launch.decision.drop.identity.name == "nobody"
    (role,) = launch.configuration.roles
    assert isinstance(role, ClientConfig)
    assert role.server_address == ("a.example",)


def test_an_operand_may_stand_before_the_options(etc: Path, launched: list[Launch]) -> None:
    (etc / "miredo.conf").write_text(CLIENT)
    assert miredo.main(["192.0.2.5", "-f"]) == 0
    (role,) = launched[0].configuration.roles
    assert isinstance(role, ClientConfig)
    assert role.server_address == (parse_ipv4("192.0.2.5"),)
    assert launched[0].foreground


@pytest.mark.manual("M16")
def test_the_first_default_file_that_exists_is_taken(etc: Path, launched: list[Launch]) -> None:
    (etc / "old.conf").write_text(CLIENT)
    assert miredo.main([]) == 0
    (etc / "miredo.conf").write_text(CLIENT)
    assert miredo.main([]) == 0
    assert [launch.origin.file for launch in launched] == [str(etc / "old.conf"), str(etc / "miredo.conf")]


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_not_said_is_as_it_always_was(name: str, etc: Path, launched: list[Launch]) -> None:
    (etc / "miredo.conf").write_text(CLIENT)
    (etc / "miredo-server.conf").write_text("ServerBindAddress 192.0.2.1\n")
    assert PROGRAMS[name](["192.0.2.1"]) == 0
    (launch,) = launched
    assert (launch.pid_file, launch.pid_file_told) == (f"/run/{name}.pid", False)
    assert launch.decision.drop is not None
    assert launch.decision.drop.identity is not None
    assert (launch.decision.drop.identity.name, launch.decision.drop.root) == ("nobody", "/run/miredo")
    assert not launch.foreground


def test_the_file_says_it_and_the_command_line_overrides_it(etc: Path, launched: list[Launch]) -> None:
    (etc / "miredo.conf").write_text(f"User root\nChroot {etc}\nPidFile {etc}/a.pid\n{CLIENT}")
    assert miredo.main([]) == 0
    assert miredo.main(["-u", "nobody", "-t", "/", "-p", "/b.pid"]) == 0
    one, other = launched
    assert (one.pid_file, one.pid_file_told, one.decision.drop) == (f"{etc}/a.pid", True, (None, str(etc)))
    assert (other.pid_file, other.pid_file_told) == ("/b.pid", True)
    assert other.decision.drop is not None
    assert (other.decision.drop.identity is not None, other.decision.drop.root) == (True, None)


def test_relative_paths_are_those_of_where_it_was_started(
    etc: Path, launched: list[Launch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(etc)
    (etc / "some.conf").write_text(CLIENT)
    assert miredo.main(["-c", "some.conf", "-t", "jail", "-p", "../x.pid"]) == 0
    (launch,) = launched
    assert launch.origin.file == str(etc / "some.conf")
    assert launch.pid_file == str(etc.parent / "x.pid")
    assert launch.decision.drop is not None
    assert launch.decision.drop.root == str(etc / "jail")


# ---------------------------------------------------------------- as in 2004


@pytest.mark.manual("O18")
def test_without_a_file_and_without_a_word_it_is_a_relay(
    etc: Path, launched: list[Launch], capsys: pytest.CaptureFixture[str]
) -> None:
    assert miredo.main(["-u", "root"]) == 0
    (launch,) = launched
    (role,) = launch.configuration.roles
    assert isinstance(role, RelayConfig)
    assert launch.decision == (None, ("runs on as root, as it was told",))
    assert capsys.readouterr().err == f"miredo: there is no {etc}/miredo.conf: runs as a Teredo relay\n"
    assert launch.origin.file is None


@pytest.mark.manual("M27")
def test_without_a_file_a_name_is_that_of_a_clients_server(etc: Path, launched: list[Launch]) -> None:
    assert miredo.main(["a.example"]) == 0
    (role,) = launched[0].configuration.roles
    assert isinstance(role, ClientConfig)
    assert role.server_address == ("a.example",)


@pytest.mark.manual("O16", "O17")
@pytest.mark.parametrize("file", [True, False])
def test_an_address_makes_it_a_server_whatever_the_usual_file_says(
    file: bool, etc: Path, launched: list[Launch]
) -> None:
    if file:
        (etc / "miredo.conf").write_text(CLIENT)
    assert miredo.main(["-s", "9.0.0.2", "-u", "root"]) == 0
    (role,) = launched[0].configuration.roles
    assert isinstance(role, ServerConfig)
    assert (role.bind_address, role.bind_address2) == (parse_ipv4("9.0.0.2"), parse_ipv4("9.0.0.3"))
    assert launched[0].pid_file == "/run/miredo.pid"


def test_an_address_overrides_that_of_a_file_that_is_named(etc: Path, launched: list[Launch]) -> None:
    (etc / "server.conf").write_text("ServerBindAddress 192.0.2.1\nInterfaceMTU 1400\n")
    assert miredo.main(["-s", "9.0.0.2", "-c", str(etc / "server.conf")]) == 0
    (role,) = launched[0].configuration.roles
    assert isinstance(role, ServerConfig)
    assert (role.bind_address, role.interface_mtu) == (parse_ipv4("9.0.0.2"), 1400)


def test_an_address_is_enough_for_a_server(etc: Path, launched: list[Launch]) -> None:
    assert miredo_server.main(["9.0.0.2"]) == 0
    (role,) = launched[0].configuration.roles
    assert isinstance(role, ServerConfig)
    assert role.bind_address == parse_ipv4("9.0.0.2")


def test_a_mire_is_made_of_its_address(launched: list[Launch]) -> None:
    assert teredo_mire.main(["9.0.0.2"]) == 0
    (role,) = launched[0].configuration.roles
    assert isinstance(role, MireConfig)
    assert role.bind_address == parse_ipv4("9.0.0.2")


@pytest.mark.manual("M29")
def test_a_server_name_is_ignored_by_a_relay_which_says_so(
    etc: Path, launched: list[Launch], capsys: pytest.CaptureFixture[str]
) -> None:
    (etc / "miredo.conf").write_text("RelayType cone\n")
    assert miredo.main(["192.0.2.9"]) == 0
    assert [type(role) for role in launched[0].configuration.roles] == [RelayConfig]
    assert "192.0.2.9 is ignored: " in capsys.readouterr().err


# ---------------------------------------------------------------- a client's hook


@pytest.mark.parametrize(
    ("text", "mode", "taken"),
    [
        (CLIENT, 0o755, True),
        (CLIENT, 0o644, False),
        (f"ClientHook none\n{CLIENT}", 0o755, False),
        ("[client a]\nServerAddress 192.0.2.1\n", 0o755, False),
    ],
)
def test_the_usual_hook_is_taken_where_a_classic_file_says_nothing(
    text: str, mode: int, taken: bool, etc: Path, launched: list[Launch]
) -> None:
    hook = etc / "client-hook"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(mode)
    (etc / "miredo.conf").write_text(text)
    assert miredo.main([]) == 0
    (role,) = launched[0].configuration.roles
    assert isinstance(role, ClientConfig)
    assert role.client_hook == (str(hook) if taken else None)


# ---------------------------------------------------------------- refusals


@pytest.mark.manual("O24")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["-c", "{}/none.conf"], "{}/none.conf: error: No such file or directory (errno 2)"),
        (["-c", "{}/empty.conf"], "{}/empty.conf: error: a client needs ServerAddress"),
        (["-c", "{}/good.conf", "-u", "no-such-user"], 'miredo: there is no user "no-such-user"'),
        (["-c", "{}/user.conf"], 'miredo: there is no user "no-such-user"'),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    words: list[str], line: str, etc: Path, launched: list[Launch], capsys: pytest.CaptureFixture[str]
) -> None:
    (etc / "empty.conf").write_text("")
    (etc / "good.conf").write_text(CLIENT)
    (etc / "user.conf").write_text(f"User no-such-user\n{CLIENT}")
    assert miredo.main([word.format(etc) for word in words]) == 1
    said = capsys.readouterr().err
    assert said.splitlines()[0] == line.format(etc)
    assert launched == []


def test_a_server_needs_a_file_or_an_address(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert miredo_server.main([]) == 1
    assert capsys.readouterr().err.startswith(f"{etc}/miredo-server.conf: error: No such file or directory")


def test_twisted_is_imported_after_the_fork_and_not_before() -> None:
    text = "import sys; import miredo.commands.miredo, miredo.commands.miredo_server, miredo.commands.teredo_mire; "
    text += "sys.exit(any(name.partition('.')[0] in ('twisted', 'zope', 'pyroute2') for name in sys.modules))"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", text]) == 0
