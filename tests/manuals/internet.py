# SPDX-License-Identifier: MIT
"""The laboratory of C{./x demo}, with the classic commands in its nodes in the place of its own roles."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple

from miredo.address.endpoint import show_ipv4
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.libc import CLONE_NEWNET, setns
from miredo.kernel.namespaces import entered, path_of
from miredo.lab.building import Laboratory
from miredo.lab.topology import TEREDO_INTERNET, Topology
from miredo.wire.encapsulation import parse_encapsulation
from miredo.wire.ipv4 import IPv4Packet, parse_ipv4_packet
from miredo.wire.ipv6 import UDP, IPv6Packet, parse_ipv6
from miredo.wire.udp import parse_udp
from tests.daemons import started
from tests.manuals.places import own_etc
from tests.namespaced import install_reactor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from miredo.lab.fronts import Front
    from tests.daemons import Running

ETH_P_ALL = 3
LONGEST = 1 << 16


class Internet:
    """
    A laboratory that is there for the time of a C{with} block, without an /etc/miredo.

    @param fronts: what is in front of each client.
    """

    def __init__(self, folder: Path, fronts: Mapping[str, Front], topology: Topology = TEREDO_INTERNET) -> None:
        reactor = install_reactor()
        own_etc(folder)
        self._folder = folder
        self._commands = ExitStack()
        clock = BoottimeClock(reactor)
        self.lab = Laboratory(topology, lambda node: KernelEndpoints(node, reactor), clock, os.urandom)
        self.lab.build(fronts)
        self.lab.start()

    def __enter__(self) -> Internet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._commands.close()
        self.lab.close()

    def start(self, program: str, node: str, text: str, *words: str) -> Running:
        """Start a command in a node, in the foreground, with that file and those further words."""
        folder = self._folder / f"{node}-{len(os.listdir(self._folder))}"
        folder.mkdir()
        (folder / "some.conf").write_text(text)
        number = folder / "number"
        options = ("-f", "-c", "some.conf", "-p", str(number), *words)
        return self._commands.enter_context(started(folder, program, *options, pid_file=number, prepare=_into(node)))

    def tap(self, node: str, interface: str) -> Tap:
        """Listen to an interface from now on."""
        return self._commands.enter_context(Tap(node, interface))


def _into(node: str) -> Callable[[], None]:
    """Moves a process to a node before it becomes a command."""

    def enter() -> None:
        namespace = os.open(path_of(node), os.O_RDONLY)
        setns(namespace, CLONE_NEWNET)
        os.close(namespace)

    return enter


class Carried(NamedTuple):
    """An IPv6 packet in UDP over IPv4; C{port} is where it goes."""

    source: str
    destination: str
    port: int
    packet: bytes


class Tap:
    """What passes an interface, both ways, from the beginning of a C{with} block to its end."""

    def __init__(self, node: str, interface: str) -> None:
        with entered(node):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.bind((interface, ETH_P_ALL))
        self._socket.setblocking(False)
        self._packets: list[bytes] = []

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def packets(self) -> list[bytes]:
        with suppress(BlockingIOError):
            while True:
                self._packets.append(self._socket.recv(LONGEST))
        return self._packets

    @property
    def ipv4(self) -> list[IPv4Packet]:
        return [parse_ipv4_packet(packet) for packet in self.packets if packet[0] >> 4 == 4]

    @property
    def ipv6(self) -> list[IPv6Packet]:
        """Those that stand by themselves, in nothing else."""
        return [parse_ipv6(packet)[0] for packet in self.packets if packet[0] >> 4 == 6]

    @property
    def carried(self) -> list[Carried]:
        return [_carried(packet) for packet in self.ipv4 if packet.protocol == UDP]


def _carried(packet: IPv4Packet) -> Carried:
    datagram = parse_udp(packet.payload, packet.source, packet.destination)
    inside = parse_encapsulation(datagram.payload).packet
    return Carried(show_ipv4(packet.source), show_ipv4(packet.destination), datagram.destination_port, inside)
