# SPDX-License-Identifier: MIT
"""Which addresses may be sent to."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.address.scope import (
    DIRECTED_BROADCAST,
    FORBIDDEN_IPV4,
    OWN_ADDRESS,
    IPv4Scope,
    Range,
    is_global_ipv6,
    is_link_local,
    is_multicast,
    is_unicast,
)

DOCUMENTED = {
    "0.0.0.0/8": True,
    "10.0.0.0/8": False,
    "100.64.0.0/10": False,
    "127.0.0.0/8": True,
    "169.254.0.0/16": False,
    "172.16.0.0/12": False,
    "192.0.0.0/24": False,
    "192.88.99.0/24": False,
    "192.168.0.0/16": False,
    "198.18.0.0/15": False,
    "224.0.0.0/4": True,
    "240.0.0.0/4": False,
    "255.255.255.255/32": True,
}
"""RFC 4380 5.2.4 and our additions, each with whether C{AllowIPv4} cannot take it out."""

by_name = pytest.mark.parametrize("row", FORBIDDEN_IPV4, ids=lambda row: f"{IPv4Address(row.first)}/{row.length}")


def model(text: str) -> bool:
    """Whether the documented list forbids an address, slowly."""
    return any(IPv4Address(text) in IPv4Network(cidr) for cidr in DOCUMENTED)


def moved(ipv4: bytes, step: int) -> str | None:
    """The text of the address C{step} further, unless that is beyond either end."""
    number = int.from_bytes(ipv4, "big") + step
    return str(IPv4Address(number)) if 0 <= number <= 0xFFFFFFFF else None


def test_the_table_holds_the_documented_ranges_and_no_other() -> None:
    rows = {f"{IPv4Address(row.first)}/{row.length}": row.lasting for row in FORBIDDEN_IPV4}
    assert rows == DOCUMENTED
    assert len(rows) == len(FORBIDDEN_IPV4)


@by_name
def test_a_row_has_a_name_and_the_rfc_that_says_so(row: Range) -> None:
    assert row.name
    assert row.source.startswith("RFC ")


@by_name
def test_a_row_ends_where_its_length_says(row: Range) -> None:
    assert row.last == IPv4Network((row.first, row.length)).broadcast_address.packed


@by_name
def test_a_row_forbids_its_first_and_its_last_address_and_not_their_neighbours(row: Range) -> None:
    scope = IPv4Scope()
    assert scope.forbids(row.first) == row.name
    assert not scope.permits(row.last)
    for neighbour in (moved(row.first, -1), moved(row.last, 1)):
        if neighbour is not None:
            assert scope.permits(parse_ipv4(neighbour)) != model(neighbour)


@settings(deadline=None)
@given(st.binary(min_size=4, max_size=4))
def test_any_address_is_judged_as_by_the_slow_model(ipv4: bytes) -> None:
    assert IPv4Scope().permits(ipv4) != model(str(IPv4Address(ipv4)))


def test_the_limited_broadcast_is_called_by_its_own_name() -> None:
    assert IPv4Scope().forbids(parse_ipv4("255.255.255.255")) == "limited broadcast"
    assert IPv4Scope().forbids(parse_ipv4("255.255.255.254")) == "reserved"


@pytest.mark.parametrize(
    "text", ["192.0.2.1", "198.51.100.1", "203.0.113.120", "8.8.8.8", "1.0.0.0", "223.255.255.255"]
)
def test_test_nets_and_ordinary_addresses_are_permitted(text: str) -> None:
    assert IPv4Scope().permits(parse_ipv4(text))


def test_an_allowed_range_is_permitted_and_no_more_than_that() -> None:
    scope = IPv4Scope(allow=["10.1.0.0/16", "172.16.0.0/12", "240.0.0.0/4", "192.168.7.7"])
    for text in ("10.1.0.0", "10.1.255.255", "172.16.0.1", "172.31.255.255", "250.1.2.3", "192.168.7.7"):
        assert scope.permits(parse_ipv4(text)), text
    for text in ("10.0.255.255", "10.2.0.0", "192.168.7.6", "192.168.7.8", "100.64.0.1", "255.255.255.255"):
        assert not scope.permits(parse_ipv4(text)), text


def test_nothing_that_lasts_can_be_allowed() -> None:
    own, broadcast = parse_ipv4("10.0.0.1"), parse_ipv4("10.0.0.255")
    scope = IPv4Scope(allow=["0.0.0.0/0", "127.0.0.0/8", "10.0.0.1/32"], own=[own], broadcasts=[broadcast])
    assert scope.forbids(own) == OWN_ADDRESS
    assert scope.forbids(broadcast) == DIRECTED_BROADCAST
    for row in FORBIDDEN_IPV4:
        assert scope.permits(row.first) != row.lasting
    assert scope.forbids(parse_ipv4("255.255.255.255")) == "limited broadcast"


def test_own_addresses_and_broadcasts_follow_the_interfaces() -> None:
    scope = IPv4Scope(own=[parse_ipv4("192.0.2.1")], broadcasts=[parse_ipv4("192.0.2.255")])
    scope.attached(own=[parse_ipv4("198.51.100.1")], broadcasts=[parse_ipv4("198.51.100.255")])
    assert scope.permits(parse_ipv4("192.0.2.1"))
    assert scope.permits(parse_ipv4("192.0.2.255"))
    assert scope.forbids(parse_ipv4("198.51.100.1")) == OWN_ADDRESS
    assert scope.forbids(parse_ipv4("198.51.100.255")) == DIRECTED_BROADCAST


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/x", "2001:db8::/32", "10", "10.0.0.0/8/8"])
def test_a_range_that_cannot_be_read_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IPv4 range") as refusal:
        IPv4Scope(allow=["10.0.0.0/8", text])
    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "unicast"),
    [
        ("0.1.2.3", False),
        ("127.0.0.1", False),
        ("224.0.0.253", False),
        ("255.255.255.255", False),
        ("10.0.0.7", True),
        ("192.168.1.10", True),
        ("192.0.2.1", True),
    ],
)
def test_a_private_address_is_unicast_too(text: str, unicast: bool) -> None:
    assert is_unicast(parse_ipv4(text)) == unicast


@pytest.mark.parametrize(
    "text",
    [
        "2001:db8::1",
        "2001:0:cb00:7178:0:efff:3fff:fdfe",
        "fc00::1",
        "fd12:3456::1",
        "64:ff9b::192.0.2.1",
        "2002:c000:201::1",
        "fe7f:ffff::1",
        "2a00::1",
        "100::1",
    ],
)
def test_a_global_destination_is_forwarded_to(text: str) -> None:
    assert is_global_ipv6(parse_ipv6(text), IPv4Scope())


@pytest.mark.parametrize(
    "text",
    [
        "::",
        "::1",
        "::192.0.2.1",
        "::ffff:192.0.2.1",
        "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff",
        "64:ff9b::1:0:0",
        "64:ff9b:1::1",
        "ff:ffff::1",
        "fe80::1",
        "febf:ffff::1",
        "fec0::1",
        "feff:ffff::1",
        "ff00::1",
        "ff02::1",
        "ff0e::1",
        "2002:a00:1::1",
        "2002:7f00:1::1",
        "2002:e000:1::1",
    ],
)
def test_a_destination_that_is_not_global_is_not_forwarded_to(text: str) -> None:
    assert not is_global_ipv6(parse_ipv6(text), IPv4Scope())


def test_6to4_is_judged_by_the_scope_of_the_role() -> None:
    ours = parse_ipv6("2002:cb00:7178::1")
    private = parse_ipv6("2002:a00:1::1")
    scope = IPv4Scope(allow=["10.0.0.0/8"], own=[parse_ipv4("203.0.113.120")])
    assert not is_global_ipv6(ours, scope)
    assert is_global_ipv6(private, scope)


def test_link_local_is_10_bits_and_multicast_8() -> None:
    assert [is_link_local(parse_ipv6(text)) for text in ("fe7f::", "fe80::", "febf::", "fec0::")] == [0, 1, 1, 0]
    assert [is_multicast(parse_ipv6(text)) for text in ("feff::", "ff00::", "ffff::", "2001::")] == [0, 1, 1, 0]
