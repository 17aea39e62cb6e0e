# SPDX-License-Identifier: MIT
"""Replies that are kept: how long, how old, and how many."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.names import dns

from miredo.dns64.cache import FAILURE, LONGEST, LONGEST_NEGATIVE, OVERHEAD, Cache, Key, lifetime_of
from miredo.dns64.message import Edns, Message, edns_record, emit_message, question
from tests.dns64.upstream import make

KEY = Key(b"a.test", dns.A, dns.IN, False, False)


def answer(ttl: int = 300, count: int = 1, *, code: int = dns.OK) -> Message:
    message = Message(1, answer=1, rCode=code)
    message.queries = [question(b"a.test", dns.A)]
    message.answers = [make("a.test", dns.A, f"192.0.2.{number}", ttl) for number in range(count)]
    message.additional = [edns_record(Edns(4096))]
    return message


def test_records_get_older() -> None:
    cache = Cache(10_000)
    cache.put(KEY, emit_message(answer()), now=100.0)
    kept = cache.get(KEY, now=220.9)
    assert kept is not None
    assert [each.ttl for each in kept.answers] == [180]
    assert cache.get(KEY, now=399.9) is not None
    assert cache.get(KEY, now=400.0) is None
    assert (len(cache), cache.octets) == (0, 0)


def test_what_is_got_is_a_copy() -> None:
    cache = Cache(10_000)
    cache.put(KEY, emit_message(answer()), now=0.0)
    first = cache.get(KEY, now=0.0)
    assert first is not None
    first.answers.clear()
    second = cache.get(KEY, now=0.0)
    assert second is not None
    assert len(second.answers) == 1


@pytest.mark.parametrize("field", [{"kind": dns.AAAA}, {"cls": 3}, {"dnssec_ok": True}, {"checking_disabled": True}])
def test_another_question_has_another_answer(field: dict[str, int]) -> None:
    cache = Cache(10_000)
    cache.put(KEY, emit_message(answer()), now=0.0)
    other = Key(*{**KEY._asdict(), **field}.values())
    assert cache.get(other, now=0.0) is None


def negative(soa_ttl: int, code: int = dns.ENAME) -> Message:
    message = answer(count=0, code=code)
    message.authority = [make("test", dns.SOA, ttl=soa_ttl)]
    return message


def cut() -> Message:
    message = answer()
    message.trunc = 1
    return message


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        (answer(300), 300),
        (answer(0), 0),
        (answer(10**7), LONGEST),
        (answer(300, code=dns.ESERVER), FAILURE),
        (answer(300, code=dns.EREFUSED), FAILURE),
        (answer(count=0), 0),
        (answer(count=0, code=dns.ENAME), 0),
        (negative(50), 50),
        (negative(5000), 60),
        (negative(5000, dns.OK), 60),
        (cut(), 0),
    ],
)
def test_how_long_a_reply_is_kept(message: Message, seconds: int) -> None:
    assert lifetime_of(message) == seconds <= max(LONGEST, LONGEST_NEGATIVE)


def test_an_alias_that_leads_to_nothing_is_nothing() -> None:
    message = answer(count=0)
    message.answers = [make("a.test", dns.CNAME, "b.test", 5000)]
    assert lifetime_of(message) == 0
    message.authority = [make("test", dns.SOA, ttl=5000)]
    assert lifetime_of(message) == 60


def test_a_cache_of_nothing_keeps_nothing() -> None:
    cache = Cache(0)
    cache.put(KEY, emit_message(answer()), now=0.0)
    assert cache.get(KEY, now=0.0) is None


class CacheMachine(RuleBasedStateMachine):
    """Beside a model that keeps all, and drops the least recently used."""

    LIMIT = 3000

    def __init__(self) -> None:
        super().__init__()
        self.cache = Cache(self.LIMIT)
        self.model: OrderedDict[Key, tuple[int, float]] = OrderedDict()
        self.now = 0.0

    @rule(number=st.integers(0, 9), count=st.integers(1, 40), ttl=st.integers(1, 50))
    def put(self, number: int, count: int, ttl: int) -> None:
        key = KEY._replace(kind=number)
        octets = emit_message(answer(ttl, count))
        self.cache.put(key, octets, self.now)
        self.model.pop(key, None)
        size = len(octets) + OVERHEAD
        if size > self.LIMIT:
            return
        while sum(kept for kept, _ in self.model.values()) + size > self.LIMIT:
            self.model.popitem(last=False)
        self.model[key] = size, self.now + ttl

    @rule(number=st.integers(0, 9))
    def get(self, number: int) -> None:
        key = KEY._replace(kind=number)
        found = self.cache.get(key, self.now)
        if key in self.model and self.now >= self.model[key][1]:
            del self.model[key]
        assert (found is not None) == (key in self.model)
        if key in self.model:
            self.model.move_to_end(key)

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.model.clear()

    @invariant()
    def holds_what_it_should(self) -> None:
        assert self.cache.octets == sum(size for size, _ in self.model.values()) <= self.LIMIT
        assert len(self.cache) == len(self.model)


TestCache = CacheMachine.TestCase
