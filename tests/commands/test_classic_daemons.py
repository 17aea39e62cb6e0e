# SPDX-License-Identifier: MIT
"""The classic commands as daemons: they start, detach, give up what they need no more, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from miredo.commands import miredo, miredo_server
from miredo.kernel.libc import CLONE_NEWNET, CLONE_NEWUSER, MS_BIND, MS_REC, mount, unshare
from miredo.kernel.namespaces import create_namespace
from tests.daemons import children_of, is_nobody, lives, started, status_of
from tests.test_tap import give_addresses, state, take_port, teredo_address, wait_for

SERVER = "ServerBindAddress 192.0.2.1\n"
CLIENT = "ServerAddress 192.0.2.1\nBindAddress 198.51.100.7\n"
BOTH = f"[server s]\n{SERVER}[client c]\n{CLIENT}"
RELAY = "RelayType cone\n"
ROOT = Path("/run/miredo")

PROGRAMS = {
    "miredo": (RELAY, (), "Teredo pseudo-tunnel started"),
    "miredo-server": (SERVER, (), "Teredo server started on 192.0.2.1 and 192.0.2.2"),
    "teredo-mire": (None, ("198.51.100.7",), "Teredo echo responder started"),
}


def words_for(program: str, folder: Path) -> list[str]:
    """What starts a program that has something to do."""
    text, words, _ = PROGRAMS[program]
    if text is None:
        return [*words]
    (folder / "some.conf").write_text(text)
    return ["-c", "some.conf", *words]


# ---------------------------------------------------------------- from the start to the end


@pytest.mark.manual("M33", "M41", "M42", "M45", "M46", "N26", "N28", "N29", "N32")
@pytest.mark.root
@pytest.mark.namespaced
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("program", PROGRAMS)
def test_in_the_foreground_it_has_given_up_everything_and_ends_well(program: str, number: int, tmp_path: Path) -> None:
    give_addresses()
    before = state()
    with started(tmp_path, program, "-f", *words_for(program, tmp_path)) as running:
        running.says(PROGRAMS[program][2])
        assert running.pid == running.process.pid
        assert is_nobody(running.pid)
        assert os.readlink(f"/proc/{running.pid}/root") == str(ROOT)
        assert os.listdir(ROOT) == []
        assert stat.S_IMODE(running.pid_file.stat().st_mode) == 0o644
        child = running.child
        assert status_of(child)["Uid"] == ["0"] * 4
        assert running.end(number) < 1
        assert running.process.wait(10) == 0
    assert running.text.count(f"Exiting on signal {number} ({signal.strsignal(number)})") == 1
    assert "imported after the start" not in running.text
    assert "Traceback" not in running.text
    wait_for(lambda: not lives(child))
    assert not running.pid_file.exists()
    assert state() == before


@pytest.mark.manual("M19", "N15", "O13")
@pytest.mark.root
@pytest.mark.namespaced
@pytest.mark.parametrize("program", PROGRAMS)
def test_detached_it_has_no_terminal_and_who_started_it_ends_when_it_is_ready(program: str, tmp_path: Path) -> None:
    give_addresses()
    with started(tmp_path, program, *words_for(program, tmp_path)) as running:
        assert running.process.wait(10) == 0
        pid = running.pid
        assert pid != running.process.pid
        assert is_nobody(pid)
        assert os.getsid(pid) == pid
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}
        assert {os.readlink(f"/proc/{running.child}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}
        said = running.text
        assert running.end() < 1
        assert not running.pid_file.exists()
        assert running.text == said


@pytest.mark.manual("M34")
@pytest.mark.root
@pytest.mark.namespaced
def test_a_client_gets_its_address_from_who_may_give_it_and_takes_it_back(tmp_path: Path) -> None:
    give_addresses()
    before = state()
    (tmp_path / "both.conf").write_text(BOTH)
    with started(tmp_path, "miredo", "-f", "-c", "both.conf") as running:
        running.says("Teredo pseudo-tunnel started (address:")
        assert teredo_address() is not None
        assert is_nobody(running.pid)
        running.end()
        assert running.process.wait(10) == 0
    assert running.text.count("client c: Teredo pseudo-tunnel stopped") == 1
    assert state() == before


class Syslogd:
    """Listens at /dev/log, in a /dev that nobody else sees."""

    def __init__(self, folder: Path) -> None:
        dev = folder / "dev"
        (dev / "net").mkdir(parents=True)
        for name in ("null", "urandom", "net/tun"):
            (dev / name).touch()
            mount(f"/dev/{name}", str(dev / name), None, MS_BIND)
        mount(str(dev), "/dev", None, MS_BIND | MS_REC)
        self.restart()

    def restart(self) -> None:
        """Be another one."""
        with suppress(FileNotFoundError):
            os.unlink("/dev/log")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(10)
        self._socket.bind("/dev/log")
        os.chmod("/dev/log", 0o666)

    def hears(self, text: str) -> str:
        """The next record with that text."""
        while text not in (record := self._socket.recv(4096).decode()):
            pass
        return record

    def end(self) -> None:
        self._socket.close()


@pytest.mark.manual("O14", "O30")
@pytest.mark.root
@pytest.mark.namespaced
def test_detached_it_logs_to_syslog_even_to_one_that_comes_later(tmp_path: Path) -> None:
    syslogd = Syslogd(tmp_path)
    (tmp_path / "some.conf").write_text(f"SyslogFacility local1\nBindPrt 4444\n{RELAY}")
    with started(tmp_path, "miredo", "-c", "some.conf") as running:
        assert running.process.wait(10) == 0
        pid = running.pid
        assert is_nobody(pid)
        assert 'unknown directive "BindPrt"' in syslogd.hears(f"miredo[{pid}]: ")
        assert syslogd.hears("Teredo pseudo-tunnel started").startswith("<141>")  # local1, notice
        syslogd.end()
        syslogd.restart()
        time.sleep(1.1)  # it does not try more often
        os.kill(pid, signal.SIGHUP)
        syslogd.hears("1 of 1 roles run on as they are")
        running.end()
        syslogd.hears("Exiting on signal 15 (Terminated)")
    assert f"miredo[{pid}]" not in running.text
    assert 'unknown directive "BindPrt"' in running.text
    syslogd.end()


@pytest.mark.root
@pytest.mark.namespaced
def test_detached_a_failure_is_in_syslog_too(tmp_path: Path) -> None:
    syslogd = Syslogd(tmp_path)
    (tmp_path / "some.conf").write_text(f"BindAddress 203.0.113.9\n{RELAY}")
    with started(tmp_path, "miredo", "-c", "some.conf") as running:
        assert running.process.wait(10) == 1
    reason = "BindAddress 203.0.113.9: UDP 203.0.113.9 port 0: Cannot assign requested address"
    assert syslogd.hears(reason).startswith("<26>")  # daemon, critical
    assert running.text.count(reason) == 1
    syslogd.end()


# ---------------------------------------------------------------- who and where


@pytest.mark.manual("M22", "O26")
@pytest.mark.root
@pytest.mark.namespaced
@pytest.mark.parametrize("told", ["command line", "file"])
def test_user_directory_and_file_are_those_that_were_asked_for(told: str, tmp_path: Path) -> None:
    jail, number = tmp_path / "jail", tmp_path / "own.pid"
    jail.mkdir()
    words = ["-u", "daemon", "-t", str(jail), "-p", str(number)]
    text = "" if told == "command line" else f"User daemon\nChroot {jail}\nPidFile {number}\n"
    (tmp_path / "some.conf").write_text(text + RELAY)
    options = words if told == "command line" else []
    with started(tmp_path, "miredo", "-f", "-c", "some.conf", *options, pid_file=number) as running:
        running.says("Teredo pseudo-tunnel started")
        assert set(status_of(running.pid)["Uid"]) == {"1"}
        assert os.readlink(f"/proc/{running.pid}/root") == str(jail)
        running.end()
    assert not number.exists()
    assert not ROOT.exists()


@pytest.mark.root
@pytest.mark.namespaced
def test_without_a_directory_another_user_is_enough(tmp_path: Path) -> None:
    with started(tmp_path, "miredo", "-f", "-t", "/", *words_for("miredo", tmp_path)) as running:
        running.says("Teredo pseudo-tunnel started")
        assert is_nobody(running.pid)
        assert os.readlink(f"/proc/{running.pid}/root") == "/"
        assert len(children_of(running.pid)) == 1
        running.end()
    assert not running.pid_file.exists()
    assert not ROOT.exists()


@pytest.mark.manual("O19")
@pytest.mark.namespaced
def test_who_is_told_to_stay_root_does_so_with_a_warning_and_alone(tmp_path: Path) -> None:
    with started(tmp_path, "miredo", "-f", "-u", "root", *words_for("miredo", tmp_path)) as running:
        running.says("Teredo pseudo-tunnel started")
        assert "runs on as root, as it was told" in running.text
        assert set(status_of(running.pid)["Uid"]) == {"0"}
        assert children_of(running.pid) == []
        running.end()
        assert running.process.wait(10) == 0
    assert not running.pid_file.exists()


@pytest.mark.root
@pytest.mark.namespaced
def test_root_in_a_directory_has_a_child_and_no_capability(tmp_path: Path) -> None:
    words = ["-f", "-u", "root", "-t", "/run/miredo", *words_for("miredo", tmp_path)]
    with started(tmp_path, "miredo", *words) as running:
        running.says("Teredo pseudo-tunnel started")
        status = status_of(running.pid)
        assert (set(status["Uid"]), status["CapEff"], status["CapBnd"]) == ({"0"}, ["0" * 16], ["0" * 16])
        assert len(children_of(running.pid)) == 1
        running.end()


@pytest.mark.root
@pytest.mark.namespaced
@pytest.mark.parametrize(("more", "kept"), [("", 0x3402), ("Namespace some\n", 0x203402)])
def test_the_child_keeps_what_it_needs_and_no_more(more: str, kept: int, tmp_path: Path) -> None:
    create_namespace("some")
    (tmp_path / "relay.conf").write_text(RELAY + more)
    with started(tmp_path, "miredo", "-f", "-c", "relay.conf") as running:
        running.says("Teredo pseudo-tunnel started")
        status = status_of(running.child)
        assert {status[name][0] for name in ("CapPrm", "CapEff", "CapBnd")} == {f"{kept:016x}"}
        running.end()


FOR_THIS_TEST = 1 << 2
"""CAP_DAC_READ_SEARCH, to find this Python."""
CAPABILITIES = 1 << 12 | 1 << 13 | FOR_THIS_TEST
"""CAP_NET_ADMIN and CAP_NET_RAW."""


def as_nobody_with_capabilities() -> None:
    """What systemd does for C{User=nobody} and C{AmbientCapabilities=}."""
    import ctypes

    from miredo.kernel.identity import bequeath

    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(8, 1, 0, 0, 0) == 0  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    data = (ctypes.c_uint32 * 6)(CAPABILITIES, CAPABILITIES, 0, 0, 0, 0)
    assert libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), data) == 0
    bequeath()


@pytest.mark.root
@pytest.mark.namespaced
def test_capabilities_without_root_are_left_to_the_child(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    os.chmod("/run", 0o755)
    words = ["-f", *words_for("miredo", tmp_path)]
    with started(tmp_path, "miredo", *words, prepare=as_nobody_with_capabilities) as running:
        running.says("Teredo pseudo-tunnel started")
        assert "no file with the number of the process: /run/miredo.pid: Permission denied" in running.text
        worker = running.process.pid
        status = status_of(worker)
        assert {status[name][0] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        (child,) = children_of(worker)
        assert status_of(child)["CapEff"] != ["0" * 16]
        assert state()["teredo"][1] != []
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) == 0
    assert "teredo" not in state()


@pytest.mark.root
@pytest.mark.namespaced
def test_who_starts_it_without_a_file_for_its_number_is_told(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    os.chmod("/run", 0o755)
    words = words_for("miredo", tmp_path)
    with started(tmp_path, "miredo", *words, prepare=as_nobody_with_capabilities) as running:
        running.says("no file with the number of the process: /run/miredo.pid: Permission denied")
        assert running.process.wait(10) == 0
        (worker,) = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_daemon(pid)]
        os.kill(worker, signal.SIGTERM)
        wait_for(lambda: not lives(worker))


def is_daemon(pid: int) -> bool:
    """Whether a process is a daemon in this test's network."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        here = os.path.samefile(f"/proc/{pid}/ns/net", "/proc/self/ns/net")
        return here and "miredo.commands.miredo" in words and os.getsid(pid) == pid
    return False


HOOK = """#!/bin/sh
grep CapEff /proc/self/status
"""


@pytest.mark.root
@pytest.mark.namespaced
def test_capabilities_of_the_interpreters_file_are_the_hooks_too(tmp_path: Path) -> None:
    """setcap(8) of a Python of one's own."""
    open_to_all(tmp_path)
    python, hook, output = tmp_path / "python", tmp_path / "hook", tmp_path / "output"
    shutil.copyfile(os.path.realpath(sys.executable), python)
    python.chmod(0o755)
    version_and_effective = 0x02000001
    os.setxattr(python, "security.capability", struct.pack("<5I", version_and_effective, CAPABILITIES, 0, 0, 0))
    hook.write_text(HOOK)
    hook.chmod(0o755)
    (tmp_path / "some.conf").write_text(f"ServerAddress 192.0.2.1\nClientHook {hook}\n")
    words = [str(python), "-m", "miredo.commands.miredo", "-f", "-c", "some.conf"]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), sysconfig.get_path("purelib")])
    environment = {"PYTHONPATH": paths, "PYTHONHOME": sys.base_prefix}
    with output.open("wb") as writing:
        process = subprocess.Popen(
            words, cwd=tmp_path, env=environment, stdout=writing, stderr=writing, user=65534, group=65534
        )
    try:
        wait_for(lambda: "Starting..." in output.read_text(), 10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    assert f"{CAPABILITIES & ~FOR_THIS_TEST:016x}" in output.read_text()


def in_a_user_namespace_of_one() -> None:
    """Root, where nobody else is known."""
    unshare(CLONE_NEWUSER | CLONE_NEWNET)
    for name, text in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
        Path(f"/proc/self/{name}").write_text(text)


@pytest.mark.namespaced
def test_where_there_is_no_such_user_nothing_is_given_up_and_one_line_says_so(tmp_path: Path) -> None:
    words = ["-f", *words_for("miredo", tmp_path)]
    with started(tmp_path, "miredo", *words, prepare=in_a_user_namespace_of_one) as running:
        running.says("Teredo pseudo-tunnel started")
        assert running.text.count("this user namespace has no user nobody (65534): nothing is given up") == 1
        assert children_of(running.pid) == []
        running.end()


@pytest.mark.root
@pytest.mark.namespaced
def test_the_hosts_hook_is_not_for_root_of_a_user_namespace(tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "client-hook").write_text("#!/bin/sh\necho the hook\n")
    (hooks / "client-hook").chmod(0o755)
    os.makedirs("/etc/miredo", exist_ok=True)
    mount(str(hooks), "/etc/miredo", None, MS_BIND)
    os.chown(hooks / "client-hook", 4321, 4321)
    (tmp_path / "some.conf").write_text("ServerAddress 192.0.2.1\n")
    words = ["-f", "-c", str(tmp_path / "some.conf")]
    with started(tmp_path, "miredo", *words, prepare=in_a_user_namespace_of_one) as running:
        running.says("Starting...")
        running.end()
        assert "the hook" not in running.text
        assert running.process.wait(10) == 0


def open_to_all(folder: Path) -> None:
    """Let other users read a folder of this test."""
    folder.chmod(0o755)
    for place in folder.parents:
        if not place.stat().st_mode & stat.S_IXOTH:
            place.chmod(0o711)


# ---------------------------------------------------------------- signals and reloading


@pytest.mark.manual("M40")
@pytest.mark.root
@pytest.mark.namespaced
def test_a_hangup_reads_a_file_that_root_alone_can_read(tmp_path: Path) -> None:
    give_addresses()
    file = tmp_path / "both.conf"
    file.write_text(BOTH)
    file.chmod(0o600)
    with started(tmp_path, "miredo", "-f", "-c", "both.conf") as running:
        running.says("Teredo pseudo-tunnel started (address:")
        address = teredo_address()

        def hung_up(line: str) -> None:
            before = running.text.count(line)
            os.kill(running.pid, signal.SIGHUP)
            running.says(line, before + 1)

        hung_up("2 of 2 roles run on as they are")
        assert teredo_address() == address
        file.write_text(BOTH + "BindPort nonsense\n")
        hung_up("error: BindPort: nonsense is not a port")
        assert teredo_address() == address
        file.unlink()
        hung_up("both.conf: error: No such file or directory (errno 2)")
        file.write_text(BOTH + "BindPort 4444\n[mire m]\nBindAddress 10.9.8.1\nAllowIPv4 10.0.0.0/8\n")
        file.chmod(0o600)
        hung_up("1 of 3 roles run on as they are")
        wait_for(lambda: teredo_address() not in (None, address))
        running.says("mire m: Teredo echo responder started")
        running.end()
        assert running.process.wait(10) == 0
    assert running.text.count("Reloading configuration on signal 1 (Hangup)") == 4
    assert "imported after the start" not in running.text
    assert "Traceback" not in running.text


@pytest.mark.namespaced
def test_without_a_file_there_is_nothing_to_read_again(tmp_path: Path) -> None:
    give_addresses()
    with started(tmp_path, "miredo", "-f", "-s", "192.0.2.1") as running:
        running.says("Teredo server started on 192.0.2.1 and 192.0.2.2")
        os.kill(running.pid, signal.SIGHUP)
        running.says("there is no configuration file to read: all roles run on as they are")
        running.end()
        assert running.process.wait(10) == 0


@pytest.mark.manual("M43", "M44")
@pytest.mark.namespaced
@pytest.mark.parametrize("words", [(), ("-u", "root")])
def test_the_signals_for_the_user_do_nothing(words: tuple[str, ...], tmp_path: Path) -> None:
    with started(tmp_path, "miredo", "-f", *words, *words_for("miredo", tmp_path)) as running:
        running.says("Teredo pseudo-tunnel started")
        said = running.text
        pids = [running.pid, *children_of(running.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGUSR1)
            os.kill(pid, signal.SIGUSR2)
        time.sleep(0.2)
        assert all(map(lives, pids))
        assert running.text == said
        running.end()
        assert running.process.wait(10) == 0


# ---------------------------------------------------------------- untimely ends


@pytest.mark.root
@pytest.mark.namespaced
def test_the_death_of_the_child_ends_all(tmp_path: Path) -> None:
    before = state()
    with started(tmp_path, "miredo", "-f", *words_for("miredo", tmp_path)) as running:
        running.says("Teredo pseudo-tunnel started")
        os.kill(running.child, signal.SIGKILL)
        assert running.process.wait(10) == 1
    assert "the privileged child has ended: it was killed by signal 9 (Killed)" in running.text
    assert "Traceback" not in running.text
    assert state() == before


@pytest.mark.root
@pytest.mark.namespaced
def test_the_death_of_the_worker_ends_all(tmp_path: Path) -> None:
    before = state()
    with started(tmp_path, "miredo", "-f", *words_for("miredo", tmp_path)) as running:
        running.says("Teredo pseudo-tunnel started")
        child = running.child
        os.kill(running.pid, signal.SIGKILL)
        running.process.wait(10)
        wait_for(lambda: not lives(child))
    assert not running.pid_file.exists()
    assert state() == before


@pytest.mark.namespaced
def test_what_a_killed_one_has_left_is_not_in_the_way_of_the_next(tmp_path: Path) -> None:
    words = ["-f", "-u", "root", *words_for("miredo", tmp_path)]
    with started(tmp_path, "miredo", *words) as running:
        running.says("Teredo pseudo-tunnel started")
        os.kill(running.pid, signal.SIGKILL)
        running.process.wait(10)
        assert running.pid_file.exists()
    with started(tmp_path, "miredo", *words) as running:
        running.says("Teredo pseudo-tunnel started", times=2)
        assert running.pid == running.process.pid
        running.end()


# ---------------------------------------------------------------- refusals


def nothing() -> None:
    """All is as it is."""


def make_a_place_for_all() -> None:
    ROOT.mkdir()
    ROOT.chmod(0o777)


def make_a_file_in_its_place() -> None:
    ROOT.write_text("")


def make_a_link() -> None:
    Path("/run/elsewhere").write_text("as it was")
    Path("/run/miredo.pid").symlink_to("/run/elsewhere")


REFUSALS: dict[str, tuple[str, Callable[[], None], tuple[str, ...], str]] = {
    "address of another host": (
        "BindAddress 203.0.113.9\n" + RELAY,
        nothing,
        (),
        "miredo: {}/some.conf:1: BindAddress 203.0.113.9: UDP 203.0.113.9 port 0: Cannot assign requested address",
    ),
    "port that is taken": (
        "BindPort 4444\n" + RELAY,
        take_port,
        (),
        "miredo: {}/some.conf:1: BindPort 4444: UDP 0.0.0.0 port 4444: Address already in use",
    ),
    "place for all": (
        RELAY,
        make_a_place_for_all,
        (),
        "miredo: cannot be locked into /run/miredo: others may write there; cure: chmod 755, chown root",
    ),
    "no place": (
        RELAY,
        make_a_file_in_its_place,
        (),
        "miredo: cannot be locked into /run/miredo: it is not a directory",
    ),
    "directory that is not there": (
        RELAY,
        nothing,
        ("-t", "/nowhere"),
        "miredo: cannot be locked into /nowhere: No such file or directory",
    ),
    "link": (RELAY, make_a_link, (), "miredo: /run/miredo.pid: is a symbolic link, which is not followed"),
    "file that cannot be": (
        RELAY,
        nothing,
        ("-p", "/nowhere/x.pid"),
        "miredo: /nowhere/x.pid: No such file or directory",
    ),
}


@pytest.mark.root
@pytest.mark.namespaced
@pytest.mark.parametrize("foreground", [True, False])
@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_start_says_so_in_one_line_at_the_terminal_and_leaves_nothing(
    name: str, foreground: bool, tmp_path: Path
) -> None:
    text, prepare, options, refusal = REFUSALS[name]
    line = refusal.format(tmp_path)
    prepare()
    before = state()
    (tmp_path / "some.conf").write_text(text)
    words = [*(["-f"] if foreground else []), "-c", "some.conf", *options]
    with started(tmp_path, "miredo", *words) as running:
        assert running.process.wait(10) == 1
    said = [one for one in running.text.splitlines() if "miredo: no syslog" not in one]
    assert said.count(line) == 1, running.text
    assert [one for one in said if one.startswith("miredo: ")] == [line]
    assert "Traceback" not in running.text
    assert name == "link" or not running.pid_file.exists()
    assert state() == before
    if name == "link":
        assert Path("/run/elsewhere").read_text() == "as it was"


@pytest.mark.namespaced
@pytest.mark.parametrize("foreground", [True, False])
def test_a_second_one_names_the_first_and_leaves_it_alone(foreground: bool, tmp_path: Path) -> None:
    with started(tmp_path, "miredo", "-f", *words_for("miredo", tmp_path)) as running:
        running.says("Teredo pseudo-tunnel started")
        second = tmp_path / "second"
        second.mkdir()
        words = ["-f"] if foreground else []
        with started(second, "miredo", *words, *words_for("miredo", second), pid_file=second / "none") as other:
            assert other.process.wait(10) == 1
        line = f"miredo: process {running.pid} runs already: /run/miredo.pid is locked"
        assert line in other.text.splitlines()
        assert lives(running.pid)
        assert running.pid == running.process.pid
        running.end()


@pytest.mark.manual("M31", "N23", "O12")
@pytest.mark.root
@pytest.mark.namespaced
@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("miredo", "miredo: needs root, or CAP_NET_ADMIN and CAP_NET_RAW"),
        ("miredo-server", "miredo-server: needs root, or CAP_NET_RAW"),
    ],
)
def test_an_ordinary_user_is_told_what_is_missing(
    program: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = words_for(program, tmp_path)
    open_to_all(tmp_path)
    os.chdir(tmp_path)
    os.setresuid(65534, 65534, 65534)
    assert {"miredo": miredo.main, "miredo-server": miredo_server.main}[program](words) == 1
    assert capsys.readouterr() == ("", f"{line}\n")


@pytest.mark.namespaced
def test_a_name_for_root_is_not_being_told(tmp_path: Path) -> None:
    users = tmp_path / "passwd"
    users.write_text(Path("/etc/passwd").read_text() + "toor:x:0:0:root:/root:/bin/sh\n")
    mount(str(users), "/etc/passwd", None, MS_BIND)
    with started(tmp_path, "miredo", "-u", "toor", *words_for("miredo", tmp_path)) as running:
        assert running.process.wait(10) == 1
    assert running.text == "miredo: user toor is root by another name; to stay root, say so: -u root\n"
