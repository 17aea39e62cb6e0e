# SPDX-License-Identifier: MIT
"""
What the FTP gateway asks its shell to do, in the order in which it is to be done.

A I{channel} is the number of one data connection of a session. The shell listens and connects when it is asked to,
tells the session how that went, and relays the data itself. A channel that nobody knows any more may be dropped, and
may be told about: both do nothing.
"""

from dataclasses import dataclass
from enum import Enum

from miredo.address.endpoint import Endpoint, IPv4, IPv6


class Failure(Enum):
    """Why there is no data connection; the client hears 425 for each."""

    NO_LISTENER = "no listener"
    NO_CONNECTION = "no connection"
    TIMED_OUT = "timed out"
    NOT_PERMITTED = "not permitted by the access list"


@dataclass(frozen=True, slots=True)
class ToClient:
    """Send this to the client; the last byte is urgent data (MSG_OOB) if C{urgent}."""

    data: bytes
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class ToServer:
    """Send this to the server; the last byte is urgent data (MSG_OOB) if C{urgent}."""

    data: bytes
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class EndToClient:
    """Nothing more goes to the client: shut that direction down after what was sent."""


@dataclass(frozen=True, slots=True)
class EndToServer:
    """Nothing more goes to the server: shut that direction down after what was sent."""


@dataclass(frozen=True, slots=True)
class ListenForClient:
    """Listen on any port of C{at} for one connection, from C{client} and nobody else."""

    channel: int
    at: IPv6
    client: IPv6


@dataclass(frozen=True, slots=True)
class ListenForServer:
    """Listen on any port of C{at} for one connection, from C{server} and nobody else."""

    channel: int
    at: IPv4
    server: IPv4


@dataclass(frozen=True, slots=True)
class ConnectToServer:
    """Connect the channel on, to where the server listens."""

    channel: int
    to: Endpoint


@dataclass(frozen=True, slots=True)
class ConnectToClient:
    """Connect the channel on, to where the client listens; C{source}, port 20 if that may be had, is what it sees."""

    channel: int
    address: IPv6
    port: int
    source: IPv6


@dataclass(frozen=True, slots=True)
class DropData:
    """Close the channel's listener and reset its connections."""

    channel: int


@dataclass(frozen=True, slots=True)
class TransferBegun:
    """A command that uses a data connection is under way; the session is not idle until it has ended."""

    channel: int | None
    verb: bytes


@dataclass(frozen=True, slots=True)
class TransferEnded:
    """It had its last reply."""

    channel: int | None
    code: int


@dataclass(frozen=True, slots=True)
class GoTransparent:
    """Both directions are copied as they are from now on; the session need not see the bytes any more."""


@dataclass(frozen=True, slots=True)
class CloseSession:
    """Close both control connections; whoever sends without end while it is not read gets no more attention."""

    reason: str


Action = (
    ToClient
    | ToServer
    | EndToClient
    | EndToServer
    | ListenForClient
    | ListenForServer
    | ConnectToServer
    | ConnectToClient
    | DropData
    | TransferBegun
    | TransferEnded
    | GoTransparent
    | CloseSession
)
