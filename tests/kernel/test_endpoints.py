# SPDX-License-Identifier: MIT
"""Contract of L{IEndpoints}: UDP ports, tunnels, raw senders."""

import os
import socket
import struct
from errno import EADDRINUSE, EADDRNOTAVAIL, EEXIST, EINVAL, ENAMETOOLONG, ENOENT, ENOTTY, EPERM
from fcntl import ioctl
from ipaddress import IPv6Address

import pytest
from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IReactorUDP, IReadDescriptor, IUDPTransport
from zope.interface.verify import verifyObject

from miredo.address.endpoint import endpoint, parse_ipv4, parse_ipv6
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.interfaces import IEndpoints, IICMPErrors, IICMPv6, INetwork, IRawIPv6, ITunnel
from miredo.kernel.libc import CLONE_NEWNET, CLONE_NEWUSER, MS_BIND, mount, unshare
from miredo.kernel.namespaces import create_namespace, entered
from miredo.kernel.sockets import write_with_ttl
from miredo.kernel.tun import QUEUE_LENGTH
from miredo.wire.icmpv4 import PORT_UNREACHABLE, emit_unreachable, parse_unreachable
from miredo.wire.ipv4 import parse_ipv4_packet
from tests.kernel.bench import Bench, Recorder, contract_of_all, refused_with, stop
from tests.namespaced import install_reactor, pause, run_reactor, until

LEFT, RIGHT = "192.0.2.1", "192.0.2.2"
LEFT6, RIGHT6 = parse_ipv6("2001:db8::1"), parse_ipv6("2001:db8::2")
MTU = 1280
ECHO = bytes([128, 0, 0, 0, 0, 1, 0, 1])
SIOCGIFFLAGS = 0x8913
SIOCGIFMTU = 0x8921
SIOCGIFTXQLEN = 0x8942
IFF_UP = 1


def join(kind: "Bench | Kernel", left: str, right: str) -> None:
    """Join two namespaces by a pair of links with addresses of both families."""
    here, there = kind.plumbing(left), kind.plumbing(right)
    here.add_veth("veth0", "veth1", right)
    here.set_sysctl("net/ipv6/conf/veth0/accept_dad", 0)  # else the link-local address makes neighbours wait
    for network, name, ipv4, ipv6 in ((here, "veth0", LEFT, LEFT6), (there, "veth1", RIGHT, RIGHT6)):
        index = network.index_of(name)
        assert index is not None
        network.set_up(index)
        network.add_address(index, parse_ipv4(ipv4), 24)
        network.add_address(index, ipv6, 64)
        network.close()


class Kernel:
    """The kernel's endpoints, for what memory cannot show."""

    def endpoints(self, namespace: str) -> IEndpoints:
        if not os.path.exists(f"/run/netns/{namespace}"):
            create_namespace(namespace)
        return KernelEndpoints(namespace, install_reactor())

    def plumbing(self, namespace: str) -> INetwork:
        return self.endpoints(namespace).network()


def capture_on(namespace: str, name: str) -> socket.socket:
    """A socket that hears every Ethernet frame of a link."""
    with entered(namespace):
        hearing = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
        hearing.bind((name, 0))
    return hearing


def frames(hearing: socket.socket) -> list[bytes]:
    """What was heard since the last time."""
    heard = []
    while True:
        try:
            heard.append(hearing.recv(65535))
        except BlockingIOError:
            return heard


def ipv6_packet(next_header: int, source: bytes, destination: bytes, payload: bytes) -> bytes:
    return struct.pack("!IHBB", 0x60000000, len(payload), next_header, 64) + source + destination + payload


def ones_complement_sum(data: bytes) -> int:
    return sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)) % 0xFFFF


@contract_of_all
async def test_endpoints_keep_their_interface(bench: Bench) -> None:
    assert verifyObject(IEndpoints, bench.endpoints())
    assert bench.endpoints().namespace is None
    assert bench.endpoints("left").namespace == "left"


@contract_of_all
async def test_datagrams_go_between_namespaces_both_ways(bench: Bench) -> None:
    left, right = bench.endpoints("left"), bench.endpoints("right")
    join(bench, "left", "right")
    asking, answering = Recorder(), Recorder()
    left_port = left.listen_udp(asking, LEFT, 3544)
    right_port = right.listen_udp(answering, "0.0.0.0", 3544)
    left_port.write(b"question", (RIGHT, 3544))
    assert answering.received == []
    await bench.until(lambda: answering.received == [(b"question", (LEFT, 3544))])
    right_port.write(b"answer", (LEFT, 3544))
    await bench.until(lambda: asking.received == [(b"answer", (RIGHT, 3544))])
    await stop(left_port)
    await stop(right_port)


@contract_of_all
async def test_a_udp_port_keeps_its_interface(bench: Bench) -> None:
    port = bench.endpoints().listen_udp(Recorder(), "127.0.0.1", 0)
    assert verifyObject(IUDPTransport, port)
    assert (port.getHost().host, port.getHost().port > 1023) == ("127.0.0.1", True)
    await stop(port)


@contract_of_all
async def test_a_protocol_knows_its_transport_until_the_port_stops(bench: Bench) -> None:
    protocol = Recorder()
    port = bench.endpoints().listen_udp(protocol, "127.0.0.1", 0)
    assert protocol.transport is port
    await stop(port)
    assert protocol.transport is None


@contract_of_all
async def test_datagrams_to_oneself_arrive_later(bench: Bench) -> None:
    protocol = Recorder()
    port = bench.endpoints().listen_udp(protocol, "127.0.0.1", 4000)
    port.write(b"echo", ("127.0.0.1", 4000))
    assert protocol.received == []
    await bench.until(lambda: protocol.received == [(b"echo", ("127.0.0.1", 4000))])
    await stop(port)


@contract_of_all
async def test_a_datagram_to_nobody_does_no_harm(bench: Bench) -> None:
    protocol = Recorder()
    port = bench.endpoints().listen_udp(protocol, "127.0.0.1", 4000)
    port.write(b"hello?", ("127.0.0.1", 4001))
    await bench.pause(0.02)
    port.write(b"echo", ("127.0.0.1", 4000))
    await bench.until(lambda: protocol.received == [(b"echo", ("127.0.0.1", 4000))])
    await stop(port)


@contract_of_all
async def test_a_datagram_that_is_too_long_is_refused(bench: Bench) -> None:
    port = bench.endpoints().listen_udp(Recorder(), "127.0.0.1", 0)
    with pytest.raises(MessageLengthError):
        port.write(bytes(65508), ("127.0.0.1", 4001))
    await stop(port)


@contract_of_all
async def test_a_datagram_with_a_ttl_of_its_own_arrives_as_any_other(bench: Bench) -> None:
    protocol = Recorder()
    port = bench.endpoints().listen_udp(protocol, "127.0.0.1", 4000)
    write_with_ttl(port, b"near", ("127.0.0.1", 4000), 1)
    await bench.until(lambda: protocol.received == [(b"near", ("127.0.0.1", 4000))])
    with pytest.raises(MessageLengthError):
        write_with_ttl(port, bytes(65508), ("127.0.0.1", 4000), 1)
    await stop(port)


@contract_of_all
async def test_a_taken_port_is_refused(bench: Bench) -> None:
    endpoints = bench.endpoints()
    port = endpoints.listen_udp(Recorder(), "127.0.0.1", 4000)
    with refused_with(EADDRINUSE):
        endpoints.listen_udp(Recorder(), "127.0.0.1", 4000)
    with refused_with(EADDRINUSE):
        endpoints.listen_udp(Recorder(), "0.0.0.0", 4000)
    await stop(port)
    await stop(endpoints.listen_udp(Recorder(), "0.0.0.0", 4000))


@contract_of_all
async def test_the_same_port_is_free_in_another_namespace(bench: Bench) -> None:
    ports = [bench.endpoints(name).listen_udp(Recorder(), "0.0.0.0", 4000) for name in ("left", "right")]
    for port in ports:
        await stop(port)


@contract_of_all
async def test_an_address_that_is_not_local_is_refused(bench: Bench) -> None:
    with refused_with(EADDRNOTAVAIL):
        bench.endpoints().listen_udp(Recorder(), "198.51.100.1", 4000)


@contract_of_all
async def test_a_host_name_is_refused(bench: Bench) -> None:
    with refused_with(EINVAL):
        bench.endpoints().listen_udp(Recorder(), "localhost", 4000)


@contract_of_all
async def test_a_tunnel_is_a_link_while_it_is_open(bench: Bench) -> None:
    endpoints = bench.endpoints("left")
    network = endpoints.network()
    tunnel = endpoints.open_tunnel("teredo", MTU)
    assert verifyObject(ITunnel, tunnel)
    assert (tunnel.name, tunnel.index) == ("teredo", network.index_of("teredo"))
    assert network.addresses(tunnel.index) == []
    tunnel.close()
    tunnel.close()
    assert network.index_of("teredo") is None
    network.close()


@contract_of_all
async def test_a_tunnel_takes_ip_packets_while_it_is_up(bench: Bench) -> None:
    endpoints = bench.endpoints("left")
    network = endpoints.network()
    tunnel = endpoints.open_tunnel("teredo", MTU)
    packet = ipv6_packet(59, LEFT6, RIGHT6, b"")
    assert tunnel.write(packet)
    assert not tunnel.write(b"")
    assert not tunnel.write(b"\x00" + packet)
    network.set_down(tunnel.index)
    assert not tunnel.write(packet)
    network.set_up(tunnel.index)
    assert tunnel.write(packet)
    tunnel.close()
    assert not tunnel.write(packet)
    network.close()


@contract_of_all
async def test_a_tunnel_whose_name_is_taken_is_refused(bench: Bench) -> None:
    endpoints = bench.endpoints("left")
    tunnel = endpoints.open_tunnel("teredo", MTU)
    for taken in ("teredo", "lo"):
        with refused_with(EEXIST):
            endpoints.open_tunnel(taken, MTU)
    tunnel.close()
    endpoints.open_tunnel("teredo", MTU).close()


@contract_of_all
async def test_a_name_that_is_no_name_is_refused(bench: Bench) -> None:
    endpoints = bench.endpoints()
    with refused_with(ENAMETOOLONG):
        endpoints.open_tunnel("a23456789012345x", MTU)
    for name in ("", ".", "a b", "a/b", "tun%d"):
        with refused_with(EINVAL):
            endpoints.open_tunnel(name, MTU)
    endpoints.open_tunnel("a23456789012345", MTU).close()


@contract_of_all
async def test_a_tunnel_can_be_asked_for_without_being_made(bench: Bench) -> None:
    endpoints = bench.endpoints("left")
    network = endpoints.network()
    endpoints.check_tunnel("teredo")
    assert network.links() == ["lo"]
    tunnel = endpoints.open_tunnel("teredo", MTU)
    for taken in ("teredo", "lo"):
        with refused_with(EEXIST):
            endpoints.check_tunnel(taken)
    with refused_with(EINVAL):
        endpoints.check_tunnel("tun%d")
    tunnel.close()
    endpoints.check_tunnel("teredo")
    network.close()


@contract_of_all
async def test_a_tunnel_that_cannot_be_configured_leaves_nothing_behind(bench: Bench) -> None:
    endpoints = bench.endpoints("left")
    network = endpoints.network()
    with refused_with(EINVAL):
        endpoints.open_tunnel("teredo", 70000)
    assert network.links() == ["lo"]
    network.close()


@contract_of_all
async def test_a_raw_sender_refuses_what_is_no_packet(bench: Bench) -> None:
    raw = bench.endpoints().raw_ipv6()
    assert verifyObject(IRawIPv6, raw)
    assert not raw.send(b"")
    assert not raw.send(bytes(39))
    raw.close()
    raw.close()
    assert not raw.send(ipv6_packet(59, LEFT6, RIGHT6, b""))


@contract_of_all
async def test_an_icmpv6_sender_keeps_its_interface(bench: Bench) -> None:
    icmpv6 = bench.endpoints().icmpv6()
    assert verifyObject(IICMPv6, icmpv6)
    icmpv6.close()
    icmpv6.close()
    assert not icmpv6.send(bytes(8), LEFT6)


@contract_of_all
async def test_a_datagram_to_a_port_where_nobody_listens_is_told_by_an_icmp_error(bench: Bench) -> None:
    left = bench.endpoints("left")
    join(bench, "left", "right")
    heard: list[bytes] = []
    errors = left.icmp_errors(heard.append)
    assert verifyObject(IICMPErrors, errors)
    port = left.listen_udp(Recorder(), LEFT, 3545)
    port.write(b"hello?", (RIGHT, 3544))
    await bench.until(lambda: len(heard) == 1)
    packet = parse_ipv4_packet(heard[0])
    error = parse_unreachable(packet.payload)
    assert (packet.source, packet.destination) == (parse_ipv4(RIGHT), parse_ipv4(LEFT))
    assert (error.code, error.source, error.destination) == (
        PORT_UNREACHABLE,
        endpoint(parse_ipv4(LEFT), 3545),
        endpoint(parse_ipv4(RIGHT), 3544),
    )
    errors.close()
    errors.close()
    port.write(b"hello?", (RIGHT, 3543))
    await bench.pause(0.05)
    assert len(heard) == 1
    await stop(port)


@contract_of_all
async def test_icmp_errors_of_another_namespace_are_not_heard(bench: Bench) -> None:
    left, right = bench.endpoints("left"), bench.endpoints("right")
    join(bench, "left", "right")
    heard: list[bytes] = []
    elsewhere: list[bytes] = []
    both = left.icmp_errors(heard.append), right.icmp_errors(elsewhere.append)
    port = left.listen_udp(Recorder(), LEFT, 3545)
    port.write(b"hello?", (RIGHT, 3544))
    await bench.until(lambda: len(heard) == 1)
    assert elsewhere == []
    for errors in both:
        errors.close()
    await stop(port)


@pytest.mark.requirement("E2")
@pytest.mark.namespaced
def test_udp_is_sent_with_df_clear() -> None:
    kernel = Kernel()
    join(kernel, "left", "right")
    answering = Recorder()

    async def body() -> None:
        sender = kernel.endpoints("left").listen_udp(Recorder(), LEFT, 0)
        receiver = kernel.endpoints("right").listen_udp(answering, RIGHT, 3544)
        sender.write(bytes(3000), (RIGHT, 3544))
        await until(lambda: len(answering.received) == 1)
        await stop(sender, receiver)

    with capture_on("right", "veth1") as hearing:
        run_reactor(body())
        flags = [frame[20] & 0x40 for frame in frames(hearing) if frame[12:14] == b"\x08\x00" and frame[23] == 17]
    assert flags == [0, 0, 0]


@pytest.mark.requirement("C44a")
@pytest.mark.namespaced
@pytest.mark.parametrize("stock", [False, True], ids=["of a role", "reactor.listenUDP"])
def test_a_ttl_is_of_one_datagram_and_of_no_other(stock: bool) -> None:
    """Another of the same socket keeps the system's; nothing is set on the socket meanwhile."""
    kernel = Kernel()
    join(kernel, "left", "right")
    answering = Recorder()

    async def body() -> None:
        if stock:
            with entered("left"):
                sender = IUDPTransport(IReactorUDP(install_reactor()).listenUDP(0, Recorder(), LEFT, 8192))
        else:
            sender = kernel.endpoints("left").listen_udp(Recorder(), LEFT, 0)
        receiver = kernel.endpoints("right").listen_udp(answering, RIGHT, 3544)
        sender.write(b"far", (RIGHT, 3544))
        for ttl in (1, 2, 255):
            write_with_ttl(sender, b"so far", (RIGHT, 3544), ttl)
            sender.write(b"far", (RIGHT, 3544))
        with pytest.raises(OSError, match="Invalid argument"):
            write_with_ttl(sender, b"no TTL", (RIGHT, 3544), 256)
        await until(lambda: len(answering.received) == 7)
        await stop(sender, receiver)

    with capture_on("right", "veth1") as hearing:
        run_reactor(body())
        ttls = [frame[22] for frame in frames(hearing) if frame[12:14] == b"\x08\x00" and frame[23] == 17]
    assert ttls == [64, 1, 64, 2, 64, 255, 64]


@pytest.mark.namespaced
def test_an_icmp_error_does_not_end_a_port() -> None:
    kernel = Kernel()
    join(kernel, "left", "right")
    asking, answering = Recorder(), Recorder()

    async def body() -> None:
        sender = kernel.endpoints("left").listen_udp(asking, LEFT, 0)
        with capture_on("left", "veth0") as hearing:
            sender.write(b"hello?", (RIGHT, 3544))
            await until(lambda: any(frame[23:24] == b"\x01" for frame in frames(hearing)))
        receiver = kernel.endpoints("right").listen_udp(answering, RIGHT, 3544)
        sender.write(b"hello", (RIGHT, 3544))
        await until(lambda: len(answering.received) == 1)
        receiver.write(b"hello", answering.received[0][1])
        await until(lambda: asking.received == [(b"hello", (RIGHT, 3544))])
        await stop(sender, receiver)

    run_reactor(body())


@pytest.mark.namespaced
def test_a_routed_datagram_is_received_from_the_tunnel_and_answered_through_it() -> None:
    kernel = Kernel()
    endpoints = kernel.endpoints("left")
    network = endpoints.network()
    tunnel = endpoints.open_tunnel("teredo", MTU)
    network.add_address(tunnel.index, LEFT6, 128)
    network.add_route(parse_ipv6("2001::"), 32, tunnel.index)
    far = parse_ipv6("2001::1")
    received: list[bytes] = []
    with entered("left"):
        udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    udp.bind((str(IPv6Address(LEFT6)), 5000))

    async def body() -> None:
        tunnel.start(received.append)
        for number in range(200):
            udp.sendto(bytes([number]), ("2001::1", 6000))
        await until(lambda: len(received) == 200)
        answer = received[0]
        turned = answer[:8] + far + LEFT6 + answer[42:44] + answer[40:42] + answer[44:]
        assert tunnel.write(turned)
        assert udp.recvfrom(100)[:1] == (b"\x00",)
        tunnel.close()

    with udp:
        run_reactor(body())
    assert [packet[8:40] for packet in received] == [LEFT6 + far] * 200
    assert [packet[48:] for packet in received] == [bytes([number]) for number in range(200)]
    network.close()


@pytest.mark.namespaced
def test_a_tunnel_is_up_with_its_mtu_and_the_kernel_sends_nothing_of_its_own_through_it() -> None:
    endpoints = Kernel().endpoints("left")
    tunnel = endpoints.open_tunnel("teredo", 1472)
    received: list[bytes] = []

    async def body() -> None:
        tunnel.start(received.append)
        await pause(0.3)
        tunnel.close()

    request = struct.pack("16s24x", b"teredo")
    with entered("left"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as carrier:
        (mtu,) = struct.unpack_from("16xi", ioctl(carrier, SIOCGIFMTU, request))
        (flags,) = struct.unpack_from("16xh", ioctl(carrier, SIOCGIFFLAGS, request))
    assert (mtu, flags & IFF_UP) == (1472, IFF_UP)
    run_reactor(body())
    assert received == []


@pytest.mark.namespaced
def test_a_tunnel_lets_many_packets_wait_in_a_user_namespace_too() -> None:
    """The ioctl that sets this length is refused there, which root would not notice."""
    unshare(CLONE_NEWUSER | CLONE_NEWNET)
    tunnel = KernelEndpoints(None, install_reactor()).open_tunnel("teredo", MTU)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as carrier:
        (length,) = struct.unpack_from("16xi", ioctl(carrier, SIOCGIFTXQLEN, struct.pack("16s24x", b"teredo")))
    assert length == QUEUE_LENGTH
    tunnel.close()
    run_reactor(pause(0))


@pytest.mark.namespaced
def test_a_failing_receiver_is_logged_and_the_tunnel_lives_on() -> None:
    endpoints = Kernel().endpoints("left")
    network = endpoints.network()
    tunnel = endpoints.open_tunnel("teredo", MTU)
    network.add_route(RIGHT6, 128, tunnel.index)
    network.add_address(tunnel.index, LEFT6, 128)
    received: list[bytes] = []

    def receive(packet: bytes) -> None:
        received.append(packet)
        raise KeyError("receiver")

    async def body() -> None:
        tunnel.start(receive)
        icmpv6 = endpoints.icmpv6()
        for _ in range(2):
            received.clear()
            assert icmpv6.send(ECHO, RIGHT6)
            await until(lambda: len(received) == 1)
        icmpv6.close()
        tunnel.close()

    run_reactor(body(), expected=(KeyError,))
    network.close()


@pytest.mark.namespaced
def test_a_receiver_may_close_its_tunnel() -> None:
    endpoints = Kernel().endpoints("left")
    network = endpoints.network()
    tunnel = endpoints.open_tunnel("teredo", MTU)
    network.add_route(RIGHT6, 128, tunnel.index)
    network.add_address(tunnel.index, LEFT6, 128)
    received: list[bytes] = []

    def receive(packet: bytes) -> None:
        received.append(packet)
        tunnel.close()

    async def body() -> None:
        tunnel.start(receive)
        icmpv6 = endpoints.icmpv6()
        for _ in range(3):
            icmpv6.send(ECHO, RIGHT6)
        icmpv6.close()
        await until(lambda: received != [])
        await pause(0.02)

    run_reactor(body())
    assert len(received) == 1
    network.close()


@pytest.mark.namespaced
def test_a_tunnel_whose_link_was_deleted_closes() -> None:
    endpoints = Kernel().endpoints("left")
    network = endpoints.network()
    tunnel = endpoints.open_tunnel("teredo", MTU)

    async def body() -> None:
        tunnel.start(lambda packet: None)
        network.delete_link("teredo")
        await until(lambda: IReadDescriptor(tunnel).fileno() == -1)
        assert not tunnel.write(ECHO)

    run_reactor(body())
    network.close()


@pytest.mark.namespaced
def test_a_machine_without_tun_is_told_apart_by_errno() -> None:
    mount("tmpfs", "/dev/net", "tmpfs", 0)
    endpoints = KernelEndpoints(None, install_reactor())
    with refused_with(ENOENT):
        endpoints.open_tunnel("teredo", MTU)
    with refused_with(ENOENT):
        endpoints.check_tunnel("teredo")


@pytest.mark.namespaced
def test_what_is_no_tun_device_is_told_without_making_one() -> None:
    mount("/dev/null", "/dev/net/tun", None, MS_BIND)
    with refused_with(ENOTTY):
        KernelEndpoints(None, install_reactor()).check_tunnel("teredo")


@pytest.mark.namespaced
def test_a_process_without_the_right_makes_no_tunnel() -> None:
    unshare(CLONE_NEWUSER)  # its capabilities do not hold for the network namespace that it came from
    with refused_with(EPERM):
        KernelEndpoints(None, install_reactor()).open_tunnel("teredo", MTU)


@pytest.mark.namespaced
def test_a_namespace_that_is_not_there_is_refused() -> None:
    with refused_with(ENOENT):
        KernelEndpoints("nowhere", install_reactor()).listen_udp(Recorder(), "0.0.0.0", 0)


@pytest.mark.namespaced
def test_raw_ipv6_sends_a_whole_packet_from_a_foreign_address() -> None:
    kernel = Kernel()
    join(kernel, "left", "right")
    raw = kernel.endpoints("left").raw_ipv6()
    packet = ipv6_packet(58, parse_ipv6("2001:db8:bad::1"), RIGHT6, ECHO)

    async def body() -> None:
        with capture_on("right", "veth1") as hearing:
            assert raw.send(packet)
            heard: list[bytes] = []

            def arrived() -> bool:
                heard.extend(frame[14:] for frame in frames(hearing))
                return packet in heard

            await until(arrived)

    run_reactor(body())
    assert not raw.send(ipv6_packet(59, LEFT6, parse_ipv6("2001:db8:ffff::1"), b"")), "there is no route to it"
    raw.close()


@pytest.mark.namespaced
def test_icmpv6_goes_out_with_source_and_checksum_of_the_kernel() -> None:
    kernel = Kernel()
    join(kernel, "left", "right")
    icmpv6 = kernel.endpoints("left").icmpv6()
    unreachable = bytes([1, 3, 0, 0, 0, 0, 0, 0]) + ipv6_packet(59, RIGHT6, LEFT6, b"")
    heard: list[bytes] = []

    async def body() -> None:
        with capture_on("right", "veth1") as hearing:
            assert icmpv6.send(unreachable, RIGHT6)

            def arrived() -> bool:
                heard.extend(frame[14:] for frame in frames(hearing) if frame[54:56] == unreachable[:2])
                return heard != []

            await until(arrived)

    run_reactor(body())
    header, message = heard[0][:40], heard[0][40:]
    assert (header[8:24], header[24:40]) == (LEFT6, RIGHT6)
    assert message[4:] == unreachable[4:]
    pseudo_header = header[8:40] + struct.pack("!IHBB", len(message), 0, 0, 58)
    assert ones_complement_sum(pseudo_header + message) == 0
    icmpv6.close()


@pytest.mark.namespaced
def test_of_icmp_nothing_is_heard_but_unreachable_and_a_failing_receiver_is_logged() -> None:
    endpoints = Kernel().endpoints("left")
    heard: list[bytes] = []

    def receive(packet: bytes) -> None:
        heard.append(packet)
        raise KeyError("receiver")

    async def body() -> None:
        errors = endpoints.icmp_errors(receive)
        with entered("left"), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
            for kind in (8, 11, 5, 3, 3):
                raw.sendto(bytes([kind]) + emit_unreachable(0, 0, b"quote")[1:], ("127.0.0.1", 0))
        await until(lambda: len(heard) == 2)
        errors.close()

    network = endpoints.network()
    index = network.index_of("lo")
    assert index is not None
    network.set_up(index)
    network.close()
    run_reactor(body(), expected=(KeyError,))
    assert [packet[20] for packet in heard] == [3, 3]


@pytest.mark.namespaced
def test_a_receiver_may_close_its_icmp_errors() -> None:
    kernel = Kernel()
    join(kernel, "left", "right")
    heard: list[bytes] = []

    async def body() -> None:
        def receive(packet: bytes) -> None:
            heard.append(packet)
            errors.close()

        errors = kernel.endpoints("left").icmp_errors(receive)
        port = kernel.endpoints("left").listen_udp(Recorder(), LEFT, 0)
        for number in range(3):
            port.write(b"hello?", (RIGHT, 3544 + number))
        await until(lambda: heard != [])
        await pause(0.02)
        await stop(port)

    run_reactor(body())
    assert len(heard) == 1
