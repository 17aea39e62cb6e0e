# SPDX-License-Identifier: MIT
"""A lab that is left up can be visited, from outside and by its owner, until it is ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from miredo.commands import lab
from miredo.lab import visiting
from miredo.lab.visiting import KeptLab, NoLab

ROOT = Path(__file__).parents[2]
NODES = {"server": ["192.0.2.1", "2001:db8:1::1"], "core": ["192.0.2.14"], "client-a": ["192.168.1.2", "2001:0:1::2"]}


@contextmanager
def kept(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """C{./x demo --keep}, up; skips where it may not be."""
    said = tmp_path / "said"
    with said.open("wb") as writing, (tmp_path / "complained").open("wb") as complaining:
        process = subprocess.Popen(
            [sys.executable, "-m", "miredo.commands.demo", "--keep", "--json"],
            cwd=ROOT,
            stdout=writing,
            stderr=complaining,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        deadline = time.monotonic() + 30
        while b'"ladder"' not in said.read_bytes() or not said.read_bytes().endswith(b"}\n"):
            if process.poll() is not None and "to allow it:" in (tmp_path / "complained").read_text():
                pytest.skip((tmp_path / "complained").read_text())
            assert process.poll() is None, (tmp_path / "complained").read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.02)
        assert json.loads(said.read_bytes())["ok"]
        yield process
    finally:
        process.kill()
        process.wait()


def visit(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "miredo.commands.lab", *words]
    # A folder on PATH that this user may not search would have the kernel say something else of what is not there.
    environment = {**os.environ, "PATH": os.defpath}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_a_kept_lab_is_visited_and_ended(tmp_path: Path) -> None:
    with kept(tmp_path) as process:
        there = visit("ping", "client-a", "host", "-c", "2")
        assert (there.returncode, there.stderr) == (0, "")
        assert there.stdout.endswith("2 of 2 answered\n")
        back = visit("ping", "host", "client-b", "-c", "1")
        assert back.returncode == 0
        assert "2001:0:c000:201:" in back.stdout
        inside = visit("shell", "client-a", "cat", "/proc/net/dev")
        assert inside.returncode == 0
        assert "teredo:" in inside.stdout
        assert "lan:" in inside.stdout
        nowhere = visit("shell", "nowhere")
        assert (nowhere.returncode, nowhere.stdout) == (1, "")
        assert nowhere.stderr.startswith("lab: there is no node nowhere; the nodes are server, relay,")
        lost = visit("shell", "client-a", "no-such-program")
        assert lost.stderr == "lab: no-such-program: No such file or directory\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_without_a_lab_the_line_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("miredo.lab.visiting.STATE", "run/no-such-file")
    assert lab.main(["shell", "client-a"]) == 1
    assert capsys.readouterr().err == "lab: no lab is up; start one with ./x demo --keep\n"


def test_a_node_is_reached_by_its_last_ipv6_address() -> None:
    known = KeptLab(os.getpid(), NODES)
    assert known.address_of("client-a") == "2001:0:1::2"
    with pytest.raises(NoLab, match="core has no IPv6 address"):
        known.address_of("core")
    with pytest.raises(NoLab, match="the nodes are server, core, client-a"):
        known.address_of("elsewhere")


def test_memory_has_nothing_to_keep() -> None:
    command = [sys.executable, "-m", "miredo.commands.demo", "--sim", "--keep"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert told.returncode == 2
    assert "--sim has none" in told.stderr


def test_a_kept_lab_says_how_to_visit_it_and_a_visitor_stays_in_his_folder(tmp_path: Path) -> None:
    with kept(tmp_path) as process:
        said = (tmp_path / "complained").read_text()
        assert said.startswith("The lab is up until Ctrl-C.")
        assert f"its process is {process.pid}" in said
        here = visit("shell", "client-a", "pwd")
        assert (here.returncode, here.stdout) == (0, f"{ROOT}\n")
        chosen = visit("ping", "--lab", str(process.pid), "client-a", "host", "-c", "1")
        assert chosen.returncode == 0
        other = visit("ping", "--lab", "1", "client-a", "host")
        assert (other.returncode, other.stderr) == (1, "lab: there is no lab of a process 1\n")


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_ping_is_at_least_one(count: str) -> None:
    told = visit("ping", "client-a", "host", "-c", count)
    assert told.returncode == 2
    assert "from 1 on" in told.stderr or "expected one argument" in told.stderr


def test_of_several_labs_one_is_to_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    labs = [KeptLab(7, NODES), KeptLab(9, NODES)]
    monkeypatch.setattr(visiting, "_labs", lambda: iter(labs))
    with pytest.raises(NoLab, match="choose one with --lab PID: 7, 9"):
        visiting.find()
    assert visiting.find(9) is labs[1]
