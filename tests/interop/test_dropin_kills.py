# SPDX-License-Identifier: MIT
"""
Daemons that have detached, and kill -9 of each of their two processes: what is left, and that the next start cleans up.

=======  =================  ==========================  =========================================
killed   the other process  ends with status            is left, until the next start
=======  =================  ==========================  =========================================
worker   takes all back     -9                          nothing
child    ends               1, and says in the log why  the number file; the rule of a client
both                        -9                          the number file; the rule of a client
=======  =================  ==========================  =========================================

Whoever has started them starts them again: C{Restart=on-failure} in a unit. The supervisor of C miredo starts a killed
worker anew after a second; killed itself, it leaves a worker that nobody finds.
"""

from __future__ import annotations

import os
import signal
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import pytest

from miredo.kernel.endpoints import KernelEndpoints
from miredo.lab.fronts import NO_NAT
from tests.daemons import Running, lives, started, status_of
from tests.interop.dropin import (
    NODES,
    PATIENCE,
    RELAY_FILE,
    SERVER_ADDRESS,
    Debian,
    address_of,
    debian,
    ended,
    entering,
    traces,
)
from tests.namespaced import install_reactor
from tests.service.test_hooks_on_kernel import name_the_table
from tests.test_tap import wait_for

pytestmark = [pytest.mark.root, pytest.mark.namespaced]

PROGRAMS = {"client": "miredo", "relay": "miredo", "server": "miredo-server"}
FILES = {
    "client": f"InterfaceName teredo\nServerAddress {SERVER_ADDRESS}\nClientHook none\n",
    "relay": RELAY_FILE,
    "server": f"ServerBindAddress {SERVER_ADDRESS}\n",
}
LEFT = {"worker": (-signal.SIGKILL, False), "child": (1, True), "both": (-signal.SIGKILL, True)}
"""How the worker has ended, and whether something is left, by who is killed."""


def started_in(built: Debian, node: str) -> AbstractContextManager[Running]:
    """Start what belongs into a node, detached."""
    folder = built.folder / node
    folder.mkdir(exist_ok=True)
    (folder / "some.conf").write_text(FILES[node])
    pid_file = Path(f"/run/{node}.pid")
    words = ("-c", "some.conf", "-p", str(pid_file))
    return started(folder, PROGRAMS[node], *words, pid_file=pid_file, prepare=entering(node))


def works(node: str, running: Running) -> None:
    """Wait until it has started, and a client has its address and its rule."""
    assert running.process.wait(PATIENCE) == 0, running.text
    wait_for(lambda: node != "client" or (address_of(node) is not None and rules(node) == 1), PATIENCE)


def rules(node: str) -> int:
    """How many of our rules there are in a node."""
    network = KernelEndpoints(node, install_reactor()).network()
    found = len(network.rules())
    network.close()
    return found


def kill(who: str, running: Running) -> int:
    """The status that the worker ends with; the child ends by itself if it has not been killed."""
    worker, child = running.pid, running.child
    killed = {"worker": [worker], "child": [child], "both": [child, worker]}[who]
    for pid in killed:
        os.kill(pid, signal.SIGSTOP)  # nobody is to hear of another's end
        wait_for(partial(is_stopped, pid))
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    status = ended(worker)
    wait_for(lambda: not lives(child))
    return status


def is_stopped(pid: int) -> bool:
    return status_of(pid)["State"][0] == "T"


@pytest.mark.parametrize("node", NODES)
def test_whoever_is_killed_the_next_start_has_nothing_in_its_way(node: str, tmp_path: Path) -> None:
    if node == "client":
        name_the_table(tmp_path)
    with debian(tmp_path, NO_NAT) as built, ExitStack() as beside:
        if node == "client":
            works("server", beside.enter_context(started_in(built, "server")))
        for who, (status, is_left) in LEFT.items():
            with started_in(built, node) as running:
                works(node, running)
                assert kill(who, running) == status
                assert running.pid_file.exists() == is_left
                assert len(traces(node)) == rules(node) == (is_left and node == "client")
        built.log.hears("the privileged child has ended: it was killed by signal 9 (Killed)")
        with started_in(built, node) as running:
            works(node, running)
            pid = running.pid
            running.end()
            assert ended(pid) == 0
        assert traces(node) == []
        assert not running.pid_file.exists()
        said = [line.text for line in built.log.lines() if "which a program that was killed has left" in line.text]
        assert len(said) == 2 * (node == "client")
