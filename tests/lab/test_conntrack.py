# SPDX-License-Identifier: MIT
"""Plain Linux masquerade: the clash that an early packet leaves, and all of it against a slow and obvious model."""

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.endpoint import Endpoint, endpoint, ipv4_of, parse_endpoint, port_of
from miredo.lab.nat import LINUX_MASQUERADE, UNPRIVILEGED, Nat, Refusal

EXTERNAL = bytes([198, 51, 100, 7])
INSIDE, NEIGHBOUR = parse_endpoint("192.168.1.2:40000"), parse_endpoint("192.168.1.3:40000")
SERVER, RELAY = parse_endpoint("203.0.113.1:3544"), parse_endpoint("203.0.113.99:3544")
PRESERVED = endpoint(EXTERNAL, port_of(INSIDE))


def masquerade(ports: range = UNPRIVILEGED, sessions: int = 1000) -> Nat:
    return Nat(LINUX_MASQUERADE, EXTERNAL, Random(4787).randbytes, ports=ports, sessions=sessions)


def test_whom_nobody_sent_to_is_kept_out_and_answered_from_another_port() -> None:
    through = masquerade()
    assert through.outbound(INSIDE, SERVER, 0.0) == PRESERVED
    assert through.inbound(RELAY, PRESERVED, 0.0) is None
    towards = through.outbound(INSIDE, RELAY, 0.0)
    assert towards not in (None, PRESERVED)
    assert through.inbound(RELAY, PRESERVED, 0.0) is None
    assert through.refused == {Refusal.FILTERED: 2}
    assert towards is not None
    assert through.inbound(RELAY, towards, 0.0) == INSIDE


def test_who_is_sent_to_first_answers_the_preserved_port() -> None:
    through = masquerade()
    assert through.outbound(INSIDE, RELAY, 0.0) == PRESERVED
    assert through.inbound(RELAY, PRESERVED, 0.0) == INSIDE


@pytest.mark.parametrize(("silence", "clashes"), [(29.9, True), (30.0, False)])
def test_the_clash_ends_30_s_after_the_last_early_packet(silence: float, clashes: bool) -> None:
    through = masquerade()
    for now in (0.0, 20.0, 40.0):
        through.inbound(RELAY, PRESERVED, now)
    assert (through.outbound(INSIDE, RELAY, 40.0 + silence) != PRESERVED) is clashes


def test_a_port_that_a_clash_forced_stays_while_it_is_used() -> None:
    through = masquerade()
    through.inbound(RELAY, PRESERVED, 0.0)
    towards = {through.outbound(INSIDE, RELAY, now) for now in (0.0, 25.0, 50.0, 75.0)}
    assert len(towards) == 1
    assert PRESERVED not in towards


def test_without_an_answer_an_entry_lives_30_s_and_with_one_120() -> None:
    through = masquerade()
    through.outbound(INSIDE, SERVER, 0.0)
    through.outbound(INSIDE, RELAY, 0.0)
    assert through.inbound(SERVER, PRESERVED, 29.9) == INSIDE
    assert through.inbound(RELAY, PRESERVED, 30.0) is None
    assert through.inbound(SERVER, PRESERVED, 149.8) == INSIDE
    assert through.inbound(SERVER, PRESERVED, 269.8) is None


def test_neighbours_share_a_port_towards_different_destinations_only() -> None:
    through = masquerade()
    assert through.outbound(INSIDE, SERVER, 0.0) == PRESERVED
    assert through.outbound(NEIGHBOUR, RELAY, 0.0) == PRESERVED
    assert through.outbound(NEIGHBOUR, SERVER, 0.0) not in (None, PRESERVED)
    assert through.inbound(SERVER, PRESERVED, 0.0) == INSIDE
    assert through.inbound(RELAY, PRESERVED, 0.0) == NEIGHBOUR


def test_a_reboot_forgets_the_clash_too() -> None:
    through = masquerade()
    through.inbound(RELAY, PRESERVED, 0.0)
    through.reboot()
    assert through.outbound(INSIDE, RELAY, 1.0) == PRESERVED


def test_a_port_outside_of_the_block_is_not_preserved() -> None:
    external = masquerade(range(5000, 5004)).outbound(INSIDE, SERVER, 0.0)
    assert external is not None
    assert port_of(external) in range(5000, 5004)


def test_a_low_port_stays_low() -> None:
    through = masquerade()
    through.inbound(SERVER, endpoint(EXTERNAL, 500), 0.0)
    external = through.outbound(endpoint(ipv4_of(INSIDE), 500), SERVER, 0.0)
    assert external is not None
    assert port_of(external) in set(range(1, 1024)) - {500}


def test_when_all_ports_towards_a_destination_are_taken_others_still_have_theirs() -> None:
    through = masquerade(range(5000, 5004))
    inside = [endpoint(ipv4_of(INSIDE), 5000 + each) for each in range(5)]
    externals = [through.outbound(each, SERVER, 0.0) for each in inside]
    assert len(set(externals)) == 5
    assert externals[4] is None
    assert through.refused == {Refusal.PORTS_EXHAUSTED: 1}
    assert through.outbound(inside[4], RELAY, 0.0) is not None


def test_strangers_fill_the_table_of_entries() -> None:
    through = masquerade(sessions=2)
    for port in (1, 2, 3):
        assert through.inbound(RELAY, endpoint(EXTERNAL, port), 0.0) is None
    assert through.outbound(INSIDE, SERVER, 0.0) is None
    assert through.refused == {Refusal.FILTERED: 2, Refusal.SESSIONS_EXHAUSTED: 2}
    assert through.mappings == 0
    assert through.outbound(INSIDE, SERVER, 30.0) == PRESERVED


@dataclass
class Entry:
    """C{owner} is C{None} for the NAT itself."""

    owner: Endpoint | None
    port: int
    remote: Endpoint
    refreshed: float
    answered: bool = False


@dataclass
class ObviousMasquerade:
    """Looks through a list of entries that forgets nothing; the random ports are those that the NAT chose."""

    entries: list[Entry] = field(default_factory=list)

    def alive(self, now: float) -> list[Entry]:
        return [each for each in self.entries if now < each.refreshed + (120.0 if each.answered else 30.0)]

    def check_outbound(self, inside: Endpoint, to: Endpoint, now: float, external: Endpoint | None) -> None:
        assert external is not None
        alive = self.alive(now)
        port = port_of(external)
        for each in alive:
            if (each.owner, each.remote) == (inside, to):
                assert each.port == port
                each.refreshed = now
                return
        taken = {each.port for each in alive if each.remote == to}
        assert port not in taken
        assert port == port_of(inside) or port_of(inside) in taken
        self.entries.append(Entry(inside, port, to, now))

    def inbound(self, source: Endpoint, external: Endpoint, now: float) -> Endpoint | None:
        for each in self.alive(now):
            if (each.port, each.remote) == (port_of(external), source):
                each.refreshed = now
                each.answered = each.owner is not None
                return each.owner
        self.entries.append(Entry(None, port_of(external), source, now))
        return None


inside_endpoints = st.builds(endpoint, st.sampled_from([b"\x0a\0\0\1", b"\x0a\0\0\2"]), st.integers(4000, 4001))
outside_endpoints = st.builds(endpoint, st.sampled_from([b"\xcb\0\x71\1", b"\xcb\0\x71\2"]), st.integers(1, 2))
waits = st.sampled_from([0.0, 1.0, 29.0, 30.0, 31.0, 119.0, 120.0])
packets = st.tuples(waits, st.booleans(), inside_endpoints, outside_endpoints, st.integers(3998, 4008))


@given(st.lists(packets, max_size=60), st.integers())
def test_the_masquerade_does_what_the_slow_and_obvious_one_does(
    traffic: list[tuple[float, bool, Endpoint, Endpoint, int]], seed: int
) -> None:
    through = Nat(LINUX_MASQUERADE, EXTERNAL, Random(seed).randbytes, ports=range(3998, 4009))
    obvious = ObviousMasquerade()
    now = 0.0
    for wait, leaves, inside, remote, port in traffic:
        now += wait
        if leaves:
            taken = {each.port for each in obvious.alive(now) if each.remote == remote}
            if len(taken) == 11 and (inside, remote) not in {(e.owner, e.remote) for e in obvious.alive(now)}:
                assert through.outbound(inside, remote, now) is None
            else:
                obvious.check_outbound(inside, remote, now, through.outbound(inside, remote, now))
        else:
            external = endpoint(EXTERNAL, port)
            assert through.inbound(remote, external, now) == obvious.inbound(remote, external, now)
        assert through.mappings == sum(each.owner is not None for each in obvious.alive(now))
