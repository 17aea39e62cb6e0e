# SPDX-License-Identifier: MIT
"""Whatever stands at the path of a configuration file, reading it ends soon, in its bytes or in a reason."""

import os
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from miredo.config import source
from miredo.config.source import FILE_LIMIT, default_file, read

NOBODY = 65534


@contextmanager
def somebody_else() -> Iterator[None]:
    """Be no super-user for a while."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_is_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_bytes(b"a\0\xff\r\n")
    assert read(tmp_path / "a.conf") == b"a\0\xff\r\n"


def test_the_null_device_is_an_empty_file() -> None:
    assert read("/dev/null") == b""


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        read(tmp_path)


def test_what_may_not_be_read_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("etc") / "a.conf"
    path.write_text("RelayType cone\n")
    path.chmod(stat.S_IWUSR)
    with somebody_else(), pytest.raises(PermissionError, match="Permission denied"):
        read(path)


def test_a_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(OSError, match="No such device or address"):
            read(tmp_path / "s")


@pytest.mark.parametrize("size", [FILE_LIMIT + 1, 10 << 20])
def test_a_file_that_is_too_large_is_refused_and_not_read_to_its_end(tmp_path: Path, size: int) -> None:
    with open(tmp_path / "a.conf", "wb") as file:
        file.truncate(size)
    with pytest.raises(OSError, match="The file has more than 262144 bytes"):
        read(tmp_path / "a.conf")


def test_the_largest_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_bytes(b"#" * FILE_LIMIT)
    assert len(read(tmp_path / "a.conf")) == FILE_LIMIT


def test_a_device_without_an_end_is_refused() -> None:
    with pytest.raises(OSError, match="more than"):
        read("/dev/zero")


def test_a_pipe_that_nobody_writes_to_is_waited_for_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PATIENCE", 0.1)
    os.mkfifo(tmp_path / "p")
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match=r"Not all of it came within 0\.1 s"):
        read(tmp_path / "p")
    assert 0.1 <= time.monotonic() - begin < 2


def test_a_pipe_that_never_ends_is_waited_for_no_longer_though_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PATIENCE", 0.3)
    os.mkfifo(tmp_path / "p")
    command = ["sh", "-c", 'while echo; do sleep 0.05; done 2>&- > "$0"', str(tmp_path / "p")]
    with subprocess.Popen(command) as writer:
        with pytest.raises(TimeoutError):
            read(tmp_path / "p")
        assert writer.wait(10) != 0


def test_what_comes_out_of_a_pipe_piece_by_piece_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")

    def write() -> None:
        with open(tmp_path / "p", "wb", buffering=0) as pipe:
            for piece in (b"RelayType", b" cone\n"):
                time.sleep(0.05)
                pipe.write(piece)

    writer = Thread(target=write)
    writer.start()
    assert read(tmp_path / "p") == b"RelayType cone\n"
    writer.join()


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    (tmp_path / "a.conf").write_text("x")
    read(tmp_path / "a.conf")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
    assert os.listdir("/proc/self/fd") == before


def test_the_first_default_file_that_is_there_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = str(tmp_path / "a"), str(tmp_path / "b")
    monkeypatch.setattr(source, "DEFAULT_FILES", {"miredo": (first, second)})
    assert default_file() == first
    Path(second).touch()
    assert default_file() == second
    Path(first).touch()
    assert default_file() == first
