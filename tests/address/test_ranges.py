# SPDX-License-Identifier: MIT
"""Ranges of IPv6 addresses hold what the standard library says that their prefixes hold."""

from ipaddress import IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.endpoint import parse_ipv6
from miredo.address.ranges import IPv6Ranges

networks = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 128),
)


@given(st.lists(networks, max_size=5), st.binary(min_size=16, max_size=16))
def test_an_address_is_in_the_ranges_if_it_is_in_one_of_them(prefixes: list[IPv6Network], address: bytes) -> None:
    ranges = IPv6Ranges(map(str, prefixes))
    assert (address in ranges) == any(IPv6Address(address) in prefix for prefix in prefixes)
    for prefix in prefixes:
        assert prefix.network_address.packed in ranges
        assert prefix.broadcast_address.packed in ranges


def test_single_addresses_are_ranges_of_one() -> None:
    one, other = parse_ipv6("2001:db8::1"), parse_ipv6("2001:db8::2")
    assert one in IPv6Ranges(addresses=[one])
    assert other not in IPv6Ranges(addresses=[one])
    assert one not in IPv6Ranges()


def test_a_prefix_with_bits_beyond_its_length_is_refused() -> None:
    with pytest.raises(ValueError, match="host bits"):
        IPv6Ranges(["2001:db8::1/64"])
