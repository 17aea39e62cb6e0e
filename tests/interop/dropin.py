# SPDX-License-Identifier: MIT
"""
A host as Debian's packages of miredo leave it, in each node of an Internet that nothing leaves.

    server 192.0.2.221, .222 --+                     +--- six --- host 2001:db8:3::1
                               |                     |     |
    client --- [a router] --- core --- 192.0.2.17 relay    |
                               |                           |
                               +-------- outside ----------+     where all else is routed to

The nodes share one file system. C{/run} and C{/dev/log} are this lab's own, and so is C{/etc/hosts}, by which the
server of Debian's C{/etc/miredo.conf} is the server of its C{/etc/miredo-server.conf}. A daemon that detaches becomes a
child of the test, which is told how it ended. At the end of a test nothing may have come to C{outside}, and no process
may be left.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from miredo.address.endpoint import IPv6, show_ipv6
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.libc import CLONE_NEWNET, MS_BIND, MS_REC, mount, setns, unmount
from miredo.kernel.namespaces import entered, path_of
from miredo.lab.building import Laboratory
from miredo.lab.fronts import Front
from miredo.lab.pings import Ping
from miredo.lab.pingsocket import PingSocket, is_configured
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET, End, NatPlace, Route, Wire
from tests.daemons import children_of
from tests.namespaced import install_reactor
from tests.test_tap import wait_for

ROOT = Path(__file__).parents[2]
CLIENT_FILE, SERVER_FILE = Path("/etc/miredo/miredo.conf"), Path("/etc/miredo/miredo-server.conf")
"""What Debian's packages install, and its programs read if nothing else is said."""
SERVER_NAME, SERVER_ADDRESS = "teredo-debian.remlab.net", "192.0.2.221"
"""What is said there."""
RELAY_FILE = "RelayType cone\nInterfaceName teredo\nBindPort 3545\n"
"""A relay's, as the manual and the comments of Debian's file have it; there is none in the package."""
COMMANDS = {"miredo": "miredo", "miredo-server": "miredo_server", "miredo-checkconf": "checkconf"}
"""Debian's programs, and our modules that take their place."""
SBIN = Path("/usr/sbin")
NODES = "client", "relay", "server"
INTERNET = replace(
    TEREDO_INTERNET,
    nodes=("core", "server", "relay", "six", "host", "client", "outside"),
    wires=(
        Wire(
            End("core", "server", ("192.0.2.209/28",)),
            End("server", "wan", (f"{SERVER_ADDRESS}/28", "192.0.2.222/28")),
        ),
        *TEREDO_INTERNET.wires[1:],
        Wire(End("core", "outside", ("203.0.113.1/30",)), End("outside", "core", ("203.0.113.2/30",))),
        Wire(End("six", "outside", ("2001:db8:f::1/64",)), End("outside", "six", ("2001:db8:f::2/64",))),
    ),
    routes=(
        Route("server", "0.0.0.0/0", "wan", "192.0.2.209"),
        *TEREDO_INTERNET.routes[1:],
        Route("core", "0.0.0.0/0", "outside", "203.0.113.2"),
        Route("six", "::/0", "outside", "2001:db8:f::2"),
    ),
    nats=(NatPlace("client", "192.168.1.2/24", "198.51.100.1", "core"),),
)
NAME_SERVER = "203.0.113.53"
"""Who would be asked for a name that is not in C{/etc/hosts}; beyond C{outside}."""
PATIENCE = 15.0
"""Seconds for what takes much less."""
SHOWN = {
    "/etc/hosts": f"127.0.0.1 localhost\n{SERVER_ADDRESS} {SERVER_NAME}\n",
    "/etc/resolv.conf": f"nameserver {NAME_SERVER}\n",
    "/proc/sys/kernel/modprobe": "/bin/true\n",  # the program that the scripts of Debian's packages load modules with
}
"""Files of the system, and what they say here."""
INTERVAL, LATE = 0.1, 2.0
"""Seconds between pings, and those that the answer to the last of them is waited for."""
DEVICES = "null", "zero", "full", "random", "urandom", "net/tun"
_PR_SET_CHILD_SUBREAPER = 36
_ETH_P_ALL = 3
_OWN_BUSINESS = re.compile(rb"\x60.{23}(?:\xff|\xfe[\x80-\xbf])", re.DOTALL)
"""IPv6 to a multicast or link-local address, which no router forwards."""


class Ran(NamedTuple):
    """A command that has ended, and what was seen at its terminal."""

    status: int
    said: str


class Line(NamedTuple):
    """A record that came to syslogd: C{kind} is facility and severity."""

    kind: int
    program: str
    pid: int
    text: str


class Syslogd:
    """Listens at C{/dev/log}, in a C{/dev} of this lab's own."""

    def __init__(self, folder: Path) -> None:
        dev = folder / "dev"
        (dev / "net").mkdir(parents=True)
        for name in DEVICES:
            (dev / name).touch()
            mount(f"/dev/{name}", str(dev / name), None, MS_BIND)
        mount(str(dev), "/dev", None, MS_BIND | MS_REC)
        network = KernelEndpoints(None, install_reactor()).network()
        network.set_sysctl("net/unix/max_dgram_qlen", 1000)  # nobody waits for a test that does not look
        network.close()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind("/dev/log")
        os.chmod("/dev/log", 0o666)
        self._lines: list[Line] = []
        self._told = 0

    def lines(self) -> list[Line]:
        """All that came, in order."""
        with suppress(BlockingIOError):
            while True:
                self._lines.append(_line(self._socket.recv(8192).decode()))
        return self._lines

    def news(self, until: str = "") -> list[Line]:
        """What came since this was asked last; wait until something that matches is among it."""
        wait_for(lambda: not until or any(re.search(until, line.text) for line in self.lines()[self._told :]), PATIENCE)
        self.lines()
        told, self._told = self._told, len(self._lines)
        return self._lines[told:]

    def hears(self, text: str) -> None:
        """Wait until a text has come."""
        wait_for(lambda: any(text in line.text for line in self.lines()), PATIENCE)

    def close(self) -> None:
        self._socket.close()


def _line(record: str) -> Line:
    found = re.fullmatch(r"<(\d+)>\w{3} [ \d]\d [\d:]{8} ([^[]+)\[(\d+)\]: (.*?)\n?", record, re.DOTALL)
    assert found is not None, f"not as syslog(3) writes it: {record!r}"
    return Line(int(found[1]), found[2], int(found[3]), found[4])


class Debian:
    """
    The lab, with Debian's files and programs.

    @ivar log: what came to syslogd.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = Syslogd(folder)
        self._count = 0
        self._outside = _listen_outside()
        for path, text in SHOWN.items():
            if Path(path).exists():
                self.show(path, text)

    def show(self, path: str | Path, text: str, mode: int = 0o644) -> None:
        """Have a file of the system say something else here."""
        self._count += 1
        own = self.folder / f"{self._count}-{Path(path).name}"
        own.write_text(text)
        own.chmod(mode)
        mount(str(own), os.path.realpath(path), None, MS_BIND)

    @contextmanager
    def saying(self, path: str | Path, text: str) -> Iterator[None]:
        """Have a file of the system say something else for the time of a C{with} block."""
        self.show(path, text)
        yield
        unmount(os.path.realpath(path))

    def replace_programs(self) -> None:
        """Put ours where Debian's are, as an installer of Python programs writes them."""
        for name, module in COMMANDS.items():
            lines = (
                f"#!{sys.executable}",
                "import sys",
                f"from miredo.commands.{module} import main",
                "sys.exit(main())",
            )
            self.show(SBIN / name, "\n".join(lines) + "\n", 0o755)

    def run(self, node: str, *words: str | Path) -> Ran:
        """Run a command to its end; daemons that it leaves are ours."""
        self._count += 1
        said = self.folder / f"{self._count}-said"
        status = self._started(node, [*map(str, words)], said).wait(PATIENCE)
        return Ran(status, said.read_text())

    @contextmanager
    def running(self, node: str, *words: str | Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """Run a command that does not end by itself: the process, and the file that its terminal is."""
        self._count += 1
        said = self.folder / f"{self._count}-said"
        process = self._started(node, [*map(str, words)], said)
        try:
            yield process, said
        finally:
            process.kill()
            process.wait()

    def _started(self, node: str, words: list[str], said: Path) -> subprocess.Popen[bytes]:
        with said.open("wb") as writing:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                cwd="/",
                env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"},
                preexec_fn=entering(node),
            )

    def came_outside(self) -> list[str]:
        """What somebody sent to where nobody of the lab is."""
        found = []
        with suppress(BlockingIOError):
            while True:
                packet, (link, _, kind, *_) = self._outside.recvfrom(2048)
                is_ip = packet[:1] >= b"\x40" and kind != socket.PACKET_OUTGOING
                if is_ip and not _OWN_BUSINESS.match(packet):
                    found.append(f"{link}: {packet[:64].hex()}")
        return found

    def close(self) -> None:
        self.log.close()
        self._outside.close()


def _listen_outside() -> socket.socket:
    with entered("outside"):
        return socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ALL))


@contextmanager
def debian(folder: Path, front: Front) -> Iterator[Debian]:
    """
    The lab, in the namespaces of this test's child.

    @param front: what is in front of the client.
    """
    _adopt()
    reactor = install_reactor()
    laboratory = Laboratory(INTERNET, lambda node: KernelEndpoints(node, reactor), BoottimeClock(reactor), os.urandom)
    laboratory.build({"client": front})
    wait_for(lambda: laboratory.is_ready, PATIENCE)
    built = Debian(folder)
    try:
        yield built
        wait_for(lambda: not strays())
        assert built.came_outside() == []
    except AssertionError:
        for line in built.log.lines():
            print(line)
        raise
    finally:
        end_all()
        built.close()
        laboratory.close()


def need_debian() -> None:
    """Skip where Debian's packages are not, or their files do not say what they did; or there is no nft."""
    if shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        pytest.skip("there is no nft; cure: sudo apt-get install nftables")
    for name in COMMANDS:
        if not os.access(SBIN / name, os.X_OK):
            pytest.skip(f"there is no {SBIN / name}; cure: sudo apt-get install miredo miredo-server")
    for file, said in (
        (CLIENT_FILE, rf"ServerAddress\s+{SERVER_NAME}"),
        (SERVER_FILE, f"ServerBindAddress {SERVER_ADDRESS}"),
    ):
        if not file.exists() or not re.search(rf"^{said}$", file.read_text(), re.MULTILINE):
            pytest.skip(f"{file} is not as Debian's package has it; cure: apt-get install --reinstall")


# ---------------------------------------------------------------- processes


def _adopt() -> None:
    """Have daemons become children of this process when those who started them end."""
    assert ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def end_all() -> None:
    """Whatever a test that has failed has left."""
    while children := children_of(os.getpid()):
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def entering(node: str) -> Callable[[], None]:
    """What a process does to be in a node."""

    def enter() -> None:
        namespace = os.open(path_of(node), os.O_RDONLY)
        setns(namespace, CLONE_NEWNET)
        os.close(namespace)

    return enter


def ended(pid: int) -> int:
    """How a daemon has ended: its exit status, or the negative number of the signal."""
    deadline = time.monotonic() + PATIENCE
    while (found := os.waitpid(pid, os.WNOHANG))[0] == 0:
        assert time.monotonic() < deadline, f"process {pid} has not ended"
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(found[1])


def strays(*known: int) -> list[int]:
    """Processes that became children of this one and have not ended, besides those that are known."""
    found = [pid for pid in children_of(os.getpid()) if pid not in known]
    return [pid for pid in found if os.waitpid(pid, os.WNOHANG)[0] == 0]


def usual_words(program: str) -> list[str]:
    """What Debian has a program started with."""
    file = Path("/etc/default", program)
    found = re.search(r'^DAEMON_ARGS="(.*)"$', file.read_text() if file.exists() else "", re.MULTILINE)
    return found[1].split() if found else []


def pid_in(file: str | Path) -> int:
    return int(Path(file).read_text())


def tree(pid: int) -> list[int]:
    """A process and all that it has started, in order."""
    return [pid, *(each for child in children_of(pid) for each in tree(child))]


# ---------------------------------------------------------------- what is to be seen in a node


def address_of(node: str) -> IPv6 | None:
    """The Teredo address that a node's kernel takes packets for, once it has a default route."""
    with entered(node), open("/proc/thread-self/net/if_inet6") as file:
        found = [bytes.fromhex(line.split()[0]) for line in file if line.startswith("20010000")]
    return found[0] if found and is_configured(node, found[0]) else None


def traces(node: str) -> list[str]:
    """Every interface, address, route and rule of a node that Teredo has to do with."""
    found = []
    for name in "dev", "if_inet6", "ipv6_route":
        with entered(node), open(f"/proc/thread-self/net/{name}") as file:
            found += [line.strip() for line in file if "teredo" in line or line.startswith("20010000")]
    network = KernelEndpoints(node, install_reactor()).network()
    found += [f"rule from {show_ipv6(source)}" for source, _, _ in network.rules()]
    network.close()
    return found


# ---------------------------------------------------------------- traffic


def ping(node: str, destination: IPv6) -> float:
    """Seconds until a ping is answered; like any ping program, send another each second."""
    began = time.monotonic()
    with _pinging(node) as pinging:
        pings: list[Ping] = []
        while not any(one.answered for one in pings):
            assert time.monotonic() < began + PATIENCE, f"no answer to {len(pings)} pings from {node}"
            if time.monotonic() >= began + len(pings):
                pings.append(_sent(pinging, destination))
            _hear(pinging, time.monotonic() + INTERVAL / 10)
    return time.monotonic() - began


def lost_meanwhile(node: str, destination: IPv6, happening: Callable[[], object]) -> list[int]:
    """Which of a dozen pings, ten a second, got no answer while something happened after the third."""
    pings: list[Ping] = []
    with _pinging(node) as pinging:
        for number in range(12):
            pings.append(_sent(pinging, destination))
            if number == 2:
                happening()
            _hear(pinging, time.monotonic() + INTERVAL)
        deadline = time.monotonic() + LATE
        while time.monotonic() < deadline and not all(one.answered for one in pings):
            _hear(pinging, time.monotonic() + INTERVAL)
    return [number for number, one in enumerate(pings) if one.answered is None]


def _sent(pinging: PingSocket, destination: IPv6) -> Ping:
    """A ping; where there is no way to send it, one that is never answered."""
    try:
        return pinging.ping(destination)
    except OSError:
        return Ping(time.monotonic())


def _pinging(node: str) -> PingSocket:
    reactor = install_reactor()
    return PingSocket(node, reactor, BoottimeClock(reactor), os.urandom)


def _hear(pinging: PingSocket, until: float) -> None:
    while (left := until - time.monotonic()) > 0:
        if select.select([pinging], [], [], left)[0]:
            pinging.doRead()


class Connection:
    """
    TCP from the client through the tunnel to the native host.

    @param patience: seconds that either end waits for the other.
    """

    def __init__(self, patience: float) -> None:
        with entered("host"):
            listening = socket.socket(socket.AF_INET6)
        with entered("client"):
            self._near = socket.socket(socket.AF_INET6)
        with listening:
            listening.bind(("::", 0))
            listening.listen()
            self._near.settimeout(patience)
            self._near.connect((show_ipv6(HOST_ADDRESS), listening.getsockname()[1]))
            self._far, _ = listening.accept()
        self._far.settimeout(patience)

    def goes_on(self) -> bool:
        """Whether both ends still hear each other."""
        for one, other in (self._near, self._far), (self._far, self._near):
            said = os.urandom(16)
            one.sendall(said)
            try:
                if other.recv(64) != said:
                    return False
            except OSError:
                return False
        return True

    def close(self) -> None:
        self._near.close()
        self._far.close()
