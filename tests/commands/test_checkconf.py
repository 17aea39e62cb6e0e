# SPDX-License-Identifier: MIT
"""C{miredo-checkconf}: what it says of a file, where, and how it ends."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Collection, Mapping
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from miredo.address.endpoint import IPv4, parse_ipv4
from miredo.commands import checkconf, lookup
from miredo.commands.checkconf import BAD, GOOD, WRONG_USAGE, look_at, main
from miredo.commands.usage import MIREDO_CHECKCONF
from miredo.config import source
from tests.config.refusals import Refusal, refusals

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "miredo.commands.checkconf"]
CLIENT = "ServerAddress 192.0.2.1\n"
SECRET = "client 0123456789abcdef\n"
SUBPROCESSES = ["an empty file", "a directive twice", "a NUL", "a comment over a kilobyte", "six faults", "UTF-16"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of this test's own, which it stands in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*COMMAND, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=30)


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COMMAND": " ".join(COMMAND)}
    return subprocess.run(["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=30)


# The exit status, and what is said


@pytest.mark.parametrize("case", [one for one in refusals() if one.name in SUBPROCESSES], ids=lambda case: case.name)
def test_a_bad_file_is_told_of_on_standard_error_and_the_status_is_one(case: Refusal, folder: Path) -> None:
    (folder / "miredo.conf").write_bytes(case.octets)
    told = run("-f", "miredo.conf", folder=folder)
    assert (told.returncode, told.stdout, told.stderr) == (BAD, "", case.said + "\n")


@pytest.mark.parametrize("text", [CLIENT, "RelayType cone\n", "ServerBindAddress 192.0.2.1\n", f"[client a]\n{CLIENT}"])
def test_a_good_file_of_any_kind_is_passed_in_silence(
    text: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.conf").write_text(text)
    assert main(["a.conf"]) == GOOD
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "file", ["miredo.conf", "miredo-server.conf", "lab.conf", "mire.conf", "server-and-relay.conf"]
)
def test_the_example_files_are_good(file: str) -> None:
    assert look_at(str(ROOT / "etc" / file)).problems == ()


@pytest.mark.parametrize(
    ("text", "praise"),
    [
        (CLIENT, "a.conf: good: a client"),
        ("[relay r]\n[server s]\nServerBindAddress 192.0.2.1\n", "a.conf: good: [relay r], [server s]"),
    ],
)
def test_a_person_at_a_terminal_is_told_that_a_file_is_good(text: str, praise: str, folder: Path) -> None:
    (folder / "a.conf").write_text(text)
    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    status = subprocess.run([*COMMAND, "a.conf"], cwd=folder, env=environment, stdout=follower, timeout=30).returncode
    os.close(follower)
    told = os.read(leader, 1000).decode()
    os.close(leader)
    assert (status, told.strip()) == (GOOD, praise)


def test_warnings_leave_a_file_good_unless_it_is_looked_at_strictly(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.conf").write_text("RelayType restricted\n")
    assert main(["a.conf"]) == GOOD
    assert capfd.readouterr().err.startswith("a.conf:1:11: warning: RelayType: restricted is deprecated")
    assert main(["--strict", "a.conf"]) == BAD


@pytest.mark.parametrize(
    ("name", "words", "needed"),
    [
        ("a.conf", [], "ServerAddress"),
        ("miredo-server.conf", [], "ServerBindAddress"),
        ("miredo-server.conf.dpkg-new", [], "ServerBindAddress"),
        ("a.conf", ["-s"], "ServerBindAddress"),
    ],
)
def test_the_name_of_a_file_or_an_option_makes_it_a_servers(
    name: str, words: list[str], needed: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / name).touch()
    assert main([*words, name]) == BAD
    assert f" needs {needed}\n" in capfd.readouterr().err


# The command line


@pytest.mark.parametrize(
    "words", [["-f"], ["--foreground"], ["-c", "other"], ["-u", "nobody", "-t", "/", "-p", "/run/x"], ["--"]]
)
def test_what_units_and_scripts_write_is_taken(words: list[str], folder: Path) -> None:
    (folder / "a.conf").write_text(CLIENT)
    assert main([*words, "a.conf"]) == GOOD


def test_the_file_can_be_named_as_it_is_for_the_daemon(folder: Path) -> None:
    (folder / "a.conf").write_text("Foo 1\n")
    assert main(["-f", "-c", "a.conf"]) == BAD


def test_without_a_name_it_is_the_file_of_the_daemon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.conf").write_text(CLIENT)
    (folder / "b.conf").write_text(CLIENT)
    files = {"miredo": ("a.conf", "none"), "miredo-server": ("none", "b.conf")}
    monkeypatch.setattr(source, "DEFAULT_FILES", files)
    assert main([]) == GOOD
    assert main(["-s"]) == BAD


@pytest.mark.parametrize("words", [["-x"], ["--nonsense"], ["-c"], ["a.conf", "b.conf"], [""]])
def test_a_command_line_that_is_wrong_is_another_status(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == WRONG_USAGE
    assert capfd.readouterr().err.splitlines()[1:] == ["Try miredo-checkconf --help."]


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["-f", "-h", "nowhere"]])
def test_its_help_names_every_option(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == GOOD
    said = capfd.readouterr().out
    assert said.startswith("Usage: miredo-checkconf ")
    assert all(str(option) in said for option in MIREDO_CHECKCONF.options)


def test_its_version_begins_with_its_name(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["-V"]) == GOOD
    assert capfd.readouterr().out.startswith("miredo-checkconf 2")


# Where a file is


def test_a_file_can_come_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"Foo 1\nRelayType cone\n")))
    assert main(["-"]) == BAD
    assert capfd.readouterr().err.startswith("standard input:1:1: error: unknown directive")


def test_more_than_enough_is_not_taken_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"#" * (10 << 20))))
    (problem,) = look_at("-").problems
    assert problem.message == "There are more than 262144 bytes"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("none.conf", "none.conf: error: No such file or directory (errno 2)\n"),
        (".", ".: error: Is a directory (errno 21)\n"),
        ("/dev/null", '/dev/null: error: a client needs ServerAddress\n  hint: add a line "ServerAddress ADDRESS"\n'),
    ],
)
def test_what_is_no_configuration_is_bad(path: str, said: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([path]) == BAD
    assert capfd.readouterr().err == said


def test_a_pipe_of_the_shell_is_a_file(folder: Path) -> None:
    (folder / "a.conf").write_text("Foo 1\n")
    told = shell("cat a.conf | $COMMAND /dev/stdin", folder)
    assert told.returncode == BAD
    assert told.stderr.startswith("/dev/stdin:1:1: error: unknown directive")


# JSON


def test_json_has_everything_and_nothing_is_said_beside_it(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "a.conf").write_text("ServerAddress 192.0.2.1\nBindPrt 1\n")
    assert main(["--json", "a.conf"]) == BAD
    told = capfd.readouterr()
    assert told.err == ""
    assert json.loads(told.out) == {
        "file": "a.conf",
        "good": False,
        "kind": "classic",
        "roles": [{"kind": "client", "name": ""}],
        "problems": [
            {
                "severity": "error",
                "file": "a.conf",
                "line": 2,
                "column": 1,
                "span": 7,
                "message": 'unknown directive "BindPrt"',
                "hint": 'did you mean "BindPort"?',
                "source": "BindPrt 1",
            }
        ],
    }


def test_json_of_a_good_file_has_its_roles(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "a.conf").write_text(f"[relay r]\n[client c]\nNamespace x\n{CLIENT}")
    assert main(["-j", "a.conf"]) == GOOD
    found = json.loads(capfd.readouterr().out)
    assert (found["good"], found["kind"], found["problems"]) == (True, "sections", [])
    assert found["roles"] == [{"kind": "relay", "name": "r"}, {"kind": "client", "name": "c"}]


def test_json_of_a_file_that_is_not_there_has_no_kind(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "none.conf"]) == BAD
    found = json.loads(capfd.readouterr().out)
    assert (found["good"], found["kind"], found["roles"]) == (False, None, [])
    assert found["problems"][0]["message"] == "No such file or directory (errno 2)"


def test_json_says_what_the_status_says(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "a.conf").write_text("RelayType restricted\n")
    for words, status in (([], GOOD), (["-S"], BAD)):
        assert main(["-j", *words, "a.conf"]) == status
        assert json.loads(capfd.readouterr().out)["good"] is (status == GOOD)


# Outputs that cannot be written


@pytest.mark.parametrize("words", ["-h", "-V", "--json a.conf"])
def test_a_full_disk_is_told_in_a_line(words: str, folder: Path) -> None:
    (folder / "a.conf").write_text(CLIENT)
    told = shell(f"$COMMAND {words} > /dev/full", folder)
    assert (told.returncode, told.stderr) == (1, "cannot write to standard output: No space left on device\n")


def test_a_closed_output_is_told_in_a_line_if_there_is_something_to_write(folder: Path) -> None:
    (folder / "a.conf").write_text(CLIENT)
    told = shell("$COMMAND --json a.conf >&-", folder)
    assert (told.returncode, told.stderr) == (1, "cannot write: standard output is closed\n")
    told = shell("$COMMAND a.conf >&-", folder)
    assert (told.returncode, told.stderr) == (GOOD, "")


@pytest.mark.parametrize("where", ["2>&-", "2> /dev/full", ">&- 2>&-", "> /dev/full 2>&1"])
def test_the_status_tells_where_nothing_else_can(where: str, folder: Path) -> None:
    (folder / "a.conf").write_text("Foo 1\n")
    told = shell(f"$COMMAND a.conf {where}", folder)
    assert (told.returncode, told.stdout, told.stderr) == (BAD, "", "")


def test_who_reads_no_further_is_told_nothing(folder: Path) -> None:
    (folder / "a.conf").write_text("Foo 1\n" * 90)
    told = shell("$COMMAND --json a.conf | head -1", folder)
    assert (told.stdout, told.stderr) == ("{\n", "")


def test_letters_that_a_terminal_does_not_know_are_written_in_others(folder: Path) -> None:
    (folder / "a.conf").write_text(f"{CLIENT}InterfaceName 東 1\n", encoding="utf-8")
    told = shell("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 $COMMAND a.conf", folder)
    assert told.returncode == BAD
    assert told.stderr.splitlines()[1] == r"  InterfaceName \u6771 1"


def test_an_interrupt_ends_it_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkconf, "read_text", interrupted)
    assert main(["a.conf"]) == 130


# This host


def warnings(text: str, folder: Path) -> list[str]:
    """What is merely warned of."""
    (folder / "a.conf").write_text(text)
    problems = look_at("a.conf").problems
    assert all(problem.severity == "warning" for problem in problems)
    return [f"{problem.line}: {problem.message}" for problem in problems]


def test_a_user_that_this_host_has_not_is_warned_of(folder: Path) -> None:
    assert warnings(f"{CLIENT}User nobody\n", folder) == []
    assert warnings(f"{CLIENT}User no-such-user\n", folder) == ['2: User: there is no user "no-such-user"']


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/", ""), ("/run/miredo", ""), ("/nowhere", "No such file or directory"), ("/dev/null", "not a directory")],
)
def test_a_place_that_is_no_directory_of_this_host_is_a_warning(path: str, reason: str, folder: Path) -> None:
    assert warnings(f"{CLIENT}Chroot {path}\n", folder) == ([f"2: Chroot: {reason}"] if reason else [])


def test_a_secret_file_that_is_not_there_or_others_may_read_is_warned_of(folder: Path) -> None:
    path = folder / "secret"
    text = f"{CLIENT}SecretFile {path}\n"
    assert warnings(text, folder) == ["2: SecretFile: No such file or directory"]
    path.write_text(SECRET)
    path.chmod(0o644)
    assert warnings(text, folder) == ["2: SecretFile: others may read it"]
    path.chmod(0o600)
    assert warnings(text, folder) == []
    path.write_text("x y\n")
    assert warnings(text, folder)[0].startswith("2: SecretFile: line 1: the secret has 1 bytes")


def test_a_hook_that_cannot_be_run_is_warned_of(folder: Path) -> None:
    folder.chmod(0o755)
    path = folder / "hook"
    text = f"{CLIENT}ClientHook {path}\n"
    assert warnings(text, folder) == [f"2: ClientHook: hook {path}: No such file or directory"]
    path.write_text("#!/bin/sh\n")
    path.chmod(0o644)
    assert warnings(text, folder) == [f"2: ClientHook: hook {path}: not executable"]
    path.chmod(0o755)
    assert warnings(text, folder) == []


# Names


def resolved(text: str, answers: Mapping[str, list[IPv4] | str], folder: Path) -> list[str]:
    """What is wrong with a file whose names have these addresses."""
    (folder / "a.conf").write_text(text)
    problems = look_at("a.conf", None, lambda names: {name: answers[name] for name in names}).problems
    return [f"{problem.severity} {problem.line}:{problem.column} {problem.message}" for problem in problems]


def test_names_are_not_looked_up_unless_that_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.conf").write_text("ServerAddress a.example\n")
    asked: list[str] = []

    def unknown(names: Collection[str]) -> dict[str, str]:
        asked.extend(names)
        return dict.fromkeys(names, "Name or service not known")

    monkeypatch.setattr(lookup, "addresses_of", unknown)
    assert main(["a.conf"]) == GOOD
    assert asked == []
    assert main(["--resolve", "a.conf"]) == BAD
    assert asked == ["a.example"]


def test_a_name_that_does_not_resolve_is_an_error_where_it_stands(folder: Path) -> None:
    text = "ServerAddress a\nServerAddress 192.0.2.1\nServerAddress b\n"
    assert resolved(text, {"a": [parse_ipv4("192.0.2.9")], "b": "Name or service not known"}, folder) == [
        "error 3:15 ServerAddress: b: Name or service not known"
    ]
    text = "ServerAddress a\nServerAddress2 b\n"
    assert resolved(text, {"a": [parse_ipv4("192.0.2.9")], "b": "gone"}, folder) == [
        "error 2:16 ServerAddress2: b: gone"
    ]


def test_a_name_needs_one_address_that_teredo_uses(folder: Path) -> None:
    private, public = parse_ipv4("10.0.0.1"), parse_ipv4("192.0.2.1")
    assert resolved("ServerAddress a", {"a": [private, public]}, folder) == []
    assert resolved("ServerAddress a", {"a": [private]}, folder) == [
        "error 1:15 ServerAddress: a: Teredo does not use 10.0.0.1"
    ]
    assert resolved("ServerAddress a\nAllowIPv4 10.0.0.0/8", {"a": [private]}, folder) == []


def test_a_name_is_not_looked_up_for_another_namespace(folder: Path) -> None:
    assert resolved("ServerAddress a\nNamespace x\n", {}, folder) == [
        "warning 1:15 ServerAddress: a is looked up in the namespace x, and was not looked up here"
    ]
