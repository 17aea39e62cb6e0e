# SPDX-License-Identifier: MIT
"""A shell without sockets around an FTP session: it obeys at once, and remembers."""

from typing import TypeVar

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.faith.ftpactions import (
    Action,
    CloseSession,
    ConnectToClient,
    ConnectToServer,
    DropData,
    Failure,
    ListenForClient,
    ListenForServer,
    ToClient,
    ToServer,
)
from miredo.faith.ftpcommands import FtpPolicy
from miredo.faith.ftpsession import ControlEnds, FtpSession

CLIENT = parse_ipv6("2001:db8::c")
DESTINATION = parse_ipv6("64:ff9b::192.0.2.31")
SOURCE = parse_ipv4("198.51.100.9")
SERVER = parse_ipv4("192.0.2.31")
ENDS = ControlEnds(CLIENT, DESTINATION, SOURCE, SERVER)
GREETING = b"220 ready\r\n"
EXTENDED_PORT = b"EPRT |2|2001:db8::c|5282|\r\n"
PORT = b"PORT 198,51,100,9,156,64\r\n"
AGREED = b"227 Entering Passive Mode (192,0,2,31,237,19)\r\n"
EXTENDED = b"229 Entering Extended Passive Mode (|||40000|)\r\n"
NOT_OPENED = b"425 Cannot open data connection\r\n"
FIRST_PORT = 40000
"""Of the listeners that are opened; the next one has the next number."""

LONG_DESTINATION = b",".join(b"%d" % octet for octet in DESTINATION)
LONG_CLIENT = b",".join(b"%d" % octet for octet in CLIENT)

Kind = TypeVar("Kind", bound=Action)
Sending = type[ToClient] | type[ToServer]
Connecting = ConnectToServer | ConnectToClient


class Shell:
    """
    What it was told to send is there until it is asked for.

    @ivar opens: whether listeners are opened, or fail.
    @ivar done: all that it was told to do, in order.
    """

    def __init__(self, policy: FtpPolicy | None = None, *, greeted: bool = True, opens: bool = True) -> None:
        self.session = FtpSession(ENDS, policy if policy is not None else FtpPolicy(synchronise=False))
        self.opens = opens
        self.now = 1.0
        self.done: list[Action] = []
        self._port = FIRST_PORT
        self._marks: list[tuple[Sending, int]] = []
        self._said: dict[Sending, bytearray] = {ToClient: bytearray(), ToServer: bytearray()}
        self._asked: dict[Sending, bytearray] = {ToClient: bytearray(), ToServer: bytearray()}
        if greeted:
            assert self.server(GREETING) == GREETING
            self.take_server()

    # ------------------------------------------------------------ the two peers

    def client(self, data: bytes, urgent: bool = False) -> bytes:
        """The client says this; what the server hears."""
        self.obey(self.session.client_said(data, self.now, urgent))
        return self.take_server()

    def server(self, data: bytes, urgent: bool = False) -> bytes:
        """The server says this; what the client hears."""
        self.obey(self.session.server_said(data, self.now, urgent))
        return self.take_client()

    def take_client(self) -> bytes:
        return self._take(ToClient)

    def take_server(self) -> bytes:
        return self._take(ToServer)

    def marks(self, to: Sending) -> list[int]:
        """Offsets of urgent bytes in all that was ever sent there."""
        return [offset for kind, offset in self._marks if kind is to]

    def stream(self, to: Sending) -> bytes:
        """All that was ever sent there."""
        return bytes(self._said[to])

    # ------------------------------------------------------------ data connections

    def connected(self) -> Connecting:
        """Who is to connect has come to the newest listener; where the session goes on to."""
        self.obey(self.session.accepted(self.channel, self.now))
        onward = self.done[-1]
        assert isinstance(onward, ConnectToServer | ConnectToClient)
        return onward

    def joined(self) -> Connecting:
        onward = self.connected()
        self.obey(self.session.joined(onward.channel, self.now))
        return onward

    def failed(self, failure: Failure = Failure.NO_CONNECTION) -> bytes:
        """The newest data connection cannot be had; what the client hears."""
        self.obey(self.session.failed(self.channel, failure, self.now))
        return self.take_client()

    def wait(self, seconds: float) -> bytes:
        """So much time passes; what the client hears meanwhile."""
        self.now += seconds
        deadline = self.session.deadline
        if deadline is not None and deadline <= self.now:
            self.obey(self.session.expire(self.now))
            assert self.session.deadline is None or self.session.deadline > self.now
        return self.take_client()

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [action for action in self.done if isinstance(action, kind)]

    @property
    def channel(self) -> int:
        """The newest."""
        return max(action.channel for action in self.done if isinstance(action, ListenForClient | ListenForServer))

    @property
    def has_channel(self) -> bool:
        return any(isinstance(action, ListenForClient | ListenForServer) for action in self.done)

    @property
    def dropped(self) -> list[int]:
        return [action.channel for action in self.of(DropData)]

    def reads(self) -> tuple[bool, bool]:
        """Whether it wants to hear the client, and the server."""
        return self.session.reads_client, self.session.reads_server

    @property
    def is_closed(self) -> bool:
        return bool(self.of(CloseSession))

    # ------------------------------------------------------------ obeying

    def obey(self, actions: list[Action]) -> None:
        listeners = []
        for action in actions:
            self.done.append(action)
            match action:
                case ToClient(data, urgent) | ToServer(data, urgent):
                    self._say(type(action), data, urgent)
                case ListenForClient(channel) | ListenForServer(channel):
                    listeners.append(channel)
                case _:
                    pass
        for channel in listeners:
            self.obey(self._listen(channel))

    def _listen(self, channel: int) -> list[Action]:
        if not self.opens:
            return self.session.failed(channel, Failure.NO_LISTENER, self.now)
        port, self._port = self._port, self._port + 1
        return self.session.listening(channel, port, self.now)

    def _say(self, to: Sending, data: bytes, urgent: bool) -> None:
        assert data
        self._said[to] += data
        self._asked[to] += data
        if urgent:
            self._marks.append((to, len(self._said[to]) - 1))

    def _take(self, to: Sending) -> bytes:
        taken = bytes(self._asked[to])
        self._asked[to].clear()
        return taken


def passive(policy: FtpPolicy | None = None) -> Shell:
    """A client that knows where to connect to."""
    shell = Shell(policy)
    assert shell.client(b"EPSV\r\n") == b"PASV\r\n"
    assert shell.server(AGREED) == EXTENDED
    return shell


def active() -> Shell:
    """A server that knows where to connect to."""
    shell = Shell()
    assert shell.client(EXTENDED_PORT) == PORT
    assert shell.server(b"200 PORT command successful\r\n") == b"200 EPRT command successful\r\n"
    return shell
