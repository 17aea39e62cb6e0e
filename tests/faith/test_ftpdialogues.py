# SPDX-License-Identifier: MIT
"""The clients of today, each with what it says over IPv6, against what servers of IPv4 answer."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from miredo.address.endpoint import endpoint
from miredo.faith.ftpactions import (
    ConnectToClient,
    ConnectToServer,
    GoTransparent,
    ToServer,
    TransferBegun,
    TransferEnded,
)
from miredo.faith.ftpcommands import FtpPolicy
from tests.faith.ftpshell import CLIENT, DESTINATION, FIRST_PORT, LONG_CLIENT, LONG_DESTINATION, SERVER, SOURCE, Shell

DATA_PORT = 50001
"""Where the server listens."""
CLIENT_PORT = 5282
EXTENDED_PORT = b"EPRT |2|2001:db8::c|5282|\r\n"
LONG_PORT = b"LPRT 6,16,%b,2,20,162\r\n" % LONG_CLIENT
AGREED = b"227 Entering Passive Mode (192,0,2,31,195,81).\r\n"
LISTED = b"150 Here comes the directory listing.\r\n226 Directory send OK.\r\n"
BARE = {
    b"USER": b"331 Please specify the password.\r\n",
    b"PASS": b"230 Login successful.\r\n",
    b"PASV": AGREED,
    b"PORT": b"200 PORT command successful. Consider using PASV.\r\n",
    b"LIST": LISTED,
    b"RETR": b"150 Opening BINARY mode data connection for file (5 bytes).\r\n226 Transfer complete.\r\n",
    b"TYPE": b"200 Switching to Binary mode.\r\n",
    b"NOOP": b"200 NOOP ok.\r\n",
    b"ABOR": b"225 No transfer to ABOR.\r\n",
    b"FEAT": b"211-Features:\r\n EPRT\r\n EPSV\r\n MDTM\r\n PASV\r\n UTF8\r\n211 End\r\n",
    b"QUIT": b"221 Goodbye.\r\n",
}
SERVERS = {
    "vsftpd": BARE
    | {
        b"EPSV": b"229 Entering Extended Passive Mode (|||50001|)\r\n",
        b"EPSV 2": b"522 Bad network protocol.\r\n",
        b"EPSV ALL": b"200 EPSV ALL ok.\r\n",
        b"EPRT": b"500 Illegal EPRT command.\r\n",
        b"AUTH": b"500 Unknown command.\r\n",
    },
    "pure-ftpd": BARE
    | {
        b"EPSV": b"229 Extended Passive mode OK (|||50001|)\r\n",
        b"EPSV 2": b"522 Only IPv4 is supported (1)\r\n",
        b"EPSV ALL": b"220 Active mode is disabled\r\n",
        b"EPRT": b"522 Only IPv4 is supported\r\n",
        b"AUTH": b"500 This security scheme is not implemented\r\n",
        b"PASV": b"227 Entering Passive Mode (192,0,2,31,195,81)\r\n",
        b"PORT": b"200 PORT command successful\r\n",
        b"FEAT": b"211-Extensions supported:\r\n EPRT\r\n AUTH TLS\r\n EPSV\r\n211 End.\r\n",
    },
    "a server without parentheses": BARE | {b"PASV": b"227 Entering Passive Mode 192,0,2,31,195,81\r\n"},
    "a server behind a NAT": BARE | {b"PASV": b"227 Entering Passive Mode (10,0,0,5,195,81)\r\n"},
    "a server that has only EPSV": BARE
    | {b"PASV": b"502 PASV not implemented\r\n", b"EPSV": b"229 ok (|||50001|)\r\n"},
}
PASSIVE = {
    "tnftp": [b"EPSV\r\n", b"LPSV\r\n"],
    "inetutils-ftp -p": [b"EPSV\r\n", b"LPSV\r\n"],
    "lftp": [b"EPSV\r\n"],
    "curl": [b"EPSV\r\n"],
    "wget": [b"EPSV 2\r\n", b"LPSV\r\n"],
    "ftplib": [b"EPSV\r\n"],
    "one that has only LPSV": [b"LPSV\r\n"],
}
ACTIVE = {
    "tnftp -A": [EXTENDED_PORT, LONG_PORT],
    "inetutils-ftp": [EXTENDED_PORT, LONG_PORT],
    "lftp": [EXTENDED_PORT],
    "curl -P -": [EXTENDED_PORT],
    "ftplib": [EXTENDED_PORT],
    "one that has only LPRT": [LONG_PORT],
}


class Dialogue(Shell):
    """A client talks to a server that answers from a table, each command when it has heard it."""

    def __init__(self, answers: dict[bytes, bytes], policy: FtpPolicy | None = None) -> None:
        self.answers = answers
        self.told: list[bytes] = []
        super().__init__(policy)

    def ask(self, command: bytes) -> bytes:
        """What the client hears when all is said."""
        told = self.client(command)
        heard = self.take_client()
        while told:
            for line in told.splitlines():
                self.told.append(line)
                heard += self.server(self.answer(line))
            told = self.take_server()
        return heard

    def answer(self, line: bytes) -> bytes:
        return self.answers.get(line, self.answers.get(line.split(b" ")[0], b"500 Unknown command.\r\n"))

    def login(self) -> None:
        assert self.ask(b"USER anonymous\r\n").startswith(b"331 ")
        assert self.ask(b"PASS me@\r\n").startswith(b"230 ")

    def first_good(self, attempts: list[bytes]) -> tuple[bytes, bytes]:
        """The first of the commands that is not refused, and its answer."""
        for command in attempts:
            heard = self.ask(command)
            if heard.startswith(b"2"):
                return command, heard
        raise AssertionError(f"nothing worked: {self.told}")


class Meeting(NamedTuple):
    address: bytes
    port: int


def meeting_in(reply: bytes) -> Meeting:
    """Where a client connects to after a 229 or a 228."""
    if reply.startswith(b"229 "):
        found = re.fullmatch(rb"229 [^()]*\(\|\|\|([0-9]+)\|\)\r\n", reply)
        assert found is not None
        return Meeting(DESTINATION, int(found[1]))
    found = re.fullmatch(rb"228 [^()]*\(6,16,([0-9,]+),2,([0-9]+),([0-9]+)\)\r\n", reply)
    assert found is not None
    assert found[1] == LONG_DESTINATION
    return Meeting(bytes(map(int, found[1].split(b","))), int(found[2]) << 8 | int(found[3]))


def lines_of(shell: Dialogue) -> Iterator[bytes]:
    yield from shell.stream(ToServer).splitlines()


@pytest.mark.parametrize("synchronise", [False, True])
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", PASSIVE)
def test_a_passive_client_lists_and_fetches(client: str, server: str, synchronise: bool) -> None:
    talk = Dialogue(SERVERS[server], FtpPolicy(synchronise=synchronise))
    talk.login()
    for number, command in enumerate((b"LIST\r\n", b"RETR file\r\n")):
        _, heard = talk.first_good(PASSIVE[client][:1])
        assert meeting_in(heard) == (DESTINATION, FIRST_PORT + number)
        assert talk.joined() == ConnectToServer(number + 1, endpoint(SERVER, DATA_PORT))
        assert re.match(rb"150 .*\r\n226 ", talk.ask(command))
    assert [action.verb for action in talk.of(TransferBegun)] == [b"LIST", b"RETR"]
    assert [action.code for action in talk.of(TransferEnded)] == [226, 226]
    assert not {b"EPSV 2", b"LPSV"} & set(lines_of(talk))
    assert talk.dropped == []
    assert talk.session.deadline is None


@pytest.mark.parametrize("synchronise", [False, True])
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", ACTIVE)
def test_an_active_client_lists_and_fetches(client: str, server: str, synchronise: bool) -> None:
    talk = Dialogue(SERVERS[server], FtpPolicy(synchronise=synchronise))
    talk.login()
    for number, command in enumerate((b"LIST\r\n", b"RETR file\r\n")):
        word, heard = talk.first_good(ACTIVE[client][:1])
        assert heard.startswith(b"200 " + word[:4])
        assert talk.told[-1] == b"PORT 198,51,100,9,156,%d" % (FIRST_PORT + number - (156 << 8))
        preliminary, last = talk.answer(command.strip()).splitlines(keepends=True)
        assert talk.client(command) == command
        assert talk.server(preliminary) == preliminary
        assert talk.joined() == ConnectToClient(number + 1, CLIENT, CLIENT_PORT, DESTINATION)
        assert talk.server(last) == last
    assert not any(line.startswith((b"EPRT", b"LPRT")) for line in lines_of(talk))
    assert talk.dropped == []


@pytest.mark.parametrize("client", PASSIVE)
def test_a_client_goes_through_all_that_it_can_when_the_server_can_nothing(client: str) -> None:
    talk = Dialogue(BARE | {b"PASV": b"500 Unknown command.\r\n"})
    talk.login()
    for command in PASSIVE[client]:
        assert talk.ask(command) == b"500 Unknown command.\r\n"
    assert talk.told[2:] == [b"PASV", b"EPSV"] * len(PASSIVE[client])


@pytest.mark.parametrize("client", ACTIVE)
def test_an_active_client_hears_its_own_words_when_the_server_refuses_port(client: str) -> None:
    talk = Dialogue(BARE | {b"PORT": b"500 Illegal PORT command.\r\n"})
    talk.login()
    for command in ACTIVE[client]:
        assert talk.ask(command) == b"500 Illegal %b command.\r\n" % command[:4]
    assert talk.dropped == list(range(1, len(ACTIVE[client]) + 1))


@pytest.mark.parametrize("server", ["vsftpd", "pure-ftpd"])
def test_lftp_goes_on_in_the_clear_when_the_server_refuses_tls(server: str) -> None:
    talk = Dialogue(SERVERS[server])
    assert talk.ask(b"FEAT\r\n") == SERVERS[server][b"FEAT"]
    assert talk.ask(b"AUTH TLS\r\n") == SERVERS[server][b"AUTH"]
    talk.login()
    assert talk.ask(b"EPSV\r\n").startswith(b"229 ")
    assert talk.of(GoTransparent) == []


def test_lftp_goes_on_in_the_clear_when_we_refuse_tls() -> None:
    answers = SERVERS["pure-ftpd"] | {b"AUTH": b"234 AUTH TLS OK.\r\n"}
    talk = Dialogue(answers, FtpPolicy(refuse_auth=True, hide_auth=True))
    assert talk.ask(b"FEAT\r\n") == b"211-Extensions supported:\r\n EPRT\r\n EPSV\r\n211 End.\r\n"
    assert talk.ask(b"AUTH TLS\r\n") == b"502 AUTH not implemented.\r\n"
    talk.login()
    assert talk.ask(b"EPSV\r\n").startswith(b"229 ")
    assert b"AUTH TLS" not in talk.told


def test_curl_with_tls_is_left_alone() -> None:
    talk = Dialogue(BARE | {b"AUTH": b"234 Proceed with negotiation.\r\n"})
    assert talk.ask(b"AUTH SSL\r\n") == b"234 Proceed with negotiation.\r\n"
    hello = b"\x16\x03\x01\x00\xff\xff\xf4\xff\xfb\x01EPSV\r\n"
    assert talk.client(hello) == hello
    assert talk.server(hello) == hello
    assert len(talk.of(GoTransparent)) == 1


@pytest.mark.parametrize("server", ["vsftpd", "pure-ftpd"])
def test_epsv_all_never_reaches_a_server_that_would_then_refuse_pasv(server: str) -> None:
    talk = Dialogue(SERVERS[server], FtpPolicy())
    assert talk.ask(b"EPSV ALL\r\n") == b"200 EPSV ALL command successful.\r\n"
    assert talk.ask(b"EPSV\r\n").startswith(b"229 ")
    assert talk.told == [b"NOOP", b"PASV"]


def test_the_inetutils_client_aborts_with_its_urgent_byte_where_it_was() -> None:
    talk = Dialogue(BARE)
    talk.ask(EXTENDED_PORT)
    assert talk.client(b"RETR big\r\n") == b"RETR big\r\n"
    talk.server(b"150 Opening\r\n")
    before = len(talk.stream(ToServer))
    told = talk.client(b"\xff\xf4") + talk.client(b"\xff", urgent=True) + talk.client(b"\xf2ABOR\r\n")
    assert told == b"\xff\xf4\xff\xf2ABOR\r\n"
    assert talk.marks(ToServer) == [before + 2]
    assert talk.server(b"426 Failure writing network stream.\r\n226 ABOR successful.\r\n").count(b"\r\n") == 2
    assert talk.ask(b"NOOP\r\n") == b"200 NOOP ok.\r\n"
    assert [action.code for action in talk.of(TransferEnded)] == [426]


def test_port_and_the_listener_are_at_the_address_that_the_server_knows() -> None:
    talk = Dialogue(BARE)
    talk.ask(EXTENDED_PORT)
    (told,) = [line for line in talk.told if line.startswith(b"PORT ")]
    assert bytes(map(int, told[5:].split(b",")[:4])) == SOURCE
