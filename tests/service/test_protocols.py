# SPDX-License-Identifier: MIT
"""The public protocols: what the system refuses is counted, and they run on Twisted's own UDP ports."""

from collections import Counter
from errno import ENETUNREACH, EPERM
from random import Random

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IListeningPort, IReactorCore, IReactorUDP, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer
from zope.interface.verify import verifyObject

from miredo.address.endpoint import Endpoint, endpoint, parse_ipv4, parse_ipv6
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import SERVICE_PREFIX, mapped_of
from miredo.assembly import assemble_on
from miredo.config import parse
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.errors import refused
from miredo.kernel.interfaces import IClock
from miredo.kernel.memory import MemoryClock, MemoryICMPv6, MemoryRawIPv6, MemoryStack, MemoryTunnel
from miredo.lab.pings import Kernel, Ping
from miredo.service.announcements import IAnnouncements
from miredo.service.protocols import (
    TeredoClientProtocol,
    TeredoProtocol,
    TeredoRelayProtocol,
    TeredoServerProtocol,
)
from miredo.service.roles import TunnelService
from miredo.teredo.actions import (
    Mapping,
    NatObserved,
    Qualified,
    RefreshDetermined,
    SecretExpiring,
    ServerRelays,
    ServerSilent,
    Unqualified,
)
from miredo.teredo.client import Client
from miredo.teredo.constants import PATIENCE
from miredo.teredo.drops import Drop
from miredo.teredo.qualification import Server as ServerAddresses
from miredo.teredo.relay import Relay
from miredo.teredo.server import Server
from miredo.wire.icmpv6 import EchoReply, EchoRequest, emit_icmpv6
from tests.namespaced import install_reactor, run_reactor, until

SERVER, SERVER2, RELAY, CLIENT = "192.0.2.1", "192.0.2.2", "192.0.2.17", "198.51.100.7"
HOST = parse_ipv6("2001:db8:3::1")
SERVERS = parse_ipv4(SERVER), parse_ipv4(SERVER2)
OUTER = (CLIENT, 40000)


@implementer(IAnnouncements)
class Heard:
    """Keeps what is announced."""

    def __init__(self) -> None:
        self.address: bytes | None = None
        self.observed: list[NatObserved] = []
        self.intervals: list[float] = []

    def qualified(self, event: Qualified) -> None:
        self.address = event.address

    def unqualified(self, event: Unqualified) -> None:
        self.address = None

    def server_silent(self, event: ServerSilent) -> None:
        raise AssertionError("the server does not answer")

    def secret_expiring(self, event: SecretExpiring) -> None:
        raise AssertionError("nothing is secret here")

    def server_relays(self, event: ServerRelays) -> None:
        raise AssertionError("the server is no relay")

    def nat_observed(self, event: NatObserved, local_port: int) -> None:
        self.observed.append(event)

    def refresh_determined(self, event: RefreshDetermined) -> None:
        self.intervals.append(event.interval)


@implementer(IUDPTransport)
class Refusing:
    """A port that takes nothing."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        raise self.error

    def connect(self, host: str, port: int) -> None:
        raise AssertionError("never connected")

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", CLIENT, 40000)

    def stopListening(self) -> None:
        pass

    def setBroadcastAllowed(self, enabled: bool) -> None:
        pass

    def getBroadcastAllowed(self) -> bool:
        return False


def tunnel() -> MemoryTunnel:
    stack = MemoryStack(MemoryClock())
    link = stack.add_link("teredo")
    link.up = True
    return MemoryTunnel("teredo", link.index, 1280, stack)


def client(clock: IClock, announcements: IAnnouncements, device: MemoryTunnel | None = None) -> TeredoClientProtocol:
    core = Client([ServerAddresses(*SERVERS)], IPv4Scope(), Random(1).randbytes)
    return TeredoClientProtocol("client", core, clock, device or tunnel(), MemoryICMPv6(), announcements)


def relay(clock: IClock, device: MemoryTunnel, icmpv6: MemoryICMPv6 | None = None) -> TeredoRelayProtocol:
    core = Relay(IPv4Scope(), Random(2).randbytes)
    return TeredoRelayProtocol("relay", core, clock, device, icmpv6 or MemoryICMPv6())


def servers(clock: IClock, native: MemoryRawIPv6) -> tuple[TeredoServerProtocol, TeredoServerProtocol]:
    return TeredoServerProtocol.pair("server", Server(SERVERS, IPv4Scope()), clock, native)


def teredo_address(mapped: Endpoint) -> bytes:
    """An address of a client of the server, seen as C{mapped}."""
    return SERVICE_PREFIX + SERVERS[0] + bytes(2) + bytes(octet ^ 0xFF for octet in mapped[4:] + mapped[:4])


def echo_request(source: bytes, destination: bytes) -> bytes:
    return emit_icmpv6(source, destination, EchoRequest(1, 1, b"data"), 64)


# ---------------------------------------------------------------- what the system refuses


@pytest.mark.parametrize("error", [refused(ENETUNREACH, "UDP"), refused(EPERM, "UDP"), MessageLengthError("too long")])
def test_a_datagram_that_the_system_refuses_is_counted(error: Exception) -> None:
    protocol = client(MemoryClock(), Heard())
    transport = Refusing(error)
    assert verifyObject(IUDPTransport, transport)
    protocol.makeConnection(transport)
    protocol.begin()
    assert protocol.refused == Counter(datagram=1)


def test_a_client_asks_again_after_a_refused_datagram() -> None:
    clock = MemoryClock()
    protocol = client(clock, Heard())
    protocol.makeConnection(Refusing(refused(ENETUNREACH, "UDP")))
    protocol.begin()
    clock.advance(8)
    assert protocol.refused == Counter(datagram=3)


def test_nothing_is_sent_without_a_transport() -> None:
    protocol = client(MemoryClock(), Heard())
    protocol.begin()
    assert protocol.refused == Counter()


def test_a_packet_that_the_tunnel_refuses_is_counted() -> None:
    clock, device = MemoryClock(), tunnel()
    protocol = relay(clock, device)
    protocol.begin()
    mapped = endpoint(parse_ipv4(CLIENT), 40000)
    address = teredo_address(mapped)
    protocol.packetReceived(echo_request(HOST, address))
    device.close()
    protocol.datagramReceived(emit_icmpv6(address, HOST, EchoReply(1, 1, b"data"), 64), OUTER)
    assert protocol.refused == Counter(packet=1)


def test_an_error_that_the_system_refuses_is_counted() -> None:
    clock, icmpv6 = MemoryClock(), MemoryICMPv6()
    protocol = relay(clock, tunnel(), icmpv6)
    protocol.begin()
    protocol.packetReceived(echo_request(HOST, teredo_address(endpoint(parse_ipv4(CLIENT), 40000))))
    icmpv6.close()
    clock.advance(PATIENCE + 1)
    assert protocol.refused == Counter(error=1)


def test_a_packet_that_the_native_network_refuses_is_counted() -> None:
    native = MemoryRawIPv6()
    first, second = servers(MemoryClock(), native)
    packet = echo_request(teredo_address(endpoint(parse_ipv4(CLIENT), 40000)), HOST)
    first.datagramReceived(packet, OUTER)
    assert len(native.sent) == 1
    native.close()
    second.datagramReceived(packet, OUTER)
    assert (first.refused, second.refused) == (Counter(), Counter(native=1))


@pytest.mark.parametrize("datagram", [b"", b"\0", b"\0\1" * 9, bytes(1500), b"\x60" + bytes(39)])
def test_rubbish_is_counted_and_raises_nothing(datagram: bytes) -> None:
    clock = MemoryClock()
    for protocol in (client(clock, Heard()), relay(clock, tunnel()), servers(clock, MemoryRawIPv6())[0]):
        protocol.datagramReceived(datagram, OUTER)
        assert sum(protocol.core.drops.values()) == 1


def test_rubbish_from_the_host_is_counted_and_raises_nothing() -> None:
    protocol = relay(MemoryClock(), tunnel())
    protocol.begin()
    protocol.packetReceived(b"\x45" + bytes(19))
    protocol.packetReceived(b"\x60")
    assert protocol.core.drops[Drop.MALFORMED] == 2


def test_twisted_says_nothing_of_its_own_about_the_ports() -> None:
    assert TeredoProtocol("client", MemoryClock()).noisy is False


def test_a_protocol_that_has_ended_holds_no_alarm() -> None:
    clock = MemoryClock()
    protocol = client(clock, Heard())
    protocol.begin()
    assert clock.armed == [1004.0]
    protocol.end()
    assert clock.armed == []


# ---------------------------------------------------------------- on Twisted's own ports


class Hosts:
    """A native host that the server and the relay lead to, and the host of the client."""

    def __init__(self, clock: IClock) -> None:
        self.near, self.far = tunnel(), tunnel()
        self.native = MemoryRawIPv6(lambda packet: self.host.receive(packet, clock.now()))
        self.host = Kernel(Random(3).randbytes, self.far.arrive)
        self.client_host = Kernel(Random(4).randbytes, self.near.arrive)
        self._clock = clock

    def have_answer(self, ping: Ping) -> bool:
        """Give the hosts what the tunnels have for them; whether C{ping} is answered."""
        for device, host in ((self.near, self.client_host), (self.far, self.host)):
            while device.written:
                host.receive(device.written.pop(0), self._clock.now())
        return ping.answered is not None


def give_addresses(*addresses: str) -> None:
    """Let the loopback have them."""
    network = KernelEndpoints(None, install_reactor()).network()
    index = network.index_of("lo")
    assert index is not None
    for address in addresses:
        network.add_address(index, parse_ipv4(address), 32)
    network.close()


def listen(protocol: DatagramProtocol, address: str, port: int = 0) -> IListeningPort:
    return IReactorUDP(install_reactor()).listenUDP(port, protocol, address, 65535)


@pytest.mark.namespaced
def test_all_three_protocols_run_on_stock_ports(closes_descriptors: None) -> None:
    async def body() -> None:
        give_addresses(SERVER, SERVER2, RELAY, CLIENT)
        clock, heard = BoottimeClock(install_reactor()), Heard()
        hosts = Hosts(clock)
        first, second = servers(clock, hosts.native)
        near, far = client(clock, heard, hosts.near), relay(clock, hosts.far)
        ports = [listen(first, SERVER, 3544), listen(second, SERVER2, 3544), listen(near, CLIENT), listen(far, RELAY)]
        near.begin()
        far.begin()
        await until(lambda: heard.address is not None and heard.observed != [])
        address, place = heard.address, ports[2].getHost()
        assert address is not None
        assert isinstance(place, IPv4Address)
        assert mapped_of(address) == endpoint(parse_ipv4(CLIENT), place.port)
        assert [event.mapping for event in heard.observed] == [Mapping.ENDPOINT_INDEPENDENT]
        there = hosts.client_host.ping(address, HOST, clock.now())
        await until(lambda: hosts.have_answer(there))
        back = hosts.host.ping(HOST, address, clock.now())
        await until(lambda: hosts.have_answer(back))
        near.end()
        far.end()
        for port in ports:
            await maybeDeferred(port.stopListening)
        assert heard.address is None

    run_reactor(body())


@pytest.mark.requirement("C3")
@pytest.mark.namespaced
def test_a_client_that_is_told_no_port_draws_one_and_a_client_that_is_told_one_has_it() -> None:
    """RFC 4380 5.2.10: clients behind one NAT are not to share a port, so none has a usual one."""

    async def body() -> None:
        drawn: set[int] = set()
        for wanted in (0, 0, 0, 41234):
            text = f"[client c]\nServerAddress 192.0.2.1\nBindPort {wanted}\nInterfaceName t{len(drawn)}\n"
            roles = assemble_on(IReactorCore(install_reactor()), parse(text, "one.conf"))
            roles.privilegedStartService()
            (role,) = roles
            assert isinstance(role, TunnelService)
            drawn.add(role.port)
            await maybeDeferred(roles.stopService)
        assert 41234 in drawn
        assert len(drawn) >= 3
        assert all(port >= 1024 for port in drawn)

    run_reactor(body())
