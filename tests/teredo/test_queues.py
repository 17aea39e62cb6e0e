# SPDX-License-Identifier: MIT
"""Packets that wait: in their order, and not too many, too much or too long."""

import pytest

from miredo.teredo.constants import HELD_PACKETS, QUEUE_BYTES, QUEUE_PACKETS
from miredo.teredo.queues import HeldPackets, PacketQueue
from tests.teredo.cores import ELSEWHERE, PEER_MAPPED


@pytest.mark.requirement("C50", "R6")
def test_a_queue_is_first_in_first_out_and_empty_afterwards() -> None:
    queue = PacketQueue()
    packets = [bytes([each]) for each in range(5)]
    assert all(queue.put(packet) for packet in packets)
    assert queue.drain() == packets
    assert (len(queue), queue.drain()) == (0, [])


@pytest.mark.requirement("C50", "R6")
def test_a_queue_is_bounded_in_packets() -> None:
    queue = PacketQueue()
    assert all(queue.put(b"1") for _ in range(QUEUE_PACKETS))
    assert not queue.put(b"2")
    assert queue.drain() == [b"1"] * QUEUE_PACKETS
    assert queue.put(b"3")


@pytest.mark.requirement("C50", "R6")
def test_a_queue_is_bounded_in_bytes_and_a_smaller_packet_may_still_fit() -> None:
    queue = PacketQueue()
    assert queue.put(bytes(QUEUE_BYTES - 100))
    assert not queue.put(bytes(101))
    assert queue.put(bytes(100))
    assert not queue.put(b"1")
    queue.drain()
    assert queue.put(bytes(QUEUE_BYTES))


@pytest.mark.requirement("A17")
def test_held_packets_are_given_out_for_the_endpoint_that_they_came_from() -> None:
    held = HeldPackets()
    held.put(b"good 1", ELSEWHERE, 1.0)
    held.put(b"other", PEER_MAPPED, 1.0)
    held.put(b"good 2", ELSEWHERE, 1.2)
    assert held.drain(ELSEWHERE, 0.5) == [b"good 1", b"good 2"]
    assert held.drain(PEER_MAPPED, 0.5) == []


@pytest.mark.requirement("A17")
def test_held_packets_are_given_out_only_while_they_are_young() -> None:
    held = HeldPackets()
    held.put(b"old", ELSEWHERE, 1.0)
    held.put(b"young", ELSEWHERE, 2.0)
    assert held.drain(ELSEWHERE, 1.0) == [b"young"]


@pytest.mark.requirement("A17")
def test_no_more_than_eight_packets_are_held_and_old_ones_make_room() -> None:
    held = HeldPackets()
    assert all(held.put(b"1", ELSEWHERE, 1.0) for _ in range(HELD_PACKETS))
    assert not held.put(b"2", ELSEWHERE, 1.5)
    assert held.drop_older(0.9) == 0
    assert held.drop_older(1.0) == HELD_PACKETS
    assert held.put(b"3", ELSEWHERE, 2.5)
    assert len(held) == 1


@pytest.mark.requirement("A17")
def test_held_packets_are_bounded_in_bytes_too() -> None:
    held = HeldPackets()
    assert held.put(bytes(QUEUE_BYTES - 10), ELSEWHERE, 1.0)
    assert not held.put(bytes(11), ELSEWHERE, 1.0)
    assert held.put(bytes(10), ELSEWHERE, 1.0)
    assert held.drop_older(1.0) == 2
    assert held.put(bytes(QUEUE_BYTES), ELSEWHERE, 3.0)
