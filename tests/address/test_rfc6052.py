# SPDX-License-Identifier: MIT
"""IPv4 addresses in IPv6 addresses: the tables of RFC 6052 2.4, its rules in 2.2, and a model on bit strings."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.address.rfc6052 import LENGTHS, LOCAL_USE, WELL_KNOWN, Prefix, is_well_formed, parse_prefix

EXAMPLES = {
    "2001:db8::/32": "2001:db8:c000:221::",
    "2001:db8:100::/40": "2001:db8:1c0:2:21::",
    "2001:db8:122::/48": "2001:db8:122:c000:2:2100::",
    "2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
    "2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100::",
    "2001:db8:122:344::/96": "2001:db8:122:344::192.0.2.33",
    "64:ff9b::/96": "64:ff9b::192.0.2.33",
}
"""Tables 1 and 2 of RFC 6052 2.4: a prefix, and 192.0.2.33 under it."""

SHOWN = EXAMPLES | {"2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100:0"}
"""How we write them: RFC 5952 4.2.2 has no "::" for one group, as the RFC's /64 does."""

EXAMPLE = parse_ipv4("192.0.2.33")

ipv4s = st.binary(min_size=4, max_size=4)
prefixes = st.builds(
    lambda octets, length: Prefix((b"\x20\x01" + octets[:6] + bytes(1) + octets[6:])[: length // 8]),
    st.binary(min_size=9, max_size=9),
    st.sampled_from(LENGTHS),
)


def model(prefix: Prefix, ipv4: bytes) -> bytes:
    """RFC 6052 2.3 word by word, on strings of bits."""
    network = "".join(f"{octet:08b}" for octet in prefix.octets)
    embedded = "".join(f"{octet:08b}" for octet in ipv4)
    if prefix.length == 96:
        return int(network + embedded, 2).to_bytes(16, "big")
    bits = (network + embedded).ljust(128, "0")
    return int((bits[:64] + "00000000" + bits[64:])[:128], 2).to_bytes(16, "big")


@pytest.mark.parametrize(("prefix", "text"), EXAMPLES.items())
def test_the_examples_of_the_rfc_are_written_and_read_as_there(prefix: str, text: str) -> None:
    ours = parse_prefix(prefix)
    assert ours.embed(EXAMPLE) == IPv6Address(text).packed
    assert ours.show(EXAMPLE) == SHOWN[prefix]
    assert ours.extract(IPv6Address(text).packed) == EXAMPLE
    assert str(ours) == prefix


@given(prefixes, ipv4s)
def test_an_address_is_composed_as_by_the_rfcs_algorithm(prefix: Prefix, ipv4: bytes) -> None:
    assert prefix.embed(ipv4) == model(prefix, ipv4)


@given(prefixes, ipv4s)
def test_what_was_embedded_is_extracted_and_the_octet_u_is_zero(prefix: Prefix, ipv4: bytes) -> None:
    address = prefix.embed(ipv4)
    assert prefix.extract(address) == ipv4
    assert address in prefix
    assert is_well_formed(address)


@given(prefixes, ipv4s, st.binary(min_size=16, max_size=16))
def test_the_suffix_is_ignored_when_an_address_is_read(prefix: Prefix, ipv4: bytes, noise: bytes) -> None:
    address = prefix.embed(ipv4)
    suffix = 16 if prefix.length == 96 else prefix.length // 8 + (4 if prefix.length == 32 else 5)
    assert not any(address[suffix:])
    assert prefix.extract(address[:suffix] + noise[suffix:]) == ipv4


@given(prefixes, ipv4s)
def test_the_text_of_an_address_is_the_address(prefix: Prefix, ipv4: bytes) -> None:
    text = prefix.show(ipv4)
    assert parse_ipv6(text) == prefix.embed(ipv4)
    assert text.endswith(f":{IPv4Address(ipv4)}") == (prefix.length == 96)


@given(prefixes)
def test_a_prefix_is_read_from_its_own_text(prefix: Prefix) -> None:
    assert parse_prefix(str(prefix)) == prefix


def test_zeros_are_left_out_before_the_dotted_quad_and_never_beside_none() -> None:
    assert parse_prefix("2001:db8:1:2:3:4::/96").show(EXAMPLE) == "2001:db8:1:2:3:4:192.0.2.33"
    assert parse_prefix("2001:db8:0:0:1::/96").show(bytes(4)) == "2001:db8::1:0:0.0.0.0"


def test_an_octet_u_that_is_not_zero_is_seen() -> None:
    address = bytearray(parse_prefix("2001:db8::/32").embed(EXAMPLE))
    address[8] = 1
    assert not is_well_formed(bytes(address))


@pytest.mark.parametrize("length", [length for length in range(129) if length not in LENGTHS])
def test_no_other_length_is_a_prefixs(length: int) -> None:
    with pytest.raises(ValueError, match="has no length that RFC 6052 knows: 32, 40, 48, 56, 64 or 96"):
        parse_prefix(f"2001::/{length}")


@pytest.mark.parametrize("octets", [b"", b"\x20\x01\x0d", b"\x20\x01\x0d\xb8" + bytes(5), b"\x20\x01" + bytes(14)])
def test_octets_of_another_length_are_no_prefix(octets: bytes) -> None:
    with pytest.raises(ValueError, match="has no length that RFC 6052 knows"):
        Prefix(octets)


@pytest.mark.parametrize("text", ["2001:db8::", "2001:db8::/", "2001:db8::/096", "2001:db8::/ 96", "2001:db8::/96/96"])
def test_a_length_that_cannot_be_read_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="has no length"):
        parse_prefix(text)


@pytest.mark.parametrize("text", ["", "192.0.2.0/32", "fe80::%1/64", "x::/96"])
def test_a_prefix_begins_with_an_ipv6_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"IPv6 address|names a zone"):
        parse_prefix(text)


def test_bits_beyond_the_length_are_refused_with_the_prefix_that_was_meant() -> None:
    with pytest.raises(ValueError, match="bits beyond its length; 2001:db8::/96 has none"):
        parse_prefix("2001:db8::a01:101/96")


@pytest.mark.parametrize("length", [32, 40, 48, 56, 64])
def test_the_well_known_prefix_has_no_other_length(length: int) -> None:
    with pytest.raises(ValueError, match="holds the Well-Known Prefix, whose length is 96"):
        parse_prefix(f"64:ff9b::/{length}")


@pytest.mark.parametrize("text", ["::/96", "::ffff:0:0/96", "::/32", "::/64", "::ffff:0:0:0/96"])
def test_addresses_that_are_no_networks_own_are_no_prefix(text: str) -> None:
    with pytest.raises(ValueError, match="no network's own"):
        parse_prefix(text)


@pytest.mark.parametrize("text", ["ff0e::/96", "fe80::/64"])
def test_what_no_router_forwards_is_no_prefix(text: str) -> None:
    with pytest.raises(ValueError, match="not for unicast through a router"):
        parse_prefix(text)


def test_a_prefix_of_96_bits_has_no_bit_set_from_64_to_71() -> None:
    with pytest.raises(ValueError, match="2001:db8:0:0:100::/96 has bits 64 to 71 that are not 0"):
        parse_prefix("2001:db8:0:0:100::/96")
    assert parse_prefix("2001:db8:0:0:ff::/96").length == 96


def test_the_prefixes_of_the_registry_are_there() -> None:
    assert (str(WELL_KNOWN), str(LOCAL_USE)) == ("64:ff9b::/96", "64:ff9b:1::/48")
    assert parse_prefix("64:ff9b::/96") == WELL_KNOWN
    assert LOCAL_USE.embed(EXAMPLE) not in WELL_KNOWN
