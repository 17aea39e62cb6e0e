# SPDX-License-Identifier: MIT
"""The synopses, options, files and signals of the manuals: each of them is used, and the daemon does as they say."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from doc.installed.pages import pages
from tests.daemons import MODULES, Running, is_nobody, lives, started, status_of
from tests.manuals.places import give_loopback, links_of, opened_by, own_etc, serves, udp_sockets

ROOT = Path(__file__).parents[2]
JAIL = Path("/run/miredo")
LETTERS, WORDS = ("-c", "-f", "-u"), ("--config", "--foreground", "--user")
DAEMON = "1"
"""The number of the user of that name."""

manual = pytest.mark.manual


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        pytest.param("miredo", "Teredo client or relay: IPv6 in UDP through NATs.", marks=manual("M1")),
        pytest.param("miredo-server", "Teredo server.", marks=manual("N1")),
    ],
)
def test_what_is_installed_under_the_name_says_what_it_is_for(name: str, purpose: str) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts[name].partition(":")
    call = f"import sys; from {module} import {function}; sys.exit({function}(['-h']))"
    told = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert told.splitlines()[:2] == [f"Usage: {name} [OPTIONS] [server_name]", purpose]
    assert module.rpartition(".")[2] == MODULES[name]


@pytest.mark.parametrize(
    ("page", "others"),
    [
        pytest.param("miredo.8", {"miredo.conf.5", "miredo-server.8", "ip.8"}, marks=manual("M47")),
        pytest.param("miredo-server.8", {"miredo-server.conf.5", "miredo.8"}, marks=manual("N33")),
    ],
)
def test_the_manual_of_today_points_where_the_old_one_did(page: str, others: set[str]) -> None:
    told = pages(ROOT, "1.2.3")
    named = re.findall(r"^\.BR ([\w.\\-]+) \((\d)\)", told[page].partition(".SH SEE ALSO")[2], re.MULTILINE)
    assert others <= {f"{name}.{section}".replace("\\", "") for name, section in named}
    assert others <= {*told, "ip.8"}


# ---------------------------------------------------------------- all that can be said


def is_at_its_console_as(running: Running, user: str) -> bool:
    """Whether it is the process that was started, in its session and with its output, and belongs to that user."""
    pid = running.process.pid
    of_the_console = os.getsid(pid) == os.getsid(0) and os.readlink(f"/proc/{pid}/fd/2") == str(running.output)
    return running.pid == pid and of_the_console and set(status_of(pid)["Uid"]) == {user}


def hearing(*addresses: str) -> list[socket.socket]:
    """A port of a Teredo server on each."""
    sockets = []
    for address in addresses:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((address, 3544))
        one.settimeout(10)
        sockets.append(one)
    return sockets


@pytest.mark.root
@pytest.mark.namespaced
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(LETTERS, marks=manual("M2", "M14", "M17", "M22")),
        pytest.param(WORDS, marks=manual("M15", "M18", "M23")),
    ],
    ids=["letters", "words"],
)
@manual("M27", "M28")
def test_a_client_has_file_console_user_and_server_of_its_command_line(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    etc = own_etc(tmp_path)
    (etc / "miredo/miredo.conf").write_text("ServerAddress 192.0.2.33\nInterfaceName usual\n")
    (tmp_path / "own.conf").write_text("ServerAddress 192.0.2.65\nServerAddress 192.0.2.97\nInterfaceName own\n")
    give_loopback("192.0.2.1", "192.0.2.33", "192.0.2.65", "192.0.2.97", "198.51.100.7")
    named, *others = hearing("192.0.2.1", "192.0.2.33", "192.0.2.65", "192.0.2.97")
    config, foreground, user = options
    with started(tmp_path, "miredo", config, "own.conf", foreground, user, "daemon", "192.0.2.1") as running:
        assert len(named.recv(2048)) > 0
        assert is_at_its_console_as(running, DAEMON)
        assert links_of(running.pid) == {"lo", "own"}
        running.end()
        assert running.process.wait(10) == 0
    for other in others:
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(2048)


@pytest.mark.root
@pytest.mark.namespaced
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(LETTERS, marks=manual("N2", "N4", "N10", "N13", "N18")),
        pytest.param(WORDS, marks=manual("N11", "N14", "N19")),
    ],
    ids=["letters", "words"],
)
def test_a_server_has_file_console_user_and_address_of_its_command_line(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    etc = own_etc(tmp_path)
    (etc / "miredo/miredo-server.conf").write_text("ServerBindAddress 192.0.2.1\n")
    (tmp_path / "own.conf").write_text("ServerBindAddress 10.9.8.65\nAllowIPv4 10.0.0.0/8\n")
    give_loopback("192.0.2.1", "192.0.2.2", "10.9.8.1", "10.9.8.2", "10.9.8.65", "10.9.8.66")
    config, foreground, user = options
    with started(tmp_path, "miredo-server", config, "own.conf", foreground, user, "daemon", "10.9.8.1") as running:
        running.says("Teredo server started on 10.9.8.1 and 10.9.8.2")
        assert is_at_its_console_as(running, DAEMON)
        assert serves(running.pid) == {"10.9.8.1", "10.9.8.2"}
        running.end()
        assert running.process.wait(10) == 0


# ---------------------------------------------------------------- nothing said


def has_the_network(running: Running) -> bool:
    """Whether what comes from the network comes to this process, and nothing of it to its child."""
    sockets = {f"socket:[{bound.inode}]" for bound in udp_sockets(running.pid)}
    own, childs = opened_by(running.pid), opened_by(running.child)
    tunnel = {"/dev/net/tun"} if "usual" in links_of(running.pid) else set()
    return bool(sockets) and own >= sockets | tunnel and not childs & (sockets | {"/dev/net/tun"})


@pytest.mark.root
@pytest.mark.namespaced
@pytest.mark.parametrize(
    ("program", "text"),
    [
        pytest.param(
            "miredo",
            "RelayType relay\nInterfaceName usual\n",
            marks=manual("M3", "M16", "M19", "M24", "M33", "M35", "M45", "M46", "O23"),
        ),
        pytest.param(
            "miredo-server", "ServerBindAddress 192.0.2.1\n", marks=manual("N3", "N12", "N15", "N20", "N26", "N32")
        ),
    ],
)
def test_without_a_word_files_user_and_place_are_the_usual_ones(program: str, text: str, tmp_path: Path) -> None:
    etc = own_etc(tmp_path)
    (etc / f"miredo/{program}.conf").write_text(text)
    give_loopback("192.0.2.1", "192.0.2.2")
    number = Path(f"/var/run/{program}.pid")
    with started(tmp_path, program, pid_file=number) as running:
        assert running.process.wait(10) == 0
        pid = running.pid
        assert pid != running.process.pid
        assert os.getsid(pid) == pid
        assert {os.readlink(f"/proc/{pid}/fd/{stream}") for stream in (0, 1, 2)} == {"/dev/null"}
        assert is_nobody(pid)
        assert os.readlink(f"/proc/{pid}/root") == str(JAIL)
        assert list(JAIL.iterdir()) == []
        assert has_the_network(running)
        assert (links_of(pid), serves(pid)) == (
            ({"lo", "usual"}, set()) if program == "miredo" else ({"lo"}, {"192.0.2.1", "192.0.2.2"})
        )
        running.end()
    assert not number.exists()


# ---------------------------------------------------------------- less and less privileges


WATCHED = """
import os, sys
from miredo.commands.{} import main

kernel = [os.open(f"/proc/net/{{name}}", os.O_RDONLY) for name in ("dev", "raw6")]

def watched(name):
    call = getattr(os, name)
    def told(*words):
        links, raw = (os.pread(file, 1 << 16, 0) for file in kernel)
        ready = b"teredo:" in links or len(raw.splitlines()) > 1
        os.write(1, f"{{name}} {{words[-1]}} {{ready}}\\n".encode())
        return call(*words)
    setattr(os, name, told)

for name in ("chroot", "setgroups", "setresgid", "setresuid"):
    watched(name)
sys.exit(main(["-f", "-c", "some.conf"]))
"""
"""Runs a command that tells what it gives up, and whether what needs privileges is there already."""


@pytest.mark.root
@pytest.mark.namespaced
@pytest.mark.parametrize(
    ("module", "text"),
    [
        pytest.param("miredo", "RelayType relay\n", marks=manual("M32")),
        pytest.param("miredo_server", "ServerBindAddress 192.0.2.1\n", marks=manual("N25")),
    ],
)
def test_privileges_are_given_up_when_all_is_set_up_and_the_user_last(module: str, text: str, tmp_path: Path) -> None:
    give_loopback("192.0.2.1", "192.0.2.2")
    (tmp_path / "some.conf").write_text(text)
    words = [sys.executable, "-c", WATCHED.format(module)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    told = [process.stdout.readline().split() for _ in range(4)]
    process.terminate()
    assert (process.communicate()[0], process.returncode) == (b"", 0)
    assert {ready for *_, ready in told} == {b"True"}
    assert [(step, value) for step, value, _ in told] == [
        (b"chroot", b"/run/miredo"),
        (b"setgroups", b"[]"),
        (b"setresgid", b"65534"),
        (b"setresuid", b"65534"),
    ]


# ---------------------------------------------------------------- signals


@pytest.mark.namespaced
@manual("N27", "N30", "N31")
def test_a_server_reads_its_file_again_and_does_nothing_on_the_signals_for_the_user(tmp_path: Path) -> None:
    give_loopback("192.0.2.1", "192.0.2.2", "192.0.2.65", "192.0.2.66")
    file = tmp_path / "some.conf"
    file.write_text("ServerBindAddress 192.0.2.1\n")
    with started(tmp_path, "miredo-server", "-f", "-c", "some.conf") as running:
        running.says("Teredo server started on 192.0.2.1 and 192.0.2.2")
        said = running.text
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            os.kill(running.pid, number)
        file.write_text("ServerBindAddress 192.0.2.65\n")
        os.kill(running.pid, signal.SIGHUP)
        running.says("Teredo server started on 192.0.2.65 and 192.0.2.66")
        assert "Reloading configuration on signal 1 (Hangup)" in running.text.removeprefix(said).splitlines()[0]
        assert serves(running.pid) == {"192.0.2.65", "192.0.2.66"}
        assert lives(running.pid)
        running.end()
        assert running.process.wait(10) == 0


# ---------------------------------------------------------------- what a server needs


@pytest.mark.namespaced
@pytest.mark.parametrize(
    ("program", "words"),
    [
        pytest.param("miredo", ("-s", "9.0.0.2", "-u", "root"), marks=manual("O15")),
        pytest.param("miredo-server", ("9.0.0.2",), marks=manual("N7", "M11")),
    ],
)
def test_a_server_without_the_next_address_does_not_start(program: str, words: tuple[str, ...], tmp_path: Path) -> None:
    own_etc(tmp_path)
    give_loopback("9.0.0.2")
    with started(tmp_path, program, *words) as running:
        assert running.process.wait(10) == 1
    last = running.text.splitlines()[-1]
    assert last.startswith(f"{program}: ")
    assert last.endswith("UDP 9.0.0.3 port 3544: Cannot assign requested address")


@pytest.mark.namespaced
@manual("M11", "N8")
def test_a_server_with_a_private_address_does_not_start(tmp_path: Path) -> None:
    own_etc(tmp_path)
    give_loopback("10.9.8.1", "10.9.8.2")
    with started(tmp_path, "miredo-server", "10.9.8.1") as running:
        assert running.process.wait(10) == 1
    assert "ServerBindAddress: 10.9.8.1 is in 10.0.0.0/8" in running.text
