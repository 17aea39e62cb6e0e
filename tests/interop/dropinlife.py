# SPDX-License-Identifier: MIT
"""What befalls a server, a relay and a client of either miredo between start and end, and what is seen of it."""

from __future__ import annotations

import grp
import os
import pwd
import re
import signal
import stat
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from miredo.lab.topology import HOST_ADDRESS
from tests.daemons import children_of, lives, status_of
from tests.interop.dropin import (
    CLIENT_FILE,
    NODES,
    PATIENCE,
    RELAY_FILE,
    SBIN,
    SERVER_FILE,
    Connection,
    Debian,
    Line,
    Ran,
    address_of,
    end_all,
    ended,
    lost_meanwhile,
    pid_in,
    ping,
    strays,
    traces,
    tree,
    usual_words,
)
from tests.test_tap import wait_for

Facts = dict[str, str]
"""What was seen, by the node and what it is about."""

PROGRAMS = {"client": "miredo", "relay": "miredo", "server": "miredo-server"}
PID_FILES = {"client": "/run/miredo.pid", "relay": "/run/relay.pid", "server": "/run/miredo-server.pid"}
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
SEVERITIES = {1: "alert", 2: "critical", 3: "error", 4: "warning", 5: "notice", 6: "info"}
"""Those of syslog(3)."""
NORMAL = (
    (re.compile(r"2001:0:[0-9a-f:]+"), "ADDRESS"),
    (re.compile(r"(?<=[Cc]hild )\d+|(?<=process )\d+"), "PID"),
    (re.compile(r"(/var)?/run/[a-z-]+\.pid"), "FILE"),
    (re.compile(r"/\S+\.conf:\d+:\d+"), "FILE:LINE:COLUMN"),
    (re.compile(r"^miredo(-server)?: "), "PROGRAM: "),
    (re.compile(r" +"), " "),
)
"""What is another each time."""
USUAL_ROOT = "/run/miredo"
"""Where ours locks itself in if nothing else is said."""
A_WHILE = 1.0
"""Seconds in which a signal has had its effect."""
CONNECTION_PATIENCE = 3.0
"""Seconds without an answer after which a connection is taken to be broken."""
FIGURE = re.compile(r"seconds|pings lost")
"""What is not compared: the C program is faster, and what it loses when it is hung up on varies."""


class Life:
    """
    A server, a relay and a client that are started, used, hung up on and ended.

    @param jail: for C{-t}.
    @ivar facts: what was seen of it.
    """

    def __init__(self, built: Debian, jail: Path | None) -> None:
        self.facts: Facts = {}
        self._debian = built
        self._relay_file = built.folder / "relay.conf"
        self._relay_file.write_text(RELAY_FILE)
        self._pids: dict[str, int] = {}
        jailed = ("-t", str(jail)) if jail else ()
        self._words: dict[str, tuple[str, ...]] = {
            "client": (*usual_words("miredo"), *jailed),
            "relay": ("-c", str(self._relay_file), "-p", PID_FILES["relay"], *jailed),
            "server": (*usual_words("miredo-server"), *jailed),
        }

    def live(self) -> None:
        self.live_shortly()
        self._begin()
        self._be_signalled()
        self._begin()
        self._be_started_twice()
        self._be_hung_up_on_with_broken_files()
        self._begin()
        self._be_killed()
        self._end()
        self._be_locked_up()

    def live_shortly(self) -> None:
        self._begin()
        for node in NODES:
            self._be_looked_at(node)
        self._work()
        self._be_hung_up_on()
        self._end()

    def _see(self, node: str, what: str, fact: object) -> None:
        self.facts[f"{node}: {what}"] = str(fact)

    def _hear(self, node: str, what: str, until: str = "") -> None:
        news = [line for line in self._debian.log.news(until) if not line.text.startswith("NAT: ")]
        by_process = sorted(news, key=lambda line: line.pid)
        self._see(node, f"{what}, log", "\n".join(map(told, by_process)) or "nothing")

    # ------------------------------------------------------------ the beginning

    def _begin(self) -> None:
        """Start whoever does not live."""
        for node in reversed(NODES):
            if node not in self._pids:
                self._be_started(node)

    def _be_started(self, node: str) -> None:
        began = time.monotonic()
        self._see(node, "start", as_text(self._debian.run(node, *start_line(node), *self._words[node])))
        if node == "client":
            wait_for(lambda: address_of(node) is not None, PATIENCE)
            self._see(node, "start, seconds until it has an address", f"{time.monotonic() - began:.2f}")
        self._hear(node, "start", r"MTU: 1280\)$" if node == "client" else r"Starting\.\.\.")
        self._pids[node] = pid_in(PID_FILES[node])

    def _be_looked_at(self, node: str) -> None:
        pid = self._pids[node]
        self._look_at_pid_file(node, Path(PID_FILES[node]))
        processes = tree(pid)
        self._see(node, "session of its own", {os.getsid(one) for one in processes} == {pid})
        links = {os.readlink(f"/proc/{one}/fd/{number}") for one in processes[:2] for number in range(3)}
        self._see(node, "standard input, output and error", " ".join(links))
        worker = next(one for one in processes if status_of(one)["Uid"][0] != "0")
        self._look_at_process(node, "worker", worker)
        self._see(node, "root directory that was asked for", "FOLDER/jail" if "-t" in self._words[node] else USUAL_ROOT)
        if worker == pid:
            self._look_at_process(node, "child", processes[1])

    def _look_at_pid_file(self, node: str, path: Path) -> None:
        status = path.stat()
        self._see(node, "pid file, text", repr(path.read_text()).replace(str(self._pids[node]), "PID"))
        self._see(node, "pid file, mode", f"{stat.S_IMODE(status.st_mode):o}")
        self._see(node, "pid file, owner", f"{user(status.st_uid)}:{group(status.st_gid)}")

    def _look_at_process(self, node: str, called: str, pid: int) -> None:
        status, own = status_of(pid), status_of(os.getpid())
        users, groups = ({int(number) for number in status[name]} for name in ("Uid", "Gid"))
        self._see(node, f"{called}, user and group", f"{' '.join(map(user, users))}:{' '.join(map(group, groups))}")
        self._see(node, f"{called}, other groups", " ".join(group(int(one)) for one in status["Groups"]) or "none")
        kept = [name for name in CAPABILITIES if int(status[name][0], 16)]
        self._see(node, f"{called}, capabilities", " ".join(kept) or "none")
        self._see(node, f"{called}, all that root has here", status["CapEff"] == own["CapEff"])
        self._see(node, f"{called}, CapEff", status["CapEff"][0].lstrip("0"))
        self._see(node, f"{called}, NoNewPrivs", status["NoNewPrivs"][0])
        root = os.readlink(f"/proc/{pid}/root")
        self._see(node, f"{called}, root directory", root.replace(str(self._debian.folder), "FOLDER"))

    def _work(self) -> None:
        address = address_of("client")
        assert address is not None
        self._see("client", "seconds until a ping of the host is answered", f"{ping('client', HOST_ADDRESS):.2f}")
        self._see("host", "seconds until a ping of the client is answered", f"{ping('host', address):.2f}")

    def _be_started_twice(self) -> None:
        for node in NODES:
            ran = self._debian.run(node, SBIN / PROGRAMS[node], *self._words[node])
            self._see(node, "second instance", as_text(ran))
            self._hear(node, "second instance")

    # ------------------------------------------------------------ signals

    def _be_hung_up_on(self) -> None:
        address, connection = address_of("client"), Connection(CONNECTION_PATIENCE)
        assert connection.goes_on()
        for node in NODES:
            self._lose(node, "SIGHUP", partial(os.kill, self._pids[node], signal.SIGHUP))
            self._hear(node, "SIGHUP")
            wait_for(lambda: address_of("client") is not None, PATIENCE)
        self._see("client", "SIGHUP, address", "the same" if address_of("client") == address else "another")
        self._see("client", "SIGHUP, connection", "goes on" if connection.goes_on() else "breaks")
        connection.close()

    def _lose(self, node: str, what: str, happening: Callable[[], object]) -> None:
        self._see(node, f"{what}, pings lost", lost_meanwhile("client", HOST_ADDRESS, happening) or "none")

    def _be_hung_up_on_with_broken_files(self) -> None:
        self._relay_file.write_text("RelayType cone\nBindPort nonsense\n")
        broken = CLIENT_FILE.read_text() + "BindPort nonsense\n"
        with self._debian.saying(CLIENT_FILE, broken), self._debian.saying(SERVER_FILE, "ServerBindAddress\n"):
            for node in NODES:
                os.kill(self._pids[node], signal.SIGHUP)
                self._hear(node, "SIGHUP, broken file", "run on as they are|Terminated with error")
            time.sleep(A_WHILE)
        self._relay_file.write_text(RELAY_FILE)
        if all(map(lives, self._pids.values())):
            self._lose("client", "SIGHUP, broken file", lambda: None)
        for node in NODES:
            self._look_whether_it_lives(node, "SIGHUP, broken file")

    def _be_signalled(self) -> None:
        for number in signal.SIGUSR1, signal.SIGUSR2:
            for pid in filter(lives, self._pids.values()):
                os.kill(pid, number)
            time.sleep(A_WHILE)
        for node in NODES:
            self._hear(node, "SIGUSR1, SIGUSR2")
            self._look_whether_it_lives(node, "SIGUSR1, SIGUSR2")

    def _be_killed(self) -> None:
        os.kill(self._pids["client"], signal.SIGKILL)
        time.sleep(A_WHILE)
        self._look_whether_it_lives("client", "SIGKILL")

    def _look_whether_it_lives(self, node: str, what: str) -> None:
        """And what it leaves, if not; that it is then cleaned up is nobody's merit."""
        pid = self._pids[node]
        if lives(pid):
            self._see(node, what, "goes on")
            return
        status, others = ended(pid), strays(*self._pids.values())
        left = self._left_by(node, pid)
        for stray in others:
            if os.getsid(stray) == pid:
                os.kill(stray, signal.SIGKILL)
                ended(stray)
        Path(PID_FILES[node]).unlink(missing_ok=True)
        del self._pids[node]
        self._see(node, what, f"ends with status {status}, leaves {left}")

    def _left_by(self, node: str, pid: int) -> str:
        """What there still is of a daemon that has ended, processes that have ended and are not taken leave of too."""
        found = {
            "an interface": bool(traces(node)),
            "the pid file": os.path.exists(PID_FILES[node]),
            "a process": any(os.getsid(one) == pid for one in children_of(os.getpid())),
        }
        return ", ".join(what for what, there in found.items() if there) or "nothing"

    def _be_locked_up(self) -> None:
        """With another root directory, an empty one."""
        jail = self._debian.folder / "jail"
        self._debian.run("server", SBIN / PROGRAMS["server"], "-t", jail)
        pid = pid_in(PID_FILES["server"])
        wait_for(lambda: str(jail) in {os.readlink(f"/proc/{one}/root") for one in tree(pid)})
        os.kill(pid, signal.SIGTERM)
        time.sleep(A_WHILE)
        self._see("server", "-t, SIGTERM", "goes on" if lives(pid) else "ends")
        end_all()

    def _end(self) -> None:
        for node in filter(lambda node: node in self._pids, NODES):
            pid, sent = self._pids.pop(node), time.monotonic()
            os.kill(pid, signal.SIGTERM)
            status, seconds = ended(pid), time.monotonic() - sent
            self._see(node, "SIGTERM", f"ends with status {status}, leaves {self._left_by(node, pid)}")
            self._see(node, "SIGTERM, seconds", f"{seconds:.3f}")
            self._hear(node, "SIGTERM")


def start_line(node: str) -> list[str]:
    """What the scripts of Debian's packages start a daemon with, and its own options behind."""
    program, pid_file = SBIN / PROGRAMS[node], PID_FILES[node]
    return f"start-stop-daemon --start --quiet --pidfile {pid_file} --exec {program} --oknodo --".split()


def as_text(ran: Ran) -> str:
    said = [normal(line) for line in ran.said.splitlines()]
    return "\n".join([f"status {ran.status}", *(said or ["nothing said"])])


def told(line: Line) -> str:
    return f"{SEVERITIES[line.kind % 8]} {normal(line.text)}"


def normal(text: str) -> str:
    for pattern, word in NORMAL:
        text = pattern.sub(word, text)
    return text.strip()


def user(number: int) -> str:
    return pwd.getpwuid(number).pw_name


def group(number: int) -> str:
    return grp.getgrgid(number).gr_name
