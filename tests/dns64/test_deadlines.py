# SPDX-License-Identifier: MIT
"""Many deadlines on one alarm."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from miredo.dns64.deadlines import Deadline, Deadlines, TooLate
from miredo.kernel.memory import MemoryClock


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=200))
def test_each_rings_once_in_its_order_unless_it_was_taken_back(wanted: list[tuple[int, bool]]) -> None:
    clock = MemoryClock()
    deadlines = Deadlines(clock)
    rung: list[tuple[int, int]] = []
    made: list[Deadline] = []
    for number, (seconds, _) in enumerate(wanted):
        made.append(deadlines.after(seconds, partial(rung.append, (seconds, number))))
    for deadline, (_, is_taken_back) in zip(made, wanted, strict=True):
        if is_taken_back:
            deadline.take_back()
            deadline.take_back()
    clock.advance(51)
    kept = [(seconds, number) for number, (seconds, is_taken_back) in enumerate(wanted) if not is_taken_back]
    assert rung == sorted(kept)
    assert clock.armed == []
    deadlines.close()


def test_there_is_one_alarm() -> None:
    clock = MemoryClock()
    deadlines = Deadlines(clock)
    later, sooner = deadlines.after(5, lambda: None), deadlines.after(3, lambda: None)
    assert clock.armed == [clock.now() + 3]
    sooner.take_back()
    assert clock.armed == [clock.now() + 5]
    deadlines.close()
    assert clock.armed == []
    later.take_back()


def outcome_of(deferred: Deferred[str]) -> list[str | Failure]:
    outcomes: list[str | Failure] = []
    deferred.addBoth(outcomes.append)
    return outcomes


async def awaited(deferred: Deferred[str]) -> str:
    return await deferred


def test_what_takes_too_long_is_cancelled() -> None:
    clock = MemoryClock()
    deadlines = Deadlines(clock)
    never: Deferred[str] = Deferred()
    outcomes = outcome_of(Deferred.fromCoroutine(deadlines.limited(2.0, awaited(never))))
    clock.advance(1.9)
    assert outcomes == []
    clock.advance(0.2)
    (outcome,) = outcomes
    assert isinstance(outcome, Failure)
    assert isinstance(outcome.value, TooLate)
    assert (never.called, clock.armed) == (True, [])


def test_what_is_in_time_leaves_nothing() -> None:
    clock = MemoryClock()
    deadlines = Deadlines(clock)
    soon: Deferred[str] = Deferred()
    outcomes = outcome_of(Deferred.fromCoroutine(deadlines.limited(2.0, awaited(soon))))
    soon.callback("done")
    assert (outcomes, clock.armed) == (["done"], [])


def test_what_somebody_else_cancels_is_not_too_late() -> None:
    clock = MemoryClock()
    limited = Deferred.fromCoroutine(Deadlines(clock).limited(2.0, awaited(Deferred())))
    limited.cancel()
    (outcome,) = outcome_of(limited)
    assert isinstance(outcome, Failure)
    with pytest.raises(CancelledError):
        outcome.raiseException()
    assert clock.armed == []


def test_those_that_were_taken_back_do_not_gather() -> None:
    clock = MemoryClock()
    deadlines = Deadlines(clock)
    rung: list[int] = []
    deadlines.after(1.0, lambda: rung.append(1))
    for _ in range(1000):
        deadlines.after(50.0, lambda: rung.append(50)).take_back()
    deadlines.after(60.0, lambda: rung.append(60))
    clock.advance(61)
    assert rung == [1, 60]
