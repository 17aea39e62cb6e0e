# SPDX-License-Identifier: MIT
"""What becomes of a connection: to which IPv4 address, to the local service, or why to none."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.endpoint import parse_ipv4, parse_ipv6, show_ipv4
from miredo.address.rfc6052 import LOCAL_USE, WELL_KNOWN, Prefix, parse_prefix
from miredo.address.scope import FORBIDDEN_IPV4
from miredo.faith.mapping import Local, Mapping, Permissions, Refusal, Refused, Translate

CLIENT = parse_ipv6("2001:db8:1::7")
PREFIX = parse_prefix("2001:db8:64::/96")
OWN_IPV4, OWN_IPV6 = parse_ipv4("198.51.100.1"), parse_ipv6("2001:db8:2::1")
SUBNET_BROADCAST = parse_ipv4("198.51.100.255")

ipv4s = st.binary(min_size=4, max_size=4)
ipv6s = st.binary(min_size=16, max_size=16)


def mapping(*prefixes: str, permissions: Permissions | None = None) -> Mapping:
    made = Mapping(map(parse_prefix, prefixes), permissions)
    made.attached([OWN_IPV4, OWN_IPV6, parse_ipv4("127.0.0.1"), parse_ipv6("::1")], [SUBNET_BROADCAST])
    return made


def under(prefix: Prefix, text: str) -> bytes:
    return prefix.embed(parse_ipv4(text))


# ------------------------------------------------------------------ which of the three


def test_the_manuals_example_is_translated_with_its_prefix_and_without_any() -> None:
    destination = parse_ipv6("3ffe:0501:4819:ffff::0a01:0101")
    for which in (mapping(), mapping("3ffe:501:4819:ffff::/96")):
        assert which.decide(CLIENT, destination) == Translate(parse_ipv4("10.1.1.1"))


def test_an_own_address_is_for_the_local_service_whatever_the_prefixes() -> None:
    for which in (mapping(), mapping(str(PREFIX)), mapping("2001:db8::/32")):
        assert which.decide(CLIENT, OWN_IPV6) == Local()


def test_an_own_ipv4_address_that_is_mapped_is_for_the_local_service() -> None:
    mapped = parse_ipv6("::ffff:198.51.100.1")
    assert mapping().decide(parse_ipv6("::ffff:192.0.2.7"), mapped) == Local()


def test_what_is_outside_the_prefixes_is_refused_where_there_are_any() -> None:
    destination = parse_ipv6("2001:db8:65::a01:101")
    assert mapping(str(PREFIX)).decide(CLIENT, destination) == Refused(Refusal.OUTSIDE)
    assert mapping().decide(CLIENT, destination) == Translate(parse_ipv4("10.1.1.1"))


def test_the_longest_prefix_says_where_the_address_is() -> None:
    which = mapping("2001:db8::/32", "2001:db8:0:0:1::/96", "2001:db8::/48")
    assert which.translated(parse_ipv6("2001:db8::1:0:c000:221")) == parse_ipv4("192.0.2.33")
    assert which.translated(parse_ipv6("2001:db8:0:c000:2:2100::")) == parse_ipv4("192.0.2.33")
    assert which.translated(parse_ipv6("2001:db8:c000:221::")) == parse_ipv4("192.0.2.33")


@given(
    st.lists(st.sampled_from([32, 40, 48, 56, 64, 96]), min_size=1, max_size=4, unique=True),
    st.binary(min_size=4, max_size=4),
    st.integers(4, 16),
)
def test_of_nested_prefixes_the_longest_counts(lengths: list[int], tail: bytes, zeros: int) -> None:
    base = b"\x20\x01\x0d\xb8"
    prefixes = [Prefix(base.ljust(12, bytes(1))[: length // 8]) for length in lengths]
    destination = (base.ljust(zeros, bytes(1)) + tail).ljust(16, bytes(1))[:16]
    holding = [one for one in prefixes if IPv6Address(destination) in IPv6Network(str(one))]
    longest = max(holding, key=lambda one: one.length, default=None)
    which = Mapping(prefixes, Permissions(reserved_bits=True))
    if longest is None:
        assert which.translated(destination) is Refusal.OUTSIDE
    else:
        ipv4 = longest.extract(destination)
        assert which.translated(destination) == (which.refuses(ipv4, longest) or ipv4)


def test_bits_64_to_71_must_be_zero_unless_that_is_waived() -> None:
    destination = parse_ipv6("2001:db8:c000:221:100::")
    assert mapping("2001:db8::/32").translated(destination) is Refusal.RESERVED_BITS
    lenient = mapping("2001:db8::/32", permissions=Permissions(reserved_bits=True))
    assert lenient.translated(destination) == parse_ipv4("192.0.2.33")
    assert mapping().translated(parse_ipv6("2001:db8::ffff:0:c000:221")) == parse_ipv4("192.0.2.33")


# ------------------------------------------------------------------ sources


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("::ffff:192.0.2.7", Refusal.MAPPED_SOURCE),
        ("::192.0.2.7", Refusal.COMPATIBLE_SOURCE),
        ("::2", Refusal.COMPATIBLE_SOURCE),
        ("2001:db8:64::192.0.2.7", Refusal.TRANSLATED_SOURCE),
        ("64:ff9b:1:7::", Refusal.TRANSLATED_SOURCE),
    ],
)
def test_a_source_that_no_client_has_is_refused(source: str, reason: Refusal) -> None:
    which = mapping(str(PREFIX), str(LOCAL_USE))
    assert which.decide(parse_ipv6(source), under(PREFIX, "192.0.2.33")) == Refused(reason)


@pytest.mark.parametrize("source", ["::1", "fe80::7", "2001:db8:64:0:0:1::", "64:ff9b::192.0.2.7", "fd00::1"])
def test_other_sources_are_not(source: str) -> None:
    which = mapping(str(PREFIX))
    assert which.decide(parse_ipv6(source), under(PREFIX, "192.0.2.33")) == Translate(parse_ipv4("192.0.2.33"))


# ------------------------------------------------------------------ IPv4 addresses

ALWAYS = {
    "0.0.0.0": Refusal.THIS_NETWORK,
    "0.255.255.255": Refusal.THIS_NETWORK,
    "224.0.0.1": Refusal.MULTICAST,
    "239.255.255.255": Refusal.MULTICAST,
    "255.255.255.255": Refusal.BROADCAST,
    "198.51.100.255": Refusal.BROADCAST,
}
BY_DEFAULT = {
    "127.0.0.1": Refusal.LOOPBACK,
    "127.255.255.255": Refusal.LOOPBACK,
    "169.254.169.254": Refusal.LINK_LOCAL,
    "198.51.100.1": Refusal.OWN_ADDRESS,
}
ALL = Permissions(reserved_bits=True, loopback=True, link_local=True, own=True, well_known=("0.0.0.0/0",))
PLACES = [None, PREFIX, LOCAL_USE, WELL_KNOWN]


def asked(prefix: Prefix | None, text: str, permissions: Permissions | None = None) -> str:
    """The IPv4 address that a connection to C{text} goes to, or why it does not."""
    which = mapping(*([str(prefix)] if prefix else []), permissions=permissions)
    found = which.translated((prefix or PREFIX).embed(parse_ipv4(text)))
    return found.value if isinstance(found, Refusal) else show_ipv4(found)


@pytest.mark.parametrize("prefix", PLACES, ids=str)
@pytest.mark.parametrize("text", ALWAYS)
def test_what_is_no_hosts_address_is_refused_always(text: str, prefix: Prefix | None) -> None:
    assert asked(prefix, text) == ALWAYS[text]
    assert asked(prefix, text, ALL) == ALWAYS[text]


@pytest.mark.parametrize("prefix", PLACES, ids=str)
@pytest.mark.parametrize("text", BY_DEFAULT)
def test_what_only_this_host_is_meant_to_reach_is_refused_unless_permitted(text: str, prefix: Prefix | None) -> None:
    assert asked(prefix, text) == BY_DEFAULT[text]
    assert asked(prefix, text, ALL) == text


def test_each_permission_permits_one_thing() -> None:
    permissions = {
        "127.0.0.1": Permissions(loopback=True),
        "169.254.169.254": Permissions(link_local=True),
        "198.51.100.1": Permissions(own=True),
    }
    for permitted, permission in permissions.items():
        for text in permissions:
            assert asked(PREFIX, text, permission) == (text if text == permitted else BY_DEFAULT[text])


@pytest.mark.parametrize("text", ["10.1.1.1", "100.64.0.1", "172.16.0.1", "192.168.0.1", "192.0.2.1", "240.0.0.1"])
def test_what_is_not_global_is_translated_save_under_the_well_known_prefix(text: str) -> None:
    for prefix in (None, PREFIX, LOCAL_USE):
        assert asked(prefix, text) == text
    assert asked(WELL_KNOWN, text) == "not-global"
    assert asked(WELL_KNOWN, text, Permissions(well_known=("0.0.0.0/0",))) == text


def test_the_well_known_prefix_is_the_same_where_no_prefix_is_configured() -> None:
    assert mapping().translated(parse_ipv6("64:ff9b::10.0.0.1")) is Refusal.NOT_GLOBAL
    assert mapping().translated(parse_ipv6("64:ff9b::8.8.8.8")) == parse_ipv4("8.8.8.8")


def test_a_range_is_permitted_under_the_well_known_prefix_and_no_more() -> None:
    permissions = Permissions(well_known=("10.1.0.0/16", "192.0.2.0/24"))
    for text in ("10.1.0.0", "10.1.255.255", "192.0.2.33"):
        assert asked(WELL_KNOWN, text, permissions) == text
    for text in ("10.0.255.255", "10.2.0.0", "203.0.113.1"):
        assert asked(WELL_KNOWN, text, permissions) == "not-global"


RFC_5735 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
"""Section 3: what RFC 6052 3.1 calls non-global."""


@given(ipv4s | st.sampled_from(RFC_5735).map(lambda cidr: IPv4Network(cidr).network_address.packed))
def test_no_address_of_rfc_5735_is_translated_under_the_well_known_prefix(ipv4: bytes) -> None:
    listed = any(IPv4Address(ipv4) in IPv4Network(cidr) for cidr in RFC_5735)
    shared = IPv4Address(ipv4) in IPv4Network("100.64.0.0/10")
    found = Mapping([WELL_KNOWN]).translated(WELL_KNOWN.embed(ipv4))
    assert isinstance(found, Refusal) == (listed or shared)


@given(ipv6s, ipv6s)
def test_whatever_is_translated_may_be_connected_to(source: bytes, destination: bytes) -> None:
    which = mapping()
    match which.decide(source, destination):
        case Translate(ipv4):
            assert ipv4 == destination[12:]
            assert which.refuses(ipv4, None) is None
        case Refused(reason):
            of_source = Refusal.MAPPED_SOURCE, Refusal.COMPATIBLE_SOURCE
            assert reason in of_source or which.translated(destination) is reason
        case Local():
            assert which.is_own(destination)


def test_the_table_of_scopes_has_the_names_that_are_refused() -> None:
    """A row that was renamed there would be let through here."""
    refused = [row for row in FORBIDDEN_IPV4 if mapping().refuses(row.first, None)]
    names = {"this network", "loopback", "link local", "multicast", "limited broadcast"}
    assert {row.name for row in refused} == names
    assert {row.name for row in FORBIDDEN_IPV4 if row.lasting} <= names


def test_addresses_of_the_host_come_and_go() -> None:
    which = mapping(str(PREFIX))
    which.attached([parse_ipv4("192.0.2.1")])
    assert which.translated(under(PREFIX, "198.51.100.1")) == OWN_IPV4
    assert which.translated(under(PREFIX, "198.51.100.255")) == SUBNET_BROADCAST
    assert which.translated(under(PREFIX, "192.0.2.1")) is Refusal.OWN_ADDRESS
    assert which.decide(CLIENT, OWN_IPV6) == Refused(Refusal.OUTSIDE)


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "::/0", "10.0.0.0/33"])
def test_a_permitted_range_that_cannot_be_read_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IPv4 range") as refusal:
        Mapping(permissions=Permissions(well_known=(text,)))
    assert repr(text) in str(refusal.value)
