# SPDX-License-Identifier: MIT
"""The programs of doc/library.md are what stands there, and do what it says, as ordinary programs."""

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorCore

from miredo.address.endpoint import parse_ipv6
from miredo.address.teredo import is_teredo, mapped_of, server_of
from miredo.assembly import assemble_on
from miredo.config import parse
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.libc import mount
from miredo.kernel.namespaces import entered
from miredo.lab.building import Laboratory
from miredo.lab.plan import USUAL_NAT
from miredo.lab.topology import TEREDO_INTERNET
from tests.namespaced import install_reactor, run_reactor, until

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "doc" / "library.md"
EXAMPLES = {file.name: file for file in sorted((ROOT / "doc" / "examples").glob("*.py"))}
QUALIFYING = ("qualify.py", "qualify_sansio.py")

SERVER, NOBODY = "192.0.2.1", "192.0.2.5"
HOST, NO_HOST = "2001:db8:3::1", "2001:db8:3::77"
NAT = bytes([198, 51, 100, 1])
ROLES = f"""\
[server s]
Namespace server
ServerBindAddress {SERVER}
[relay r]
Namespace relay
BindAddress 192.0.2.17
"""

PR_CAPBSET_DROP, LAST_CAPABILITY = 24, 40
REACTORS = ("epollreactor", "pollreactor", "selectreactor", "asyncioreactor")
ON_REACTOR = "import runpy, sys; from twisted.internet import {0}; {0}.install(); runpy.run_path(sys.argv.pop(1))"
HASTY = """\
import runpy, sys
from twisted.internet.defer import Deferred
patient = Deferred.addTimeout
Deferred.addTimeout = lambda self, seconds, *more: patient(self, seconds / 100, *more)
runpy.run_path(sys.argv.pop(1))
"""
WITHOUT = "import runpy, sys; sys.modules.update(dict.fromkeys(('twisted', 'zope'))); runpy.run_path(sys.argv.pop(1))"


# ---------------------------------------------------------------- the document


def test_the_document_shows_every_example_whole() -> None:
    shown = re.findall(r"^### `(\w+\.py)`\n.*?^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert dict(shown) == {name: file.read_text() for name, file in EXAMPLES.items()}


def test_what_the_document_names_is_there() -> None:
    named = set(re.findall(r"`(miredo/[\w/]+\.py|doc/[\w/]+/)`", DOCUMENT.read_text()))
    assert named >= {"miredo/service/embedding.py", "doc/examples/"}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


# ---------------------------------------------------------------- the programs, behind the NAT of the lab


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    status: int
    output: str
    errors: str


def as_ordinary_user() -> None:
    """Leave the program that is started no capability at all."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(LAST_CAPABILITY + 1):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"capability {capability}")


def started(*words: str | Path) -> subprocess.Popen[str]:
    """Python, in C{client-a}."""
    with entered("client-a"):
        return subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=as_ordinary_user,
        )


async def run(*words: str | Path) -> Ended:
    """Run Python until it ends, while the reactor goes on."""
    process = started(*words)
    try:
        await until(lambda: process.poll() is not None, 20)
    finally:
        process.kill()
        output, errors = process.communicate()
    return Ended(process.returncode, output, errors)


def in_the_lab(body: Callable[[], Awaitable[None]]) -> None:
    """Run C{body} while our server and our relay run in the lab."""

    async def whole() -> None:
        reactor = install_reactor()
        clock = BoottimeClock(reactor)
        laboratory = Laboratory(TEREDO_INTERNET, lambda node: KernelEndpoints(node, reactor), clock, os.urandom)
        laboratory.build(dict.fromkeys(("client-a", "client-b"), USUAL_NAT))
        laboratory.start()
        roles = assemble_on(IReactorCore(reactor), parse(ROLES, "lab.conf", strict=True))
        roles.privilegedStartService()
        roles.startService()
        mount("tmpfs", "/dev/net", "tmpfs", 0)  # nobody can make a TUN device any more
        await body()
        await maybeDeferred(roles.stopService)
        laboratory.close()

    run_reactor(whole(), timeout=30)


def check_qualified(ended: Ended) -> None:
    """It printed an address that names the server and the NAT, and the same mapping in clear."""
    assert (ended.status, ended.errors) == (0, "")
    found = re.fullmatch(r"Teredo address (\S+)\nseen as ([\d.]+)(?: port |:)(\d+)\n", ended.output)
    assert found is not None, ended.output
    address = parse_ipv6(found[1])
    assert is_teredo(address)
    assert server_of(address) == bytes([192, 0, 2, 1])
    assert mapped_of(address) == NAT + int(found[3]).to_bytes(2, "big")
    assert found[2] == "198.51.100.1"


def test_the_output_that_the_document_shows_is_one_that_can_be() -> None:
    (shown,) = re.findall(r"^\$ python qualify\.py \S+\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    check_qualified(Ended(0, shown, ""))


@pytest.mark.parametrize("name", QUALIFYING)
@pytest.mark.namespaced
def test_an_ordinary_program_gets_a_teredo_address_and_prints_it(name: str) -> None:
    async def body() -> None:
        check_qualified(await run(EXAMPLES[name], SERVER))

    in_the_lab(body)


@pytest.mark.parametrize("reactor", REACTORS)
@pytest.mark.namespaced
def test_it_does_so_on_every_reactor_that_reads_descriptors(reactor: str) -> None:
    async def body() -> None:
        check_qualified(await run("-c", ON_REACTOR.format(reactor), EXAMPLES["qualify.py"], SERVER))

    in_the_lab(body)


@pytest.mark.namespaced
def test_the_plain_program_does_so_where_twisted_cannot_be_imported() -> None:
    async def body() -> None:
        check_qualified(await run("-c", WITHOUT, EXAMPLES["qualify_sansio.py"], SERVER))
        refused = await run("-c", WITHOUT, EXAMPLES["qualify.py"], SERVER)
        assert "ModuleNotFoundError: No module named 'twisted.internet'" in refused.errors

    in_the_lab(body)


@pytest.mark.namespaced
def test_a_silent_server_is_told_of_in_one_line() -> None:
    async def body() -> None:
        ended = await run("-c", HASTY, EXAMPLES["qualify.py"], NOBODY)
        assert ended == Ended(1, "", f"{NOBODY} does not answer\n")

    in_the_lab(body)


@pytest.mark.parametrize(("host", "outcome"), [(HOST, "answers"), (NO_HOST, "is unreachable")])
@pytest.mark.namespaced
def test_a_program_without_a_tunnel_pings_a_native_host(host: str, outcome: str) -> None:
    async def body() -> None:
        assert await run(EXAMPLES["ping.py"], SERVER, host) == Ended(0, f"{host} {outcome}\n", "")

    in_the_lab(body)
