# SPDX-License-Identifier: MIT
"""Sockets and tunnels that are lists, and the IPv4 Internet between them: every address reaches every other."""

from collections import deque
from collections.abc import Callable, Iterable
from errno import EADDRINUSE, EADDRNOTAVAIL, EBADF, EEXIST, EINVAL
from typing import Protocol

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from miredo.address.endpoint import IPv4, IPv6, parse_ipv4, show_ipv4
from miredo.kernel.errors import refused
from miredo.kernel.interfaces import (
    IEndpoints,
    IGroup,
    IHook,
    IICMPErrors,
    IICMPv6,
    INetwork,
    IRawIPv6,
    ITimesToLive,
    ITunnel,
)
from miredo.kernel.links import check_name
from miredo.kernel.memory.clock import MemoryClock
from miredo.kernel.memory.groups import MemoryGroup
from miredo.kernel.memory.hooks import MemoryHook
from miredo.kernel.memory.network import MemoryNetwork, MemoryStack
from miredo.kernel.openings import discard_record, open_file, open_record, read_whole
from miredo.wire.icmpv4 import PORT_UNREACHABLE, emit_unreachable
from miredo.wire.ipv4 import ICMP, IPv4Packet, emit_ipv4_packet
from miredo.wire.ipv6 import UDP
from miredo.wire.udp import UDPDatagram, emit_udp

_ANY = bytes(4)
_LOOPBACK_NET = 127
_MULTICAST = range(224, 240)
_EPHEMERAL_PORTS = range(32768, 61000)
_DATAGRAM_LIMIT = 65507
_IPV6_HEADER = 40
_QUOTE_LIMIT = 548
"""Bytes of a datagram that an ICMP error quotes at most (RFC 1812 4.3.2.3)."""

Place = tuple[IPv4, int]
"""An address and a port."""


class _Stoppable(Protocol):
    def doStop(self) -> None: ...


class MemoryInternet:
    """
    Joins L{MemoryEndpoints}: a datagram arrives when the clock is advanced, or at L{flush}.

    @ivar lost: the datagrams that were for nobody: source, destination and data.
    """

    def __init__(self, clock: MemoryClock) -> None:
        self.clock = clock
        self.lost: list[tuple[Place, Place, bytes]] = []
        self.namespaces: dict[str, MemoryStack] = {}
        self._joined: list[MemoryEndpoints] = []
        self._under_way: deque[tuple[MemoryEndpoints, Place, Place, bytes]] = deque()
        self._flushing = False

    def join(self, endpoints: "MemoryEndpoints") -> None:
        """From now on C{endpoints} are reached by their addresses."""
        self._joined.append(endpoints)
        if endpoints.namespace is not None:
            self.namespaces[endpoints.namespace] = endpoints.stack

    def send(self, sender: "MemoryEndpoints", source: Place, destination: Place, datagram: bytes) -> None:
        """Put a datagram on its way."""
        if not self._under_way:
            self.clock.soon(self.flush)
        self._under_way.append((sender, source, destination, datagram))

    def flush(self) -> None:
        """Let everything arrive that is under way, and what that brings about; inside a delivery, do nothing."""
        if self._flushing:
            return
        self._flushing = True
        try:
            while self._under_way:
                self._deliver(*self._under_way.popleft())
        finally:
            self._flushing = False

    def _deliver(self, sender: "MemoryEndpoints", source: Place, destination: Place, datagram: bytes) -> None:
        if destination[0][0] in _MULTICAST:
            self._deliver_to_group(sender, source, destination, datagram)
            return
        at_home = destination[0][0] == _LOOPBACK_NET
        for endpoints in [sender] if at_home else self._joined:
            port = endpoints.port_at(destination)
            if port is not None:
                port.protocol.datagramReceived(datagram, (show_ipv4(source[0]), source[1]))
                return
        self.lost.append((source, destination, datagram))
        if any(endpoints.stack.has(destination[0]) for endpoints in self._joined):
            sender.refused(unreachable_port(source, destination, datagram))

    def _deliver_to_group(self, sender: "MemoryEndpoints", source: Place, group: Place, datagram: bytes) -> None:
        """To all but the sender's own namespace, as with IP_MULTICAST_LOOP off."""
        for endpoints in self._joined:
            for joined in endpoints.groups:
                if endpoints is not sender and joined.place == group:
                    joined.arrive(source, datagram)


@implementer(IEndpoints)
class MemoryEndpoints:
    """
    One network namespace in memory; its files are those of this process.

    @param addresses: IPv4 addresses, each with its prefix length, of a link C{eth0}; none makes no such link.
    @param deliver_raw: takes what is sent by L{raw_ipv6}.
    @ivar tunnels: every tunnel that was opened, closed ones too, in order; likewise C{raw_senders}, C{icmpv6_senders},
        C{icmp_listeners}, C{groups}.
    @ivar hooks: the hook of each program.
    """

    def __init__(
        self,
        internet: MemoryInternet,
        addresses: Iterable[tuple[IPv4, int]] = (),
        namespace: str | None = None,
        deliver_raw: Callable[[bytes], None] | None = None,
    ) -> None:
        self.namespace = namespace
        self.stack = MemoryStack(internet.clock)
        self.tunnels: list[MemoryTunnel] = []
        self.raw_senders: list[MemoryRawIPv6] = []
        self.icmpv6_senders: list[MemoryICMPv6] = []
        self.icmp_listeners: list[MemoryICMPErrors] = []
        self.groups: list[MemoryGroup] = []
        self.hooks: dict[str, MemoryHook] = {}
        self._internet = internet
        self._deliver_raw = deliver_raw
        self._ports: list[MemoryPort] = []
        for address, prefix_length in addresses:
            link = self.stack.links.get("eth0") or self.stack.add_link("eth0")
            link.up = True
            link.addresses.append((address, prefix_length))
        internet.join(self)

    def listen_udp(self, protocol: DatagramProtocol, address: str, port: int) -> IUDPTransport:
        what = f"UDP {address} port {port}"
        try:
            ipv4 = parse_ipv4(address)
        except ValueError as error:
            raise refused(EINVAL, what, "not an IPv4 address") from error
        if ipv4 != _ANY and not self.stack.has(ipv4):
            raise refused(EADDRNOTAVAIL, what)
        if port and self._is_taken(ipv4, port):
            raise refused(EADDRINUSE, what)
        opened = MemoryPort(protocol, (ipv4, port or self._free_port(ipv4)), self, self._internet)
        self._ports.append(opened)
        opened.startListening()
        return opened

    def open_tunnel(self, name: str, mtu: int) -> ITunnel:
        link = self.stack.add_link(name)
        link.shared = False
        try:
            MemoryNetwork(self.stack, {}).set_up(link.index, mtu)
        except OSError:
            self.stack.delete_link(name)
            raise
        tunnel = MemoryTunnel(name, link.index, mtu, self.stack)
        self.tunnels.append(tunnel)
        return tunnel

    def check_tunnel(self, name: str) -> None:
        check_name(name)
        if name in self.stack.links:
            raise refused(EEXIST, f"interface {name}", "exists already")

    def raw_ipv6(self) -> IRawIPv6:
        self.raw_senders.append(MemoryRawIPv6(self._deliver_raw))
        return self.raw_senders[-1]

    def icmpv6(self) -> IICMPv6:
        self.icmpv6_senders.append(MemoryICMPv6())
        return self.icmpv6_senders[-1]

    def icmp_errors(self, receive: Callable[[bytes], None]) -> IICMPErrors:
        self.icmp_listeners.append(MemoryICMPErrors(receive))
        return self.icmp_listeners[-1]

    def refused(self, packet: bytes) -> None:
        """An ICMP error has come."""
        for listener in self.icmp_listeners:
            listener.arrive(packet)

    def join_group(
        self,
        port: IUDPTransport,
        group: str,
        number: int,
        receive: Callable[[bytes, tuple[str, int]], None],
    ) -> IGroup:
        place = parse_ipv4(group), number
        if any(taken.place == (_ANY, number) for taken in self._ports):
            raise refused(EADDRINUSE, f"UDP group {group}:{number}")

        def carry(source: Place, datagram: bytes) -> None:
            self._internet.send(self, source, place, datagram)

        self.groups.append(MemoryGroup(self.stack, port, place, receive, carry))
        return self.groups[-1]

    def network(self) -> INetwork:
        return MemoryNetwork(self.stack, self._internet.namespaces)

    def hook(self, path: str) -> IHook:
        return self.hooks.setdefault(path, MemoryHook(path))

    def open_file(self, path: str) -> int:
        return open_file(path)

    def read_file(self, path: str, limit: int) -> bytes:
        return read_whole(open_file(path), limit)

    def open_record(self, path: str) -> tuple[bool, int]:
        return open_record(path)

    def discard_record(self, path: str, descriptor: int) -> None:
        discard_record(path, descriptor)

    def port_at(self, place: Place) -> "MemoryPort | None":
        """The port that gets the datagrams for a place."""
        if not self.stack.has(place[0]):
            return None
        return next((port for port in self._ports if port.place in (place, (_ANY, place[1]))), None)

    def source_for(self, destination: IPv4) -> IPv4:
        """The address that a socket without one sends from."""
        own = [address for address, _ in MemoryNetwork(self.stack, {}).ipv4_addresses()]
        if destination[0] == _LOOPBACK_NET:
            return own[0]
        return own[1] if len(own) > 1 else own[0]

    def forget(self, port: "MemoryPort") -> None:
        """A port has been closed."""
        self._ports.remove(port)

    def _is_taken(self, ipv4: IPv4, port: int) -> bool:
        if ipv4 == _ANY and any(joined.open and joined.place[1] == port for joined in self.groups):
            return True
        return any(taken.place[1] == port and (ipv4 == _ANY or taken.place[0] in (ipv4, _ANY)) for taken in self._ports)

    def _free_port(self, ipv4: IPv4) -> int:
        for port in _EPHEMERAL_PORTS:
            if not self._is_taken(ipv4, port):
                return port
        raise refused(EADDRINUSE, f"UDP {show_ipv4(ipv4)}")


@implementer(IUDPTransport, IListeningPort, ITimesToLive)
class MemoryPort:
    """
    A UDP port, used like the stock one.

    There is no router in between, so every TTL is enough.

    @ivar written: what was sent: data and destination of each.
    @ivar ttls: the TTL of each of those that had one of its own, by its number in C{written}.
    """

    def __init__(
        self, protocol: DatagramProtocol, place: Place, endpoints: MemoryEndpoints, internet: MemoryInternet
    ) -> None:
        self.protocol = protocol
        self.place = place
        self.written: list[tuple[bytes, tuple[str, int]]] = []
        self.ttls: dict[int, int] = {}
        self._endpoints = endpoints
        self._internet = internet
        self._open = True
        self._broadcast = False

    def startListening(self) -> None:
        self.protocol.makeConnection(self)

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        if addr is None or not self._open:
            raise refused(EBADF, "closed UDP port" if addr else "UDP port that is not connected")
        if len(packet) > _DATAGRAM_LIMIT:
            raise MessageLengthError("message too long")
        destination = parse_ipv4(addr[0])
        source = self.place[0] if self.place[0] != _ANY else self._endpoints.source_for(destination)
        self.written.append((packet, addr))
        self._internet.send(self._endpoints, (source, self.place[1]), (destination, addr[1]), packet)

    def write_with_ttl(self, packet: bytes, addr: tuple[str, int], ttl: int) -> None:
        number = len(self.written)
        self.write(packet, addr)
        self.ttls[number] = ttl

    def connect(self, host: str, port: int) -> None:
        raise refused(EINVAL, f"UDP {host} port {port}", "this program's ports are never connected")

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", show_ipv4(self.place[0]), self.place[1])

    def stopListening(self) -> Deferred[None] | None:
        if not self._open:
            return None
        self._open = False
        self._endpoints.forget(self)
        stopped: _Stoppable = self.protocol
        stopped.doStop()
        return succeed(None)

    def setBroadcastAllowed(self, enabled: bool) -> None:
        self._broadcast = enabled

    def getBroadcastAllowed(self) -> bool:
        return self._broadcast


@implementer(ITunnel)
class MemoryTunnel:
    """
    A tunnel whose kernel side is a test.

    @ivar written: the packets that L{write} took.
    @ivar open: L{close} has not been called.
    """

    def __init__(self, name: str, index: int, mtu: int, stack: MemoryStack) -> None:
        self.name = name
        self.index = index
        self.mtu = mtu
        self.open = True
        self.written: list[bytes] = []
        self._stack = stack
        self._waiting: deque[bytes] = deque()
        self._receive: Callable[[bytes], None] | None = None

    def start(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive
        while self._waiting:
            self.arrive(self._waiting.popleft())

    def arrive(self, packet: bytes) -> None:
        """Let the kernel route C{packet} into the device; it waits there until L{start}."""
        if not self.open:
            raise refused(EBADF, f"interface {self.name}")
        if self._receive is None:
            self._waiting.append(packet)
        else:
            self._receive(packet)

    def write(self, packet: bytes) -> bool:
        is_ip = packet[:1] != b"" and packet[0] >> 4 in (4, 6)
        if not self.open or not is_ip or not self._stack.link(self.index).up:
            return False
        self.written.append(packet)
        return True

    def close(self) -> None:
        if self.open:
            self.open = False
            if self.name in self._stack.links:
                self._stack.delete_link(self.name)


@implementer(IRawIPv6)
class MemoryRawIPv6:
    """
    Keeps what is sent.

    @param deliver: takes each packet too.
    """

    def __init__(self, deliver: Callable[[bytes], None] | None = None) -> None:
        self.sent: list[bytes] = []
        self.open = True
        self._deliver = deliver

    def send(self, packet: bytes) -> bool:
        if not self.open or len(packet) < _IPV6_HEADER:
            return False
        self.sent.append(packet)
        if self._deliver is not None:
            self._deliver(packet)
        return True

    def close(self) -> None:
        self.open = False


@implementer(IICMPv6)
class MemoryICMPv6:
    """Keeps what is sent: message and destination of each."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, IPv6]] = []
        self.open = True

    def send(self, message: bytes, destination: IPv6) -> bool:
        if not self.open:
            return False
        self.sent.append((message, destination))
        return True

    def close(self) -> None:
        self.open = False


@implementer(IICMPErrors)
class MemoryICMPErrors:
    """Somebody who hears errors."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self.open = True
        self._receive = receive

    def arrive(self, packet: bytes) -> None:
        """Let an error come, which may be a forged one."""
        if self.open:
            self._receive(packet)

    def close(self) -> None:
        self.open = False


def unreachable_port(source: Place, destination: Place, datagram: bytes) -> bytes:
    """What a host answers a datagram with for which it has no port: from C{destination} to C{source}."""
    udp = emit_udp(UDPDatagram(source[1], destination[1], datagram), source[0], destination[0])
    quote = emit_ipv4_packet(_packet(UDP, source[0], destination[0], udp))
    error = emit_unreachable(PORT_UNREACHABLE, 0, quote[:_QUOTE_LIMIT])
    return emit_ipv4_packet(_packet(ICMP, destination[0], source[0], error))


def _packet(protocol: int, source: IPv4, destination: IPv4, payload: bytes) -> IPv4Packet:
    return IPv4Packet(0, 0, False, False, 0, 64, protocol, source, destination, payload)
