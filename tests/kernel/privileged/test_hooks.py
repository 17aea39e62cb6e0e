# SPDX-License-Identifier: MIT
"""Hooks beside a loop: one at a time, for a while only; and what they are told when nobody is left to tell them."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EAGAIN
from pathlib import Path

import pytest

from miredo.kernel.hookprogram import OUTPUT_LIMIT, HookEnded
from miredo.kernel.privileged import hooks
from miredo.kernel.privileged.hooks import QUEUE_LIMIT, Hooks, farewells
from miredo.kernel.privileged.permits import Hook
from tests.kernel.bench import refused_with

UP = {"STATE": "up", "OLD_STATE": "down", "IFACE": "teredo", "IFINDEX": "7"}
NEW = {"ADDRESS": "2001:0:c000:201::1", "LLADDRESS": "fe80::ffff:ffff:ffff", "MTU": "1280"}
OLD = {"OLD_ADDRESS": "2001:0:c000:201::1", "OLD_LLADDRESS": "fe80::ffff:ffff:ffff", "OLD_MTU": "1280"}


def hook(folder: Path, text: str, **environment: str) -> Hook:
    path = folder / "hook"
    if not path.exists():
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return Hook(str(path), None, {**UP, **environment})


class Told:
    """Hooks, and what was told of their ends."""

    def __init__(self, limit: float = 10.0) -> None:
        self.ends: dict[int, HookEnded] = {}
        self.hooks = Hooks(self.ends.__setitem__, limit)

    def finish(self) -> None:
        deadline = time.monotonic() + 10
        while not self.hooks.idle:
            assert time.monotonic() < deadline
            self.hooks.look()
            time.sleep(0.005)


@contextmanager
def gone_with(told: Told) -> Iterator[None]:
    """Asserts that no process is left."""
    yield
    told.finish()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_hook_that_takes_too_long_is_killed_with_what_it_has_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    told = Told(limit=0.3)
    with gone_with(told):
        told.hooks.ask(hook(tmp_path, f"echo begun; sleep 600 & echo $! > {pid}; wait"))
        told.hooks.look()
        assert told.hooks.deadline is not None
    assert told.ends == {1: HookEnded(-signal.SIGKILL, "it took longer than 0.3 s and was killed\nbegun\n")}
    state = Path(f"/proc/{pid.read_text().strip()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_once_the_end_has_come_no_hook_takes_longer_than_the_end_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "LAST_LIMIT", 0.3)
    told = Told()
    with gone_with(told):
        told.hooks.ask(hook(tmp_path, "sleep 600"))
        told.hooks.look()
        told.hooks.wind_up()
        assert not told.hooks.idle
    assert [end.status for end in told.ends.values()] == [-signal.SIGKILL]


def test_a_hook_that_says_a_lot_ends_and_the_first_of_it_is_kept(tmp_path: Path) -> None:
    told = Told()
    with gone_with(told):
        told.hooks.ask(hook(tmp_path, "head -c 1000000 /dev/zero | tr '\\0' x"))
    assert told.ends == {1: HookEnded(0, "x" * OUTPUT_LIMIT)}


def test_somebody_whom_a_hook_has_left_running_is_not_waited_for(tmp_path: Path) -> None:
    told = Told()
    with gone_with(told):
        told.hooks.ask(hook(tmp_path, "sleep 3 & echo done"))
    assert told.ends == {1: HookEnded(0, "done\n")}
    assert told.hooks.descriptor is None


def test_a_hook_that_closes_its_output_is_waited_for(tmp_path: Path) -> None:
    told = Told()
    with gone_with(told):
        told.hooks.ask(hook(tmp_path, "exec >&- 2>&-; sleep 0.1; exit 4"))
        told.hooks.look()
        assert told.hooks.descriptor is not None
    assert told.ends == {1: HookEnded(4, "")}


def test_hooks_wait_up_to_a_limit(tmp_path: Path) -> None:
    told = Told()
    with gone_with(told):
        for _ in range(QUEUE_LIMIT):
            told.hooks.ask(hook(tmp_path, "exit 0"))
        with refused_with(EAGAIN):
            told.hooks.ask(hook(tmp_path, "exit 0"))
    assert list(told.ends) == list(range(1, QUEUE_LIMIT + 1))


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (
            {**UP, **NEW},
            [
                {"STATE": "down", "OLD_STATE": "up", "IFACE": "teredo", "IFINDEX": "7", **OLD},
                {"STATE": "destroy", "OLD_STATE": "up", "IFACE": "teredo", "IFINDEX": "7", **OLD},
            ],
        ),
        (
            {**UP, **OLD, "STATE": "down", "OLD_STATE": "up"},
            [{"STATE": "destroy", "OLD_STATE": "up", "IFACE": "teredo", "IFINDEX": "7", **OLD}],
        ),
        (
            {**UP, "STATE": "down"},
            [{"STATE": "destroy", "OLD_STATE": "down", "IFACE": "teredo", "IFINDEX": "7"}],
        ),
    ],
    ids=["up", "down from up", "down"],
)
def test_what_is_told_of_a_tunnel_that_nobody_took_down(last: dict[str, str], expected: list[dict[str, str]]) -> None:
    assert [one.environment for one in farewells(Hook("/hook", "left", last))] == expected


def test_each_tunnel_is_destroyed_once_unless_it_was_already(tmp_path: Path) -> None:
    said = tmp_path / "said"
    told = Told()
    one = hook(tmp_path, f'echo "$IFACE $STATE" >> {said}', STATE="down")
    with gone_with(told):
        for name, state in (("a", "down"), ("b", "down"), ("b", "destroy"), ("a", "down")):
            told.hooks.ask(one._replace(environment={"IFACE": name, "STATE": state}))
        told.hooks.wind_up()
        told.hooks.wind_up()
    assert said.read_text().splitlines() == ["a down", "b down", "b destroy", "a down", "a destroy"]
