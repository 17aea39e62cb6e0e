# SPDX-License-Identifier: MIT
"""Lines of hosts(5) under prefixes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.endpoint import parse_ipv6, show_ipv4
from miredo.address.rfc6052 import WELL_KNOWN, Prefix, parse_prefix
from miredo.faith.hosts import prefix_lines
from miredo.faith.mapping import Mapping, Permissions

OURS = parse_prefix("3ffe:501:4819:ffff::/96")
SHORT = parse_prefix("2001:db8:100::/40")


def test_a_host_has_its_address_under_the_prefix_and_all_its_names() -> None:
    lines = ["10.1.1.1\tftp.example.org ftp  # the old one\n"]
    assert list(prefix_lines(lines, [OURS])) == ["3ffe:501:4819:ffff::10.1.1.1\tftp.example.org ftp"]


def test_each_prefix_has_a_line_in_the_order_given() -> None:
    assert list(prefix_lines(["192.0.2.33 www"], [SHORT, OURS])) == [
        "2001:db8:1c0:2:21::\twww",
        "3ffe:501:4819:ffff::192.0.2.33\twww",
    ]


def test_a_whole_file_may_come_in() -> None:
    text = """\
# this host
127.0.0.1   localhost
::1         localhost ip6-localhost
fe80::1%lo  strange

192.168.0.7 printer
8.8.8.8     dns
"""
    assert list(prefix_lines(text.splitlines(), [WELL_KNOWN])) == [
        "# 127.0.0.1 localhost: not under 64:ff9b::/96: loopback",
        "# 192.168.0.7 printer: not under 64:ff9b::/96: not-global",
        "64:ff9b::8.8.8.8\tdns",
    ]
    permitted = Permissions(well_known=("192.168.0.0/16",))
    assert "64:ff9b::192.168.0.7\tprinter" in prefix_lines(text.splitlines(), [WELL_KNOWN], permitted)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("192.0.2.300 www", "line 2: '192.0.2.300' is not an IPv4 address"),
        ("www 192.0.2.33", "line 2: 'www' is not an IPv4 address"),
        ("192.0.2.33", "line 2: 192.0.2.33 has no name"),
        ("192.0.2.33 # www", "line 2: 192.0.2.33 has no name"),
    ],
)
def test_a_line_that_is_none_is_refused_with_its_number(line: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        list(prefix_lines(["# first", line], [OURS]))


@given(st.lists(st.binary(min_size=4, max_size=4), max_size=5), st.sampled_from([OURS, SHORT, WELL_KNOWN]))
def test_what_is_listed_is_translated_back(addresses: list[bytes], prefix: Prefix) -> None:
    mapping = Mapping([prefix])
    listed = list(prefix_lines((f"{show_ipv4(ipv4)} name" for ipv4 in addresses), [prefix]))
    assert len(listed) == len(addresses)
    for ipv4, line in zip(addresses, listed, strict=True):
        found = mapping.translated(prefix.embed(ipv4))
        if line.startswith("#"):
            assert line.endswith(f": {found!s}")
        else:
            assert mapping.translated(parse_ipv6(line.split("\t")[0])) == found == ipv4
