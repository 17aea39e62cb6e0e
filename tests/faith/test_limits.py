# SPDX-License-Identifier: MIT
"""How many connections are admitted, from whom and how fast."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from miredo.address.endpoint import parse_ipv6
from miredo.faith.limits import Limits, Overload

A, A_TOO, B, C = map(parse_ipv6, ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1", "2001:db8:0:2::1"))


def test_without_limits_everybody_is_admitted() -> None:
    limits = Limits()
    assert [limits.admit(A, 0.0) for _ in range(1000)] == [None] * 1000
    assert (limits.count, limits.count_of(A_TOO), limits.ready_at) == (1000, 1000, 0.0)


def test_there_are_no_more_than_the_total_whoever_they_are_from() -> None:
    limits = Limits(total=2)
    assert [limits.admit(source, 0.0) for source in (A, B, C)] == [None, None, Overload.TOTAL]
    limits.release(A)
    assert [limits.admit(source, 0.0) for source in (C, A)] == [None, Overload.TOTAL]


def test_the_addresses_of_a_64_are_one_source() -> None:
    limits = Limits(per_source=2)
    assert [limits.admit(source, 0.0) for source in (A, A_TOO, A, B)] == [None, None, Overload.SOURCE, None]
    limits.release(A_TOO)
    assert limits.admit(A, 0.0) is None
    assert (limits.count, limits.count_of(A), limits.count_of(B), limits.count_of(C)) == (3, 2, 1, 0)


def test_a_burst_is_admitted_at_once_and_then_the_rate() -> None:
    limits = Limits(rate=4.0, burst=3)
    assert [limits.admit(A, 100.0) for _ in range(4)] == [None, None, None, Overload.RATE]
    assert limits.ready_at == 100.25
    assert limits.admit(A, 100.2) is Overload.RATE
    assert [limits.admit(A, 100.25) for _ in range(2)] == [None, Overload.RATE]
    assert [limits.admit(A, 200.0) for _ in range(4)] == [None, None, None, Overload.RATE]


@pytest.mark.parametrize("rate", [0.1, 3.0, 7.0, 1000.0])
def test_whoever_comes_when_it_is_ready_is_admitted(rate: float) -> None:
    limits = Limits(rate=rate, burst=5)
    now = 1e6 / 3
    for _ in range(100):
        assert limits.admit(A, now) is None
        now = max(now, limits.ready_at)


def test_a_full_source_uses_up_nothing_of_the_rate() -> None:
    limits = Limits(per_source=1, rate=1.0, burst=2)
    assert limits.admit(A, 10.0) is None
    assert [limits.admit(A_TOO, 10.0) for _ in range(100)] == [Overload.SOURCE] * 100
    assert limits.admit(B, 10.0) is None


def test_who_is_refused_is_not_counted() -> None:
    limits = Limits(total=1)
    limits.admit(A, 0.0)
    limits.admit(B, 0.0)
    assert (limits.count, limits.count_of(B)) == (1, 0)
    with pytest.raises(ValueError, match="no connection from there was admitted"):
        limits.release(B)


class Connections(RuleBasedStateMachine):
    """Connections come and go, and a plain list is kept of them."""

    @initialize(total=st.integers(0, 5), per_source=st.integers(0, 3))
    def begin(self, total: int, per_source: int) -> None:
        self.total, self.per_source = total, per_source
        self.limits = Limits(total, per_source, rate=2.0, burst=4)
        self.open: list[bytes] = []
        self.admitted: list[float] = []
        self.now = 0.0

    @rule(source=st.sampled_from([A, A_TOO, B, C]))
    def comes(self, source: bytes) -> None:
        networks = Counter(one[:8] for one in self.open)
        match self.limits.admit(source, self.now):
            case None:
                self.open.append(source)
                self.admitted.append(self.now)
            case Overload.TOTAL:
                assert len(self.open) == self.total > 0
            case Overload.SOURCE:
                assert networks[source[:8]] == self.per_source > 0
            case Overload.RATE:
                assert self.limits.ready_at > self.now

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def goes(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.open) - 1))
        self.limits.release(self.open.pop(at))

    @rule(pause=st.sampled_from([0.1, 0.5, 1.0, 60.0]))
    def passes(self, pause: float) -> None:
        self.now += pause

    @invariant()
    def no_limit_is_passed(self) -> None:
        networks = Counter(one[:8] for one in self.open)
        assert self.limits.count == len(self.open)
        assert not self.total or len(self.open) <= self.total
        for source in (A, B, C):
            assert self.limits.count_of(source) == networks[source[:8]]
            assert not self.per_source or networks[source[:8]] <= self.per_source

    @invariant()
    def no_second_has_more_than_burst_and_rate(self) -> None:
        assert sum(1 for at in self.admitted if at > self.now - 1.0) <= 4 + 2


TestConnections = Connections.TestCase
TestConnections.settings = settings(max_examples=40, stateful_step_count=30)
