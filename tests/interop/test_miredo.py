# SPDX-License-Identifier: MIT
"""Debian's C miredo in our lab: its client with our server and relay, our client with its server and relay."""

import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorCore

from miredo.address.endpoint import IPv6
from miredo.address.teredo import is_teredo
from miredo.assembly import Roles, assemble_on
from miredo.config import parse
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.libc import CLONE_NEWNET, setns
from miredo.kernel.namespaces import entered, path_of
from miredo.lab.building import Laboratory
from miredo.lab.fronts import Front
from miredo.lab.nat import BEHAVIOURS, LINUX_MASQUERADE, NatBehaviour
from miredo.lab.pings import Ping
from miredo.lab.pingsocket import PingSocket, is_configured
from miredo.lab.plan import USUAL_NAT
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET
from tests.namespaced import install_reactor, run_reactor, until

pytestmark = [pytest.mark.interop, pytest.mark.namespaced]

MIREDO, MIREDO_SERVER = "/usr/sbin/miredo", "/usr/sbin/miredo-server"

OUR_SERVER = "[server s]\nNamespace server\nServerBindAddress 192.0.2.1\n"
OUR_RELAY = "[relay r]\nNamespace relay\nBindAddress 192.0.2.17\nBindPort 3545\n"
OUR_CLIENT = "[client c]\nNamespace {0}\nServerAddress 192.0.2.1\n"

ITS_SERVER = "ServerBindAddress 192.0.2.1\nServerBindAddress2 192.0.2.2\n"
ITS_RELAY = "RelayType cone\nInterfaceName teredo\nBindAddress 192.0.2.17\nBindPort 3545\n"
ITS_CLIENT = "InterfaceName teredo\nServerAddress 192.0.2.1\n"

KINDS = [BEHAVIOURS[0], BEHAVIOURS[1], USUAL_NAT, BEHAVIOURS[4], BEHAVIOURS[8], LINUX_MASQUERADE]


def need_them() -> None:
    """Skip where Debian's programs are not there, or their user cannot be become."""
    if os.geteuid() != 0:
        pytest.skip("Debian's miredo becomes its own user, which needs root")
    for program, package in ((MIREDO, "miredo"), (MIREDO_SERVER, "miredo-server")):
        if not os.access(program, os.X_OK):
            pytest.skip(f"there is no {program}; cure: sudo apt-get install {package}")


@pytest.fixture(autouse=True)
def _programs() -> None:
    need_them()


class Peers:
    """
    Debian's programs, each in a node of the lab and in a session of its own.

    @param folder: for their files; those of /etc are not read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, program: str, node: str, text: str) -> None:
        name = f"{len(self._running)}-{node}"
        configuration = self._folder / f"{name}.conf"
        configuration.write_text(text)

        def enter() -> None:
            namespace = os.open(path_of(node), os.O_RDONLY)
            setns(namespace, CLONE_NEWNET)
            os.close(namespace)

        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [program, "-f", "-c", str(configuration), "-p", str(self._folder / f"{name}.pid")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=enter,
            )
        self._running.append(process)

    def logs(self) -> str:
        return "\n".join(f"{file.name}:\n{file.read_text()}" for file in sorted(self._folder.glob("*.log")))

    def stop(self) -> None:
        """End them with what they have started."""
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        for process in self._running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(3)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            wait_for_the_end_of(process.pid)


def wait_for_the_end_of(session: int) -> None:
    """Wait until none of its processes is there any more; the kernel ends them soon after the signal."""
    deadline = time.monotonic() + 5
    while any(session_of(entry) == session for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        assert time.monotonic() < deadline, f"processes of session {session} are left"
        time.sleep(0.01)


def session_of(process: Path) -> int | None:
    """The session that a process is in, if it has not ended; its parent may still have to reap it."""
    try:
        state, _, _, session, *_ = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(session)


@contextmanager
def peers(folder: Path) -> Iterator[Peers]:
    opened = Peers(folder)
    try:
        yield opened
    except AssertionError:
        print(opened.logs())
        raise
    finally:
        opened.stop()


def address_in(node: str) -> IPv6 | None:
    """The Teredo address of a node that is to be used already."""
    network = KernelEndpoints(node, install_reactor()).network()
    try:
        index = network.index_of("teredo")
        found = [] if index is None else [address for address, _ in network.addresses(index) if is_teredo(address)]
    finally:
        network.close()
    return found[0] if found and is_configured(node, found[0]) else None


def listens(node: str, port: int) -> bool:
    """Whether anybody in a node has that UDP port."""
    with entered(node), open("/proc/thread-self/net/udp") as ports:
        return any(f":{port:04X} " in line for line in ports)


async def qualified(node: str) -> IPv6:
    """The Teredo address of a node, once it has one."""
    found: list[IPv6] = []

    def look() -> bool:
        address = address_in(node)
        found.extend([address] if address else [])
        return bool(found)

    await until(look, 15)
    return found[0]


async def answers(node: str, destination: IPv6, patience: float = 12.0) -> float:
    """Seconds until a ping is answered; whoever is lost on the way is pinged again, as by any ping program."""
    reactor = install_reactor()
    clock = BoottimeClock(reactor)
    pings: list[Ping] = []
    with PingSocket(node, reactor, clock, os.urandom) as pinging:

        def answered() -> bool:
            if not pings or clock.now() - pings[-1].sent > 1:
                with suppress(OSError):  # miredo's hook has added the address and not yet the route
                    pings.append(pinging.ping(destination))
            return any(ping.answered is not None for ping in pings)

        await until(answered, patience)
    return min(ping.answered for ping in pings if ping.answered is not None) - pings[0].sent


def in_the_lab(front: Front, text: str, body: Callable[[], Awaitable[None]], other: Front = USUAL_NAT) -> None:
    """Build the lab with our roles of a configuration, and let C{body} run in it."""
    reactor = install_reactor()
    roles: Roles = assemble_on(IReactorCore(reactor), parse(text, "interop.conf", strict=True))
    clock = BoottimeClock(reactor)
    laboratory = Laboratory(TEREDO_INTERNET, lambda node: KernelEndpoints(node, reactor), clock, os.urandom)

    async def whole() -> None:
        laboratory.build({"client-a": front, "client-b": other})
        laboratory.start()
        roles.privilegedStartService()
        roles.startService()
        try:
            await body()
        finally:
            await maybeDeferred(roles.stopService)
            laboratory.close()

    run_reactor(whole(), timeout=45)


@pytest.mark.manual("M30")
@pytest.mark.parametrize("behaviour", KINDS, ids=str)
def test_its_client_works_with_our_server_and_relay(behaviour: NatBehaviour, tmp_path: Path) -> None:
    async def body() -> None:
        with peers(tmp_path) as debian:
            debian.start(MIREDO, "client-a", ITS_CLIENT)
            address = await qualified("client-a")
            there = await answers("client-a", HOST_ADDRESS)
            back = await answers("host", address)
            print(f"{behaviour}: first ping {there * 1000:.1f} ms, back {back * 1000:.1f} ms")

    in_the_lab(behaviour, OUR_SERVER + OUR_RELAY, body)


@pytest.mark.parametrize("behaviour", KINDS, ids=str)
def test_its_client_is_reached_from_the_native_network_first(behaviour: NatBehaviour, tmp_path: Path) -> None:
    async def body() -> None:
        with peers(tmp_path) as debian:
            debian.start(MIREDO, "client-a", ITS_CLIENT)
            await answers("host", await qualified("client-a"))

    in_the_lab(behaviour, OUR_SERVER + OUR_RELAY, body)


@pytest.mark.parametrize("host_first", [False, True], ids=["client first", "native host first"])
@pytest.mark.parametrize("relay_type", ["cone", "restricted"])
@pytest.mark.parametrize("behaviour", KINDS, ids=str)
def test_our_client_works_with_its_server_and_relay(
    behaviour: NatBehaviour, relay_type: str, host_first: bool, tmp_path: Path
) -> None:
    async def body() -> None:
        with peers(tmp_path) as debian:
            debian.start(MIREDO_SERVER, "server", ITS_SERVER)
            debian.start(MIREDO, "relay", ITS_RELAY.replace("cone", relay_type))
            address = await qualified("client-a")
            await until(lambda: listens("relay", 3545))
            ways = [("client-a", HOST_ADDRESS), ("host", address)]
            for node, destination in reversed(ways) if host_first else ways:
                print(f"{behaviour}: ping from {node}: {await answers(node, destination) * 1000:.1f} ms")

    in_the_lab(behaviour, OUR_CLIENT.format("client-a"), body)


def test_two_of_its_clients_reach_each_other_through_our_server(tmp_path: Path) -> None:
    """Their bubbles have the hop limit 0 and a link-local source."""

    async def body() -> None:
        with peers(tmp_path) as debian:
            debian.start(MIREDO, "client-a", ITS_CLIENT)
            debian.start(MIREDO, "client-b", ITS_CLIENT)
            one, other = await qualified("client-a"), await qualified("client-b")
            await answers("client-a", other)
            await answers("client-b", one)

    in_the_lab(USUAL_NAT, OUR_SERVER, body)


@pytest.mark.parametrize("behaviour", KINDS[:3], ids=str)
def test_its_client_and_ours_reach_each_other(behaviour: NatBehaviour, tmp_path: Path) -> None:
    async def body() -> None:
        with peers(tmp_path) as debian:
            debian.start(MIREDO, "client-a", ITS_CLIENT)
            its, ours = await qualified("client-a"), await qualified("client-b")
            await answers("client-b", its)
            await answers("client-a", ours)

    in_the_lab(behaviour, OUR_SERVER + OUR_CLIENT.format("client-b"), body)
