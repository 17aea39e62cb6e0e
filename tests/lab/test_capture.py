# SPDX-License-Identifier: MIT
"""A capture of the laboratory: every link, each packet once on each, in the order of time, with the clients' states."""

import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from io import BytesIO
from typing import BinaryIO, NamedTuple

import pytest
from twisted.internet.defer import maybeDeferred

from miredo.address.endpoint import parse_ipv4
from miredo.kernel.clock import BoottimeClock, boottime
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.namespaces import entered
from miredo.lab.building import Laboratory
from miredo.lab.capture import BATCH, GRACE, Capture
from miredo.lab.links import Link
from miredo.lab.pings import Ping
from miredo.lab.pingsocket import PingSocket
from miredo.lab.plan import USUAL_NAT
from miredo.lab.states import History
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET, End, NatPlace, Topology, Wire
from miredo.wire.ipv6 import ICMPV6, UDP
from tests.kernel.bench import Recorder
from tests.lab.test_pcapng import blocks, options
from tests.namespaced import install_reactor, pause, run_reactor, until

SMALL = Topology(
    nodes=("core", "server", "client-a"),
    wires=(Wire(End("core", "server", ("192.0.2.14/28",)), End("server", "wan", ("192.0.2.1/28",))),),
    routes=(),
    nats=(NatPlace("client-a", "192.168.1.2/24", "198.51.100.1", "core"),),
    ipv4_routers=("core",),
    ipv6_routers=(),
)
"""A server and a client."""


class KeptBytes(BytesIO):
    """A file whose content can be read after it was closed."""

    content = b""

    def close(self) -> None:
        if not self.closed:
            self.content = self.getvalue()
        super().close()


class Recorded(NamedTuple):
    """A packet of a file: the name of its link, its time in seconds since 1970."""

    link: str
    at: float
    packet: bytes
    comment: str


class Contents(NamedTuple):
    """What a file holds; the losses are those that its interface statistics tell, by link."""

    links: list[str]
    packets: list[Recorded]
    lost: dict[str, int]

    def of(self, payload: bytes) -> list[Recorded]:
        """Where a UDP datagram was seen, in the order of the file."""
        return [each for each in self.packets if each.packet[9] == UDP and each.packet.endswith(payload)]


def contents(file: bytes) -> Contents:
    """Read a whole file."""
    found = Contents([], [], {})
    for kind, body in blocks(file):
        if kind == 1:
            found.links.append(dict(options(body[8:]))[2].decode())
        elif kind == 6:
            found.packets.append(_recorded(found.links, body))
        elif kind == 5:
            (number,) = struct.unpack_from("<I", body)
            (found.lost[found.links[number]],) = struct.unpack("<Q", dict(options(body[12:]))[5])
    return found


def _recorded(links: list[str], body: bytes) -> Recorded:
    number, high, low, length, _ = struct.unpack_from("<IIIII", body)
    area = body[20 + length + -length % 4 :]
    comment = dict(options(area))[1].decode() if area else ""
    return Recorded(links[number], (high << 32 | low) / 1e9, body[20 : 20 + length], comment)


def recorded(
    body: Callable[[Laboratory], Awaitable[None]],
    *,
    topology: Topology = TEREDO_INTERNET,
    link: Link | None = None,
    history: History | None = None,
) -> tuple[Capture, Contents]:
    """Let something happen in a laboratory: the capture, closed, and what its file holds."""
    file = KeptBytes()
    capture = captured(file, body, topology=topology, link=link, history=history)
    return capture, contents(file.content)


def captured(
    file: BinaryIO,
    body: Callable[[Laboratory], Awaitable[None]],
    *,
    topology: Topology,
    link: Link | None = None,
    history: History | None = None,
) -> Capture:
    """Let something happen in a laboratory with its packets recorded in a file."""

    async def whole() -> Capture:
        reactor = install_reactor()
        clock = BoottimeClock(reactor)
        built = Laboratory(topology, lambda node: KernelEndpoints(node, reactor), clock, os.urandom, link)
        built.build(dict.fromkeys((nat.client for nat in topology.nats), USUAL_NAT))
        capture = Capture(file, topology, reactor, clock, history or History())
        built.start()
        await body(built)
        built.close()
        capture.close()
        return capture

    return run_reactor(whole())


@contextmanager
def sending(node: str) -> Iterator[socket.socket]:
    """A UDP socket of a node."""
    with entered(node):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with opened:
        opened.bind(("0.0.0.0", 40000))
        yield opened


async def crosses(source: str, destination: str, address: str, payload: bytes) -> None:
    """Let a datagram go to a node."""
    recorder = Recorder()
    far = KernelEndpoints(destination, install_reactor()).listen_udp(recorder, address, 3544)
    with sending(source) as near:
        near.sendto(payload, (address, 3544))
        await until(lambda: recorder.received != [])
    await maybeDeferred(far.stopListening)


async def pinged() -> Ping:
    """The relay pings the native host."""
    reactor = install_reactor()
    with PingSocket("relay", reactor, BoottimeClock(reactor), os.urandom) as pinging:
        ping = pinging.ping(HOST_ADDRESS)
        await until(lambda: ping.answered is not None)
    return ping


def received(node: str) -> int:
    """How many IPv4 packets came to a node (the Ip: lines of /proc/net/snmp)."""
    with entered(node), open("/proc/thread-self/net/snmp") as file:
        names, values = (line.split() for line in file if line.startswith("Ip:"))
    return int(dict(zip(names, values, strict=True))["InReceives"])


# ---------------------------------------------------------------- links and packets


@pytest.mark.namespaced
def test_every_link_is_an_interface_and_each_packet_is_on_it_once_in_the_order_of_time(
    closes_descriptors: None,
) -> None:
    async def body(_: Laboratory) -> None:
        await crosses("client-a", "server", "192.0.2.1", b"from the client")
        await crosses("server", "relay", "192.0.2.17", b"from the server")
        await pinged()

    began = time.time()
    capture, file = recorded(body)
    ended = time.time()
    assert capture.failure is None
    assert file.links == [segment.name for segment in TEREDO_INTERNET.segments()]
    assert [seen.link for seen in file.of(b"from the client")] == [
        "client-a--NAT",
        "NAT of client-a--core",
        "core--server",
    ]
    assert [seen.link for seen in file.of(b"from the server")] == ["core--server", "core--relay"]
    pings = [seen.link for seen in file.packets if seen.packet[6] == ICMPV6 and seen.packet[40] in (128, 129)]
    assert pings == ["six--relay", "six--host", "six--host", "six--relay"]
    times = [seen.at for seen in file.packets]
    assert times == sorted(times)
    assert began <= times[0]
    assert times[-1] <= ended


@pytest.mark.namespaced
def test_nothing_but_ip_is_recorded_and_all_of_it_whole() -> None:
    async def body(_: Laboratory) -> None:
        await crosses("client-a", "server", "192.0.2.1", bytes(1472))

    _, file = recorded(body, topology=SMALL)
    assert {seen.packet[0] >> 4 for seen in file.packets} == {4, 6}
    assert [len(seen.packet) for seen in file.of(bytes(1472))] == [1500, 1500, 1500]


@pytest.mark.namespaced
def test_what_a_wire_loses_is_not_on_it(closes_descriptors: None) -> None:
    async def body(_: Laboratory) -> None:
        with sending("core") as core:
            for _number in range(100):
                core.sendto(b"perhaps", ("192.0.2.1", 9))
        await pause(0.2)
        came.append(received("server"))

    came: list[int] = []
    _, file = recorded(body, topology=SMALL, link=Link(delay=0.02, loss=0.5))
    seen = file.of(b"perhaps")
    assert 20 < len(seen) < 80
    assert {packet.link for packet in seen} == {"core--server"}
    assert came == [len(seen)]


@pytest.mark.namespaced
def test_the_time_on_a_wire_is_the_arrival_s() -> None:
    async def body(_: Laboratory) -> None:
        sent.append(time.time())
        await crosses("core", "server", "192.0.2.1", b"hello")

    sent: list[float] = []
    _, file = recorded(body, topology=SMALL, link=Link(delay=0.1))
    (seen,) = file.of(b"hello")
    assert 0.1 <= seen.at - sent[0] < 0.5


@pytest.mark.namespaced
def test_a_nat_s_link_shows_both_directions() -> None:
    async def body(_: Laboratory) -> None:
        recorder = Recorder()
        near = KernelEndpoints("client-a", install_reactor()).listen_udp(recorder, "0.0.0.0", 40000)
        near.write(b"question", ("192.0.2.14", 40000))
        with sending("core") as core:
            await pause(0.05)
            core.sendto(b"answer", ("198.51.100.1", 40000))
            await until(lambda: recorder.received != [])
        await maybeDeferred(near.stopListening)

    _, file = recorded(body, topology=SMALL)
    assert [seen.link for seen in file.of(b"question")] == ["client-a--NAT", "NAT of client-a--core"]
    assert [seen.link for seen in file.of(b"answer")] == ["NAT of client-a--core", "client-a--NAT"]
    assert file.of(b"answer")[1].packet[16:20] == parse_ipv4("192.168.1.2")


@pytest.mark.namespaced
def test_more_packets_than_are_read_at_a_time_are_recorded_all_and_in_order(closes_descriptors: None) -> None:
    async def body(_: Laboratory) -> None:
        await crosses("core", "server", "192.0.2.1", b"the neighbour is known")
        with sending("core") as core, sending("server") as server:
            for number in range(3 * BATCH):
                core.sendto(number.to_bytes(2, "big"), ("192.0.2.1", 9))
                server.sendto(b"between", ("192.0.2.14", 9))
            await pause(0)

    capture, file = recorded(body, topology=SMALL)
    assert capture.failure is None
    numbers = [int.from_bytes(seen.packet[28:], "big") for seen in file.packets if seen.packet[2:4] == b"\0\x1e"]
    assert numbers == list(range(3 * BATCH))
    assert len(file.of(b"between")) == 3 * BATCH
    times = [seen.at for seen in file.packets]
    assert times == sorted(times)


@pytest.mark.namespaced
def test_a_record_is_whole_while_it_goes_on() -> None:
    """Nothing waits for the end: who reads the file meanwhile finds whole blocks, and all but the last moment's."""
    file = KeptBytes()

    async def body(_: Laboratory) -> None:
        await crosses("core", "server", "192.0.2.1", b"the neighbour is known")
        with sending("core") as core:
            core.sendto(b"hello", ("192.0.2.1", 9))
        await pause(10 * GRACE / 1e9)
        assert len(contents(file.getvalue()).of(b"hello")) == 1

    captured(file, body, topology=SMALL)


@pytest.mark.namespaced
def test_not_more_packets_wait_for_their_order_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miredo.lab.capture.GRACE", 10**12)
    monkeypatch.setattr("miredo.lab.capture.KEPT", 3)
    file = KeptBytes()

    async def body(_: Laboratory) -> None:
        await crosses("core", "server", "192.0.2.1", b"the neighbour is known")
        with sending("core") as core:
            for _number in range(20):
                core.sendto(b"hello", ("192.0.2.1", 9))
        await pause(0.05)
        assert 17 <= len(contents(file.getvalue()).of(b"hello")) <= 20

    captured(file, body, topology=SMALL)
    assert len(contents(file.content).of(b"hello")) == 20


@pytest.mark.namespaced
def test_an_interface_that_goes_down_and_up_is_recorded_further(closes_descriptors: None) -> None:
    async def body(_: Laboratory) -> None:
        await crosses("core", "server", "192.0.2.1", b"the neighbour is known")
        with sending("core") as core:
            core.sendto(b"before", ("192.0.2.1", 9))
            await pause(0.02)
            set_up("server", "wan", up=False)
            await pause(0.02)
            set_up("server", "wan", up=True)
            await pause(0.02)
            core.sendto(b"after", ("192.0.2.1", 9))
            await pause(0.02)

    capture, file = recorded(body, topology=SMALL)
    assert capture.failure is None
    assert [seen.link for seen in (*file.of(b"before"), *file.of(b"after"))] == ["core--server"] * 2


def set_up(node: str, interface: str, *, up: bool) -> None:
    """Set the state of an interface (netdevice(7), SIOCSIFFLAGS)."""
    get_flags, set_flags, interface_up = 0x8913, 0x8914, 0x1
    with entered(node), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = ioctl(asking, get_flags, struct.pack("16sh22x", interface.encode(), 0))
        (flags,) = struct.unpack_from("16xh", answer)
        wanted = flags | interface_up if up else flags & ~interface_up
        ioctl(asking, set_flags, struct.pack("16sh22x", interface.encode(), wanted))


# ---------------------------------------------------------------- comments


@pytest.mark.namespaced
def test_a_packet_says_the_state_of_its_time_of_its_nat_s_client_or_of_all() -> None:
    history = History()

    async def body(_: Laboratory) -> None:
        history.note("client-a", boottime(), "soliciting")
        history.note("client-b", boottime(), "idle")
        await crosses("client-a", "server", "192.0.2.1", b"first")
        history.note("client-a", boottime(), "qualified")
        await crosses("client-a", "server", "192.0.2.1", b"second")
        await crosses("client-b", "relay", "192.0.2.17", b"third")

    _, file = recorded(body, history=history)
    assert [(seen.link, seen.comment) for seen in file.of(b"first")] == [
        ("client-a--NAT", "client-a: soliciting"),
        ("NAT of client-a--core", "client-a: soliciting"),
        ("core--server", "client-a: soliciting\nclient-b: idle"),
    ]
    assert file.of(b"second")[-1].comment == "client-a: qualified\nclient-b: idle"
    assert [(seen.link, seen.comment) for seen in file.of(b"third")] == [
        ("client-b--NAT", "client-b: idle"),
        ("NAT of client-b--core", "client-b: idle"),
        ("core--relay", "client-a: qualified\nclient-b: idle"),
    ]


@pytest.mark.namespaced
def test_a_packet_that_is_read_late_has_the_state_of_its_own_time() -> None:
    history = History()

    async def body(_: Laboratory) -> None:
        await crosses("core", "server", "192.0.2.1", b"the neighbour is known")
        with sending("core") as core:
            core.sendto(b"nobody yet", ("192.0.2.1", 9))
            history.note("client-a", boottime(), "soliciting")
            core.sendto(b"early", ("192.0.2.1", 9))
            history.note("client-a", boottime(), "qualified")
            core.sendto(b"late", ("192.0.2.1", 9))

    _, file = recorded(body, topology=SMALL, history=history)
    assert [file.of(payload)[0].comment for payload in (b"nobody yet", b"early", b"late")] == [
        "",
        "client-a: soliciting",
        "client-a: qualified",
    ]


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.namespaced
def test_packets_that_the_kernel_has_no_room_for_are_told_in_the_file_and_of_it() -> None:
    async def body(_: Laboratory) -> None:
        await crosses("core", "server", "192.0.2.1", b"the neighbour is known")
        with sending("core") as core:
            for _number in range(sent):
                core.sendto(bytes(1400), ("192.0.2.1", 9))

    sent = 8000
    capture, file = recorded(body, topology=SMALL)
    lost = file.lost["core--server"]
    assert lost > 0
    assert sum(file.lost.values()) == lost
    assert capture.failure == f"packets are missing from the record, they came too fast: {lost}"
    on_the_wire = [seen for seen in file.packets if seen.link == "core--server" and len(seen.packet) == 1428]
    assert len(on_the_wire) + lost >= sent


@pytest.mark.namespaced
def test_a_whole_record_says_that_nothing_is_missing() -> None:
    async def body(_: Laboratory) -> None:
        await crosses("core", "server", "192.0.2.1", b"hello")

    _, file = recorded(body, topology=SMALL)
    assert file.lost == {"core--server": 0, "client-a--NAT": 0, "NAT of client-a--core": 0}


@pytest.mark.namespaced
def test_a_full_disk_ends_the_record_and_not_the_run(closes_descriptors: None) -> None:
    async def body(_: Laboratory) -> None:
        await crosses("core", "server", "192.0.2.1", b"hello")

    with open("/dev/full", "wb") as full:
        capture = captured(full, body, topology=SMALL)
        assert full.closed
    assert capture.failure == "the packets could not be recorded: No space left on device"


@pytest.mark.namespaced
def test_a_link_that_is_not_there_is_named_and_nothing_stays_open(closes_descriptors: None) -> None:
    file = KeptBytes()

    async def whole() -> None:
        reactor = install_reactor()
        clock = BoottimeClock(reactor)
        nodes = Topology(SMALL.nodes, SMALL.wires, (), (), (), ())
        built = Laboratory(nodes, lambda node: KernelEndpoints(node, reactor), clock, os.urandom)
        built.build({})
        with pytest.raises(OSError, match="capture on lan of client-a: No such device"):
            Capture(file, SMALL, reactor, clock, History())
        built.close()

    run_reactor(whole())
    assert file.closed
