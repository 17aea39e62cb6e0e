# SPDX-License-Identifier: MIT
"""Locked into an empty directory, a whole life of each role imports nothing more."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from twisted.names import dns

from miredo.address.endpoint import parse_ipv4
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.libc import MS_BIND, mount
from miredo.kernel.namespaces import create_namespace
from tests.daemons import Running, is_nobody, started
from tests.namespaced import install_reactor
from tests.service.nameserver import a, answer, asked_name
from tests.test_tap import give_addresses

pytestmark = pytest.mark.root

LATE = "is imported after the start"


@contextmanager
def name_server() -> Iterator[list[bytes]]:
    """Answers on the loopback, in a thread; gives the names that were asked for."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 53))

        def serve() -> None:
            while True:
                datagram, who = udp.recvfrom(512)
                if not datagram:
                    return
                question = dns.Message()
                question.fromStr(datagram)
                asked.append(asked_name(question))
                udp.sendto(answer(question, a(asked_name(question), "192.0.2.1")), who)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            udp.sendto(b"", ("127.0.0.1", 53))
            thread.join()


def show(folder: Path, path: str, text: str) -> None:
    """Have a file of the system say something else."""
    own = folder / path.replace("/", "-")
    own.write_text(text)
    mount(str(own), os.path.realpath(path), None, MS_BIND)


def add_addresses(namespace: str | None, name: str, *addresses: str) -> None:
    """Change the addresses of a link; it has clients ask anew."""
    network = KernelEndpoints(namespace, install_reactor()).network()
    index = network.index_of(name)
    assert index is not None
    network.set_up(index)
    for address in addresses:
        network.add_address(index, parse_ipv4(address), 24)
    network.close()


def apart() -> None:
    """Have a namespace for a server, and a cable to it."""
    create_namespace("far")
    network = KernelEndpoints(None, install_reactor()).network()
    network.add_veth("near", "cable", "far")
    network.close()
    add_addresses(None, "near", "192.0.2.7")
    add_addresses("far", "cable", "192.0.2.1", "192.0.2.2")


def ended_well(running: Running) -> None:
    assert is_nobody(running.pid)
    assert os.readlink(f"/proc/{running.pid}/root") == "/run/miredo"
    assert running.end() < 1
    assert running.process.wait(10) == 0
    assert LATE not in running.text
    assert "Traceback" not in running.text


@pytest.mark.namespaced
def test_of_a_client(tmp_path: Path) -> None:
    apart()
    show(tmp_path, "/etc/hosts", "127.0.0.1 localhost\n")
    show(tmp_path, "/etc/resolv.conf", "nameserver 127.0.0.1\n")
    secret = tmp_path / "secret"
    secret.write_text("me 0123456789abcdef\n")
    secret.chmod(0o600)
    far = tmp_path / "far"
    far.mkdir()
    (far / "far.conf").write_text(f"ServerBindAddress 192.0.2.1\nNamespace far\nSecretFile {secret}\n")
    server = "miredo-server", "-f", "-u", "root", "-c", "far.conf"
    file = tmp_path / "client.conf"
    text = f"ServerAddress server.example\nClientHook none\nSecretFile {secret}\n"
    file.write_text(text)
    with name_server() as asked, started(tmp_path, "miredo", "-f", "-c", "client.conf") as client:
        with started(far, *server) as serving:
            client.says("Teredo pseudo-tunnel started (address:")
            serving.end()
        add_addresses(None, "near", "192.0.2.8")
        client.says("No reply from Teredo server", limit=25)
        client.says("Lost Teredo connectivity", limit=25)
        with started(far, *server):
            add_addresses(None, "near", "192.0.2.9")
            client.says("Teredo pseudo-tunnel started (address:", 2)
            for again, says, times in (
                (text + "BindPort x\n", "error: BindPort: x is not a port", 1),
                (text + "BindPort 4444\n", "0 of 1 roles run on as they are, 1 begin anew", 1),
                (text, "0 of 1 roles run on as they are, 1 begin anew", 2),
            ):
                file.write_text(again)
                os.kill(client.pid, signal.SIGHUP)
                client.says(says, times)
            client.says("Teredo pseudo-tunnel started (address:", 3)
            ended_well(client)
    assert len(asked) >= 3
    assert set(asked) == {b"server.example"}


@pytest.mark.namespaced
@pytest.mark.parametrize(
    ("text", "other", "says"),
    [
        ("RelayType cone\n", "BindPort 4444\n", "Teredo pseudo-tunnel started"),
        ("RelayType host\nCopyDSCP yes\n", "BindPort 4444\n", "Teredo pseudo-tunnel started"),
        ("ServerBindAddress 192.0.2.1\n", "InterfaceMTU 1400\n", "Teredo server started"),
        ("[mire m]\nBindAddress 198.51.100.7\n", "AllowIPv4 10.0.0.0/8\n", "Teredo echo responder started"),
        ("ServerBindAddress 192.0.2.1\n", "Record {}/s.rec\n", "Teredo server started"),
    ],
)
def test_of_another_role(text: str, other: str, says: str, tmp_path: Path) -> None:
    give_addresses()
    file = tmp_path / "some.conf"
    file.write_text(text)
    with started(tmp_path, "miredo", "-f", "-c", "some.conf") as running:
        running.says(says)
        file.write_text(text + other.format(tmp_path))
        os.kill(running.pid, signal.SIGHUP)
        running.says("0 of 1 roles run on as they are, 1 begin anew")
        running.says(says, 2)
        add_addresses(None, "lo", "198.51.100.9")
        ended_well(running)


@pytest.mark.namespaced
def test_of_one_that_becomes_another(tmp_path: Path) -> None:
    give_addresses()
    file = tmp_path / "some.conf"
    file.write_text("ServerBindAddress 192.0.2.1\n")
    with started(tmp_path, "miredo", "-f", "-c", "some.conf") as running:
        running.says("Teredo server started")
        for text, says in (
            ("RelayType cone\n", "Teredo pseudo-tunnel started"),
            ("ServerAddress 192.0.2.1\nClientHook none\n", "Starting..."),
            ("[mire m]\nBindAddress 198.51.100.7\n", "Teredo echo responder started"),
        ):
            file.write_text(text)
            os.kill(running.pid, signal.SIGHUP)
            running.says(says)
        ended_well(running)
