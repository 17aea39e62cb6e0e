# SPDX-License-Identifier: MIT
"""Whatever a file holds, it is read or refused with reasons that can be shown."""

from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from miredo.config import ConfigError, Configuration, directives, parse

ETC = Path(__file__).parents[2] / "etc"
KINDS = ("process", "client", "relay", "server")
ROWS = [row for kind in KINDS for row in directives(kind)]
KEYWORDS = sorted({row.keyword for row in ROWS})
GOOD = [row.default for row in ROWS if not row.default.startswith("(")]
VALUES = [*GOOD, "192.0.2.1", "10.0.0.1", "10.0.0.0/8", "::", "client", "99999", '"x"', "# x", "/", "", "é", "\x00"]

lines = st.one_of(
    st.builds("{} {}".format, st.sampled_from(KEYWORDS), st.sampled_from(VALUES) | st.text(max_size=30)),
    st.builds("[{} {}]".format, st.sampled_from(KINDS), st.sampled_from("ab")),
    st.text(max_size=40),
)
files = st.lists(lines, max_size=12).map("\n".join)

fitting = {
    "RelayType": ["client", "autoclient"],
    "ServerAddress": ["a", "192.0.2.1"],
    "Namespace": ["x"],
    "User": ["x"],
}
fitting |= {"AllowIPv4": ["10.0.0.0/8"], "Chroot": ["/x"], "PidFile": ["/x"]}
sound_lines = [
    f"{row.keyword} {value}"
    for row in ROWS
    for value in fitting.get(row.keyword, [row.default])
    if row.keyword not in ("Prefix", "ServerBindAddress", "ServerBindAddress2", "ServerAddress2")
]
sound_files = st.lists(
    st.sampled_from(sound_lines) | st.sampled_from(["", "# x", "\t"]), unique_by=lambda line: line.partition(" ")[0]
).map(lambda some: "\n".join(["ServerAddress b.example", *some]))


def outcome(
    text: str | bytes, *, program: str = "miredo", strict: bool = True, server_name: str | None = None
) -> Configuration | ConfigError:
    """What a text is read to, or refused with."""
    try:
        return parse(text, "a.conf", program=program, strict=strict, server_name=server_name)
    except ConfigError as error:
        return error


def check(end: Configuration | ConfigError) -> None:
    """A configuration has roles; a refusal has reasons that a terminal can show."""
    if isinstance(end, Configuration):
        assert end.roles
        return
    assert end.problems
    assert all(problem.file in ("a.conf", "command line") for problem in end.problems)
    assert all(letter in "\n\t" or letter.isprintable() for letter in str(end))


@given(files, st.sampled_from(["miredo", "miredo-server"]), st.booleans(), st.none() | st.text(max_size=20))
@example("\ud800", "miredo", True, None)
@example("ServerAddress \udcff", "miredo", False, "\ud800")
def test_any_text_is_read_or_refused(text: str, program: str, strict: bool, server_name: str | None) -> None:
    check(outcome(text, program=program, strict=strict, server_name=server_name))


@given(st.binary(max_size=200) | st.binary(max_size=40).map(b"ServerAddress ".__add__))
def test_any_bytes_are_read_or_refused(octets: bytes) -> None:
    check(outcome(octets))


@given(sound_files)
def test_what_is_read_strictly_is_read_leniently_to_the_same_effect(text: str) -> None:
    strictly = outcome(text)
    assume(isinstance(strictly, Configuration))
    assert outcome(text, strict=False) == strictly


@given(sound_files)
def test_letter_case_of_directives_and_blanks_make_no_difference(text: str) -> None:
    def reshaped(line: str) -> str:
        word, blank, value = line.partition(" ")
        return f"\t{word.upper()} {blank}{value} " if word in KEYWORDS else line

    end = outcome(text)
    assume(isinstance(end, Configuration))
    assert outcome("\n".join(reshaped(line) for line in text.split("\n"))) == end


@pytest.mark.parametrize("file", ["miredo.conf", "miredo-server.conf", "lab.conf"])
@given(data=st.data())
def test_an_example_file_with_a_few_bytes_changed_is_read_or_refused(file: str, data: st.DataObject) -> None:
    octets = bytearray((ETC / file).read_bytes())
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(octets) - 1), st.integers(0, 255)), max_size=20)
    ):
        octets[place] = value
    check(outcome(bytes(octets)))


@pytest.mark.parametrize("file", ["miredo.conf", "miredo-server.conf", "lab.conf"])
def test_an_example_file_without_its_comments_says_the_same(file: str) -> None:
    text = (ETC / file).read_text()
    bare = "\n".join(line for line in text.splitlines() if line and not line.startswith("#"))
    assert parse(bare, file, strict=True) == parse(text, file, strict=True)
