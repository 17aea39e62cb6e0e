# SPDX-License-Identifier: MIT
"""
Boxes: what the worker and its privileged child send each other, in the format of AMP::

    +------------+-------------+--------------+---------------+- - -+-------+
    | key length | key         | value length | value         |     | 0x0000|
    | 2, 1..255  | ASCII       | 2            | 0..65535      |     |       |
    +------------+-------------+--------------+---------------+- - -+-------+

Lengths are in network order. A box is one message of a SOCK_SEQPACKET socket, with one descriptor at most.
"""

import array
import os
import socket
from collections.abc import Mapping

Box = dict[str, bytes]

SIZE_LIMIT = 1 << 16
"""Bytes of a box. Ours: a socket takes a message of that size at once, and a file goes as a descriptor."""
KEY_LIMIT = 255
VALUE_LIMIT = 0xFFFF

_DESCRIPTOR = array.array("i").itemsize


class MalformedBox(Exception):
    """What was received is no box, or not one that could be sent here."""


def encode(box: Mapping[str, bytes]) -> bytes:
    """
    The bytes of a box.

    @raise ValueError: it does not fit.
    """
    parts = []
    for key, value in box.items():
        name = key.encode("ascii")
        if not 0 < len(name) <= KEY_LIMIT or len(value) > VALUE_LIMIT:
            raise ValueError(f"the value of {key!r} does not fit into a box")
        parts += [len(name).to_bytes(2, "big"), name, len(value).to_bytes(2, "big"), value]
    octets = b"".join([*parts, b"\0\0"])
    if len(octets) > SIZE_LIMIT:
        raise ValueError(f"a box of {len(octets)} bytes")
    return octets


def decode(octets: bytes) -> Box:
    """
    The box that C{octets} are.

    @raise MalformedBox: they are none, have more behind it, or a key twice.
    """
    box: Box = {}
    at = 0
    while True:
        name, at = _string(octets, at)
        if not name:
            break
        key = _key(name)
        if key in box:
            raise MalformedBox(f"the key {key} twice")
        box[key], at = _string(octets, at)
    if at != len(octets):
        raise MalformedBox("something behind the box")
    return box


def _key(name: bytes) -> str:
    if len(name) > KEY_LIMIT or not name.isascii():
        raise MalformedBox("a key that is none")
    return name.decode("ascii")


def _string(octets: bytes, at: int) -> tuple[bytes, int]:
    start = at + 2
    end = start + int.from_bytes(octets[at:start], "big")
    if start > len(octets) or end > len(octets):
        raise MalformedBox("cut short")
    return octets[start:end], end


def send(through: socket.socket, box: Mapping[str, bytes], descriptor: int | None = None) -> None:
    """
    Send a box, with a descriptor if one is given, which stays open here.

    @raise OSError: the other end is gone, or a socket that does not block is full.
    """
    rights = array.array("i", [] if descriptor is None else [descriptor])
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
    through.sendmsg([encode(box)], ancillary, socket.MSG_NOSIGNAL)


def receive(through: socket.socket, *, descriptors: bool = False) -> tuple[Box, int | None] | None:
    """
    Receive a box, and the descriptor that came with it; C{None}: the other end is gone.

    @param descriptors: one may come; else the kernel closes any that was sent.
    @raise MalformedBox: what came is no box, or brings what may not come.
    @raise OSError: the other end broke, or nothing has come yet on a socket that does not block.
    """
    room = socket.CMSG_SPACE(_DESCRIPTOR) if descriptors else 0
    octets, ancillary, flags, _ = through.recvmsg(SIZE_LIMIT, room, socket.MSG_CMSG_CLOEXEC)
    descriptor = _descriptor_in(ancillary)
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise MalformedBox("too long, or with descriptors that nobody wants")
        if octets:
            return decode(octets), descriptor
        if descriptor is not None:
            raise MalformedBox("a descriptor without a box")
    except MalformedBox:
        if descriptor is not None:
            os.close(descriptor)
        raise
    return None


def _descriptor_in(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    received = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            received.frombytes(data[: len(data) - len(data) % _DESCRIPTOR])
    for spare in received[1:]:
        os.close(spare)
    return received[0] if received else None
