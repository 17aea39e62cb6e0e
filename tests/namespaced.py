# SPDX-License-Identifier: MIT
"""
Tests inside network namespaces: C{@pytest.mark.namespaced} runs a test's body in a forked child that has entered
private namespaces first; L{run_reactor} runs an asynchronous body there, on the real reactor.

The process that collects the tests never imports the reactor, so that each child installs one of its own.
"""

import faulthandler
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import TracebackType
from typing import NoReturn, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore, IReactorFDSet, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.kernel.userns import NoNamespaces, enter_lab

LIMIT = 60.0
"""Seconds that a test in a child may take."""

REACTOR = "twisted.internet.reactor"

T = TypeVar("T")


class ForkedTestFailed(Exception):
    """A test failed in its child; the text is the child's traceback."""


def run_in_namespaces(body: Callable[[], None], show: Callable[[BaseException], str], limit: float = LIMIT) -> None:
    """
    Run C{body} in a forked child with namespaces of its own, and end as it ended: well, skipped or failed.

    @param show: makes the text of what C{body} raised.
    @raise ForkedTestFailed: C{body} raised something, took too long, or ended its process.
    """
    if REACTOR in sys.modules:
        raise ForkedTestFailed(f"{REACTOR} has been imported outside of a namespaced test")
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _live(body, show, writing)
    os.close(writing)
    try:
        answer = _read_to_the_end(reading, child, limit)
    finally:
        os.close(reading)
        status = _end(child)
    if answer is None:
        raise ForkedTestFailed(f"no end after {limit:g} s")
    if not answer:
        raise ForkedTestFailed(f"the test ended its process, wait status {status}")
    outcome, text = json.loads(answer)
    if outcome == "skipped":
        pytest.skip(text)
    if outcome == "failed":
        raise ForkedTestFailed(text)


def run_reactor(
    body: Coroutine[Deferred[object], object, T] | Generator[Deferred[object], object, T],
    timeout: float = 10.0,
    expected: tuple[type[BaseException], ...] = (),
) -> T:
    """
    Run an asynchronous test body on the real reactor, which can be done once a child; what it returns.

    @param expected: the kinds of failure that may be logged meanwhile.
    @raise TimeoutError: it has not ended after C{timeout} seconds.
    @raise AssertionError: a failure was logged, or a descriptor or a delayed call was left in the reactor.
    """
    reactor = install_reactor()
    core, timers = IReactorCore(reactor), IReactorTime(reactor)
    run: Callable[..., None] = core.run
    own_readers = set(reactor.getReaders())
    results: list[T] = []
    failures: list[Failure] = []

    def late(_: object, seconds: float) -> NoReturn:
        raise TimeoutError(f"no end after {seconds:g} s")

    def start() -> None:
        outcome = Deferred.fromCoroutine(body).addTimeout(timeout, timers, late)
        outcome.addCallbacks(results.append, failures.append)
        outcome.addCallback(lambda _: core.crash())

    core.callWhenRunning(start)
    with logged_failures() as logged:
        run(installSignalHandlers=False)
    if failures:
        failures[0].raiseException()
    unexpected = [failure.getTraceback() for failure in logged if not isinstance(failure.value, expected)]
    assert unexpected == [], "a failure was logged:\n" + "\n".join(unexpected)
    assert set(reactor.getReaders()) <= own_readers, "a descriptor was left in the reactor"
    assert list(timers.getDelayedCalls()) == [], "a delayed call was left in the reactor"
    return results[0]


def install_reactor() -> IReactorFDSet:
    """This child's reactor: on Linux, Twisted's choice is epoll."""
    return IReactorFDSet(import_module(REACTOR))


async def pause(seconds: float) -> None:
    """Let the reactor run that long."""
    await deferLater(IReactorTime(install_reactor()), seconds)


async def until(holds: Callable[[], bool], limit: float = 5.0) -> None:
    """Let the reactor run until C{holds()}."""
    deadline = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < deadline, f"not so after {limit:g} s"
        await pause(0.002)


@contextmanager
def logged_failures() -> Iterator[list[Failure]]:
    """Collects the failures that are logged inside the C{with} block."""
    observer = _FailureObserver()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer.failures
    finally:
        globalLogPublisher.removeObserver(observer)


@implementer(ILogObserver)
class _FailureObserver:
    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def __call__(self, event: LogEvent) -> None:
        if isinstance(failure := event.get("log_failure"), Failure):
            self.failures.append(failure)


@contextmanager
def descriptors_closed() -> Iterator[None]:
    """Asserts that a C{with} block closes every descriptor that it opens."""
    before = open_descriptors()
    yield
    after = open_descriptors()
    left = {number: target for number, target in after.items() if before.get(number) != target}
    assert not left, f"left open: {left}"
    assert after == before, "closed what it had not opened"


def open_descriptors() -> dict[int, str]:
    """What this process has open: the target of each link in /proc/self/fd."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own descriptor
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


class _Reporting:
    """Ends the process after a C{with} block, and writes into a pipe how the block ended."""

    def __init__(self, writing: int, show: Callable[[BaseException], str]) -> None:
        self._writing = writing
        self._show = show

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The pipe stays open: its end tells the parent that the process has ended, coverage data written.
        with open(self._writing, "w", closefd=False) as pipe:
            json.dump(self._outcome(error), pipe)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    def _outcome(self, error: BaseException | None) -> tuple[str, str]:
        match error:
            case None:
                return "passed", ""
            case NoNamespaces() | pytest.skip.Exception():
                return "skipped", str(error)
            case _:
                return "failed", self._show(error)


def _live(body: Callable[[], None], show: Callable[[BaseException], str], writing: int) -> NoReturn:
    with _Reporting(writing, show):
        os.setpgid(0, 0)
        faulthandler.register(signal.SIGUSR1, file=2)
        enter_lab()
        body()
    raise AssertionError("the report ends the process")


def _read_to_the_end(reading: int, child: int, limit: float) -> bytes | None:
    deadline = time.monotonic() + limit
    answer = b""
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            _ask_where(child)
            return None
        chunk = os.read(reading, 65536)
        if not chunk:
            return answer
        answer += chunk


def _ask_where(child: int) -> None:
    os.kill(child, signal.SIGUSR1)  # faulthandler writes to the captured standard error where the child is
    time.sleep(0.2)


def _end(child: int) -> int:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(child, signal.SIGKILL)
        os.killpg(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]
