# SPDX-License-Identifier: MIT
"""
Where a contract is tested: the same test body runs on memory, and on the kernel inside namespaces.

A body is asynchronous; on memory it never really waits, because L{Bench.pause} advances the clock.
"""

import functools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Protocol

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.interfaces import IClock, IEndpoints
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryInternet
from miredo.kernel.namespaces import create_namespace
from tests.namespaced import install_reactor, pause, run_reactor, until

Body = Coroutine[Deferred[object], object, None]


class Bench(Protocol):
    """One of the two implementations of L{miredo.kernel.interfaces}."""

    clock: IClock

    def endpoints(self, namespace: str | None = None) -> IEndpoints:
        """Of a network namespace, which is made if it is not there."""

    def run(self, body: Body) -> None:
        """Run a test's body."""

    async def pause(self, seconds: float) -> None:
        """Let time pass."""

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what is under way."""


class MemoryBench:
    """The fakes."""

    def __init__(self) -> None:
        self.memory_clock = MemoryClock()
        self.clock: IClock = self.memory_clock
        self._internet = MemoryInternet(self.memory_clock)
        self._endpoints: dict[str | None, MemoryEndpoints] = {}

    def endpoints(self, namespace: str | None = None) -> IEndpoints:
        if namespace not in self._endpoints:
            self._endpoints[namespace] = MemoryEndpoints(self._internet, namespace=namespace)
        return self._endpoints[namespace]

    def run(self, body: Body) -> None:
        results: list[None] = []
        failures: list[Failure] = []
        Deferred.fromCoroutine(body).addCallbacks(results.append, failures.append)
        if failures:
            failures[0].raiseException()
        assert results == [None], "the body waits for something that memory does not do"

    async def pause(self, seconds: float) -> None:
        self.memory_clock.advance(seconds)

    async def until(self, holds: Callable[[], bool]) -> None:
        self.memory_clock.advance(0)
        assert holds()


class KernelBench:
    """The kernel, in the forked child of a C{namespaced} test."""

    def __init__(self) -> None:
        self._reactor = install_reactor()
        self._namespaces: set[str | None] = {None}
        self.clock: IClock = BoottimeClock(self._reactor)

    def endpoints(self, namespace: str | None = None) -> IEndpoints:
        if namespace is not None and namespace not in self._namespaces:
            create_namespace(namespace)
            self._namespaces.add(namespace)
        return KernelEndpoints(namespace, self._reactor)

    def run(self, body: Body) -> None:
        run_reactor(body)

    async def pause(self, seconds: float) -> None:
        await pause(seconds)

    async def until(self, holds: Callable[[], bool]) -> None:
        await until(holds)


class Recorder(DatagramProtocol):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, tuple[str, int]]] = []

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.received.append((datagram, addr))


async def stop(*ports: IUDPTransport) -> None:
    """Stop listening."""
    for port in ports:
        if (stopped := port.stopListening()) is not None:
            await stopped


def contract(test: Callable[[Bench], Body]) -> Callable[[Callable[[], Bench]], None]:
    """Make a test of an asynchronous body whose argument is a L{Bench}."""

    @functools.wraps(test)
    def run(bench: Callable[[], Bench]) -> None:
        opened = bench()
        opened.run(test(opened))

    return run


@contextmanager
def refused_with(*errnos: int) -> Iterator[None]:
    """Asserts that a C{with} block is refused with one of C{errnos}, and a text."""
    with pytest.raises(OSError, match=r"\[Errno \d+\] .+") as refused:
        yield
    assert refused.value.errno in errnos
