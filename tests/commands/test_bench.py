# SPDX-License-Identifier: MIT
"""C{bench recovery}: what its table and its exit status say, and one trial as a user starts it."""

import json
import os
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest

from miredo.commands import recovery
from miredo.commands.bench import parser
from miredo.commands.recovery import ITS, LONGEST_FIRST, OURS, TARGETS, Broken, Row, as_json, as_text, its_is_there
from miredo.lab.recovering import Figure, Figures, Trial
from miredo.teredo.constants import RELAY_PATIENCE
from tests.namespaced import run_in_namespaces

ROOT = Path(__file__).parents[2]
SLOW = Row(Figure.NOTICED_IDLE, 45.0, [50.0, 46.0, 10.0], [41.0, 40.0, 41.5])
QUICK = Row(Figure.RELAY_SILENT, 4.0, [3.0, inf, 3.5], [30.0])
UNTARGETED = Row(Figure.RELAY_UPLOAD, None, [3.5], [])


def bench(*words: str) -> int:
    options = parser().parse_args(["recovery", *words])
    return int(options.bench(options))


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figures]:
    """Runs nothing: each trial has the figures that a test wants, by program."""
    wanted: dict[str, Figures] = {}

    def told(trial: Trial, program: str, _: object) -> Figures:
        if program not in wanted:
            raise Broken(f"{trial}, {program}: the client did not qualify")
        return wanted[program]

    monkeypatch.setattr(recovery, "apart", told)
    return wanted


def test_every_trial_is_run_and_every_target_is_of_a_figure() -> None:
    assert set(LONGEST_FIRST) == set(Trial)
    assert set(TARGETS) == set(Figure) - {Figure.RELAY_UPLOAD}


def test_the_table_has_medians_spans_ratios_and_what_was_missed() -> None:
    _, *rows = (" ".join(line.split(":")[1].split()) for line in as_text([SLOW, QUICK, UNTARGETED]).splitlines())
    assert rows == [
        "noticed 45 46.00 (10.00 to 50.00) 41.00 (40.00 to 41.50) 0.9 MISSED",
        "pings answered 4 3.50 (3.00 to inf) 30.00 (30.00 to 30.00) 8.6",
        "TCP upload goes on 3.50 (3.50 to 3.50)",
    ]


def test_what_never_came_is_null_in_json() -> None:
    slow, quick, untargeted = json.loads(json.dumps(as_json([SLOW, QUICK, UNTARGETED]), allow_nan=False))
    assert (slow["met"], quick["met"], untargeted["met"]) == (False, True, None)
    assert quick["ours"] == {"seconds": [3.0, None, 3.5], "median": 3.5}
    assert "c-miredo" not in untargeted


def test_the_exit_status_tells_whether_a_target_was_missed(
    figures: dict[str, Figures], capsys: pytest.CaptureFixture[str]
) -> None:
    figures[OURS] = {Figure.NOTICED_IDLE: 44.0, Figure.SERVER_BACK: 14.0}
    assert bench("--program", OURS) == 0
    figures[OURS] = {Figure.NOTICED_IDLE: 44.0, Figure.SERVER_BACK: None}
    assert bench("--program", OURS) == 1
    assert "MISSED" in capsys.readouterr().out


def test_a_trial_that_cannot_begin_is_told_in_one_line(
    figures: dict[str, Figures], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("--program", ITS, "--trial", "nat-idle") == 1
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "bench: nat-idle, C miredo: the client did not qualify\n")


def test_without_c_miredo_ours_alone_is_measured_and_that_is_said(
    figures: dict[str, Figures], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures[OURS] = {Figure.RELAY_SILENT: 3.5}
    monkeypatch.setattr(recovery, "MIREDO", "/nowhere/miredo")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert bench("--trial", "relay-silent") == 0
    assert "there is no /nowhere/miredo; cure: sudo apt-get install miredo" in capsys.readouterr().err
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not its_is_there()
    assert "needs root" in capsys.readouterr().err


@pytest.mark.requirement("C28a", "E9")
def test_a_relay_that_is_gone_is_replaced_before_its_silence_tells_if_its_host_says_so() -> None:
    run_in_namespaces(lambda: None, str)  # skips where this user gets none
    words = ["recovery", "--program", OURS, "--runs", "1", "--trial", "relay-refusing", "--json"]
    command = [sys.executable, "-m", "miredo.commands.bench", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr == ""
    (row,) = json.loads(ended.stdout)
    assert ended.returncode == (0 if row["met"] else 1)  # a busy machine may miss the half second
    assert 0 < row["ours"]["median"] < RELAY_PATIENCE
