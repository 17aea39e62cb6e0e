# SPDX-License-Identifier: MIT
"""Boxes: what was written is read again, and nothing else is."""

import os
import socket
from array import array
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.kernel.privileged.boxes import SIZE_LIMIT, VALUE_LIMIT, MalformedBox, decode, encode, receive, send

KEYS = st.text(st.characters(max_codepoint=127), min_size=1, max_size=20)
BOXES = st.dictionaries(KEYS, st.binary(max_size=50), max_size=5)
BOX = {"command": b"OpenUDP", "port": b"3544"}
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        yield near, far


def send_rights(through: socket.socket, octets: bytes, *descriptors: int) -> None:
    through.sendmsg([octets], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))])


@given(BOXES)
def test_a_box_is_read_as_it_was_written(box: dict[str, bytes]) -> None:
    assert decode(encode(box)) == box


def test_a_box_is_written_as_amp_does() -> None:
    assert encode({"_ask": b"23", "a": b""}) == b"\0\4_ask\0\x0223\0\1a\0\0\0\0"


@given(st.binary(max_size=200))
def test_of_anything_else_there_is_one_error(octets: bytes) -> None:
    try:
        box = decode(octets)
    except MalformedBox:
        return
    assert encode(box) == octets


def test_every_part_of_a_box_is_none() -> None:
    octets = encode(BOX)
    for length in range(len(octets)):
        with pytest.raises(MalformedBox):
            decode(octets[:length])


@pytest.mark.parametrize(
    "octets",
    [
        encode(BOX) + b"\0",
        encode(BOX) + encode(BOX),
        b"\0\1a\0\0\0\1a\0\0\0\0",
        b"\0\1\xff\0\0\0\0",
        b"\1\0" + bytes(256) + b"\0\0\0\0",
    ],
    ids=["more behind", "two boxes", "a key twice", "a key that is not ASCII", "a key that is too long"],
)
def test_what_only_looks_like_a_box_is_none(octets: bytes) -> None:
    with pytest.raises(MalformedBox):
        decode(octets)


@pytest.mark.parametrize(
    "box",
    [
        {"": b""},
        {"a" * 256: b""},
        {"a": bytes(VALUE_LIMIT + 1)},
        {"a": bytes(VALUE_LIMIT), "b": b""},
    ],
)
def test_what_does_not_fit_is_not_written(box: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="box"):
        encode(box)


def test_the_largest_box_goes_through_a_socket(pair: Pair) -> None:
    largest = {"a": bytes(SIZE_LIMIT - 7)}
    assert len(encode(largest)) == SIZE_LIMIT
    send(pair[0], largest)
    assert receive(pair[1]) == (largest, None)


def test_a_descriptor_goes_with_a_box_and_stays_here(pair: Pair) -> None:
    reading, writing = os.pipe()
    send(pair[0], BOX, reading)
    received = receive(pair[1], descriptors=True)
    assert received is not None
    assert received[0] == BOX
    assert received[1] is not None
    os.write(writing, b"through")
    assert os.read(received[1], 10) == b"through"
    assert not os.get_inheritable(received[1])
    for descriptor in (reading, writing, received[1]):
        os.close(descriptor)


def test_the_end_of_the_other_is_told_apart(pair: Pair) -> None:
    pair[0].close()
    assert receive(pair[1]) is None
    with pytest.raises(BrokenPipeError):
        send(pair[1], BOX)


@pytest.mark.parametrize("octets", [encode(BOX), b"no box", b""])
def test_a_descriptor_that_nobody_wants_is_not_taken(pair: Pair, octets: bytes) -> None:
    reading, writing = os.pipe()
    send_rights(pair[0], octets, reading, writing)
    with pytest.raises(MalformedBox):
        receive(pair[1])
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("octets", [b"no box", b""])
def test_a_descriptor_without_a_box_is_closed(pair: Pair, octets: bytes) -> None:
    reading, writing = os.pipe()
    send_rights(pair[0], octets, reading)
    with pytest.raises(MalformedBox):
        receive(pair[1], descriptors=True)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("count", [2, 3, 100])
def test_of_several_descriptors_none_is_left_open_but_the_first(pair: Pair, count: int) -> None:
    reading, writing = os.pipe()
    send_rights(pair[0], encode(BOX), *[writing] * count)
    try:
        received = receive(pair[1], descriptors=True)
    except MalformedBox:
        received = None
    if received is not None and received[1] is not None:
        os.close(received[1])
    os.close(writing)
    assert os.read(reading, 1) == b"", "nobody holds the other end"
    os.close(reading)


def test_a_message_that_is_too_long_is_no_box(pair: Pair) -> None:
    pair[0].send(bytes(SIZE_LIMIT + 1))
    with pytest.raises(MalformedBox):
        receive(pair[1])
