# SPDX-License-Identifier: MIT
"""Messages over TCP, each behind its length in 16 bits (RFC 1035 4.2.2)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol

_PREFIX = 2


class MessageStream(Protocol, ABC):
    """A connection that messages come and go on; to be subclassed."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._held = False
        self._aborted = False

    @abstractmethod
    def message_received(self, octets: bytes) -> None:
        """A message has come."""

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while not (self._held or self._aborted) and (end := self._end()):
            octets = bytes(self._buffer[_PREFIX:end])
            del self._buffer[:end]
            self.message_received(octets)

    def send(self, octets: bytes) -> None:
        """Send a message."""
        self._tcp.write(len(octets).to_bytes(_PREFIX, "big") + octets)

    def hold(self, *, back: bool) -> None:
        """Read no more, or go on."""
        if self._aborted or not self.connected:
            return
        if back and not self._held:
            self._held = True
            IPushProducer(self.transport).pauseProducing()
        elif self._held and not back:
            self._held = False
            IPushProducer(self.transport).resumeProducing()
            self.dataReceived(b"")

    def abort(self) -> None:
        """End at once."""
        self._aborted = True
        self._tcp.abortConnection()

    @property
    def _tcp(self) -> ITCPTransport:
        return ITCPTransport(self.transport)

    def _end(self) -> int:
        """Where the first message ends; 0 if it has not come whole."""
        if len(self._buffer) < _PREFIX:
            return 0
        end = _PREFIX + int.from_bytes(self._buffer[:_PREFIX], "big")
        return end if len(self._buffer) >= end else 0
