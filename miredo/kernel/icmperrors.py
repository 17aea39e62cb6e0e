# SPDX-License-Identifier: MIT
"""The ICMP errors that come over IPv4, heard on a raw socket of their own (raw(7)).

With IP_RECVERR on the UDP socket an error would be an EPOLLERR there, on which the reactor drops a descriptor for good.
"""

import socket
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.kernel.interfaces import IICMPErrors

AT_ONCE = 16
"""Errors read in one wake-up of the reactor (ours)."""
LIMIT = 2048
"""Bytes of an error that are read (ours): what an IPv4 host quotes is less (RFC 1812 4.3.2.3)."""

_logging_failures = Logger().failureHandler("a receiver of ICMP errors failed")


@implementer(IICMPErrors, IReadDescriptor)
class ICMPErrorSocket:
    """
    Hears Destination Unreachable and nothing else.

    @param raw: a L{socket for that<miredo.kernel.openings.Openings.icmp_errors>}; this object owns it.
    """

    def __init__(self, raw: socket.socket, reactor: IReactorFDSet, receive: Callable[[bytes], None]) -> None:
        self._socket = raw
        self._receive = receive
        self._reactor = reactor
        reactor.addReader(self)

    def close(self) -> None:
        if self.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        for _ in range(AT_ONCE):
            if self.fileno() < 0:
                return  # the receiver has closed it
            try:
                packet = self._socket.recv(LIMIT)
            except BlockingIOError:
                return
            with _logging_failures:
                self._receive(packet)

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def logPrefix(self) -> str:
        return "ICMP errors"
