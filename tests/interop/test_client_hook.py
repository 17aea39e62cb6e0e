# SPDX-License-Identifier: MIT
"""One client-hook for Debian's C miredo and for our client: both are to tell it the same."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorCore

from miredo.assembly import assemble_on
from miredo.config import parse
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.hookprogram import PATH
from miredo.kernel.libc import MS_BIND, mount
from miredo.lab.building import Laboratory
from miredo.lab.natbehaviour import parse_behaviour
from miredo.lab.topology import TEREDO_INTERNET
from miredo.service import hooks
from tests.interop.test_miredo import ITS_CLIENT, MIREDO, OUR_CLIENT, OUR_SERVER, need_them, peers, qualified
from tests.namespaced import install_reactor, pause, run_reactor, until

pytestmark = [pytest.mark.interop, pytest.mark.namespaced]

HOOK = Path("/etc/miredo/client-hook")
ADDRESS = re.compile(r"2001:0:[0-9a-f:]+")
FRONT = parse_behaviour("endpoint-independent/endpoint-independent/random")
"""A NAT that gives another port to whom it has forgotten."""
SHORTLY = 0.3
"""Seconds in which a hook has ended that was begun."""

Run = dict[str, str]


@pytest.fixture(autouse=True)
def _hook() -> None:
    need_them()
    if not HOOK.exists():
        pytest.skip(f"there is no {HOOK}; cure: sudo apt-get install miredo")


def spy(folder: Path) -> None:
    """Let this test's child have a hook that notes its environment and goes on as Debian's."""
    original = folder / "original"
    original.write_bytes(HOOK.read_bytes())
    own = folder / "client-hook"
    own.write_text(
        "#!/bin/sh\n"
        f"{{ tr '\\0' '\\n' < /proc/$$/environ; echo; }} >> {folder}/$(readlink /proc/self/ns/net | tr -dc 0-9)\n"
        f"exec {original}\n"
    )
    for file in (original, own):
        file.chmod(0o755)
    mount(str(own), str(HOOK), None, MS_BIND)


def runs(folder: Path, node: str) -> list[Run]:
    """What the hook was told in a node, in order; numbered addresses in the place of those that were drawn."""
    file = folder / str(os.stat(f"/run/netns/{node}").st_ino)
    text = file.read_text() if file.exists() else ""
    seen: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[0] not in seen:
            seen.append(found[0])
        return f"address {seen.index(found[0])}"

    blocks = ADDRESS.sub(number, text).split("\n\n")[:-1]
    return [dict(line.split("=", 1) for line in block.splitlines()) for block in blocks]


def compared(
    folder: Path, body: Callable[[Laboratory], Callable[[], bool]] | None, server: str = OUR_SERVER
) -> list[Run]:
    """
    Run the C client behind one NAT and ours behind another until both end; what both hooks were told.

    @param body: makes something happen once both have an address, and tells when it has.
    """
    reactor = install_reactor()
    text = f"{server}{OUR_CLIENT.format('client-b')}ClientHook {HOOK}\n"
    ours = assemble_on(IReactorCore(reactor), parse(text, "interop.conf", strict=True))
    clock = BoottimeClock(reactor)
    laboratory = Laboratory(TEREDO_INTERNET, lambda node: KernelEndpoints(node, reactor), clock, os.urandom)

    async def whole() -> None:
        laboratory.build({"client-a": FRONT, "client-b": FRONT})
        laboratory.start()
        ours.privilegedStartService()
        ours.startService()
        with peers(folder) as debian:
            debian.start(MIREDO, "client-a", ITS_CLIENT)
            if server:
                for node in ("client-a", "client-b"):
                    await qualified(node)
            else:
                await pause(SHORTLY)
            if body is not None:
                await until(body(laboratory), 40)
            await pause(SHORTLY)
        await maybeDeferred(ours.stopService)
        laboratory.close()

    run_reactor(whole(), timeout=58)
    theirs, own = runs(folder, "client-a"), runs(folder, "client-b")
    assert {run.pop("PATH") for run in own} == {PATH}
    assert len({run.pop("IFINDEX") for run in theirs}) == len({run.pop("IFINDEX") for run in own}) == 1
    assert own == theirs
    return theirs


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's hooks may take longer than the end of a client waits for them."""
    monkeypatch.setattr(hooks, "END_PATIENCE", 10.0)


IS = {"ADDRESS": "address 0", "LLADDRESS": "fe80::ffff:ffff:ffff", "MTU": "1280"}
WAS = {f"OLD_{name}": value for name, value in IS.items()}


def test_an_address_and_the_end_are_told_alike(tmp_path: Path) -> None:
    spy(tmp_path)
    assert compared(tmp_path, None) == [
        {"IFACE": "teredo", "STATE": "up", "OLD_STATE": "down"} | IS,
        {"IFACE": "teredo", "STATE": "down", "OLD_STATE": "up"} | WAS,
        {"IFACE": "teredo", "STATE": "destroy", "OLD_STATE": "up"} | WAS,
    ]


def test_the_end_of_a_client_that_never_had_an_address_is_told_alike(tmp_path: Path) -> None:
    spy(tmp_path)
    assert compared(tmp_path, None, server="") == [
        {"IFACE": "teredo", "STATE": "down", "OLD_STATE": "down"},
        {"IFACE": "teredo", "STATE": "destroy", "OLD_STATE": "down"},
    ]


def test_another_address_is_told_alike(tmp_path: Path) -> None:
    spy(tmp_path)

    def reboot(laboratory: Laboratory) -> Callable[[], bool]:
        """Both NATs forget their mappings; it is noticed when the server is asked the next time."""
        for box in laboratory.nats.values():
            box.nat.reboot()
        return lambda: all(len(runs(tmp_path, node)) == 2 for node in ("client-a", "client-b"))

    told = compared(tmp_path, reboot)
    assert told[1] == {"IFACE": "teredo", "STATE": "up", "OLD_STATE": "up"} | IS | WAS | {"ADDRESS": "address 1"}
    assert [run["STATE"] for run in told] == ["up", "up", "down", "destroy"]
