# SPDX-License-Identifier: MIT
"""Lines come out whole, and Telnet's part beside them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.faith.ftplines import LONGEST_LINE, Item, Lines, Negotiation, Piece, Signal

BYTES = st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\xff", b"\xf4", b"\xfb", b"\xfa", b"\xf0", b"\x01"])).map(
    b"".join
)


def items(lines: Lines) -> list[Item]:
    return list(iter(lines.next, None))


def items_of(*data: bytes, urgent: int | None = None) -> list[Item]:
    """What comes of these chunks; the one with that number is urgent."""
    lines, found = Lines(), []
    for number, chunk in enumerate(data):
        lines.feed(chunk, number == urgent)
        found += items(lines)
    return found


def test_a_line_ends_with_lf_and_keeps_it() -> None:
    assert items_of(b"a\r\nb\n\nc\rd\r\x00\r\ne") == [
        Piece(b"a\r\n"),
        Piece(b"b\n"),
        Piece(b"\n"),
        Piece(b"c\rd\r\x00\r\n"),
    ]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\xff\xf4\xff\xf2ABOR\r\n", [Signal(b"\xff\xf4", None), Signal(b"\xff\xf2", None), Piece(b"ABOR\r\n")]),
        (b"\xff\xfb\x01\xff\xfd\x02x\n", [Negotiation(b"\xff\xfb\x01"), Negotiation(b"\xff\xfd\x02"), Piece(b"x\n")]),
        (b"a\xff\xffb\n", [Piece(b"a\xff\xffb\n")]),
        (b"a\xffb\n", [Piece(b"a\xffb\n")]),
        (b"a\xff\r\n", [Piece(b"a\xff\r\n")]),
        (b"a\xff\n", [Piece(b"a\xff\n")]),
        (b"a\xff\xfa\x18\x01\xff\xff\xff\xf0b\n", [Piece(b"ab\n")]),
        (b"a\xff\xfanever ended\nb\n", [Piece(b"a\n"), Piece(b"b\n")]),
        (b"a\xff\xfanever ended\xff\nb\n", [Piece(b"a\n"), Piece(b"b\n")]),
        (b"a\xff\xf0b\n", [Piece(b"ab\n")]),
        (b"a\xff\xecb\n", [Signal(b"\xff\xec", None), Piece(b"ab\n")]),
        (b"a\xff", []),
        (b"\xff\xfb", []),
    ],
)
def test_telnet_is_taken_out(data: bytes, found: list[Item]) -> None:
    assert items_of(data) == found
    assert items_of(*(data[at : at + 1] for at in range(len(data)))) == found


def test_offers_and_demands_are_refused_and_refusals_are_not_answered() -> None:
    verbs = {b"\xfb": b"\xff\xfe\x01", b"\xfd": b"\xff\xfc\x01", b"\xfc": b"", b"\xfe": b""}
    assert {verb: Negotiation(b"\xff" + verb + b"\x01").refusal for verb in verbs} == verbs


def test_the_mark_is_where_it_was() -> None:
    assert items_of(b"ab", b"c", b"d\n", urgent=1) == [Piece(b"abcd\n", 2)]
    assert items_of(b"\xff\xf4", b"\xff", b"\xf2AB\n", urgent=1) == [
        Signal(b"\xff\xf4", None),
        Signal(b"\xff\xf2", 0),
        Piece(b"AB\n"),
    ]
    assert items_of(b"a\n", b"b\n", urgent=0) == [Piece(b"a\n", 1), Piece(b"b\n")]
    assert items_of(b"ab", b"", b"cd\n", urgent=1) == [Piece(b"abcd\n")]


def test_a_mark_in_what_is_left_out_is_left_out() -> None:
    assert items_of(b"\xff\xfb", b"\x01", b"ab\n", urgent=1) == [Negotiation(b"\xff\xfb\x01"), Piece(b"ab\n")]


def test_a_line_that_is_too_long_comes_in_pieces() -> None:
    text = b"x" * LONGEST_LINE
    assert items_of(text + text + b"y\nz\n") == [
        Piece(text, ends=False),
        Piece(text, begins=False, ends=False),
        Piece(b"y\n", begins=False),
        Piece(b"z\n"),
    ]
    assert items_of(text[1:] + b"\n") == [Piece(text[1:] + b"\n")]


def test_what_nobody_asked_for_is_there_as_it_came() -> None:
    lines = Lines()
    lines.feed(b"AUTH\r\n\xff\xfb")
    lines.feed(b"\x01", urgent=True)
    lines.feed(b"b\n")
    assert lines.next() == Piece(b"AUTH\r\n")
    assert len(lines) == 5
    assert lines.rest() == [(b"\xff\xfb\x01", True), (b"b\n", False)]
    assert lines.rest() == []
    assert len(lines) == 0


def test_a_line_without_an_end_is_there_when_there_will_be_none() -> None:
    lines = Lines()
    lines.feed(b"abc\xff")
    assert lines.next() is None
    assert lines.unfinished() == Piece(b"abc\xff", ends=False)
    assert lines.unfinished() == Piece(b"", ends=False)


@given(BYTES, st.data())
def test_chunks_make_no_difference(data: bytes, drawn: st.DataObject) -> None:
    cuts = sorted(drawn.draw(st.lists(st.integers(0, len(data)))))
    chunks = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert items_of(*chunks) == items_of(data)


@given(st.lists(st.binary(max_size=6000), max_size=4))
def test_nothing_is_kept_but_a_line(chunks: list[bytes]) -> None:
    lines = Lines()
    for chunk in chunks:
        lines.feed(chunk)
        while (item := lines.next()) is not None:
            assert len(item.text) <= LONGEST_LINE + 1
        assert len(lines) <= 2
    assert len(lines.unfinished().text) <= LONGEST_LINE + 2
