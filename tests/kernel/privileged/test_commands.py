# SPDX-License-Identifier: MIT
"""Commands travel as they are, and what is no command is noticed."""

from dataclasses import fields
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.kernel.privileged import commands
from miredo.kernel.privileged.boxes import MalformedBox, decode, encode
from miredo.kernel.privileged.commands import (
    COMMANDS,
    Answer,
    Command,
    answer_in,
    answered,
    box_of,
    command_in,
    refusal,
)

NUMBERS = st.integers(0, 2**32 - 1)
TEXTS = st.text(max_size=20)
KEYS = st.text(st.characters(min_codepoint=65, max_codepoint=90), min_size=1, max_size=10)
STRATEGIES: dict[object, st.SearchStrategy[object]] = {
    str: TEXTS,
    int: NUMBERS,
    bool: st.booleans(),
    bytes: st.binary(max_size=16),
    dict[str, str]: st.dictionaries(KEYS, TEXTS, max_size=3),
    str | None: st.none() | TEXTS,
    int | None: st.none() | NUMBERS,
    bytes | None: st.none() | st.binary(max_size=16),
}


def any_command(kind: type[Command]) -> st.SearchStrategy[Command]:
    return st.builds(kind, **{name: STRATEGIES[hint] for name, hint in get_type_hints(kind).items()})


ANY = st.one_of([any_command(kind) for kind in COMMANDS.values()])
UDP = box_of(commands.OpenUDP(None, "192.0.2.1", 3544))


@given(ANY)
def test_a_command_is_read_as_it_was_written(command: Command) -> None:
    assert command_in(decode(encode(box_of(command)))) == command


@given(ANY, st.data())
def test_a_command_with_other_values_is_one_or_none(command: Command, data: st.DataObject) -> None:
    box = box_of(command)
    box[data.draw(st.sampled_from(sorted(box)))] = data.draw(st.binary(max_size=20))
    try:
        read = command_in(box)
    except MalformedBox:
        return
    assert command_in(box_of(read)) == read


@pytest.mark.parametrize("kind", COMMANDS.values())
def test_a_command_without_one_of_its_fields_is_none_unless_that_may_be_left_out(kind: type[Command]) -> None:
    box = box_of(example(kind))
    hints = get_type_hints(kind)
    for field in fields(kind):
        without = {name: value for name, value in box.items() if name != field.name}
        if type(None) in getattr(hints[field.name], "__args__", ()):
            assert getattr(command_in(without), field.name) is None
        else:
            with pytest.raises(MalformedBox, match=field.name):
                command_in(without)


def example(kind: type[Command]) -> Command:
    values: dict[object, object] = {str: "a", int: 1, bool: True, bytes: b"a", dict[str, str]: {"A": "b"}}
    values |= {str | None: "a", int | None: 1, bytes | None: b"a"}
    make: type = kind
    command = make(**{name: values[hint] for name, hint in get_type_hints(kind).items()})
    assert isinstance(command, Command)
    return command


@pytest.mark.parametrize(
    "box",
    [
        {},
        {"command": b"Reboot"},
        {"command": b"Command"},
        {"command": b"\xff"},
        {**UDP, "more": b"1"},
        {**UDP, "port": b""},
        {**UDP, "port": b"-1"},
        {**UDP, "port": b"4294967296"},
        {**UDP, "port": b"9" * 5000},
        {**UDP, "port": "٣".encode()},
        {**UDP, "address": b"\xff"},
        {"command": b"OpenNetlink", "news": b"yes"},
        {"command": b"RunHook", "environment": b"STATE=up"},
        {"command": b"RunHook", "environment": encode({"STATE": b"\xff"})},
    ],
)
def test_what_is_no_command_is_noticed(box: dict[str, bytes]) -> None:
    with pytest.raises(MalformedBox):
        command_in(box)


@pytest.mark.parametrize("number", [-1, 2**32])
def test_a_number_that_does_not_fit_is_not_sent(number: int) -> None:
    with pytest.raises(OverflowError):
        box_of(commands.SetUp(None, number, None))


@pytest.mark.parametrize("answer", [Answer(), Answer(b""), Answer(b"12")])
def test_an_answer_is_read_as_it_was_given(answer: Answer) -> None:
    assert answer_in(answered(answer), None) == answer


@pytest.mark.parametrize("error", [OSError(1, "UDP 0.0.0.0 port 80: no"), FileNotFoundError(2, "No such file", "/a")])
def test_a_refusal_is_raised_as_it_was_met(error: OSError) -> None:
    with pytest.raises(type(error)) as raised:
        answer_in(refusal(error), None)
    met = raised.value
    assert (met.errno, met.strerror, met.filename) == (error.errno, error.strerror, error.filename)
