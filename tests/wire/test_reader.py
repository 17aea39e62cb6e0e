# SPDX-License-Identifier: MIT
"""Bounds."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.wire.reader import MalformedPacket, Reader
from tests.wire.values import patient


def test_numbers_are_taken_in_network_order() -> None:
    reader = Reader(bytes.fromhex("01020304050607"))
    assert (reader.u8(), reader.u16(), reader.u32()) == (0x01, 0x0203, 0x04050607)
    assert reader.left == 0


@patient
@given(st.binary(max_size=40), st.integers(0, 40))
def test_as_many_bytes_are_taken_as_there_are_and_no_more(data: bytes, count: int) -> None:
    reader = Reader(data)
    if count > len(data):
        with pytest.raises(MalformedPacket, match="cut short"):
            reader.take(count)
        assert reader.rest() == data
    else:
        assert reader.take(count) == data[:count]
        assert (reader.at, reader.left) == (count, len(data) - count)
        assert reader.rest() == data[count:]
        assert reader.rest() == b""


@pytest.mark.parametrize("read", [Reader.u8, Reader.u16, Reader.u32])
def test_no_number_is_read_beyond_the_end(read: Callable[[Reader], int]) -> None:
    with pytest.raises(MalformedPacket):
        read(Reader(b""))


def test_a_scope_ends_before_its_reader_does() -> None:
    reader = Reader(b"abcdef")
    inner = reader.scope(3)
    assert inner.take(3) == b"abc"
    with pytest.raises(MalformedPacket):
        inner.u8()
    assert reader.rest() == b"def"


def test_a_scope_does_not_reach_beyond_its_reader() -> None:
    with pytest.raises(MalformedPacket):
        Reader(b"ab").scope(3)


def test_a_malformed_packet_is_a_value_error() -> None:
    assert issubclass(MalformedPacket, ValueError)
