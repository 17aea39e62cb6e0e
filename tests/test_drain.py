# SPDX-License-Identifier: MIT
"""C{DrainTime} of real processes: a relay that is told to end hands over to another, and no ping is lost."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from miredo.address.endpoint import IPv6
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.lab.building import Laboratory
from miredo.lab.pings import Ping
from miredo.lab.pingsocket import PingSocket, is_configured
from miredo.lab.plan import USUAL_NAT
from miredo.lab.topology import HOST_ADDRESS
from miredo.lab.tworelays import TO_THE_OTHER_RELAY, TWO_RELAYS
from tests.namespaced import install_reactor, pause, run_reactor, until
from tests.test_tap import teredo_address, twistd, wait_for

OLD = "[relay r]\nNamespace relay\nBindAddress 192.0.2.17\nBindPort 3545\nDrainTime {0}\n"
OTHERS = """\
[server s]
Namespace server
ServerBindAddress 192.0.2.1
[relay q]
Namespace relay-2
BindAddress 192.0.2.33
BindPort 3545
[client a]
Namespace client-a
ServerAddress 192.0.2.1
"""
INTERVAL = 0.1
"""Seconds between pings, so few that a client holds them all while it tests another relay: 8 (A17)."""


def folder_with(parent: Path, name: str, text: str) -> Path:
    folder = parent / name
    folder.mkdir()
    (folder / "roles.conf").write_text(text)
    return folder


def repeated(ping: Callable[[], None]) -> LoopingCall:
    """Ping again and again until it is stopped."""
    repeating = LoopingCall(ping)
    repeating.clock = IReactorTime(install_reactor())
    repeating.start(INTERVAL)
    return repeating


def catches(process: int, number: int) -> bool:
    """Whether a process does something of its own at a signal (proc(5)), as one with a running reactor."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (caught,) = (line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) & 1 << number - 1)


@pytest.mark.namespaced
def test_nothing_is_lost_when_a_relay_drains_and_another_takes_over(tmp_path: Path) -> None:
    reactor = install_reactor()
    clock = BoottimeClock(reactor)
    lab = Laboratory(TWO_RELAYS, lambda node: KernelEndpoints(node, reactor), clock, os.urandom)
    old, others = folder_with(tmp_path, "old", OLD.format(3)), folder_with(tmp_path, "others", OTHERS)
    words = ["-n", "--pidfile=", "miredo", "-c", "roles.conf"]
    there: list[Ping] = []
    back: list[Ping] = []

    async def body() -> None:
        lab.build(dict.fromkeys(("client-a", "client-b"), USUAL_NAT))
        lab.start()
        with twistd(others, *words), twistd(old, *words) as ending:
            found: list[IPv6] = []

            def configured() -> bool:
                address = teredo_address("client-a")
                found.extend([address] if address is not None and is_configured("client-a", address) else [])
                return bool(found)

            await until(configured, 20)
            await until(lambda: b"pseudo-tunnel started" in ending.output.read_bytes(), 20)
            with (
                PingSocket("client-a", reactor, clock, os.urandom) as client,
                PingSocket("host", reactor, clock, os.urandom) as host,
            ):
                streams = [
                    repeated(lambda: there.append(client.ping(HOST_ADDRESS))),
                    repeated(lambda: back.append(host.ping(found[0]))),
                ]
                await pause(0.5)
                assert there[-2].answered is not None
                began = time.monotonic()
                ending.process.send_signal(signal.SIGTERM)
                await pause(0.5)
                lab.move_route(TO_THE_OTHER_RELAY)
                await until(lambda: ending.process.poll() is not None, 10)
                assert 2.9 < time.monotonic() - began < 5
                await pause(0.5)
                for stream in streams:
                    stream.stop()
                await until(lambda: all(ping.answered is not None for ping in there + back), 5)
            text = ending.output.read_text()
            assert "relay r: not ready: forwarding for 3 s yet" in text
            assert "Traceback" not in text
        lab.close()

    run_reactor(body(), timeout=40)
    assert min(len(there), len(back)) > 30


@pytest.mark.namespaced
@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_draining_relay_at_once(again: int, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "old", "RelayType cone\nDrainTime 60\n")
    with twistd(folder, "-n", "--pidfile=", "miredo", "-c", "roles.conf") as running:
        wait_for(lambda: catches(running.process.pid, signal.SIGTERM))
        running.process.send_signal(signal.SIGTERM)
        wait_for(lambda: b"not ready" in running.output.read_bytes())
        time.sleep(0.3)
        assert running.process.poll() is None
        assert running.end(again) < 10
    assert "Traceback" not in running.output.read_text()
