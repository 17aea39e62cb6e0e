# SPDX-License-Identifier: MIT
"""Cables: packets between two devices take the time that their link says, or never come."""

from random import Random

import pytest

from miredo.address.endpoint import parse_ipv4
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryInternet, MemoryTunnel
from miredo.lab.cables import Cable, DistantTunnel, Passage
from miredo.lab.links import QUEUE_LENGTH, Link, Transmitter
from miredo.wire.bubble import emit_bubble
from tests.wire.vectors import CLIENT_A, CLIENT_B

PACKET, BACK = emit_bubble(CLIENT_A, CLIENT_B), emit_bubble(CLIENT_B, CLIENT_A)


def devices(clock: MemoryClock) -> list[MemoryTunnel]:
    internet = MemoryInternet(clock)
    found = []
    for number in (1, 2):
        endpoints = MemoryEndpoints(internet, [(parse_ipv4(f"192.0.2.{number}"), 24)], f"node-{number}")
        endpoints.open_tunnel("wire", 1500)
        found.append(endpoints.tunnels[-1])
    return found


def test_a_packet_comes_out_of_the_other_end_after_the_delay() -> None:
    clock = MemoryClock()
    one, other = devices(clock)
    cable = Cable(one, other, Link(delay=0.04), clock, Random(0))
    cable.start()
    one.arrive(PACKET)
    clock.advance(0.039)
    assert other.written == []
    clock.advance(0.002)
    assert other.written == [PACKET]
    assert one.written == []
    other.arrive(BACK)
    clock.advance(0.05)
    assert one.written == [BACK]
    cable.close()
    assert clock.armed == []
    assert (one.open, other.open) == (False, False)


def test_what_is_under_way_when_a_cable_is_closed_never_arrives() -> None:
    clock = MemoryClock()
    one, other = devices(clock)
    cable = Cable(one, other, Link(delay=1.0), clock, Random(0))
    cable.start()
    one.arrive(PACKET)
    cable.close()
    clock.advance(2.0)
    assert other.written == []


def test_a_distant_tunnel_is_reached_late_in_both_directions() -> None:
    clock = MemoryClock()
    near, _ = devices(clock)
    tunnel = DistantTunnel(near, Link(delay=0.5), clock, Random(0))
    received: list[bytes] = []
    tunnel.start(received.append)
    assert tunnel.write(PACKET)
    near.arrive(BACK)
    clock.advance(0.4)
    assert (near.written, received) == ([], [])
    clock.advance(0.2)
    assert (near.written, received) == ([PACKET], [BACK])
    tunnel.close()
    assert (near.open, clock.armed) == (False, [])


def test_losses_are_counted() -> None:
    clock = MemoryClock()
    came: list[bytes] = []
    passage = Passage(Link(loss=1.0), clock, Random(0), came.append)
    passage.send(PACKET)
    clock.advance(1.0)
    assert (passage.lost, came) == (1, [])


def test_without_jitter_the_order_is_kept_and_with_reordering_it_is_not() -> None:
    clock = MemoryClock()
    plain: list[bytes] = []
    mixed: list[bytes] = []
    numbers = [bytes([number]) for number in range(50)]
    straight = Passage(Link(delay=0.01), clock, Random(1), plain.append)
    crooked = Passage(Link(delay=0.01, reorder=0.3), clock, Random(1), mixed.append)
    for number in numbers:
        straight.send(number)
        crooked.send(number)
    clock.advance(1.0)
    assert plain == numbers
    assert sorted(mixed) == numbers
    assert mixed != numbers


def test_a_rate_spreads_packets_and_drops_those_that_would_wait_too_long() -> None:
    transmitter = Transmitter(Link(rate=8000.0))  # 1000 bytes a second
    arrivals = [transmitter.deliveries(10.0, 100, lambda: 0.5) for _ in range(8)]
    assert [times[0] for times in arrivals if times] == pytest.approx([10.1, 10.2, 10.3, 10.4, 10.5, 10.6])
    assert arrivals[6:] == [[], []]
    assert transmitter.deliveries(10.6 + QUEUE_LENGTH, 100, lambda: 0.5) == pytest.approx([11.2])


def test_links_say_what_they_do_in_the_units_of_the_command_line() -> None:
    assert str(Link()) == "plain"
    assert str(Link(delay=0.04, loss=0.02, rate=2e6)) == "delay 40 ms, loss 2 %, rate 2 Mbit/s"


def test_a_negative_rate_is_no_rate() -> None:
    with pytest.raises(ValueError, match="bit/s"):
        Link(rate=-1.0)
