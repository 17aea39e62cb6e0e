# SPDX-License-Identifier: MIT
"""A test that fails leaves recordings, and they can be replayed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from miredo.commands.replay import main
from miredo.teredo.recording import parse_recording
from tests.recorded import recorded_worlds
from tests.world import client_and_relay, qualified_lab

ROOT = Path(__file__).parents[1]

FAILS = """
from tests.world import qualified_lab

def test_that_fails():
    lab = qualified_lab()
    assert lab.answered(lab.ping())
    assert lab.client.qualified is None

def test_that_passes():
    qualified_lab()
"""

COUNTEREXAMPLE = """
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.world import qualified_lab

class Machine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.lab = qualified_lab()

    @rule(times=st.integers(0, 20))
    def pings(self, times):
        for _ in range(times):
            self.lab.ping()
        assert times < 7

TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=20, derandomize=True, database=None, deadline=None)
"""


def files_left_by(test: str, folder: Path) -> dict[str, Path]:
    """What a run of pytest names in its report, by the name of the role."""
    (folder / "test_it.py").write_text(test)
    words = [
        "-m",
        "pytest",
        "-p",
        "tests.recorded",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
        "test_it.py",
    ]
    environment = {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 1, done.stdout + done.stderr
    found = map(Path, re.findall(r"^\./x replay (\S+)$", done.stdout, re.MULTILINE))
    return {file.stem: file for file in found}


def test_a_failing_test_leaves_a_recording_of_each_core(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = files_left_by(FAILS, tmp_path)
    assert set(files) == {"server", "relay", "client"}
    assert len(list(tmp_path.rglob("*.recording"))) == 3
    for file in files.values():
        assert main([str(file)]) == 0
        assert file.parent.stat().st_mode & 0o77 == 0
    assert capsys.readouterr().out.count("all actions alike") == 3


def test_a_counterexample_leaves_the_smallest_run_that_fails(tmp_path: Path) -> None:
    files = files_left_by(COUNTEREXAMPLE, tmp_path)
    names = [each.name for each in parse_recording(files["client"].read_bytes()).inputs]
    assert names.count("transmit") == 7


def test_only_the_newest_world_is_kept() -> None:
    with recorded_worlds() as recorders:
        qualified_lab()
        client_and_relay()
        assert [each.role for each in recorders] == ["server", "relay", "client"]
        assert [len(parse_recording(each.contents()).inputs) for each in recorders] == [0, 0, 1]
