# SPDX-License-Identifier: MIT
"""
Domain names as bytes: labels joined by dots, without the last dot.

A dot that is part of a label is written C{\\.} and a backslash C{\\\\}, so that every name of the wire has one text; a
name without those two has the text that Twisted gives it.
"""

from collections.abc import Iterable

from miredo.address.endpoint import IPv4, IPv6
from miredo.wire.reader import MalformedPacket

Name = bytes
"""As above; the root is empty."""

LABEL_LIMIT = 63
"""Bytes of a label (RFC 1035 2.3.4)."""
NAME_LIMIT = 255
"""Bytes of a name on the wire, with the length of each label and the root's (RFC 1035 2.3.4)."""
JUMP_LIMIT = 64
"""Pointers that are followed in one name; each must lead back (RFC 1035 4.1.4). The number is ours."""
POINTER = 0xC0
"""The two bits of a length that is none (RFC 1035 4.1.4)."""

IP6_ARPA = b"ip6.arpa"
IN_ADDR_ARPA = b"in-addr.arpa"
_NIBBLES = b"0123456789abcdef"
_OCTETS = {str(number).encode(): number for number in range(256)}


def join_labels(labels: Iterable[bytes]) -> Name:
    """The name that has these labels."""
    return b".".join(label.replace(b"\\", b"\\\\").replace(b".", b"\\.") for label in labels)


def split_labels(name: Name) -> list[bytes]:
    """The labels of a name, the root's not among them."""
    if b"\\" not in name:
        return name.split(b".") if name else []
    labels, label, at = [], bytearray(), 0
    while at < len(name):
        if name[at : at + 1] == b".":
            labels.append(bytes(label))
            label.clear()
        else:
            at += name[at : at + 1] == b"\\"
            label += name[at : at + 1]
        at += 1
    return [*labels, bytes(label)]


def emit_name(name: Name) -> bytes:
    """A name as it is on the wire, not compressed."""
    return b"".join(bytes([len(label)]) + label for label in split_labels(name)) + b"\0"


def read_name(message: bytes, at: int) -> tuple[Name, int]:
    """
    Read the name at an offset of a message.

    @return: the name and the offset behind it.
    @raise MalformedPacket: it runs out of the message, is too long, or its pointers do not lead back.
    """
    labels: list[bytes] = []
    after, left, jumps = None, NAME_LIMIT - 1, 0
    while True:
        length = _octet(message, at)
        if length >= POINTER:
            target = (length & ~POINTER) << 8 | _octet(message, at + 1)
            jumps += 1
            if target >= at or jumps > JUMP_LIMIT:
                raise MalformedPacket("a pointer does not lead back")
            after = at + 2 if after is None else after
            at = target
        elif length == 0:
            return join_labels(labels), at + 1 if after is None else after
        else:
            left -= length + 1
            if length > LABEL_LIMIT or left < 0 or at + 1 + length > len(message):
                raise MalformedPacket("a label is too long")
            labels.append(message[at + 1 : at + 1 + length])
            at += length + 1


def is_name(name: Name) -> bool:
    """Whether a name can be written: no label of it is empty, and none too long."""
    labels = split_labels(name)
    return all(0 < len(label) <= LABEL_LIMIT for label in labels) and len(emit_name(name)) <= NAME_LIMIT


def is_same(one: Name, other: Name) -> bool:
    """Names are compared without regard to case (RFC 1035 2.3.3)."""
    return one.lower() == other.lower()


def is_below(name: Name, zone: Name) -> bool:
    """Whether a name is in a zone and not its top."""
    return not zone or name.lower().endswith(b"." + zone.lower())


def spelled(name: Name, model: Name) -> Name:
    """A name whose last labels, as far as they are those of C{model}, are in its letters."""
    labels, letters = split_labels(name), split_labels(model)
    for index in range(1, min(len(labels), len(letters)) + 1):
        if labels[-index].lower() != letters[-index].lower():
            break
        labels[-index] = letters[-index]
    return join_labels(labels)


def moved(name: Name, old: Name, new: Name) -> Name | None:
    """A name below C{old} as a DNAME there renames it (RFC 6672 2.2); C{None}: it would be too long."""
    kept = split_labels(name)[: -len(split_labels(old)) or None]
    found = join_labels(kept + split_labels(new))
    return found if len(emit_name(found)) <= NAME_LIMIT else None


def reverse_of(address: IPv4 | IPv6) -> Name:
    """The name of an address's PTR record (RFC 1035 3.5, RFC 3596 2.5)."""
    if len(address) == 4:
        return b".".join([*(str(octet).encode() for octet in reversed(address)), IN_ADDR_ARPA])
    return b".".join([*(bytes([digit]) for digit in reversed(address.hex().encode())), IP6_ARPA])


def reverse_zone(prefix: IPv6, length: int) -> Name:
    """The zone of the PTR records of all addresses under a prefix, whose length is a multiple of 4."""
    return b".".join(reverse_of(prefix).split(b".")[32 - length // 4 :])


def address_of(name: Name) -> IPv4 | IPv6 | None:
    """The address that L{reverse_of} makes this name of, or C{None}."""
    labels = name.lower().split(b".")
    digits = labels[:-2][::-1]
    match labels[-2:], len(digits):
        case ([b"ip6", b"arpa"], 32) if all(len(digit) == 1 and digit in _NIBBLES for digit in digits):
            return bytes.fromhex(b"".join(digits).decode())
        case ([b"in-addr", b"arpa"], 4) if all(digit in _OCTETS for digit in digits):
            return bytes(_OCTETS[digit] for digit in digits)
        case _:
            return None


def _octet(message: bytes, at: int) -> int:
    if at >= len(message):
        raise MalformedPacket("a name is cut short")
    return message[at]
