# SPDX-License-Identifier: MIT
"""C{./x lab nats} as a user starts it."""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from miredo.commands.nats import tell
from miredo.lab.nat import FAMILIAR, KINDS
from miredo.lab.plan import Scenario
from miredo.lab.survey import Trial, Way
from tests.commands.test_demo import REFUSALS, members
from tests.namespaced import run_in_namespaces

ROOT = Path(__file__).parents[2]


def nats(*words: str, prepare: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "miredo.commands.lab", "nats", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, preexec_fn=prepare)


@pytest.fixture(scope="module")
def namespaces() -> None:
    """Skips what needs namespaces where this user gets none."""
    run_in_namespaces(lambda: None, str)


@pytest.mark.soak
def test_on_real_packets_every_first_packet_is_answered(namespaces: None) -> None:
    ended = nats("--delay", "0", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    told = json.loads(ended.stdout)
    assert len(told) == 2 * len(KINDS) + 25
    assert all(0 < each["rtt_ms"] < 2000 for each in told)  # no bubble had to be repeated


def test_in_memory_every_first_packet_is_answered_and_waits_for_no_timer() -> None:
    """A ping to a native host and back crosses 22 links, one between clients 10."""
    ended = nats("--sim", "--delay", "40", "150", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    for each in json.loads(ended.stdout):
        ways = 10 if each["to"] == "client-b" else 22
        assert each["rtt_ms"] == pytest.approx(ways * each["delay_ms"])


def test_where_namespaces_are_refused_the_cure_is_told_once(namespaces: None) -> None:
    prepare, reason, cure = REFUSALS["net"]
    ended = nats("--delay", "0", prepare=prepare)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[0] == f"lab: demo: {reason}"
    assert ended.stderr.count(cure) == 1
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("delay", ["-1", "nan", "soon"])
def test_a_delay_that_no_link_can_have_is_refused(delay: str) -> None:
    ended = nats("--delay", delay)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"{delay}" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_memory_has_no_nats_of_the_kernels() -> None:
    ended = nats("--sim", "--kernel")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "not allowed with" in ended.stderr


def test_what_was_not_answered_is_told_with_the_command_that_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    symmetric = FAMILIAR["symmetric"]
    lost = Trial(Scenario(symmetric, symmetric), Way.BETWEEN_CLIENTS)
    good = Trial(Scenario(), Way.TO_HOST)
    assert tell({good: 0.5}, argparse.Namespace(json=True, sim=False)) == 0
    capsys.readouterr()
    assert tell({good: 0.5, lost: None}, argparse.Namespace(json=True, sim=True)) == 1
    out, err = capsys.readouterr()
    assert [each["rtt_ms"] for each in json.loads(out)] == [500.0, None]
    assert err == f"lab: nothing came back in: ./x demo --nat {symmetric} --peer-nat {symmetric} --delay 0 --sim\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_survey_says_so_and_leaves_no_run_behind(number: int, namespaces: None) -> None:
    command = [sys.executable, "-m", "miredo.commands.lab", "nats", "--delay", "150"]
    survey = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 20
    while len(members(survey.pid)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    survey.send_signal(number)
    out, err = survey.communicate(timeout=20)
    assert (survey.returncode, out, err) == (1, "", "lab: interrupted\n")
    assert members(survey.pid) == []
