# SPDX-License-Identifier: MIT
"""Captures are laid out as draft-ietf-opsawg-pcapng says, and read by those who know the format."""

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.lab.pcapng import (
    LINKTYPE_RAW,
    enhanced_packet,
    interface_description,
    interface_statistics,
    section_header,
)

PING = bytes.fromhex("4500001c00010000400175e9c6336407cb0071010800f7fe00010000")
"""An ICMP echo request in IPv4, 28 bytes."""


def blocks(file: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each block; the two lengths of a block are equal and a multiple of 4 (3.1)."""
    while file:
        kind, length = struct.unpack_from("<II", file)
        assert length % 4 == 0
        assert 12 <= length <= len(file)
        assert struct.unpack_from("<I", file, length - 4) == (length,)
        yield kind, file[8 : length - 4]
        file = file[length:]


def options(area: bytes) -> list[tuple[int, bytes]]:
    """Code and value of each option up to the end of options, which is the last thing in a block (3.5)."""
    found: list[tuple[int, bytes]] = []
    while True:
        code, length = struct.unpack_from("<HH", area)
        value, area = area[4 : 4 + length], area[4 + length + -length % 4 :]
        if code == 0:
            assert (value, area) == (b"", b"")
            return found
        assert len(value) == length
        found.append((code, value))


def capture() -> bytes:
    return b"".join(
        [
            section_header(),
            interface_description("client"),
            interface_description("nat-outside"),
            enhanced_packet(0, 1_500_000_000, PING, "state: Soliciting\nanother line"),
            enhanced_packet(1, 2_000_000_001, PING),
            interface_statistics(0, 3_000_000_000, 0),
            interface_statistics(1, 3_000_000_000, 7),
        ]
    )


def test_a_section_header_byte_for_byte() -> None:
    assert section_header() == bytes.fromhex(
        "0a0d0d0a 2c000000 4d3c2b1a 0100 0000 ffffffffffffffff"  # version 1.0, section length unknown
        "0400 0600 6d697265646f 0000"  # shb_userappl "miredo"
        "0000 0000 2c000000"
    )


def test_an_interface_description_byte_for_byte() -> None:
    assert interface_description("eth0") == bytes.fromhex(
        "01000000 28000000 6500 0000 00000000"  # LINKTYPE_RAW, no snap length
        "0200 0400 65746830"  # if_name "eth0"
        "0900 0100 09 000000"  # if_tsresol 10^-9
        "0000 0000 28000000"
    )


def test_an_enhanced_packet_byte_for_byte() -> None:
    assert enhanced_packet(1, 5_000_000_000, b"\x60abcd", "hi") == bytes.fromhex(
        "06000000 34000000 01000000"
        "01000000 00f2052a"  # 5,000,000,000 ns, upper half first
        "05000000 05000000 6061626364 000000"
        "0100 0200 6869 0000"  # opt_comment "hi"
        "0000 0000 34000000"
    )


def test_interface_statistics_byte_for_byte() -> None:
    assert interface_statistics(1, 5_000_000_000, 3) == bytes.fromhex(
        "05000000 28000000 01000000"
        "01000000 00f2052a"  # 5,000,000,000 ns, upper half first
        "0500 0800 0300000000000000"  # isb_ifdrop
        "0000 0000 28000000"
    )


def test_a_packet_without_comment_has_no_options() -> None:
    ((kind, body),) = blocks(enhanced_packet(0, 0, PING))
    assert (kind, len(body)) == (6, 20 + len(PING))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=70),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
)
def test_packets_of_any_length_can_be_read_back(interface: int, at: int, packet: bytes, comment: str) -> None:
    ((kind, body),) = blocks(enhanced_packet(interface, at, packet, comment))
    number, high, low, captured, original = struct.unpack_from("<IIIII", body)
    assert (kind, number, captured, original) == (6, interface, len(packet), len(packet))
    assert high << 32 | low == at
    assert body[20 : 20 + captured] == packet
    assert options(body[20 + captured + -captured % 4 :]) == [(1, comment.encode())]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_names_of_any_length_can_be_read_back(name: str) -> None:
    (kind, body), *rest = blocks(interface_description(name))
    assert (kind, rest) == (1, [])
    assert struct.unpack_from("<HHI", body) == (LINKTYPE_RAW, 0, 0)
    assert options(body[8:]) == [(2, name.encode()), (9, b"\x09")]


def test_a_comment_too_long_for_an_option_is_cut_between_characters() -> None:
    ((_, body),) = blocks(enhanced_packet(0, 0, PING, "\N{EURO SIGN}" * 30_000))
    assert options(body[20 + len(PING) :]) == [(1, ("\N{EURO SIGN}" * 21_845).encode())]
    ((_, body),) = blocks(enhanced_packet(0, 0, PING, "x" + "\N{EURO SIGN}" * 30_000))
    assert options(body[20 + len(PING) :]) == [(1, ("x" + "\N{EURO SIGN}" * 21_844).encode())]


def test_a_capture_is_its_blocks_in_order() -> None:
    assert [kind for kind, _ in blocks(capture())] == [0x0A0D0D0A, 1, 1, 6, 6, 5, 5]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="there is no tshark; cure: sudo apt-get install tshark")
def test_tshark_reads_a_capture(tmp_path: Path) -> None:
    file = tmp_path / "lab.pcapng"
    file.write_bytes(capture())
    wanted = [
        "frame.interface_name",
        "frame.time_epoch",
        "frame.comment",
        "ip.dst",
        "icmp.type",
        "icmp.checksum.status",
    ]
    fields = [word for name in wanted for word in ("-e", name)]
    shown = subprocess.run(
        ["tshark", "-r", str(file), "-T", "fields", "-E", "separator=|", *fields],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.splitlines() == [
        "client|1.500000000|state: Soliciting\\nanother line|203.0.113.1|8|1",
        "nat-outside|2.000000001||203.0.113.1|8|1",
    ]
