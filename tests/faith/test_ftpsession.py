# SPDX-License-Identifier: MIT
"""The FTP gateway's rules, each alone."""

import pytest

from miredo.faith.ftpactions import (
    CloseSession,
    ConnectToClient,
    DropData,
    EndToClient,
    EndToServer,
    Failure,
    GoTransparent,
    ListenForServer,
    ToClient,
    ToServer,
    TransferBegun,
    TransferEnded,
)
from miredo.faith.ftpchannels import CHANNEL_LIMIT
from miredo.faith.ftpcommands import FtpPolicy
from miredo.faith.ftplines import LONGEST_LINE
from miredo.faith.ftpsession import EXPECTED_LIMIT, HELD_LIMIT
from tests.faith.ftpshell import (
    AGREED,
    CLIENT,
    DESTINATION,
    EXTENDED,
    EXTENDED_PORT,
    GREETING,
    PORT,
    SERVER,
    SOURCE,
    Shell,
    passive,
)

# ------------------------------------------------------------ what is not the gateway's business


@pytest.mark.parametrize(
    "line", [b"NOOP\r\n", b"noop\n", b"SITE EPSV\r\n", b"CWD \xd0\x9f\xff\r\x00x\r\n", b"LANG fr\r\n", b"XYZZY\r\n"]
)
def test_any_other_command_and_its_reply_pass_as_they_are(line: bytes) -> None:
    shell = Shell()
    assert shell.client(line) == line
    assert (
        shell.server(b"250 \xd0\x9e\xd0\x9a, 227 (1,2,3,4,5,6) and PORT\n")
        == b"250 \xd0\x9e\xd0\x9a, 227 (1,2,3,4,5,6) and PORT\n"
    )


def test_a_blank_line_is_no_command() -> None:
    shell = Shell()
    assert shell.client(b"\r\n\n  \r\nNOOP\r\n") == b"NOOP\r\n"


def test_a_reply_of_many_lines_passes_whole_whatever_its_lines_look_like() -> None:
    shell = Shell()
    reply = b"214-Help\r\n226 not the end\r\n 214 nor this\r\n227 (1,2,3,4,5,6)\r\n214-nor this\r\n214 End\r\n"
    shell.client(b"HELP\r\nEPSV 1\r\n")
    assert shell.server(reply) == reply + b"522 Network protocol not supported, use (2)\r\n"


def test_the_end_of_the_session_is_heard_at_once_whatever_was_asked() -> None:
    shell = Shell()
    shell.client(b"EPSV\r\n")
    assert shell.server(b"421 Timeout.\r\n") == b"421 Timeout.\r\n"
    other = Shell(FtpPolicy())
    assert other.client(b"EPSV 1\r\n") == b"NOOP\r\n"
    assert other.server(b"421 Timeout.\r\n") == b"421 Timeout.\r\n"


# ------------------------------------------------------------ order


def test_our_own_answers_wait_for_their_turn() -> None:
    shell = Shell()
    assert shell.client(b"SYST\r\nPASV\r\nNOOP\r\nPORT 1,2,3,4,5,6\r\n") == b"SYST\r\nNOOP\r\n"
    assert shell.take_client() == b""
    assert shell.server(b"215 UNIX\r\n") == b"215 UNIX\r\n502 PASV not implemented.\r\n"
    assert shell.server(b"200 ok\r\n") == b"200 ok\r\n502 PORT not implemented.\r\n"


def test_even_the_greeting_comes_first() -> None:
    shell = Shell(greeted=False)
    assert shell.client(b"EPSV 1\r\n") == b""
    assert shell.server(b"120 soon\r\n") == b"120 soon\r\n"
    assert shell.server(GREETING) == GREETING + b"522 Network protocol not supported, use (2)\r\n"


def test_a_command_of_ours_is_noop_to_the_server_and_its_reply_the_turn() -> None:
    shell = Shell(FtpPolicy())
    assert shell.client(b"EPSV 1\r\nSYST\r\n") == b"NOOP\r\nSYST\r\n"
    assert shell.take_client() == b""
    assert shell.server(b"530-Please\r\n530 log in\r\n") == b"522 Network protocol not supported, use (2)\r\n"
    assert shell.server(b"215 UNIX\r\n") == b"215 UNIX\r\n"


def test_what_follows_a_question_for_a_port_waits_for_the_answer() -> None:
    shell = Shell()
    assert shell.client(b"EPSV\r\nRETR file\r\n") == b"PASV\r\n"
    assert shell.server(AGREED) == EXTENDED
    assert shell.take_server() == b"RETR file\r\n"


def test_a_227_is_known_for_what_it_is_although_replies_are_missing() -> None:
    shell = Shell()
    shell.client(b"LIST\r\nABOR\r\nPASV\r\n" + EXTENDED_PORT + b"EPSV\r\n")
    assert shell.server(AGREED) == b"502 PASV not implemented.\r\n229 Entering Extended Passive Mode (|||40001|)\r\n"
    assert shell.of(TransferEnded) == [TransferEnded(None, 0)]


def test_a_late_226_is_no_answer_to_pasv() -> None:
    shell = Shell()
    shell.client(b"EPSV\r\n")
    assert shell.server(b"226 Transfer complete\r\n" + AGREED) == b"226 Transfer complete\r\n" + EXTENDED


def test_pipelined_transfers_each_keep_their_data_connection() -> None:
    shell = Shell()
    second = EXTENDED_PORT.replace(b"5282", b"5283")
    shell.client(EXTENDED_PORT + b"RETR a\r\n" + second + b"RETR b\r\n")
    shell.server(b"200 ok\r\n150 a\r\n")
    shell.obey(shell.session.accepted(1, shell.now))
    shell.obey(shell.session.joined(1, shell.now))
    shell.server(b"226 a\r\n200 ok\r\n150 b\r\n226 b\r\n")
    assert shell.dropped == []
    assert [action.channel for action in shell.of(TransferBegun)] == [1, 2]
    assert shell.joined() == ConnectToClient(2, CLIENT, 5283, DESTINATION)


# ------------------------------------------------------------ AUTH, FEAT, ALGS


@pytest.mark.parametrize("reply", [b"234 go\r\n", b"334 ADAT=\r\n"])
def test_after_a_good_auth_nothing_is_touched(reply: bytes) -> None:
    shell = passive()
    assert shell.client(b"AUTH TLS\r\nEP") == b"AUTH TLS\r\n"
    assert shell.client(b"SV\xff", urgent=True) == b""
    assert shell.server(reply + b"\xff\xfb\x01x") == reply + b"\xff\xfb\x01x"
    assert shell.take_server() == b"EPSV\xff"
    assert shell.marks(ToServer) == [len(shell.stream(ToServer)) - 1]
    assert shell.of(GoTransparent) == [GoTransparent()]
    assert shell.dropped == [1]
    assert shell.client(b"PASV\r\n") == b"PASV\r\n"
    assert shell.reads() == (True, True)
    assert shell.session.client_ended(1.0) == [EndToServer()]
    assert shell.session.server_ended(1.0) == [EndToClient()]


@pytest.mark.parametrize("reply", [b"431 later\r\n", b"502 no\r\n"])
def test_a_refused_auth_changes_nothing(reply: bytes) -> None:
    shell = Shell()
    assert shell.client(b"AUTH TLS\r\nEPSV\r\n") == b"AUTH TLS\r\n"
    assert shell.server(reply) == reply
    assert shell.take_server() == b"PASV\r\n"


def test_auth_is_not_refused_when_nothing_is_translated_anyway() -> None:
    shell = Shell(FtpPolicy(refuse_auth=True, synchronise=False))
    assert shell.client(b"AUTH TLS\r\nALGS DISABLE64\r\nAUTH TLS\r\n") == b"AUTH TLS\r\n"
    assert shell.take_client().startswith(b"502 AUTH not implemented.\r\n216 NONE ")


def test_auth_waits_for_the_replies_that_were_before_it() -> None:
    shell = Shell()
    shell.client(b"SYST\r\nAUTH TLS\r\nEPSV\r\n")
    assert shell.server(b"215 UNIX\r\n500 AUTH?\r\n") == b"215 UNIX\r\n500 AUTH?\r\n"
    assert shell.take_server() == b"PASV\r\n"


def test_features_are_told_without_what_is_refused_and_with_what_is_added() -> None:
    shell = Shell(FtpPolicy(hide_auth=True, add_features=True))
    shell.client(b"FEAT\r\n")
    listed = b"211-Features\r\n AUTH TLS;SSL\r\n auth x\r\n epsv\r\n \r\n MDTM\r\n211 End\r\n"
    assert shell.server(listed) == b"211-Features\r\n epsv\r\n \r\n MDTM\r\n EPRT\r\n211 End\r\n"


@pytest.mark.parametrize("reply", [b"211 none\r\n", b"500 what?\r\n", b"500-what\r\n500 FEAT?\r\n"])
def test_no_feature_is_added_to_no_list(reply: bytes) -> None:
    shell = Shell(FtpPolicy(add_features=True))
    shell.client(b"FEAT\r\n")
    assert shell.server(reply) == reply


def test_features_are_told_as_they_are_unless_asked_for() -> None:
    shell = Shell()
    listed = b"211-Features\r\n AUTH TLS\r\n211 End\r\n"
    shell.client(b"FEAT\r\n")
    assert shell.server(listed) == listed


def test_a_client_may_switch_translation_off_and_on_again() -> None:
    shell = Shell()
    shell.client(b"ALGS STATUS64\r\n")
    assert shell.take_client().startswith(b"216 EPSVEPRT ")
    assert shell.client(b"algs disable64\r\n") == b""
    assert shell.take_client().startswith(b"216 NONE ")
    commands = b"EPSV\r\n" + EXTENDED_PORT + b"PASV\r\nPORT 1,2,3,4,5,6\r\nEPSV ALL\r\nLIST\r\n"
    assert shell.client(commands) == commands
    assert shell.server(b"229 (|||5|)\r\n500 no\r\n" + AGREED) == b"229 (|||5|)\r\n500 no\r\n" + AGREED
    shell.server(b"500 no\r\n" * 3)
    shell.client(b"ALGS ENABLE64\r\n")
    assert shell.take_client().startswith(b"216 EPSVEPRT ")
    assert shell.client(b"EPSV\r\n") == b"PASV\r\n"


# ------------------------------------------------------------ Telnet


def test_negotiations_are_refused_and_signals_go_through() -> None:
    shell = Shell()
    assert shell.client(b"NO\xff\xfd\x18OP\xff\xfb\x01\xff\xf6\r\n\xff\xfc\x02") == b"\xff\xf6NOOP\r\n"
    assert shell.take_client() == b"\xff\xfc\x18\xff\xfe\x01"
    assert shell.server(b"\xff\xfd\x06200 ok\xff\xf1\r\n") == b"\xff\xf1200 ok\r\n"
    assert shell.take_server() == b"\xff\xfc\x06"


def test_an_urgent_byte_of_a_command_stays_where_it_was() -> None:
    shell = Shell()
    shell.client(b"A", urgent=True)
    assert shell.client(b"BOR\r\n") == b"ABOR\r\n"
    assert shell.marks(ToServer) == [0]
    shell.server(b"226 o")
    assert shell.server(b"k", urgent=True) == b""
    assert shell.server(b"\r\n") == b"226 ok\r\n"
    assert shell.marks(ToClient) == [len(GREETING) + 5]


# ------------------------------------------------------------ limits and ends


def test_a_client_with_too_many_commands_under_way_is_not_read() -> None:
    shell = Shell()
    assert shell.client(b"NOOP\r\n" * (EXPECTED_LIMIT + 1)) == b"NOOP\r\n" * EXPECTED_LIMIT
    assert shell.reads() == (True, True)
    shell.client(b"NOOP\r\n" * LONGEST_LINE)
    assert shell.reads() == (False, True)
    assert not shell.is_closed
    shell.server(b"200 ok\r\n")
    assert shell.take_server() == b"NOOP\r\n"


def test_who_goes_on_although_not_read_is_closed() -> None:
    shell = passive()
    shell.client(b"AUTH TLS\r\n")
    shell.client(b"x" * HELD_LIMIT)
    assert not shell.is_closed
    assert shell.client(b"x") == b""
    assert shell.done[-2:] == [DropData(1), CloseSession("more than may wait was sent")]
    assert shell.client(b"x" * HELD_LIMIT) == b""
    assert shell.server(b"234 go\r\n") == b""
    assert shell.session.client_ended(1.0) == shell.session.server_ended(1.0) == []
    assert shell.reads() == (False, False)


def test_what_is_told_about_a_closed_session_changes_nothing() -> None:
    shell = Shell()
    actions = shell.session.client_said(EXTENDED_PORT + b"x" * (HELD_LIMIT + 1), 1.0)
    assert actions == [ListenForServer(1, SOURCE, SERVER), DropData(1), CloseSession("more than may wait was sent")]
    assert shell.session.listening(1, 40000, 1.0) == []
    assert shell.session.failed(1, Failure.NO_LISTENER, 1.0) == []
    assert shell.session.expire(1e6) == []


def test_a_server_is_not_read_while_a_port_is_awaited() -> None:
    shell = Shell()
    shell.client(b"EPSV\r\n")
    shell.session.server_said(AGREED + b"200 x\r\n" * LONGEST_LINE, 1.0)
    assert shell.reads() == (True, False)
    shell.session.listening(1, 40000, 1.0)
    assert shell.reads() == (True, True)


def test_there_are_only_so_many_data_connections_at_once() -> None:
    shell = Shell()
    for _ in range(CHANNEL_LIMIT + 2):
        shell.client(EXTENDED_PORT + b"LIST\r\n")
    assert shell.dropped == [1, 2]


def test_what_the_client_has_said_before_its_end_is_told() -> None:
    shell = Shell()
    shell.client(EXTENDED_PORT[:-2])
    assert shell.session.client_said(b"\r\nQUIT\r\nunfinished", 1.0) == [ListenForServer(1, SOURCE, SERVER)]
    assert shell.session.client_ended(1.0) == []
    assert shell.session.listening(1, 40000, 1.0) == [ToServer(PORT), ToServer(b"QUIT\r\n"), EndToServer()]
    assert shell.session.client_ended(1.0) == [EndToServer()]


def test_what_the_server_has_said_before_its_end_is_told() -> None:
    shell = Shell()
    shell.client(b"EPSV\r\n")
    shell.session.server_said(AGREED + b"221 bye", 1.0)
    assert shell.session.server_ended(1.0) == []
    assert shell.session.listening(1, 40000, 1.0) == [
        ToClient(EXTENDED),
        ToClient(b"221 bye"),
        DropData(1),
        EndToClient(),
    ]


@pytest.mark.parametrize("end", [b"", b"200 NO", b"200-NO", b"200-NO\r\n200"])
def test_half_a_reply_to_noop_is_not_shown(end: bytes) -> None:
    shell = Shell(FtpPolicy(synchronise=True))
    shell.client(b"EPSV 1\r\n")
    assert shell.server(end) == b""
    assert shell.session.server_ended(1.0) == [EndToClient()]


def test_a_running_transfer_outlives_the_control_connection() -> None:
    shell = passive()
    shell.joined()
    assert shell.session.server_ended(1.0) == [EndToClient()]
