# SPDX-License-Identifier: MIT
"""The kernel as a NAT: what its kinds do, that the model of a masquerade tells the truth, and who reaches whom."""

import os
import shutil
from pathlib import Path

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IUDPTransport

from miredo.commands import demo
from miredo.config import parse
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.libc import mount
from miredo.kernel.namespaces import create_namespace
from miredo.lab import kernelnat
from miredo.lab.building import Laboratory
from miredo.lab.fronts import NO_NAT, Front, KernelNat
from miredo.lab.links import Link
from miredo.lab.live import Demonstration
from miredo.lab.nat import FAMILIAR, LINUX_MASQUERADE
from miredo.lab.plan import Scenario
from miredo.lab.topology import TEREDO_INTERNET
from tests.kernel.bench import Recorder
from tests.namespaced import install_reactor, pause, run_reactor, until

LAB_FILE = Path(__file__).parents[2] / "etc" / "lab.conf"
PORT = 40000
EXTERNAL = "198.51.100.1", PORT
SERVER, RELAY = ("192.0.2.1", 9), ("192.0.2.17", 9)
SETTLED = 0.05
"""Seconds in which a packet crosses the lab, or never does."""


@pytest.fixture(autouse=True)
def _nft() -> None:
    """Skips where there is no nft."""
    if shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip(f"there is no nft; cure: {kernelnat.CURE}")


class Net:
    """Ports in a lab whose client-a is behind something: its own, and three of others."""

    def __init__(self, front: Front) -> None:
        reactor = install_reactor()
        self._lab = Laboratory(
            TEREDO_INTERNET, lambda node: KernelEndpoints(node, reactor), BoottimeClock(reactor), os.urandom
        )
        self._lab.build({"client-a": front, "client-b": NO_NAT})
        self._lab.start()
        self._ports: list[IUDPTransport] = []
        self.client, self.at_client = self._open("client-a", "0.0.0.0", PORT)
        self.server, self.at_server = self._open("server", *SERVER)
        self.other_port, _ = self._open("server", SERVER[0], 10)
        self.relay, self.at_relay = self._open("relay", *RELAY)

    def _open(self, node: str, address: str, port: int) -> tuple[IUDPTransport, Recorder]:
        recorder = Recorder()
        opened = KernelEndpoints(node, install_reactor()).listen_udp(recorder, address, port)
        self._ports.append(opened)
        return opened, recorder

    async def close(self) -> None:
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        self._lab.close()


async def mapped(net: Net, to: tuple[str, int], heard: Recorder) -> tuple[str, int]:
    """The endpoint that one other sees of the client."""
    heard.received.clear()
    net.client.write(b"out", to)
    await until(lambda: heard.received != [])
    return heard.received[0][1]


async def is_let_in(net: Net, sender: IUDPTransport, external: tuple[str, int]) -> bool:
    net.at_client.received.clear()
    sender.write(b"in", external)
    await pause(SETTLED)
    return net.at_client.received != []


def filtering(front: Front) -> list[bool]:
    """Whether the server, another port of it, and another host get in when the client has sent to the server."""
    found: list[bool] = []

    async def body() -> None:
        net = Net(front)
        external = await mapped(net, SERVER, net.at_server)
        assert external[0] == EXTERNAL[0]
        found.extend([await is_let_in(net, each, external) for each in (net.server, net.other_port, net.relay)])
        await net.close()

    run_reactor(body())
    return found


def is_answered_from_elsewhere(front: Front) -> bool:
    """Whether a host that has sent unasked sees another port of the client than the others do."""
    seen: list[tuple[str, int]] = []

    async def body() -> None:
        net = Net(front)
        external = await mapped(net, SERVER, net.at_server)
        assert not await is_let_in(net, net.relay, external)
        seen.extend([external, await mapped(net, RELAY, net.at_relay)])
        await net.close()

    run_reactor(body())
    return seen[0] != seen[1]


@pytest.mark.namespaced
@pytest.mark.parametrize(
    ("front", "expected"),
    [
        (KernelNat.CONE, [True, True, True]),
        (KernelNat.ADDRESS_RESTRICTED, [True, True, False]),
        (KernelNat.MASQUERADE_FILTERED, [True, False, False]),
        (KernelNat.MASQUERADE, [True, False, False]),
        (KernelNat.SYMMETRIC, [True, False, False]),
    ],
)
def test_a_kernel_nat_lets_in_what_its_name_says(
    front: KernelNat, expected: list[bool], closes_descriptors: None
) -> None:
    assert filtering(front) == expected


@pytest.mark.namespaced
@pytest.mark.parametrize("front", [KernelNat.MASQUERADE, LINUX_MASQUERADE], ids=str)
def test_who_sends_unasked_to_a_masquerade_is_answered_from_elsewhere(front: Front) -> None:
    """The kernel's, and our model of it."""
    assert is_answered_from_elsewhere(front)


@pytest.mark.namespaced
@pytest.mark.parametrize("front", [KernelNat.MASQUERADE_FILTERED, FAMILIAR["port-restricted"]], ids=str)
def test_what_a_nat_drops_leaves_nothing(front: Front) -> None:
    assert not is_answered_from_elsewhere(front)


@pytest.mark.namespaced
def test_a_symmetric_nat_shows_everybody_another_port() -> None:
    async def body() -> None:
        net = Net(KernelNat.SYMMETRIC)
        ports = {(await mapped(net, to, heard))[1] for to, heard in ((SERVER, net.at_server), (RELAY, net.at_relay))}
        assert len(ports | {PORT}) == 3
        await net.close()

    run_reactor(body())


# ---------------------------------------------------------------- clients behind them


def peer_ping(left: Front, right: Front, directive: str = "", link: Link | None = None) -> float | None:
    from twisted.internet import reactor

    text = LAB_FILE.read_text().replace("ServerAddress 192.0.2.1\n", f"ServerAddress 192.0.2.1\n{directive}\n")
    report = Demonstration(reactor, Scenario(left, right, link or Link()), parse(text, "lab.conf")).run()
    assert report.ok, report.failure
    return report.peer_ping


@pytest.mark.requirement("C44a")
@pytest.mark.namespaced
@pytest.mark.parametrize("left", [NO_NAT, KernelNat.MASQUERADE_FILTERED, KernelNat.MASQUERADE])
def test_a_client_behind_a_masquerade_is_reached_by_the_first_attempt(left: Front, closes_descriptors: None) -> None:
    seconds = peer_ping(left, KernelNat.MASQUERADE)
    assert seconds is not None
    assert seconds < 2


@pytest.mark.namespaced
def test_with_the_usual_ttl_it_is_not() -> None:
    assert peer_ping(KernelNat.MASQUERADE_FILTERED, KernelNat.MASQUERADE, "BubbleTTL 0") is None


@pytest.mark.namespaced
def test_links_of_a_kernel_nat_take_their_time(closes_descriptors: None) -> None:
    """Between two clients behind such NATs are four links, and the server is two away."""
    seconds = peer_ping(KernelNat.MASQUERADE, KernelNat.CONE, link=Link(delay=0.01))
    assert seconds is not None
    assert seconds >= (3 + 3 + 4 + 4 + 4) * 0.01


# ---------------------------------------------------------------- it refuses


@pytest.mark.namespaced
@pytest.mark.parametrize("which", ["--nat", "--peer-nat"])
def test_without_nft_the_command_that_installs_it_is_told(which: str, capfd: pytest.CaptureFixture[str]) -> None:
    mount("tmpfs", "/usr/sbin", "tmpfs", 0)
    os.environ["PATH"] = "/usr/sbin"
    assert demo.main([which, "kernel-cone"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err == (
        "demo: a NAT of the kernel's: there is no program nft\n  to allow it:  sudo apt-get install nftables\n"
    )


@pytest.mark.namespaced
def test_what_the_kernel_does_not_take_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    create_namespace("router")

    monkeypatch.setattr(kernelnat, "rules", lambda *_: "add rule ip nowhere nothing drop\n")
    with pytest.raises(OSError, match=r"kernel-cone \(nf_tables\): .*No such file or directory"):
        kernelnat.become_nat("router", KernelNat.CONE, "192.168.1.2")


def test_memory_has_no_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        demo.main(["--sim", "--peer-nat", "kernel-symmetric"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("kernel-symmetric is the kernel's NAT, and --sim has no kernel\n")
