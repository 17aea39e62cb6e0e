# SPDX-License-Identifier: MIT
"""Addresses and endpoints, and their text."""

from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miredo.address.endpoint import (
    endpoint,
    ipv4_of,
    parse_endpoint,
    parse_ipv4,
    parse_ipv6,
    port_of,
    show_endpoint,
    show_ipv4,
    show_ipv6,
)


def test_an_endpoint_is_its_address_and_its_port_in_network_order() -> None:
    here = endpoint(b"\xc0\x00\x02\x01", 4096)
    assert here == b"\xc0\x00\x02\x01\x10\x00"
    assert ipv4_of(here) == b"\xc0\x00\x02\x01"
    assert port_of(here) == 4096


@settings(deadline=None)
@given(st.binary(min_size=4, max_size=4), st.integers(0, 0xFFFF))
def test_an_endpoint_survives_its_text(ipv4: bytes, port: int) -> None:
    assert parse_endpoint(show_endpoint(endpoint(ipv4, port))) == endpoint(ipv4, port)
    assert parse_ipv4(show_ipv4(ipv4)) == ipv4


@settings(deadline=None)
@given(st.binary(min_size=16, max_size=16) | st.binary(min_size=4, max_size=4).map((bytes(10) + b"\xff\xff").__add__))
def test_an_ipv6_address_survives_its_text(ipv6: bytes) -> None:
    text = show_ipv6(ipv6)
    assert parse_ipv6(text) == ipv6
    assert text == text.lower()
    assert IPv6Address(text).packed == ipv6


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("2001:0:cb00:7178:0:efff:3fff:fdfe", "2001:0:cb00:7178:0:efff:3fff:fdfe"),
        ("::ffff:c000:201", "::ffff:192.0.2.1"),
        ("0:0:0:0:0:0:0:0", "::"),
    ],
)
def test_an_ipv6_address_is_shown_in_its_canonical_form(text: str, shown: str) -> None:
    assert show_ipv6(parse_ipv6(text)) == shown


@pytest.mark.parametrize(
    "text", ["", "192.0.2", "192.0.2.256", "192.0.2.01", " 192.0.2.1", "0xc0000201", "a.b.c.d", "::1"]
)
def test_what_is_no_ipv4_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IPv4 address") as refusal:
        parse_ipv4(text)
    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize("text", ["", ":", "2001:db8", "192.0.2.1", "2001:db8::1::1", "2001:db8::g", "2001:db8::/32"])
def test_what_is_no_ipv6_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IPv6 address") as refusal:
        parse_ipv6(text)
    assert repr(text) in str(refusal.value)


def test_an_ipv6_address_has_no_zone() -> None:
    with pytest.raises(ValueError, match="names a zone"):
        parse_ipv6("fe80::1%eth0")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("192.0.2.1", "has no port"),
        ("192.0.2.1:", "is not a UDP port"),
        ("192.0.2.1:65536", "is not a UDP port"),
        ("192.0.2.1:-1", "is not a UDP port"),
        ("192.0.2.1:+1", "is not a UDP port"),
        ("192.0.2.1:\u0661", "is not a UDP port"),
        ("192.0.2.1:" + "9" * 5000, "is not a UDP port"),
        ("host:3544", "is not an IPv4 address"),
        (":3544", "is not an IPv4 address"),
        ("[::1]:3544", "is not an IPv4 address"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_endpoint(text)
