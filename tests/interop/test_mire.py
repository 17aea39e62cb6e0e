# SPDX-License-Identifier: MIT
"""Debian's C miredo pings our echo responder; our client and relay ping its C{teredo-mire}."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from miredo.address.endpoint import IPv6, endpoint, parse_ipv4
from miredo.address.teredo import compose
from miredo.kernel.namespaces import entered
from miredo.lab.nat import BEHAVIOURS, NatBehaviour
from miredo.lab.plan import USUAL_NAT
from miredo.teredo.mire import CLIENT_PORT
from tests.interop.test_miredo import (
    ITS_CLIENT,
    ITS_RELAY,
    MIREDO,
    OUR_CLIENT,
    OUR_RELAY,
    OUR_SERVER,
    answers,
    in_the_lab,
    listens,
    peers,
    qualified,
)
from tests.namespaced import until

pytestmark = [pytest.mark.interop, pytest.mark.namespaced]

TEREDO_MIRE = "/usr/bin/teredo-mire"
OUR_MIRE = "[mire m]\nNamespace core\nBindAddress 192.0.2.14\n"
"""The lab's core has addresses that no role needs."""
NATS = [BEHAVIOURS[0], USUAL_NAT]


@pytest.fixture(autouse=True)
def _peers() -> None:
    """Skips where Debian's programs are not there, or their user cannot be become."""
    if os.geteuid() != 0:
        pytest.skip("Debian's miredo becomes its own user, which needs root")
    for program in (MIREDO, TEREDO_MIRE):
        if not os.access(program, os.X_OK):
            pytest.skip(f"there is no {program}; cure: sudo apt-get install miredo")


def responder_at(ipv4: str) -> IPv6:
    return compose(parse_ipv4(ipv4), endpoint(parse_ipv4(ipv4), CLIENT_PORT), 0)


@contextmanager
def teredo_mire(node: str) -> Iterator[None]:
    """Debian's responder, on all addresses of a node."""
    with entered(node):
        process = subprocess.Popen([TEREDO_MIRE], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("behaviour", NATS, ids=str)
def test_its_client_s_ping_is_answered_by_our_responder(behaviour: NatBehaviour, tmp_path: Path) -> None:
    async def body() -> None:
        with peers(tmp_path) as debian:
            debian.start(MIREDO, "client-a", ITS_CLIENT)
            await qualified("client-a")
            print(f"{behaviour}: {await answers('client-a', responder_at('192.0.2.14')) * 1000:.1f} ms")

    in_the_lab(behaviour, OUR_SERVER + OUR_MIRE, body)


def test_its_relay_takes_a_host_s_ping_to_our_responder(tmp_path: Path) -> None:
    async def body() -> None:
        with peers(tmp_path) as debian:
            debian.start(MIREDO, "relay", ITS_RELAY)
            await until(lambda: listens("relay", 3545))
            print(f"{await answers('host', responder_at('192.0.2.14')) * 1000:.1f} ms")

    in_the_lab(USUAL_NAT, OUR_MIRE, body)


@pytest.mark.parametrize("behaviour", NATS, ids=str)
def test_our_client_s_ping_is_answered_by_its_responder(behaviour: NatBehaviour) -> None:
    async def body() -> None:
        with teredo_mire("relay"):
            await qualified("client-a")
            await until(lambda: listens("relay", 3545))
            print(f"{behaviour}: {await answers('client-a', responder_at('192.0.2.17')) * 1000:.1f} ms")

    in_the_lab(behaviour, OUR_SERVER + OUR_CLIENT.format("client-a"), body)


def test_our_relay_takes_a_host_s_ping_to_its_responder() -> None:
    async def body() -> None:
        with teredo_mire("core"):
            await until(lambda: listens("core", 3545))
            print(f"{await answers('host', responder_at('192.0.2.30')) * 1000:.1f} ms")

    in_the_lab(USUAL_NAT, OUR_RELAY, body)
