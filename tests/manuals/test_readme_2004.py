# SPDX-License-Identifier: MIT
"""The README of 2004: its examples are typed as they stand there, and its jail is built."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from miredo.address.endpoint import endpoint, parse_ipv4, show_ipv6
from miredo.address.teredo import ALL_ROUTERS, CLIENT_LINK_LOCAL, LEGACY_PREFIX, SERVICE_PREFIX, compose
from miredo.kernel.libc import MS_BIND, mount
from miredo.wire.bubble import is_bubble
from miredo.wire.encapsulation import parse_encapsulation
from miredo.wire.icmpv6 import RouterAdvertisement, RouterSolicitation, emit_icmpv6, parse_icmpv6
from miredo.wire.ipv6 import destination_of, parse_ipv6
from tests.commands.test_classic_daemons import Syslogd
from tests.daemons import children_of, started, status_of
from tests.manuals.places import give_loopback, links_of, own_etc, serves
from tests.test_tap import state

ROOT = Path(__file__).parents[2]
CLIENT = "198.51.100.7"
JAIL = Path("/var/run/miredo")
MIREDO = "990"
"""The number of the user miredo."""

manual = pytest.mark.manual


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("CHANGELOG.md", "What is new for users", marks=manual("O1")),
        pytest.param("README.md", "## Install", marks=manual("O3")),
        pytest.param("LICENSE", "MIT License", marks=manual("O4")),
    ],
)
def test_what_the_readme_pointed_to_has_a_file_of_today(name: str, text: str) -> None:
    assert text in (ROOT / name).read_text()


# ---------------------------------------------------------------- a server


def advertised(server: str) -> tuple[RouterAdvertisement, str]:
    """What a client is told by a server, and the address that it is told from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((CLIENT, 0))
        client.settimeout(10)
        client.sendto(emit_icmpv6(CLIENT_LINK_LOCAL, ALL_ROUTERS, RouterSolicitation()), (server, 3544))
        datagram, (source, port) = client.recvfrom(2048)
        told = parse_encapsulation(datagram)
        assert told.origin == endpoint(parse_ipv4(CLIENT), client.getsockname()[1])
    assert port == 3544
    message = parse_icmpv6(parse_ipv6(told.packet)[0])
    assert isinstance(message, RouterAdvertisement)
    return message, source


@pytest.mark.namespaced
@manual("O6", "O8", "O13", "O14", "O16", "O17", "O19", "O31", "N5")
def test_miredo_s_9_0_0_2_u_root_is_a_server_that_detaches_logs_to_syslog_and_stays_root(tmp_path: Path) -> None:
    own_etc(tmp_path)
    give_loopback("9.0.0.2", "9.0.0.3", CLIENT)
    syslogd = Syslogd(tmp_path)
    with started(tmp_path, "miredo", "-s", "9.0.0.2", "-u", "root") as running:
        assert running.process.wait(10) == 0
        pid = running.pid
        assert os.getsid(pid) == pid
        status = status_of(pid)
        assert set(status["Uid"]) == {"0"}
        assert status["CapEff"] != ["0" * 16]
        syslogd.hears(f"miredo[{pid}]: Teredo server started on 9.0.0.2 and 9.0.0.3")
        assert serves(pid) == {"9.0.0.2", "9.0.0.3"}
        for address in ("9.0.0.2", "9.0.0.3"):
            (prefix,) = advertised(address)[0].prefixes
            assert (prefix.prefix, prefix.length) == (SERVICE_PREFIX + parse_ipv4("9.0.0.2") + bytes(8), 64)
            assert advertised(address)[1] == address
        running.end()
        syslogd.hears("Exiting on signal 15 (Terminated)")
    syslogd.end()


# ---------------------------------------------------------------- a relay


def is_sought(prefix: bytes, server: socket.socket) -> bool:
    """Whether an IPv6 packet for a Teredo client has its server asked for that client."""
    client = compose(parse_ipv4("192.0.2.1"), endpoint(parse_ipv4("203.0.113.9"), 4096), 0, prefix)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as host:
        host.bind(("2001:db8::7", 0))
        host.sendto(b"hello", (show_ipv6(client), 9))
    bubble = parse_encapsulation(server.recv(2048)).packet
    return is_bubble(bubble) and destination_of(bubble) == client


@pytest.mark.namespaced
@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        pytest.param(None, SERVICE_PREFIX, marks=manual("O8", "O18", "O20", "O22")),
        pytest.param("RelayType relay\nPrefix 3ffe:831f::\n", LEGACY_PREFIX, marks=manual("O22")),
    ],
    ids=["today's prefix", "the prefix of 2004"],
)
def test_miredo_u_root_is_a_relay_whose_interface_teredo_takes_what_is_for_clients(
    text: str | None, prefix: bytes, tmp_path: Path
) -> None:
    etc = own_etc(tmp_path)
    if text is not None:
        (etc / "miredo.conf").write_text(text)
    give_loopback("192.0.2.1", CLIENT, "2001:db8::7")
    with started(tmp_path, "miredo", "-u", "root") as running:
        assert running.process.wait(10) == 0
        assert ("runs as a Teredo relay" in running.text) == (text is None)
        assert state()["teredo"][1] == [(prefix + bytes(12), 32, 1024)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("192.0.2.1", 3544))
            server.settimeout(10)
            assert is_sought(prefix, server)
        running.end()
    assert "teredo" not in state()


# ---------------------------------------------------------------- a jail


def build_jail() -> socket.socket:
    """Give the home of the user miredo what the README wants there; what syslogd's second socket hears."""
    (JAIL / "dev/net").mkdir(parents=True)
    for device in ("null", "net/tun"):
        (JAIL / "dev" / device).touch()
        mount(f"/dev/{device}", str(JAIL / "dev" / device), None, MS_BIND)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(JAIL / "dev/log"))
    (JAIL / "dev/log").chmod(0o666)
    return listening


@pytest.mark.root
@pytest.mark.namespaced
@manual("O25", "O26", "O27", "O28", "O29")
def test_a_jail_with_devices_and_a_user_who_cannot_log_in_will_do_and_syslog_goes_on(tmp_path: Path) -> None:
    etc = own_etc(tmp_path)
    (etc / "passwd").write_text(f"root:x:0:0::/root:/bin/sh\nmiredo:x:{MIREDO}:{MIREDO}::{JAIL}:/usr/sbin/nologin\n")
    (etc / "miredo.conf").write_text("RelayType relay\n")
    syslogd = Syslogd(tmp_path)
    inside = build_jail()
    with started(tmp_path, "miredo", "-u", "miredo", "-t", str(JAIL)) as running:
        assert running.process.wait(10) == 0
        pid = running.pid
        assert {*status_of(pid)["Uid"], *status_of(pid)["Gid"]} == {MIREDO}
        assert os.listdir(f"/proc/{pid}/root") == ["dev"]
        assert links_of(pid) == {"lo", "teredo"}
        os.kill(pid, signal.SIGHUP)
        syslogd.hears("1 of 1 roles run on as they are")
        assert len(children_of(pid)) == 1
        running.end()
        syslogd.hears("Exiting on signal 15 (Terminated)")
    inside.close()
    syslogd.end()
