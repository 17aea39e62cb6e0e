# SPDX-License-Identifier: MIT
"""A Teredo client inside a program: what the program is told, and what the client leaves behind."""

from collections.abc import Callable
from errno import EADDRINUSE
from functools import partial
from pathlib import Path

import pytest
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from miredo.address.endpoint import IPv6, endpoint, parse_ipv4, parse_ipv6
from miredo.address.teredo import compose, mapped_of, server_of
from miredo.kernel.memory import MemoryNetwork
from miredo.service.embedding import Connectivity, TeredoClient
from miredo.teredo.constants import PATIENCE
from miredo.teredo.drops import Drop
from miredo.teredo.security import Credential
from miredo.wire import ipv6
from miredo.wire.icmpv6 import (
    DestinationUnreachable,
    EchoReply,
    EchoRequest,
    ICMPv6Message,
    Unreachable,
    emit_icmpv6,
    parse_icmpv6,
)
from tests.namespaced import logged_failures
from tests.service.internet import CLIENT, HOST, ROLES, SERVER, TeredoInternet, logging

ROLES_OF_OTHERS = ROLES.partition("[client")[0]
UNREACHED = parse_ipv6("2001:db8:3::99")
REQUEST = EchoRequest(7, 1, b"hello")
SECRET = "client-7 correct horse battery staple\n"


class Program:
    """A program with a client, and all that it was told.

    @ivar then: what it does each time that it was told something.
    """

    def __init__(self, internet: TeredoInternet, server: str = SERVER, credential: Credential | None = None) -> None:
        self.packets: list[bytes] = []
        self.qualified: list[Connectivity] = []
        self.lost: list[str] = []
        self.started: list[Connectivity | Failure] = []
        self.then: Callable[[], object] = lambda: None
        self.client = TeredoClient(
            server,
            deliver=self._delivered,
            qualified=self._has_qualified,
            lost=self._has_lost,
            credential=credential,
            endpoints=internet.client,
            clock=internet.clock,
        )

    def start(self) -> Deferred[Connectivity]:
        """Start the client; what comes of it goes to C{started}."""
        outcome = self.client.start()
        outcome.addBoth(self.started.append)
        return outcome

    def ping(self, destination: IPv6 = HOST) -> bytes:
        """Send an echo request, which it gives back."""
        assert self.client.connectivity is not None
        packet = emit_icmpv6(self.client.connectivity.address.packed, destination, REQUEST, 64)
        self.client.send(packet)
        return packet

    def failure(self) -> BaseException:
        """What its one start failed with."""
        (failure,) = self.started
        assert isinstance(failure, Failure)
        assert failure.value is not None
        return failure.value

    def _delivered(self, packet: bytes) -> None:
        self.packets.append(packet)
        self.then()

    def _has_qualified(self, connectivity: Connectivity) -> None:
        self.qualified.append(connectivity)
        self.then()

    def _has_lost(self, reason: str) -> None:
        self.lost.append(reason)
        self.then()


def internet_of_others(text: str = ROLES_OF_OTHERS) -> TeredoInternet:
    """A server, a relay and a native host, which run."""
    internet = TeredoInternet(text)
    internet.start()
    internet.run()
    return internet


def qualified() -> tuple[TeredoInternet, Program]:
    internet = internet_of_others()
    program = Program(internet)
    program.start()
    internet.run()
    assert len(program.started) == 1
    return internet, program


def message_in(packet: bytes) -> ICMPv6Message:
    """A message whose checksum is right."""
    return parse_icmpv6(ipv6.parse_ipv6(packet)[0])


def ended(outcome: Deferred[None]) -> bool:
    """Whether that has come to its end."""
    ends: list[None] = []
    outcome.addCallback(ends.append)
    return ends == [None]


def left_by(internet: TeredoInternet) -> tuple[list[str], list[float]]:
    """What a client has open and armed; the server and the relay, idle, have no alarm armed."""
    return internet.client.open_things(), internet.clock.armed


# ---------------------------------------------------------------- an address


def test_the_first_address_comes_out_of_the_start() -> None:
    _, program = qualified()
    (connectivity,) = program.started
    assert isinstance(connectivity, Connectivity)
    address = connectivity.address.packed
    assert server_of(address) == parse_ipv4(SERVER)
    assert connectivity.mapped == ("198.51.100.7", 32768)
    assert mapped_of(address) == endpoint(CLIENT, 32768)
    assert connectivity.mtu == 1280
    assert program.qualified == [connectivity]
    assert program.client.connectivity == connectivity


def test_a_changed_mapping_is_another_address() -> None:
    internet, program = qualified()
    network = MemoryNetwork(internet.client.stack, {})
    index = network.index_of("eth0")
    assert index is not None
    network.delete_address(index, CLIENT, 24)
    network.add_address(index, parse_ipv4("198.51.100.8"), 24)
    internet.run()
    first, second = program.qualified
    assert (first.mapped[0], second.mapped[0]) == ("198.51.100.7", "198.51.100.8")
    assert program.client.connectivity == second
    assert len(program.started) == 1


def test_a_change_of_the_network_that_is_none_of_ipv4_asks_nobody() -> None:
    internet, program = qualified()
    armed = internet.clock.armed
    internet.client.stack.add_link("eth1")
    internet.run()
    assert internet.clock.armed == armed
    assert len(program.qualified) == 1


def test_a_server_that_falls_silent_is_a_lost_address() -> None:
    internet, program = qualified()
    internet.service("server s").stopService()
    with logging() as logged:
        internet.run(45.0)
    assert program.lost == ["no reply from the server"]
    assert program.client.connectivity is None
    assert logged.at("warn") == [f"No reply from Teredo server ({SERVER}:3544)"]


def test_a_silent_server_is_asked_until_it_answers() -> None:
    internet = TeredoInternet(ROLES_OF_OTHERS)
    program = Program(internet)
    program.start()
    internet.run(60.0)
    assert program.started == []
    internet.start()
    internet.run(20.0)
    assert program.started == program.qualified != []


def test_to_cancel_the_start_ends_the_waiting_only() -> None:
    internet = TeredoInternet(ROLES_OF_OTHERS)
    program, patience = Program(internet), Clock()
    outcome = program.client.start().addTimeout(3, patience)
    outcome.addErrback(lambda failure: program.started.append(failure))
    patience.advance(3)
    assert isinstance(program.failure(), defer.TimeoutError)
    internet.start()
    internet.run(30.0)
    assert len(program.qualified) == 1
    assert program.client.connectivity is not None


def test_a_client_with_the_secret_of_its_server_qualifies(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(SECRET.replace("client-7 ", "client-7 expiring "))
    file.chmod(0o600)
    lines = f"SecretFile {file}\nRequireSecret yes\nServerBindAddress"
    internet = internet_of_others(ROLES_OF_OTHERS.replace("ServerBindAddress", lines))
    identifier, _, secret = SECRET.strip().partition(" ")
    for credential in (None, Credential(identifier.encode(), secret.encode())):
        program = Program(internet, credential=credential)
        program.start()
        with logging() as logged:
            internet.run(1.0)
        assert len(program.qualified) == (credential is not None)
        program.client.stop()
    assert logged.at("warn") == [f"the server {SERVER}:3544 says that our secret is to be replaced"]


# ---------------------------------------------------------------- packets


def test_a_ping_of_the_program_is_answered() -> None:
    internet, program = qualified()
    program.ping()
    internet.run()
    assert [message_in(packet) for packet in program.packets] == [EchoReply(7, 1, b"hello")]


def test_a_ping_of_the_native_host_is_for_the_program_to_answer() -> None:
    internet, program = qualified()
    assert program.client.connectivity is not None
    own = program.client.connectivity.address.packed
    ping = internet.host.ping(HOST, own, internet.clock.now())
    internet.run()
    (packet,) = program.packets
    request = message_in(packet)
    assert isinstance(request, EchoRequest)
    program.client.send(emit_icmpv6(own, HOST, EchoReply(*request), 64))
    internet.run()
    assert ping.answered is not None


def check_unreachable(packet: bytes, about: bytes) -> None:
    """It is an error from a host to itself, which quotes the packet."""
    parsed, rest = ipv6.parse_ipv6(packet)
    assert (parsed.source, parsed.destination, parsed.hop_limit, rest) == (about[8:24], about[8:24], 64, b"")
    assert parse_icmpv6(parsed) == DestinationUnreachable(Unreachable.ADDRESS, about[: 1280 - 48])


def test_what_cannot_be_reached_comes_back_as_an_error() -> None:
    internet, program = qualified()
    packet = program.ping(UNREACHED)
    internet.run(PATIENCE - 0.1)
    assert program.packets == []
    internet.run(0.2)
    (error,) = program.packets
    check_unreachable(error, packet)


def test_what_is_sent_without_an_address_comes_back_at_once() -> None:
    internet = TeredoInternet(ROLES_OF_OTHERS)
    program = Program(internet)
    program.start()
    source = compose(parse_ipv4(SERVER), endpoint(CLIENT, 1), 0)
    packet = emit_icmpv6(source, HOST, EchoRequest(1, 1, bytes(1280 - 48)), 64)
    program.client.send(packet)
    (error,) = program.packets
    assert len(error) == 1280
    check_unreachable(error, packet)


def test_a_packet_with_another_source_is_dropped_and_counted() -> None:
    _, program = qualified()
    program.client.send(emit_icmpv6(UNREACHED, HOST, REQUEST, 64))
    assert program.client.drops == {Drop.WRONG_SOURCE: 1}


def test_nothing_is_sent_to_a_peer_that_would_be_this_host() -> None:
    _, program = qualified()
    program.ping(compose(parse_ipv4(SERVER), endpoint(CLIENT, 9), 0))
    assert program.client.drops == {Drop.FORBIDDEN_IPV4: 1}


@pytest.mark.parametrize("packet", [b"", b"\x45" + bytes(59), b"\x60" + bytes(38), b"\x60" + bytes(40)])
def test_what_is_no_packet_is_refused(packet: bytes) -> None:
    _, program = qualified()
    with pytest.raises(ValueError, match="not one whole IPv6 packet"):
        program.client.send(packet)


def test_a_packet_that_is_too_long_is_refused() -> None:
    _, program = qualified()
    assert program.client.connectivity is not None
    own = program.client.connectivity.address.packed
    program.client.send(emit_icmpv6(own, HOST, EchoRequest(1, 1, bytes(1280 - 48)), 64))
    with pytest.raises(ValueError, match="a packet of 1281 bytes; 1280 is the most"):
        program.client.send(emit_icmpv6(own, HOST, EchoRequest(1, 1, bytes(1281 - 48)), 64))


# ---------------------------------------------------------------- the program does things while it is told


def test_what_the_program_sends_while_it_is_told_goes_out() -> None:
    internet, program = qualified()

    def then() -> None:
        if len(program.packets) < 4:
            program.ping()

    program.then = then
    program.ping()
    internet.run()
    assert [message_in(packet) for packet in program.packets] == [EchoReply(7, 1, b"hello")] * 4


def test_errors_do_not_pile_up_calls_upon_calls() -> None:
    internet = TeredoInternet(ROLES_OF_OTHERS)
    program = Program(internet)
    program.start()
    packet = emit_icmpv6(compose(parse_ipv4(SERVER), endpoint(CLIENT, 1), 0), HOST, REQUEST, 64)
    depth: list[int] = []

    def then() -> None:
        depth.append(1)
        assert len(depth) == 1
        program.client.send(packet)
        depth.pop()

    program.then = then
    program.client.send(packet)
    assert len(program.packets) == 10  # an ICMPv6 sender is limited (RFC 4443 2.4 (f))


def test_what_the_program_raises_is_logged_and_harms_nobody() -> None:
    internet, program = qualified()
    program.then = lambda: 1 // 0
    with logged_failures() as failures:
        program.ping()
        internet.run()
        program.ping()
        internet.run()
    assert [failure.type for failure in failures] == [ZeroDivisionError] * 2
    assert len(program.packets) == 2


def test_a_program_that_raises_when_it_is_told_of_its_address_has_it_all_the_same() -> None:
    internet = internet_of_others()
    program = Program(internet)
    program.then = lambda: 1 // 0
    program.start()
    with logged_failures() as failures:
        internet.run()
    assert program.started == program.qualified
    assert [failure.type for failure in failures] == [ZeroDivisionError]


def test_a_program_may_stop_as_soon_as_it_is_told_of_its_address() -> None:
    internet = internet_of_others()
    program = Program(internet)
    program.then = program.client.stop
    program.start()
    with logged_failures() as failures:
        internet.run(100.0)
    assert isinstance(program.failure(), CancelledError)
    assert (len(program.qualified), program.packets, program.lost) == (1, [], [])
    assert (left_by(internet), failures) == (([], []), [])


@pytest.mark.parametrize("warm", [False, True], ids=["first packet", "packet of a trusted peer"])
def test_a_program_may_stop_as_soon_as_it_gets_a_packet(warm: bool) -> None:
    internet, program = qualified()
    if warm:
        program.ping()
        internet.run()
        program.packets.clear()
    program.then = program.client.stop
    program.ping()
    program.ping()
    with logged_failures() as failures:
        internet.run()
    assert (len(program.packets), program.lost, failures) == (1, [], [])
    assert internet.client.open_things() == []


@pytest.mark.parametrize("stops", [False, True])
def test_of_packets_that_come_together_a_program_that_stops_gets_the_first(stops: bool) -> None:
    internet, program = qualified()
    if stops:
        program.then = program.client.stop
    assert program.client.connectivity is not None
    for _ in range(3):
        internet.host.ping(HOST, program.client.connectivity.address.packed, internet.clock.now())
    internet.run()
    assert len(program.packets) == (1 if stops else 3)


def test_a_program_may_stop_as_soon_as_it_is_told_of_a_lost_address() -> None:
    internet, program = qualified()
    internet.service("server s").stopService()
    program.then = program.client.stop
    with logged_failures() as failures:
        internet.run(100.0)
    assert (len(program.lost), failures) == (1, [])
    assert left_by(internet) == ([], [])


# ---------------------------------------------------------------- the end


def test_a_stopped_client_leaves_nothing_and_says_nothing() -> None:
    internet, program = qualified()
    assert internet.client.open_things() == ["port 32768"]
    assert ended(program.client.stop())
    assert left_by(internet) == ([], [])
    internet.run(100.0)
    assert (program.client.connectivity, program.lost) == (None, [])


def test_a_client_may_be_stopped_before_it_has_an_address() -> None:
    internet = TeredoInternet(ROLES_OF_OTHERS)
    program = Program(internet)
    program.start()
    assert ended(program.client.stop())
    assert isinstance(program.failure(), CancelledError)
    assert left_by(internet) == ([], [])


def test_stopped_twice_is_stopped_once() -> None:
    internet, program = qualified()
    assert [ended(program.client.stop()), ended(program.client.stop())] == [True, True]
    assert left_by(internet) == ([], [])


def test_a_client_that_never_ran_can_be_stopped() -> None:
    assert ended(Program(TeredoInternet(ROLES_OF_OTHERS)).client.stop())


def test_a_client_that_sleeps_does_not_wake_when_it_is_stopped() -> None:
    internet, program = qualified()
    program.client.stop()
    internet.clock.suspend(3600)
    internet.run()
    assert left_by(internet) == ([], [])


def test_a_stopped_client_can_be_started_again() -> None:
    internet, program = qualified()
    program.client.stop()
    program.start()
    internet.run()
    assert program.started == program.qualified
    assert len(program.qualified) == 2
    program.ping()
    internet.run()
    assert len(program.packets) == 1


def test_a_client_that_runs_is_not_started_again() -> None:
    internet, program = qualified()
    failures: list[Failure] = []
    program.client.start().addErrback(failures.append)
    assert [failure.type for failure in failures] == [RuntimeError]
    assert internet.client.open_things() == ["port 32768"]


def test_nothing_is_sent_by_a_client_that_does_not_run() -> None:
    _, program = qualified()
    program.client.stop()
    with pytest.raises(RuntimeError, match="not running"):
        program.client.send(emit_icmpv6(UNREACHED, HOST, REQUEST, 64))


def test_a_port_that_cannot_be_had_leaves_nothing() -> None:
    internet = internet_of_others()
    internet.client.listen_udp(DatagramProtocol(), "0.0.0.0", 4444)
    client = TeredoClient(SERVER, port=4444, endpoints=internet.client, clock=internet.clock)
    failures: list[Failure] = []
    client.start().addErrback(failures.append)
    (failure,) = failures
    assert isinstance(failure.value, OSError)
    assert failure.value.errno == EADDRINUSE
    assert "UDP 0.0.0.0 port 4444" in str(failure.value)
    assert left_by(internet) == (["port 4444"], [])
    assert ended(client.stop())


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            partial(TeredoClient, "a.example"),
            "server: 'a.example' is not an IPv4 address; names are not",
        ),
        (partial(TeredoClient, "2001:db8::1"), "server: '2001:db8::1' is not an IPv4 address"),
        (partial(TeredoClient, "10.9.8.1"), r'10.9.8.1 is in 10.0.0.0/8 \(private .* says allow=\("10.0.0.0/8",\)$'),
        (partial(TeredoClient, "127.0.0.1"), r"server: 127.0.0.1 is in 127.0.0.0/8 \(loopback, .* does not use$"),
        (partial(TeredoClient, "9.255.255.255"), "second_server: 10.0.0.0 is in 10.0.0.0/8"),
        (partial(TeredoClient, SERVER, second_server="192.0.2.256"), "second_server: '192.0.2.256' is not an IPv4"),
        (partial(TeredoClient, SERVER, second_server="192.168.0.1"), "second_server: 192.168.0.1 is in 192.168.0.0/16"),
        (partial(TeredoClient, SERVER, second_server=SERVER), "second_server: a server has two addresses, and these"),
        (partial(TeredoClient, SERVER, address="localhost"), "address: 'localhost' is not an IPv4 address"),
        (partial(TeredoClient, SERVER, allow="10.0.0.0/8"), r"is one text; .* such as \('10.0.0.0/8',\)"),
        (partial(TeredoClient, SERVER, allow=["10.0.0.1/8"]), "allow: '10.0.0.1/8' is not an IPv4 range"),
        (partial(TeredoClient, SERVER, port=-1), "port: -1 is not a UDP port"),
        (partial(TeredoClient, SERVER, port=65536), "port: 65536 is not a UDP port"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused_at_once(make: Callable[[], TeredoClient], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_a_reactor_that_reads_no_descriptors_is_told_what_it_lacks() -> None:
    with pytest.raises(TypeError, match="Clock does not provide IReactorFDSet and IReactorSocket; a Teredo client"):
        TeredoClient(SERVER, reactor=Clock())


def test_a_private_server_is_used_where_it_is_allowed() -> None:
    internet = TeredoInternet(ROLES_OF_OTHERS)
    client = TeredoClient("10.9.8.1", allow=("10.0.0.0/8",), endpoints=internet.client, clock=internet.clock)
    failures: list[Failure] = []
    client.start().addErrback(failures.append)
    internet.run()
    assert [destination for _, destination, _ in internet.net.lost] == [(bytes([10, 9, 8, 1]), 3544)]
    client.stop()
    assert [failure.type for failure in failures] == [CancelledError]
