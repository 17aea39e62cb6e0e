# SPDX-License-Identifier: MIT
"""TUN devices: IP packets without a link-layer header, one a read and one a write (networking/tuntap of the kernel)."""

import os
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.kernel.interfaces import ITunnel

BATCH = 64
"""Packets read in one wake-up of the reactor (ours), so that tunnel, sockets and alarms take turns."""

_PACKET_LIMIT = 65535

_logging_failures = Logger().failureHandler("a tunnel's receiver failed")


@implementer(ITunnel, IReadDescriptor)
class KernelTunnel:
    """
    A TUN device that the reactor reads.

    @param fd: what L{create_device<miredo.kernel.tun.create_device>} gave; this object owns it.
    """

    def __init__(self, fd: int, name: str, index: int, reactor: IReactorFDSet) -> None:
        self.name = name
        self.index = index
        self._fd = fd
        self._reactor = reactor
        self._receive: Callable[[bytes], None] = _dropped

    def start(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive
        self._reactor.addReader(self)

    def write(self, packet: bytes) -> bool:
        try:
            os.write(self._fd, packet)
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> None:
        for _ in range(BATCH):
            if self._fd < 0:
                return  # the receiver has closed the tunnel
            try:
                packet = os.read(self._fd, _PACKET_LIMIT)
            except BlockingIOError:
                return
            with _logging_failures:
                self._receive(packet)

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def logPrefix(self) -> str:
        return self.name


def _dropped(packet: bytes) -> None:
    """Nobody reads a tunnel that was not started."""
