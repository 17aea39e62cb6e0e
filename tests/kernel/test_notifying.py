# SPDX-License-Identifier: MIT
"""What a service manager is told, by a socket of a test's own."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from miredo.kernel.notifying import ServiceManager


class Listening:
    """The manager's end."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(name)

    def heard(self) -> list[str]:
        return self._socket.recv(4096).decode().split("\n")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def at(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def listening(at: str) -> Iterator[Listening]:
    listening = Listening(at)
    yield listening
    listening.close()


def test_readiness_is_told_with_a_status(at: str, listening: Listening) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": at})
    manager.ready("Running: client")
    assert listening.heard() == ["READY=1", "STATUS=Running: client"]
    manager.ready("Running: client", main_pid=4711)
    assert listening.heard() == ["READY=1", "STATUS=Running: client", "MAINPID=4711"]
    manager.close()


def test_a_reload_is_told_with_its_time(at: str, listening: Listening) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": at})
    before = time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
    manager.reloading()
    kind, at_time, status = listening.heard()
    assert (kind, status) == ("RELOADING=1", "STATUS=Reloading")
    name, _, number = at_time.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before - 1 <= int(number) <= time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
    manager.close()


def test_the_end_and_signs_of_life_are_told(at: str, listening: Listening) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": at})
    manager.alive()
    manager.stopping()
    assert [listening.heard(), listening.heard()] == [["WATCHDOG=1"], ["STOPPING=1", "STATUS=Stopping"]]
    manager.close()


def test_a_socket_may_be_abstract() -> None:
    name = f"miredo-test-{os.getpid()}"
    listening = Listening(f"\0{name}")
    manager = ServiceManager({"NOTIFY_SOCKET": f"@{name}"})
    manager.alive()
    assert listening.heard() == ["WATCHDOG=1"]
    manager.close()
    listening.close()


def test_what_is_executed_later_is_not_taken_for_the_service(at: str, listening: Listening) -> None:
    environment = {"NOTIFY_SOCKET": at, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid()), "PATH": "/bin"}
    ServiceManager(environment).close()
    assert environment == {"PATH": "/bin"}
    with pytest.raises(BlockingIOError):
        listening.heard()


@pytest.mark.parametrize("path", ["", "relative", "vsock:2:1234", "/nowhere/at/all"])
def test_no_manager_is_told_nothing(path: str) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"})
    manager.ready("")
    manager.reloading()
    manager.stopping()
    assert manager.watchdog is None
    manager.close()


def test_a_manager_that_does_not_listen_is_not_waited_for(at: str, listening: Listening) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": at})
    for _ in range(10_000):
        manager.alive()
    assert listening.heard() == ["WATCHDOG=1"]
    listening.close()
    manager.stopping()
    manager.close()
    manager.close()
    manager.stopping()


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_the_one_of_this_process(
    variables: dict[str, str], seconds: float | None, at: str, listening: Listening
) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": at, **variables})
    assert manager.watchdog == seconds
    manager.close()
    with pytest.raises(BlockingIOError):
        listening.heard()
