# SPDX-License-Identifier: MIT
"""Links deliver, delay, lose, duplicate and reorder as often as they say."""

import random
from collections.abc import Callable
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.lab.links import REORDERING, Link


def rolls(*numbers: float) -> Callable[[], float]:
    return iter(numbers).__next__


def never() -> float:
    raise AssertionError("the link rolled for what it never does")


def test_a_plain_link_delivers_at_once_without_a_roll() -> None:
    assert Link().deliveries(5.0, never) == [5.0]


def test_delay_is_added() -> None:
    assert Link(delay=0.5).deliveries(5.0, never) == [5.5]


def test_jitter_only_makes_a_packet_later() -> None:
    assert Link(delay=0.5, jitter=0.25).deliveries(5.0, rolls(0.0)) == [5.5]
    assert Link(delay=0.5, jitter=0.25).deliveries(5.0, rolls(0.5)) == [5.625]


@pytest.mark.parametrize(("rolled", "arrivals"), [(0.0, []), (0.249, []), (0.25, [1.0]), (0.99, [1.0])])
def test_a_roll_below_the_loss_is_a_lost_packet(rolled: float, arrivals: list[float]) -> None:
    assert Link(loss=0.25).deliveries(1.0, rolls(rolled)) == arrivals


def test_a_duplicate_takes_its_own_time() -> None:
    assert Link(duplicate=1.0, jitter=1.0).deliveries(0.0, rolls(0.0, 0.75, 0.25)) == [0.25, 0.75]


def test_a_reordered_packet_is_overtaken_by_the_next() -> None:
    link = Link(delay=0.1, reorder=0.5)
    first = link.deliveries(0.0, rolls(0.0))
    second = link.deliveries(REORDERING / 2, rolls(0.9))
    assert second < first == [0.1 + REORDERING]


@given(st.floats(0, 10), st.floats(0, 1), st.floats(0, 1), st.lists(st.floats(0, 1e6)), st.integers())
def test_without_jitter_and_reordering_the_order_is_kept(
    delay: float, loss: float, duplicate: float, times: list[float], seed: int
) -> None:
    link = Link(delay=delay, loss=loss, duplicate=duplicate)
    roll = random.Random(seed).random
    arrivals = [arrival for now in sorted(times) for arrival in link.deliveries(now, roll)]
    assert arrivals == sorted(arrivals)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers())
def test_nothing_arrives_before_the_delay_or_long_after(
    jitter: float, duplicate: float, reorder: float, seed: int
) -> None:
    link = Link(delay=1.0, jitter=jitter, duplicate=duplicate, reorder=reorder)
    arrivals = link.deliveries(10.0, random.Random(seed).random)
    assert len(arrivals) in (1, 2)
    assert arrivals == sorted(arrivals)
    assert all(11.0 <= arrival <= 11.0 + jitter + REORDERING for arrival in arrivals)


def test_probabilities_are_met_in_the_long_run() -> None:
    link = Link(loss=0.2, duplicate=0.1, reorder=0.3)
    roll = random.Random(1).random
    packets = [link.deliveries(0.0, roll) for _ in range(20_000)]
    delivered = [packet for packet in packets if packet]
    copies = [arrival for packet in delivered for arrival in packet]
    assert len(delivered) / len(packets) == pytest.approx(0.8, abs=0.01)
    assert len(copies) / len(delivered) == pytest.approx(1.1, abs=0.01)
    assert copies.count(REORDERING) / len(copies) == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("seconds", [-0.001, inf, nan])
def test_times_are_finite_and_not_negative(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"a link's delay is .* s: must be 0 or more"):
        Link(delay=seconds)
    with pytest.raises(ValueError, match=r"a link's jitter is"):
        Link(jitter=seconds)


@pytest.mark.parametrize("chance", [-0.1, 1.1, nan])
def test_probabilities_lie_between_0_and_1(chance: float) -> None:
    with pytest.raises(ValueError, match=r"a link's loss is .*: must be a probability from 0 to 1"):
        Link(loss=chance)
    with pytest.raises(ValueError, match="duplicate"):
        Link(duplicate=chance)
    with pytest.raises(ValueError, match="reorder"):
        Link(reorder=chance)
