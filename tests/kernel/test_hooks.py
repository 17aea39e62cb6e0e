# SPDX-License-Identifier: MIT
"""Hooks as the kernel runs them: what they are given, what is told of them, and which of them are not run at all."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, gatherResults, succeed
from zope.interface.verify import verifyObject

from miredo.kernel.hookprogram import CANNOT_START, OUTPUT_LIMIT, PATH, HookEnded
from miredo.kernel.hooks import DelegatedHook, SpawnedHooks
from miredo.kernel.interfaces import IHook
from miredo.kernel.memory import MemoryHook
from miredo.kernel.namespaces import create_namespace
from tests.daemons import lives
from tests.namespaced import install_reactor, pause, run_reactor
from tests.test_tap import wait_for


def script(folder: Path, text: str, mode: int = 0o755) -> str:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return str(path)


def spawned(path: str, namespace: str | None = None, limit: float = 30.0) -> IHook:
    return SpawnedHooks(install_reactor(), limit)(path, namespace)


def ended(hook: IHook, environment: dict[str, str] | None = None) -> HookEnded:
    """What becomes of one run."""

    async def body() -> HookEnded:
        return await hook.run(environment or {})

    return run_reactor(body())


@pytest.mark.namespaced
@pytest.mark.requirement("T36")
def test_a_hook_gets_its_environment_and_nothing_else(tmp_path: Path) -> None:
    os.environ["LD_PRELOAD_OF_SOMEBODY"] = "here"
    reading = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(reading, True)
    code = (
        "import os, sys; print(sorted(open('/proc/self/environ').read().split('\\0')), sys.argv[1:], os.getcwd(), "
        "os.umask(0), os.getsid(0) == os.getpid(), sys.stdin.read(), sorted(os.listdir('/proc/self/fd')))"
    )
    path = tmp_path / "hook"
    path.write_text(f"#!{sys.executable} -ISE\n{code}\n")
    path.chmod(0o755)
    status, output = ended(spawned(str(path)), {"STATE": "up", "IFACE": "a;b $(touch x) `id`"})
    os.close(reading)
    given = ["", "IFACE=a;b $(touch x) `id`", f"PATH={PATH}", "STATE=up"]
    assert (status, output) == (0, f"{given} [] / 18 True  ['0', '1', '2', '3']\n")


@pytest.mark.namespaced
def test_what_a_hook_says_and_how_it_ends_is_told(tmp_path: Path) -> None:
    hook = spawned(script(tmp_path, "echo one; echo two >&2; exit 3"))
    assert verifyObject(IHook, hook)
    assert ended(hook) == HookEnded(3, "one\ntwo\n")


@pytest.mark.namespaced
def test_a_hook_that_a_signal_ends_has_its_negative_number_as_its_status(tmp_path: Path) -> None:
    assert ended(spawned(script(tmp_path, "kill -TERM $$"))) == HookEnded(-15, "")


@pytest.mark.namespaced
def test_a_hook_that_talks_without_end_is_heard_out_and_its_beginning_kept(tmp_path: Path) -> None:
    status, output = ended(spawned(script(tmp_path, "head -c 300000 /dev/zero | tr '\\0' x; exit 0")))
    assert (status, output) == (0, "x" * OUTPUT_LIMIT)


@pytest.mark.namespaced
def test_nothing_that_a_hook_says_moves_a_cursor(tmp_path: Path) -> None:
    assert ended(spawned(script(tmp_path, "printf 'a\\033[2Jb\\rc\\377\\n'"))).output == "a [2Jb c\\xff\n"


@pytest.mark.namespaced
def test_hooks_run_one_at_a_time_and_in_order(tmp_path: Path) -> None:
    path = script(tmp_path, f'echo "begin $N" >> {tmp_path}/log; sleep 0.05; echo "end $N" >> {tmp_path}/log')
    hooks = SpawnedHooks(install_reactor())
    first, second = hooks(path, None), hooks(path, None)

    async def body() -> None:
        await gatherResults([(first if n % 2 else second).run({"N": str(n)}) for n in range(3)])

    run_reactor(body())
    assert (tmp_path / "log").read_text().split("\n")[:-1] == [
        f"{what} {n}" for n in range(3) for what in ("begin", "end")
    ]


@pytest.mark.namespaced
def test_a_hook_that_takes_too_long_is_killed_with_what_it_has_started(tmp_path: Path) -> None:
    hook = spawned(script(tmp_path, f"echo said; sleep 30 & echo $! > {tmp_path}/child; wait"), limit=0.3)
    began = time.monotonic()
    status, output = ended(hook)
    assert (status, output) == (-9, "it took longer than 0.3 s and was killed\nsaid\n")
    assert time.monotonic() - began < 5
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not lives(child))


@pytest.mark.namespaced
def test_a_hook_has_ended_when_its_process_has_whoever_still_holds_its_output(tmp_path: Path) -> None:
    began = time.monotonic()
    assert ended(spawned(script(tmp_path, "echo said; sleep 3 &"))) == HookEnded(0, "said\n")
    assert time.monotonic() - began < 2


@pytest.mark.namespaced
def test_the_reactor_goes_on_beside_a_hook(tmp_path: Path) -> None:
    hook = spawned(script(tmp_path, "sleep 0.3"))
    seen: list[HookEnded] = []

    async def body() -> int:
        hook.run({}).addCallback(seen.append)
        turns = 0
        while not seen:
            await pause(0.005)
            turns += 1
        return turns

    assert run_reactor(body()) > 10


@pytest.mark.namespaced
def test_a_hook_works_in_the_namespace_of_its_role(tmp_path: Path) -> None:
    create_namespace("left")
    hook = spawned(script(tmp_path, "readlink /proc/self/ns/net"), "left")
    assert ended(hook).output not in ("", os.readlink("/proc/self/ns/net") + "\n")


@pytest.mark.namespaced
def test_a_hook_without_an_interpreter_is_one_that_cannot_be_started(tmp_path: Path) -> None:
    path = tmp_path / "hook"
    path.write_text("#!/nowhere/sh\n")
    path.chmod(0o755)
    status, output = ended(spawned(str(path)))
    assert status == CANNOT_START
    assert "No such file or directory" in output


def missing(folder: Path) -> str:
    return str(folder / "nothing")


def folder_itself(folder: Path) -> str:
    return str(folder)


def not_executable(folder: Path) -> str:
    return script(folder, "exit 0", 0o644)


def for_everybody(folder: Path) -> str:
    return script(folder, "exit 0", 0o757)


def for_a_group(folder: Path) -> str:
    return script(folder, "exit 0", 0o775)


def of_somebody(folder: Path) -> str:
    path = script(folder, "exit 0")
    os.chown(path, 12345, 12345)
    return path


def behind_a_link(folder: Path) -> str:
    (folder / "link").symlink_to(for_everybody(folder))
    return str(folder / "link")


def in_a_folder_of_everybody(folder: Path) -> str:
    open_folder = folder / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    return script(open_folder, "exit 0")


BAD = [
    (missing, "No such file or directory"),
    (folder_itself, "not a file"),
    (not_executable, "not executable"),
    (for_everybody, "it is run as root, and others than its owner may write it"),
    (for_a_group, "it is run as root, and others than its owner may write it"),
    pytest.param(of_somebody, "it is run as root and belongs to user 12345, not to root", marks=pytest.mark.root),
    (behind_a_link, "it is run as root, and others than its owner may write it"),
    (in_a_folder_of_everybody, "it is run as root, and everybody may replace it in "),
]


@pytest.mark.namespaced
@pytest.mark.parametrize(("make", "reason"), BAD)
@pytest.mark.requirement("T36")
def test_a_hook_that_others_could_have_written_is_not_run(
    tmp_path: Path, make: Callable[[Path], str], reason: str
) -> None:
    path = make(tmp_path)
    hook = spawned(path)
    with pytest.raises(OSError, match=f"hook {path}: {reason}"):
        hook.check()
    status, output = ended(hook)
    assert status == CANNOT_START
    assert output.startswith(f"hook {path}: {reason}")


@pytest.mark.namespaced
def test_a_hook_in_a_sticky_folder_is_as_safe_as_its_owner(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    spawned(script(tmp_path, "exit 0")).check()


@pytest.mark.namespaced
def test_a_hook_that_somebody_else_runs_is_looked_at_while_this_process_can(tmp_path: Path) -> None:
    asked: list[object] = []

    def run(environment: object) -> Deferred[HookEnded]:
        asked.append(environment)
        return succeed(HookEnded(0, ""))

    hook = DelegatedHook(for_everybody(tmp_path), run)
    assert verifyObject(IHook, hook)
    with pytest.raises(OSError, match="others than its owner"):
        hook.check()
    assert ended(hook, {"STATE": "up"}) == HookEnded(0, "")
    assert asked == [{"STATE": "up"}]


def test_a_hook_in_memory_runs_one_at_a_time_and_in_order() -> None:
    hook = MemoryHook()
    hook.slow = True
    seen: list[HookEnded] = []
    for number in range(3):
        hook.run({"N": str(number)}).addCallback(seen.append)
    assert verifyObject(IHook, hook)
    assert (hook.runs, seen) == ([{"N": "0"}], [])
    hook.end(1, "said")
    assert (hook.runs, seen) == ([{"N": "0"}, {"N": "1"}], [HookEnded(1, "said")])
    hook.slow = False
    hook.end()
    assert len(hook.runs) == len(seen) == 3
    hook.fault = PermissionError(1, "not so")
    with pytest.raises(PermissionError):
        hook.check()
