# SPDX-License-Identifier: MIT
"""Contract of L{IClock} and L{IAlarm}, and what only one of the two clocks can show."""

import os
import time
from collections.abc import Callable
from errno import EAGAIN, EBADF, ECANCELED

import pytest
from twisted.internet.defer import fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from zope.interface.verify import verifyObject

from miredo.kernel.clock import BoottimeClock, WallClockSteps
from miredo.kernel.interfaces import IAlarm, IClock
from miredo.kernel.libc import create_step_timer
from miredo.kernel.memory import MemoryClock
from tests.kernel.bench import Bench, contract, refused_with
from tests.namespaced import install_reactor, pause, run_reactor, until

TICK = 0.03


@contract
async def test_clock_and_alarm_keep_their_interfaces(bench: Bench) -> None:
    alarm = bench.clock.alarm(lambda: None)
    assert verifyObject(IClock, bench.clock)
    assert verifyObject(IAlarm, alarm)
    alarm.cancel()


@contract
async def test_alarms_ring_in_the_order_of_their_deadlines(bench: Bench) -> None:
    rung: list[str] = []
    late = bench.clock.alarm(lambda: rung.append("late"))
    early = bench.clock.alarm(lambda: rung.append("early"))
    start = bench.clock.now()
    late.arm(start + 2 * TICK)
    early.arm(start + TICK)
    await bench.pause(4 * TICK)
    assert rung == ["early", "late"]
    late.cancel()
    early.cancel()


@contract
async def test_an_alarm_does_not_ring_before_its_deadline(bench: Bench) -> None:
    rung: list[float] = []
    alarm = bench.clock.alarm(lambda: rung.append(bench.clock.now()))
    deadline = bench.clock.now() + TICK
    alarm.arm(deadline)
    await bench.pause(3 * TICK)
    assert len(rung) == 1
    assert rung[0] >= deadline
    alarm.cancel()


@contract
async def test_an_alarm_rings_once_for_one_deadline(bench: Bench) -> None:
    rung: list[str] = []
    alarm = bench.clock.alarm(lambda: rung.append("rung"))
    alarm.arm(bench.clock.now() + TICK)
    await bench.pause(4 * TICK)
    assert rung == ["rung"]
    alarm.cancel()


@contract
async def test_a_new_deadline_replaces_the_one_before(bench: Bench) -> None:
    rung: list[float] = []
    alarm = bench.clock.alarm(lambda: rung.append(bench.clock.now()))
    start = bench.clock.now()
    alarm.arm(start + TICK)
    alarm.arm(start + 3 * TICK)
    await bench.pause(5 * TICK)
    assert len(rung) == 1
    assert rung[0] >= start + 3 * TICK
    alarm.cancel()


@contract
async def test_a_disarmed_alarm_is_silent(bench: Bench) -> None:
    rung: list[str] = []
    alarm = bench.clock.alarm(lambda: rung.append("rung"))
    alarm.arm(bench.clock.now() + TICK)
    alarm.arm(None)
    await bench.pause(3 * TICK)
    assert rung == []
    alarm.cancel()


@contract
async def test_a_past_deadline_rings_soon_but_not_inside_arm(bench: Bench) -> None:
    rung: list[str] = []
    alarm = bench.clock.alarm(lambda: rung.append("rung"))
    for deadline in (bench.clock.now() - 5, 0.0, -1.0):
        rung.clear()
        alarm.arm(deadline)
        assert rung == []
        await bench.until(lambda: rung == ["rung"])
    alarm.cancel()


@contract
async def test_an_alarm_can_be_armed_while_it_rings(bench: Bench) -> None:
    rung: list[float] = []

    def ring() -> None:
        rung.append(bench.clock.now())
        if len(rung) < 3:
            alarm.arm(bench.clock.now() + TICK)

    alarm = bench.clock.alarm(ring)
    alarm.arm(bench.clock.now())
    await bench.pause(5 * TICK)
    assert len(rung) == 3
    alarm.cancel()


@contract
async def test_an_alarm_can_be_cancelled_while_it_rings(bench: Bench) -> None:
    rung: list[str] = []

    def ring() -> None:
        rung.append("rung")
        alarm.cancel()

    alarm = bench.clock.alarm(ring)
    alarm.arm(bench.clock.now())
    await bench.until(lambda: rung == ["rung"])


@contract
async def test_a_cancelled_alarm_is_silent_and_cannot_be_armed(bench: Bench) -> None:
    rung: list[str] = []
    alarm = bench.clock.alarm(lambda: rung.append("rung"))
    alarm.arm(bench.clock.now() + TICK)
    alarm.cancel()
    alarm.cancel()
    await bench.pause(2 * TICK)
    assert rung == []
    with refused_with(EBADF):
        alarm.arm(bench.clock.now())


@contract
async def test_nobody_is_told_of_a_suspension_that_was_none(bench: Bench) -> None:
    told: list[str] = []
    take_back = bench.clock.resumed(lambda: told.append("resumed"))
    alarm = bench.clock.alarm(lambda: told.append("rung"))
    alarm.arm(bench.clock.now())
    await bench.until(lambda: told == ["rung"])
    alarm.cancel()
    take_back()


@pytest.mark.namespaced
def test_the_kernel_clock_is_boottime() -> None:
    clock = BoottimeClock(install_reactor())
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    now = clock.now()
    assert before <= now <= time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.namespaced
def test_a_suspension_is_told_once_before_the_alarm_rings() -> None:
    asleep = [0.0]
    told: list[str] = []
    clock = BoottimeClock(install_reactor(), monotonic=lambda: time.monotonic() - asleep[0])

    async def body() -> None:
        take_back = clock.resumed(lambda: told.append("resumed"))
        alarm = clock.alarm(lambda: told.append("rung"))
        asleep[0] = 0.5
        alarm.arm(clock.now())
        await until(lambda: told == ["rung"])
        asleep[0] = 1.7
        alarm.arm(clock.now())
        await until(lambda: told == ["rung", "resumed", "rung"])
        alarm.arm(clock.now())
        await until(lambda: told == ["rung", "resumed", "rung", "rung"])
        alarm.cancel()
        take_back()

    run_reactor(body())


@pytest.mark.requirement("C62")
@pytest.mark.namespaced
def test_a_suspension_is_told_before_any_alarm_is_due() -> None:
    """The kernel tells waking and setting the wall clock alike; an eventfd stands for its timer here."""
    asleep = [0.0]
    told: list[str] = []
    news = os.eventfd(0, os.EFD_NONBLOCK)
    clock = BoottimeClock(
        install_reactor(), monotonic=lambda: time.monotonic() - asleep[0], step_timer=lambda: os.dup(news)
    )

    async def body() -> None:
        take_back = clock.resumed(lambda: told.append("resumed"))
        os.eventfd_write(news, 1)
        await pause(TICK)
        assert told == []
        asleep[0] = 3600.0
        os.eventfd_write(news, 1)
        await until(lambda: told == ["resumed"])
        os.eventfd_write(news, 1)
        await pause(TICK)
        assert told == ["resumed"]
        take_back()
        os.close(news)

    run_reactor(body())


@pytest.mark.requirement("C62")
@pytest.mark.namespaced
@pytest.mark.parametrize(("errno", "expected"), [(ECANCELED, ["stepped"]), (EAGAIN, [])], ids=["cancelled", "nothing"])
def test_a_cancelled_read_tells_that_the_wall_clock_was_set(
    errno: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(fd: int, length: int) -> bytes:
        raise OSError(errno, f"{os.strerror(errno)} for {length} bytes of {fd}")

    told: list[str] = []
    steps = WallClockSteps(install_reactor(), create_step_timer(), lambda: told.append("stepped"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "read", refusing)
        steps.doRead()
    assert told == expected
    steps.doRead()
    assert told == expected
    steps.close()


@pytest.mark.namespaced
def test_a_watch_of_the_wall_clock_that_the_reactor_gives_up_is_closed() -> None:
    steps = WallClockSteps(install_reactor(), create_step_timer(), lambda: None)
    assert verifyObject(IReadDescriptor, steps)
    assert steps.logPrefix() == "wall clock"
    fail(ConnectionLost()).addErrback(steps.connectionLost)
    assert steps.fileno() == -1
    with refused_with(EBADF):
        steps.doRead()


@pytest.mark.namespaced
def test_the_wall_clock_is_watched_as_long_as_somebody_wishes_to_hear_of_a_suspension(closes_descriptors: None) -> None:
    reactor = install_reactor()
    clock = BoottimeClock(reactor)
    unwatched = set(reactor.getReaders())
    take_back = [clock.resumed(lambda: None), clock.resumed(lambda: None)]
    (steps,) = set(reactor.getReaders()) - unwatched
    with open(f"/proc/self/fdinfo/{steps.fileno()}") as about:
        timer = about.read()
    assert "clockid: 0\n" in timer
    assert "settime flags: 03\n" in timer
    take_back.pop()()
    assert steps in reactor.getReaders()
    take_back.pop()()
    assert set(reactor.getReaders()) == unwatched


@pytest.mark.namespaced
def test_a_failing_receiver_is_logged_and_the_alarm_lives_on() -> None:
    clock = BoottimeClock(install_reactor())
    rung: list[str] = []

    def ring() -> None:
        rung.append("rung")
        raise KeyError("receiver")

    async def body() -> None:
        alarm = clock.alarm(ring)
        alarm.arm(clock.now())
        await until(lambda: len(rung) == 1)
        alarm.arm(clock.now())
        await until(lambda: len(rung) == 2)
        alarm.cancel()

    run_reactor(body(), expected=(KeyError,))


@contract
async def test_an_alarm_that_is_disarmed_when_it_was_about_to_ring_does_not_ring(bench: Bench) -> None:
    rung: list[str] = []

    def ring() -> None:
        rung.append("rung")
        for alarm in alarms:
            alarm.arm(None)

    alarms = [bench.clock.alarm(ring), bench.clock.alarm(ring)]
    for alarm in alarms:
        alarm.arm(bench.clock.now())
    await bench.pause(TICK)
    assert rung == ["rung"]
    for alarm in alarms:
        alarm.cancel()


@pytest.mark.namespaced
def test_an_alarm_that_the_reactor_gives_up_is_closed() -> None:
    alarm = BoottimeClock(install_reactor()).alarm(lambda: None)
    descriptor = IReadDescriptor(alarm)
    fail(ConnectionLost()).addErrback(descriptor.connectionLost)
    assert descriptor.fileno() == -1


def armed_clock() -> tuple[MemoryClock, list[float], Callable[[], None]]:
    clock = MemoryClock(now=0.0)
    rung: list[float] = []
    return clock, rung, lambda: rung.append(clock.now())


def test_the_memory_clock_jumps_from_deadline_to_deadline() -> None:
    clock, rung, ring = armed_clock()
    for deadline in (40.0, 7.0):
        clock.alarm(ring).arm(deadline)
    clock.advance(100.0)
    assert rung == [7.0, 40.0]
    assert clock.now() == 100.0


def test_the_memory_clock_lists_the_armed_deadlines() -> None:
    clock, _, ring = armed_clock()
    first, second = clock.alarm(ring), clock.alarm(ring)
    first.arm(9.0)
    second.arm(3.0)
    assert clock.armed == [3.0, 9.0]
    clock.advance(5.0)
    assert clock.armed == [9.0]
    first.cancel()
    assert clock.armed == []


def test_the_memory_clock_tells_of_a_suspension_before_any_alarm() -> None:
    clock, rung, ring = armed_clock()
    told: list[float] = []
    take_back = clock.resumed(lambda: told.append(clock.now()))
    alarm = clock.alarm(ring)
    alarm.arm(10.0)
    clock.suspend(5.0)
    clock.advance(0.0)
    assert (told, rung) == ([5.0], [])
    told.clear()
    clock.suspend(3600.0)
    assert (told, rung) == ([], [])
    clock.advance(0.0)
    assert (told, rung) == ([3605.0], [3605.0])
    take_back()
    clock.suspend(60.0)
    alarm.arm(clock.now())
    clock.advance(0.0)
    assert told == [3605.0]


def test_the_memory_clock_gives_up_on_alarms_without_end() -> None:
    clock = MemoryClock()
    alarm = clock.alarm(lambda: alarm.arm(clock.now()))
    alarm.arm(clock.now())
    with pytest.raises(RuntimeError, match="no end"):
        clock.advance(1.0)
