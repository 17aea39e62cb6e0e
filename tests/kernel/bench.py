# SPDX-License-Identifier: MIT
"""
Where a contract is tested: the same test body runs on memory, and on the kernel inside namespaces, by this process's
own privileges or by those of a child.

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
from miredo.kernel.interfaces import IClock, IEndpoints, INetwork
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryInternet
from miredo.kernel.namespaces import create_namespace
from miredo.kernel.netlink import KernelNetwork
from miredo.kernel.privileged.charge import Charge
from miredo.kernel.privileged.worker import PrivilegedChild
from tests.namespaced import install_reactor, pause, run_reactor, until

Body = Coroutine[Deferred[object], object, None]


class Bench(Protocol):
    """One of the two implementations of L{miredo.kernel.interfaces}."""

    clock: IClock

    def endpoints(self, namespace: str | None = None) -> IEndpoints:
        """Of a network namespace, which is made if it is not there."""

    def plumbing(self, namespace: str | None = None) -> INetwork:
        """The network of a namespace, where any link may be changed."""

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

    def plumbing(self, namespace: str | None = None) -> INetwork:
        return self.endpoints(namespace).network()

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
        self.ensure(namespace)
        return KernelEndpoints(namespace, self._reactor)

    def plumbing(self, namespace: str | None = None) -> INetwork:
        self.ensure(namespace)
        return KernelNetwork(namespace, self._reactor)

    def run(self, body: Body) -> None:
        run_reactor(body)

    async def pause(self, seconds: float) -> None:
        await pause(seconds)

    async def until(self, holds: Callable[[], bool]) -> None:
        await until(holds)

    def ensure(self, namespace: str | None) -> None:
        """Make a namespace, if it is not there."""
        if namespace is not None and namespace not in self._namespaces:
            create_namespace(namespace)
            self._namespaces.add(namespace)


class PrivilegedBench(KernelBench):
    """The kernel, by way of a privileged child that permits what the tests of contracts ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.child = PrivilegedChild.spawn(Charge("miredo", None, CONFIGURATION.encode()))
        self.lost: list[str] = []

    def endpoints(self, namespace: str | None = None) -> IEndpoints:
        self.ensure(namespace)
        return self.child.endpoints(namespace, self._reactor)

    def run(self, body: Body) -> None:
        self.child.attach(self._reactor, self.lost.append)

        async def whole() -> None:
            try:
                await body
            finally:
                await self.child.end()

        run_reactor(whole())
        assert self.lost == []


def _configuration() -> str:
    """A client and a server in each namespace, and relays that have the other names of interfaces."""
    sections = []
    for number, namespace in enumerate((None, "left", "right")):
        own = f"Namespace {namespace}\n" if namespace else ""
        sections.append(f"[client c{number}]\n{own}ServerAddress 192.0.2.1\nInterfaceName teredo\n")
        sections.append(f"[server s{number}]\n{own}ServerBindAddress 192.0.2.1\n")
        for prefix, name in (("2001:db8", "lo"), ("2001:db9", "tun"), ("2001:dba", "a23456789012345")):
            sections.append(f"[relay r{number}{name}]\n{own}Prefix {prefix}::\nInterfaceName {name}\n")
    return "".join(sections)


CONFIGURATION = _configuration()


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


def contract_of_all(test: Callable[[Bench], Body]) -> Callable[[Callable[[], Bench]], None]:
    """As L{contract}, over a privileged child too."""

    def run(any_bench: Callable[[], Bench]) -> None:
        opened = any_bench()
        opened.run(test(opened))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@contextmanager
def refused_with(*errnos: int) -> Iterator[None]:
    """Asserts that a C{with} block is refused with one of C{errnos}, and a text."""
    with pytest.raises(OSError, match=r"\[Errno \d+\] .+") as refused:
        yield
    assert refused.value.errno in errnos
