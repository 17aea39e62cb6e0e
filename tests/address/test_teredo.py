# SPDX-License-Identifier: MIT
"""The algebra of Teredo addresses."""

from ipaddress import IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st

from miredo.address.endpoint import endpoint, parse_ipv4, parse_ipv6
from miredo.address.teredo import (
    ALL_NODES,
    ALL_ROUTERS,
    CLIENT_LINK_LOCAL,
    CONE,
    LEGACY_PREFIX,
    RANDOM_BITS,
    SERVICE_PREFIX,
    TEREDO_PORT,
    compose,
    flags_of,
    has_cone_bit,
    is_teredo,
    mapped_of,
    random_flags,
    server_link_local,
    server_of,
)

SERVER = parse_ipv4("203.0.113.120")
MAPPED = endpoint(parse_ipv4("192.0.2.1"), 4096)


def test_the_fields_of_an_address_are_those_of_rfc_6081_figure_2() -> None:
    address = parse_ipv6("2001:0:cb00:7178:0:efff:3fff:fdfe")
    assert compose(SERVER, MAPPED, flags=0) == address
    assert (server_of(address), flags_of(address), mapped_of(address)) == (SERVER, 0, MAPPED)


@settings(deadline=None)
@given(
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=6, max_size=6),
    st.integers(0, 0xFFFF),
    st.sampled_from([SERVICE_PREFIX, LEGACY_PREFIX]),
)
def test_an_address_gives_back_what_it_was_composed_of(server: bytes, mapped: bytes, flags: int, prefix: bytes) -> None:
    address = compose(server, mapped, flags, prefix)
    assert len(address) == 16
    assert (server_of(address), mapped_of(address), flags_of(address)) == (server, mapped, flags)
    assert is_teredo(address, prefix)
    assert has_cone_bit(address) == (flags & CONE == CONE)


@settings(deadline=None)
@given(st.binary(min_size=4, max_size=4), st.binary(min_size=6, max_size=6))
def test_the_standard_library_reads_the_same_addresses(server: bytes, mapped: bytes) -> None:
    seen = IPv6Address(compose(server, mapped, flags=0)).teredo
    assert seen is not None
    assert [address.packed for address in seen] == [server, mapped[:4]]


def test_the_service_prefix_is_compared_in_all_its_32_bits() -> None:
    assert is_teredo(parse_ipv6("2001::1"))
    assert not is_teredo(parse_ipv6("2001:1::1"))
    assert not is_teredo(parse_ipv6("2001:db8::1"))
    assert not is_teredo(parse_ipv6("3ffe:831f::1"))
    assert is_teredo(parse_ipv6("3ffe:831f::1"), LEGACY_PREFIX)


def test_random_flags_take_every_bit_of_the_mask_from_the_dice_and_no_other() -> None:
    assert random_flags(lambda count: b"\xff" * count) == RANDOM_BITS
    assert random_flags(bytes) == 0
    assert RANDOM_BITS.bit_count() == 12
    drawn = {random_flags(number.to_bytes) for number in range(0x10000)}
    assert len(drawn) == 4096
    assert all(flags & ~RANDOM_BITS == 0 for flags in drawn)


def test_a_server_has_a_link_local_address_with_the_cone_bit_and_its_obfuscated_endpoint() -> None:
    address = server_link_local(SERVER)
    assert address == parse_ipv6("fe80::8000:f227:34ff:8e87")
    assert has_cone_bit(address)
    assert mapped_of(address) == endpoint(SERVER, TEREDO_PORT)


def test_a_client_solicits_without_the_cone_bit() -> None:
    assert parse_ipv6("fe80::ffff:ffff:ffff") == CLIENT_LINK_LOCAL
    assert not has_cone_bit(CLIENT_LINK_LOCAL)


def test_the_groups_are_those_of_rfc_4291() -> None:
    assert parse_ipv6("ff02::1") == ALL_NODES
    assert parse_ipv6("ff02::2") == ALL_ROUTERS
