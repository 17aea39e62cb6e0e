# SPDX-License-Identifier: MIT
"""C{bench start}: what its table says, how a program's start is seen, and one run as a user starts it."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from miredo import VERSION
from miredo.commands import start, started
from miredo.commands.start import (
    ITS,
    OURS,
    ROLES,
    SUBJECTS,
    TASKS,
    UNCOMPILED,
    Figure,
    as_json,
    as_text,
    its_program,
    rows_of,
    there_are,
)
from miredo.commands.started import NotStarted, Started, memory_of
from miredo.kernel.identity import look_up, out_of_reach
from tests.daemons import lives
from tests.namespaced import run_in_namespaces

ROOT = Path(__file__).parents[2]
SHELL = "/bin/sh"
SAMPLES = {
    ("server", Figure.FIRST_PACKET, OURS): [0.2, 0.4, 0.3],
    ("server", Figure.FIRST_PACKET, ITS): [0.003],
    ("server", Figure.READY, OURS): [0.25],
    ("miredo -V", Figure.ENDED, ITS): [0.002],
    ("mire", Figure.PROCESSOR, OURS): [0.25],
    ("mire", Figure.PROCESSOR, ITS): [0.0],
    ("client", Figure.RESIDENT, OURS): [54.25],
}


# ---------------------------------------------------------------- what is told


def test_the_table_has_medians_spans_and_ratios_by_what_was_started() -> None:
    _, *lines = (" ".join(line.split()) for line in as_text(rows_of(SAMPLES)).splitlines())
    assert lines == [
        "client",
        "resident (RSS), MB 54.25 (54.25 to 54.25)",
        "server",
        "first packet, s 0.300 (0.200 to 0.400) 0.003 (0.003 to 0.003) 100",
        "READY=1 to its service manager, s 0.250 (0.250 to 0.250)",
        "mire",
        "processor, s 0.250 (0.250 to 0.250) 0.000 (0.000 to 0.000)",
        "miredo -V",
        "has done it, s 0.002 (0.002 to 0.002)",
    ]


def test_in_json_every_figure_is_an_object_with_all_its_values() -> None:
    rows = json.loads(json.dumps(as_json(rows_of(SAMPLES)), allow_nan=False))
    assert rows[1] == {
        "of": "server",
        "figure": "first_packet",
        "ours": {"values": [0.2, 0.4, 0.3], "median": 0.3},
        "c-miredo": {"values": [0.003], "median": 0.003},
        "ratio": 100.0,
    }
    assert "c-miredo" not in rows[0]
    assert rows[3]["ratio"] is None
    assert "ours" not in rows[4]


def test_without_the_c_programs_ours_alone_are_measured_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "access", lambda path, _: "server" not in path)
    assert there_are(SUBJECTS) == ["client", "relay", "mire", *TASKS]
    assert capsys.readouterr().err.startswith("start: there is no /usr/sbin/miredo-server; cure: sudo apt-get install")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert there_are(SUBJECTS) == []
    assert "needs root" in capsys.readouterr().err


def test_every_role_and_command_has_its_c_program() -> None:
    assert {*ROLES, *TASKS, UNCOMPILED} == set(SUBJECTS)
    assert [subject for subject in SUBJECTS if its_program(subject) is None] == [UNCOMPILED]


# ---------------------------------------------------------------- one start


@contextmanager
def shell(folder: Path, script: str) -> Iterator[Started]:
    one = Started([SHELL, "-c", script], folder / "log", {"NAME": "value"})
    try:
        yield one
    finally:
        one.stop()


def test_a_program_that_detaches_is_followed_by_its_pid_file_and_ended_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    daemon = """sleep 60 & trap 'kill $!; exit' TERM; wait"""
    script = f"({daemon}) & echo $! > {pid_file}"
    with shell(tmp_path, script) as one:
        signs = one.when({"returned": one.has_ended, "numbered": lambda: one.is_in(pid_file)})
        wait = one.when({"both": lambda: len(one.family()) == 2})
        family = one.family()
        assert family[0] == int(pid_file.read_text())
        assert signs.keys() == {"returned", "numbered"}
        assert 0 < min(signs.values()) <= max(signs.values()) <= wait["both"] <= one.age
        memory = memory_of(family[0])
        assert memory is not None
        assert memory.resident >= memory.proportional > 0
        assert one.processor() >= 0
    assert not any(map(lives, family))


def test_one_that_fails_is_told_of_with_all_that_it_said(tmp_path: Path) -> None:
    with (
        shell(tmp_path, "echo $NAME; echo no >&2; exit 3") as one,
        pytest.raises(NotStarted, match=r"it ended with status 3\nvalue\nno$"),
    ):
        one.when({"returned": one.has_ended})


def test_a_sign_that_does_not_come_is_not_waited_for_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(started, "PATIENCE", 0.05)
    with shell(tmp_path, "exec sleep 60") as one, pytest.raises(NotStarted, match=r"ready: not in 0\.05 s"):
        one.when({"there": lambda: True, "ready": lambda: False})


def test_what_ignores_its_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(started, "PATIENCE", 0.2)
    with shell(tmp_path, "trap '' TERM; echo; while :; do sleep 0.05; done") as one:
        one.when({"deaf": lambda: (tmp_path / "log").read_text() != ""})
        (pid, *_) = one.family()
    assert not lives(pid)


# ---------------------------------------------------------------- a run


def run(*words: str) -> list[dict[str, object]]:
    run_in_namespaces(lambda: None, str)  # skips where this user gets none
    command = [sys.executable, "-m", "miredo.commands.bench", "start", "--runs", "1", "--json", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.stderr.splitlines() == ["start: run 1 of 1"]
    assert ended.returncode == 0
    rows: list[dict[str, object]] = json.loads(ended.stdout)
    return rows


def test_each_role_of_ours_sends_a_packet_says_that_it_is_ready_and_takes_memory() -> None:
    words = [word for subject in (*ROLES, UNCOMPILED) for word in ("--of", subject)]
    rows = run("--program", OURS, "--settling", "0", *words)
    figures = {subject: {row["figure"] for row in rows if row["of"] == subject} for subject in (*ROLES, UNCOMPILED)}
    signs = {"first_packet", "ready", "returned", "pid_file", "processor", "resident", "proportional"}
    each = {"worker", "child", "worker_proportional", "child_proportional"}
    drops = os.geteuid() == 0 and not out_of_reach(look_up("nobody"))  # else there is no privileged child
    assert all(figures[role] == signs | (each if drops else set()) for role in ROLES)
    assert figures[UNCOMPILED] == {"first_packet", "ready", "processor"}


@pytest.mark.interop
@pytest.mark.root
def test_the_c_programs_are_measured_beside_ours() -> None:
    if start.there_are(SUBJECTS) != [*ROLES, *TASKS]:
        pytest.skip("Debian's programs are not here; cure: sudo apt-get install miredo miredo-server")
    rows = run("--settling", "0", *[word for subject in (*ROLES, *TASKS) for word in ("--of", subject)])
    compared = {(row["of"], row["figure"]) for row in rows if row["ratio"] is not None}
    assert compared >= {(role, figure) for role in ROLES for figure in ("first_packet", "resident", "proportional")}
    assert compared >= {(task, "ended") for task in TASKS}


def test_the_version_that_is_told_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
