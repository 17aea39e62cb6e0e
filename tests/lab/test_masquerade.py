# SPDX-License-Identifier: MIT
"""A client behind a plain Linux masquerade is reached, since the first direct bubble does not get that far."""

from itertools import product

import pytest

from miredo.address.endpoint import port_of
from miredo.address.teredo import TEREDO_PORT, mapped_of
from miredo.lab.ladder import EXPIRED
from miredo.lab.links import Link
from miredo.lab.nat import NatBehaviour, parse_behaviour
from tests.world import Carried, Pair, address_of, qualified_pair

NATS = {
    "public": None,
    **{name: parse_behaviour(name) for name in ("cone", "address-restricted", "port-restricted", "linux-masquerade")},
}
PAIRS = list(product(NATS, NATS))
CLASHING = {("port-restricted", "linux-masquerade"), ("linux-masquerade", "linux-masquerade")}
LINKS = 10
"""That a ping between two clients and its answer cross, bubbles first: client, server, client, client, and so on."""


def bubbles_to_the_right(pair: Pair) -> list[Carried]:
    """The left client's direct ones; an indirect one goes to the server's port."""
    right = mapped_of(address_of(pair.right))
    return [each for each in pair.world.carried if each.sender == "left" and each.to == right]


@pytest.mark.requirement("C44a")
@pytest.mark.parametrize("delay", [0.0, 0.04, 0.15])
@pytest.mark.parametrize(("left", "right"), PAIRS, ids="->".join)
def test_the_first_packet_arrives_and_waits_for_no_second_attempt(left: str, right: str, delay: float) -> None:
    pair = qualified_pair(NATS[left], NATS[right], Link(delay=delay))
    ping = pair.ping()
    assert pair.answered(ping)
    assert ping.rtt == pytest.approx(LINKS * delay)


@pytest.mark.parametrize(("left", "right"), PAIRS, ids="->".join)
def test_with_the_usual_ttl_the_bubble_clashes_with_the_answer(left: str, right: str) -> None:
    """And so it does with the bubbles of a foreign client, which ours cannot help when it is the one that is reached.

    Behind the other NATs the answer may come from any port: its nonce proves it.
    """
    pair = qualified_pair(NATS[left], NATS[right], Link(delay=0.04), bubble_ttl=0)
    assert pair.answered(pair.ping()) is ((left, right) not in CLASHING)


@pytest.mark.requirement("C44a")
@pytest.mark.parametrize("left", [None, NATS["cone"], NATS["linux-masquerade"]], ids=str)
def test_the_first_direct_bubble_dies_at_the_core_and_the_second_attempt_is_whole(left: NatBehaviour | None) -> None:
    """What reaches the core is counted here: a NAT has taken one from the TTL of 2."""
    pair = qualified_pair(left, NATS["port-restricted"], Link(delay=0.01))
    for server in pair.servers:
        server.up = False
    assert not pair.answered(pair.ping(), 5.0)
    sent = bubbles_to_the_right(pair)
    usual = 64 if left is None else 63
    assert [each.ttl for each in sent] == [1, usual, usual]
    first = next(step for step in pair.world.steps if (step.sender, step.receiver) == ("left", "right"))
    assert first.note == EXPIRED


@pytest.mark.requirement("C44a")
def test_what_goes_through_the_server_has_its_whole_ttl() -> None:
    pair = qualified_pair(None, NATS["linux-masquerade"])
    assert pair.answered(pair.ping())
    assert {each.ttl for each in pair.world.carried if port_of(each.to) == TEREDO_PORT} == {63, 64}


def test_a_ttl_that_reaches_the_far_nat_is_no_better_than_the_usual_one() -> None:
    pair = qualified_pair(NATS["port-restricted"], NATS["linux-masquerade"], bubble_ttl=3)
    assert not pair.answered(pair.ping())


def test_a_client_without_a_nat_does_not_take_its_word_for_it() -> None:
    """A TTL of 2 from no NAT reaches the far one: 1 is taken whatever the option says, unless it says 0."""
    pair = qualified_pair(None, NATS["linux-masquerade"], bubble_ttl=200)
    assert pair.answered(pair.ping())
    assert bubbles_to_the_right(pair)[0].ttl == 1
