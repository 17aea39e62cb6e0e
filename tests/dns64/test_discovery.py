# SPDX-License-Identifier: MIT
"""Prefixes that are found by asking for ipv4only.arpa (RFC 7050)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.names import dns

from miredo.address.endpoint import parse_ipv6
from miredo.address.rfc6052 import LENGTHS, Prefix, parse_prefix
from miredo.dns64.discovery import discovered
from miredo.dns64.local import LocalNames
from miredo.dns64.message import data_of
from miredo.dns64.reply import Asked
from miredo.dns64.resolution import Rules
from miredo.dns64.synthesis import SPECIAL
from tests.dns64.test_resolution import LENGTHS as EXAMPLES
from tests.dns64.test_resolution import config, resolve
from tests.dns64.upstream import Authority


@pytest.mark.parametrize("prefix", EXAMPLES)
def test_a_client_finds_our_own_prefix(prefix: str) -> None:
    rules = Rules(config(prefix, "2001:db8:ffff::/96"), LocalNames())
    reply = resolve(rules, Asked(b"ipv4only.arpa", dns.AAAA), Authority())
    found = discovered([data_of(each) for each in reply.answers])
    assert found == [parse_prefix(prefix), parse_prefix("2001:db8:ffff::/96")]


@given(st.sampled_from(LENGTHS), st.binary(min_size=12, max_size=12))
def test_every_prefix_is_found(length: int, octets: bytes) -> None:
    try:
        prefix = Prefix((b"\x20\x01" + octets[2:8] + b"\0" + octets[9:])[: length // 8])
    except ValueError:
        return
    made = [prefix.embed(special) for special in SPECIAL]
    assert discovered(made) == [prefix]


def test_of_an_address_with_both_the_other_one_tells() -> None:
    """RFC 7050 3: the value is there once, or the search is repeated with the other one."""
    prefix = parse_prefix("2001:db8:c000:aa::/64")
    assert prefix.embed(SPECIAL[0]).count(SPECIAL[0]) == 2
    assert discovered([prefix.embed(SPECIAL[0])]) == []
    assert discovered([prefix.embed(special) for special in SPECIAL]) == [prefix]


@pytest.mark.parametrize(
    "text",
    ["2001:db8::1", "::", "2001:db8::100:0:c000:aa", "2001:db8:0:c0:0:aa00::", "::ffff:192.0.0.170", "fe80::c000:aa"],
)
def test_other_addresses_tell_nothing(text: str) -> None:
    assert discovered([parse_ipv6(text)]) == []
