# SPDX-License-Identifier: MIT
"""Our server beside Debian's, asked the same: byte for byte alike; and read by scapy, as another pair of eyes."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_RA, ICMPv6NDOptMTU, ICMPv6NDOptPrefixInfo, IPv6
from scapy.utils6 import teredoAddrExtractInfo
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorCore

from miredo.address.endpoint import endpoint, parse_ipv4, show_ipv4, show_ipv6
from miredo.address.teredo import compose, flags_of
from miredo.assembly import assemble_on
from miredo.config import parse
from miredo.kernel.endpoints import KernelEndpoints
from miredo.wire.bubble import emit_bubble
from miredo.wire.encapsulation import emit_nonce_authentication, parse_encapsulation
from miredo.wire.icmpv6 import EchoRequest, emit_icmpv6
from tests.namespaced import install_reactor, run_reactor, until
from tests.wire.vectors import NONCE, VECTORS

pytestmark = [pytest.mark.interop, pytest.mark.namespaced]

PRIMARY, SECONDARY, ASKER, OTHER = "203.0.113.120", "203.0.113.121", "192.0.2.1", "192.0.2.10"
"""As in the vectors."""
PORT, OTHER_PORT = 4096, 8192
MIREDO_SERVER = "/usr/sbin/miredo-server"
PATIENCE = 0.3
"""Seconds without an answer that are taken for silence."""

ASKED = {name: VECTORS[name] for name in ("rs_vista", "rs_vista_auth", "bubble_A_B", "rs_secure_sha1")}
ASKED["rs_cone with a nonce"] = emit_nonce_authentication(NONCE) + VECTORS["rs_cone"]
OWN = compose(parse_ipv4(PRIMARY), endpoint(parse_ipv4(ASKER), PORT), 0)
NEIGHBOUR = compose(parse_ipv4(PRIMARY), endpoint(parse_ipv4(OTHER), OTHER_PORT), 0)
ASKED |= {
    "bubble to a client of its own": emit_bubble(OWN, NEIGHBOUR),
    "bubble with a trailer": emit_bubble(OWN, NEIGHBOUR) + bytes.fromhex("0104deadbeef"),
    "echo request to a client of its own": emit_icmpv6(OWN, NEIGHBOUR, EchoRequest(1, 2, b"x" * 40), 64),
    "large echo request": emit_icmpv6(OWN, NEIGHBOUR, EchoRequest(1, 2, b"x" * 81), 64),
    "bubble of somebody else": emit_bubble(NEIGHBOUR, OWN),
    "nonsense": b"\x60nonsense",
}
ALIKE = [name for name in ASKED if name != "rs_vista"]
"""C miredo answers rs_vista, which has no authentication, with one that holds the nonce of somebody else."""

Answer = tuple[bytes, str, str, int]
"""Payload, the address that it came from, the address that it came to, and the port there."""


def asked(question: bytes) -> list[Answer]:
    """What comes back to the two hosts within a moment when one of them asks the server."""
    found: list[Answer] = []
    kind = socket.AF_INET, socket.SOCK_DGRAM
    with socket.socket(*kind) as own, socket.socket(*kind) as other:
        own.bind((ASKER, PORT))
        other.bind((OTHER, OTHER_PORT))
        own.sendto(question, (PRIMARY, 3544))
        for each, address, port in ((own, ASKER, PORT), (other, OTHER, OTHER_PORT)):
            each.settimeout(PATIENCE)
            try:
                payload, (source, _) = each.recvfrom(4096)
                found.append((payload, source, address, port))
            except TimeoutError:
                continue
    return found


def give_addresses() -> None:
    network = KernelEndpoints(None, install_reactor()).network()
    index = network.index_of("lo")
    assert index is not None
    for address in (PRIMARY, SECONDARY, ASKER, OTHER):
        network.add_address(index, parse_ipv4(address), 32)
    network.close()


@contextmanager
def its_server(folder: Path) -> Iterator[None]:
    """Debian's."""
    if os.geteuid() != 0:
        pytest.skip("Debian's miredo becomes its own user, which needs root")
    if not os.access(MIREDO_SERVER, os.X_OK):
        pytest.skip(f"there is no {MIREDO_SERVER}; cure: sudo apt-get install miredo-server")
    configuration = folder / "server.conf"
    configuration.write_text(f"ServerBindAddress {PRIMARY}\nServerBindAddress2 {SECONDARY}\n")
    command = [MIREDO_SERVER, "-f", "-c", str(configuration), "-p", str(folder / "server.pid")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(20):
            if asked(VECTORS["rs_vista_auth"]):
                break
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(5)


def asked_all_of_ours() -> dict[str, list[Answer]]:
    """Our server's answers; it runs in this process, so a child asks."""
    reactor = install_reactor()
    text = f"[server s]\nServerBindAddress {PRIMARY}\nServerBindAddress2 {SECONDARY}\n"
    roles = assemble_on(IReactorCore(reactor), parse(text, "server.conf", strict=True))
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    found = bytearray()

    def is_told() -> bool:
        with suppress(BlockingIOError):
            found.extend(os.read(reading, 1 << 20))
        return found.endswith(b"\n")

    async def body() -> None:
        roles.privilegedStartService()
        roles.startService()
        if os.fork() == 0:
            told = {name: [(payload.hex(), *rest) for payload, *rest in asked(text)] for name, text in ASKED.items()}
            os.write(writing, json.dumps(told).encode() + b"\n")
            os._exit(0)
        await until(is_told, 20)
        await maybeDeferred(roles.stopService)

    run_reactor(body(), timeout=30)
    os.wait()
    os.close(reading)
    os.close(writing)
    told: dict[str, list[tuple[str, str, str, int]]] = json.loads(found)
    return {
        name: [(bytes.fromhex(text), source, address, port) for text, source, address, port in answers]
        for name, answers in told.items()
    }


def test_both_servers_answer_alike(tmp_path: Path) -> None:
    """Solicitations with and without the cone bit, bubbles, echo requests within and beyond the limit, and nonsense."""
    give_addresses()
    with its_server(tmp_path):
        its = {name: asked(question) for name, question in ASKED.items()}
    ours = asked_all_of_ours()
    assert {name: ours[name] for name in ALIKE} == {name: its[name] for name in ALIKE}
    assert {name for name, answers in ours.items() if not answers} == {
        "large echo request",
        "bubble of somebody else",
        "nonsense",
    }
    assert ours["rs_cone with a nonce"] == [(VECTORS["ra_cone"], SECONDARY, ASKER, PORT)]
    ((plain, *_),), ((theirs, *_),) = ours["rs_vista"], its["rs_vista"]
    assert plain == theirs[13:] == VECTORS["ra_origin"]


def test_scapy_reads_what_the_server_sends() -> None:
    give_addresses()
    for name, answers in asked_all_of_ours().items():
        for payload, _, _, _ in answers:
            packet = parse_encapsulation(payload).packet
            dissected = IPv6(packet)
            assert dissected.plen == len(packet) - 40, name
            assert dissected.version == 6, name
            if name.startswith("rs_"):
                assert dissected.haslayer(ICMPv6ND_RA), name
                assert dissected[ICMPv6NDOptMTU].mtu == 1280
                assert dissected[ICMPv6NDOptPrefixInfo].prefix == "2001:0:cb00:7178::"
                checksum = dissected[ICMPv6ND_RA].cksum
            elif name.startswith("echo"):
                checksum = dissected[ICMPv6EchoRequest].cksum
            else:
                continue
            again = IPv6(packet)
            del again.payload.cksum
            assert IPv6(bytes(again)).payload.cksum == checksum, name


def test_scapy_takes_addresses_apart_as_we_put_them_together() -> None:
    for flags in (0x0000, 0x8000, 0x3CFF):
        address = compose(parse_ipv4(PRIMARY), endpoint(parse_ipv4(ASKER), PORT), flags)
        assert teredoAddrExtractInfo(show_ipv6(address)) == (PRIMARY, flags_of(address), ASKER, PORT)
        assert show_ipv4(parse_ipv4(PRIMARY)) == PRIMARY
