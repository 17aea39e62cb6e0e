# SPDX-License-Identifier: MIT
"""A TCP connection between two nodes, through their kernels, that carries something all the time."""

from __future__ import annotations

import socket
from contextlib import suppress

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from miredo.address.endpoint import IPv6, show_ipv6
from miredo.kernel.namespaces import entered

PORT = 9
INTERVAL, CHUNK = 0.01, bytes(500)
"""Seconds between what is written, and what it is: 50 kB/s."""
LONGEST = 1 << 16


class Upload:
    """From one node to an address of another, until L{end}.

    @ivar sent: bytes that the kernel has taken.
    @ivar received: bytes that have arrived.
    """

    def __init__(self, reactor: IReactorTime, source: str, node: str, destination: IPv6) -> None:
        self.sent = self.received = 0
        place = show_ipv6(destination), PORT
        self._listening = _socket(node)
        self._listening.bind(place)
        self._listening.listen()
        self._sending = _socket(source)
        self._sending.connect_ex(place)
        self._receiving: socket.socket | None = None
        self._going_on = LoopingCall(self._go_on)
        self._going_on.clock = reactor
        self._going_on.start(INTERVAL)

    def end(self) -> None:
        self._going_on.stop()
        for each in (self._sending, self._listening, self._receiving):
            if each is not None:
                each.close()

    def _go_on(self) -> None:
        if self._receiving is None:
            with suppress(BlockingIOError):
                self._receiving, _ = self._listening.accept()
                self._receiving.setblocking(False)
        with suppress(OSError):  # not connected yet, or the window is full
            self.sent += self._sending.send(CHUNK)
        with suppress(BlockingIOError):
            if self._receiving is not None:
                self.received += len(self._receiving.recv(LONGEST))


def _socket(node: str) -> socket.socket:
    with entered(node):
        made = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    made.setblocking(False)
    return made
