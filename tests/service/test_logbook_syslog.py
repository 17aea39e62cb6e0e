# SPDX-License-Identifier: MIT
"""Lines that go to a syslogd, which may be restarted, slow, or not there."""

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import Logger

from miredo.config import LogFormat, ProcessConfig, SyslogFacility
from miredo.kernel.memory import MemoryClock
from miredo.service.logbook.log import Log, log_to_syslog
from miredo.service.logbook.ways import RETRY, connect

LOCKED_IN = """
import os, socket, sys
from twisted.logger import Logger
from miredo.config import ProcessConfig
from miredo.kernel.clock import boottime
from miredo.service.logbook.log import log_to_syslog
from miredo.service.logbook.ways import RETRY, connect

asking, asked = socket.socketpair()
if os.fork() == 0:
    asking.close()
    while asked.recv(1):
        with socket.socket(fileno=connect(sys.argv[1])) as opened:
            socket.send_fds(asked, [b"!"], [opened.fileno()])
    os._exit(0)
asked.close()

def ask():
    asking.send(b"?")
    return socket.recv_fds(asking, 1, 1)[1][0]

late = 0.0
log = log_to_syslog(
    ProcessConfig(),
    program="miredo",
    classic=True,
    connect=lambda: connect(sys.argv[1]),
    now=lambda: boottime() + late,
)
log.begin()
log.reopen_by(ask)
logger = Logger(namespace="miredo")
logger.info("as root")
os.makedirs(sys.argv[1] + ".root")
os.chroot(sys.argv[1] + ".root")
os.chdir("/")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
logger.info("as somebody else")
print("locked in", flush=True)
sys.stdin.readline()
late = RETRY
logger.info("after a restart")
print("restarted", flush=True)
"""

LINE = re.compile(r"<(\d+)>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d miredo\[(\d+)\]: (.*)")


class Syslogd:
    """Somebody who has the socket of a syslogd."""

    def __init__(self, path: Path, kind: socket.SocketKind = socket.SOCK_DGRAM) -> None:
        self._path = path
        self._socket = self._taking = socket.socket(socket.AF_UNIX, kind)
        path.unlink(missing_ok=True)
        self._socket.bind(str(path))
        if kind is socket.SOCK_STREAM:
            self._socket.listen()
        self._socket.setblocking(False)

    def accept(self) -> None:
        self._taking, _ = self._socket.accept()
        self._taking.setblocking(False)

    def heard(self) -> list[str]:
        """What has come, a datagram each."""
        datagrams = []
        while True:
            try:
                datagrams.append(self._taking.recv(1 << 16).decode())
            except BlockingIOError:
                return datagrams

    def texts(self) -> list[str]:
        found = [LINE.fullmatch(datagram) for datagram in self.heard()]
        assert all(found)
        return [one[3] for one in found if one]

    def close(self) -> None:
        self._taking.close()
        self._socket.close()


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "log")


def opened(path: Path, clock: MemoryClock, process: ProcessConfig | None = None) -> tuple[Log, Logger]:
    log = log_to_syslog(
        process or ProcessConfig(),
        program="miredo",
        classic=True,
        connect=lambda: connect(str(path)),
        now=clock.now,
    )
    return log, Logger(namespace="miredo", observer=log)


@pytest.mark.usefixtures("closes_descriptors")
def test_a_line_is_a_datagram_with_facility_level_name_and_number(path: Path) -> None:
    daemon = Syslogd(path)
    log, logger = opened(path, MemoryClock(), ProcessConfig(syslog_facility=SyslogFacility.LOCAL3))
    assert log.trouble is None
    logger.info("{role}: Starting...", role="client")
    logger.error("one\ntwo")
    lines = [LINE.fullmatch(datagram) for datagram in daemon.heard()]
    info, error = str(19 * 8 + 6), str(19 * 8 + 3)
    pid = str(os.getpid())
    assert [line and line.groups() for line in lines] == [
        (info, pid, "Starting..."),
        (error, pid, "one"),
        (error, pid, "  two"),
    ]
    log.flush_and_close()
    daemon.close()


def test_an_object_is_the_text_of_a_line(path: Path) -> None:
    daemon = Syslogd(path)
    log, logger = opened(path, MemoryClock(), ProcessConfig(log_format=LogFormat.JSON))
    logger.info("one\n{n}", n=2)
    (text,) = daemon.texts()
    assert text.startswith('{"time": "')
    assert text.endswith('"level": "info", "role": "", "message": "one\\n2", "n": 2}')
    log.flush_and_close()
    daemon.close()


@pytest.mark.usefixtures("closes_descriptors")
def test_a_syslogd_that_was_restarted_hears_the_next_line(path: Path) -> None:
    clock, daemon = MemoryClock(), Syslogd(path)
    log, logger = opened(path, clock)
    logger.info("before")
    assert daemon.texts() == ["before"]
    daemon.close()
    daemon = Syslogd(path)
    clock.advance(RETRY)
    logger.info("after")
    assert daemon.texts() == ["after"]
    log.flush_and_close()
    daemon.close()


@pytest.mark.usefixtures("closes_descriptors")
def test_lines_without_a_syslogd_are_counted_and_it_is_looked_for_once_a_second(path: Path) -> None:
    clock, tries = MemoryClock(), [0]
    log, logger = opened(path, clock)
    troubles = [log.trouble]

    def reopen() -> int:
        tries[0] += 1
        return connect(str(path))

    log.reopen_by(reopen)
    for number in range(10):
        logger.info("line {number}", number=number)
        clock.advance(RETRY / 4)
    assert tries[0] == 2
    daemon = Syslogd(path)
    clock.advance(RETRY)
    logger.warn("back")
    assert daemon.texts() == ["... lost lines: 10 (nobody took them)", "back"]
    troubles.append(log.trouble)
    assert troubles == ["No such file or directory", None]
    log.flush_and_close()
    daemon.close()


@pytest.mark.usefixtures("closes_descriptors")
def test_a_syslogd_that_does_not_listen_is_not_waited_for(path: Path) -> None:
    daemon = Syslogd(path)
    log, logger = opened(path, MemoryClock())
    texts = [f"each of a kind of its own: {number}" for number in range(2000)]
    for text in texts:
        logger.info(text)
    heard = daemon.texts()
    assert heard == texts[: len(heard)]
    assert len(heard) < 2000
    logger.info("after")
    assert daemon.texts() == [f"... lost lines: {2000 - len(heard)} (nobody took them)", "after"]
    log.flush_and_close()
    daemon.close()


@pytest.mark.usefixtures("closes_descriptors")
def test_a_syslogd_with_a_stream_socket_gets_records_with_a_nul_behind(path: Path) -> None:
    daemon = Syslogd(path, socket.SOCK_STREAM)
    log, logger = opened(path, MemoryClock())
    daemon.accept()
    for number in range(5000):
        logger.info(f"{number} " + "x" * 500)
    octets = "".join(daemon.heard())
    logger.info("after")
    *records, rest = (octets + "".join(daemon.heard())).split("\0")
    assert rest == ""
    texts = [match[3] for match in map(LINE.fullmatch, records) if match]
    assert len(texts) == len(records)
    *numbered, lost, last = texts
    assert [int(text.split()[0]) for text in numbered] == list(range(len(numbered)))
    assert (lost, last) == (f"... lost lines: {5000 - len(numbered)} (nobody took them)", "after")
    log.flush_and_close()
    daemon.close()


def test_a_stream_whose_reader_ended_is_opened_anew(path: Path) -> None:
    clock, daemon = MemoryClock(), Syslogd(path, socket.SOCK_STREAM)
    log, logger = opened(path, clock)
    daemon.accept()
    daemon.close()
    daemon = Syslogd(path, socket.SOCK_STREAM)
    clock.advance(RETRY)
    logger.info("after")
    daemon.accept()
    assert daemon.heard()[0].endswith("]: after\0")
    log.flush_and_close()
    daemon.close()


def test_whoever_logs_while_the_log_is_opened_anew_does_no_harm(path: Path) -> None:
    clock = MemoryClock()
    log, logger = opened(path, clock)

    def reopen() -> int:
        logger.error("the child does not answer")
        raise ConnectionError

    log.reopen_by(reopen)
    clock.advance(RETRY)
    logger.info("text")
    daemon = Syslogd(path)
    log.reopen_by(lambda: connect(str(path)))
    clock.advance(RETRY)
    logger.info("back")
    assert daemon.texts() == ["... lost lines: 2 (nobody took them)", "back"]
    log.flush_and_close()
    daemon.close()


@pytest.mark.root
def test_a_process_that_was_locked_in_goes_on_logging(path: Path) -> None:
    daemon = Syslogd(path)
    with subprocess.Popen([sys.executable, "-c", LOCKED_IN, str(path)], stdin=subprocess.PIPE, stdout=-1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked in\n"
        assert daemon.texts() == ["as root", "as somebody else"]
        daemon.close()
        daemon = Syslogd(path)
        process.stdin.write(b"go on\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"restarted\n"
        assert daemon.texts() == ["after a restart"]
        process.stdin.close()
    assert process.returncode == 0
    daemon.close()
