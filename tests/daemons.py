# SPDX-License-Identifier: MIT
"""The classic commands as processes, in the namespaces of a test's child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.test_tap import wait_for

__all__ = ["DROPPED", "MODULES", "Running", "children_of", "is_nobody", "lives", "started", "status_of"]

MODULES = {"miredo": "miredo", "miredo-server": "miredo_server", "teredo-mire": "teredo_mire"}
DROPPED = "65534"
"""The number of nobody."""


@dataclass
class Running:
    """A command that was started: C{process} is what was started, which may have ended by now."""

    program: str
    process: subprocess.Popen[bytes]
    output: Path
    pid_file: Path

    @property
    def text(self) -> str:
        return self.output.read_text()

    @property
    def pid(self) -> int:
        """The number in its file."""
        return int(self.pid_file.read_text())

    @property
    def child(self) -> int:
        """The number of the privileged child."""
        (number,) = children_of(self.pid)
        return number

    def says(self, line: str, times: int = 1, limit: float = 10.0) -> None:
        """Wait until it has said so."""
        try:
            wait_for(lambda: self.text.count(line) >= times, limit)
        except AssertionError:
            raise AssertionError(f"{line!r} is not in what it said:\n{self.text}") from None

    def end(self, number: int = signal.SIGTERM) -> float:
        """Send the daemon a signal; the seconds until it has ended."""
        pid, sent = self.pid, time.monotonic()
        os.kill(pid, number)
        wait_for(lambda: not lives(pid))
        return time.monotonic() - sent


@contextmanager
def started(
    folder: Path,
    program: str,
    *words: str,
    pid_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[], None] | None = None,
) -> Iterator[Running]:
    """Start a command, and see to its end and that of what it has detached."""
    output = folder / "output"
    command = [sys.executable, "-m", f"miredo.commands.{MODULES[program]}", *words]
    with output.open("ab") as writing:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **(environment or {})},
            preexec_fn=prepare,
        )
    running = Running(program, process, output, pid_file or Path(f"/run/{program}.pid"))
    try:
        yield running
    finally:
        with suppress(OSError, ValueError):
            os.kill(running.pid, signal.SIGKILL)
        process.kill()
        process.wait()


def status_of(pid: int) -> dict[str, list[str]]:
    """The fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


def is_nobody(pid: int) -> bool:
    """Whether it has become somebody without any privilege."""
    status = status_of(pid)
    sets = {status[name][0] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    groups = [*status["Uid"], *status["Gid"]]
    return sets == {"0" * 16} and set(groups) == {DROPPED} and not status["Groups"] and status["NoNewPrivs"] == ["1"]


def lives(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return status_of(pid)["State"][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
