# SPDX-License-Identifier: MIT
"""The manual pages are good roff, tell of every option and directive what the program does, and their examples run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from getopt import gnu_getopt
from pathlib import Path

import pytest

from doc.installed.pages import escaped, page, pages
from miredo.commands.usage import COMMANDS, Command
from miredo.config import ClientConfig, RelayConfig, ServerConfig, directives, parse

ROOT = Path(__file__).parents[1]
PAGES = pages(ROOT, "1.2.3")
NAMES = sorted(PAGES)
SECTIONS = {"miredo.conf.5": ("client", "relay", "mire", "process"), "miredo-server.conf.5": ("server", "process")}
OTHERS = {"ip.8", "ipv6.7", "ping.8", "systemd.exec.5"}
"""Pages of other packages that ours point to."""

needs_man = pytest.mark.skipif(shutil.which("man") is None, reason="needs man (Debian package man-db)")
needs_mandoc = pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All pages, as files."""
    for name, text in PAGES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def shown(path: Path) -> str:
    """What a reader sees, on long lines."""
    environment = {**os.environ, "MANWIDTH": "1000", "MAN_KEEP_FORMATTING": "", "LC_ALL": "C.UTF-8"}
    words = ["man", "--warnings", "-E", "UTF-8", "-l", str(path)]
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert told.stderr == ""
    return " ".join(told.stdout.split())


def examples(name: str) -> list[str]:
    """What stands between .EX and .EE, as it is to be typed."""
    found = re.findall(r"^\.EX\n(.*?)^\.EE$", PAGES[name], re.DOTALL | re.MULTILINE)
    return [text.replace("\\-", "-") for text in found]


@pytest.mark.manual("O2")
def test_there_is_a_page_for_each_command_and_each_file() -> None:
    commands = {f"{one.name}.{one.section}" for one in COMMANDS}
    assert set(NAMES) == commands | set(SECTIONS)


@needs_man
@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_shown_without_a_warning(name: str, folder: Path) -> None:
    assert "1.2.3" in shown(folder / name)


@needs_mandoc
@pytest.mark.parametrize("name", NAMES)
def test_mandoc_has_nothing_to_say_against_a_page(name: str, folder: Path) -> None:
    words = ["mandoc", "-T", "lint", "-W", "warning", str(folder / name)]
    assert subprocess.run(words, capture_output=True, text=True, check=False).stdout == ""


@needs_man
@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.name)
def test_every_option_is_explained(command: Command, folder: Path) -> None:
    text = shown(folder / f"{command.name}.{command.section}")
    for option in command.options:
        assert f"{option} {option.meaning[:1].upper()}{option.meaning[1:]}. {option.more}".strip() in text
    assert command.purpose in text


@needs_man
@pytest.mark.parametrize("name", SECTIONS)
def test_every_directive_is_there_with_its_meaning_and_its_default(name: str, folder: Path) -> None:
    text = shown(folder / name)
    for kind in SECTIONS[name]:
        for row in directives(kind):
            entry = text.partition(f" {row.keyword} {row.meaning}")
            assert entry[1], row
            default = "It must be given." if row.default == "(required)" else f"Default: {row.default.strip('()')}"
            assert default in entry[2][:700], row


@pytest.mark.parametrize("name", [one for one in NAMES if one.endswith(".8")])
def test_the_commands_of_the_examples_are_understood(name: str) -> None:
    lines = [line[2:] for text in examples(name) for line in text.splitlines() if line.startswith("# ")]
    assert lines
    for line in lines:
        words = shlex.split(line.partition("&&")[0].partition("<")[0])
        command = next(one for one in COMMANDS if one.name == words[0])
        _, operands = gnu_getopt(words[1:], command.letters, command.words)
        assert len(operands) <= (command.operand is not None)


@pytest.mark.parametrize("name", SECTIONS)
def test_the_files_of_the_examples_are_good(name: str) -> None:
    program = name.partition(".")[0]
    kinds = {type(role) for text in examples(name) for role in parse(text, name, program=program, strict=True).roles}
    assert kinds == ({ServerConfig} if program == "miredo-server" else {ClientConfig, RelayConfig, ServerConfig})


@pytest.mark.manual("M47", "N33")
@pytest.mark.parametrize("name", NAMES)
def test_a_page_points_to_pages_that_exist(name: str) -> None:
    references = re.findall(r"^\.(?:BR|RB) \(? ?([\w.\\-]+) \((\d)\)", PAGES[name], re.MULTILINE)
    assert references
    assert {f"{word}.{section}".replace("\\", "") for word, section in references} <= {*NAMES, *OTHERS}


def test_what_nothing_fills_in_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing fills in @OPTION miredo@"):
        page("@OPTION miredo@\n", ROOT, "1.2.3")


def test_text_is_no_request_of_roff() -> None:
    assert escaped(".TH") == "\\&.TH"
    assert escaped("it's a-b\\c") == "it\\(aqs a\\-b\\ec"
