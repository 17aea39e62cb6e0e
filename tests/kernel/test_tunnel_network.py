# SPDX-License-Identifier: MIT
"""Contract of L{INetwork} as a client and a relay use it, for their own tunnels: over a privileged child too."""

from collections.abc import Callable
from errno import EADDRNOTAVAIL, EEXIST, EINVAL, ENETDOWN, ESRCH
from functools import partial

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.address.teredo import CLIENT_LINK_LOCAL
from miredo.kernel.interfaces import INetwork, ITunnel
from tests.kernel.bench import Bench, contract_of_all, refused_with

MTU = 1280
ADDRESS = parse_ipv6("2001:0:c000:201:0:f00:3fff:fdfe")
ANYWHERE = bytes(16)
RELAYED = parse_ipv6("2001:db9::")


def opened(bench: Bench, name: str = "teredo") -> tuple[INetwork, ITunnel]:
    """A network, and a tunnel in it: C{teredo} is a client's, C{tun} is a relay's."""
    endpoints = bench.endpoints("left")
    return endpoints.network(), endpoints.open_tunnel(name, MTU)


@contract_of_all
async def test_addresses_of_a_tunnel_come_and_go(bench: Bench) -> None:
    network, tunnel = opened(bench)
    for address, length in ((CLIENT_LINK_LOCAL, 64), (ADDRESS, 32)):
        network.add_address(tunnel.index, address, length)
        assert network.addresses(tunnel.index) == [(address, length)]
        assert (address, length) in network.ipv6_addresses()
        await bench.until(partial(network.is_local, address))
        with refused_with(EEXIST):
            network.add_address(tunnel.index, address, length)
        network.delete_address(tunnel.index, address, length)
        assert network.addresses(tunnel.index) == []
        with refused_with(EADDRNOTAVAIL):
            network.delete_address(tunnel.index, address, length)
    network.close()
    tunnel.close()


@contract_of_all
async def test_the_default_route_into_a_tunnel_comes_and_goes(bench: Bench) -> None:
    network, tunnel = opened(bench)
    network.add_route(ANYWHERE, 0, tunnel.index, metric=1029)
    assert network.routes(tunnel.index) == [(ANYWHERE, 0, 1029)]
    assert (ANYWHERE, 0, 1029) in network.routes_within(ANYWHERE, 0)
    assert network.ipv6_ways_out() == [(tunnel.index, ANYWHERE, 1029)]
    assert network.link_to(ADDRESS) == tunnel.index
    with refused_with(EEXIST):
        network.add_route(ANYWHERE, 0, tunnel.index, metric=1029)
    network.delete_route(ANYWHERE, 0, tunnel.index, metric=1029)
    assert network.routes(tunnel.index) == []
    with refused_with(ESRCH):
        network.delete_route(ANYWHERE, 0, tunnel.index, metric=1029)
    network.close()
    tunnel.close()


@contract_of_all
async def test_the_route_of_a_relay_comes_and_goes(bench: Bench) -> None:
    network, tunnel = opened(bench, "tun")
    network.add_route(RELAYED, 32, tunnel.index)
    assert network.routes(tunnel.index) == [(RELAYED, 32, 1024)]
    network.delete_route(RELAYED, 32, tunnel.index)
    assert network.routes(tunnel.index) == []
    network.close()
    tunnel.close()


@contract_of_all
async def test_a_tunnel_is_set_up_and_down(bench: Bench) -> None:
    network, tunnel = opened(bench)
    assert network.is_up(tunnel.index)
    assert not network.is_shared(tunnel.index)
    network.set_down(tunnel.index)
    assert not network.is_up(tunnel.index)
    with refused_with(ENETDOWN):
        network.add_route(ANYWHERE, 0, tunnel.index)
    with refused_with(EINVAL):
        network.set_up(tunnel.index, mtu=70000)
    network.set_up(tunnel.index, mtu=1400)
    assert network.is_up(tunnel.index)
    network.close()
    tunnel.close()


@contract_of_all
async def test_what_a_tunnel_had_goes_with_it(bench: Bench) -> None:
    network, tunnel = opened(bench)
    network.add_address(tunnel.index, ADDRESS, 32)
    network.add_route(ANYWHERE, 0, tunnel.index)
    tunnel.close()
    assert (network.index_of("teredo"), network.ipv6_addresses(), network.ipv6_ways_out()) == (None, [], [])
    network.close()


@contract_of_all
async def test_changes_of_a_tunnel_are_heard(bench: Bench) -> None:
    network, tunnel = opened(bench)
    told: list[str] = []
    network.watch(lambda: told.append("changed"))
    await bench.pause(0.05)
    changes: list[Callable[[], None]] = [
        lambda: network.set_down(tunnel.index),
        lambda: network.set_up(tunnel.index),
        lambda: network.add_address(tunnel.index, ADDRESS, 32),
        lambda: network.add_route(ANYWHERE, 0, tunnel.index),
        tunnel.close,
    ]
    for change in changes:
        told.clear()
        change()
        await bench.until(lambda: told != [])
        await bench.pause(0.02)
    network.close()


@contract_of_all
async def test_what_is_looked_at_before_the_start_can_be_read(bench: Bench) -> None:
    network, tunnel = opened(bench)
    for path in ("all/forwarding", "teredo/disable_ipv6", "default/disable_ipv6"):
        assert network.get_sysctl(f"net/ipv6/conf/{path}") == "0"
    assert network.get_sysctl("net/ipv4/conf/all/rp_filter") in ("0", "1", "2")
    with refused_with(EINVAL):
        network.get_sysctl("net/../../uptime")
    assert network.table_named("a table that nobody has") is None
    assert network.remove_leftovers() == []
    network.close()
    tunnel.close()


@contract_of_all
async def test_links_and_routes_of_others_are_seen(bench: Bench) -> None:
    plumbing, network = bench.plumbing("left"), bench.endpoints("left").network()
    far = bench.plumbing("right")
    plumbing.add_veth("veth0", "veth1", "right")
    for each, name in ((plumbing, "veth0"), (far, "veth1")):
        index = each.index_of(name)
        assert index is not None
        each.set_up(index)
    index = network.index_of("veth0")
    assert index is not None
    plumbing.add_address(index, parse_ipv4("192.0.2.1"), 24)
    plumbing.add_route(bytes(4), 0, index, metric=7, gateway=parse_ipv4("192.0.2.2"))
    assert network.links() == ["lo", "veth0"]
    assert network.ways_out() == [(index, parse_ipv4("192.0.2.2"), 7)]
    assert (parse_ipv4("192.0.2.1"), 24) in network.ipv4_addresses()
    assert parse_ipv4("192.0.2.255") in network.broadcasts()
    assert network.is_shared(index)
    await bench.until(partial(network.is_running, index))
    for one in (plumbing, far, network):
        one.close()
