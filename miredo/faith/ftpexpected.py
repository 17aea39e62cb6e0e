# SPDX-License-Identifier: MIT
"""What each reply of the server will be the answer to, and what the client is to hear in its place."""

from dataclasses import dataclass, field

from miredo.faith.ftpchannels import Channel, Stage
from miredo.faith.ftpcommands import FtpPolicy

LONGEST_REPLY = 8192
"""Bytes of a reply that are kept until its last line has come; only those to PASV are. Ours."""

ADDED = (b"EPRT", b"EPSV")
"""What a client can use, whatever the server can."""


@dataclass(slots=True)
class Plain:
    """A command that the server was told as it is; its reply goes to the client as it is."""

    verb: bytes


@dataclass(slots=True)
class Local:
    """
    A command that we answer ourselves, when its turn comes.

    @ivar synchronised: the server was told NOOP for it, and its reply is the turn (RFC 6384 12).
    """

    text: bytes
    synchronised: bool


@dataclass(slots=True)
class Transfer:
    """
    A command that uses a data connection.

    @ivar answered: the client has heard 425 already, and is to hear no more.
    """

    verb: bytes
    channel: Channel | None
    answered: bool = False

    @property
    def number(self) -> int | None:
        return None if self.channel is None else self.channel.number

    @property
    def has_failed(self) -> bool:
        """The server cannot know yet that it will get no data connection."""
        return self.channel is not None and self.channel.stage is Stage.FAILED and not self.answered


@dataclass(slots=True)
class Active:
    """The server was told PORT; C{before} is the channel that this one takes the place of."""

    word: bytes
    channel: Channel
    before: Channel | None


@dataclass(slots=True)
class Passive:
    """
    The server was told PASV, or EPSV if C{extended}.

    @ivar text: its reply so far.
    """

    word: bytes
    extended: bool
    text: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Securing:
    """AUTH: what the reply decides is whether anything is translated from here on (RFC 6384 5)."""


@dataclass(slots=True)
class Features:
    """FEAT: C{listed} are those of the features in L{ADDED} that the server has named so far."""

    listed: set[bytes] = field(default_factory=set)
    begun: bool = False

    def shown(self, line: bytes, last: bool, policy: FtpPolicy) -> bytes:
        """What the client sees of a line of the list: each feature stands behind a blank (RFC 2389 3.2)."""
        if line.startswith(b" "):
            name = line.upper().split()[0] if line.strip() else b""
            self.listed |= {name} & set(ADDED)
            return b"" if policy.hide_auth and name == b"AUTH" else line
        begun, self.begun = self.begun, True
        if not (begun and last and policy.add_features):
            return line
        return b"".join(b" %b\r\n" % name for name in ADDED if name not in self.listed) + line


Expected = Plain | Local | Transfer | Active | Passive | Securing | Features


@dataclass(slots=True)
class Reply:
    """
    A reply of which the end has not come.

    @ivar last: this is its last line.
    """

    code: int
    to: Expected | None
    last: bool
