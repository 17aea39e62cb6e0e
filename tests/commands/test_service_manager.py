# SPDX-License-Identifier: MIT
"""What a service manager hears of a daemon that has long lost sight of its socket's path."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import is_nobody, started

pytestmark = pytest.mark.root

RELAY = "RelayType cone\n"


class Manager:
    """The end that listens."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def hears(self, word: str, limit: float = 10.0) -> dict[str, str]:
        """The next message with that assignment; signs of life are passed over."""
        self._socket.settimeout(limit)
        while True:
            message = dict(line.split("=", 1) for line in self._socket.recv(4096).decode().split("\n"))
            if word in message:
                return message
            assert message == {"WATCHDOG": "1"}

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    (tmp_path / "relay.conf").write_text(RELAY)
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.mark.namespaced
@pytest.mark.parametrize("detached", [False, True])
def test_it_is_told_of_everything(detached: bool, tmp_path: Path, manager: Manager) -> None:
    words = [*([] if detached else ["-f"]), "-c", "relay.conf"]
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    with started(tmp_path, "miredo", *words, environment=environment) as running:
        ready = manager.hears("READY")
        pid = running.pid
        assert is_nobody(pid)
        assert ready == {"READY": "1", "STATUS": "Running: relay", **({"MAINPID": str(pid)} if detached else {})}
        before = time.monotonic()
        for _ in range(4):
            manager.hears("WATCHDOG")
        assert 0.15 < time.monotonic() - before < 2
        os.kill(pid, signal.SIGHUP)
        reloading = manager.hears("RELOADING")
        assert int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert manager.hears("READY")["STATUS"] == "Running: relay"
        (tmp_path / "relay.conf").write_text("nonsense\n")
        os.kill(pid, signal.SIGHUP)
        manager.hears("RELOADING")
        manager.hears("READY")
        child = running.child
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{child}/environ").read_bytes()
        os.kill(pid, signal.SIGTERM)
        assert manager.hears("STOPPING") == {"STOPPING": "1", "STATUS": "Stopping"}
        running.process.wait(10)


@pytest.mark.namespaced
def test_a_start_that_fails_is_never_ready(tmp_path: Path, manager: Manager) -> None:
    (tmp_path / "relay.conf").write_text("BindAddress 203.0.113.9\n" + RELAY)
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with started(tmp_path, "miredo", "-f", "-c", "relay.conf", environment=environment) as running:
        assert running.process.wait(10) == 1
    with pytest.raises(TimeoutError):
        manager.hears("READY", limit=0.1)
