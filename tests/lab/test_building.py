# SPDX-License-Identifier: MIT
"""The laboratory in namespaces: packets cross where its topology says so, with no program but this one."""

import os
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorCore, IReactorTime

from miredo.address.endpoint import IPv6, parse_ipv4, parse_ipv6
from miredo.assembly import assemble_on
from miredo.config import load, parse
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.memory import MemoryClock
from miredo.kernel.namespaces import DIRECTORY, entered
from miredo.lab.building import Laboratory
from miredo.lab.links import Link
from miredo.lab.live import Demonstration
from miredo.lab.nat import BEHAVIOURS, Filtering, Mapping, NatBehaviour
from miredo.lab.pings import Ping
from miredo.lab.pingsocket import PingSocket, is_configured
from miredo.lab.plan import USUAL_NAT, Scenario
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET, End, Route, Topology, Wire
from miredo.lab.upload import CHUNK, Upload
from miredo.wire.ipv4 import parse_ipv4_packet
from tests.kernel.bench import Recorder
from tests.namespaced import install_reactor, pause, run_reactor, until

LAB_FILE = Path(__file__).parents[2] / "etc" / "lab.conf"
OPEN = NatBehaviour(Mapping.ENDPOINT_INDEPENDENT, Filtering.ENDPOINT_INDEPENDENT)
RELAY6, SERVER6 = parse_ipv6("2001:db8:2::1"), parse_ipv6("2001:db8:1::1")


def laboratory(topology: Topology = TEREDO_INTERNET) -> Laboratory:
    reactor = install_reactor()
    return Laboratory(topology, lambda node: KernelEndpoints(node, reactor), BoottimeClock(reactor), os.urandom)


def running(behaviour: NatBehaviour = USUAL_NAT) -> Laboratory:
    """Built, and its NATs at work."""
    built = laboratory()
    built.build(dict.fromkeys(("client-a", "client-b"), behaviour))
    built.start()
    return built


async def pinged(node: str, destination: IPv6) -> Ping:
    """An echo request of C{node}, answered."""
    reactor = install_reactor()
    with PingSocket(node, reactor, BoottimeClock(reactor), os.urandom) as pinging:
        ping = pinging.ping(destination)
        await until(lambda: ping.answered is not None)
    return ping


async def crosses(source: str, destination: str, address: str) -> tuple[str, int]:
    """Let a datagram go to a node; the source that it comes with."""
    reactor = install_reactor()
    recorder = Recorder()
    far = KernelEndpoints(destination, reactor).listen_udp(recorder, address, 3544)
    near = KernelEndpoints(source, reactor).listen_udp(Recorder(), "0.0.0.0", 40000)
    near.write(b"hello", (address, 3544))
    await until(lambda: recorder.received != [])
    for port in (far, near):
        await maybeDeferred(port.stopListening)
    assert recorder.received[0][0] == b"hello"
    return recorder.received[0][1]


def in_the_lab(body: Callable[[Laboratory], Awaitable[None]], behaviour: NatBehaviour = USUAL_NAT) -> None:
    async def whole() -> None:
        built = running(behaviour)
        await until(lambda: built.is_ready)
        await body(built)
        built.close()

    run_reactor(whole())


@pytest.mark.namespaced
def test_the_native_network_joins_host_server_and_relay(closes_descriptors: None) -> None:
    async def body(_: Laboratory) -> None:
        for node, destination in (
            ("host", RELAY6),
            ("relay", HOST_ADDRESS),
            ("server", HOST_ADDRESS),
            ("host", SERVER6),
        ):
            rtt = (await pinged(node, destination)).rtt
            assert rtt is not None
            assert 0 < rtt < 1

    in_the_lab(body)


@pytest.mark.namespaced
def test_the_ipv4_internet_joins_server_and_relay_and_the_nats_of_the_clients() -> None:
    async def body(lab: Laboratory) -> None:
        assert await crosses("relay", "server", "192.0.2.1") == ("192.0.2.17", 40000)
        assert await crosses("server", "relay", "192.0.2.17") == ("192.0.2.1", 40000)
        assert await crosses("client-a", "server", "192.0.2.2") == ("198.51.100.1", 40000)
        assert await crosses("client-b", "relay", "192.0.2.17") == ("198.51.100.2", 40000)
        assert {node: box.nat.mappings for node, box in lab.nats.items()} == {"client-a": 1, "client-b": 1}

    in_the_lab(body)


@pytest.mark.namespaced
def test_a_client_has_no_native_ipv6() -> None:
    async def body(_: Laboratory) -> None:
        reactor = install_reactor()
        pinging = PingSocket("client-a", reactor, BoottimeClock(reactor), os.urandom)
        with pinging, pytest.raises(OSError, match="unreachable"):
            pinging.ping(HOST_ADDRESS)

    in_the_lab(body)


@pytest.mark.namespaced
def test_an_open_nat_lets_the_other_client_in() -> None:
    async def body(_: Laboratory) -> None:
        reactor = install_reactor()
        client = Recorder()
        near = KernelEndpoints("client-a", reactor).listen_udp(client, "0.0.0.0", 40000)
        other = KernelEndpoints("client-b", reactor).listen_udp(Recorder(), "0.0.0.0", 40000)
        near.write(b"open", ("192.0.2.1", 9))
        await pause(0.02)
        other.write(b"hello", ("198.51.100.1", 40000))
        await until(lambda: client.received == [(b"hello", ("198.51.100.2", 40000))])
        for port in (near, other):
            await maybeDeferred(port.stopListening)

    in_the_lab(body, OPEN)


@pytest.mark.namespaced
def test_nothing_but_the_kernel_builds_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """No ip, no nft, no ping: there is nothing on the path, and no netfilter table afterwards."""
    monkeypatch.setenv("PATH", "/nonexistent")

    async def body(_: Laboratory) -> None:
        assert await crosses("client-a", "server", "192.0.2.1") == ("198.51.100.1", 40000)
        for node in TEREDO_INTERNET.nodes:
            with entered(node):
                assert netfilter_tables() == 0

    in_the_lab(body)


def netfilter_tables() -> int:
    """How many tables nf_tables has in the namespace of this thread; 0 where the kernel has no nf_tables."""
    netlink_netfilter, get_table, new_table, dump = 12, 0x0A01, 0x0A00, 0x301
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink_netfilter) as asking:
        asking.send(struct.pack("=IHHIIBBH", 20, get_table, dump, 1, 0, 0, 0, 0))
        answer = asking.recv(65536)
    kinds = []
    while len(answer) >= 16:
        length, kind = struct.unpack_from("=IH", answer)
        kinds.append(kind)
        answer = answer[(length + 3) & ~3 :]
    return kinds.count(new_table)


@pytest.mark.namespaced
def test_packets_on_a_wire_have_their_checksums() -> None:
    """A capture between two nodes shows what a real wire would, not what offloading leaves to be filled in."""

    async def body(_: Laboratory) -> None:
        with entered("core"):
            hearing = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(0x0800))
            hearing.bind(("relay", 0x0800))
        with hearing:
            await crosses("relay", "server", "192.0.2.1")
            raw = hearing.recv(2048)
        header = parse_ipv4_packet(raw)
        udp = header.payload
        pseudo = header.source + header.destination + bytes([0, 17]) + len(udp).to_bytes(2, "big")
        words = pseudo + udp + bytes(len(udp) % 2)
        total = sum(int.from_bytes(words[at : at + 2], "big") for at in range(0, len(words), 2))
        assert total % 0xFFFF == 0
        assert udp[6:8] != bytes(2)
        assert header.dont_fragment is False

    in_the_lab(body)


@pytest.mark.namespaced
def test_the_end_of_a_lab_takes_the_nats_devices() -> None:
    async def body() -> None:
        built = running()
        network = KernelEndpoints("client-a", install_reactor()).network()
        assert sorted(network.links()) == ["lan", "lo"]
        built.close()
        await pause(0)
        assert network.links() == ["lo"]
        assert sorted(os.listdir(DIRECTORY)) == sorted(TEREDO_INTERNET.nodes)
        network.close()

    run_reactor(body())


@pytest.mark.namespaced
def test_what_the_kernel_refuses_is_named() -> None:
    twice = Wire(End("here", "cable", ("192.0.2.1/24",)), End("there", "cable", ("192.0.2.2/24",)))
    with pytest.raises(OSError, match="interfaces cable and cable: File exists"):
        laboratory(Topology(("here", "there"), (twice, twice), (), (), (), ())).build({})


@pytest.mark.namespaced
def test_a_lab_is_built_once() -> None:
    laboratory(Topology(("here",), (), (), (), (), ())).build({})
    with pytest.raises(FileExistsError, match="network namespace here: File exists"):
        laboratory(Topology(("here",), (), (), (), (), ())).build({})


# ---------------------------------------------------------------- what is done in it


@pytest.mark.namespaced
@pytest.mark.parametrize("behaviour", [BEHAVIOURS[0], USUAL_NAT], ids=str)
def test_a_demonstration_runs_in_one_reactor_and_closes_what_it_opens(
    behaviour: NatBehaviour, closes_descriptors: None
) -> None:
    from twisted.internet import reactor

    report = Demonstration(reactor, Scenario(behaviour), load(LAB_FILE)).run()
    assert report.failure is None
    assert report.ok
    assert report.qualified is not None
    assert report.qualified < 1
    assert [node for node, addresses in report.nodes.items() if addresses] == [
        "server",
        "relay",
        "host",
        "client-a",
        "client-b",
    ]


TOGETHER = """
[server s]
Namespace server
ServerBindAddress 192.0.2.1

[relay r]
Namespace server
BindAddress 192.0.2.1
BindPort 3545

[client a]
Namespace client-a
ServerAddress 192.0.2.1
"""


@pytest.mark.namespaced
def test_a_server_and_a_relay_on_one_host_serve_their_clients(closes_descriptors: None) -> None:
    """RFC 4380 5.4.3: the bubbles of the relay go to a server at its own address."""
    routes = tuple(route for route in TEREDO_INTERNET.routes if route.destination != "2001::/32")
    topology = replace(
        TEREDO_INTERNET,
        routes=(*routes, Route("six", "2001::/32", "server", "2001:db8:1::1")),
        ipv6_routers=("six", "server"),
    )

    async def whole() -> None:
        built = laboratory(topology)
        built.build(dict.fromkeys(("client-a", "client-b"), USUAL_NAT))
        built.start()
        roles = assemble_on(IReactorCore(install_reactor()), parse(TOGETHER, "together.conf"))
        roles.privilegedStartService()
        roles.startService()
        network = KernelEndpoints("client-a", install_reactor()).network()
        index = network.index_of("teredo")
        assert index is not None
        await until(lambda: any(len(route[0]) == 16 and route[1] == 0 for route in network.routes(index)))
        network.close()
        assert (await pinged("client-a", HOST_ADDRESS)).rtt is not None
        await maybeDeferred(roles.stopService)
        built.close()

    run_reactor(whole())


@pytest.mark.namespaced
def test_every_link_takes_its_time_on_real_packets(closes_descriptors: None) -> None:
    from twisted.internet import reactor

    report = Demonstration(reactor, Scenario(link=Link(delay=0.02)), load(LAB_FILE)).run()
    assert report.ok
    # A solicitation and its answer cross two links each way: the NAT's outside and the server's.
    assert report.qualified is not None
    assert report.qualified >= 4 * 0.02
    # Client, core, relay, native router, host, and back.
    assert min(rtt for rtt in report.rtts if rtt is not None) >= 8 * 0.02


@pytest.mark.namespaced
def test_a_full_disk_ends_the_record_and_is_told(closes_descriptors: None) -> None:
    from twisted.internet import reactor

    with open("/dev/full", "wb") as full:
        report = Demonstration(reactor, Scenario(), load(LAB_FILE), full).run()
    assert report.failure == "the packets could not be recorded: No space left on device"
    assert report.first_ping is not None


@pytest.mark.namespaced
def test_a_demonstration_without_its_interfaces_says_what_failed(tmp_path: Path) -> None:
    from twisted.internet import reactor

    text = LAB_FILE.read_text()
    file = tmp_path / "lab.conf"
    file.write_text(text.replace("InterfaceName teredo", "InterfaceName lan"))
    report = Demonstration(reactor, Scenario(), load(file)).run()
    assert not report.ok
    assert report.failure is not None
    assert "InterfaceName lan: interface lan: exists already" in report.failure


@pytest.mark.namespaced
def test_a_new_address_with_a_route_is_configured_soon(closes_descriptors: None) -> None:
    async def body(_: Laboratory) -> None:
        address = parse_ipv6("2001:0:c000:201::1")
        network = KernelEndpoints("client-a", install_reactor()).network()
        index = network.index_of("lan")
        assert index is not None
        assert not is_configured("client-a", address)
        network.add_address(index, address, 32)
        network.add_route(bytes(16), 0, index)
        await until(lambda: is_configured("client-a", address))
        assert not is_configured("client-b", address)
        network.close()

    in_the_lab(body)


def test_a_ping_that_nobody_answers_has_no_round_trip() -> None:
    assert Ping(MemoryClock().now()).rtt is None
    assert Ping(1.0, 1.5).rtt == 0.5


def test_the_loopback_of_a_lab_is_its_own() -> None:
    """The addresses of the topology are on none of this machine's interfaces: nothing of the lab may be here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trying, pytest.raises(OSError, match="assign requested"):
        trying.bind((".".join(map(str, parse_ipv4("192.0.2.1"))), 0))


@pytest.mark.namespaced
def test_a_black_hole_loses_what_is_forwarded_to_an_address_until_it_is_filled(closes_descriptors: None) -> None:
    address = parse_ipv4("192.0.2.17")

    async def body(lab: Laboratory) -> None:
        lab.black_hole("core", address)
        lab.black_hole("core", parse_ipv4("192.0.2.2"))
        reactor = install_reactor()
        errors: list[bytes] = []
        recorder = Recorder()
        far = KernelEndpoints("relay", reactor).listen_udp(recorder, "192.0.2.17", 3544)
        near = KernelEndpoints("server", reactor).listen_udp(Recorder(), "0.0.0.0", 40000)
        hearing = KernelEndpoints("server", reactor).icmp_errors(errors.append)
        near.write(b"lost", ("192.0.2.17", 3544))
        await pause(0.1)
        assert (recorder.received, errors) == ([], [])
        lab.fill_hole("core", address)
        near.write(b"found", ("192.0.2.17", 3544))
        await until(lambda: [data for data, _ in recorder.received] == [b"found"])
        hearing.close()
        for port in (far, near):
            await maybeDeferred(port.stopListening)

    in_the_lab(body)


@pytest.mark.namespaced
def test_an_upload_goes_on_until_its_end(closes_descriptors: None) -> None:
    async def body(_: Laboratory) -> None:
        upload = Upload(IReactorTime(install_reactor()), "relay", "host", HOST_ADDRESS)
        await until(lambda: upload.received > 5 * len(CHUNK))
        assert upload.received <= upload.sent
        upload.end()
        received = upload.received
        await pause(0.05)
        assert upload.received == received

    in_the_lab(body)
