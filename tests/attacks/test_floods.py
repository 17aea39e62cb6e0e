# SPDX-License-Identifier: MIT
"""The flood and the malformed datagrams of C{./x bench} in small, on real packets; and what they are made of."""

import os
from itertools import islice
from math import inf

import pytest

from miredo.address.scope import IPv4Scope
from miredo.address.teredo import is_teredo, mapped_of
from miredo.commands import flood, malformed
from miredo.commands.flood import Figures, Findings, Plan
from miredo.lab.damage import damaged, sound
from miredo.lab.flooding import SOURCE, Flood, packets
from miredo.wire.encapsulation import parse_encapsulation
from miredo.wire.ipv6 import destination_of, parse_ipv6, source_of
from miredo.wire.reader import MalformedPacket
from tests.teredo.cores import MAPPED, NATIVE, PEER, SERVER

pytestmark = pytest.mark.soak

# ---------------------------------------------------------------- what they are made of


def test_every_packet_of_a_flood_is_for_another_client_that_may_be_sent_to() -> None:
    found = list(islice(packets(5, 3), 1000))
    destinations = {destination_of(packet) for packet in found}
    assert len(destinations) == len(found)
    assert all(is_teredo(each) and IPv4Scope().permits(mapped_of(each)[:4]) for each in destinations)
    assert {source_of(packet)[6:] for packet in found} == {SOURCE[6:]}
    assert len({source_of(packet)[:6] for packet in found}) == 3
    assert all(parse_ipv6(packet)[1] == b"" for packet in found)
    assert next(packets(6, 3)) == found[1]


@pytest.mark.parametrize(("rate", "count", "seconds"), [(2000.0, 300, inf), (inf, inf, 0.2)])
def test_a_flood_is_as_long_and_as_fast_as_it_was_to_be(rate: float, count: float, seconds: float) -> None:
    device = os.open(os.devnull, os.O_WRONLY)
    sent = Flood(device, 0, 1, rate, count, seconds).end()
    os.close(device)
    assert sent.packets == count or count == inf
    assert sent.rate <= rate * 1.05
    assert sent.seconds >= 0.14


def test_a_flood_that_fails_is_told_of() -> None:
    device = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(ChildProcessError, match="without a word"):
        Flood(device, 0, 1, inf, 10).end()
    os.close(device)


def test_damage_is_the_same_every_time_and_mostly_malformed() -> None:
    whole = sound(PEER, NATIVE, SERVER.primary, MAPPED)
    for datagram in whole:
        parse_encapsulation(datagram)
    found = list(damaged(whole, 2000))
    assert found == list(damaged(whole, 2000))
    refused = 0
    for datagram in found:
        try:
            parse_encapsulation(datagram)
        except MalformedPacket:
            refused += 1
    assert 700 < refused < 1900


# ---------------------------------------------------------------- on real packets


@pytest.mark.manual("M37")
@pytest.mark.requirement("T24", "R11")
@pytest.mark.namespaced
@pytest.mark.untraced
def test_t24_a_flood_on_real_packets_takes_no_service_and_bounded_memory() -> None:
    """RFC 4380 7.3.5. Far slower than what C{./x bench flood} measures, as the machine may be busy with other tests."""
    plan = Plan(destinations=6000, above=1.0, rate=2000.0, capacity_seconds=0.5, programs=("ours",))
    findings = flood.measure(plan)
    (ours,) = findings.figures
    assert findings.capacity > 0
    assert ours.destinations == 6000
    assert ours.pings > 0
    assert ours.loss < 0.05
    assert ours.new_clients > ours.new_unserved == 0
    assert ours.back is not None
    assert ours.new_back is not None
    assert ours.memory_above < ours.memory_before + 150


@pytest.mark.requirement("T31")
@pytest.mark.namespaced
@pytest.mark.untraced
def test_t31_malformed_datagrams_at_every_port_end_no_program_and_write_no_log() -> None:
    """RFC 6169 3.2. parse_encapsulation in miredo/wire/encapsulation.py refuses, and every core counts a drop."""
    findings = malformed.measure(1000)
    assert findings.intact
    for port in findings.ports:
        assert port.taken >= 0.9 * port.sent
        assert port.log_lines <= 2
        assert port.memory_after < port.memory_before + 10


# ---------------------------------------------------------------- how it is told


def test_figures_are_told_in_columns() -> None:
    ours = Figures("ours", rate=20000.4, destinations=1_000_000, lost=1, pings=2000, new_clients=4, new_unserved=1)
    text = flood.as_text(Findings(54321.0, [ours, Figures("miredo", back=0.25)]))
    assert text.splitlines()[0] == "Our relay reads 54,321 packets to new destinations a second."
    lines = {line[:38].strip(): line[38:].split() for line in text.splitlines()[2:]}
    assert lines[""] == ["ours", "miredo"]
    assert lines["established clients: pings lost"] == ["1", "of", "2000", "(0.050%)", "0", "of", "0", "(0.000%)"]
    assert lines["new clients served"] == ["3", "of", "4", "0", "of", "0"]
    assert lines["established clients back after, s"] == ["not", "in", "60", "0.25"]


def test_a_program_that_ended_is_told_of() -> None:
    port = malformed.PortFigures("relay", 1000, 999, 62.54, 0.0, 3, False)
    findings = malformed.Findings([port], {"host": False, "mire": True})
    assert not findings.intact
    assert malformed.as_text(findings).splitlines()[1:] == [
        "relay                       1,000      999       62.5    0.0          3  ended",
        "",
        "Pings of the client afterwards: host: does not answer, mire: answers",
    ]
