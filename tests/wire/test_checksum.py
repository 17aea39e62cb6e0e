# SPDX-License-Identifier: MIT
"""The Internet checksum beside a slow and obvious one."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from miredo.wire.checksum import internet_checksum, pseudo_header_ipv4, pseudo_header_ipv6, transport_checksum
from tests.wire.values import ipv4, ipv6, patient, u8


def model(data: bytes) -> int:
    """RFC 1071, word by word."""
    total = 0
    for at in range(0, len(data), 2):
        high, low = data[at], data[at + 1] if at + 1 < len(data) else 0
        total += high << 8 | low
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


@patient
@given(st.binary(max_size=300))
@example(b"")
@example(b"\x00")
@example(bytes(40))
@example(b"\xff")
@example(b"\xff\xff")
@example(b"\xff\xff" * 20)
@example(b"\xff\xfe\x00\x01")
@example(b"\xff\xff\x00")
@example(b"\xff\x00\x00\xff")
def test_the_checksum_is_that_of_the_model(data: bytes) -> None:
    assert internet_checksum(data) == model(data)


@patient
@given(st.lists(st.sampled_from([b"\x00\x00", b"\xff\xff", b"\x00\x01", b"\xff\xfe", b"\x80\x00"]), max_size=40))
def test_the_checksum_is_that_of_the_model_around_both_zeros(words: list[bytes]) -> None:
    assert internet_checksum(b"".join(words)) == model(b"".join(words))


def test_the_example_of_rfc_1071_comes_out() -> None:
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF


@patient
@given(st.binary(max_size=100).filter(lambda data: len(data) % 2 == 0))
def test_data_with_their_checksum_sum_up_to_zero(data: bytes) -> None:
    assert internet_checksum(data + internet_checksum(data).to_bytes(2, "big")) == 0


@pytest.mark.parametrize("length", [0, 1, 8, 1280, 65535])
def test_pseudo_headers_are_laid_out_as_their_rfcs_draw_them(length: int) -> None:
    four, six = pseudo_header_ipv4(b"abcd", b"efgh", length, 17), pseudo_header_ipv6(b"s" * 16, b"d" * 16, length, 58)
    assert four == b"abcdefgh\x00\x11" + length.to_bytes(2, "big")
    assert six == b"s" * 16 + b"d" * 16 + length.to_bytes(4, "big") + b"\x00\x00\x00\x3a"


@patient
@given(st.tuples(ipv4, ipv4) | st.tuples(ipv6, ipv6), u8, st.binary(max_size=100))
def test_a_transport_checksum_covers_pseudo_header_and_segment(
    addresses: tuple[bytes, bytes], protocol: int, segment: bytes
) -> None:
    pseudo_header = pseudo_header_ipv4 if len(addresses[0]) == 4 else pseudo_header_ipv6
    covered = pseudo_header(*addresses, len(segment), protocol) + segment
    assert transport_checksum(*addresses, protocol, segment) == model(covered)
