# SPDX-License-Identifier: MIT
"""A relay on the loopback of a test's own namespace: from [::1] to 127.0.0.1, with both ends in the test's hands."""

import select
import socket
import struct
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fcntl import ioctl
from termios import FIONREAD
from typing import TypeVar

from miredo.faith.accepting import Acceptor, Address
from miredo.faith.pipes import Pipes
from miredo.faith.relaying import Ended, Relay, Relays, Terms
from miredo.faith.relaying_flow import SIOCATMARK
from miredo.faith.relaying_outgoing import Outgoing
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.interfaces import IClock
from tests.namespaced import install_reactor, until

T = TypeVar("T")
Pair = tuple[socket.socket, socket.socket]
Answer = tuple[bytes, list[int]]
"""What came, and which of its bytes stood at a mark."""

RESET = struct.pack("ii", 1, 0)
LIMIT = 20.0


def listening(family: socket.AddressFamily, host: str, backlog: int = 4096) -> socket.socket:
    """A listening socket whose connections keep urgent bytes among the others."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    listener.bind((host, 0))
    listener.listen(backlog)
    return listener


class Lane:
    """
    A relay service and the server behind it.

    @ivar ended: how the sessions ended.
    """

    def __init__(
        self,
        terms: Terms | None = None,
        clock: IClock | None = None,
        outgoing: Outgoing | None = None,
        server: socket.socket | None = None,
        pipes: Pipes | None = None,
    ) -> None:
        reactor = install_reactor()
        boottime = BoottimeClock(reactor)
        self.relays = Relays(reactor, clock or boottime, terms, outgoing, pipes)
        self.server = server or listening(socket.AF_INET, "127.0.0.1")
        self.destination: tuple[str, int] = self.server.getsockname()
        entrance = listening(socket.AF_INET6, "::1")
        self.entrance: tuple[str, int] = entrance.getsockname()[:2]
        self.acceptor = Acceptor(reactor, boottime, entrance, self._accepted)
        self.acceptor.resume()
        self.ended: list[Ended] = []
        self._open: list[socket.socket] = [self.server]

    def client(self) -> socket.socket:
        """Connect to the relay."""
        return self._kept(self.connect())

    def connect(self) -> socket.socket:
        """Likewise, in any thread; whoever calls closes it."""
        return socket.create_connection(self.entrance, LIMIT)

    async def pair(self) -> Pair:
        """A session: the client's socket and the server's."""
        client = self.client()
        await until(lambda: readable(self.server))
        server, _ = self.server.accept()
        return client, self._kept(server)

    async def over(self) -> Ended:
        """How the next session ends."""
        await until(lambda: bool(self.ended), LIMIT)
        return self.ended.pop()

    def close(self) -> None:
        self.acceptor.close()
        self.relays.close()
        for connection in self._open:
            connection.close()

    def _kept(self, connection: socket.socket) -> socket.socket:
        self._open.append(connection)
        return connection

    def _accepted(self, connection: socket.socket, local: Address, peer: Address) -> None:
        Relay(self.relays, connection, self.ended.append).begin(self.destination)


@contextmanager
def lane(
    terms: Terms | None = None,
    clock: IClock | None = None,
    outgoing: Outgoing | None = None,
    server: socket.socket | None = None,
    pipes: Pipes | None = None,
) -> Iterator[Lane]:
    """A relay service for the time of a C{with} block."""
    opened = Lane(terms, clock, outgoing, server, pipes)
    try:
        yield opened
    finally:
        opened.close()


async def elsewhere(*calls: Callable[[], T]) -> list[T]:
    """What calls that may block return; each has a thread of its own."""
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        await until(lambda: all(future.done() for future in futures), LIMIT)
        return [future.result() for future in futures]


def readable(connection: socket.socket) -> bool:
    """Whether C{recv} would not wait."""
    return bool(select.select([connection], [], [], 0)[0])


async def heard(connection: socket.socket) -> bytes | None:
    """What comes next: bytes, none of them at the end, C{None} for a reset."""
    await until(lambda: readable(connection))
    try:
        return connection.recv(1 << 20)
    except ConnectionResetError:
        return None


async def heard_all(connection: socket.socket, count: int) -> bytes:
    """The next so many bytes."""
    came = b""
    while len(came) < count:
        piece = await heard(connection)
        assert piece, f"{len(came)} bytes of {count}, then {piece!r}"
        came += piece
    return came


def reset(connection: socket.socket) -> None:
    """Close it by a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


def fill(connection: socket.socket, patience: float = 0.2) -> int:
    """Send until there is no room for so long; how many bytes had room."""
    connection.settimeout(patience)
    piece, sent = bytes(1 << 16), 0
    while True:
        try:
            sent += connection.send(piece)
        except TimeoutError:
            connection.settimeout(LIMIT)
            return sent


def ask(connection: socket.socket, question: int) -> int:
    answer = array("i", [0])
    ioctl(connection.fileno(), question, answer)
    return answer[0]


def read_marks(connection: socket.socket) -> Answer:
    """Read to the end, and look for a mark before each read."""
    data = bytearray()
    marks: list[int] = []
    while True:
        select.select([connection], [], [], LIMIT)
        waiting = ask(connection, FIONREAD)
        if waiting == 0:
            if connection.recv(1, socket.MSG_PEEK) == b"":
                return bytes(data), marks
        elif ask(connection, SIOCATMARK):
            marks.append(len(data))
            data += connection.recv(1)
        else:
            data += connection.recv(waiting)


def say(connection: socket.socket, script: list[tuple[bytes, bool]], gap: float) -> None:
    """Send pieces, those with C{True} urgently, some time apart; then the end."""
    for piece, urgent in script:
        if urgent:
            assert connection.send(piece, socket.MSG_OOB) == len(piece)
        else:
            connection.sendall(piece)
        time.sleep(gap)
    connection.shutdown(socket.SHUT_WR)
