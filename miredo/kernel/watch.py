# SPDX-License-Identifier: MIT
"""News of links, addresses and routes: an own rtnetlink socket in the reactor, joined to their groups."""

import socket
from collections.abc import Callable
from errno import ENOBUFS

from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl import RTM_DELROUTE, RTM_NEWROUTE
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.kernel.interfaces import IWatch
from miredo.kernel.netlink import Messages

BATCH = 64
"""Datagrams read in one wake-up of the reactor (ours); what they tell becomes one call."""

_RTM_F_CLONED = 0x200
_DATAGRAM_LIMIT = 1 << 16

_logging_failures = Logger().failureHandler("a watcher of the network failed")


@implementer(IWatch, IReadDescriptor)
class NetworkWatch:
    """
    Calls C{changed} after a burst of news.

    @param hearing: a L{netlink socket for news<miredo.kernel.openings.netlink_socket>}; this object owns it.
    """

    def __init__(self, changed: Callable[[], None], reactor: IReactorFDSet, hearing: socket.socket) -> None:
        self._changed = changed
        self._reactor = reactor
        self._messages = Messages()
        self._socket = hearing
        reactor.addReader(self)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        if self._read_news():
            with _logging_failures:
                self._changed()

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def logPrefix(self) -> str:
        return "network"

    def _read_news(self) -> bool:
        news = False
        for _ in range(BATCH):
            try:
                datagram = self._socket.recv(_DATAGRAM_LIMIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != ENOBUFS:
                    raise
                news = True  # the kernel dropped some: whatever they told, it is to be looked at anew
            else:
                news = any(map(_is_news, self._messages.parse(datagram))) or news
        return news


def _is_news(message: nlmsg) -> bool:
    # Cloned routes are what the kernel remembers of a path (its MTU, a redirect), not a change of the table.
    routes = (RTM_NEWROUTE, RTM_DELROUTE)
    return message["header"]["type"] not in routes or not message["flags"] & _RTM_F_CLONED
