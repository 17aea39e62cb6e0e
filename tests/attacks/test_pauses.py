# SPDX-License-Identifier: MIT
"""What would hold up packets in a flood: a timer set for every packet, and the garbage collector."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from miredo.kernel.clock import BoottimeClock
from miredo.kernel.libc import set_timer
from miredo.service.daemon import spare_the_lasting
from tests.namespaced import install_reactor, run_reactor, until


@contextmanager
def settings_of_timers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The times that timers are set to."""
    made: list[int] = []

    def noting(fd: int, nanoseconds: int) -> None:
        made.append(nanoseconds)
        set_timer(fd, nanoseconds)

    with monkeypatch.context() as patched:
        patched.setattr("miredo.kernel.clock.set_timer", noting)
        yield made


@pytest.mark.namespaced
def test_a_deadline_that_stays_is_set_once_and_met_again_when_it_was_met(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        time = BoottimeClock(install_reactor())
        rung: list[float] = []
        alarm = time.alarm(lambda: rung.append(time.now()))
        with settings_of_timers(monkeypatch) as made:
            deadline = time.now() + 0.05
            for _ in range(1000):
                alarm.arm(deadline)
            assert len(made) == 1
            await until(lambda: len(rung) == 1)
            alarm.arm(deadline)
            await until(lambda: len(rung) == 2)
            alarm.arm(None)
            alarm.arm(deadline)
            await until(lambda: len(rung) == 3)
        assert rung[0] >= deadline
        alarm.cancel()

    run_reactor(body())


def test_the_garbage_collector_is_spared_what_is_there_at_the_start() -> None:
    gc.unfreeze()
    try:
        spare_the_lasting()
        assert gc.get_freeze_count() > 10_000
        assert sum(gc.get_count()) < 1000
    finally:
        gc.unfreeze()
