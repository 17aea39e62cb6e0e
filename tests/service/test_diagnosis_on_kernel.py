# SPDX-License-Identifier: MIT
"""Each thing that can be wrong with a host, made real in a namespace: its one line, and none where all is good."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorCore

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.assembly import assemble_on
from miredo.config import parse
from miredo.kernel.interfaces import INetwork
from miredo.kernel.namespaces import create_namespace, entered
from miredo.kernel.netlink import KernelNetwork
from miredo.service.daemon import CannotStart
from miredo.service.selftest import PATIENCE
from tests.namespaced import install_reactor, pause, run_reactor, until
from tests.service.internet import logging

RELAY = "[relay r]\nNamespace left\nBindPort 3545\n"
PREFIX, FOREIGN = parse_ipv6("2001::"), parse_ipv6("2001:db8:bad::1")
FORWARDING = "net/ipv6/conf/all/forwarding"

NFT = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")

DROP_FILTER = """
table inet filter {
  chain input { type filter hook input priority 0; policy accept; udp dport 3545 drop; }
}
"""
needs_nft = pytest.mark.skipif(NFT is None, reason="there is no nft; cure: sudo apt-get install nftables")


def good_host() -> KernelNetwork:
    """A namespace that forwards IPv6, with an address and a way out."""
    for name in ("left", "right"):
        create_namespace(name)
    network = KernelNetwork("left", install_reactor())
    network.set_up(index(network, "lo"))
    network.set_sysctl(FORWARDING, 1)
    uplink(network, "up0", "down0", "192.0.2.17")
    for name in ("all", "up0"):
        network.set_sysctl(f"net/ipv4/conf/{name}/rp_filter", 0)
    return network


def uplink(network: INetwork, name: str, far: str, address: str, metric: int = 0) -> None:
    other = KernelNetwork("right", install_reactor())
    network.add_veth(name, far, "right")
    other.set_up(index(other, far))
    network.set_up(index(network, name))
    network.add_address(index(network, name), parse_ipv4(address), 28)
    network.add_route(bytes(4), 0, index(network, name), metric)
    other.close()


def index(network: INetwork, name: str) -> int:
    found = network.index_of(name)
    assert found is not None
    return found


def no_forwarding(network: INetwork) -> None:
    network.set_sysctl(FORWARDING, 0)


def second_uplink(network: INetwork) -> None:
    uplink(network, "up1", "down1", "198.51.100.17", 10)
    for name in ("up0", "up1"):
        network.set_sysctl(f"net/ipv4/conf/{name}/rp_filter", 1)


def packet_filter(network: INetwork) -> None:
    del network
    with entered("left"):
        subprocess.run([str(NFT), "-f", "-"], input=DROP_FILTER, text=True, check=True)


def route_elsewhere(network: INetwork) -> None:
    network.add_route(PREFIX, 40, index(network, "up0"))


def foreign_address(network: INetwork) -> None:
    network.add_address(index(network, "teredo"), FOREIGN, 64)


def set_down(network: INetwork) -> None:
    network.set_down(index(network, "teredo"))


def route_gone(network: INetwork) -> None:
    network.delete_route(PREFIX, 32, index(network, "teredo"))
    network.add_route(PREFIX, 32, index(network, "teredo"), metric=1)
    network.delete_route(PREFIX, 32, index(network, "teredo"), metric=1)


def ipv6_off(network: INetwork) -> None:
    network.set_sysctl("net/ipv6/conf/teredo/disable_ipv6", 1)


def nothing(network: INetwork) -> None:
    del network


@dataclass
class Case:
    """What is done to a good host before the relay starts, or while it runs, and what the relay says of it."""

    line: str | None
    before: Callable[[INetwork], None] = nothing
    meanwhile: Callable[[INetwork], None] = nothing


CASES = {
    "good": Case(None),
    "forwarding": Case("this host does not forward IPv6", no_forwarding),
    "rp_filter": Case("there are 2 ways to the IPv4 Internet, and rp_filter is strict on up0, up1", second_uplink),
    "route before": Case("packets for 2001::/32 go into up0 and not into teredo", route_elsewhere),
    "route": Case("packets for 2001::/32 go into up0 and not into teredo", meanwhile=route_elsewhere),
    "foreign": Case(
        "another program manages teredo: it has an address that is not ours, 2001:db8:bad::1/64; cure: find it",
        meanwhile=foreign_address,
    ),
    "down": Case("another program manages teredo: it was set down", meanwhile=set_down),
    "gone": Case("another program manages teredo: our route to 2001::/32 is gone", meanwhile=route_gone),
    "off": Case("IPv6 is switched off on teredo (net.ipv6.conf.teredo.disable_ipv6 is 1)", meanwhile=ipv6_off),
    "filter": Case("datagrams to UDP 192.0.2.17 port 3545 do not arrive, not even from this host", packet_filter),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[needs_nft] if name == "filter" else []) for name in CASES])
@pytest.mark.namespaced
def test_what_is_wrong_is_said_in_one_line(name: str, closes_descriptors: None) -> None:
    case = CASES[name]
    network = good_host()
    case.before(network)

    async def body() -> None:
        roles = assemble_on(IReactorCore(install_reactor()), parse(RELAY, "relay.conf", strict=True))
        with logging() as logged:
            roles.privilegedStartService()
            roles.startService()
            case.meanwhile(network)
            await pause(PATIENCE + 0.1 if name in ("good", "filter") else 0.2)
            await until(lambda: case.line is None or len(logged.at("warn")) > 0)
            await maybeDeferred(roles.stopService)
        if case.line is None:
            assert logged.at("warn") == []
        else:
            (line,) = logged.at("warn")
            assert line.startswith(f"relay r: {case.line}")
            assert "; cure: " in line

    run_reactor(body())
    network.close()


@pytest.mark.namespaced
def test_a_relay_that_cannot_start_without_ipv6_has_said_why(closes_descriptors: None) -> None:
    network = good_host()
    network.set_sysctl("net/ipv6/conf/default/disable_ipv6", 1)
    roles = assemble_on(IReactorCore(install_reactor()), parse(RELAY, "relay.conf", strict=True))
    with logging() as logged, pytest.raises(CannotStart):
        roles.privilegedStartService()
    (line,) = logged.at("warn")
    assert "cure: sysctl -w net.ipv6.conf.default.disable_ipv6=0" in line
    network.close()
