# SPDX-License-Identifier: MIT
"""
The data connections of one FTP session.

The rules:

  1. A channel listens first, on the side of whoever connects. When that connection has come the channel is connected
     on, to the other side. Then it is joined, and the shell relays it.
  2. A channel gives way to the next one, unless its transfer has completed: then what is still in its buffers is
     delivered, and the two ends close it.
  3. Who is to connect gets so long: the client from the moment that it knows the port, the server from its
     preliminary reply on, since until then it may be looking for a tape (RFC 959 has no limit).
"""

from dataclasses import dataclass
from enum import Enum, auto

from miredo.faith.ftpactions import Action, ConnectToClient, ConnectToServer, DropData

DATA_TIMEOUT = 120.0
"""Seconds that a data connection may take to come, and again to be connected on; faithd's. RFC 6384 12: at least 30."""

CHANNEL_LIMIT = 8
"""Data connections that are awaited or in use at once. Ours: a client needs one, and one more when it pipelines."""


class Stage(Enum):
    OPENING = auto()
    LISTENING = auto()
    JOINING = auto()
    JOINED = auto()
    FAILED = auto()


@dataclass(slots=True, eq=False)
class Channel:
    """
    One data connection.

    @ivar onward: what connects it on when somebody has come.
    @ivar until: when patience ends with whoever is to connect.
    @ivar completed: its transfer has ended well.
    """

    number: int
    onward: ConnectToServer | ConnectToClient
    stage: Stage = Stage.OPENING
    until: float | None = None
    completed: bool = False


class Channels:
    """Those that are not over."""

    def __init__(self) -> None:
        self._live: dict[int, Channel] = {}
        self._serial = 0

    @property
    def deadline(self) -> float | None:
        return min((channel.until for channel in self._live.values() if channel.until is not None), default=None)

    def next_number(self) -> int:
        self._serial += 1
        return self._serial

    def get(self, number: int) -> Channel | None:
        return self._live.get(number)

    def add(self, channel: Channel) -> list[Action]:
        """Know another one; the oldest gives way if there are too many."""
        dropped: list[Action] = []
        if len(self._live) >= CHANNEL_LIMIT:
            dropped = self.fail(next(iter(self._live.values())))
        self._live[channel.number] = channel
        return dropped

    def listening(self, number: int, until: float | None) -> None:
        """Its listener is there."""
        channel = self._at(number, Stage.OPENING)
        if channel is not None:
            channel.stage, channel.until = Stage.LISTENING, until

    def awaited(self, channel: Channel | None, now: float) -> None:
        """The server has said that it is about to use the channel."""
        if channel is not None and channel.stage is Stage.LISTENING:
            channel.until = now + DATA_TIMEOUT

    def accepted(self, number: int, now: float) -> list[Action]:
        """Somebody has come."""
        channel = self._at(number, Stage.LISTENING)
        if channel is None:
            return []
        channel.stage, channel.until = Stage.JOINING, now + DATA_TIMEOUT
        return [channel.onward]

    def joined(self, number: int) -> None:
        """The other side is connected too."""
        channel = self._at(number, Stage.JOINING)
        if channel is not None:
            channel.stage, channel.until = Stage.JOINED, None
            self._forget_if_over(channel)

    def complete(self, channel: Channel, now: float) -> None:
        """Its transfer has ended well; that the connection was made may be heard of only after this."""
        channel.completed = True
        if channel.stage in (Stage.LISTENING, Stage.JOINING):
            channel.until = now + DATA_TIMEOUT
        self._forget_if_over(channel)

    def release(self, channel: Channel | None) -> list[Action]:
        """Another one takes its place."""
        if channel is None or channel.completed:
            return []
        return self.fail(channel)

    def fail(self, channel: Channel) -> list[Action]:
        """It can be used no more."""
        channel.stage = Stage.FAILED
        return [DropData(channel.number)] if self._live.pop(channel.number, None) else []

    def expire(self, now: float) -> list[Action]:
        """All those fail for which it is too late."""
        late = [each for each in self._live.values() if each.until is not None and each.until <= now]
        return [action for channel in late for action in self.fail(channel)]

    def drop_all(self) -> list[Action]:
        return [action for channel in list(self._live.values()) for action in self.fail(channel)]

    def drop_unjoined(self) -> list[Action]:
        """Those fail of which nobody will use the port any more."""
        unjoined = [channel for channel in self._live.values() if channel.stage is not Stage.JOINED]
        return [action for channel in unjoined for action in self.fail(channel)]

    def _at(self, number: int, stage: Stage) -> Channel | None:
        channel = self._live.get(number)
        return channel if channel is not None and channel.stage is stage else None

    def _forget_if_over(self, channel: Channel) -> None:
        if channel.completed and channel.stage is Stage.JOINED:
            self._live.pop(channel.number, None)
