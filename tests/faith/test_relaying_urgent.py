# SPDX-License-Identifier: MIT
"""
Urgent data comes out of the relay as it comes out of a direct connection.

Two urgent bytes that are under way at once become one in TCP itself, so where nothing waits only the last mark counts.
"""

import socket
import time
from contextlib import suppress
from functools import partial

import pytest

from miredo.faith.pipes import MOST, Pipes
from miredo.faith.relaying_events import READABLE, Side
from miredo.faith.relaying_flow import BUFFER, Flow
from tests.faith.relaying_lane import LIMIT, Answer, Pair, elsewhere, fill, lane, listening, read_marks, say
from tests.namespaced import run_reactor

Script = list[tuple[bytes, bool]]

BULK = bytes(range(256)) * 800
"""More than a socket's first buffers, not yet spliced."""

SPLICED = bytes(range(256)) * 12_000

SCRIPTS: dict[str, Script] = {
    "synch": [(b"abc\xff", False), (b"\xf2", True), (b"def", False)],
    "first": [(b"X", True), (b"yz", False)],
    "last": [(b"abc", False), (b"X", True)],
    "two": [(b"ab", False), (b"X", True), (b"cd", False), (b"Y", True), (b"ef", False)],
    "end-of-three": [(b"ab", False), (b"XYZ", True), (b"cd", False)],
    "rlogin": [(b"\x80", True), (b"$ ", False)],
    "bulk": [(BULK[:200_000], False), (b"X", True), (BULK[:200_000], False)],
    "spliced": [(SPLICED, False), (b"X", True), (SPLICED, False), (b"Y", True), (SPLICED, False)],
}
MARKS = {
    "synch": [4],
    "first": [0],
    "last": [3],
    "two": [2, 5],
    "end-of-three": [4],
    "rlogin": [0],
    "bulk": [200_000],
    "spliced": [3_072_000, 6_144_001],
}
SLOW, FAST = (5, 0.02), (20, 0.0)
every_script = pytest.mark.parametrize("name", SCRIPTS)
both_ways = pytest.mark.parametrize("upward", [True, False], ids=["upward", "downward"])


def direct_pair() -> Pair:
    with listening(socket.AF_INET, "127.0.0.1") as listener:
        client = socket.create_connection(listener.getsockname(), LIMIT)
        return client, listener.accept()[0]


async def answer(speaker: socket.socket, reader: socket.socket, script: Script, gap: float) -> Answer:
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    say_nothing: Answer = b"", []

    def speak() -> Answer:
        say(speaker, script, gap)
        return say_nothing

    with speaker, reader:
        return (await elsewhere(speak, lambda: read_marks(reader)))[1]


async def both_answers(name: str, upward: bool, gap: float) -> tuple[Answer, Answer]:
    """Through the relay, and direct."""
    with lane() as opened:
        client, server = await opened.pair()
        speaker, reader = (client, server) if upward else (server, client)
        relayed = await answer(speaker, reader, SCRIPTS[name], gap)
        ended = await opened.over()
        data, urgent = (ended.upward, ended.urgent_upward) if upward else (ended.downward, ended.urgent_downward)
        assert data == len(relayed[0])
        assert urgent >= len(relayed[1])
    return relayed, await answer(*direct_pair(), SCRIPTS[name], gap)


@every_script
@both_ways
@pytest.mark.namespaced
def test_marks_stand_where_they_stood_when_there_is_time(name: str, upward: bool, closes_descriptors: None) -> None:
    async def body() -> None:
        runs, gap = SLOW
        for _ in range(runs):
            relayed, direct = await both_answers(name, upward, gap)
            assert relayed == direct
            assert relayed[1] == MARKS[name]

    run_reactor(body(), timeout=50)


@every_script
@both_ways
@pytest.mark.namespaced
def test_data_and_the_last_mark_stand_when_there_is_no_time(name: str, upward: bool, closes_descriptors: None) -> None:
    async def body() -> None:
        runs, gap = FAST
        for _ in range(runs):
            relayed, direct = await both_answers(name, upward, gap)
            assert relayed[0] == direct[0] == b"".join(piece for piece, _ in SCRIPTS[name])
            assert relayed[1][-1] == direct[1][-1] == MARKS[name][-1]
            assert set(relayed[1]) <= set(MARKS[name])

    run_reactor(body(), timeout=50)


@both_ways
@pytest.mark.parametrize("most", [MOST, 0], ids=["pipes", "no-pipes"])
@pytest.mark.namespaced
def test_an_urgent_byte_waits_for_room_and_stays_in_its_place(
    upward: bool, most: int, closes_descriptors: None
) -> None:
    async def body() -> None:
        with lane(pipes=Pipes(most)) as opened:
            client, server = await opened.pair()
            speaker, reader = (client, server) if upward else (server, client)
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            (sent,) = await elsewhere(partial(fill, speaker))
            speaker.setblocking(True)
            _, (data, marks) = await elsewhere(partial(urge, speaker), partial(read_late, reader))
            assert (data == bytes(sent) + b"X.", marks) == (True, [sent])

    run_reactor(body(), timeout=40)


@pytest.mark.namespaced
def test_an_urgent_byte_that_finds_no_room_is_urgent_when_it_leaves(closes_descriptors: None) -> None:
    (near, source), (sink, far) = direct_pair(), direct_pair()
    for connection in (source, sink, far):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    sent = fill(sink) + top_up(sink)
    sides = Side(source), Side(sink)
    source.setblocking(False)
    for side in sides:
        side.readable = side.writable = True
    flow = Flow(*sides, memoryview(bytearray(BUFFER)), Pipes())
    near.send(b"X", socket.MSG_OOB)
    assert not flow.pump()
    assert (flow.holding, flow.urgent, sides[1].writable) == (1, 0, False)
    near.send(b"yz")
    assert far.recv(sent, socket.MSG_WAITALL) == bytes(sent)
    sides[0].readable = sides[1].writable = True
    flow.pump()
    near.close()
    sides[0].note(READABLE)
    flow.pump()
    assert (flow.holding, flow.urgent, flow.ended) == (0, 1, True)
    assert read_marks(far) == (b"Xyz", [0])
    for connection in (source, sink, far):
        connection.close()


def top_up(connection: socket.socket) -> int:
    """Leave no room for a byte; how many had room yet."""
    connection.setblocking(False)
    sent = 0
    with suppress(BlockingIOError):
        while True:
            sent += connection.send(bytes(1))
    return sent


def urge(speaker: socket.socket) -> Answer:
    speaker.send(b"X", socket.MSG_OOB)
    speaker.send(b".")
    speaker.shutdown(socket.SHUT_WR)
    return b"", []


def read_late(reader: socket.socket) -> Answer:
    time.sleep(0.1)
    return read_marks(reader)
