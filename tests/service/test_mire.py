# SPDX-License-Identifier: MIT
"""The echo responder as a service on the fakes, and its protocols on Twisted's own ports."""

from collections import Counter
from errno import EINVAL

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorUDP, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from miredo.address.endpoint import endpoint, parse_ipv4, show_ipv6
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import compose
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.errors import refused
from miredo.kernel.memory import MemoryClock
from miredo.service.daemon import CannotStart
from miredo.service.mire import TeredoMireProtocol, TeredoMireService
from miredo.service.surroundings import Sent
from miredo.teredo.drops import Drop
from miredo.teredo.mire import CLIENT_PORT, SERVER_PORT, Mire
from miredo.wire.bubble import emit_bubble
from miredo.wire.icmpv6 import EchoReply, EchoRequest, emit_icmpv6
from tests.namespaced import install_reactor, run_reactor, until
from tests.service.internet import CLIENT, CLIENT2, HOST, RELAY, ROLES, TeredoInternet, logging

MIRE = "[mire m]\nBindAddress 203.0.113.7\n"
ADDRESS = compose(CLIENT2, endpoint(CLIENT2, CLIENT_PORT), 0)
OUTER = "198.51.100.7", 40000
REQUEST = emit_icmpv6(HOST, ADDRESS, EchoRequest(1, 1, b"data"), 64)
REPLY = emit_icmpv6(ADDRESS, HOST, EchoReply(1, 1, b"data"), 64)


def started(observed: bool = True) -> TeredoInternet:
    """Everything runs, a responder too."""
    internet = TeredoInternet(ROLES + MIRE, observed)
    internet.start()
    internet.run()
    return internet


def responder(internet: TeredoInternet) -> TeredoMireService:
    found = next(role for role in internet.roles if role.name == "mire m")
    assert isinstance(found, TeredoMireService)
    return found


# ---------------------------------------------------------------- on the fakes


def test_a_client_s_ping_is_answered() -> None:
    internet = started()
    ping = internet.ping(ADDRESS)
    internet.run()
    assert ping.rtt == 0.0


def test_a_native_host_s_ping_is_answered_through_the_relay() -> None:
    internet = started()
    ping = internet.host.ping(HOST, ADDRESS, internet.clock.now())
    internet.run()
    assert ping.rtt == 0.0
    relay = endpoint(parse_ipv4(RELAY), 3545)
    assert [sent.to for sent in internet.sent("mire m")] == [relay, relay]


def test_an_observer_hears_what_is_sent() -> None:
    internet = started()
    internet.ping(ADDRESS)
    internet.run()
    bubble, reply = internet.sent("mire m")
    assert [sent.datagram[6] for sent in (bubble, reply)] == [59, 58]
    assert {(sent.to[:4], sent.via, sent.at) for sent in (bubble, reply)} == {(CLIENT, 0, internet.clock.now())}


def test_without_an_observer_pings_are_answered_too() -> None:
    internet = started(observed=False)
    ping = internet.host.ping(HOST, ADDRESS, internet.clock.now())
    internet.run()
    assert ping.answered is not None
    assert internet.events == []


def test_its_address_is_logged_when_it_starts() -> None:
    with logging() as logged:
        started()
    assert f"mire m: Teredo echo responder started (address: {show_ipv6(ADDRESS)})" in logged.at("info")
    assert (logged.at("warn"), logged.at("error"), logged.failures) == ([], [], 0)


def test_it_has_two_ports_and_gives_them_back() -> None:
    internet = started()
    assert internet.classic.open_things() == ["port 3544", "port 3545"]
    assert internet.classic.tunnels == []
    internet.stop()
    assert internet.classic.open_things() == []
    assert internet.clock.armed == []


def test_it_can_be_started_again() -> None:
    internet = started()
    internet.stop()
    internet.start()
    internet.run()
    ping = internet.host.ping(HOST, ADDRESS, internet.clock.now())
    internet.run()
    assert ping.answered is not None


def test_it_does_not_answer_the_host_that_it_runs_on() -> None:
    internet = started()
    service = responder(internet)
    service.protocols[1].datagramReceived(REQUEST, ("203.0.113.7", 40000))
    service.protocols[1].datagramReceived(REQUEST, ("203.0.113.255", 40000))
    assert service.core.drops == {Drop.OWN_ADDRESS: 1, Drop.FORBIDDEN_IPV4: 1}
    assert internet.sent("mire m") == []


def test_a_responder_with_a_range_that_is_allowed_answers_it() -> None:
    internet = TeredoInternet(ROLES + MIRE + "AllowIPv4 10.0.0.0/8\n")
    internet.start()
    for private in ("10.0.0.7", "192.168.0.7"):
        responder(internet).protocols[1].datagramReceived(REQUEST, (private, 40000))
    assert [sent.to[:4] for sent in internet.sent("mire m")] == [parse_ipv4("10.0.0.7")]


@pytest.mark.parametrize("port", [SERVER_PORT, CLIENT_PORT])
def test_a_port_that_is_taken_is_named_and_the_other_one_given_back(port: int) -> None:
    internet = TeredoInternet(ROLES + MIRE)
    internet.classic.listen_udp(DatagramProtocol(), "203.0.113.7", port)
    with pytest.raises(CannotStart) as refusal:
        internet.roles.privilegedStartService()
    said = f"BindAddress 203.0.113.7: UDP 203.0.113.7 port {port}: Address already in use"
    assert str(refusal.value) == f"miredo: lab.conf:12: {said}"
    assert set(internet.classic.open_things()) == {f"port {port}"}


# ---------------------------------------------------------------- the protocols


@implementer(IUDPTransport)
class Written:
    """A port that keeps what it is given, or refuses it."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error
        self.datagrams: list[tuple[bytes, tuple[str, int] | None]] = []

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        if self.error is not None:
            raise self.error
        self.datagrams.append((packet, addr))

    def connect(self, host: str, port: int) -> None:
        raise AssertionError("never connected")

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", "203.0.113.7", CLIENT_PORT)

    def stopListening(self) -> None:
        pass

    def setBroadcastAllowed(self, enabled: bool) -> None:
        pass

    def getBroadcastAllowed(self) -> bool:
        return False


def test_both_ports_answer_from_the_client_s() -> None:
    ports = Written(), Written()
    protocols = TeredoMireProtocol.pair("mire", Mire(CLIENT2, IPv4Scope()), MemoryClock())
    for protocol, port in zip(protocols, ports, strict=True):
        protocol.makeConnection(port)
    protocols[0].datagramReceived(emit_bubble(HOST, ADDRESS), OUTER)
    protocols[1].datagramReceived(REQUEST, OUTER)
    assert ports[0].datagrams == []
    assert ports[1].datagrams == [(emit_bubble(ADDRESS, HOST), OUTER), (REPLY, OUTER)]


def test_an_answer_that_the_system_refuses_is_counted() -> None:
    events: list[object] = []
    _, protocol = TeredoMireProtocol.pair("mire", Mire(CLIENT2, IPv4Scope()), MemoryClock(), events.append)
    protocol.makeConnection(Written(refused(EINVAL, "UDP")))
    protocol.datagramReceived(REQUEST, ("198.51.100.7", 0))
    assert protocol.refused == Counter(datagram=1)
    assert events == [Sent("mire", 1000.0, REPLY, endpoint(parse_ipv4("198.51.100.7"), 0))]


@pytest.mark.parametrize("datagram", [b"", b"\0", b"\0\1" * 9, bytes(1500), b"\x60" + bytes(39)])
def test_rubbish_is_counted_and_raises_nothing(datagram: bytes) -> None:
    for protocol in TeredoMireProtocol.pair("mire", Mire(CLIENT2, IPv4Scope()), MemoryClock()):
        before = protocol.core.drops.total()
        protocol.datagramReceived(datagram, OUTER)
        assert protocol.core.drops.total() == before + 1


class Asking(DatagramProtocol):
    """Keeps what comes, with where it came from."""

    noisy = False

    def __init__(self) -> None:
        self.received: list[tuple[bytes, tuple[str, int]]] = []

    def datagramReceived(self, datagram: bytes, address: tuple[str, int]) -> None:
        self.received.append((datagram, address))


@pytest.mark.namespaced
def test_both_protocols_run_on_stock_ports(closes_descriptors: None) -> None:
    network = KernelEndpoints(None, install_reactor()).network()
    index = network.index_of("lo")
    assert index is not None
    for address in ("203.0.113.7", OUTER[0]):
        network.add_address(index, parse_ipv4(address), 32)
    network.close()

    asking = Asking()

    def listen(protocol: DatagramProtocol, address: str, port: int) -> IListeningPort:
        return IReactorUDP(install_reactor()).listenUDP(port, protocol, address, 65535)

    def ask(datagram: bytes, port: int) -> None:
        assert asking.transport is not None
        asking.transport.write(datagram, ("203.0.113.7", port))

    async def body() -> None:
        first, second = TeredoMireProtocol.pair("mire", Mire(CLIENT2, IPv4Scope()), BoottimeClock(install_reactor()))
        ports = [listen(first, "203.0.113.7", 3544), listen(second, "203.0.113.7", 3545), listen(asking, *OUTER)]
        ask(emit_bubble(HOST, ADDRESS), 3544)
        await until(lambda: len(asking.received) == 1)
        ask(REQUEST, 3545)
        await until(lambda: len(asking.received) == 2)
        assert asking.received == [
            (emit_bubble(ADDRESS, HOST), ("203.0.113.7", 3545)),
            (REPLY, ("203.0.113.7", 3545)),
        ]
        for port in ports:
            await maybeDeferred(port.stopListening)

    run_reactor(body())
