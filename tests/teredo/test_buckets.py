# SPDX-License-Identifier: MIT
"""Token buckets and even dice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.teredo.buckets import TokenBucket, uniform
from tests.teredo.cores import rolled


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    bucket = TokenBucket(10.0, 3.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(100.125), bucket.take(100.125)] == [True, False]
    assert [bucket.take(200.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_stands_still_or_goes_back_fills_no_bucket() -> None:
    bucket = TokenBucket(10.0, 1.0)
    assert bucket.take(5.0)
    assert not bucket.take(5.0)
    assert not bucket.take(4.0)


@given(st.lists(st.floats(0.0, 0.5), min_size=1, max_size=200))
def test_no_pattern_takes_more_than_burst_and_rate(pauses: list[float]) -> None:
    bucket, now, taken = TokenBucket(10.0, 5.0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
    assert taken <= 5 + now * 10 + 1e-6


def test_uniform_reaches_both_ends_and_stays_within() -> None:
    assert uniform(lambda count: bytes(count), 8.0, 12.0) == 8.0
    assert uniform(lambda count: b"\xff" * count, 8.0, 12.0) == 12.0
    dice = rolled()
    numbers = [uniform(dice, 8.0, 12.0) for _ in range(1000)]
    assert all(8.0 <= number <= 12.0 for number in numbers)
    assert sum(numbers) / len(numbers) == pytest.approx(10.0, abs=0.2)
