# SPDX-License-Identifier: MIT
"""Contract of L{INetwork} and L{IWatch}."""

import array
import socket
import struct
from collections.abc import Callable
from errno import (
    EADDRNOTAVAIL,
    EBADF,
    EEXIST,
    EHOSTUNREACH,
    EINVAL,
    ENETDOWN,
    ENETUNREACH,
    ENODEV,
    ENOENT,
    ESRCH,
)
from fcntl import ioctl
from functools import partial

import pytest
from pyroute2.netlink.rtnl import RTM_GETRULE, RTM_NEWROUTE, RTM_NEWRULE
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from twisted.internet.defer import fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from zope.interface.verify import verifyObject

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.kernel.interfaces import INetwork, IWatch
from miredo.kernel.namespaces import create_namespace, entered
from miredo.kernel.netlink import PROTOCOL, KernelNetwork, RouteSocket
from miredo.kernel.openings import netlink_socket
from miredo.kernel.watch import NetworkWatch
from tests.kernel.bench import Bench, contract, contract_of_all, refused_with
from tests.namespaced import install_reactor, pause, run_reactor, until

HOST = parse_ipv4("192.0.2.1")
NEIGHBOUR = parse_ipv4("192.0.2.2")
HOST6 = parse_ipv6("2001:db8::1")
NEIGHBOUR6 = parse_ipv6("2001:db8::2")
TEREDO = parse_ipv6("2001::")
ELSEWHERE = parse_ipv4("198.51.100.0")
LOOPBACK = 1
NO_LINK = 4711


def joined(bench: Bench) -> tuple[INetwork, int]:
    """A network with a link C{veth0} that is up and joined to another namespace."""
    network, other = bench.endpoints("left").network(), bench.endpoints("right").network()
    network.add_veth("veth0", "veth1", "right")
    far_end = other.index_of("veth1")
    assert far_end is not None
    other.set_up(far_end)
    other.close()
    index = network.index_of("veth0")
    assert index is not None
    network.set_up(index)
    return network, index


@contract_of_all
async def test_a_network_keeps_its_interface(bench: Bench) -> None:
    network = bench.endpoints("left").network()
    watch = network.watch(lambda: None)
    assert verifyObject(INetwork, network)
    assert verifyObject(IWatch, watch)
    network.close()
    network.close()


@contract_of_all
async def test_a_fresh_namespace_has_a_loopback(bench: Bench) -> None:
    network = bench.endpoints("left").network()
    assert network.links() == ["lo"]
    assert network.index_of("lo") == 1
    assert network.index_of("eth0") is None
    assert network.index_of("a-name-that-is-much-too-long") is None
    network.close()


@contract
async def test_a_pair_of_links_joins_two_namespaces_and_goes_with_either_end(bench: Bench) -> None:
    left, right = bench.endpoints("left").network(), bench.endpoints("right").network()
    left.add_veth("veth0", "veth1", "right")
    assert (left.links(), right.links()) == (["lo", "veth0"], ["lo", "veth1"])
    right.delete_link("veth1")
    assert (left.links(), right.links()) == (["lo"], ["lo"])
    left.close()
    right.close()


@contract
async def test_a_pair_of_links_is_refused_where_a_name_is_taken_or_a_namespace_missing(bench: Bench) -> None:
    left, right = bench.endpoints("left").network(), bench.endpoints("right").network()
    for name, peer_name in (("lo", "veth1"), ("veth0", "lo")):
        with refused_with(EEXIST):
            left.add_veth(name, peer_name, "right")
    with refused_with(ENOENT):
        left.add_veth("veth0", "veth1", "nowhere")
    assert (left.links(), right.links()) == (["lo"], ["lo"])
    left.close()
    right.close()


@contract
async def test_a_link_that_is_not_there_is_refused(bench: Bench) -> None:
    network = bench.endpoints("left").network()
    with refused_with(ENODEV):
        network.set_up(NO_LINK)
    with refused_with(ENODEV):
        network.set_down(NO_LINK)
    with refused_with(ENODEV):
        network.add_address(NO_LINK, HOST, 24)
    with refused_with(ENODEV):
        network.add_address(NO_LINK, HOST6, 64)
    with refused_with(ENODEV):
        network.delete_address(NO_LINK, HOST, 24)
    with refused_with(ENODEV):
        network.add_route(TEREDO, 32, NO_LINK)
    with refused_with(ESRCH):
        network.delete_route(TEREDO, 32, NO_LINK)
    with refused_with(ENODEV):
        network.delete_link("eth0")
    with refused_with(ENODEV):
        network.set_transmit_checksum_offload("eth0", False)
    assert (network.addresses(NO_LINK), network.routes(NO_LINK)) == ([], [])
    network.close()


@contract
async def test_addresses_come_and_go(bench: Bench) -> None:
    network, index = joined(bench)
    for address, prefix_length in ((HOST, 24), (HOST6, 64)):
        before = network.addresses(index)
        network.add_address(index, address, prefix_length)
        assert (address, prefix_length) in network.addresses(index)
        with refused_with(EEXIST):
            network.add_address(index, address, prefix_length)
        network.delete_address(index, address, prefix_length)
        assert network.addresses(index) == before
        with refused_with(EADDRNOTAVAIL):
            network.delete_address(index, address, prefix_length)
    network.close()


@contract
async def test_an_address_is_local_soon_after_it_came_and_not_after_it_went(bench: Bench) -> None:
    network, index = joined(bench)
    for address, prefix_length in ((HOST, 24), (HOST6, 64)):
        assert not network.is_local(address)
        network.add_address(index, address, prefix_length)
        await bench.until(partial(network.is_local, address))
        network.delete_address(index, address, prefix_length)
        assert not network.is_local(address)
    network.close()


@contract
async def test_a_way_out_comes_and_goes_with_its_route_and_its_link(bench: Bench) -> None:
    network, index = joined(bench)
    network.add_address(index, HOST, 24)
    assert network.ways_out() == []
    network.add_route(bytes(4), 0, index, metric=7, gateway=NEIGHBOUR)
    assert network.ways_out() == [(index, NEIGHBOUR, 7)]
    network.set_down(index)
    assert network.ways_out() == []
    network.close()


@contract
async def test_a_link_runs_while_it_is_up(bench: Bench) -> None:
    network, index = joined(bench)
    await bench.until(partial(network.is_running, index))
    network.set_down(index)
    assert not network.is_running(index)
    network.close()


@contract
async def test_ethernet_is_shared_and_neither_a_tunnel_nor_the_loopback_is(bench: Bench) -> None:
    network, index = joined(bench)
    tunnel = bench.endpoints("left").open_tunnel("tun", 1280)
    loopback = network.index_of("lo")
    assert loopback is not None
    assert [network.is_shared(each) for each in (index, tunnel.index, loopback)] == [True, False, False]
    tunnel.close()
    network.close()


@contract
async def test_an_ipv6_way_out_is_a_default_route_or_one_to_all_global_addresses(bench: Bench) -> None:
    network, index = joined(bench)
    network.add_address(index, HOST6, 64)
    network.add_route(TEREDO, 32, index)
    assert network.ipv6_ways_out() == []
    network.add_route(bytes(16), 0, index, metric=9)
    network.add_route(b"\x20" + bytes(15), 3, index, metric=8, gateway=NEIGHBOUR6)
    assert network.ipv6_ways_out() == [(index, bytes(16), 9), (index, NEIGHBOUR6, 8)]
    assert network.ways_out() == []
    network.set_down(index)
    assert network.ipv6_ways_out() == []
    network.close()


@contract
async def test_ipv6_addresses_are_those_of_all_links(bench: Bench) -> None:
    network, index = joined(bench)
    network.add_address(index, HOST6, 64)
    network.add_address(index, HOST, 24)
    assert (HOST6, 64) in network.ipv6_addresses()
    assert all(len(address) == 16 for address, _ in network.ipv6_addresses())
    network.close()


@contract
async def test_a_link_that_goes_down_keeps_its_ipv4_addresses_only(bench: Bench) -> None:
    network, index = joined(bench)
    network.add_address(index, HOST, 24)
    network.add_address(index, HOST6, 64)
    network.add_route(TEREDO, 32, index)
    network.set_down(index)
    assert network.addresses(index) == [(HOST, 24)]
    assert network.routes(index) == []
    network.close()


@contract
async def test_ipv4_addresses_and_broadcasts_are_those_of_all_links(bench: Bench) -> None:
    network, index = joined(bench)
    own = parse_ipv4("192.0.2.1")
    assert (own, 24) not in network.ipv4_addresses()
    network.add_address(index, own, 24)
    network.add_address(index, parse_ipv4("192.0.2.9"), 24)
    network.add_address(index, parse_ipv4("198.51.100.6"), 31)
    network.add_address(index, parse_ipv4("203.0.113.4"), 30)
    network.add_address(index, HOST6, 64)
    assert {(own, 24), (parse_ipv4("203.0.113.4"), 30)} < set(network.ipv4_addresses())
    assert HOST6 not in [address for address, _ in network.ipv4_addresses()]
    found = network.broadcasts()
    assert [parse_ipv4("192.0.2.255"), parse_ipv4("203.0.113.7")] == [each for each in found if each[0] != 127]
    network.close()


@contract
async def test_routes_come_and_go_with_their_metric(bench: Bench) -> None:
    network, index = joined(bench)
    network.add_route(TEREDO, 32, index, metric=1029)
    with refused_with(EEXIST):
        network.add_route(TEREDO, 32, index, metric=1029)
    network.add_route(TEREDO, 32, index)
    network.add_route(ELSEWHERE, 24, index)
    assert set(network.routes(index)) == {(TEREDO, 32, 1029), (TEREDO, 32, 1024), (ELSEWHERE, 24, 0)}
    network.delete_route(TEREDO, 32, index, metric=1029)
    assert set(network.routes(index)) == {(TEREDO, 32, 1024), (ELSEWHERE, 24, 0)}
    network.delete_route(TEREDO, 32, index)
    network.delete_route(ELSEWHERE, 24, index)
    assert network.routes(index) == []
    for destination, prefix_length in ((TEREDO, 32), (ELSEWHERE, 24)):
        with refused_with(ESRCH):
            network.delete_route(destination, prefix_length, index)
    network.close()


@contract
async def test_a_default_route_goes_through_a_gateway(bench: Bench) -> None:
    network, index = joined(bench)
    network.add_address(index, HOST, 24)
    network.add_address(index, HOST6, 64)
    for anywhere, gateway in ((bytes(4), NEIGHBOUR), (bytes(16), NEIGHBOUR6)):
        network.add_route(anywhere, 0, index, metric=7, gateway=gateway)
        assert network.routes(index) == [(anywhere, 0, 7)]
        network.delete_route(anywhere, 0, index, metric=7, gateway=gateway)
        assert network.routes(index) == []
    network.close()


@contract
async def test_a_gateway_that_is_no_neighbour_is_refused(bench: Bench) -> None:
    network, index = joined(bench)
    with refused_with(ENETUNREACH):
        network.add_route(bytes(4), 0, index, gateway=NEIGHBOUR)
    with refused_with(EHOSTUNREACH):
        network.add_route(bytes(16), 0, index, gateway=NEIGHBOUR6)
    network.close()


@contract
async def test_a_route_into_a_link_that_is_down_is_refused(bench: Bench) -> None:
    network, index = joined(bench)
    network.set_down(index)
    for destination, prefix_length in ((TEREDO, 32), (ELSEWHERE, 24)):
        with refused_with(ENETDOWN):
            network.add_route(destination, prefix_length, index)
    network.close()


@contract
async def test_the_mtu_of_a_link_can_be_set_within_reason(bench: Bench) -> None:
    network, index = joined(bench)
    network.set_up(index, mtu=1400)
    with refused_with(EINVAL):
        network.set_up(index, mtu=70000)
    network.close()


@contract
async def test_a_packet_leaves_by_the_most_specific_route_and_then_by_the_lowest_metric(bench: Bench) -> None:
    network, index = joined(bench)
    network.add_veth("veth2", "veth3", "right")
    other = network.index_of("veth2")
    assert other is not None
    network.set_up(other)
    address = parse_ipv6("2001::1")
    assert network.link_to(address) is None
    network.add_route(TEREDO, 32, index)
    assert network.link_to(address) == index
    network.add_route(TEREDO, 32, other, metric=1)
    assert network.link_to(address) == other
    network.add_route(TEREDO, 40, index, metric=4000)
    assert network.link_to(address) == index
    assert network.link_to(ELSEWHERE) is None
    network.add_address(other, ELSEWHERE, 24)
    assert network.link_to(parse_ipv4("198.51.100.7")) == other
    network.close()


@contract
async def test_a_sysctl_is_read_as_it_was_set_and_has_a_value_before(bench: Bench) -> None:
    network, _ = joined(bench)
    for path in ("net/ipv6/conf/all/forwarding", "net/ipv6/conf/veth0/disable_ipv6"):
        assert network.get_sysctl(path) == "0"
        network.set_sysctl(path, 1)
        assert network.get_sysctl(path) == "1"
    assert network.get_sysctl("net/ipv4/conf/veth0/rp_filter") in ("0", "1", "2")
    for path in ("net/ipv6/conf/veth9/forwarding", "net/ipv6/conf/all/no_such_thing", "net/ipv6/forwarding"):
        with refused_with(ENOENT):
            network.get_sysctl(path)
    network.close()


@contract
async def test_a_sysctl_outside_of_proc_sys_is_refused(bench: Bench) -> None:
    network = bench.endpoints("left").network()
    network.set_sysctl("net/ipv6/conf/all/forwarding", 1)
    with refused_with(EINVAL):
        network.set_sysctl("net/../../uptime", 1)
    with refused_with(EINVAL):
        network.get_sysctl("net/../../uptime")
    network.close()


@contract
async def test_a_watch_hears_of_links_addresses_and_routes(bench: Bench) -> None:
    network, index = joined(bench)
    told: list[str] = []
    network.watch(lambda: told.append("changed"))
    await bench.pause(0.05)
    changes: list[Callable[[], None]] = [
        lambda: network.set_down(index),
        lambda: network.set_up(index),
        lambda: network.add_address(index, HOST, 24),
        lambda: network.add_address(index, HOST6, 64),
        lambda: network.add_route(TEREDO, 32, index),
        lambda: network.delete_route(TEREDO, 32, index),
        lambda: network.delete_address(index, HOST, 24),
        lambda: network.delete_link("veth0"),
    ]
    for change in changes:
        told.clear()
        change()
        assert told == []
        await bench.until(lambda: told != [])
        await bench.pause(0.02)
    network.close()


@contract
async def test_a_burst_of_changes_is_told_once(bench: Bench) -> None:
    network = bench.endpoints("left").network()
    told: list[str] = []
    network.watch(lambda: told.append("changed"))
    for last in range(1, 11):
        network.add_address(LOOPBACK, bytes([192, 0, 2, last]), 32)
    await bench.pause(0.02)
    assert told == ["changed"]
    network.close()


@contract
async def test_a_watch_that_is_closed_hears_nothing(bench: Bench) -> None:
    network = bench.endpoints("left").network()
    told: list[str] = []
    watch = network.watch(lambda: told.append("changed"))
    network.watch(lambda: told.append("other"))
    network.add_address(LOOPBACK, HOST, 32)
    watch.close()
    watch.close()
    await bench.pause(0.02)
    assert told == ["other"]
    network.close()
    other = bench.endpoints("left").network()
    other.add_address(LOOPBACK, NEIGHBOUR, 32)
    await bench.pause(0.02)
    assert told == ["other"]
    other.close()


def kernel_network(namespace: str) -> KernelNetwork:
    create_namespace(namespace)
    return KernelNetwork(namespace, install_reactor())


@pytest.mark.namespaced
def test_a_sysctl_is_set_in_its_namespace_only() -> None:
    network = kernel_network("left")
    network.set_sysctl("net/ipv6/conf/all/forwarding", 1)
    assert read("/proc/sys/net/ipv6/conf/all/forwarding") == "0"
    with entered("left"):
        assert read("/proc/sys/net/ipv6/conf/all/forwarding") == "1"
    with refused_with(ENOENT):
        network.set_sysctl("net/ipv6/conf/all/no_such_thing", 1)
    with refused_with(EINVAL):
        network.set_sysctl("net/ipv6/conf/all/forwarding", "perhaps")
    network.close()


BLACKHOLE, UNREACHABLE, PROHIBIT = 6, 7, 8  # linux/rtnetlink.h
CREATE = 0x400


@pytest.mark.parametrize("kind", [BLACKHOLE, UNREACHABLE, PROHIBIT])
@pytest.mark.namespaced
def test_a_route_that_refuses_is_no_way(kind: int) -> None:
    network = kernel_network("left")
    message = rtmsg()
    message["family"], message["table"], message["type"], message["dst_len"] = socket.AF_INET6, 254, kind, 32
    message["attrs"] = [("RTA_DST", "2001::")]
    with entered("left"):
        route = RouteSocket()
    route.ask(message, RTM_NEWROUTE, CREATE, "route")
    route.close()
    assert network.link_to(parse_ipv6("2001::1")) is None
    assert not network.is_local(parse_ipv6("2001::1"))
    network.close()


@pytest.mark.namespaced
def test_an_address_is_usable_at_once() -> None:
    left, right = kernel_network("left"), kernel_network("right")
    left.add_veth("veth0", "veth1", "right")
    index = left.index_of("veth0")
    assert index is not None
    left.set_up(index)
    left.add_address(index, HOST6, 64)
    with entered("left"), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.bind(("2001:db8::1", 0))
    left.close()
    right.close()


@pytest.mark.namespaced
def test_routes_of_others_are_neither_listed_nor_deleted() -> None:
    network = kernel_network("left")
    network.set_up(1)
    network.add_address(1, HOST6, 64)
    on_link = parse_ipv6("2001:db8::")
    with entered("left"):
        assert "20010db8000000000000000000000000 40" in read("/proc/thread-self/net/ipv6_route")
    assert network.routes(1) == []
    with refused_with(ESRCH):
        network.delete_route(on_link, 64, 1)
    network.close()


@pytest.mark.namespaced
def test_what_is_added_carries_the_protocol_number_of_the_program() -> None:
    network = kernel_network("left")
    network.set_up(1)
    network.add_address(1, HOST6, 64)
    network.add_route(TEREDO, 32, 1)
    with entered("left"):
        addresses, routes = dump(RTM_GETADDR), dump(RTM_GETROUTE)
    ifa_proto = struct.pack("=HHB", 5, 11, PROTOCOL)
    assert [ifa_proto in message for message in addresses if HOST6 in message] == [True]
    assert [message[16 + 5] for message in routes if TEREDO in message and message[16 + 1] == 32] == [PROTOCOL]
    network.close()


RTM_GETADDR, RTM_GETROUTE = 22, 26


def dump(kind: int) -> list[bytes]:
    """What the kernel answers to a dump of IPv6 things, message by message, byte for byte."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        route.send(struct.pack("=IHHIIB11x", 28, kind, 0x301, 1, 0, socket.AF_INET6))
        data = route.recv(1 << 16)
    messages = []
    while data:
        (length,) = struct.unpack_from("=I", data)
        messages.append(data[:length])
        data = data[(length + 3) & ~3 :]
    return messages


@pytest.mark.namespaced
def test_checksums_are_filled_in_once_offload_is_off() -> None:
    left, right = kernel_network("left"), kernel_network("right")
    left.add_veth("veth0", "veth1", "right")
    assert offloads("left", "veth0")
    left.set_transmit_checksum_offload("veth0", False)
    assert not offloads("left", "veth0")
    left.set_transmit_checksum_offload("veth0", True)
    assert offloads("left", "veth0")
    left.close()
    right.close()


def offloads(namespace: str, name: str) -> bool:
    answer = array.array("I", [0x16, 0])  # ETHTOOL_GTXCSUM
    with entered(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as carrier:
        ioctl(carrier, 0x8946, struct.pack("16sP16x", name.encode(), answer.buffer_info()[0]))
    return bool(answer[1])


@pytest.mark.namespaced
def test_news_that_the_kernel_had_to_drop_are_told_as_a_change() -> None:
    network = kernel_network("left")
    told: list[str] = []
    with entered("left"):
        hearing = netlink_socket(news=True, buffer=4096)
    watch = NetworkWatch(lambda: told.append("changed"), install_reactor(), hearing)
    for last in range(1, 200):
        network.add_address(1, bytes([192, 0, 2, last]), 32)

    async def body() -> None:
        await until(lambda: told != [])
        await pause(0.02)
        told.clear()
        network.delete_address(1, HOST, 32)
        await until(lambda: told == ["changed"])
        watch.close()

    run_reactor(body())
    network.close()


@pytest.mark.namespaced
def test_a_watch_that_the_reactor_gives_up_is_closed() -> None:
    network = kernel_network("left")
    descriptor = IReadDescriptor(network.watch(lambda: None))
    fail(ConnectionLost()).addErrback(descriptor.connectionLost)
    assert descriptor.fileno() == -1
    network.close()


@pytest.mark.namespaced
def test_a_network_that_is_closed_says_so() -> None:
    network = kernel_network("left")
    network.close()
    with refused_with(EBADF):
        network.index_of("lo")


@pytest.mark.namespaced
def test_a_failing_watcher_is_logged_and_hears_on() -> None:
    network = kernel_network("left")
    told: list[str] = []

    def changed() -> None:
        told.append("changed")
        raise KeyError("watcher")

    async def body() -> None:
        network.watch(changed)
        for last in (1, 2):
            told.clear()
            network.add_address(1, bytes([192, 0, 2, last]), 32)
            await until(lambda: told == ["changed"])
        network.close()

    run_reactor(body(), expected=(KeyError,))


def read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


@contract
async def test_the_routes_to_a_prefix_and_to_parts_of_it_are_known(bench: Bench) -> None:
    network, index = joined(bench)
    network.add_route(bytes(16), 0, index)
    assert network.routes_within(TEREDO, 32) == []
    for length, metric in ((32, 1024), (33, 9), (32, 5)):
        network.add_route(TEREDO, length, index, metric=metric)
    assert network.routes_within(TEREDO, 32) == [(TEREDO, 32, 5), (TEREDO, 32, 1024), (TEREDO, 33, 9)]
    assert network.routes_within(TEREDO, 33) == [(TEREDO, 33, 9)]
    network.close()


@contract
async def test_a_route_of_another_table_is_neither_a_way_out_nor_in_the_place_of_one(bench: Bench) -> None:
    network, index = joined(bench)
    for table in (84, 70000):
        network.add_route(bytes(16), 0, index, table=table)
        with refused_with(EEXIST):
            network.add_route(bytes(16), 0, index, table=table)
    assert network.ipv6_ways_out() == []
    assert network.link_to(HOST6) is None
    assert (bytes(16), 0, 1024) not in network.routes_within(bytes(16), 0)
    network.add_route(bytes(16), 0, index)
    assert network.routes(index) == [(bytes(16), 0, 1024)] * 3
    for table in (84, 70000):
        network.delete_route(bytes(16), 0, index, table=table)
        with refused_with(ESRCH):
            network.delete_route(bytes(16), 0, index, table=table)
    assert network.ipv6_ways_out() == [(index, bytes(16), 1024)]
    network.close()


@contract
async def test_rules_come_and_go(bench: Bench) -> None:
    network = bench.endpoints("left").network()
    assert network.rules() == []
    network.add_rule(HOST6, 84, 32765)
    with refused_with(EEXIST):
        network.add_rule(HOST6, 84, 32765)
    network.add_rule(NEIGHBOUR6, 70000, 100)
    assert set(network.rules()) == {(HOST6, 84, 32765), (NEIGHBOUR6, 70000, 100)}
    network.delete_rule(HOST6, 84, 32765)
    with refused_with(ENOENT):
        network.delete_rule(HOST6, 84, 32765)
    assert network.rules() == [(NEIGHBOUR6, 70000, 100)]
    network.close()


@contract
async def test_a_rule_is_a_leftover_once_no_link_has_its_source(bench: Bench) -> None:
    network, index = joined(bench)
    network.add_address(index, HOST6, 64)
    network.add_rule(HOST6, 84, 32765)
    network.add_rule(NEIGHBOUR6, 84, 32765)
    assert network.remove_leftovers() == [NEIGHBOUR6]
    assert network.remove_leftovers() == []
    assert network.rules() == [(HOST6, 84, 32765)]
    network.close()


@contract
async def test_a_table_without_a_name_is_not_found(bench: Bench) -> None:
    network = bench.endpoints("left").network()
    assert network.table_named("a table that nobody has") is None
    network.close()


@pytest.mark.namespaced
def test_rules_of_others_are_neither_listed_nor_deleted() -> None:
    network = kernel_network("left")
    message = fibmsg()
    message["family"], message["src_len"], message["action"] = socket.AF_INET6, 128, 1
    message["attrs"] = [("FRA_SRC", "2001:db8::1"), ("FRA_TABLE", 84), ("FRA_PRIORITY", 32765), ("FRA_PROTOCOL", 4)]
    with entered("left"):
        route = RouteSocket()
    route.ask(message, RTM_NEWRULE, CREATE, "rule")
    assert len(route.ask(all_rules(), RTM_GETRULE, DUMP, "rules")) == 3  # local, main, and that one
    assert network.rules() == []
    assert network.remove_leftovers() == []
    with refused_with(ENOENT):
        network.delete_rule(HOST6, 84, 32765)
    assert len(route.ask(all_rules(), RTM_GETRULE, DUMP, "rules")) == 3
    route.close()
    network.close()


DUMP = 0x300


def all_rules() -> fibmsg:
    message = fibmsg()
    message["family"] = socket.AF_INET6
    return message
