# SPDX-License-Identifier: MIT
"""Away from the terminal: the process that was started ends as the start has turned out."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BEGIN = "import json, os, signal, sys, time; from miredo.kernel.detaching import detach; "
GOING_ON = """
at = detach("miredo")
print("still here", flush=True)
facts = {
    "pid": os.getpid(), "session": os.getsid(0), "directory": os.getcwd(), "umask": os.umask(0), "parent": os.getppid()
}
at.succeeded()
print("into nothing", flush=True)
facts["stdio"] = [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)]
facts["pipes"] = [one for one in map(lambda n: f"/proc/self/fd/{n}", os.listdir("/proc/self/fd"))
                  if os.path.exists(one) and "pipe" in os.readlink(one)]
open(sys.argv[1], "w").write(json.dumps(facts))
"""


def program(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BEGIN + text, *arguments], capture_output=True, text=True, timeout=20, check=False
    )


def test_success_ends_who_started_it_and_leaves_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "facts"
    ended = program(GOING_ON, str(file))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "still here\n", "")
    deadline = time.monotonic() + 5
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    facts = json.loads(file.read_text())
    assert facts["session"] == facts["pid"]
    assert facts["directory"] == "/"
    assert facts["umask"] == 0o022
    assert facts["stdio"] == ["/dev/null"] * 3
    assert facts["pipes"] == []


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("detach('miredo'); sys.exit('no such luck')", 1, "no such luck\n"),
        ("detach('miredo'); sys.exit(3)", 3, ""),
        ("detach('miredo'); sys.exit(0)", 1, ""),
        (
            "detach('miredo'); os.kill(os.getpid(), signal.SIGKILL)",
            1,
            "miredo: ended at its start by signal 9 (Killed)\n",
        ),
    ],
)
def test_a_failure_is_the_status_and_its_words_come_to_the_terminal(text: str, status: int, said: str) -> None:
    ended = program(text)
    assert (ended.returncode, ended.stderr) == (status, said)


def test_a_signal_to_who_waits_ends_what_it_waits_for() -> None:
    text = "detach('miredo'); print(os.getpid(), flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN + text], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as begun:
        assert begun.stdout is not None
        assert begun.stderr is not None
        pid = int(begun.stdout.readline())
        begun.send_signal(signal.SIGTERM)
        assert begun.wait(10) == 1
        assert begun.stderr.read() == b"miredo: ended at its start by signal 15 (Terminated)\n"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_twisted_is_not_needed() -> None:
    assert program("sys.exit(any('twisted' in name for name in sys.modules))").returncode == 0
