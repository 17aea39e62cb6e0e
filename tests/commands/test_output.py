# SPDX-License-Identifier: MIT
"""Where standard output cannot be written, every program says so in a line and fails; a closed pipe is no error."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ["demo --sim", "demo --sim --json", "lab nats --sim --delay 1"]


def shell(line: str) -> subprocess.CompletedProcess[str]:
    command = line.replace("PROGRAM", f"{sys.executable} -m miredo.commands")
    return subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words", PROGRAMS)
def test_a_full_disk_is_told_in_a_line(words: str) -> None:
    told = shell(f"PROGRAM.{words} > /dev/full")
    assert (told.returncode, told.stderr) == (1, "cannot write to standard output: No space left on device\n")


@pytest.mark.parametrize("words", PROGRAMS)
def test_a_closed_output_is_told_in_a_line(words: str) -> None:
    told = shell(f"PROGRAM.{words} >&-")
    assert (told.returncode, told.stderr) == (1, "cannot write: standard output is closed\n")


@pytest.mark.parametrize("words", PROGRAMS)
def test_who_reads_no_further_is_told_nothing(words: str) -> None:
    told = shell(f"PROGRAM.{words} | head -1")
    assert (len(told.stdout.splitlines()), told.stderr) == (1, "")
