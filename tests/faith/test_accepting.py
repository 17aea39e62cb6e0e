# SPDX-License-Identifier: MIT
"""Connections come in with the addresses of both ends; a lack of descriptors makes them wait, and nothing else does."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ECONNABORTED, EMFILE, ENFILE
from functools import partial
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

import pytest
from twisted.internet.defer import fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from zope.interface.verify import verifyObject

from miredo.faith.accepting import BATCH, PAUSE, Acceptor, Address
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.memory import MemoryClock
from tests.faith.relaying_lane import heard, listening
from tests.namespaced import install_reactor, open_descriptors, pause, run_reactor, until


class Arrivals:
    """Keeps what arrives at a listening socket on C{host}."""

    def __init__(self, host: str = "::1", family: socket.AddressFamily = socket.AF_INET6) -> None:
        self.clock = MemoryClock()
        self.came: list[tuple[socket.socket, Address, Address]] = []
        listener = listening(family, host)
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self.acceptor = Acceptor(install_reactor(), self.clock, listener, self._keep)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address)

    def close(self) -> None:
        self.acceptor.close()
        for connection, _, _ in self.came:
            connection.close()

    def _keep(self, connection: socket.socket, local: Address, peer: Address) -> None:
        self.came.append((connection, local, peer))


@contextmanager
def arrivals(host: str = "::1", family: socket.AddressFamily = socket.AF_INET6) -> Iterator[Arrivals]:
    opened = Arrivals(host, family)
    opened.acceptor.resume()
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Lets this process open no descriptor more."""
    limits = getrlimit(RLIMIT_NOFILE)
    taken = []
    setrlimit(RLIMIT_NOFILE, (max(open_descriptors()) + 2, limits[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        setrlimit(RLIMIT_NOFILE, limits)
        for number in taken:
            os.close(number)


@pytest.mark.parametrize(("host", "family"), [("::1", socket.AF_INET6), ("127.0.0.1", socket.AF_INET)])
@pytest.mark.namespaced
def test_a_connection_comes_with_both_addresses(
    host: str, family: socket.AddressFamily, closes_descriptors: None
) -> None:
    async def body() -> None:
        with arrivals(host, family) as opened, opened.connect() as client:
            await until(lambda: len(opened.came) == 1)
            connection, local, peer = opened.came[0]
            assert local == (*opened.address, 0)
            assert peer == (*client.getsockname()[:2], 0)
            assert not connection.getblocking()
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE) == 1
            assert not connection.get_inheritable()

    run_reactor(body())


@pytest.mark.namespaced
def test_many_at_once_all_come_in(closes_descriptors: None) -> None:
    async def body() -> None:
        count = 3 * BATCH + 1
        with arrivals() as opened:
            clients = [opened.connect() for _ in range(count)]
            opened.acceptor.doRead()
            assert len(opened.came) == BATCH
            await until(lambda: len(opened.came) == count)
            for client in clients:
                client.close()

    run_reactor(body())


@pytest.mark.namespaced
def test_without_descriptors_new_connections_wait_and_then_come(closes_descriptors: None) -> None:
    async def body() -> None:
        with arrivals() as opened, socket.socket(socket.AF_INET6) as client:
            with no_descriptor_left():
                client.connect(opened.address)
                await until(lambda: opened.clock.armed == [opened.clock.now() + PAUSE])
                opened.clock.advance(PAUSE)
                await until(lambda: opened.clock.armed == [opened.clock.now() + PAUSE])
                assert opened.came == []
            await pause(0.05)
            assert opened.came == []
            opened.clock.advance(PAUSE)
            await until(lambda: len(opened.came) == 1)
            assert opened.clock.armed == []
            client.sendall(b"patient")
            assert await heard(opened.came[0][0]) == b"patient"

    run_reactor(body())


class Failing(socket.socket):
    """A listening socket whose C{accept} fails with the errors given, and then as ever."""

    errors: tuple[int, ...] = ()

    def accept(self) -> tuple[socket.socket, object]:
        if self.errors:
            errno, self.errors = self.errors[0], self.errors[1:]
            raise OSError(errno, os.strerror(errno))
        return super().accept()


@pytest.mark.parametrize(("errors", "pauses"), [((ECONNABORTED,) * 3, 0), ((EMFILE, ENFILE), 2)])
@pytest.mark.namespaced
def test_a_connection_that_failed_does_not_hinder_the_next(
    errors: tuple[int, ...], pauses: int, closes_descriptors: None
) -> None:
    async def body() -> None:
        clock, came = MemoryClock(), list[socket.socket]()
        listener = Failing(socket.AF_INET6)
        listener.bind(("::1", 0))
        listener.listen()
        listener.errors = errors
        acceptor = Acceptor(install_reactor(), clock, listener, lambda connection, local, peer: came.append(connection))
        acceptor.resume()
        with socket.create_connection(listener.getsockname()[:2]):
            for _ in range(pauses):
                await until(lambda: clock.armed != [])
                assert came == []
                clock.advance(PAUSE)
            await until(lambda: len(came) == 1)
        came[0].close()
        acceptor.close()

    run_reactor(body())


@pytest.mark.namespaced
def test_who_is_paused_accepts_nobody_until_resumed(closes_descriptors: None) -> None:
    async def body() -> None:
        with arrivals() as opened:
            opened.acceptor.pause()
            with opened.connect(), opened.connect():
                await pause(0.05)
                assert (opened.came, opened.clock.armed) == ([], [])
                opened.acceptor.resume()
                await until(lambda: len(opened.came) == 2)

    run_reactor(body())


@pytest.mark.namespaced
def test_who_pauses_while_a_connection_comes_gets_no_other(closes_descriptors: None) -> None:
    async def body() -> None:
        came: list[socket.socket] = []

        def one_only(connection: socket.socket, local: Address, peer: Address) -> None:
            came.append(connection)
            acceptor.pause()

        listener = listening(socket.AF_INET6, "::1")
        acceptor = Acceptor(install_reactor(), BoottimeClock(install_reactor()), listener, one_only)
        address = listener.getsockname()[:2]
        with socket.create_connection(address), socket.create_connection(address):
            acceptor.resume()
            await pause(0.05)
            assert len(came) == 1
            acceptor.resume()
            await until(lambda: len(came) == 2)
        acceptor.close()
        for connection in came:
            connection.close()

    run_reactor(body())


@pytest.mark.namespaced
def test_a_failing_receiver_is_logged_and_the_next_connection_comes(closes_descriptors: None) -> None:
    async def body() -> None:
        came: list[socket.socket] = []

        def stumble(connection: socket.socket, local: Address, peer: Address) -> None:
            came.append(connection)
            raise KeyError("receiver")

        def arrived(count: int) -> bool:
            return len(came) == count

        listener = listening(socket.AF_INET6, "::1")
        acceptor = Acceptor(install_reactor(), BoottimeClock(install_reactor()), listener, stumble)
        acceptor.resume()
        for count in (1, 2):
            with socket.create_connection(listener.getsockname()[:2]):
                await until(partial(arrived, count))
        acceptor.close()
        for connection in came:
            connection.close()

    run_reactor(body(), expected=(KeyError,))


@pytest.mark.namespaced
def test_an_acceptor_that_the_reactor_gives_up_is_closed(closes_descriptors: None) -> None:
    opened = Arrivals()
    assert verifyObject(IReadDescriptor, opened.acceptor)
    assert opened.acceptor.logPrefix() == "acceptor"
    fail(ConnectionLost()).addErrback(opened.acceptor.connectionLost)
    assert opened.acceptor.fileno() == -1
    opened.close()
    with pytest.raises(ConnectionRefusedError):
        opened.connect()
