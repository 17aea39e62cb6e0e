# SPDX-License-Identifier: MIT
"""The FTP gateway as a target: the same comes out whatever the chunks, and data goes between the two ends alone."""

from collections.abc import Iterator
from enum import IntEnum

from miredo.address.endpoint import ipv4_of
from miredo.faith.ftpactions import ConnectToClient, ConnectToServer, ToClient, ToServer
from miredo.faith.ftpcommands import FtpPolicy
from tests.faith.ftpshell import CLIENT, LONG_CLIENT, SERVER, Shell
from tests.fuzz.script import Script

COMMANDS = (
    b"EPSV\r\n",
    b"LPSV\r\n",
    b"EPRT |2|2001:db8::c|5282|\r\n",
    b"LPRT 6,16,%b,2,20,162\r\n" % LONG_CLIENT,
    b"RETR x\r\n",
    b"FEAT\r\n",
    b"AUTH TLS\r\n",
    b"EPSV ALL\r\n",
    b"EPSV 1\r\n",
    b"ALGS DISABLE64\r\n",
    b"\xff\xf4\xff\xf2ABOR\r\n",
    b"\xff\xfb\x01",
)
REPLIES = (
    b"200 PORT ok\r\n",
    b"227 (192,0,2,31,4,1)\r\n",
    b"150 here\r\n",
    b"226 done\r\n",
    b"500 PASV?\r\n",
    b"229 (|||1025|)\r\n",
    b"234 go\r\n",
    b"211-Features\r\n EPSV\r\n211 End\r\n",
    b"421 bye\r\n",
    b"\xff\xfd\x01",
)
SECONDS = (1.0, 60.0, 120.0)


class Step(IntEnum):
    CLIENT_SAYS = 0
    SERVER_SAYS = 1
    CLIENT_SAYS_ANYTHING = 2
    SERVER_SAYS_ANYTHING = 3
    ACCEPTED = 4
    JOINED = 5
    FAILED = 6
    WAIT = 7
    CLIENT_ENDS = 8
    SERVER_ENDS = 9


class Gateway:
    """One story, told in whole chunks or byte by byte."""

    def __init__(self, told: int, *, split: bool) -> None:
        self.shell = Shell(FtpPolicy(*(bool(told >> bit & 1) for bit in range(6))), opens=told < 0xC0)
        self._split = split

    def tell(self, script: Script) -> None:
        while not script.is_over:
            self.step(Step(script.byte() % len(Step)), script)

    def step(self, step: Step, script: Script) -> None:
        session, now = self.shell.session, self.shell.now
        match step:
            case Step.CLIENT_SAYS:
                self.say(ToServer, script.choice(COMMANDS), script)
            case Step.SERVER_SAYS:
                self.say(ToClient, script.choice(REPLIES), script)
            case Step.CLIENT_SAYS_ANYTHING:
                self.say(ToServer, script.text(), script)
            case Step.SERVER_SAYS_ANYTHING:
                self.say(ToClient, script.text(), script)
            case Step.WAIT:
                self.shell.wait(script.choice(SECONDS))
            case Step.CLIENT_ENDS:
                self.shell.obey(session.client_ended(now))
            case Step.SERVER_ENDS:
                self.shell.obey(session.server_ended(now))
            case _ if self.shell.has_channel:
                self.connect(step)

    def say(self, to: type[ToClient] | type[ToServer], data: bytes, script: Script) -> None:
        speak = self.shell.client if to is ToServer else self.shell.server
        urgent = script.byte() == 1
        size = 1 if self._split else max(len(data), 1)
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        for number, chunk in enumerate(chunks, start=1):
            speak(chunk, urgent and number == len(chunks))

    def connect(self, step: Step) -> None:
        session, now = self.shell.session, self.shell.now
        match step:
            case Step.ACCEPTED:
                self.shell.obey(session.accepted(self.shell.channel, now))
            case Step.JOINED:
                self.shell.obey(session.joined(self.shell.channel, now))
            case _:
                self.shell.failed()

    def outcome(self) -> tuple[object, ...]:
        said = [(self.shell.stream(to), self.shell.marks(to)) for to in (ToClient, ToServer)]
        rest = [action for action in self.shell.done if not isinstance(action, ToClient | ToServer)]
        return said, rest, self.shell.session.deadline

    def judge(self) -> None:
        """RFC 2577 3."""
        assert all(ipv4_of(action.to) == SERVER for action in self.shell.of(ConnectToServer)), "another server"
        assert all(action.address == CLIENT for action in self.shell.of(ConnectToClient)), "another client"
        assert len(set(self.shell.dropped)) == len(self.shell.dropped), "dropped twice"


def ftp(data: bytes) -> None:
    """A policy, and what happens after the greeting."""
    whole, split = (Gateway(data[0] if data else 0, split=split) for split in (False, True))
    for gateway in (whole, split):
        gateway.tell(Script(data[1:]))
        gateway.judge()
    assert whole.outcome() == split.outcome(), "the chunks make a difference"


def sessions() -> Iterator[bytes]:
    """Passive and active transfers, those that fail, and each command with each reply."""
    listen, agree = bytes((Step.CLIENT_SAYS, 0, 0)), bytes((Step.SERVER_SAYS, 1, 0))
    port, accept = bytes((Step.CLIENT_SAYS, 2, 0)), bytes((Step.SERVER_SAYS, 0, 0))
    fetch, begin, end = (
        bytes((Step.CLIENT_SAYS, 4, 0)),
        bytes((Step.SERVER_SAYS, 2, 0)),
        bytes((Step.SERVER_SAYS, 3, 0)),
    )
    join = bytes((Step.ACCEPTED, Step.JOINED))
    for told in (b"\x02", b"\x22", b"\xc2"):
        yield told + listen + agree + join + fetch + begin + end + listen + agree
        yield told + port + accept + fetch + begin + join + end + port + accept
        yield told + listen + agree + fetch + bytes((Step.ACCEPTED, Step.FAILED)) + begin + end
        yield told + listen + agree + fetch + bytes((Step.WAIT, 2)) + end + bytes((Step.CLIENT_ENDS, Step.SERVER_ENDS))
    for command in range(len(COMMANDS)):
        yield b"\x3f" + b"".join(bytes((0, command, 1, 1, reply, 0)) for reply in range(len(REPLIES)))
    yield b"\x01" + bytes((2, 24)) + b"EPRT |2|2001:db8::d|53|\r\n" + bytes((0, 3, 8)) + b"227 now\n" + bytes((0, 9))
