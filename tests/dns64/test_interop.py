# SPDX-License-Identifier: MIT
"""Debian's dig asks us, and Debian's unbound is whom we ask; its own DNS64 is compared with ours."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from random import Random

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorFromThreads, IReactorTCP, IReactorUDP
from twisted.internet.threads import deferToThreadPool
from twisted.names import dns
from twisted.python.threadpool import ThreadPool

from miredo.address.rfc6052 import parse_prefix
from miredo.dns64.config import LOOPBACK, Dns64Config, NameServer, Place, Pref64
from miredo.dns64.server import Dns64Server
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from tests.dns64.test_streams import up
from tests.dns64.upstream import Authority, AuthorityOverTCP, AuthorityOverUDP
from tests.namespaced import install_reactor, pause, run_reactor

pytestmark = [pytest.mark.interop, pytest.mark.namespaced]

PREFIX = "2001:db8:64::/96"
AUTHORITY, UNBOUND, OURS = ("127.0.0.53", 53), ("127.0.0.54", 53), ("127.0.0.64", 53)
LINES = (
    ("v4.test", dns.A, "198.51.100.1"),
    ("v4.test", dns.TXT, "\5hello"),
    ("v6.test", dns.AAAA, "2001:db8::1"),
    ("both.test", dns.A, "198.51.100.2"),
    ("both.test", dns.AAAA, "2001:db8::2"),
    ("www.test", dns.CNAME, "v4.test"),
    ("mail.test", dns.TXT, "\5hello"),
    ("1.100.51.198.in-addr.arpa", dns.PTR, "v4.test"),
)
UNBOUND_CONF = """\
server:
    interface: 127.0.0.54
    do-daemonize: no
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: ""
    use-syslog: no
    do-ip6: no
    do-not-query-localhost: no
    module-config: "{modules}"
    dns64-prefix: {prefix}
    local-zone: "test." nodefault
    local-zone: "198.in-addr.arpa." nodefault
    local-zone: "100.51.198.in-addr.arpa." nodefault
    access-control: 127.0.0.0/8 allow
forward-zone:
    name: "."
    forward-addr: 127.0.0.53
"""


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed; cure: apt-get install {PACKAGES[name]}")
    return found


PACKAGES = {"dig": "bind9-dnsutils", "unbound": "unbound"}


@contextmanager
def unbound(folder: Path, modules: str) -> Iterator[None]:
    """unbound, that asks the authority; C{modules} say whether it is a DNS64."""
    file = folder / "unbound.conf"
    file.write_text(UNBOUND_CONF.format(folder=folder, modules=modules, prefix=ip_network(PREFIX)))
    running = subprocess.Popen([program("unbound"), "-c", file], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(10)


async def dig(place: tuple[str, int], *arguments: str) -> str:
    """What dig prints."""
    reactor = install_reactor()
    pool = ThreadPool(1, 1)
    pool.start()
    command = [program("dig"), f"@{place[0]}", "-p", str(place[1]), "+time=3", "+tries=2", *arguments]

    def ask() -> str:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout

    try:
        said: Deferred[str] = deferToThreadPool(IReactorFromThreads(reactor), pool, ask)
        return await said
    finally:
        pool.stop()


def lines_of(said: str) -> list[str]:
    return sorted(line for line in said.splitlines() if line)


async def answering(place: tuple[str, int]) -> None:
    """Until somebody answers there."""
    for _ in range(50):
        if "NOERROR" in await dig(place, "v6.test", "AAAA", "+noall", "+comments"):
            return
        await pause(0.1)
    raise AssertionError(f"nobody answers at {place[0]}")


def run(body: Callable[[], Coroutine[Deferred[object], object, None]], upstream: tuple[str, int] = AUTHORITY) -> None:
    up()
    reactor = install_reactor()
    config = Dns64Config(
        name_servers=(NameServer(address=upstream[0]),),
        listen=(Place(address=OURS[0]),),
        prefixes=(Pref64(prefix=parse_prefix(PREFIX)),),
        clients=LOOPBACK,
        hosts=None,
    )

    async def living() -> None:
        authority = Authority(LINES)
        ports = [
            IReactorUDP(reactor).listenUDP(53, AuthorityOverUDP(authority), AUTHORITY[0], 8192),
            IReactorTCP(reactor).listenTCP(53, AuthorityOverTCP(authority), interface=AUTHORITY[0]),
        ]
        server = Dns64Server(
            config, KernelEndpoints(None, reactor), reactor, BoottimeClock(reactor), Random(1).randbytes
        )
        server.open()
        try:
            await body()
        finally:
            await server.close()
            for port in ports:
                await maybeDeferred(IListeningPort(port).stopListening)
            await pause(0.01)

    run_reactor(living(), timeout=50.0)


def test_dig_is_content_with_our_answers() -> None:
    program("dig")

    async def body() -> None:
        assert await dig(OURS, "v4.test", "AAAA", "+short") == "2001:db8:64::c633:6401\n"
        assert await dig(OURS, "v4.test", "AAAA", "+short", "+tcp") == "2001:db8:64::c633:6401\n"
        assert await dig(OURS, "www.test", "AAAA", "+short") == "v4.test.\n2001:db8:64::c633:6401\n"
        assert await dig(OURS, "both.test", "AAAA", "+short") == "2001:db8::2\n"
        assert await dig(OURS, "-x", "2001:db8:64::c633:6401", "+short") == "1.100.51.198.in-addr.arpa.\nv4.test.\n"
        assert lines_of(await dig(OURS, "ipv4only.arpa", "AAAA", "+short")) == [
            "2001:db8:64::c000:aa",
            "2001:db8:64::c000:ab",
        ]
        whole = await dig(OURS, "v4.test", "AAAA", "+dnssec")
        assert "EDNS: version: 0, flags: do; udp: 1232" in whole
        assert "WARNING" not in whole
        assert "malformed" not in whole
        assert "status: BADVERS" in await dig(OURS, "v4.test", "AAAA", "+edns=1", "+noednsnegotiation")
        assert "status: NOTIMP" in await dig(OURS, "v4.test", "AAAA", "+opcode=status")
        assert "ANSWER: 0" in await dig(OURS, "v4.test", "AAAA", "+dnssec", "+cdflag")
        assert 'TXT\t"hello"' in await dig(OURS, "v4.test", "TXT", "+noedns")

    run(body)


SAME = (("v4.test", "AAAA"), ("www.test", "AAAA"), ("both.test", "AAAA"), ("v6.test", "AAAA"), ("v4.test", "A"))


def test_unbound_makes_the_same_addresses(tmp_path: Path) -> None:
    program("dig")
    with unbound(tmp_path, "dns64 iterator"):

        async def body() -> None:
            await answering(UNBOUND)
            for name, kind in SAME:
                said = [await dig(place, name, kind, "+short") for place in (UNBOUND, OURS)]
                assert lines_of(said[0]) == lines_of(said[1]) != []
            for name in ("mail.test", "no.test"):
                said = [await dig(place, name, "AAAA", "+noall", "+comments") for place in (UNBOUND, OURS)]
                assert ["NXDOMAIN" in each for each in said] == [name == "no.test"] * 2

        run(body)


def test_unbound_is_a_name_server_to_ask(tmp_path: Path) -> None:
    """It keeps the letters of a question, and answers EDNS."""
    program("dig")
    with unbound(tmp_path, "iterator"):

        async def body() -> None:
            await answering(UNBOUND)
            assert await dig(OURS, "www.test", "AAAA", "+short") == "v4.test.\n2001:db8:64::c633:6401\n"
            assert "status: NXDOMAIN" in await dig(OURS, "no.test", "AAAA")

        run(body, UNBOUND)
