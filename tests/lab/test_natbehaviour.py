# SPDX-License-Identifier: MIT
"""NATs by their words and names: what is read comes back, and what cannot be is refused with all that could."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.lab.natbehaviour import (
    BEHAVIOURS,
    FAMILIAR,
    KINDS,
    LINUX_MASQUERADE,
    POOL_LIMIT,
    Filtering,
    Mapping,
    NatBehaviour,
    Pooling,
    PortAssignment,
    parse_behaviour,
)

lifetimes = st.floats(0.001, 1e6)
single = {
    "mapping": st.sampled_from(Mapping),
    "filtering": st.sampled_from(Filtering),
    "lifetime": lifetimes,
    "inbound_refresh": st.booleans(),
    "hairpinning": st.booleans(),
}
pooled = {**single, "pool": st.integers(2, POOL_LIMIT), "pooling": st.sampled_from(Pooling)}
behaviours = (
    st.builds(NatBehaviour, **single, ports=st.sampled_from(PortAssignment))
    | st.builds(NatBehaviour, **pooled, ports=st.sampled_from(PortAssignment))
    | st.builds(NatBehaviour, **pooled, ports=st.just(PortAssignment.SEQUENTIAL), load=st.floats(0, 1e6))
    | st.builds(lambda lifetime: replace(LINUX_MASQUERADE, lifetime=lifetime), lifetimes)
)


@given(behaviours)
def test_the_words_come_back(behaviour: NatBehaviour) -> None:
    assert parse_behaviour(str(behaviour)) == behaviour


@given(behaviours, st.randoms())
def test_the_order_of_further_words_does_not_matter(behaviour: NatBehaviour, random: Random) -> None:
    words = str(behaviour).split("/")
    first = 1 if behaviour.masquerade else 2
    further = words[first:]
    random.shuffle(further)
    assert parse_behaviour("/".join([*words[:first], *further])) == behaviour


@pytest.mark.parametrize("name", FAMILIAR)
def test_a_familiar_name_is_short_for_its_words(name: str) -> None:
    assert parse_behaviour(name) == parse_behaviour(str(FAMILIAR[name])) == FAMILIAR[name]


def test_there_are_nine_kinds_and_the_masquerade() -> None:
    assert len(set(map(str, KINDS))) == len(KINDS) == 10
    assert set(KINDS) - set(BEHAVIOURS) == {LINUX_MASQUERADE}
    assert str(LINUX_MASQUERADE) == "linux-masquerade"


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("cone/preserving", "endpoint-independent/endpoint-independent"),
        ("symmetric/sequential", "address-and-port-dependent/address-and-port-dependent/sequential"),
        ("symmetric/preserving", "port-preserving-symmetric"),
        ("symmetric/arbitrary/pool=4", "address-symmetric"),
        ("cone/paired", "cone"),
        ("address-symmetric/paired", "symmetric/pool=4"),
        ("sequential-symmetric/load=0", "sequential-symmetric"),
        ("cone/lifetime=300.0", "cone"),
    ],
)
def test_a_word_after_a_name_overrides_what_the_name_says(text: str, means: str) -> None:
    assert parse_behaviour(text) == parse_behaviour(means)


def test_what_is_usual_goes_without_saying() -> None:
    assert str(parse_behaviour("cone/preserving/paired/pool=1/lifetime=300")) == str(BEHAVIOURS[0])
    words = "endpoint-independent/address-dependent/random/lifetime=30/inbound-refresh/hairpinning/pool=4/arbitrary"
    assert str(parse_behaviour(words)) == words


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no such name"),
        ("pyramid", "no such name"),
        ("endpoint-independent", "no such name"),
        ("cone/address-dependent", "no word 'address-dependent'"),
        ("address-dependent/none", "'none' is not a valid Filtering"),
        ("a/b/c/d", "'a' is not a valid Mapping"),
        ("symmetric/odd", "no word 'odd'"),
        ("symmetric/", "no word ''"),
        ("cone/hairpinning=1", "no word 'hairpinning=1'"),
        ("cone/hairpinning/hairpinning", "hairpinning is said twice"),
        ("cone/random/sequential", "ports is said twice"),
        ("cone/pool=four", "'four' is no such number"),
        ("cone/pool=", "'' is no such number"),
        ("cone/pool", "no word 'pool'"),
        ("cone/pool=0", "must be 1 to 16"),
        ("cone/pool=17", "must be 1 to 16"),
        ("cone/arbitrary", "needs a pool"),
        ("cone/load=5", "only where ports are sequential"),
        ("cone/sequential/load=-1", "must be 0 or more"),
        ("cone/sequential/load=inf", "must be 0 or more"),
        ("cone/lifetime=0", "must be more than 0"),
        ("cone/lifetime=nan", "must be more than 0"),
        ("linux-masquerade/hairpinning", "takes no other word than lifetime=SECONDS"),
        ("linux-masquerade/random", "takes no other word than lifetime=SECONDS"),
    ],
)
def test_what_cannot_be_is_answered_with_the_reason_and_all_words(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        parse_behaviour(text)
    known = [*FAMILIAR, *Mapping, *PortAssignment, *Pooling, "hairpinning", "inbound-refresh", "load=", "pool="]
    assert [word for word in (repr(text), *known, "lifetime=") if word not in str(refusal.value)] == []


def test_a_lifetime_is_more_than_nothing() -> None:
    with pytest.raises(ValueError, match="lifetime"):
        NatBehaviour(lifetime=0.0)
