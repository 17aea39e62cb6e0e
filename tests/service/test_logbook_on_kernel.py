# SPDX-License-Identifier: MIT
"""The log of real daemons: detached, locked in and nobody, and under twistd."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from miredo.kernel.libc import MS_BIND, MS_REC, mount
from miredo.service.logbook.twistd import SYSLOG_OBSERVER
from miredo.service.logbook.ways import PATH, RETRY
from tests.daemons import started
from tests.service.test_logbook_syslog import LINE, Syslogd
from tests.test_tap import give_addresses, twistd, wait_for

DEVICES = "null", "zero", "full", "random", "urandom", "tty", "net/tun"
LOG = Path(PATH)
RELAY = "RelayType cone\n"


def have_own_devices(folder: Path) -> None:
    """Let this test's child have a /dev where there can be a log."""
    mount("tmpfs", str(folder), "tmpfs", 0)
    for name in DEVICES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
        mount(f"/dev/{name}", str(folder / name), None, MS_BIND)
    mount(str(folder), "/dev", None, MS_BIND | MS_REC)


class Listening:
    """Keeps what a syslogd hears, with the number of the process that says it."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, int, str]] = []
        self._daemon = Syslogd(LOG)

    def says(self, text: str) -> None:
        """Wait until a line has begun so."""
        wait_for(lambda: any(line.startswith(text) for _, _, line in self._heard()))

    def restart(self) -> None:
        self._daemon.close()
        self._daemon = Syslogd(LOG)

    def close(self) -> None:
        self._daemon.close()

    def _heard(self) -> list[tuple[int, int, str]]:
        found = [LINE.fullmatch(datagram) for datagram in self._daemon.heard()]
        self.lines += [(int(one[1]), int(one[2]), one[3]) for one in found if one]
        return self.lines


@pytest.mark.root
@pytest.mark.namespaced
def test_a_detached_daemon_is_heard_by_syslog_whatever_becomes_of_that(tmp_path: Path) -> None:
    have_own_devices(tmp_path)
    give_addresses()
    syslogd = Listening()
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "a.conf").write_text(f"{RELAY}SyslogFacility local2\n")
    with started(folder, "miredo", "-c", "a.conf") as running:
        assert running.process.wait(10) == 0
        pid = running.pid
        syslogd.says("Teredo pseudo-tunnel started")
        syslogd.restart()
        time.sleep(RETRY)
        os.kill(pid, signal.SIGHUP)
        syslogd.says("Reloading configuration on signal 1 (Hangup)")
        running.end()
        syslogd.says("Exiting on signal 15 (Terminated)")
    assert {number for _, number, _ in syslogd.lines} == {pid}
    assert {priority // 8 for priority, _, _ in syslogd.lines} == {18}
    assert "Starting..." in [text for _, _, text in syslogd.lines]
    assert not any("lost lines" in text for _, _, text in syslogd.lines)
    syslogd.close()


@pytest.mark.root
@pytest.mark.namespaced
def test_under_twistd_an_observer_of_ours_goes_on_after_the_privileges_are_given_up(tmp_path: Path) -> None:
    have_own_devices(tmp_path)
    give_addresses()
    syslogd = Listening()
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "a.conf").write_text(f"Log info\nUser nobody\nChroot /run/miredo\n[relay r]\n{RELAY}")
    with twistd(folder, "-n", "--pidfile=", "--logger", SYSLOG_OBSERVER, "miredo", "-c", "a.conf") as running:
        syslogd.says("relay r: Teredo pseudo-tunnel started")
        syslogd.restart()
        time.sleep(RETRY)
        running.process.send_signal(signal.SIGTERM)
        syslogd.says("Exiting on signal 15 (Terminated)")
        running.process.wait(10)
    assert not any("reactor" in text for _, _, text in syslogd.lines)
    assert running.output.read_text() == ""
    syslogd.close()


@pytest.mark.namespaced
def test_twistd_in_the_foreground_writes_objects_if_the_file_says_so(tmp_path: Path) -> None:
    give_addresses()
    (tmp_path / "a.conf").write_text("LogFormat json\nServerAddress 192.0.2.77\n")
    with twistd(tmp_path, "-n", "--pidfile=", "miredo", "-c", "a.conf") as running:
        wait_for(lambda: b"Starting..." in running.output.read_bytes())
        running.end(signal.SIGTERM)
    told = [json.loads(line) for line in running.output.read_text().splitlines()]
    assert ("info", "client", "Starting...") in [(one["level"], one["role"], one["message"]) for one in told]
    assert not any("reactor" in one["message"] for one in told)
