# SPDX-License-Identifier: MIT
"""Bugs put into the cores on purpose, one at a time: the small Internet finds each, and by the right check.

L{BUGS} is the table: what is wrong, and the check that finds it while all other checks look away. Without a bug the
same machine passes (C{test_invariants.py}).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from traceback import extract_tb

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from miredo.address.endpoint import Endpoint, IPv6
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import mapped_of
from miredo.teredo import queues, relay, traversal
from miredo.teredo.actions import Action, ForwardPacket, PeerLost, SendDatagram
from miredo.teredo.buckets import TokenBucket
from miredo.teredo.client import Client
from miredo.teredo.discovery import Discovery
from miredo.teredo.peers import Peer, Peers
from miredo.teredo.plain import is_plain_data
from miredo.teredo.qualification import Qualification
from miredo.teredo.queues import HeldPackets
from miredo.teredo.relay import Relay
from miredo.teredo.server import Server
from miredo.teredo.traversal import Answers
from miredo.wire.encapsulation import Encapsulated, emit_origin
from miredo.wire.ipv6 import destination_of
from tests.recorded import recorded_worlds
from tests.teredo.internet import ASmallInternet
from tests.teredo.witnesses import CHECKS

pytestmark = pytest.mark.soak

SETTINGS = settings(
    max_examples=500,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Bug:
    """In the place of what C{owner} has under C{name} stands C{wrong}."""

    owner: object
    name: str
    wrong: object


def anything(*arguments: object) -> bool:
    """Yes to all questions."""
    del arguments
    return True


def nothing(*arguments: object) -> None:
    """No objection to anything."""
    del arguments


# ---------------------------------------------------------------- the bugs that are longer than a number


def to_client_unchecked(self: Server, packet: bytes, outer: Endpoint) -> list[Action]:
    del self
    return [SendDatagram(emit_origin(outer) + packet, mapped_of(destination_of(packet)))]


def to_client_anonymously(self: Server, packet: bytes, outer: Endpoint) -> list[Action]:
    del outer
    destination = destination_of(packet)
    permitted = self._scope.permits(mapped_of(destination)[:4])
    return [SendDatagram(packet, mapped_of(destination))] if permitted else []


def to_native_as_it_is(self: Server, packet: bytes) -> list[Action]:
    del self
    return [ForwardPacket(packet, destination_of(packet))]


_advertise, _age, _forget_all = Server._advertise, Peers._age, Peers.forget_all


def advertise_twice(self: Server, encapsulated: Encapsulated, outer: Endpoint, via: int, now: float) -> list[Action]:
    return 2 * _advertise(self, encapsulated, outer, via, now)


def advertise_at_length(
    self: Server, encapsulated: Encapsulated, outer: Endpoint, via: int, now: float
) -> list[Action]:
    return [
        SendDatagram(action.payload + bytes(400), action.to, action.via)
        for action in _advertise(self, encapsulated, outer, via, now)
        if isinstance(action, SendDatagram)
    ]


def age_in_silence(self: Peers, peer: Peer, now: float, actions: list[Action]) -> None:
    _age(self, peer, now, actions)
    actions[:] = [action for action in actions if not isinstance(action, PeerLost)]


def forget_in_silence(self: Peers) -> list[Action]:
    _forget_all(self)
    return []


def pass_all_data(self: Client | Relay, datagram: bytes, outer: Endpoint, now: float) -> bool:
    del outer, now
    return is_plain_data(datagram) and self.admits(destination_of(datagram))


def drain_whatever_waits(self: HeldPackets, outer: Endpoint, now: float) -> list[bytes]:
    del outer, now
    return [packet for _, _, packet in self._packets]


def known_by_address(self: Peers, address: IPv6, endpoint: Endpoint) -> bool:
    del endpoint
    return self.get(address) is not None


def near_by_address(self: Discovery, address: IPv6, endpoint: Endpoint) -> bool:
    del endpoint
    return any(neighbour.address == address for neighbour in self)


def pause_for_a_moment(address: IPv6) -> float:
    del address
    return 0.0


BUGS: dict[str, tuple[Bug, str]] = {
    "a client sends to any mapping": (Bug(Client, "_permits", anything), "nothing_goes_to_a_forbidden_address"),
    "client and relay send to any server": (
        Bug(IPv4Scope, "permits_server", anything),
        "nothing_goes_to_a_forbidden_address",
    ),
    "a server sends to any mapping": (
        Bug(Server, "_to_client", to_client_unchecked),
        "nothing_goes_to_a_forbidden_address",
    ),
    "attempts are 1 s apart": (Bug(traversal, "ATTEMPT_INTERVAL", 1.0), "attempts_keep_their_distance"),
    "data does not count as transmission": (Bug(traversal, "ATTEMPT_SPACING", 0.0), "attempts_keep_their_distance"),
    "a fifth attempt": (Bug(traversal, "ATTEMPT_LIMIT", 5), "attempts_stay_within_their_count"),
    "a silent client is tried again at once": (
        Bug(relay, "_pause", pause_for_a_moment),
        "attempts_stay_within_their_count",
    ),
    "the global bucket is never empty": (Bug(TokenBucket, "take", anything), "all_attempts_stay_in_the_bucket"),
    "every indirect bubble is answered": (Bug(Answers, "allow", anything), "answers_stay_within_their_limits"),
    "a packet too many waits": (Bug(queues, "QUEUE_PACKETS", 33), "queues_are_bounded"),
    "bytes that wait are not counted": (Bug(queues, "QUEUE_BYTES", 1 << 20), "queues_are_bounded"),
    "all that strangers send is held": (Bug(queues, "HELD_PACKETS", 1000), "queues_are_bounded"),
    "a relay believes every source": (Bug(Relay, "_is_proved", anything), "only_who_was_proved_is_trusted"),
    "a peer may move as it likes": (Bug(Peers, "matches", known_by_address), "only_who_was_proved_is_trusted"),
    "a neighbour may be anywhere": (Bug(Discovery, "matches", near_by_address), "only_who_was_proved_is_trusted"),
    "a client takes data from anybody": (Bug(Client, "passes", pass_all_data), "nothing_untrusted_is_delivered"),
    "a relay takes data from anybody": (Bug(Relay, "passes", pass_all_data), "nothing_untrusted_is_delivered"),
    "what was held is delivered whoever sent it": (
        Bug(HeldPackets, "drain", drain_whatever_waits),
        "nothing_forged_is_received",
    ),
    "the fast path keeps the silent": (Bug(Peers, "_age", age_in_silence), "the_fast_path_holds_only_the_trusted"),
    "the fast path sleeps on": (Bug(Peers, "forget_all", forget_in_silence), "the_fast_path_holds_only_the_trusted"),
    "a server advertises twice": (Bug(Server, "_advertise", advertise_twice), "one_datagram_leads_to_one_at_most"),
    "a server's advertisement is long": (
        Bug(Server, "_advertise", advertise_at_length),
        "an_answer_goes_to_who_asked",
    ),
    "a server hides the sender": (
        Bug(Server, "_to_client", to_client_anonymously),
        "what_goes_on_is_what_came_and_names_its_sender",
    ),
    "a server forwards for anybody": (Bug(Server, "_refusal", nothing), "only_what_is_proved_goes_on"),
    "a server is a relay for anybody": (Bug(Server, "_refusal", nothing), "only_clients_reach_the_native_network"),
    "a server forwards to any scope": (
        Bug(Server, "_to_native", to_native_as_it_is),
        "only_clients_reach_the_native_network",
    ),
    "a client gives up for good": (Bug(Qualification, "deadline", None), "there_is_always_something_to_come"),
}


@contextmanager
def only_looked_at(check: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All checks but this one look away; and no recordings are left of runs that are to fail."""
    with recorded_worlds(limit=0), monkeypatch.context() as blinded:
        for name, witness in CHECKS.items():
            if name != check:
                blinded.setattr(witness, name, nothing)
        yield


def found(run: Callable[[], None]) -> set[str]:
    """The functions that an assertion failed in, if one did."""
    try:
        run()
    except AssertionError as error:
        return {frame.name for frame in extract_tb(error.__traceback__)}
    return set()


@pytest.mark.requirement("A13", "C45", "C47", "C50", "R2", "S8", "S12")
@pytest.mark.parametrize(("bug", "check"), BUGS.values(), ids=BUGS)
def test_a_deliberate_bug_is_found(bug: Bug, check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bug.owner, bug.name, bug.wrong)
    with only_looked_at(check, monkeypatch):
        assert check in found(lambda: run_state_machine_as_test(ASmallInternet, settings=SETTINGS))


def test_each_check_finds_a_bug() -> None:
    assert {check for _, check in BUGS.values()} == set(CHECKS)
