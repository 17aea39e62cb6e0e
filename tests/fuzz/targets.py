# SPDX-License-Identifier: MIT
"""The targets by name: a function that raises on a broken promise, and good inputs to begin with."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from twisted.names import dns

from miredo.address.endpoint import endpoint, ipv4_of, show_endpoint, show_ipv4, show_ipv6
from miredo.address.teredo import ALL_NODES, compose, mapped_of
from miredo.kernel.privileged.boxes import encode
from miredo.kernel.privileged.commands import box_of
from miredo.lab.nat import BEHAVIOURS, FAMILIAR, NatBehaviour, PortAssignment
from miredo.teredo.mire import Mire
from miredo.teredo.recording import Recorder
from miredo.teredo.relay import Relay
from miredo.teredo.server import Server
from miredo.teredo.snapshots import dump
from miredo.wire.bubble import emit_bubble
from miredo.wire.icmpv4 import PORT_UNREACHABLE, emit_unreachable
from miredo.wire.icmpv6 import EchoRequest, emit_icmpv6
from miredo.wire.ipv4 import IPv4Packet, emit_ipv4_packet
from miredo.wire.ipv6 import HEADER_LENGTH, UDP
from miredo.wire.trailers import NonceTrailer, emit_trailer
from miredo.wire.udp import UDPDatagram, emit_udp
from tests.fuzz import accesslists, cores, gateway, parsers, translation
from tests.fuzz.cores import Answering
from tests.fuzz.trial import ADDRESSES, DURATIONS, ENDPOINTS, SCOPE, Dice, Kind, Step, teredo
from tests.kernel.privileged.test_permits import PERMITTED
from tests.teredo.cores import (
    MAPPED,
    NATIVE,
    PEER,
    PEER_MAPPED,
    PRIMARY_ENDPOINT,
    RELAY,
    SECONDARY_ENDPOINT,
)
from tests.wire.vectors import CLIENT_A, CLIENT_B, SERVER, SERVER_B, VECTORS

ETC = Path(__file__).parents[2] / "etc"
ALIASED = (
    ("teredo.example.org", dns.Record_CNAME("alias.example.org")),
    ("alias.example.org", dns.Record_A("192.0.2.1")),
)
EXAMPLES = ("miredo.conf", "miredo-server.conf", "lab.conf", "mire.conf")


class Target(NamedTuple):
    """C{run} raises if its input breaks a promise; C{seeds} are inputs that get far; C{longest} is in bytes."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    longest: int = 512


def datagrams() -> Iterator[bytes]:
    yield from (vector for name, vector in VECTORS.items() if not name.startswith(("addr_", "lla_", "tr_")))


def packets() -> Iterator[bytes]:
    yield from (vector for vector in VECTORS.values() if vector[0] >> 4 == 6)


def trailers() -> Iterator[bytes]:
    yield from (vector for name, vector in VECTORS.items() if name.startswith("tr_"))
    yield from (vector[HEADER_LENGTH:] for name, vector in VECTORS.items() if name.startswith("bubble_"))


def ipv4_packets() -> Iterator[bytes]:
    for options in (b"", bytes(4)):
        yield emit_ipv4_packet(IPv4Packet(0, 1, True, False, 0, 64, 17, SERVER, SERVER_B, b"payload", options))


def icmp_errors() -> Iterator[bytes]:
    """About a UDP datagram with options and without, as little of it as must be quoted."""
    for options in (b"", bytes(4)):
        udp = emit_udp(UDPDatagram(3544, 4096, b""), SERVER, SERVER_B)
        quote = emit_ipv4_packet(IPv4Packet(0, 1, True, False, 0, 64, UDP, SERVER, SERVER_B, udp, options))
        yield emit_unreachable(PORT_UNREACHABLE, 0, quote)


def udp_datagrams() -> Iterator[bytes]:
    for ends in ((SERVER, SERVER_B), (CLIENT_A, CLIENT_B)):
        yield emit_udp(UDPDatagram(3544, 4096, b"payload"), *ends)


def addresses() -> Iterator[bytes]:
    yield from (show_ipv6(address).encode() for address in ADDRESSES)
    yield from (show_endpoint(endpoint).encode() for endpoint in ENDPOINTS[:3])
    yield show_ipv4(SERVER).encode()


def configurations() -> Iterator[bytes]:
    """The examples without their comments, and each line that an example has commented out alone."""
    for name in EXAMPLES:
        lines = (ETC / name).read_text().splitlines()
        said = "\n".join(line for line in lines if line and not line.startswith("#"))
        yield said.encode()
        for line in lines:
            if line[:1] == "#" and line[1:2].isalpha():
                yield f"{said}\n{line[1:]}\n".encode()


def behaviours() -> Iterator[bytes]:
    yield from (str(behaviour).encode() for behaviour in BEHAVIOURS)
    yield from (str(NatBehaviour(ports=ports)).encode() for ports in PortAssignment)
    yield from (f"{name}/lifetime=60/hairpinning/inbound-refresh".encode() for name in FAMILIAR)
    yield b"sequential-symmetric/load=2.5"
    yield b"cone/pool=4/arbitrary"


def recordings() -> Iterator[bytes]:
    """A server that was asked, a relay with somebody to reach, and the values that are in the file."""
    at = Recorder("s", Dice(), lambda: 1.0)
    server = Server((SERVER, SERVER_B), SCOPE)
    at.watch(server)
    server.receive(VECTORS["rs_vista"], MAPPED, 0, 0.0)
    yield at.contents()
    to = Recorder("r", Dice(), lambda: 1.0)
    relay = Relay(SCOPE, to.dice)
    to.watch(relay)
    relay.transmit(emit_bubble(NATIVE, PEER), 1.0)
    yield to.contents()
    yield dump(server)
    yield dump(relay)
    yield dump([None, True, 1, 1.5, "text", b"octets", (1, 2), {1: [2]}, deque([3]), Counter("aab"), OrderedDict(a=1)])


def server_inputs() -> Iterator[bytes]:
    """Each vector from where its sender would be."""
    for outer in (MAPPED, PEER_MAPPED):
        for told in range(4):
            yield from (bytes((ENDPOINTS.index(outer), told)) + vector for vector in datagrams())


def stories() -> Iterator[bytes]:
    """Each way to become trusted, and what follows: the data of a client and of a relay differ in their first byte."""
    peer, native = ADDRESSES.index(PEER), ADDRESSES.index(NATIVE)
    mapped, relay = ENDPOINTS.index(PEER_MAPPED), ENDPOINTS.index(RELAY)
    primary, secondary = ENDPOINTS.index(PRIMARY_ENDPOINT), ENDPOINTS.index(SECONDARY_ENDPOINT)
    ask_peer, ask_native = bytes((Step.PACKET, 0, peer, 0, 0)), bytes((Step.PACKET, 0, native, 0, 0))
    later = bytes((Step.WAIT, 5, Step.WAIT, 12, Step.WAIT, 13))

    def from_peer(outer: int, kind: Kind, source: int) -> bytes:
        return bytes((Step.DATAGRAM, outer, kind, source, 0, 0))

    yield ask_peer + from_peer(mapped, Kind.BUBBLE, peer) + from_peer(mapped, Kind.DATA, peer) + ask_peer + later
    yield ask_peer + from_peer(mapped + 1, Kind.BUBBLE_WITH_NONCE, peer) + later
    yield ask_peer + from_peer(mapped + 1, Kind.ANSWER_TO_KEYED, peer) + ask_peer
    yield (
        ask_peer
        + from_peer(mapped, Kind.BUBBLE, peer)
        + bytes((Step.WAIT, DURATIONS.index(29.9)))
        + ask_peer
        + bytes((Step.WAIT, DURATIONS.index(0.5)))
        + ask_peer  # put off for 2 s, so nothing was asked that a bubble could answer
        + from_peer(mapped + 1, Kind.BUBBLE, peer)
        + later
    )
    yield ask_native + from_peer(relay, Kind.ECHO_REPLY, native) + from_peer(relay, Kind.DATA, native) + ask_native
    yield from_peer(relay, Kind.DATA, native) + from_peer(relay, Kind.ECHO_REPLY, native) + later
    yield bytes((Step.DATAGRAM, primary, Kind.INDIRECT, peer, 0, 1, 1, 0)) * 6
    yield bytes((Step.DATAGRAM, secondary, Kind.INDIRECT, peer, 0, 1, 1, 0)) + later
    yield bytes((Step.SERVER_CHANGES, Answering.SILENT)) + later * 3 + bytes((Step.SERVER_CHANGES, 0)) + later
    for answering in (Answering.MOVED, Answering.SECONDARY_SILENT, Answering.SECONDARY_MOVED):
        yield bytes((Step.SERVER_CHANGES, answering, Step.RESTART)) + ask_native + later
    for offset in (5, 14, 27, 30, 60, 61, 62, 77, 79, 95, 110):
        yield bytes((Step.SERVER_CHANGES, Answering.SPOILT, offset, 0x80, Step.RESUME)) + ask_native
    for name in ("ra_origin", "ra_auth_origin", "bubble_indirect_out"):
        yield bytes((Step.RAW_DATAGRAM, len(VECTORS[name]))) + VECTORS[name] + bytes((primary,))
    yield b"".join(
        bytes((Step.PACKET, 0, ADDRESSES.index(teredo(number)), 0, 0))
        + from_peer(ENDPOINTS.index(mapped_of(teredo(number))), Kind.BUBBLE, ADDRESSES.index(teredo(number)))
        for number in range(6)
    )
    to_everybody = b"".join(bytes((Step.PACKETS, 0, where, 20)) for where in range(len(ADDRESSES)))
    yield to_everybody
    yield to_everybody + later
    yield bytes((Step.RESTART, Step.EXPIRE_EARLY, Step.FAST_PATH_REPORTS, 0)) + ask_peer + b"\x08"


def relay_stories() -> Iterator[bytes]:
    yield from (direct + story for direct in (b"\x00", b"\x01") for story in stories())


def secret_files() -> Iterator[bytes]:
    yield b"# a comment\n\nclient-7 correct horse battery staple\n"
    yield b"a hmac-sha256 hex:" + b"0f" * 16 + b"\nb expiring hmac-md5 another secret of mine\n"


def permitted_commands() -> Iterator[bytes]:
    yield from (encode(box_of(command)) for command in PERMITTED)


def name_answers() -> Iterator[bytes]:
    """An address, and one behind an alias."""
    for records in ((("teredo.example.org", dns.Record_A("192.0.2.1")),), ALIASED):
        message = dns.Message(7, answer=1)
        message.queries = [dns.Query("teredo.example.org", dns.A, dns.IN)]
        message.answers = [dns.RRHeader(name, record.TYPE, dns.IN, 60, record) for name, record in records]
        yield message.toStr()


def mire_inputs() -> Iterator[bytes]:
    """What it answers: a bubble with a nonce to its server's port, and an echo request to its client's."""
    responder = Mire(cores.MIRE, SCOPE).address
    bubble, request = emit_bubble(PEER, responder), emit_icmpv6(NATIVE, responder, EchoRequest(1, 2, b"data"), 64)
    outer = ENDPOINTS.index(PEER_MAPPED)
    yield bytes((outer, 0)) + bubble + emit_trailer(NonceTrailer(b"nonc"))
    yield bytes((ENDPOINTS.index(RELAY), 1)) + request
    yield from (bytes((outer, 0)) + vector for vector in datagrams())


def discovery_inputs() -> Iterator[bytes]:
    """A neighbour's, one from outside the subnet, and all that is no discovery bubble."""
    neighbour = compose(SERVER_B, endpoint(ipv4_of(MAPPED), 8192), 0x1234)
    for last in b"\x03\xff":
        yield bytes([last]) + emit_bubble(neighbour, ALL_NODES, hop_limit=1)
    yield from (b"\x03" + vector for vector in datagrams())


TARGETS = {
    "encapsulation": Target(parsers.encapsulation, datagrams),
    "trailers": Target(parsers.trailers, trailers, longest=128),
    "ipv6": Target(parsers.ipv6, packets),
    "icmpv6": Target(parsers.icmpv6, lambda: (packet[HEADER_LENGTH:] for packet in packets()), longest=256),
    "ipv4": Target(parsers.ipv4, ipv4_packets, longest=128),
    "icmpv4": Target(parsers.icmpv4, icmp_errors, longest=128),
    "udp": Target(parsers.udp, udp_datagrams, longest=64),
    "address": Target(parsers.address, addresses, longest=64),
    "config": Target(parsers.config, configurations, longest=1024),
    "recording": Target(parsers.recording, recordings, longest=4096),
    "nat": Target(parsers.nat, behaviours, longest=128),
    "client": Target(cores.client, stories, longest=1024),
    "relay": Target(cores.relay, relay_stories, longest=1024),
    "server": Target(cores.server, server_inputs, longest=256),
    "mire": Target(cores.mire, mire_inputs, longest=256),
    "discovery": Target(cores.discovery, discovery_inputs, longest=256),
    "secrets": Target(parsers.secrets, secret_files, longest=256),
    "commands": Target(parsers.commands, permitted_commands, longest=256),
    "name-answer": Target(parsers.name_answer, name_answers),
    "access": Target(accesslists.access, accesslists.files, longest=accesslists.LONGEST),
    "ftp": Target(gateway.ftp, gateway.sessions, longest=256),
    "dns64": Target(translation.dns64, translation.conversations, longest=translation.LONGEST),
}
