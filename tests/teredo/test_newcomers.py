# SPDX-License-Identifier: MIT
"""Which clients a relay begins with when many are asked for."""

from miredo.address.endpoint import IPv6
from miredo.teredo.newcomers import FIRST_BURST, NETWORK_BURST, NOTED, SECOND_BURST, SECOND_RATE, Newcomers

HOST = bytes.fromhex("20010db8000000000000000000000001")


def numbered(number: int) -> IPv6:
    """A client."""
    return bytes.fromhex("20010000cb007178") + number.to_bytes(8, "big")


def network(number: int) -> IPv6:
    """A source of a network of its own."""
    return b"\x24\x00" + number.to_bytes(4, "big") + bytes(10)


def flooded(newcomers: Newcomers, count: int, now: float = 1.0) -> int:
    """How many of so many clients are begun with, each for another network."""
    return sum(newcomers.admit(numbered(number), network(number), now) for number in range(count))


def test_a_few_begin_at_their_first_packet() -> None:
    newcomers = Newcomers()
    assert all(newcomers.admit(numbered(number), HOST, 1.0) for number in range(int(NETWORK_BURST)))


def test_one_network_does_not_take_the_place_of_another() -> None:
    newcomers = Newcomers()
    asked = [newcomers.admit(numbered(number), HOST, 1.0) for number in range(5000)]
    assert sum(asked) == NETWORK_BURST
    assert newcomers.admit(numbered(5000), network(1), 1.0)


def test_hosts_of_one_site_count_as_one() -> None:
    newcomers = Newcomers()
    asked = [newcomers.admit(numbered(one), HOST[:6] + one.to_bytes(10, "big"), 1.0) for one in range(5000)]
    assert sum(asked) == NETWORK_BURST


def test_while_many_begin_a_client_begins_at_its_second_packet() -> None:
    newcomers = Newcomers()
    assert flooded(newcomers, 30_000) == FIRST_BURST
    wanted = numbered(1_000_000)
    assert not newcomers.admit(wanted, HOST, 1.0)
    assert newcomers.admit(wanted, HOST, 1.0)


def test_second_packets_have_a_limit_too() -> None:
    newcomers = Newcomers()
    flooded(newcomers, 30_000)
    again = sum(newcomers.admit(numbered(number), network(number), 1.0) for number in range(10_000, 20_000))
    assert again == SECOND_BURST
    later = 1.0 + 1.5 / SECOND_RATE
    assert newcomers.admit(numbered(1_000_000), network(1), later)  # the first packet of a client that is not noted
    assert newcomers.admit(numbered(29_999), network(2), later)


def test_notes_are_kept_for_the_newest_and_bounded() -> None:
    newcomers = Newcomers()
    flooded(newcomers, int(FIRST_BURST))
    wanted = numbered(1_000_000)
    assert not newcomers.admit(wanted, HOST, 1.0)
    for number in range(2 * NOTED):
        newcomers.admit(numbered(10_000 + number), network(number), 1.0)
    assert not newcomers.admit(wanted, HOST, 1.0)
    assert newcomers.admit(wanted, HOST, 1.0)
