# SPDX-License-Identifier: MIT
"""Hooks and the built-in configuration on the kernel: they do the same, the end is quick, and kill -9 is cleaned up."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorCore

from miredo.address.endpoint import IPv6, parse_ipv6, show_ipv6
from miredo.address.teredo import is_teredo
from miredo.assembly import Roles, assemble_on
from miredo.config import parse
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.interfaces import INetwork
from miredo.kernel.libc import MS_BIND, mount
from miredo.lab.building import Laboratory
from miredo.lab.nat import BEHAVIOURS
from miredo.lab.pingsocket import is_configured
from miredo.lab.plan import USUAL_NAT
from miredo.lab.topology import TEREDO_INTERNET
from tests.daemons import started
from tests.namespaced import install_reactor, pause, run_reactor, until
from tests.service.internet import logging
from tests.test_tap import Twistd, give_addresses, twistd

SERVER = "[server s]\nNamespace server\nServerBindAddress 192.0.2.1\n"
CLIENTS = """\
[client a]
Namespace client-a
ServerAddress 192.0.2.1
[client b]
Namespace client-b
ServerAddress 192.0.2.1
ClientHook {hook}
"""
OUR_HOOK = Path(__file__).parents[2] / "etc" / "client-hook"
DEBIANS_HOOK = Path("/etc/miredo/client-hook")
IP = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
RT_TABLES = Path("/etc/iproute2/rt_tables")

pytestmark = pytest.mark.namespaced

needs_ip = pytest.mark.skipif(IP is None, reason="there is no ip; cure: sudo apt-get install iproute2")


@contextmanager
def in_the_lab(text: str) -> Iterator[tuple[Roles, Callable[[Awaitable[None]], None]]]:
    """Our roles of a configuration, and what runs a test's body among them."""
    reactor = install_reactor()
    roles = assemble_on(IReactorCore(reactor), parse(text, "lab.conf", strict=True))
    laboratory = Laboratory(
        TEREDO_INTERNET, lambda node: KernelEndpoints(node, reactor), BoottimeClock(reactor), os.urandom
    )

    async def whole(body: Awaitable[None]) -> None:
        laboratory.build({"client-a": USUAL_NAT, "client-b": BEHAVIOURS[0]})
        laboratory.start()
        roles.privilegedStartService()
        roles.startService()
        try:
            await body
        finally:
            await maybeDeferred(roles.stopService)
            laboratory.close()

    yield roles, lambda body: run_reactor(whole(body), timeout=30)


def network_of(node: str | None) -> INetwork:
    return KernelEndpoints(node, install_reactor()).network()


def teredo_address(node: str | None) -> IPv6 | None:
    network = network_of(node)
    try:
        index = network.index_of("teredo")
        found = [] if index is None else [address for address, _ in network.addresses(index) if is_teredo(address)]
    finally:
        network.close()
    return found[0] if found else None


def works(node: str) -> bool:
    address = teredo_address(node)
    return address is not None and is_configured(node, address)


def told(node: str, *words: str) -> list[str]:
    """
    What iproute2 tells, without what is different in each node: the address, who added it, and whether it was looked
    for a duplicate, of which a tunnel has none.
    """
    text = subprocess.run([str(IP), "-n", node, "-6", *words], capture_output=True, text=True, check=True).stdout
    address = teredo_address(node)
    assert address is not None
    text = re.sub(r"2001:0:[0-9a-f:]+", "ADDRESS", text)
    return sorted(re.sub(r" proto \w+| nodad", "", line).strip() for line in text.splitlines())


def everything(node: str) -> list[list[str]]:
    # The number of the link, and whether a packet has made its queue busy, are its own.
    link = [line.partition(" <")[2].partition(" qdisc")[0] for line in told(node, "link", "show", "dev", "teredo")]
    found = told(node, "address", "show", "dev", "teredo", "scope", "global")
    return [
        link,
        [line for line in found if line.startswith("inet6")],
        [line for line in told(node, "address", "show", "dev", "teredo") if "fe80" in line],
        told(node, "route", "show", "table", "all", "dev", "teredo"),
        told(node, "rule", "show"),
    ]


def name_the_table(folder: Path) -> None:
    """Let this test's child have a routing table called teredo."""
    if not RT_TABLES.exists():
        pytest.skip(f"there is no {RT_TABLES}")
    own = folder / "rt_tables"
    own.write_text(f"{RT_TABLES.read_text()}\n84\tteredo\n")
    mount(str(own), str(RT_TABLES), None, MS_BIND)


def copied(hook: Path, folder: Path) -> Path:
    if not hook.exists():
        pytest.skip(f"there is no {hook}; cure: sudo apt-get install miredo")
    copy = folder / "client-hook"
    shutil.copyfile(hook, copy)
    copy.chmod(0o755)
    return copy


@needs_ip
@pytest.mark.parametrize("table", [False, True], ids=["no table", "table"])
@pytest.mark.parametrize("hook", [OUR_HOOK, DEBIANS_HOOK], ids=["ours", "Debian's"])
def test_a_hook_and_the_program_itself_give_a_tunnel_the_same(hook: Path, table: bool, tmp_path: Path) -> None:
    path = copied(hook, tmp_path)
    if table:
        name_the_table(tmp_path)
    seen: list[list[list[str]]] = []

    def let_the_table_be() -> None:
        """Debian's hook asks for that of IPv4, and the kernel has a table when there is something in it."""
        for node in ("client-a", "client-b"):
            words = ("-n", node, "route", "add", "blackhole", "198.51.100.99", "table", "84")
            subprocess.run([str(IP), *words], check=True)

    async def body() -> None:
        let_the_table_be()
        await until(lambda: works("client-a") and works("client-b"), 15)
        await pause(0.3)
        seen.extend(everything(node) for node in ("client-a", "client-b"))

    with in_the_lab(SERVER + CLIENTS.format(hook=path)) as (_, run), logging() as logged:
        run(body())
    built_in, hooked = seen
    assert hooked == built_in
    assert built_in[1] == ["inet6 ADDRESS/32 scope global"]
    assert built_in[2] == ["inet6 fe80::ffff:ffff:ffff/64 scope link"]
    assert "default metric 1029 pref medium" in built_in[3]
    assert ("default table teredo metric 1024 pref medium" in built_in[3]) == table
    assert ("32765:\tfrom ADDRESS lookup teredo" in built_in[4]) == table
    assert logged.at("error") == []
    assert logged.at("warn") == []


SLOW = "#!/bin/sh\n[ $STATE = up ] || sleep 1\n"
QUICK = "#!/bin/sh\nexit 0\n"


@pytest.mark.parametrize("text", [QUICK, SLOW], ids=["quick", "slow"])
def test_the_end_of_a_client_takes_no_longer_than_it_may(text: str, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(text)
    hook.chmod(0o755)
    took: list[float] = []

    async def body() -> None:
        network = network_of("client-b")
        with logging() as logged:
            await until(lambda: any("client b: Teredo pseudo-tunnel started" in line for line in logged.at("info")))
        began = time.monotonic()
        await maybeDeferred(roles.stopService)
        took.append(time.monotonic() - began)
        assert network.index_of("teredo") is None
        network.close()
        await pause(2.2 if text == SLOW else 0)  # the hook goes on by itself

    with in_the_lab(SERVER + CLIENTS.format(hook=hook)) as (roles, run):
        run(body())
    print(f"{took[0] * 1000:.0f} ms")
    assert took[0] < 0.3


ON_LOOPBACK = "[server s]\nServerBindAddress 192.0.2.1\n[client c]\nServerAddress 192.0.2.1\n"
FOREIGN = parse_ipv6("2001:db8::1")


@needs_ip
def test_what_a_killed_client_has_left_is_removed_at_the_next_start_and_nothing_else(tmp_path: Path) -> None:
    name_the_table(tmp_path)
    give_addresses()
    (tmp_path / "miredo.conf").write_text(ON_LOOPBACK)
    subprocess.run(
        [str(IP), "-6", "rule", "add", "from", "2001:db8::1", "priority", "32765", "table", "84"], check=True
    )
    network = network_of(None)
    words = ("-n", "--pidfile=", "miredo", "--config", "miredo.conf")

    def sources() -> list[IPv6]:
        return [source for source, _, _ in network.rules()]

    def runs(running: Twistd) -> IPv6:
        wait_until(lambda: sources() == [teredo_address(None)], running)
        return sources()[0]

    with twistd(tmp_path, *words) as first:
        before = runs(first)
        first.end(signal.SIGKILL)
    assert (sources(), network.index_of("teredo")) == ([before], None)
    with twistd(tmp_path, *words) as second:
        after = runs(second)
        assert after != before
        second.end(signal.SIGTERM)
        assert second.process.returncode in (0, -signal.SIGTERM)
    assert sources() == []
    assert b"which a program that was killed has left" in second.output.read_bytes()
    rules = subprocess.run([str(IP), "-6", "rule", "show"], capture_output=True, text=True, check=True).stdout
    assert "from 2001:db8::1 lookup teredo" in rules
    network.close()


def wait_until(holds: Callable[[], bool], running: Twistd) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline, running.output.read_text()
        with suppress(subprocess.TimeoutExpired):
            running.process.wait(0.05)
            raise AssertionError(running.output.read_text())


@pytest.mark.root
@pytest.mark.parametrize("own_hook", [False, True], ids=["the program itself", "a hook"])
def test_a_program_that_has_given_up_root_configures_all_the_same(own_hook: bool, tmp_path: Path) -> None:
    name_the_table(tmp_path)
    give_addresses()
    noted = tmp_path / "noted"
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\necho "$(id -u) $STATE $OLD_STATE" >> {noted}\necho said\nexec {OUR_HOOK}\n')
    hook.chmod(0o755)
    (tmp_path / "both.conf").write_text(ON_LOOPBACK + (f"ClientHook {hook}\n" if own_hook else ""))
    with started(tmp_path, "miredo", "-f", "-c", "both.conf") as running:
        running.says("Teredo pseudo-tunnel started (address:")
        address = teredo_address(None)
        assert address is not None
        rules = subprocess.run([str(IP), "-6", "rule", "show"], capture_output=True, text=True, check=True).stdout
        assert f"from {show_ipv6(address)} lookup teredo" in rules
        assert running.end() < 1
        assert running.process.wait(10) == 0
    assert running.text.count("client c: Teredo pseudo-tunnel stopped") == 1
    rules = subprocess.run([str(IP), "-6", "rule", "show"], capture_output=True, text=True, check=True).stdout
    assert "teredo" not in rules
    if own_hook:
        assert noted.read_text().splitlines() == ["0 up down", "0 down up", "0 destroy up"]
        assert running.text.count(f"client c: {hook}: said") == 3
