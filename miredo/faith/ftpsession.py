# SPDX-License-Identifier: MIT
"""
The FTP gateway between a client on IPv6 and a server on IPv4: one control connection (RFC 6384, 2428, 1639, 959).

=====================  ========================  ===========================================================
The client says        the server is told        the client gets
=====================  ========================  ===========================================================
EPSV, EPSV 2           PASV (EPSV if refused)    229 (|||p|) for 227 or 229, p being a port of ours
LPSV                   PASV (EPSV if refused)    228 (6,16,address,2,p) for 227 or 229
EPSV 1, EPSV n         nothing                   522 Network protocol not supported, use (2)
EPSV ALL               nothing                   200, after which EPRT and the L-commands are 501; or 504
EPRT |2|address|p|     PORT of ours              its reply, with the name EPRT for PORT
LPRT 6,16,address,2,p  PORT of ours              its reply, with the name LPRT for PORT
EPRT, LPRT elsewhere   nothing                   501 illegal parameter to EPRT, LPRT
EPRT |1|, LPRT 4       nothing                   522 (2), 521 (6)
PORT, PASV             nothing                   502 PORT, PASV not implemented.
ALGS STATUS64 etc.     nothing                   216 EPSVEPRT, 216 NONE, 504
RETR STOR LIST etc.    the same                  its replies; or 425 if there is no data connection
AUTH                   the same                  its reply; good: nothing is translated any more; or 502
FEAT                   the same                  its reply, perhaps without AUTH, perhaps with EPRT and EPSV
anything else          the same                  the same (RFC 6384 10)
=====================  ========================  ===========================================================

The rules:

  1. The client gets a reply a command, in the order of the commands; preliminary replies (1xx) do not count. What we
     answer ourselves waits for its turn.
  2. "Nothing" is NOOP, unless the policy says otherwise, so that the server does not think the session idle; its reply
     is our turn (RFC 6384 12). What the reply says does not matter: before the login it is 530. (RFC 6384 would end
     the session.)
  3. A client that has asked for a port is not read until it has an answer; nor is one that has sent AUTH, nor one that
     has too many commands under way. While a listener is being opened the server is not read either. Nothing else
     waits: data connections are made beside the control connection.
  4. A reply 227 belongs to the one command that can have caused it, even if the server has left out replies before.
  5. Data connections go to the server's and the client's own addresses, and come from there, whatever they say of
     themselves (RFC 2577 3). A 227 of another host is that of a server behind a NAT; or 425, if the policy says so.
  6. A data connection that fails is 425 to the command that needs it, at once; what the server says later on to that
     command is not passed on.
"""

from collections import Counter, deque
from typing import NamedTuple, assert_never

from miredo.address.endpoint import IPv4, IPv6, endpoint, ipv4_of, port_of
from miredo.faith.ftpactions import (
    Action,
    CloseSession,
    ConnectToClient,
    ConnectToServer,
    EndToClient,
    EndToServer,
    Failure,
    GoTransparent,
    ListenForClient,
    ListenForServer,
    ToClient,
    ToServer,
    TransferBegun,
    TransferEnded,
)
from miredo.faith.ftpchannels import DATA_TIMEOUT, Channel, Channels, Stage
from miredo.faith.ftpcommands import (
    Answer,
    AskActive,
    AskPassive,
    Commands,
    Forward,
    ForwardAuth,
    ForwardData,
    ForwardFeatures,
    FtpPolicy,
    Meaning,
)
from miredo.faith.ftpexpected import (
    LONGEST_REPLY,
    Active,
    Expected,
    Features,
    Local,
    Passive,
    Plain,
    Reply,
    Securing,
    Transfer,
)
from miredo.faith.ftplines import LONGEST_LINE, Lines, Negotiation, Piece, Signal
from miredo.faith.ftpwords import (
    is_last_line,
    parse_reply_start,
    passive_endpoint,
    show_host_port,
    show_passive,
    with_word,
)

COMMAND_TOO_LONG = b"500 Command line too long\r\n"
NOT_OPENED = b"425 Cannot open data connection\r\n"
NOT_FROM_PASSIVE = b"500 could not translate from PASV\r\n"

EXPECTED_LIMIT = 32
"""Commands of one client that may be without their reply. Ours: no client pipelines that far."""

HELD_LIMIT = 65536
"""Bytes of one side that may wait for the other; who sends more although it is not read is not read again. Ours."""

CLOSING = 421
"""The server ends the session, whatever it was asked (RFC 959 4.2.2)."""

FEATURES, PASSIVE, EXTENDED_PASSIVE = 211, 227, 229

NOT_LOGGED_IN = range(530, 540)
"""Refusals that have nothing to do with the command (RFC 959 4.2.1)."""


class ControlEnds(NamedTuple):
    """
    The four addresses of the two control connections.

    @ivar destination: the IPv6 address that the client has connected to.
    @ivar source: the IPv4 address that the server sees.
    """

    client: IPv6
    destination: IPv6
    source: IPv4
    server: IPv4


DEFAULT_POLICY = FtpPolicy()


class FtpSession:
    """
    Bytes of the two control connections in, actions out.

    What became of an action is to be told when the whole list that it was in has been obeyed.

    @ivar translated: how many commands of each name the server was told in another way.
    @ivar failures: how many data connections were not to be had.
    """

    def __init__(self, ends: ControlEnds, policy: FtpPolicy = DEFAULT_POLICY) -> None:
        self._ends = ends
        self._policy = policy
        self._commands = Commands(ends.client, policy)
        self._client = Lines()
        self._server = Lines()
        self._expected: deque[Expected] = deque([Plain(b"")])  # the greeting
        self._reply: Reply | None = None
        self._within_line = False
        self._channels = Channels()
        self._latest: Channel | None = None
        self._opening: Active | Passive | None = None  # the latest channel's listener, for that
        self._knows_extended = False
        self._ended: set[type[EndToClient | EndToServer]] = set()
        self._transparent = False
        self._closed = False
        self._actions: list[Action] = []
        self.translated: Counter[str] = Counter()
        self.failures: Counter[Failure] = Counter()

    # ------------------------------------------------------------ what the shell asks

    @property
    def deadline(self) -> float | None:
        """When L{expire} is to be called."""
        return self._channels.deadline

    @property
    def reads_client(self) -> bool:
        """Whether the client's bytes are wanted; if not, they stay in its socket."""
        return not self._closed and (self._transparent or len(self._client) < LONGEST_LINE)

    @property
    def reads_server(self) -> bool:
        """Whether the server's bytes are wanted."""
        return not self._closed and (self._transparent or len(self._server) < LONGEST_LINE)

    # ------------------------------------------------------------ inputs: the control connections

    def client_said(self, data: bytes, now: float, urgent: bool = False) -> list[Action]:
        """Bytes of the client; if C{urgent}, the mark is on the last one."""
        if self._transparent:
            return [ToServer(data, urgent)] if data else []
        if self._closed:
            return []
        self._client.feed(data, urgent)
        return self._run(now)

    def server_said(self, data: bytes, now: float, urgent: bool = False) -> list[Action]:
        """Bytes of the server; if C{urgent}, the mark is on the last one."""
        if self._transparent:
            return [ToClient(data, urgent)] if data else []
        if self._closed:
            return []
        self._server.feed(data, urgent)
        return self._run(now)

    def client_ended(self, now: float) -> list[Action]:
        """The client will say no more; what it has said is still told to the server."""
        self._ended |= set() if self._closed else {EndToServer}
        return self._run(now)

    def server_ended(self, now: float) -> list[Action]:
        """The server will say no more; what it has said is still told to the client."""
        self._ended |= set() if self._closed else {EndToClient}
        return self._run(now)

    # ------------------------------------------------------------ inputs: what became of the actions

    def listening(self, channel: int, port: int, now: float) -> list[Action]:
        """The listener is there, on this port."""
        match self._opening_of(channel):
            case Active() as active:
                self._channels.listening(channel, None)
                self._send(ToServer, b"PORT %b\r\n" % show_host_port(endpoint(self._ends.source, port)))
                self.translated[active.word.decode()] += 1
                self._expected.append(active)
            case Passive(word):
                self._channels.listening(channel, now + DATA_TIMEOUT)
                self._expected.popleft()
                self._send(ToClient, show_passive(word, self._ends.destination, port))
            case None:
                pass
        return self._run(now)

    def accepted(self, channel: int, now: float) -> list[Action]:
        """The listener's one connection has come, from whom it was for."""
        self._actions += self._channels.accepted(channel, now)
        return self._run(now)

    def joined(self, channel: int, now: float) -> list[Action]:
        """The connection to the other side is there too."""
        self._channels.joined(channel)
        return self._run(now)

    def failed(self, channel: int, failure: Failure, now: float) -> list[Action]:
        """The listener or a connection could not be had."""
        found = self._channels.get(channel)
        if found is not None and found.stage is not Stage.JOINED:
            self.failures[failure] += 1
            self._actions += self._channels.fail(found)
            self._not_opened(self._opening_of(channel))
        return self._run(now)

    def expire(self, now: float) -> list[Action]:
        """The L{deadline} has passed."""
        dropped = self._channels.expire(now)
        self.failures[Failure.TIMED_OUT] += len(dropped)
        self._actions += dropped
        return self._run(now)

    # ------------------------------------------------------------ order

    def _run(self, now: float) -> list[Action]:
        """Take whatever may be taken now."""
        self._answer_turns()
        while not self._closed and (self._step_client() or self._step_server(now)):
            self._answer_turns()
        self._end_if_over(now)
        actions, self._actions = self._actions, []
        return actions

    def _step_client(self) -> bool:
        item = None if self._holds_client else self._client.next()
        match item:
            case None:
                return False
            case Piece():
                self._command_line(item)
            case _:
                self._telnet(item, ToServer, ToClient)
        return True

    def _step_server(self, now: float) -> bool:
        item = None if self._holds_both else self._server.next()
        match item:
            case None:
                return False
            case Piece():
                self._reply_line(item, now)
            case _:
                self._telnet(item, ToClient, ToServer)
        return True

    @property
    def _holds_both(self) -> bool:
        """A listener is being opened, and what comes of that is to be said first; or there is nothing to be taken."""
        return self._transparent or self._opening is not None

    @property
    def _holds_client(self) -> bool:
        if self._holds_both or len(self._expected) >= EXPECTED_LIMIT:
            return True
        return bool(self._expected) and isinstance(self._expected[-1], (Passive, Securing))

    def _end_if_over(self, now: float) -> None:
        """What cannot be taken any more, and what nobody will read."""
        if max(len(self._client), len(self._server)) > HELD_LIMIT:
            self._close("more than may wait was sent")
        if EndToServer in self._ended and (self._transparent or not self._holds_client):
            self._end(EndToServer())
        if EndToClient in self._ended and (self._transparent or not self._holds_both):
            self._reply_line(self._server.unfinished(), now)
            self._actions += self._channels.drop_unjoined()
            self._end(EndToClient())

    def _end(self, end: EndToClient | EndToServer) -> None:
        self._ended.discard(type(end))
        self._actions.append(end)

    def _close(self, reason: str) -> None:
        self._closed = True
        self._opening = None
        self._ended.clear()
        self._client, self._server = Lines(), Lines()
        self._actions += [*self._channels.drop_all(), CloseSession(reason)]

    # ------------------------------------------------------------ the client's side

    def _command_line(self, line: Piece) -> None:
        if not line.begins or not line.text.strip():
            return  # it has been answered already, or is no command
        if not line.ends:
            self._answer(COMMAND_TOO_LONG)
            return
        self._obey(self._commands.read(line.text), line)

    def _obey(self, meaning: Meaning, line: Piece) -> None:
        match meaning:
            case Answer(text):
                self._answer(text)
            case AskPassive(word):
                self._ask_passive(word, extended=self._knows_extended)
                self._expected.append(Passive(word, self._knows_extended))
            case AskActive(word, (address, port)):
                number = self._channels.next_number()
                channel = Channel(number, ConnectToClient(number, address, port, self._ends.destination))
                self._opening = Active(word, channel, before=self._latest)
                self._open(channel, ListenForServer(number, self._ends.source, self._ends.server))
            case ForwardData(verb):
                self._forward_data(verb, line)
            case Forward(verb):
                self._forward(line, Plain(verb))
            case ForwardAuth():
                self._forward(line, Securing())
            case ForwardFeatures():
                self._forward(line, Features())
            case other:
                assert_never(other)

    def _forward(self, line: Piece, expected: Expected) -> None:
        self._send(ToServer, line.text, line.mark)
        self._expected.append(expected)

    def _forward_data(self, verb: bytes, line: Piece) -> None:
        """It has its data connection, or will have; or the client will hear that it has none."""
        channel = None if self._latest is None or self._latest.completed else self._latest
        if channel is not None and channel.stage is Stage.FAILED:
            self._answer(NOT_OPENED)
            return
        self._forward(line, transfer := Transfer(verb, channel))
        self._actions.append(TransferBegun(transfer.number, verb))

    def _answer(self, text: bytes) -> None:
        """In its turn; the server is told something that has no effect."""
        if self._policy.synchronise:
            self._send(ToServer, b"NOOP\r\n")
        self._expected.append(Local(text, self._policy.synchronise))

    def _ask_passive(self, word: bytes, *, extended: bool) -> None:
        self._send(ToServer, b"EPSV\r\n" if extended else b"PASV\r\n")
        self.translated[word.decode()] += 1

    # ------------------------------------------------------------ data connections

    def _open(self, channel: Channel, listen: ListenForClient | ListenForServer) -> None:
        self._actions += self._channels.add(channel)
        self._actions.append(listen)
        self._latest = channel

    def _opening_of(self, number: int) -> Active | Passive | None:
        """For what the listener of that channel was awaited, if it was."""
        if self._latest is None or self._latest.number != number:
            return None
        opening, self._opening = self._opening, None
        return opening

    def _not_opened(self, opening: Active | Passive | None) -> None:
        match opening:
            case Active():
                self._answer(NOT_OPENED)
            case Passive():
                self._expected.popleft()
                self._send(ToClient, NOT_OPENED)
            case None:
                pass

    # ------------------------------------------------------------ the server's side

    def _reply_line(self, line: Piece, now: float) -> None:
        if line.begins and self._reply is None:
            self._begin_reply(line.text)
        elif line.begins and self._reply is not None:
            self._reply.last = is_last_line(line.text, self._reply.code)
        reply = self._reply
        self._within_line = not line.ends
        self._tell(line, reply)
        if reply is not None and reply.last and line.ends:
            self._reply = None
            self._replied(reply.code, reply.to, now)

    def _begin_reply(self, line: bytes) -> None:
        start = parse_reply_start(line)
        if start is not None:
            self._reply = Reply(start.code, self._asked_for(start.code), last=not start.more)

    def _asked_for(self, code: int) -> Expected | None:
        """What this is the reply to; C{None} if it answers nothing."""
        if code == CLOSING or not self._expected:
            return None
        head, last = self._expected[0], self._expected[-1]
        if isinstance(last, Passive) and code in (PASSIVE, EXTENDED_PASSIVE):
            self._skip_to(last)
            return last
        return None if isinstance(head, Passive) and code < 400 else head

    def _skip_to(self, last: Passive) -> None:
        """The server has left out the replies to all that was before."""
        while (skipped := self._expected[0]) is not last:
            self._expected.popleft()
            match skipped:
                case Local(text):
                    self._send(ToClient, text)
                case Transfer(answered=False):
                    self._actions.append(TransferEnded(skipped.number, 0))
                case Active(before=before):
                    self._actions += self._channels.release(before)
                case _:
                    pass

    def _tell(self, line: Piece, reply: Reply | None) -> None:
        """What of a line of the server the client gets to see."""
        match None if reply is None else reply.to:
            case Local() | Transfer(answered=True):
                pass
            case Passive(text=text):
                text += line.text if len(text) <= LONGEST_REPLY else b""
            case Active(word=word):
                self._send(ToClient, with_word(line.text, b"PORT", word))
            case Features() as features if reply is not None and line.begins and line.ends:
                self._send(ToClient, features.shown(line.text, reply.last and reply.code == FEATURES, self._policy))
            case _:
                self._send(ToClient, line.text, line.mark)

    def _replied(self, code: int, to: Expected | None, now: float) -> None:
        """A reply has been told as a whole."""
        if to is None:
            return
        if code < 200:
            self._preliminary(to, now)
            return
        if isinstance(to, Passive):
            self._passive_replied(code, to)
            return
        self._expected.popleft()
        match to:
            case Local(text):
                self._send(ToClient, text)
            case Transfer():
                self._transferred(code, to, now)
            case Active(channel=channel, before=before):
                self._actions += self._channels.release(before)
                if code >= 400:
                    self._actions += self._channels.fail(channel)
                    self._latest = None if self._latest is channel else self._latest
            case Securing() if code < 400:
                self._go_transparent()
            case _:
                pass

    def _preliminary(self, to: Expected, now: float) -> None:
        """Whatever has a preliminary reply after a port was agreed on is a transfer (RFC 959 4.2.1)."""
        if isinstance(to, Plain) and to.verb and self._latest is not None and not self._latest.completed:
            to = self._expected[0] = Transfer(to.verb, self._latest)
            self._actions.append(TransferBegun(to.number, to.verb))
        if isinstance(to, Transfer):
            self._channels.awaited(to.channel, now)

    def _transferred(self, code: int, to: Transfer, now: float) -> None:
        if not to.answered:
            self._actions.append(TransferEnded(to.number, code))
        if to.channel is not None and code < 300:
            self._channels.complete(to.channel, now)

    def _passive_replied(self, code: int, to: Passive) -> None:
        text = bytes(to.text)
        to.text.clear()
        if code < 400:
            self._passive_agreed(text, to, extended=code == EXTENDED_PASSIVE)
        elif code >= 500 and code not in NOT_LOGGED_IN and not to.extended:
            to.extended = True
            self._send(ToServer, b"EPSV\r\n")
        else:
            self._knows_extended = False
            self._expected.popleft()
            asked = b"EPSV" if to.extended else b"PASV"
            self._send(ToClient, with_word(text, asked, to.word) if len(text) <= LONGEST_REPLY else NOT_FROM_PASSIVE)

    def _passive_agreed(self, text: bytes, to: Passive, *, extended: bool) -> None:
        """The server listens; RFC 6384 6: at its own address, or so we think."""
        server = self._ends.server
        at = passive_endpoint(server, text[3:], extended)
        self._knows_extended = to.extended
        if at is None or (self._policy.strict_host and ipv4_of(at) != server):
            self._expected.popleft()
            self._send(ToClient, NOT_FROM_PASSIVE if at is None else NOT_OPENED)
            return
        number = self._channels.next_number()
        channel = Channel(number, ConnectToServer(number, endpoint(server, port_of(at))))
        self._actions += self._channels.release(self._latest)
        self._opening = to
        self._open(channel, ListenForClient(number, self._ends.destination, self._ends.client))

    def _go_transparent(self) -> None:
        """RFC 6384 5: all that has come already, too."""
        self._transparent = True
        self._actions += [*self._channels.drop_unjoined(), GoTransparent()]
        self._actions += [ToServer(data, urgent) for data, urgent in self._client.rest()]
        self._actions += [ToClient(data, urgent) for data, urgent in self._server.rest()]

    # ------------------------------------------------------------ what is said

    def _answer_turns(self) -> None:
        """What the client is to hear from us, as far as it is its turn."""
        while self._expected and self._reply is None and not self._within_line:
            match self._expected[0]:
                case Local(text, synchronised=False):
                    self._expected.popleft()
                    self._send(ToClient, text)
                case Transfer(has_failed=True) as transfer:
                    transfer.answered = True
                    self._send(ToClient, NOT_OPENED)
                    self._actions.append(TransferEnded(transfer.number, 425))
                case _:
                    return

    def _telnet(
        self, item: Signal | Negotiation, on: type[ToServer | ToClient], back: type[ToServer | ToClient]
    ) -> None:
        if isinstance(item, Signal):
            self._send(on, item.text, item.mark)
        else:
            self._send(back, item.refusal)

    def _send(self, to: type[ToServer | ToClient], data: bytes, mark: int | None = None) -> None:
        cut = 0 if mark is None else mark + 1
        if cut:
            self._actions.append(to(data[:cut], urgent=True))
        if data[cut:]:
            self._actions.append(to(data[cut:]))
