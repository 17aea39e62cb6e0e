# SPDX-License-Identifier: MIT
"""The commands are completed by a real bash and a real zsh."""

from __future__ import annotations

import pwd
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from doc.installed.completion import bash, zsh
from miredo.commands.usage import COMMANDS, MIREDO, MIREDO_CHECKCONF, Command

needs_zsh = pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
by_name = pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, one with a space in its name, and a folder."""
    (tmp_path / "my.conf").touch()
    (tmp_path / "my other.conf").touch()
    (tmp_path / "mydir").mkdir()
    return tmp_path


def completed(command: Command, folder: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    line = " ".join(map(shlex.quote, (command.name, *words)))
    program = f"""
{bash(command)}
read -ra complete < <(complete -p {command.name})
COMP_WORDS=({line}) COMP_CWORD={len(words)}
"${{complete[2]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    shell = ["bash", "--norc", "--noprofile", "-uc", program]
    told = subprocess.run(shell, cwd=folder, capture_output=True, text=True, check=True)
    assert told.stderr == ""
    return [line for line in told.stdout.splitlines() if line]


def offered(command: Command, folder: Path, typed: str) -> str:
    """What zsh, on a terminal of its own, shows after TAB."""
    functions = folder / "functions"
    functions.mkdir()
    (functions / f"_{command.name}").write_text(zsh(command))
    program = f"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1= ; fpath=({functions} \\$fpath); cd {folder}"
zpty -w shell "autoload -U compinit; compinit -u -D; print -r begin-\\$((1+1))"
while zpty -r shell text '*begin-2*'; do break; done
zpty -w -n shell "{typed}"$'\\t'
sleep 1
while zpty -r -t shell text; do print -rn -- "$text"; done
zpty -d shell
"""
    told = subprocess.run(["zsh", "-f", "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return told.stdout


@by_name
def test_bash_offers_every_option(command: Command, folder: Path) -> None:
    expected = {word for one in command.options for word in (f"-{one.letter}", f"--{one.word}")}
    assert set(completed(command, folder, "-")) == expected


def test_bash_offers_the_options_that_begin_so(folder: Path) -> None:
    assert completed(MIREDO, folder, "--p") == ["--pidfile"]
    assert completed(MIREDO_CHECKCONF, folder, "--s") == ["--server", "--strict"]


@pytest.mark.parametrize("words", [["-c", "my"], ["--config", "my"], ["--config", "=", "my"]])
def test_bash_offers_files_for_the_configuration(words: list[str], folder: Path) -> None:
    assert sorted(completed(MIREDO, folder, *words)) == ["my other.conf", "my.conf", "mydir"]


def test_bash_offers_what_is_there_right_after_an_equals_sign(folder: Path) -> None:
    assert sorted(completed(MIREDO, folder, "--config", "=")) == ["my other.conf", "my.conf", "mydir"]


def test_bash_offers_folders_to_be_locked_into(folder: Path) -> None:
    assert completed(MIREDO, folder, "-t", "my") == ["mydir"]


def test_bash_offers_users(folder: Path) -> None:
    names = {one.pw_name for one in pwd.getpwall()}
    found = set(completed(MIREDO, folder, "-f", "-u", "n"))
    assert "nobody" in found
    assert found <= names


def test_bash_offers_a_file_to_check(folder: Path) -> None:
    assert completed(MIREDO_CHECKCONF, folder, "-s", "my.") == ["my.conf"]


def test_bash_takes_what_is_typed_for_text(folder: Path) -> None:
    assert completed(MIREDO, folder, "-c", "$(touch made)") == []
    assert completed(MIREDO, folder, "-c", '"; touch made; "') == []
    assert not (folder / "made").exists()


@needs_zsh
@by_name
def test_zsh_offers_every_option_with_its_meaning(command: Command, folder: Path) -> None:
    text = offered(command, folder, f"{command.name} -")
    for option in command.options:
        assert f"--{option.word}" in text
        assert option.meaning.split()[0] in text


@needs_zsh
def test_zsh_completes_a_file(folder: Path) -> None:
    assert "my.conf" in offered(MIREDO, folder, "miredo -c my.")
