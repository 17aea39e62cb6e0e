# SPDX-License-Identifier: MIT
"""IPv4 multicast on chosen links: heard by a socket of its own, sent from the port of a role."""

import socket
import struct
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IUDPTransport
from twisted.internet.udp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.address.endpoint import IPv4, parse_ipv4
from miredo.kernel.interfaces import IGroup

BATCH = 64
"""Datagrams read at one wake-up, so that nobody else has to wait for long."""

_IP_PKTINFO = 8  # linux/in.h; the socket module lacks it
_DATAGRAM_LIMIT = 65535
_TTL = struct.pack("=i", 1)

_logging_failures = Logger().failureHandler("a group's receiver failed")


@implementer(IGroup, IReadDescriptor)
class GroupSocket:
    """A socket that is bound to the group's address, so that nothing comes to it but by the group.

    @param hearing: a L{socket for that<miredo.kernel.openings.bound_group>}; this object owns it.
    """

    def __init__(
        self,
        hearing: socket.socket,
        reactor: IReactorFDSet,
        port: IUDPTransport,
        receive: Callable[[bytes, tuple[str, int]], None],
    ) -> None:
        self._reactor = reactor
        self._port = port
        self._address: tuple[str, int] = hearing.getsockname()
        self._receive = receive
        self._members: dict[int, IPv4] = {}
        self._socket: socket.socket | None = hearing
        if isinstance(port, Port):
            port.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        reactor.addReader(self)

    def attend(self, links: Mapping[int, IPv4]) -> list[int]:
        for index in set(self._members) - set(links):
            self._member(socket.IP_DROP_MEMBERSHIP, index)
            del self._members[index]
        for index, own in links.items():
            if index in self._members or self._member(socket.IP_ADD_MEMBERSHIP, index):
                self._members[index] = own
        return sorted(self._members)

    def send(self, datagram: bytes) -> bool:
        if self._socket is None:
            return False
        sent = sum(self._sent(datagram, index, own) for index, own in self._members.items())
        return sent == len(self._members)

    def close(self) -> None:
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None

    def _member(self, option: int, index: int) -> bool:
        if self._socket is None:
            return False
        request = struct.pack("=4s4si", parse_ipv4(self._address[0]), bytes(4), index)
        try:
            self._socket.setsockopt(socket.IPPROTO_IP, option, request)
        except OSError:
            return False
        return True

    def _sent(self, datagram: bytes, index: int, own: IPv4) -> bool:
        """ip(7): ancillary data of one message, so that the port's other datagrams go as they always do."""
        if not isinstance(self._port, Port) or self._port.socket is None:
            return False
        place = socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", index, own, bytes(4))
        ttl = socket.IPPROTO_IP, socket.IP_TTL, _TTL
        try:
            self._port.socket.sendmsg([datagram], [place, ttl], 0, self._address)
        except OSError:
            return False
        return True

    # ------------------------------------------------------------ for the reactor

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def doRead(self) -> None:
        for _ in range(BATCH):
            if self._socket is None:
                return  # the receiver has closed the group
            try:
                datagram, source = self._socket.recvfrom(_DATAGRAM_LIMIT)
            except OSError:
                return
            with _logging_failures:
                self._receive(datagram, source)

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def logPrefix(self) -> str:
        return f"group {self._address[0]}"
