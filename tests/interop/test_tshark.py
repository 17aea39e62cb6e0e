# SPDX-License-Identifier: MIT
"""A capture of the demo, as Wireshark's dissectors see it: everything is Teredo, nothing is malformed."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from miredo.lab.nat import BEHAVIOURS
from tests.namespaced import run_in_namespaces

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
FIELDS = (
    "frame.protocols",
    "ip.flags.df",
    "ip.checksum.status",
    "udp.checksum.status",
    "icmpv6.checksum.status",
    "icmpv6.type",
    "teredo.auth",
    "teredo.orig",
    "ipv6.nxt",
)
CHECKING = ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "--enable-heuristic", "teredo_udp"]
GOOD = ("1", "Good")
"""The status of a right checksum: a number in older tsharks, a word in newer ones."""
SOLICITATION, ADVERTISEMENT, ECHO_REQUEST, ECHO_REPLY, NO_NEXT_HEADER = "133", "134", "128", "129", "59"
TIME_EXCEEDED = "11"


class Seen(NamedTuple):
    """What tshark tells of a packet; a field that it does not have is empty."""

    protocols: str
    df: str
    ip_checksum: str
    udp_checksum: str
    icmpv6_checksum: str
    icmpv6_type: str
    authentication: str
    origin: str
    next_header: str


def tshark(file: Path, *words: str) -> str:
    """Run tshark, without a configuration of its user."""
    environment = {**os.environ, "HOME": str(file.parent), "WIRESHARK_CONFIG_DIR": str(file.parent)}
    command = ["tshark", "-n", "-r", str(file), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module", params=[BEHAVIOURS[2], BEHAVIOURS[8]], ids=str)
def capture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo's packets."""
    if shutil.which("tshark") is None:
        pytest.skip("there is no tshark; cure: sudo apt-get install tshark")
    run_in_namespaces(lambda: None, str)
    file = tmp_path_factory.mktemp("capture") / "demo.pcapng"
    command = [sys.executable, "-m", "miredo.commands.demo", "--nat", str(request.param), "--pcap", str(file)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return file


def decode_as(file: Path) -> list[str]:
    """The words that make Teredo of every UDP port of a capture."""
    ports = tshark(file, "-Y", "udp", "-T", "fields", "-e", "udp.srcport", "-e", "udp.dstport").split()
    return [word for port in sorted(set(ports)) for word in ("-d", f"udp.port=={port},teredo")]


def seen(file: Path) -> list[Seen]:
    words = [word for field in FIELDS for word in ("-e", field)]
    lines = tshark(file, *CHECKING, *decode_as(file), "-T", "fields", *words).splitlines()
    return [Seen(*line.split("\t")) for line in lines]


def test_every_datagram_is_teredo(capture: Path) -> None:
    datagrams = [packet for packet in seen(capture) if packet.protocols.startswith("raw:ip:udp")]
    assert len(datagrams) > 25
    assert [packet for packet in datagrams if not packet.protocols.startswith("raw:ip:udp:teredo:ipv6")] == []


def test_every_ipv4_packet_is_a_datagram(capture: Path) -> None:
    """No fragment, and no ICMP but of the first bubble, which ends at the router behind our NAT on purpose."""
    ipv4 = [packet for packet in seen(capture) if packet.protocols.startswith("raw:ip:")]
    assert {packet.protocols.split(":")[2] for packet in ipv4} <= {"udp", "icmp"}
    assert set(tshark(capture, "-Y", "icmp", "-T", "fields", "-e", "icmp.type").split()) <= {TIME_EXCEEDED}


def test_every_checksum_is_right(capture: Path) -> None:
    for packet in seen(capture):
        if packet.protocols.startswith("raw:ip:udp"):
            assert packet.ip_checksum in GOOD, packet
            assert packet.udp_checksum in GOOD, packet
        if ":icmpv6" in packet.protocols:
            assert packet.icmpv6_checksum in GOOD, packet


def test_no_datagram_forbids_fragmentation(capture: Path) -> None:
    flags = {packet.df for packet in seen(capture) if packet.protocols.startswith("raw:ip:udp")}
    assert flags in ({"0"}, {"False"})


def test_every_kind_of_teredo_packet_is_there(capture: Path) -> None:
    teredo = [packet for packet in seen(capture) if ":teredo:" in packet.protocols]
    kinds = Counter((packet.icmpv6_type or packet.next_header) for packet in teredo)
    assert set(kinds) == {SOLICITATION, ADVERTISEMENT, ECHO_REQUEST, ECHO_REPLY, NO_NEXT_HEADER}
    for packet in teredo:
        kind = packet.icmpv6_type
        assert bool(packet.authentication) == (kind in (SOLICITATION, ADVERTISEMENT)), packet
        assert not packet.origin or kind == ADVERTISEMENT or packet.next_header == NO_NEXT_HEADER, packet
    assert all(packet.origin for packet in teredo if packet.icmpv6_type == ADVERTISEMENT)


def test_nothing_is_malformed(capture: Path) -> None:
    told = tshark(capture, "-V", *CHECKING, *decode_as(capture))
    assert told.count("Teredo IPv6 over UDP tunneling") > 25
    assert [line for line in told.splitlines() if "Malformed" in line or "incorrect" in line.lower()] == []
