# SPDX-License-Identifier: MIT
"""What the fakes offer to tests beyond the contract."""

from errno import EADDRINUSE, EBADF, EINVAL

import pytest

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryICMPv6, MemoryInternet, MemoryPort, MemoryRawIPv6
from miredo.kernel.memory.endpoints import MemoryTunnel
from tests.kernel.bench import Recorder, refused_with

LEFT, RIGHT = parse_ipv4("192.0.2.1"), parse_ipv4("198.51.100.1")
PACKET = b"\x60" + bytes(39)


def internet() -> tuple[MemoryClock, MemoryInternet, MemoryEndpoints, MemoryEndpoints]:
    clock = MemoryClock()
    joined = MemoryInternet(clock)
    return clock, joined, MemoryEndpoints(joined, [(LEFT, 24)]), MemoryEndpoints(joined, [(RIGHT, 24)])


class Echo(Recorder):
    """Sends back what it receives, a given number of times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        super().datagramReceived(datagram, addr)
        if len(self.received) <= self.times:
            assert self.transport is not None
            self.transport.write(datagram, addr)


def test_datagrams_arrive_when_the_clock_is_advanced_by_nothing() -> None:
    clock, _, left, right = internet()
    echo, answers = Echo(times=1), Recorder()
    right.listen_udp(echo, "198.51.100.1", 7)
    left.listen_udp(answers, "0.0.0.0", 4000).write(b"hello", ("198.51.100.1", 7))
    assert echo.received == []
    clock.advance(0)
    assert echo.received == [(b"hello", ("192.0.2.1", 4000))]
    assert answers.received == [(b"hello", ("198.51.100.1", 7))]
    assert clock.armed == []


def test_a_flush_lets_everything_arrive_without_recursion() -> None:
    _, joined, left, right = internet()
    here, there = Echo(times=5000), Echo(times=5000)
    left.listen_udp(here, "192.0.2.1", 7)
    right.listen_udp(there, "198.51.100.1", 7).write(b"ping", ("192.0.2.1", 7))
    joined.flush()
    assert (len(here.received), len(there.received)) == (5001, 5000)


def test_a_flush_inside_a_delivery_does_nothing() -> None:
    _, joined, left, right = internet()
    order: list[bytes] = []

    class Flushing(Recorder):
        def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
            joined.flush()
            order.append(datagram)

    left.listen_udp(Flushing(), "192.0.2.1", 7)
    port = right.listen_udp(Recorder(), "198.51.100.1", 7)
    for datagram in (b"1", b"2"):
        port.write(datagram, ("192.0.2.1", 7))
    joined.flush()
    assert order == [b"1", b"2"]


def test_a_datagram_to_nobody_is_kept_as_lost() -> None:
    _, joined, left, _ = internet()
    left.listen_udp(Recorder(), "192.0.2.1", 7).write(b"hello", ("203.0.113.1", 9))
    joined.flush()
    assert joined.lost == [((LEFT, 7), (parse_ipv4("203.0.113.1"), 9), b"hello")]


def test_a_stopped_port_neither_sends_nor_receives() -> None:
    _, joined, left, right = internet()
    protocol = Recorder()
    port = left.listen_udp(protocol, "192.0.2.1", 7)
    other = right.listen_udp(Recorder(), "198.51.100.1", 7)
    other.write(b"late", ("192.0.2.1", 7))
    port.stopListening()
    assert port.stopListening() is None
    joined.flush()
    assert protocol.received == []
    with refused_with(EBADF):
        port.write(b"late", ("198.51.100.1", 7))


def test_a_port_keeps_what_was_written_and_is_never_connected() -> None:
    _, _, left, _ = internet()
    port = left.listen_udp(Recorder(), "0.0.0.0", 7)
    assert isinstance(port, MemoryPort)
    port.write(b"hello", ("198.51.100.1", 7))
    assert port.written == [(b"hello", ("198.51.100.1", 7))]
    port.write_with_ttl(b"near", ("198.51.100.1", 7), 1)
    assert (port.written[1], port.ttls) == ((b"near", ("198.51.100.1", 7)), {1: 1})
    with refused_with(EINVAL):
        port.connect("198.51.100.1", 7)
    port.setBroadcastAllowed(True)
    assert port.getBroadcastAllowed()


def test_ports_run_out() -> None:
    _, _, left, _ = internet()
    ports = {left.listen_udp(Recorder(), "127.0.0.1", 0).getHost().port for _ in range(3)}
    assert len(ports) == 3
    left.listen_udp(Recorder(), "0.0.0.0", 32768 + 3)
    assert left.listen_udp(Recorder(), "127.0.0.1", 0).getHost().port == 32768 + 4
    with refused_with(EADDRINUSE):
        left.listen_udp(Recorder(), "127.0.0.1", 32768 + 4)


def test_packets_wait_in_a_tunnel_until_it_is_started() -> None:
    _, _, left, _ = internet()
    left.open_tunnel("teredo", 1280)
    tunnel = left.tunnels[0]
    tunnel.arrive(b"1")
    received: list[bytes] = []
    tunnel.start(received.append)
    tunnel.arrive(b"2")
    assert received == [b"1", b"2"]
    tunnel.close()
    with refused_with(EBADF):
        tunnel.arrive(b"3")


def test_a_tunnel_keeps_what_was_written() -> None:
    _, _, left, _ = internet()
    tunnel = left.open_tunnel("teredo", 1280)
    tunnel.write(PACKET)
    assert isinstance(tunnel, MemoryTunnel)
    assert (tunnel.written, tunnel.mtu, tunnel.open) == ([PACKET], 1280, True)


def test_raw_packets_are_kept_and_delivered() -> None:
    delivered: list[bytes] = []
    endpoints = MemoryEndpoints(MemoryInternet(MemoryClock()), deliver_raw=delivered.append)
    raw = endpoints.raw_ipv6()
    assert raw.send(PACKET)
    assert (endpoints.raw_senders, delivered) == ([raw], [PACKET])
    assert isinstance(raw, MemoryRawIPv6)
    assert raw.sent == [PACKET]


def test_icmpv6_messages_are_kept() -> None:
    endpoints = MemoryEndpoints(MemoryInternet(MemoryClock()))
    icmpv6 = endpoints.icmpv6()
    destination = parse_ipv6("2001:db8::1")
    assert icmpv6.send(b"message", destination)
    assert isinstance(icmpv6, MemoryICMPv6)
    assert icmpv6.sent == [(b"message", destination)]
    assert endpoints.icmpv6_senders == [icmpv6]


def test_sysctls_and_offloads_are_kept() -> None:
    _, _, left, _ = internet()
    network = left.network()
    network.set_sysctl("net/ipv6/conf/all/forwarding", 1)
    network.set_transmit_checksum_offload("eth0", False)
    assert left.stack.sysctls == {"net/ipv6/conf/all/forwarding": "1"}
    assert not left.stack.links["eth0"].offloads_checksums


def test_packets_that_beget_each_other_for_ever_are_given_up() -> None:
    clock, _, _, _ = internet()

    def again() -> None:
        clock.soon(again)

    again()
    with pytest.raises(RuntimeError, match="no end"):
        clock.advance(1)
