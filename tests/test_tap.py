# SPDX-License-Identifier: MIT
"""C{twistd miredo} as a process: it starts every role of a file, ends without a trace, and refuses clearly."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from twisted.internet.protocol import DatagramProtocol

from miredo.address.endpoint import parse_ipv4
from miredo.address.teredo import CLIENT_LINK_LOCAL, SERVICE_PREFIX, is_teredo
from miredo.config import ClientConfig, RelayConfig, ServerConfig
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.libc import MS_BIND, mount
from miredo.kernel.namespaces import create_namespace
from miredo.lab.building import Laboratory
from miredo.lab.pingsocket import PingSocket, is_configured
from miredo.lab.plan import USUAL_NAT
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET
from miredo.tap import Options
from tests.namespaced import install_reactor, run_reactor, until

ETC = Path(__file__).parents[1] / "etc"
TWISTD = Path(sys.executable).with_name("twistd")

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_NET_RAW = 1, 2, 12, 13
PR_CAPBSET_DROP = 24

SERVER = "ServerBindAddress 192.0.2.1\n"
CLIENT = "ServerAddress 192.0.2.1\n"
ADDRESSES = ("192.0.2.1", "192.0.2.2", "198.51.100.7", "10.9.8.1", "10.9.8.2")


# ---------------------------------------------------------------- the command line, without a process


def options(*words: str) -> Options:
    make: Callable[[], Options] = Options
    parsed = make()
    parse: Callable[[list[str]], None] = parsed.parseOptions
    parse(list(words))
    return parsed


def test_the_lab_file_is_read_as_the_command_line_says() -> None:
    roles = options("--config", str(ETC / "lab.conf")).configuration.roles
    assert [type(role) for role in roles] == [ServerConfig, RelayConfig, ClientConfig, ClientConfig]


@pytest.mark.parametrize("file", ["miredo.conf", "miredo-server.conf", "lab.conf"])
def test_every_file_of_etc_is_read_without_a_warning(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert options("-c", str(ETC / file)).configuration.warnings == ()
    assert capsys.readouterr().err == ""


def test_a_server_of_the_command_line_overrides_the_file() -> None:
    (role,) = options("-c", str(ETC / "miredo.conf"), "203.0.113.1").configuration.roles
    assert isinstance(role, ClientConfig)
    assert role.server_address == (parse_ipv4("203.0.113.1"),)


def test_what_is_only_warned_of_is_told_and_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "old.conf"
    file.write_text(CLIENT + "BindPrt 3545\n")
    assert len(options("-c", str(file)).configuration.roles) == 1
    assert f'{file}:2:1: warning: unknown directive "BindPrt"' in capsys.readouterr().err


@pytest.mark.requirement("A16")
def test_an_option_has_every_client_look_into_the_filtering_of_its_nat() -> None:
    for words, probing in (((), [False, False]), (("--probe-filtering",), [True, True])):
        parsed = options(*words, "-c", str(ETC / "lab.conf"))
        roles = parsed.configuration.roles
        assert [role.probe_filtering for role in roles if isinstance(role, ClientConfig)] == probing
        assert parsed.origin.configuration() == parsed.configuration
        assert [type(role) for role in roles] == [ServerConfig, RelayConfig, ClientConfig, ClientConfig]


def test_filtering_is_probed_by_clients_alone() -> None:
    with pytest.raises(SystemExit, match="--probe-filtering is for a client, and there is none"):
        options("--probe-filtering", "-c", str(ETC / "miredo-server.conf"))


def test_without_an_option_the_default_file_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miredo.tap.default_file", lambda: str(ETC / "miredo.conf"))
    assert options().origin.file == str(ETC / "miredo.conf")


# ---------------------------------------------------------------- a process


@dataclass
class Twistd:
    """A running C{twistd miredo}; what it writes goes to a file."""

    process: subprocess.Popen[bytes]
    output: Path

    def end(self, number: int) -> float:
        """Send a signal; the seconds until the process has ended."""
        sent = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(10)
        return time.monotonic() - sent


@contextmanager
def twistd(folder: Path, *words: str, prepare: Callable[[], None] | None = None) -> Iterator[Twistd]:
    """Run twistd in the namespaces of this test's child, and see to its end."""
    output = folder / "output"
    with output.open("wb") as writing:
        process = subprocess.Popen(
            [TWISTD, *words], cwd=folder, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, preexec_fn=prepare
        )
    try:
        yield Twistd(process, output)
    finally:
        process.kill()
        process.wait()


def give_addresses() -> None:
    """Let the loopback have what the files of these tests name."""
    network = KernelEndpoints(None, install_reactor()).network()
    index = network.index_of("lo")
    assert index is not None
    for address in ADDRESSES:
        network.add_address(index, parse_ipv4(address), 32)
    network.close()


State = dict[str, tuple[list[tuple[bytes, int]], list[tuple[bytes, int, int]]]]


def state(namespace: str | None = None) -> State:
    """The addresses and our routes of every link of a namespace."""
    network = KernelEndpoints(namespace, install_reactor()).network()
    found: State = {}
    for name in network.links():
        index = network.index_of(name)
        if index is not None:
            found[name] = network.addresses(index), network.routes(index)
    network.close()
    return found


def teredo_address(namespace: str | None = None) -> bytes | None:
    """The Teredo address of the link C{teredo}."""
    addresses, _ = state(namespace).get("teredo", ([], []))
    return next((address for address, _ in addresses if is_teredo(address)), None)


def built() -> Laboratory:
    """The lab of C{./x demo} without its roles."""
    reactor = install_reactor()
    clock = BoottimeClock(reactor)
    laboratory = Laboratory(TEREDO_INTERNET, lambda node: KernelEndpoints(node, reactor), clock, os.urandom)
    laboratory.build(dict.fromkeys(("client-a", "client-b"), USUAL_NAT))
    laboratory.start()
    return laboratory


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.namespaced
def test_every_role_of_a_file_starts_and_a_signal_ends_them_all(number: int, tmp_path: Path) -> None:
    nodes = ("server", "relay", "client-a", "client-b")

    async def body() -> None:
        laboratory = built()
        before = [state(node) for node in nodes]
        arguments = ["-n", "--pidfile=", "miredo", "--config", str(ETC / "lab.conf")]
        with twistd(tmp_path, *arguments) as running:
            await until(lambda: teredo_address("client-a") is not None and teredo_address("client-b") is not None, 20)
            address = teredo_address("client-a")
            assert address is not None
            await until(lambda: is_configured("client-a", address) and state("client-a")["teredo"][1] != [])
            addresses, routes = state("client-a")["teredo"]
            assert set(addresses) == {(address, 32), (CLIENT_LINK_LOCAL, 64)}
            assert routes == [(bytes(16), 0, 1029)]
            assert state("relay")["teredo"] == ([], [(SERVICE_PREFIX + bytes(12), 32, 1024)])
            reactor = install_reactor()
            with PingSocket("client-a", reactor, BoottimeClock(reactor), os.urandom) as pinging:
                ping = pinging.ping(HOST_ADDRESS)
                await until(lambda: ping.answered is not None)
            assert running.end(number) < 10
            assert running.process.returncode in (0, -number)
        assert [state(node) for node in nodes] == before
        laboratory.close()
        text = running.output.read_text()
        assert "Traceback" not in text
        assert text.count("Teredo pseudo-tunnel started") == 3
        assert os.listdir(tmp_path) == ["output"]

    run_reactor(body(), timeout=30)


@pytest.mark.namespaced
def test_a_signal_ends_a_client_that_is_still_soliciting(tmp_path: Path) -> None:
    give_addresses()
    before = state()
    (tmp_path / "client.conf").write_text("ServerAddress 192.0.2.77\n")
    with twistd(tmp_path, "-n", "--pidfile=", "miredo", "-c", "client.conf") as running:
        wait_for(lambda: b"Starting..." in running.output.read_bytes())
        assert "teredo" in state()
        assert running.end(signal.SIGTERM) < 10
    assert state() == before
    assert "Traceback" not in running.output.read_text()


@pytest.mark.namespaced
def test_a_private_server_works_where_it_is_allowed(tmp_path: Path) -> None:
    give_addresses()
    text = "[server s]\nServerBindAddress 10.9.8.1\n{0}[client c]\nServerAddress 10.9.8.1\nBindAddress 10.9.8.2\n{0}"
    (tmp_path / "private.conf").write_text(text.format("AllowIPv4 10.0.0.0/8\n"))
    with twistd(tmp_path, "-n", "--pidfile=", "miredo", "-c", "private.conf") as running:
        wait_for(lambda: teredo_address() is not None)
        running.end(signal.SIGTERM)


@pytest.mark.namespaced
def test_a_hangup_reads_the_file_again_and_changes_what_it_says_otherwise(tmp_path: Path) -> None:
    give_addresses()
    file = tmp_path / "both.conf"
    server, client = (
        "[server s]\nServerBindAddress 192.0.2.1\n",
        "[client c]\nServerAddress 192.0.2.1\nBindAddress 198.51.100.7\n",
    )
    file.write_text(server + client)
    with twistd(tmp_path, "-n", "--pidfile=", "miredo", "-c", "both.conf") as running:
        wait_for(lambda: teredo_address() is not None)
        address = teredo_address()

        def reloaded(text: str, line: bytes) -> None:
            file.write_text(text)
            before = running.output.read_bytes().count(line)
            running.process.send_signal(signal.SIGHUP)
            wait_for(lambda: running.output.read_bytes().count(line) > before)

        reloaded(server + client, b"2 of 2 roles run on as they are")
        assert teredo_address() == address
        reloaded(server + client + "BindPort nonsense\n", b"error: BindPort: nonsense is not a port")
        assert teredo_address() == address
        reloaded(server + client + "BindPort 4444\n", b"1 of 2 roles run on as they are")
        wait_for(lambda: teredo_address() not in (None, address))
        assert running.end(signal.SIGTERM) < 10
    assert "Traceback" not in running.output.read_text()


def wait_for(holds: Callable[[], bool], limit: float = 10.0) -> None:
    """Wait without a reactor."""
    deadline = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < deadline, f"not so after {limit:g} s"
        time.sleep(0.01)


# ---------------------------------------------------------------- refusals


def without(*capabilities: int) -> Callable[[], None]:
    """Lets a process start without capabilities that even root cannot get back."""
    libc = ctypes.CDLL(None, use_errno=True)

    def drop() -> None:
        for capability in capabilities:
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), f"capability {capability}")

    return drop


def nothing() -> None:
    """The system is as it is."""


def take_interface() -> None:
    reactor = install_reactor()
    create_namespace("other")
    network = KernelEndpoints(None, reactor).network()
    network.add_veth("teredo", "peer", "other")
    network.close()


def take_port() -> None:
    KernelEndpoints(None, install_reactor()).listen_udp(DatagramProtocol(), "0.0.0.0", 4444)


def take_server_port() -> None:
    KernelEndpoints(None, install_reactor()).listen_udp(DatagramProtocol(), "192.0.2.2", 3544)


def hide_tun_directory() -> None:
    mount("tmpfs", "/dev/net", "tmpfs", 0)


def hide_tun() -> None:
    mount("/dev/null", "/dev/net/tun", None, MS_BIND)


@dataclass
class Refused:
    """A situation in which nothing starts, and the line that says so."""

    text: str | None
    line: str
    prepare: Callable[[], None] = nothing
    lacking: tuple[int, ...] = ()
    mode: int = 0o644


REFUSALS = {
    "bad value": Refused(CLIENT + "BindPort 99999\n", "bad.conf:2:10: error: BindPort: 99999 is not a port from 0 to"),
    "unknown kind": Refused("[klient a]\n", 'bad.conf:1:1: error: there is no kind "klient"'),
    "unknown directive": Refused("[client a]\n" + CLIENT + "BindPrt 1\n", "bad.conf:3:1: error: "),
    "missing server": Refused("RelayType client\n", "bad.conf: error: a client needs ServerAddress"),
    "private server": Refused("ServerAddress 10.9.8.1\n", "bad.conf:1:15: error: ServerAddress: 10.9.8.1 is in"),
    "malformed server": Refused("ServerAddress 192.0.2.300\n", "bad.conf:1:15: error: ServerAddress: 192.0.2.300 is"),
    "long interface": Refused(
        CLIENT + "InterfaceName sixteen-is-too-m\n",
        "bad.conf:2:15: error: InterfaceName: sixteen-is-too-m has 16 bytes, the name of a network",
    ),
    "taken interface": Refused(
        CLIENT,
        "miredo: bad.conf: InterfaceName (default teredo): interface teredo: exists already",
        take_interface,
    ),
    "loopback": Refused(CLIENT + "InterfaceName lo\n", "bad.conf:2: InterfaceName lo: interface lo: exists already"),
    "taken port": Refused(
        CLIENT + "BindPort 4444\n",
        "miredo: bad.conf:2: BindPort 4444: UDP 0.0.0.0 port 4444: Address already in use",
        take_port,
    ),
    "taken server port": Refused(
        SERVER,
        "miredo: bad.conf: ServerBindAddress2 (default ServerBindAddress + 1): UDP 192.0.2.2 port 3544: Address",
        take_server_port,
    ),
    "foreign server address": Refused(
        "ServerBindAddress 192.0.2.99\n",
        "miredo: bad.conf:1: ServerBindAddress 192.0.2.99: UDP 192.0.2.99 port 3544: Cannot assign requested address",
    ),
    "foreign address": Refused(
        CLIENT + "BindAddress 192.0.2.99\n", "UDP 192.0.2.99 port 0: Cannot assign requested address"
    ),
    "no TUN": Refused(CLIENT, "(default teredo): /dev/net/tun: No such file or directory", hide_tun_directory),
    "TUN of another kind": Refused(CLIENT, "interface teredo: Inappropriate ioctl for device", hide_tun),
    "no CAP_NET_ADMIN": Refused(CLIENT, "interface teredo: Operation not permitted", lacking=(CAP_NET_ADMIN,)),
    "no CAP_NET_RAW": Refused(CLIENT, "raw IPv6 socket: Operation not permitted", lacking=(CAP_NET_RAW,)),
    "a server without CAP_NET_RAW": Refused(
        SERVER,
        "miredo: bad.conf:1: ServerBindAddress 192.0.2.1: raw IPv6 socket: Operation not permitted",
        lacking=(CAP_NET_RAW,),
    ),
    "missing file": Refused(None, "bad.conf: error: No such file or directory (errno 2)"),
    "unreadable file": Refused(
        CLIENT,
        "bad.conf: error: Permission denied (errno 13)",
        lacking=(CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH),
        mode=0,
    ),
    "unknown namespace": Refused(
        CLIENT + "Namespace nowhere\n",
        "miredo: bad.conf:2: Namespace nowhere: network namespace nowhere: No such file or directory",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.namespaced
def test_what_cannot_start_says_so_in_one_line_and_changes_nothing(name: str, tmp_path: Path) -> None:
    refusal = REFUSALS[name]
    give_addresses()
    refusal.prepare()
    before = state()
    if refusal.text is not None:
        (tmp_path / "bad.conf").write_text(refusal.text)
        (tmp_path / "bad.conf").chmod(refusal.mode)
    with twistd(
        tmp_path, "-n", "--pidfile=", "miredo", "--config", "bad.conf", prepare=without(*refusal.lacking)
    ) as running:
        assert running.process.wait(10) == 1
    text = running.output.read_text()
    assert [refusal.line in line for line in text.splitlines()].count(True) == 1, text
    assert [line for line in text.splitlines() if "miredo:" in line or "error:" in line][1:] == [], text
    assert "Traceback" not in text
    assert state() == before
    assert sorted(os.listdir(tmp_path)) == sorted(["output", *(["bad.conf"] if refusal.text is not None else [])])


@pytest.mark.namespaced
def test_all_that_is_wrong_is_said_in_one_go(tmp_path: Path) -> None:
    (tmp_path / "bad.conf").write_text("BindPort x\nServerAddress 10.0.0.1\nInterfaceName a/b\n")
    with twistd(tmp_path, "-n", "--pidfile=", "miredo", "--config", "bad.conf") as running:
        assert running.process.wait(10) == 1
    text = running.output.read_text()
    assert [line.split(" ")[0] for line in text.splitlines() if "error:" in line] == [
        "bad.conf:1:10:",
        "bad.conf:2:15:",
        "bad.conf:3:16:",
    ]


@pytest.mark.namespaced
def test_a_role_that_cannot_start_leaves_nothing_of_the_roles_before_it(tmp_path: Path) -> None:
    give_addresses()
    before = state()
    relay = "[relay r]\nInterfaceName relay0\n"
    (tmp_path / "bad.conf").write_text(relay + "[server s]\nServerBindAddress 192.0.2.99\n")
    with twistd(tmp_path, "-n", "--pidfile=", "miredo", "--config", "bad.conf") as running:
        assert running.process.wait(10) == 1
    assert "bad.conf:4: ServerBindAddress 192.0.2.99: " in running.output.read_text()
    assert state() == before


@pytest.mark.namespaced
def test_a_daemon_that_cannot_start_tells_its_terminal_and_keeps_no_pid_file(tmp_path: Path) -> None:
    (tmp_path / "bad.conf").write_text(CLIENT + "InterfaceName lo\n")
    with twistd(tmp_path, "--logfile=log", "miredo", "--config", "bad.conf") as running:
        assert running.process.wait(10) == 1
    assert "bad.conf:2: InterfaceName lo: interface lo: " in running.output.read_text()
    wait_for(lambda: "InterfaceName lo: interface lo: exists already" in (tmp_path / "log").read_text())
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert sorted(os.listdir(tmp_path)) == ["bad.conf", "log", "output"]


@pytest.mark.namespaced
def test_a_daemon_ends_on_a_signal_and_removes_its_pid_file(tmp_path: Path) -> None:
    give_addresses()
    before = state()
    (tmp_path / "server.conf").write_text(SERVER)
    with twistd(tmp_path, "--logfile=log", "--pidfile=pid", "miredo", "-c", "server.conf") as running:
        assert running.process.wait(10) == 0
    daemon = int((tmp_path / "pid").read_text())
    wait_for(lambda: "Teredo server started on 192.0.2.1 and 192.0.2.2" in (tmp_path / "log").read_text())
    os.kill(daemon, signal.SIGTERM)
    wait_for(lambda: not (tmp_path / "pid").exists())
    assert state() == before


# ---------------------------------------------------------------- privileges


RELAY = "RelayType cone\n"


def status_of(pid: int) -> dict[str, list[str]]:
    """The fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


@pytest.mark.root
@pytest.mark.parametrize(
    ("directives", "words", "user", "group", "root"),
    [
        ("User nobody\n", (), "65534", "65534", "/"),
        ("User nobody\nChroot {}\n", (), "65534", "65534", "{}"),
        ("Chroot {}\n", (), "0", "0", "{}"),
        ("Chroot {}\n", ("--uid", "daemon"), "1", "1", "{}"),
        ("User nobody\n", ("--uid", "daemon", "--gid", "nogroup"), "1", "65534", "/"),
        ("User nobody\n", ("--gid", "1"), "65534", "1", "/"),
        ("", ("--uid", "4711", "--gid", "4712"), "4711", "4712", "/"),
    ],
)
@pytest.mark.namespaced
def test_it_gives_up_what_its_file_and_twistds_options_say(
    directives: str, words: tuple[str, ...], user: str, group: str, root: str, tmp_path: Path
) -> None:
    before = state()
    jail = tmp_path / "jail"
    jail.mkdir()
    (tmp_path / "some.conf").write_text(directives.format(jail) + f"PidFile {tmp_path}/own.pid\n" + RELAY)
    with twistd(tmp_path, "-n", "--pidfile=", *words, "miredo", "-c", "some.conf") as running:
        wait_for(lambda: b"Teredo pseudo-tunnel started" in running.output.read_bytes())
        pid = running.process.pid
        status = status_of(pid)
        assert (set(status["Uid"]), set(status["Gid"]), status["Groups"]) == ({user}, {group}, [])
        assert (status["CapEff"], status["CapBnd"], status["NoNewPrivs"]) == (["0" * 16], ["0" * 16], ["1"])
        assert os.readlink(f"/proc/{pid}/root") == root.format(jail)
        assert (tmp_path / "own.pid").read_text() == f"{pid}\n"
        os.kill(pid, signal.SIGHUP)
        wait_for(lambda: b"1 of 1 roles run on as they are" in running.output.read_bytes())
        assert running.end(signal.SIGTERM) < 10
    text = running.output.read_text()
    assert "Traceback" not in text
    assert "imported after the start" not in text
    assert "Exiting on signal 15 (Terminated)" in text
    assert not (tmp_path / "own.pid").exists()
    assert state() == before


@pytest.mark.root
@pytest.mark.parametrize(
    ("directives", "words", "line"),
    [
        ("", ("--chroot", "/"), "miredo: twistd's --chroot comes before anything is opened; write Chroot in the file"),
        ("", ("--uid", "daemon", "--euid"), "miredo: twistd's --euid would leave a way back to root; leave it out"),
        ("", ("--gid", "daemon"), "miredo: twistd's --gid alone would leave the process root; give --uid too"),
        ("", ("--uid", "4711"), "miredo: there is no user with number 4711"),
        ("User no-such-user\n", (), 'miredo: there is no user "no-such-user"'),
    ],
)
@pytest.mark.namespaced
def test_what_cannot_be_given_up_is_said_in_one_line(
    directives: str, words: tuple[str, ...], line: str, tmp_path: Path
) -> None:
    (tmp_path / "some.conf").write_text(directives + RELAY)
    with twistd(tmp_path, "-n", "--pidfile=", *words, "miredo", "-c", str(tmp_path / "some.conf")) as running:
        assert running.process.wait(10) == 1
    text = running.output.read_text()
    assert [one.startswith(line) for one in text.splitlines()] == [True], text


@pytest.mark.namespaced
def test_it_stays_root_where_nobody_says_otherwise_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "some.conf").write_text(RELAY)
    with twistd(tmp_path, "-n", "--pidfile=", "miredo", "-c", "some.conf") as running:
        wait_for(lambda: b"Teredo pseudo-tunnel started" in running.output.read_bytes())
        assert set(status_of(running.process.pid)["Uid"]) == {"0"}
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            running.process.send_signal(number)
        time.sleep(0.2)
        assert running.process.poll() is None
        running.end(signal.SIGTERM)
    assert "runs on as root: no User is given" in running.output.read_text()


@pytest.mark.root
@pytest.mark.namespaced
def test_the_death_of_the_privileged_child_is_twistds_failure(tmp_path: Path) -> None:
    before = state()
    (tmp_path / "some.conf").write_text("User nobody\n" + RELAY)
    with twistd(tmp_path, "-n", "--pidfile=", "miredo", "-c", "some.conf") as running:
        wait_for(lambda: b"Teredo pseudo-tunnel started" in running.output.read_bytes())
        pid = running.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
        assert running.process.wait(10) == 1
    assert "the privileged child has ended: it was killed by signal 9 (Killed)" in running.output.read_text()
    assert state() == before


@pytest.mark.namespaced
def test_directives_that_are_obeyed_are_not_said_not_to_be(tmp_path: Path) -> None:
    (tmp_path / "some.conf").write_text("SyslogFacility local0\nLog debug\nUser root\nFastPath off\n" + RELAY)
    with twistd(tmp_path, "-n", "--pidfile=", "miredo", "-c", "some.conf") as running:
        wait_for(lambda: b"Teredo pseudo-tunnel started" in running.output.read_bytes())
        running.end(signal.SIGTERM)
    said = [line for line in running.output.read_text().splitlines() if "not obeyed by this version" in line]
    assert len(said) == 1
    assert "some.conf:4: FastPath off: not obeyed by this version" in said[0]
