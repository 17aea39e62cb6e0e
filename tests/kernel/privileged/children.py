# SPDX-License-Identifier: MIT
"""Privileged children for tests, and what is left of them."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from miredo.address.endpoint import parse_ipv6
from miredo.kernel.libc import mount
from miredo.kernel.namespaces import create_namespace
from miredo.kernel.netlink import KernelNetwork
from miredo.kernel.privileged.charge import Charge
from miredo.kernel.privileged.worker import PrivilegedChild
from tests.namespaced import install_reactor, run_reactor

TEXT = "[client c]\nNamespace left\nServerAddress 192.0.2.1\n"
ADDRESS = parse_ipv6("2001:0:c000:201::1")
TABLE = 84
PATIENCE = 10.0


def charge(text: str = TEXT, file: str | None = None, **more: str) -> Charge:
    return Charge("miredo", file, text.encode(), **more)


def spawned(told: Charge) -> PrivilegedChild:
    """A child, in the forked process of a namespaced test, with a namespace C{left}."""
    if not os.path.exists("/run/netns/left"):
        create_namespace("left")
    return PrivilegedChild.spawn(told)


def whole_life(child: PrivilegedChild, body: Callable[[], object] = lambda: None) -> None:
    """Have a child that has done its work end, and leave nothing."""
    lost: list[str] = []

    async def live() -> None:
        child.attach(install_reactor(), lost.append)
        waiting = body()
        if isinstance(waiting, Deferred):
            await waiting
        await child.end()

    run_reactor(live())
    assert lost == []
    assert is_gone(child.pid)


def is_gone(pid: int) -> bool:
    """There is no such process, or it only waits for whoever adopted it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def name_table() -> None:
    """Give the table a name, for this test's processes."""
    folder = "/etc/iproute2"
    if not os.path.isdir(folder):
        pytest.skip(f"there is no {folder} that could be covered; cure: sudo apt-get install iproute2")
    mount("tmpfs", folder, "tmpfs", 0)
    Path(folder, "rt_tables").write_text(f"{TABLE} teredo\n")


def rules() -> list[tuple[bytes, int, int]]:
    network = KernelNetwork("left")
    found = network.rules()
    network.close()
    return found


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)
