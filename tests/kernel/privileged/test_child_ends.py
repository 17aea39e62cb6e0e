# SPDX-License-Identifier: MIT
"""The end of a privileged child: told, killed, or left alone; and what is left behind, which is nothing."""

import os
import signal
from errno import EEXIST, EPIPE
from pathlib import Path

import pytest

from miredo.kernel.interfaces import INetwork
from miredo.kernel.namespaces import create_namespace
from miredo.kernel.netlink import KernelNetwork
from tests.kernel.bench import refused_with
from tests.kernel.privileged.children import (
    ADDRESS,
    TABLE,
    TEXT,
    charge,
    is_gone,
    name_table,
    program,
    rules,
    spawned,
    wait_for,
    whole_life,
)
from tests.namespaced import install_reactor, run_reactor, until

# ------------------------------------------------------------------ who is killed


@pytest.mark.namespaced
def test_a_child_that_is_killed_is_missed_at_once() -> None:
    child = spawned(charge())
    child.endpoints("left", install_reactor()).network().close()
    lost: list[str] = []

    async def body() -> None:
        child.attach(install_reactor(), lost.append)
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda: lost != [])
        with refused_with(EPIPE):
            child.read("/etc/hosts", 1)
        assert (await child.run_hook({"STATE": "down", "IFACE": "teredo"}, "left")).status == 126
        await child.end()

    run_reactor(body())
    assert lost == ["it was killed by signal 9 (Killed)"]
    assert not os.path.exists(f"/proc/{child.pid}")


@pytest.mark.namespaced
def test_a_child_that_was_killed_is_noticed_by_who_asks_it() -> None:
    child = spawned(charge())
    lost: list[str] = []

    async def body() -> None:
        child.attach(install_reactor(), lost.append)
        os.kill(child.pid, signal.SIGKILL)
        with refused_with(EPIPE):
            child.read("/etc/hosts", 1)
        assert lost == []
        await until(lambda: lost != [])
        await until(lambda: not os.path.exists(f"/proc/{child.pid}"))

    run_reactor(body())
    assert len(lost) == 1
    ended: list[None] = []
    child.end().addCallback(ended.append)
    assert ended == [None]


@pytest.mark.namespaced
def test_a_child_that_does_not_answer_counts_as_dead() -> None:
    child = spawned(charge())
    child.endpoints("left", install_reactor()).network().close()
    child.patience = 0.1
    lost: list[str] = []

    async def body() -> None:
        child.attach(install_reactor(), lost.append)
        os.kill(child.pid, signal.SIGSTOP)
        with refused_with(EPIPE):
            child.read("/etc/hosts", 1)
        await until(lambda: lost != [])
        os.kill(child.pid, signal.SIGCONT)
        await until(lambda: not os.path.exists(f"/proc/{child.pid}"))

    run_reactor(body())
    assert lost == ["no answer for 0.1 s"]


@pytest.mark.namespaced
def test_a_worker_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    name_table()
    said, pid_file = tmp_path / "said", tmp_path / "pid"
    hook = program(tmp_path / "hook", f'echo "$STATE $OLD_STATE $IFACE $OLD_ADDRESS" >> {said}')
    create_namespace("left")
    reading, writing = os.pipe()
    worker = os.fork()
    if worker == 0:
        pid_file.write_text("1\n")
        child = spawned(charge(pid_file=str(pid_file), hook=hook))
        endpoints = child.endpoints("left", install_reactor())
        tunnel, network = endpoints.open_tunnel("teredo", 1280), endpoints.network()
        network.add_rule(ADDRESS, TABLE, 32765)
        up = {"STATE": "up", "OLD_STATE": "down", "IFACE": "teredo", "IFINDEX": str(tunnel.index)}
        child.run_hook({**up, "ADDRESS": "2001:0:c000:201::1"}, "left")
        os.write(writing, str(child.pid).encode())
        signal.pause()
    os.close(writing)
    child_pid = int(os.read(reading, 100))
    os.close(reading)
    assert rules() == [(ADDRESS, TABLE, 32765)]
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    wait_for(lambda: is_gone(child_pid))
    assert rules() == []
    assert not pid_file.exists()
    assert said.read_text().splitlines() == [
        "up down teredo ",
        "down up teredo 2001:0:c000:201::1",
        "destroy up teredo 2001:0:c000:201::1",
    ]


@pytest.mark.namespaced
def test_a_worker_that_dies_while_somebody_else_holds_its_sockets_is_missed_too() -> None:
    reading, writing = os.pipe()
    create_namespace("left")
    worker = os.fork()
    if worker == 0:
        child = spawned(charge())
        child.endpoints("left", install_reactor()).network().close()
        heir = os.fork()
        if heir == 0:
            signal.pause()
        os.write(writing, f"{child.pid} {heir}".encode())
        signal.pause()
    child_pid, heir_pid = map(int, os.read(reading, 100).split())
    for descriptor in (reading, writing):
        os.close(descriptor)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    wait_for(lambda: is_gone(child_pid))
    os.kill(heir_pid, signal.SIGKILL)


# ------------------------------------------------------------------ the end


@pytest.mark.namespaced
@pytest.mark.parametrize("replaced", [False, True])
def test_the_pid_file_is_removed_if_it_is_the_same(tmp_path: Path, replaced: bool) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text("1\n")
    child = spawned(charge(pid_file=str(pid_file)))
    child.endpoints("left", install_reactor()).network().close()
    if replaced:
        (tmp_path / "new").write_text("2\n")
        (tmp_path / "new").rename(pid_file)
    whole_life(child)
    assert pid_file.exists() is replaced


@pytest.mark.namespaced
def test_a_rule_that_was_deleted_is_not_deleted_again_and_one_that_was_not_is() -> None:
    name_table()
    child = spawned(charge())
    network = child.endpoints("left", install_reactor()).network()
    network.add_rule(ADDRESS, TABLE, 32765)
    with refused_with(EEXIST):
        network.add_rule(ADDRESS, TABLE, 32765)
    network.delete_rule(ADDRESS, TABLE, 32765)
    network.add_rule(ADDRESS, TABLE, 32764)
    assert network.rules() == [(ADDRESS, TABLE, 32764)]
    other = KernelNetwork("left")
    other.add_rule(ADDRESS, TABLE, 32765)  # as somebody would that runs beside us
    assert network.table_named("teredo") == TABLE
    network.close()
    other.close()
    whole_life(child)
    assert rules() == [(ADDRESS, TABLE, 32765)]


@pytest.mark.namespaced
def test_rules_of_the_dead_are_removed_by_it() -> None:
    create_namespace("left")
    before = KernelNetwork("left")
    before.add_rule(ADDRESS, TABLE, 32765)
    before.close()
    child = spawned(charge())
    network: INetwork = child.endpoints("left", install_reactor()).network()
    assert network.remove_leftovers() == [ADDRESS]
    assert network.rules() == []
    network.close()
    whole_life(child)


@pytest.mark.namespaced
def test_a_recording_that_was_made_and_not_written_is_discarded(tmp_path: Path) -> None:
    record = tmp_path / "record"
    child = spawned(charge(f"{TEXT}Record {record}\n"))
    endpoints = child.endpoints("left", install_reactor())
    made, descriptor = endpoints.open_record(str(record))
    assert (made, record.read_bytes()) == (True, b"")
    endpoints.discard_record(str(record), descriptor)
    assert not record.exists()
    os.close(descriptor)
    record.write_bytes(b"miredo recording of another run")
    made, descriptor = endpoints.open_record(str(record))
    os.close(descriptor)
    assert made is False
    endpoints.discard_record(str(record), descriptor)
    assert record.exists()
    whole_life(child)
