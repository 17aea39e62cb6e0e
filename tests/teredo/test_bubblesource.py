# SPDX-License-Identifier: MIT
"""The relay's keyed bubble sources: one a client, known again for two epochs, and for nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.scope import is_link_local
from miredo.teredo.bubblesource import BubbleSources
from miredo.teredo.constants import KEY_EPOCH
from tests.teredo.cores import PEER, rolled
from tests.wire.vectors import CLIENT_A


@pytest.mark.requirement("R5", "R13")
def test_a_source_is_in_fe80_64_and_stays_the_same_for_an_epoch() -> None:
    sources = BubbleSources(rolled())
    source = sources.source_for(CLIENT_A, 0.0)
    assert source.startswith(bytes.fromhex("fe80000000000000"))
    assert is_link_local(source)
    assert sources.source_for(CLIENT_A, KEY_EPOCH - 0.1) == source


@pytest.mark.requirement("R5", "R13")
def test_a_source_belongs_to_one_client_of_one_relay() -> None:
    sources, others = BubbleSources(rolled()), BubbleSources(rolled(1))
    source = sources.source_for(CLIENT_A, 0.0)
    assert sources.is_source_for(source, CLIENT_A, 0.0)
    assert not sources.is_source_for(source, PEER, 0.0)
    assert not others.is_source_for(source, CLIENT_A, 0.0)


@pytest.mark.requirement("R5")
def test_a_source_is_known_for_the_epoch_after_its_own_and_no_longer() -> None:
    sources = BubbleSources(rolled())
    source = sources.source_for(CLIENT_A, 10.0)
    assert sources.is_source_for(source, CLIENT_A, 2 * KEY_EPOCH - 0.1)
    assert sources.source_for(CLIENT_A, 2 * KEY_EPOCH - 0.1) != source
    assert not sources.is_source_for(source, CLIENT_A, 2 * KEY_EPOCH)


@pytest.mark.requirement("R5")
def test_a_source_that_was_last_used_epochs_ago_is_not_known() -> None:
    sources = BubbleSources(rolled())
    source = sources.source_for(CLIENT_A, 0.0)
    assert not sources.is_source_for(source, CLIENT_A, 5 * KEY_EPOCH)


@given(st.lists(st.integers(0, 4000), min_size=1, max_size=20))
def test_two_epochs_are_known_and_no_third_however_rarely_it_is_asked(times: list[int]) -> None:
    sources = BubbleSources(rolled())
    made: dict[int, bytes] = {}
    for now in sorted(times):
        epoch = now // int(KEY_EPOCH)
        for before, source in made.items():
            assert sources.is_source_for(source, CLIENT_A, now) == (epoch - before <= 1)
        made[epoch] = sources.source_for(CLIENT_A, now)


def test_before_the_first_key_nothing_is_known() -> None:
    sources = BubbleSources(rolled())
    assert not sources.is_source_for(bytes.fromhex("fe80000000000000") + bytes(8), CLIENT_A, 0.0)
