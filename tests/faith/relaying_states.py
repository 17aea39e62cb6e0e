# SPDX-License-Identifier: MIT
"""What two ends of a relay may have done when something happens."""

import socket
from collections.abc import Callable, Coroutine
from functools import partial

import pytest
from twisted.internet.defer import Deferred

from tests.faith.relaying_lane import (
    Pair,
    elsewhere,
    fill,
    heard,
    readable,
)
from tests.namespaced import until

State = Callable[[socket.socket, socket.socket], Coroutine[Deferred[object], object, None]]

both_sides = pytest.mark.parametrize("who", ["client", "server"])


def ordered(who: str, pair: Pair) -> Pair:
    """The socket of C{who} first."""
    return pair if who == "client" else (pair[1], pair[0])


async def nothing(first: socket.socket, second: socket.socket) -> None:
    """As they are after the connection stands."""


async def talked(first: socket.socket, second: socket.socket) -> None:
    first.sendall(b"a")
    assert await heard(second) == b"a"


async def first_ended(first: socket.socket, second: socket.socket) -> None:
    first.shutdown(socket.SHUT_WR)
    assert await heard(second) == b""


async def second_ended(first: socket.socket, second: socket.socket) -> None:
    second.shutdown(socket.SHUT_WR)
    assert await heard(first) == b""


async def first_blocked(first: socket.socket, second: socket.socket) -> None:
    """The second reads nothing of what the first sends."""
    await elsewhere(partial(fill, first))


async def second_blocked(first: socket.socket, second: socket.socket) -> None:
    await elsewhere(partial(fill, second))


async def both_blocked(first: socket.socket, second: socket.socket) -> None:
    await elsewhere(partial(fill, first), partial(fill, second))


async def unread(first: socket.socket, second: socket.socket) -> None:
    second.sendall(b"unread")
    await until(lambda: readable(first))


STATES: list[State] = [nothing, talked, first_ended, second_ended, first_blocked, second_blocked, both_blocked, unread]

in_every_state = pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
