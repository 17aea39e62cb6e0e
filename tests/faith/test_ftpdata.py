# SPDX-License-Identifier: MIT
"""The FTP gateway's data connections: how they are agreed on, and what becomes of those that fail."""

import pytest

from miredo.address.endpoint import endpoint
from miredo.faith.ftpactions import (
    ConnectToClient,
    ConnectToServer,
    Failure,
    ListenForClient,
    ListenForServer,
    ToClient,
    ToServer,
    TransferBegun,
    TransferEnded,
)
from miredo.faith.ftpchannels import DATA_TIMEOUT
from miredo.faith.ftpcommands import FtpPolicy
from miredo.faith.ftpexpected import LONGEST_REPLY
from miredo.faith.ftplines import LONGEST_LINE
from tests.faith.ftpshell import (
    AGREED,
    CLIENT,
    DESTINATION,
    EXTENDED,
    EXTENDED_PORT,
    LONG_CLIENT,
    NOT_OPENED,
    PORT,
    SERVER,
    SOURCE,
    Shell,
    active,
    passive,
)

# ------------------------------------------------------------ passive


def test_epsv_is_pasv_and_the_port_is_ours() -> None:
    shell = passive()
    assert shell.of(ListenForClient) == [ListenForClient(1, DESTINATION, CLIENT)]
    assert shell.of(ConnectToServer) == []
    assert shell.joined() == ConnectToServer(1, endpoint(SERVER, 60691))
    assert shell.session.translated == {"EPSV": 1}


def test_lpsv_is_answered_with_the_address_that_the_client_has_connected_to() -> None:
    shell = Shell()
    assert shell.client(b"LPSV\r\n") == b"PASV\r\n"
    assert shell.server(AGREED) == (
        b"228 Entering Long Passive Mode (6,16,0,100,255,155,0,0,0,0,0,0,0,0,192,0,2,31,2,156,64)\r\n"
    )


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"EPSV 1", b"522 Network protocol not supported, use (2)"),
        (b"EPSV 99", b"522 Network protocol not supported, use (2)"),
        (b"EPSV what", b"501 illegal parameter to EPSV"),
        (b"EPRT |1|192.0.2.1|5|", b"522 Network protocol not supported, use (2)"),
        (b"EPRT |2|2001:db8::bad|5282|", b"501 illegal parameter to EPRT"),
        (b"EPRT |2|2001:db8::c|0|", b"501 illegal parameter to EPRT"),
        (b"EPRT", b"501 illegal parameter to EPRT"),
        (b"LPRT 4,4,192,0,2,1,2,1,1", b"521 Supported address families are (6)"),
        (b"LPRT " + LONG_CLIENT, b"521 Supported address families are (6)"),
        (b"LPRT 6,16," + LONG_CLIENT[:-2] + b"99,2,20,162", b"501 illegal parameter to LPRT"),
        (b"PORT 192,0,2,1,1,1", b"502 PORT not implemented."),
        (b"PASV", b"502 PASV not implemented."),
        (b"pasv", b"502 PASV not implemented."),
        (b"ALGS", b"504 Command not implemented for that parameter"),
        (b"ALGS STATUS46", b"504 Command not implemented for that parameter"),
        (b"EPSV ALL", b"200 EPSV ALL command successful."),
        (b"X" * LONGEST_LINE, b"500 Command line too long"),
    ],
)
def test_what_is_answered_here_never_reaches_the_server(command: bytes, answer: bytes) -> None:
    shell = Shell()
    assert shell.client(command + b"\r\n") == b""
    assert shell.take_client() == answer + b"\r\n"
    assert shell.client(b"NOOP\r\n") == b"NOOP\r\n"


def test_after_epsv_all_there_is_only_epsv() -> None:
    shell = Shell()
    shell.client(b"epsv all\r\n" + EXTENDED_PORT + b"LPSV\r\nLPRT 6\r\nPASV\r\nPORT 1\r\n")
    refused = b"".join(b"501 %b disallowed in EPSV ALL\r\n" % word for word in (b"EPRT", b"LPSV", b"LPRT"))
    refused += b"502 PASV not implemented.\r\n502 PORT not implemented.\r\n"
    assert shell.take_client() == b"200 EPSV ALL command successful.\r\n" + refused
    assert shell.client(b"EPSV\r\n") == b"PASV\r\n"


def test_epsv_all_as_rfc_6384_has_it_changes_nothing() -> None:
    shell = Shell(FtpPolicy(only_extended=False, synchronise=False))
    assert shell.client(b"EPSV ALL\r\n" + EXTENDED_PORT) == PORT
    assert shell.take_client() == b"504 Command not implemented for that parameter\r\n"


def test_a_server_without_pasv_is_asked_with_epsv_and_from_then_on_at_once() -> None:
    shell = Shell()
    shell.client(b"EPSV\r\n")
    assert shell.server(b"502-no\r\n502 PASV\r\n") == b""
    assert shell.take_server() == b"EPSV\r\n"
    assert shell.server(b"229 ok (|||6446|)\r\n") == EXTENDED
    assert shell.joined() == ConnectToServer(1, endpoint(SERVER, 6446))
    assert shell.client(b"LPSV\r\n") == b"EPSV\r\n"
    assert shell.server(b"500 EPSV what?\r\n") == b"500 LPSV what?\r\n"
    assert shell.client(b"EPSV\r\n") == b"PASV\r\n"


def test_whoever_has_not_logged_in_is_told_so() -> None:
    shell = Shell()
    shell.client(b"EPSV\r\n")
    assert shell.server(b"530 Please login.\r\n") == b"530 Please login.\r\n"
    assert shell.take_server() == b""


def test_a_temporary_refusal_is_told_in_the_clients_word() -> None:
    shell = Shell()
    shell.client(b"LPSV\r\n")
    assert shell.server(b"450 PASV busy\r\n") == b"450 LPSV busy\r\n"


def test_a_227_of_another_host_is_taken_for_the_server_or_refused() -> None:
    foreign = b"227 =10,0,0,1,4,1\r\n"
    shell = Shell()
    shell.client(b"EPSV\r\n")
    assert shell.server(foreign) == EXTENDED
    assert shell.connected() == ConnectToServer(1, endpoint(SERVER, 1025))
    strict = Shell(FtpPolicy(strict_host=True))
    strict.client(b"EPSV\r\n")
    assert strict.server(foreign) == NOT_OPENED
    assert strict.client(b"EPSV\r\n") == b"PASV\r\n"
    assert strict.server(AGREED) == EXTENDED


@pytest.mark.parametrize(
    "reply", [b"227 somewhere\r\n", b"227 (192,0,2,31,0,0)\r\n", b"227 (1,2,3,4,5)\r\n", b"227 (999,0,2,31,1,1)\r\n"]
)
def test_a_227_that_says_nothing_is_told(reply: bytes) -> None:
    shell = Shell()
    shell.client(b"EPSV\r\n")
    assert shell.server(reply) == b"500 could not translate from PASV\r\n"


def test_what_the_reply_says_counts_and_not_what_was_asked() -> None:
    shell = Shell()
    shell.client(b"EPSV\r\n")
    assert shell.server(b"229 yes (|||6446|)\r\n") == EXTENDED
    assert shell.connected() == ConnectToServer(1, endpoint(SERVER, 6446))
    assert shell.client(b"EPSV\r\n") == b"PASV\r\n"


def test_a_227_of_more_than_one_line_is_understood() -> None:
    shell = Shell()
    shell.client(b"EPSV\r\n")
    assert shell.server(b"227-Entering\r\n (192,0,2,31,237,19)\r\n227 Mode\r\n") == EXTENDED


def test_a_refusal_without_end_is_not_kept() -> None:
    shell = Shell()
    shell.client(b"EPSV\r\n")
    assert shell.server(b"450-" + b"no\r\n" * LONGEST_REPLY + b"450 no\r\n") == b"500 could not translate from PASV\r\n"


def test_without_a_listener_there_is_425() -> None:
    shell = Shell(opens=False)
    shell.client(b"EPSV\r\n")
    assert shell.server(AGREED) == NOT_OPENED
    assert shell.client(b"LIST\r\n") == b""
    assert shell.take_client() == NOT_OPENED
    assert shell.client(EXTENDED_PORT) == b""
    assert shell.take_client() == NOT_OPENED
    assert shell.session.failures == {Failure.NO_LISTENER: 2}


def test_replies_wait_until_the_client_has_its_port() -> None:
    shell = Shell()
    shell.client(b"EPSV\r\n")
    actions = shell.session.server_said(AGREED + b"211 more\r\n", 1.0)
    assert actions == [ListenForClient(1, DESTINATION, CLIENT)]
    assert shell.session.listening(2, 5, 1.0) == []
    assert shell.session.failed(2, Failure.NO_LISTENER, 1.0) == []
    assert shell.session.listening(1, 40000, 1.0) == [ToClient(EXTENDED), ToClient(b"211 more\r\n")]


def test_another_question_closes_what_the_last_one_has_opened() -> None:
    shell = passive()
    shell.joined()
    shell.client(b"EPSV\r\n")
    assert shell.dropped == []
    shell.server(AGREED)
    assert shell.dropped == [1]
    assert shell.session.accepted(1, 1.0) == []


def test_what_a_broken_transfer_has_left_is_closed_too() -> None:
    shell = passive()
    shell.joined()
    shell.client(b"LIST\r\n")
    shell.server(b"150 here\r\n426 broken\r\n")
    shell.client(b"EPSV\r\n")
    shell.server(AGREED)
    assert shell.dropped == [1]


def test_a_joined_connection_has_all_the_time_it_wants() -> None:
    shell = passive()
    shell.joined()
    shell.client(b"RETR big\r\n")
    shell.server(b"150 here\r\n")
    assert shell.session.deadline is None


def test_a_connection_is_for_one_transfer() -> None:
    shell = passive()
    shell.joined()
    shell.client(b"LIST\r\n")
    shell.server(b"226 done\r\n")
    assert shell.client(b"LIST\r\n") == b"LIST\r\n"
    assert shell.of(TransferBegun) == [TransferBegun(1, b"LIST"), TransferBegun(None, b"LIST")]


def test_a_completed_transfer_is_left_to_its_ends() -> None:
    shell = passive()
    shell.joined()
    shell.client(b"LIST\r\n")
    shell.server(b"150 here\r\n226 done\r\n")
    shell.client(b"EPSV\r\n")
    shell.server(AGREED)
    assert shell.dropped == []


# ------------------------------------------------------------ active


def test_eprt_is_port_with_our_own_address_as_soon_as_it_listens() -> None:
    shell = Shell()
    assert shell.session.client_said(EXTENDED_PORT + b"LIST\r\n", 1.0) == [ListenForServer(1, SOURCE, SERVER)]
    assert shell.session.listening(1, 40000, 1.0) == [
        ToServer(PORT),
        ToServer(b"LIST\r\n"),
        TransferBegun(1, b"LIST"),
    ]


@pytest.mark.parametrize("delimiter", [b"|", b"!", b"~", b"x"])
def test_any_delimiter_and_any_spelling_of_the_address_do(delimiter: bytes) -> None:
    command = b"EPRT |2|2001:0DB8:0::C|5282|\r\n".replace(b"|", delimiter)
    assert Shell().client(command) == PORT


def test_the_clients_port_is_connected_to_when_the_server_has_come() -> None:
    shell = active()
    shell.client(b"STOR x\r\n")
    assert shell.of(ConnectToClient) == []
    assert shell.joined() == ConnectToClient(1, CLIENT, 5282, DESTINATION)
    assert shell.server(b"150 go\r\n226 done\r\n") == b"150 go\r\n226 done\r\n"
    assert [type(action) for action in shell.done[-2:]] == [ToClient, TransferEnded]
    assert shell.dropped == []


def test_lprt_is_port_and_keeps_its_name() -> None:
    shell = Shell()
    assert shell.client(b"LPRT 6,16,%b,2,20,162\r\n" % LONG_CLIENT) == PORT
    assert shell.server(b"200-PORT\n200 PORT ok, SUPPORT too\n") == b"200-LPRT\n200 LPRT ok, SUPPORT too\n"
    assert shell.connected() == ConnectToClient(1, CLIENT, 5282, DESTINATION)


def test_another_port_takes_the_place_of_the_last_one_when_the_server_knows_it() -> None:
    shell = active()
    shell.client(EXTENDED_PORT)
    assert shell.dropped == []
    shell.server(b"200 ok\r\n")
    assert shell.dropped == [1]


def test_a_greeting_that_is_delayed_is_no_transfer() -> None:
    shell = Shell(greeted=False)
    shell.client(EXTENDED_PORT)
    assert shell.server(b"120 soon\r\n") == b"120 soon\r\n"
    assert shell.of(TransferBegun) == []


def test_a_server_that_refuses_port_leaves_no_listener() -> None:
    shell = Shell()
    shell.client(EXTENDED_PORT)
    assert shell.server(b"500 Illegal PORT command.\r\n") == b"500 Illegal EPRT command.\r\n"
    assert shell.dropped == [1]
    assert shell.client(b"LIST\r\n") == b"LIST\r\n"
    assert shell.server(b"425 Use PORT or PASV first.\r\n") == b"425 Use PORT or PASV first.\r\n"


def test_a_completed_transfer_may_be_told_before_its_connection() -> None:
    shell = active()
    shell.client(b"RETR tiny\r\n")
    shell.server(b"150 here\r\n226 done\r\n")
    shell.client(EXTENDED_PORT)
    shell.server(b"200 ok\r\n")
    assert shell.dropped == []
    shell.obey(shell.session.accepted(1, shell.now))
    shell.obey(shell.session.joined(1, shell.now))
    assert shell.of(ConnectToClient) == [ConnectToClient(1, CLIENT, 5282, DESTINATION)]
    assert shell.session.deadline is None


def test_a_connection_of_a_completed_transfer_is_waited_for_two_minutes() -> None:
    shell = active()
    shell.client(b"STOU empty\r\n")
    assert shell.server(b"226 nothing to send\r\n") == b"226 nothing to send\r\n"
    assert shell.wait(DATA_TIMEOUT - 1) == b""
    assert shell.dropped == []
    assert shell.wait(1) == b""
    assert shell.dropped == [1]


# ------------------------------------------------------------ data connections that fail


@pytest.mark.parametrize("failure", Failure)
def test_a_failure_is_425_at_once_and_what_the_server_says_later_is_not_heard(failure: Failure) -> None:
    shell = passive()
    shell.client(b"RETR x\r\n")
    shell.connected()
    assert shell.failed(failure) == NOT_OPENED
    assert shell.dropped == [1]
    assert shell.of(TransferEnded) == [TransferEnded(1, 425)]
    assert shell.client(b"PWD\r\n") == b"PWD\r\n"
    assert shell.server(b"425 Failed to establish connection.\r\n") == b""
    assert shell.server(b'257 "/"\r\n') == b'257 "/"\r\n'
    assert shell.session.failures == {failure: 1}


def test_a_failure_after_the_preliminary_reply_is_425_too() -> None:
    shell = active()
    shell.client(b"RETR x\r\n")
    assert shell.server(b"150 here\r\n") == b"150 here\r\n"
    shell.connected()
    assert shell.failed() == NOT_OPENED
    assert shell.server(b"426 broken\r\n") == b""
    assert shell.of(TransferEnded) == [TransferEnded(1, 425)]


def test_a_failure_before_the_command_is_the_commands_answer() -> None:
    shell = passive()
    assert shell.failed() == b""
    assert shell.client(b"RETR x\r\nNLST\r\n") == b""
    assert shell.take_client() == NOT_OPENED * 2
    shell.client(b"EPSV\r\n")
    shell.server(AGREED)
    assert shell.client(b"RETR x\r\n") == b"RETR x\r\n"


def test_a_failure_in_the_midst_of_a_reply_is_told_after_it() -> None:
    shell = active()
    shell.client(b"RETR x\r\n")
    assert shell.server(b"150-here\r\n") == b"150-here\r\n"
    assert shell.failed() == b""
    assert shell.server(b"150 it is\r\n") == b"150 it is\r\n" + NOT_OPENED


def test_a_failure_in_the_midst_of_an_endless_line_is_told_after_it() -> None:
    shell = active()
    shell.client(b"RETR x\r\n")
    assert shell.server(b"x" * LONGEST_LINE) == b"x" * LONGEST_LINE
    assert shell.failed() == b""
    assert shell.server(b"y\r\n") == b"y\r\n" + NOT_OPENED


def test_what_has_been_joined_cannot_fail_any_more() -> None:
    shell = passive()
    shell.joined()
    assert shell.failed() == b""
    assert shell.dropped == []
    assert shell.client(b"LIST\r\n") == b"LIST\r\n"


def test_a_client_that_never_comes_is_waited_for_two_minutes() -> None:
    shell = passive()
    shell.client(b"RETR x\r\n")
    assert shell.session.deadline == 1.0 + DATA_TIMEOUT
    assert shell.wait(DATA_TIMEOUT - 1) == b""
    assert shell.wait(1) == NOT_OPENED
    assert shell.dropped == [1]
    assert shell.session.failures == {Failure.TIMED_OUT: 1}


def test_a_connection_that_does_not_get_on_is_waited_for_two_minutes() -> None:
    shell = passive()
    shell.wait(DATA_TIMEOUT - 1)
    shell.connected()
    shell.client(b"RETR x\r\n")
    assert shell.wait(DATA_TIMEOUT - 1) == b""
    assert shell.wait(1) == NOT_OPENED


def test_a_server_is_waited_for_from_its_preliminary_reply_on() -> None:
    shell = active()
    shell.client(b"RETR tape\r\n")
    assert shell.wait(999) == b""
    assert shell.dropped == []
    shell.server(b"150 now\r\n")
    assert shell.session.deadline == 1000.0 + DATA_TIMEOUT
    assert shell.wait(DATA_TIMEOUT) == NOT_OPENED


def test_any_preliminary_reply_makes_a_transfer() -> None:
    shell = active()
    shell.client(b"XFER x\r\n")
    shell.server(b"150 here\r\n")
    assert shell.of(TransferBegun) == [TransferBegun(1, b"XFER")]
    assert shell.session.deadline is not None
    assert shell.failed() == NOT_OPENED
    assert shell.server(b"426 broken\r\n") == b""
