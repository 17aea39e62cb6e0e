# SPDX-License-Identifier: MIT
"""Whatever is said, in whatever chunks: the same comes out, in the order of the commands, and little is kept."""

import tracemalloc
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from miredo.address.endpoint import ipv4_of
from miredo.faith.ftpactions import (
    ConnectToClient,
    ConnectToServer,
    DropData,
    ListenForServer,
    ToClient,
    ToServer,
    TransferBegun,
    TransferEnded,
)
from miredo.faith.ftpchannels import CHANNEL_LIMIT
from miredo.faith.ftpcommands import FtpPolicy
from miredo.faith.ftpsession import FtpSession
from tests.faith.ftpshell import CLIENT, ENDS, GREETING, LONG_CLIENT, SERVER, Shell

COMMANDS = [
    b"EPSV\r\n",
    b"EPSV 2\n",
    b"EPSV 1\r\n",
    b"EPSV ALL\r\n",
    b"LPSV\r\n",
    b"EPRT |2|2001:db8::c|5282|\r\n",
    b"EPRT |2|2001:db8::d|5282|\r\n",
    b"LPRT 6,16,%b,2,20,162\r\n" % LONG_CLIENT,
    b"RETR x\r\n",
    b"ABOR\r\n",
    b"FEAT\r\n",
    b"AUTH TLS\r\n",
    b"ALGS DISABLE64\r\n",
    b"ALGS ENABLE64\r\n",
    b"PASV\r\n",
    b"\xff\xf4\xff\xf2",
    b"\xff\xfb\x01",
    b"\xff\xfa\x01",
    b"x" * 5000,
]
REPLIES = [
    b"200 PORT ok\r\n",
    b"227 Entering (192,0,2,31,4,1)\r\n",
    b"229 ok (|||6446|)\r\n",
    b"150 here\r\n",
    b"226 done\r\n",
    b"234 go\r\n",
    b"500 PASV?\r\n",
    b"211-Features\r\n EPSV\r\n",
    b"211 End\r\n",
    b"421 bye\r\n",
    b"\xff\xfd\x01",
    b"y" * 5000,
]
SAID = st.one_of(
    st.tuples(st.just(ToServer), st.one_of(st.sampled_from(COMMANDS), st.binary(max_size=20)), st.booleans()),
    st.tuples(st.just(ToClient), st.one_of(st.sampled_from(REPLIES), st.binary(max_size=20)), st.booleans()),
)
POLICIES = st.builds(FtpPolicy, *[st.booleans()] * 6)


def say(shell: Shell, to: type[ToClient] | type[ToServer], data: bytes, urgent: bool) -> None:
    (shell.client if to is ToServer else shell.server)(data, urgent)


def outcome(shell: Shell) -> tuple[object, ...]:
    intents = [action for action in shell.done if not isinstance(action, ToClient | ToServer)]
    streams = [(shell.stream(to), shell.marks(to)) for to in (ToClient, ToServer)]
    return intents, streams, shell.session.deadline, shell.session.translated


@given(POLICIES, st.booleans(), st.lists(SAID, max_size=30))
def test_chunks_make_no_difference(
    policy: FtpPolicy, opens: bool, said: list[tuple[type[ToClient] | type[ToServer], bytes, bool]]
) -> None:
    whole, split = Shell(policy, opens=opens), Shell(policy, opens=opens)
    for to, data, urgent in said:
        say(whole, to, data, urgent)
        for at in range(len(data)):
            say(split, to, data[at : at + 1], urgent and at == len(data) - 1)
    assert outcome(whole) == outcome(split)


@given(st.lists(st.sampled_from(COMMANDS[:-1]), max_size=60), st.lists(st.sampled_from(REPLIES), max_size=60))
def test_who_sends_all_at_once_hears_the_same_as_who_does_not(commands: list[bytes], replies: list[bytes]) -> None:
    together, apart = Shell(), Shell()
    together.client(b"".join(commands))
    for command in commands:
        apart.client(command)
    together.server(b"".join(replies))
    for reply in replies:
        apart.server(reply)
    assert outcome(together) == outcome(apart)


class Honest(RuleBasedStateMachine):
    """A client that asks anything and a server that answers each command once: so does the gateway, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.shell = Shell(FtpPolicy(synchronise=True))
        self.unanswered: deque[bytes] = deque()
        self.expected: list[tuple[bytes, ...]] = [(GREETING.strip(),)]
        self.only_extended = False
        self.serial = 0

    # ------------------------------------------------------------ the client

    def ask(self, command: bytes, *answers: bytes) -> None:
        """The reply will begin with one of these."""
        self.expected.append(answers)
        self.unanswered += self.shell.client(command + b"\r\n").splitlines()

    @rule()
    def ask_something(self) -> None:
        self.serial += 1
        self.ask(b"SITE %d" % self.serial, b"200 %d." % self.serial)

    @rule(word=st.sampled_from([b"EPSV", b"EPSV 2"]))
    def ask_for_a_port(self, word: bytes) -> None:
        self.ask(word, b"229 ", b"425 ", b"500 EPSV?")

    @rule()
    def ask_for_a_long_port(self) -> None:
        self.ask(b"LPSV", *((b"501 ",) if self.only_extended else (b"228 ", b"425 ", b"500 LPSV?")))

    @rule()
    def name_a_port(self) -> None:
        self.ask(COMMANDS[5].strip(), *((b"501 ",) if self.only_extended else (b"200 EPRT", b"500 EPRT", b"425 ")))

    @rule()
    def ask_for_extended_only(self) -> None:
        self.only_extended = True
        self.ask(b"EPSV ALL", b"200 EPSV ALL")

    @rule(
        command=st.sampled_from(
            [(b"EPSV 1", b"522 "), (b"PASV", b"502 "), (COMMANDS[6].strip(), b"50"), (b"ALGS", b"504 ")]
        )
    )
    def ask_what_is_refused(self, command: tuple[bytes, bytes]) -> None:
        self.ask(*command)

    @rule(verb=st.sampled_from([b"RETR", b"STOR", b"XFER"]))
    def ask_for_data(self, verb: bytes) -> None:
        self.serial += 1
        self.ask(b"%b %d" % (verb, self.serial), b"226 %d." % self.serial, b"550 %d." % self.serial, b"425 ")

    # ------------------------------------------------------------ the server

    def reply(self, *lines: bytes) -> None:
        self.unanswered.popleft()
        for line in lines:
            self.shell.server(line + b"\r\n")
            self.unanswered += self.shell.take_server().splitlines()

    @precondition(lambda self: self.unanswered)
    @rule(good=st.booleans())
    def answer(self, good: bool) -> None:
        verb, _, number = self.unanswered[0].partition(b" ")
        match verb:
            case b"PASV" | b"EPSV" | b"PORT" if not good:
                self.reply(b"500 %b?" % verb)
            case b"PASV":
                self.reply(b"227 (10,0,0,1,4,1)")
            case b"EPSV":
                self.reply(b"229 (|||1025|)")
            case b"PORT":
                self.reply(b"200 PORT ok")
            case b"SITE":
                self.reply(b"200-first", b"200 %b." % number)
            case b"RETR" | b"STOR" | b"XFER":
                self.reply(b"150 %b." % number, b"226 %b." % number) if good else self.reply(b"550 %b." % number)
            case _:
                self.reply(b"200 NOOP ok" if good else b"530 log in")

    # ------------------------------------------------------------ data connections

    @precondition(lambda self: self.shell.has_channel)
    @rule(step=st.sampled_from(["accepted", "joined"]))
    def connect(self, step: str) -> None:
        session, channel = self.shell.session, self.shell.channel
        self.shell.obey((session.accepted if step == "accepted" else session.joined)(channel, self.shell.now))

    @precondition(lambda self: self.shell.has_channel)
    @rule()
    def fail(self) -> None:
        self.shell.failed()

    @rule(seconds=st.sampled_from([1.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.shell.wait(seconds)

    # ------------------------------------------------------------ what is always so

    @invariant()
    def replies_are_in_the_order_of_the_commands(self) -> None:
        lines = self.shell.stream(ToClient).splitlines()
        finals = [line for line in lines if line[:1] != b"1" and line[3:4] != b"-"]
        assert len(finals) <= len(self.expected)
        for line, answers in zip(finals, self.expected, strict=False):
            assert line.startswith(answers), (line, answers)

    @invariant()
    def the_server_hears_nothing_that_it_cannot_use(self) -> None:
        for line in self.shell.stream(ToServer).splitlines():
            assert not line.startswith((b"EPRT", b"LPRT", b"LPSV", b"EPSV "))
            assert not line.startswith(b"PORT ") or line.startswith(b"PORT 198,51,100,9,")

    @invariant()
    def data_goes_between_the_two_and_nobody_else(self) -> None:
        assert all(ipv4_of(action.to) == SERVER for action in self.shell.of(ConnectToServer))
        assert all(action.address == CLIENT for action in self.shell.of(ConnectToClient))

    @invariant()
    def nothing_is_dropped_twice_and_no_transfer_ends_twice(self) -> None:
        dropped = self.shell.dropped
        assert len(dropped) == len(set(dropped))
        begun, ended = self.shell.of(TransferBegun), self.shell.of(TransferEnded)
        assert len(ended) <= len(begun)

    def teardown(self) -> None:
        """All is answered in the end."""
        while self.unanswered:
            self.answer(True)
        self.replies_are_in_the_order_of_the_commands()
        lines = self.shell.stream(ToClient).splitlines()
        assert sum(line[:1] != b"1" and line[3:4] != b"-" for line in lines) == len(self.expected)
        assert len(self.shell.of(TransferEnded)) == len(self.shell.of(TransferBegun))
        assert self.shell.reads() == (True, True)
        self.shell.wait(1e6)
        self.shell.wait(1e6)
        assert self.shell.session.deadline is None


TestHonest = Honest.TestCase


@given(st.integers(0, 40))
def test_only_so_many_data_connections_are_open(count: int) -> None:
    shell = Shell()
    for _ in range(count):
        shell.client(COMMANDS[5] + b"LIST\r\n")
        shell.server(b"200 ok\r\n150 here\r\n226 done\r\n")
    opened, dropped = shell.of(ListenForServer), shell.of(DropData)
    assert len(opened) == count
    assert len(opened) - len(dropped) <= CHANNEL_LIMIT


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (b"", b"220 ready\r\n"),
        (b"x", b""),
        (b"NOOP\r\n", b""),
        (b"EPSV 1\r\n", b""),
        (b"EPSV 1\r\nSITE\r\n", b"200 ok\r\n"),
        (COMMANDS[5], b""),
        (COMMANDS[5], b"200 ok\r\n"),
        (b"EPSV\r\n", b"500-no\r\n"),
        (b"EPSV\r\n", b"227 (1,2,3,4,5,6)\r\n"),
        (b"AUTH TLS\r\n", b"xx"),
        (b"FEAT\r\n", b"211-\r\n" + b" EPSV\r\n"),
        (b"\xff\xfa", b"\xff\xfa"),
        (b"\xff", b"\xff"),
    ],
)
def test_little_is_kept_however_much_is_said_to_whoever_goes_on_reading(client: bytes, server: bytes) -> None:
    session = FtpSession(ENDS)
    tracemalloc.start()
    for channel in range(3000):
        session.client_said(client * 16 or b"\r\n", 1.0)
        session.server_said(server * 16 or b" ", 1.0)
        session.listening(channel, 1 + channel, 1.0)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 400_000
