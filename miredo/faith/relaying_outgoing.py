# SPDX-License-Identifier: MIT
"""
Connections to the IPv4 side: begun without waiting, from the address and the kind of port that are wanted.

Some servers trust what comes from a port below 1024 (rlogin, rsh), which only root can have: option C{-p} of faithd(8).
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from errno import EADDRINUSE, EADDRNOTAVAIL, EINPROGRESS

from miredo.address.endpoint import Dice
from miredo.kernel.errors import refused

LOWEST, HIGHEST = 600, 1023
"""The privileged source ports, as bindresvport(3) takes them: few services have ports from 600 on."""

WELL_KNOWN = frozenset({623, 631, 636, 664, 749, 774, 853, 873, 921, 989, 990, 992, 993, 994, 995})
"""Ports among them that services have (IANA; Debian's bindresvport.blacklist): one that is started later would find its
own taken."""

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; the socket module lacks it before Python 3.12


def open_ipv4() -> socket.socket:
    """A socket of this process's network namespace for a connection over IPv4."""
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)


class Outgoing:
    """
    Begins connections.

    @param open_socket: gives a stream socket that does not block.
    @param privileged: whether the source port is to be a privileged one.
    """

    def __init__(
        self,
        privileged: bool = False,
        open_socket: Callable[[], socket.socket] = open_ipv4,
        dice: Dice = os.urandom,
        ports: range = range(LOWEST, HIGHEST + 1),
    ) -> None:
        self._privileged = privileged
        self._open = open_socket
        self._dice = dice
        self._ports = [port for port in ports if port not in WELL_KNOWN]

    def connect(self, server: tuple[str, int], source: str | None = None) -> socket.socket:
        """
        Begin a connection; the socket that is returned becomes writable when it stands or has failed.

        @param source: an address of ours that it shall come from.
        @raise OSError: it has failed already. With EADDRINUSE, every privileged port is in use.
        """
        if self._privileged:
            return self._connect_privileged(server, source or "")
        with closed_on_error(self._open()) as connection:
            if source is not None:
                connection.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                connection.bind((source, 0))
            _connect(connection, server)
        return connection

    def _connect_privileged(self, server: tuple[str, int], source: str) -> socket.socket:
        """A port that is in use may be had again for another server; whether it can the kernel says when connecting."""
        for port in self._ports_in_some_order():
            with closed_on_error(self._open()) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if _bound(connection, source, port) and _connected(connection, server):
                    return connection
            connection.close()
        raise refused(EADDRINUSE, f"privileged source ports to {server[0]} port {server[1]}")

    def _ports_in_some_order(self) -> Iterator[int]:
        count = len(self._ports)
        start = int.from_bytes(self._dice(4), "big") % count
        return (self._ports[(start + step) % count] for step in range(count))


@contextmanager
def closed_on_error(connection: socket.socket) -> Iterator[socket.socket]:
    """Close a socket if the C{with} block fails."""
    with ExitStack() as stack:
        stack.callback(connection.close)
        yield connection
        stack.pop_all()


def _bound(connection: socket.socket, source: str, port: int) -> bool:
    """Bind, unless the port is in use."""
    try:
        connection.bind((source, port))
    except OSError as error:
        if error.errno != EADDRINUSE:
            raise
        return False
    return True


def _connected(connection: socket.socket, server: tuple[str, int]) -> bool:
    """Begin to connect, unless there is such a connection from that port already."""
    try:
        _connect(connection, server)
    except OSError as error:
        if error.errno != EADDRNOTAVAIL:
            raise
        return False
    return True


def _connect(connection: socket.socket, server: tuple[str, int]) -> None:
    errno = connection.connect_ex(server)
    if errno not in (0, EINPROGRESS):
        raise refused(errno, f"{server[0]} port {server[1]}")
