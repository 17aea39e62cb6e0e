# SPDX-License-Identifier: MIT
"""Token buckets and even dice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.teredo.buckets import SourceBuckets, TokenBucket, uniform
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


A, B = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])


def test_each_source_has_its_burst_and_its_rate_for_itself() -> None:
    buckets = SourceBuckets(10.0, 3.0, 100)
    assert [buckets.take(A, 100.0) for _ in range(4)] == [True, True, True, False]
    assert buckets.take(B, 100.0)
    assert [buckets.take(A, 100.125), buckets.take(A, 100.125)] == [True, False]
    assert [buckets.take(A, 200.0) for _ in range(4)] == [True, True, True, False]


def test_a_rate_of_zero_is_no_limit_and_keeps_count_of_nobody() -> None:
    buckets = SourceBuckets(0.0, 0.0, 100)
    assert all(buckets.take(A, 1.0) for _ in range(10000))
    assert len(buckets) == 0


def test_who_was_silent_longest_is_forgotten_and_the_busy_are_not() -> None:
    buckets = SourceBuckets(1.0, 1.0, 100)
    assert buckets.take(A, 0.0)
    for number in range(1000):
        buckets.take(number.to_bytes(4, "big"), 0.0)
        assert not buckets.take(A, 0.0)
        assert len(buckets) <= 100
    assert buckets.take(bytes(4), 0.0)


@given(st.lists(st.tuples(st.floats(0.0, 0.5), st.booleans()), min_size=1, max_size=200))
def test_a_source_s_bucket_is_a_bucket(steps: list[tuple[float, bool]]) -> None:
    """What another source does changes nothing."""
    one, many, now = TokenBucket(8.0, 4.0), SourceBuckets(8.0, 4.0, 2), 0.0
    for pause, other in steps:
        now += round(pause * 64) / 64  # exact in binary, as 1/8 is
        if other:
            many.take(B, now)
        else:
            assert many.take(A, now) == one.take(now)


def test_uniform_reaches_both_ends_and_stays_within() -> None:
    assert uniform(lambda count: bytes(count), 8.0, 12.0) == 8.0
    assert uniform(lambda count: b"\xff" * count, 8.0, 12.0) == 12.0
    dice = rolled()
    numbers = [uniform(dice, 8.0, 12.0) for _ in range(1000)]
    assert all(8.0 <= number <= 12.0 for number in numbers)
    assert sum(numbers) / len(numbers) == pytest.approx(10.0, abs=0.2)
