# SPDX-License-Identifier: MIT
"""What a person sees of a problem."""

import pytest

from miredo.config import ConfigError, Problem, parse


def complaint(text: str, *, strict: bool = False) -> str:
    """All that is said of a text."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "miredo.conf", strict=strict)
    return str(caught.value)


def test_the_caret_stands_under_the_value_with_a_hint_below() -> None:
    said = complaint("\t# a client\n\tServerAddress\t 10.1.2.3  ").splitlines()
    assert said[0].startswith("miredo.conf:2:17: error: ServerAddress: 10.1.2.3 is in 10.0.0.0/8 (private network")
    assert said[1:] == [
        "  \tServerAddress\t 10.1.2.3  ",
        "  \t             \t ^^^^^^^^",
        '  hint: a private Teredo has a line "AllowIPv4 10.0.0.0/8"',
    ]


def test_the_hint_for_a_second_range_keeps_the_first() -> None:
    assert '"AllowIPv4 10.0.0.0/8 192.168.0.0/16"' in complaint("ServerAddress 192.168.0.1\nAllowIPv4 10.0.0.0/8")


def test_a_loopback_server_has_no_way_out() -> None:
    assert "hint" not in complaint("ServerAddress 127.0.0.1")


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("BindPrt 1", 'did you mean "BindPort"?'),
        ("serveradress 192.0.2.1", 'did you mean "ServerAddress"?'),
        ("SyslogFacilty daemon", 'did you mean "SyslogFacility"?'),
        ("RelayType autoclent", 'did you mean "autoclient"?'),
        ("BindPort=1", "it is written: Directive value"),
        ("BindPort: 1", "it is written: Directive value"),
        ("BindPort = 1", "it is written: Directive value"),
        ("BindPort 1 # one", "a comment has a line of its own"),
        ("InterfaceName 'x'", "write x"),
        ("AllowIPv4 10.1.0.0/8", 'did you mean "10.0.0.0/8"?'),
        ("AllowIPv4 10.0.0.0/8,10.0.0.0/8", "ranges are separated by blanks"),
        ("ServerAddress a, b", "a further server has a line of its own"),
        ("ServerAddress a:3544", "the port of a server is 3544, always"),
        ("[relay]", "write [relay NAME]"),
        ("[rely x]", 'did you mean "relay"?'),
    ],
)
def test_the_hint_says_what_was_probably_meant(line: str, meant: str) -> None:
    assert f"  hint: {meant}" in complaint(line, strict=True).splitlines()


def test_a_repeated_directive_says_where_the_first_one_is() -> None:
    assert "hint: the first is in line 2" in complaint("ServerAddress a\nBindPort 1\nBindPort 2")


def test_warnings_are_told_along_with_the_errors() -> None:
    said = complaint("ServerAdress 192.0.2.1").splitlines()
    assert said[0] == 'miredo.conf:1:1: warning: unknown directive "ServerAdress"; ignored'
    assert said[3] == '  hint: did you mean "ServerAddress"?'
    assert said[4] == "miredo.conf: error: a client needs ServerAddress"


def test_what_could_move_the_cursor_is_not_shown() -> None:
    assert "\x1b" not in complaint("\x1b[2J\x1b[H 1")
    assert "\x1b" not in Problem("\x1b.conf", 1, 1, "\x1b", "\x1b", hint="\x1b").render()


def test_a_long_line_is_cut_and_its_caret_stays() -> None:
    shown = complaint(f"ServerAddress {'x' * 500}").splitlines()
    assert len(shown[1]) == 162
    assert shown[1].endswith("…")
    assert shown[2] == " " * 16 + "^" * 146


def test_an_error_can_be_caught_by_its_parts() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("ServerAddress 192.0.2.1\nBindPort abc", "miredo.conf")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column, problem.span) == ("miredo.conf", 2, 10, 3)
    assert problem.source == "BindPort abc"


def test_a_fault_far_to_the_right_is_shown_with_what_is_around_it() -> None:
    shown = complaint(f"RelayType cone\nAllowIPv4 {'10.0.0.0/8 ' * 30}x {'10.0.0.0/8 ' * 30}").splitlines()
    assert len(shown[1]) == 162
    assert (shown[1][2], shown[1][-1]) == ("…", "…")
    assert shown[1][shown[2].index("^")] == "x"


def test_a_letter_that_takes_two_columns_moves_the_caret_by_two() -> None:
    assert complaint("ServerAddress a\nInterfaceName 東 1").splitlines()[1:3] == [
        "  InterfaceName 東 1",
        f"{' ' * 18}^",
    ]
