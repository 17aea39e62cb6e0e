# SPDX-License-Identifier: MIT
"""Records what arrives at every interface of some nodes, as a pcapng file that tshark and Wireshark read."""

from __future__ import annotations

import socket
import time
from typing import BinaryIO

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.kernel.clock import boottime
from miredo.kernel.namespaces import entered
from miredo.lab.pcapng import enhanced_packet, interface_description, section_header

ETH_P_ALL = 3
PACKET_OUTGOING = 4
"""The type of a packet that leaves; each packet is recorded where it arrives, once."""
LONGEST = 65535
BATCH = 64


class Capture:
    """A file, closed with the capture, and a socket in each node.

    @ivar failure: why the file is not whole, once it is not.
    """

    def __init__(self, file: BinaryIO, nodes: tuple[str, ...], reactor: IReactorFDSet) -> None:
        self.failure: str | None = None
        self._file = file
        self._started = time.time() - boottime()
        self._write(section_header())
        for node in nodes:
            self._write(interface_description(node))
        self._sockets = [_Tap(self, number, node, reactor) for number, node in enumerate(nodes)]

    def record(self, interface: int, packet: bytes) -> None:
        self._write(enhanced_packet(interface, self._started + boottime(), packet))

    def close(self) -> None:
        """Take what has arrived, and end."""
        for tap in self._sockets:
            tap.close()
        try:
            self._file.close()
        except OSError as error:
            self._fail(error)

    def _write(self, block: bytes) -> None:
        """A disk that is full ends the record, not the run."""
        if self.failure is None:
            try:
                self._file.write(block)
            except OSError as error:
                self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.failure = self.failure or f"the packets could not be recorded: {error.strerror}"


@implementer(IReadDescriptor)
class _Tap:
    """A packet socket that sees each IP packet of one namespace."""

    def __init__(self, capture: Capture, number: int, node: str, reactor: IReactorFDSet) -> None:
        self._capture = capture
        self._number = number
        self._reactor = reactor
        with entered(node):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.setblocking(False)
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        for _ in range(BATCH):
            try:
                packet, (_, _, kind, *_) = self._socket.recvfrom(LONGEST)
            except BlockingIOError:
                return
            if kind != PACKET_OUTGOING and packet and packet[0] >> 4 in (4, 6):
                self._capture.record(self._number, packet)

    def close(self) -> None:
        self.doRead()
        self._reactor.removeReader(self)
        self._socket.close()

    def connectionLost(self, reason: Failure) -> None:
        self._socket.close()

    def logPrefix(self) -> str:
        return "capture"
