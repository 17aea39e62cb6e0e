# SPDX-License-Identifier: MIT
"""What sessions share: pipes, an epoll set, and a patience of one length."""

import os
import socket
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from zope.interface.verify import verifyObject

from miredo.faith.pipes import Pipe, Pipes
from miredo.faith.relaying_events import CLOSING, Events, Side
from miredo.faith.relaying_idle import Patience
from miredo.kernel.memory import MemoryClock
from tests.faith.test_accepting import no_descriptor_left
from tests.namespaced import install_reactor, open_descriptors, pause, run_reactor, until


def test_only_so_many_pipes_are_lent_and_few_are_kept(closes_descriptors: None) -> None:
    pipes = Pipes(most=3, spare=1)
    before = len(open_descriptors())
    lent = [pipe for pipe in (pipes.take() for _ in range(4)) if pipe is not None]
    assert (len(lent), pipes.in_use) == (3, 3)
    for pipe in lent:
        pipes.give_back(pipe)
    assert pipes.in_use == 0
    assert len(open_descriptors()) == before + 2
    assert pipes.take() is lent[0]
    pipes.give_back(lent[0])
    pipes.close()


def test_a_pipe_that_holds_something_is_not_lent_again(closes_descriptors: None) -> None:
    pipes = Pipes()
    pipe = pipes.take()
    assert pipe is not None
    pipe.held = os.write(pipe.writing, b"of somebody else")
    pipes.give_back(pipe)
    other = pipes.take()
    assert other is not None
    with pytest.raises(BlockingIOError):
        os.read(other.reading, 1)
    pipes.close()
    pipes.give_back(other)


@pytest.mark.namespaced
def test_without_descriptors_there_is_no_pipe(closes_descriptors: None) -> None:
    pipes = Pipes()
    with no_descriptor_left():
        assert pipes.take() is None
    assert pipes.in_use == 0


def test_a_pipe_holds_what_it_says(closes_descriptors: None) -> None:
    pipe = Pipe()
    assert os.write(pipe.writing, bytes(pipe.capacity)) == pipe.capacity
    with pytest.raises(BlockingIOError):
        os.write(pipe.writing, b"more")
    pipe.close()


def test_five_thousand_wait_by_one_alarm() -> None:
    clock = MemoryClock(now=0.0)
    expired: list[int] = []
    patience = Patience[int](clock, 1800.0, expired.append)
    for who in range(5000):
        patience.touch(who, clock.now())
        clock.advance(0.1)
    assert clock.armed == [1800.0]
    for who in range(0, 5000, 2):
        patience.touch(who, clock.now())
    clock.advance(1300.0 - 0.001)
    assert expired == []
    assert len(clock.armed) == 1
    clock.advance(500.0)
    assert expired == list(range(1, 5000, 2))
    clock.advance(1800.0)
    assert expired == [*range(1, 5000, 2), *range(0, 5000, 2)]
    assert (len(patience), clock.armed) == (0, [])
    patience.close()


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["touch", "forget", "wait"]), st.integers(0, 20))))
def test_who_expires_has_done_nothing_for_exactly_so_long(deeds: list[tuple[int, str, int]]) -> None:
    """Against a model that has a deadline for each."""
    clock = MemoryClock(now=0.0)
    expired: list[tuple[float, int]] = []
    model: dict[int, float] = {}
    expected: list[tuple[float, int]] = []
    patience = Patience[int](clock, 10.0, lambda who: expired.append((clock.now(), who)))
    for who, deed, seconds in [*deeds, (0, "wait", 10)]:
        match deed:
            case "touch":
                patience.touch(who, clock.now())
                model.pop(who, None)
                model[who] = clock.now() + 10.0
            case "forget":
                patience.forget(who)
                model.pop(who, None)
            case _:
                clock.advance(float(seconds))
                due = [(when, one) for one, when in model.items() if when <= clock.now()]
                expected += sorted(due, key=lambda each: each[0])
                model = {one: when for one, when in model.items() if when > clock.now()}
    assert expired == expected
    patience.close()
    assert clock.armed == []


def test_who_is_closed_while_somebody_expires_expires_nobody_else() -> None:
    clock = MemoryClock()
    expired: list[str] = []

    def close(who: str) -> None:
        expired.append(who)
        patience.close()

    patience = Patience[str](clock, 5.0, close)
    for who in ("first", "second"):
        patience.touch(who, clock.now())
    clock.advance(10.0)
    assert expired == ["first"]
    patience.touch("third", clock.now())
    patience.close()
    assert clock.armed == []


class Ear:
    """Keeps what it hears; C{then} is called each time."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.heard: list[tuple[Side, int, float]] = []
        self._then = then

    def notified(self, side: Side, events: int, now: float) -> None:
        self.heard.append((side, events, now))
        self._then()


@pytest.mark.namespaced
def test_a_number_that_is_used_again_hears_nothing_of_its_past(closes_descriptors: None) -> None:
    async def body() -> None:
        events = Events(install_reactor(), MemoryClock())
        pairs = [socket.socketpair(), socket.socketpair()]
        sides = [Side(ours) for ours, _ in pairs]
        fresh: list[Side] = []

        def replace() -> None:
            """Both have news; whoever hears first replaces the other."""
            if fresh:
                return
            other = next(side for side in sides if side is not ear.heard[0][0])
            number = other.fd
            events.forget(other)
            other.socket.close()
            fresh.extend(Side(one) for one in socket.socketpair())
            assert number in {side.fd for side in fresh}
            events.watch(next(side for side in fresh if side.fd == number), newcomer)

        ear, newcomer = Ear(replace), Ear()
        for side, (_, theirs) in zip(sides, pairs, strict=True):
            theirs.close()
            events.watch(side, ear)
        await until(lambda: newcomer.heard != [])
        assert len(ear.heard) == 1
        assert not any(seen & CLOSING for _, seen, _ in newcomer.heard)
        events.close()
        for one in [*sides, *fresh]:
            one.socket.close()

    run_reactor(body())


@pytest.mark.namespaced
def test_a_socket_that_nobody_waits_for_makes_no_noise(closes_descriptors: None) -> None:
    async def body() -> None:
        events, ear = Events(install_reactor(), MemoryClock(now=7.0)), Ear()
        ours, theirs = socket.socketpair()
        side = Side(ours)
        events.watch(side, ear)
        theirs.sendall(b"unread")
        await until(lambda: ear.heard != [])
        count = len(ear.heard)
        await pause(0.05)
        assert len(ear.heard) == count
        events.again(side)
        await until(lambda: len(ear.heard) == count + 1)
        assert {now for _, _, now in ear.heard} == {7.0}
        ours.close()
        theirs.close()
        events.close()

    run_reactor(body())


@pytest.mark.namespaced
def test_a_failing_listener_is_logged_and_the_others_hear(closes_descriptors: None) -> None:
    def stumble() -> None:
        raise KeyError("listener")

    async def body() -> None:
        events, ears = Events(install_reactor(), MemoryClock()), [Ear(stumble), Ear(stumble)]
        pairs = [socket.socketpair(), socket.socketpair()]
        for (ours, _), ear in zip(pairs, ears, strict=True):
            events.watch(Side(ours), ear)
        await until(lambda: all(ear.heard for ear in ears))
        events.close()
        for pair in pairs:
            for one in pair:
                one.close()

    run_reactor(body(), expected=(KeyError,))


@pytest.mark.namespaced
def test_a_set_that_the_reactor_gives_up_is_closed(closes_descriptors: None) -> None:
    events = Events(install_reactor(), MemoryClock())
    assert verifyObject(IReadDescriptor, events)
    assert events.logPrefix() == "relays"
    fail(ConnectionLost()).addErrback(events.connectionLost)
    assert events.fileno() == -1
    events.close()
