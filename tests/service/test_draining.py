# SPDX-License-Identifier: MIT
"""A relay that is told to end and has C{DrainTime}: it forwards on for that long, and not longer than it must."""

import os
import signal
import threading
from collections.abc import Callable

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorFromThreads

from miredo.service.draining import StopSignals
from miredo.service.roles import TeredoRelayService
from tests.namespaced import install_reactor, run_reactor, until
from tests.service.internet import ROLES, TeredoInternet, logging, own

DRAINING = ROLES.replace("BindPort 3545\n", "BindPort 3545\nDrainTime 20\n")


def started(text: str = DRAINING) -> tuple[TeredoInternet, TeredoRelayService]:
    """With a client that has pinged the host."""
    internet = TeredoInternet(text)
    internet.start()
    internet.run()
    internet.ping()
    internet.run()
    relay = internet.service("relay r")
    assert isinstance(relay, TeredoRelayService)
    return internet, relay


def told_to_end(internet: TeredoInternet) -> list[object]:
    """What gets an element when all has ended."""
    ended: list[object] = []
    maybeDeferred(internet.roles.stopService).addCallback(ended.append)
    return ended


def test_it_is_not_ready_forwards_for_that_long_and_then_leaves_nothing() -> None:
    internet, relay = started()
    ready = [relay.ready]
    with logging() as logged:
        ended = told_to_end(internet)
    assert logged.at("info")[0] == "relay r: not ready: forwarding for 20 s yet, until another signal at the latest"
    ready.append(relay.ready)
    assert ready == [True, False]
    internet.run(19.9)
    ping = internet.ping()
    internet.run()
    assert ping.answered is not None
    assert own(internet.relay)[1] != []
    assert ended == []
    internet.run(0.1)
    assert len(ended) == 1
    assert internet.relay.open_things() == internet.client.open_things() == internet.server.open_things() == []


def test_without_a_drain_time_it_ends_at_once() -> None:
    internet, relay = started(ROLES)
    assert len(told_to_end(internet)) == 1
    assert not relay.ready


def test_who_is_told_twice_ends_at_once() -> None:
    internet, _ = started()
    first, second = told_to_end(internet), told_to_end(internet)
    assert (len(first), len(second)) == (1, 1)
    assert internet.relay.open_things() == []
    internet.run(60.0)


def test_all_relays_are_waited_for() -> None:
    other = "[relay q]\nNamespace other\nBindAddress 192.0.2.65\nDrainTime 30\n"
    internet, _ = started(DRAINING + other)
    ended = told_to_end(internet)
    internet.run(25.0)
    assert (ended, len(internet.relay.open_things())) == ([], 3)
    internet.run(5.0)
    assert len(ended) == 1


def test_a_relay_that_never_ran_has_nothing_to_drain() -> None:
    internet = TeredoInternet(DRAINING)
    internet.roles.privilegedStartService()
    assert len(told_to_end(internet)) == 1
    assert internet.relay.open_things() == []


@pytest.mark.namespaced
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_is_heeded_until_the_wish_is_taken_back(number: signal.Signals) -> None:
    before: list[int] = []
    heeded: list[int] = []

    async def body() -> None:
        signal.signal(number, lambda number, _: before.append(number))
        restore = StopSignals(IReactorFromThreads(install_reactor())).heed(lambda: heeded.append(number))
        os.kill(os.getpid(), number)
        await until(lambda: heeded != [])
        restore()
        os.kill(os.getpid(), number)
        await until(lambda: before != [])

    run_reactor(body())
    assert (heeded, before) == ([number], [number])


@pytest.mark.namespaced
def test_another_thread_has_no_signals_to_heed() -> None:
    wishes: list[Callable[[], None]] = []

    def elsewhere() -> None:
        wishes.append(StopSignals(IReactorFromThreads(install_reactor())).heed(lambda: None))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    wishes[0]()
