# SPDX-License-Identifier: MIT
"""The file with the number of the process."""

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from miredo.kernel.pidfile import AnotherRuns, PidFile

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+")
getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "miredo.pid"


def test_it_holds_the_number_as_a_line_and_everybody_may_read_it(path: Path) -> None:
    before = os.umask(0o077)
    try:
        file = PidFile(str(path))
    finally:
        os.umask(before)
    assert path.read_text() == f"{os.getpid()}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    file.remove()
    assert not path.exists()
    file.remove()


def test_the_file_of_a_dead_process_is_taken_over(path: Path) -> None:
    path.write_text("123456789\n")
    path.chmod(0o600)
    file = PidFile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    file.remove()


@pytest.mark.parametrize("lock", ["flock", "lockf"])
def test_a_locked_file_tells_who_runs_and_is_left_as_it_is(lock: str, path: Path) -> None:
    path.write_text("4711\n")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(AnotherRuns, match="process 4711 runs already") as caught:
            PidFile(str(path))
        assert caught.value.pid == 4711
        assert path.read_text() == "4711\n"
        other.communicate()
    PidFile(str(path)).remove()


def test_a_locked_file_without_a_number_is_somebodys_too(path: Path) -> None:
    path.write_text("soon\n")
    with path.open("r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(AnotherRuns, match=r"process \(unknown\) runs already") as caught:
            PidFile(str(path))
    assert caught.value.pid is None


def test_it_is_locked_for_as_long_as_it_is_there(path: Path) -> None:
    file = PidFile(str(path))
    with path.open("r+") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.remove()


def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("as it was")
    path.symlink_to(precious)
    with pytest.raises(OSError, match="is a symbolic link, which is not followed") as caught:
        PidFile(str(path))
    assert caught.value.filename == str(path)
    assert precious.read_text() == "as it was"


def test_what_is_no_regular_file_is_refused(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(OSError, match="is not a regular file"):
        PidFile(str(path))
    assert path.exists()


def test_a_place_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        PidFile(str(tmp_path / "nowhere" / "miredo.pid"))


def test_a_file_that_is_somebody_elses_by_now_is_not_removed(path: Path) -> None:
    file = PidFile(str(path))
    path.unlink()
    path.write_text("99\n")
    file.remove()
    assert path.read_text() == "99\n"


def test_a_file_that_its_last_owner_removes_meanwhile_is_made_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fcntl.flock
    removed: list[str] = []

    def last_moment(descriptor: int, operation: int) -> None:
        if not removed:
            removed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            path.unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", last_moment)
    file = PidFile(str(path))
    assert removed == [str(path)]
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()
