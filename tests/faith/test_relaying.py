# SPDX-License-Identifier: MIT
"""A relayed connection is like a direct one in its bytes and its two ends, and leaves nothing behind."""

import gc
import os
import socket
import time
from collections import Counter
from functools import partial

import pytest

from miredo.faith import relaying_flow
from miredo.faith.pipes import CAPACITY, MOST, Pipes
from miredo.faith.relaying import Ended, Reason, Relay, Relays, Terms
from miredo.faith.relaying_events import Side
from miredo.faith.relaying_flow import BUFFER, ROUNDS, Flow
from miredo.kernel.memory import MemoryClock
from tests.faith.relaying_lane import (
    LIMIT,
    Lane,
    elsewhere,
    fill,
    heard,
    heard_all,
    lane,
    listening,
    readable,
    reset,
)
from tests.faith.relaying_states import STATES, both_sides, ordered, talked
from tests.namespaced import install_reactor, open_descriptors, pause, run_reactor, until

PATTERN = bytes(range(251)) * 4096


@pytest.mark.namespaced
def test_bytes_pass_both_ways_and_are_counted(closes_descriptors: None) -> None:
    async def body() -> None:
        with lane() as opened:
            client, server = await opened.pair()
            client.sendall(b"login: ")
            assert await heard(server) == b"login: "
            server.sendall(b"guest")
            assert await heard(client) == b"guest"
            client.close()
            assert await heard(server) == b""
            server.close()
            assert await opened.over() == Ended(Reason.FINISHED, 0, 7, 5, 0, 0, half_closed=False)

    run_reactor(body())


@pytest.mark.namespaced
def test_what_comes_before_the_server_answers_waits_for_it(closes_descriptors: None) -> None:
    async def body() -> None:
        with lane() as opened:
            client = opened.client()
            client.sendall(b"early")
            client.shutdown(socket.SHUT_WR)
            await until(lambda: readable(opened.server))
            server, _ = opened.server.accept()
            with server:
                assert await heard(server) == b"early"
                assert await heard(server) == b""

    run_reactor(body())


@pytest.mark.parametrize("rounds", [ROUNDS, 1], ids=["pieces", "a-piece-at-a-time"])
@pytest.mark.parametrize("size", [1, 100, BUFFER - 1, BUFFER, BUFFER + 1, 20_000_000])
@pytest.mark.namespaced
def test_bulk_arrives_whole_both_ways_at_once(
    size: int, rounds: int, monkeypatch: pytest.MonkeyPatch, closes_descriptors: None
) -> None:
    monkeypatch.setattr(relaying_flow, "ROUNDS", rounds)
    data = (PATTERN * (size // len(PATTERN) + 1))[:size]

    def talk(connection: socket.socket) -> bytes:
        came = bytearray()
        with connection:
            connection.settimeout(LIMIT)
            while len(came) < size and (piece := connection.recv(1 << 20)):
                came += piece
        return bytes(came)

    def shout(connection: socket.socket) -> bytes:
        connection.settimeout(LIMIT)
        connection.sendall(data)
        return b""

    async def body() -> None:
        with lane() as opened:
            client, server = await opened.pair()
            copies = [client.dup(), server.dup()]
            outcome = await elsewhere(
                lambda: shout(copies[0]), lambda: shout(copies[1]), lambda: talk(client), lambda: talk(server)
            )
            for copy in copies:
                copy.close()
            assert outcome[2] == outcome[3] == data
            ended = await opened.over()
            assert (ended.reason, ended.upward, ended.downward) == (Reason.FINISHED, size, size)
            assert opened.relays.pipes.in_use == 0

    run_reactor(body(), timeout=40)


@both_sides
@pytest.mark.namespaced
def test_one_half_goes_on_when_the_other_has_ended(who: str, closes_descriptors: None) -> None:
    async def body() -> None:
        with lane() as opened:
            first, second = ordered(who, await opened.pair())
            first.sendall(b"question")
            first.shutdown(socket.SHUT_WR)
            assert await heard_all(second, 8) == b"question"
            assert await heard(second) == b""
            await pause(0.05)
            for _ in range(3):
                second.sendall(PATTERN[:1000])
                assert await heard_all(first, 1000) == PATTERN[:1000]
            assert opened.ended == []
            second.shutdown(socket.SHUT_WR)
            assert await heard(first) == b""
            ended = await opened.over()
            assert (ended.reason, ended.half_closed) == (Reason.FINISHED, True)
            assert {ended.upward, ended.downward} == {8, 3000}

    run_reactor(body())


@both_sides
@pytest.mark.namespaced
def test_an_end_waits_for_what_was_sent_before_it(who: str, closes_descriptors: None) -> None:
    async def body() -> None:
        with lane() as opened:
            first, second = ordered(who, await opened.pair())
            (sent,) = await elsewhere(partial(fill, first))
            first.close()
            await pause(0.05)
            assert opened.ended == []
            assert len(await heard_all(second, sent)) == sent
            assert await heard(second) == b""
            second.close()
            assert (await opened.over()).reason is Reason.FINISHED

    run_reactor(body(), timeout=30)


@both_sides
@pytest.mark.parametrize(("most", "bound"), [(MOST, CAPACITY), (0, BUFFER)], ids=["pipes", "no-pipes"])
@pytest.mark.parametrize("rounds", [ROUNDS, 1], ids=["pieces", "a-piece-at-a-time"])
@pytest.mark.namespaced
def test_a_slow_reader_slows_down_the_sender_and_costs_bounded_memory(
    who: str, most: int, bound: int, rounds: int, monkeypatch: pytest.MonkeyPatch, closes_descriptors: None
) -> None:
    monkeypatch.setattr(relaying_flow, "ROUNDS", rounds)

    async def body() -> None:
        with lane(pipes=Pipes(most)) as opened:
            first, second = ordered(who, await opened.pair())
            sent = (await elsewhere(lambda: fill(first)))[0]
            (session,) = opened.relays.sessions
            assert 0 < sum(session.holding) <= bound
            assert opened.relays.pipes.in_use <= 1
            came = (await elsewhere(lambda: taken(second, sent)))[0]
            assert came == sent
            first.sendall(b"more")
            assert await heard_all(second, 4) == b"more"
            assert session.holding == (0, 0)
            assert opened.relays.pipes.in_use == 0

    run_reactor(body(), timeout=30)


def taken(connection: socket.socket, count: int) -> int:
    """Read so much in small pieces."""
    connection.settimeout(LIMIT)
    came = 0
    while came < count:
        came += len(connection.recv(4096))
    return came


@pytest.mark.namespaced
def test_an_aborted_session_resets_both(closes_descriptors: None) -> None:
    async def body() -> None:
        with lane() as opened:
            client, server = await opened.pair()
            await talked(client, server)
            (session,) = opened.relays.sessions
            session.abort()
            session.abort()
            assert [ended.reason for ended in opened.ended] == [Reason.ABORTED]
            assert await heard(client) is None
            assert await heard(server) is None

    run_reactor(body())


@pytest.mark.namespaced
def test_two_connected_sockets_can_be_joined(closes_descriptors: None) -> None:
    async def body() -> None:
        with lane() as opened, socket.create_connection(opened.destination) as near:
            far, _ = opened.server.accept()
            with (
                listening(socket.AF_INET6, "::1") as listener,
                socket.create_connection(listener.getsockname()[:2]) as c,
            ):
                relay = Relay(opened.relays, listener.accept()[0], opened.ended.append)
            relay.join(near.dup())
            assert await heard(far) == b""
            far.close()
            assert (await opened.over()).reason is Reason.FINISHED
            assert c.fileno() == -1

    run_reactor(body())


@pytest.mark.namespaced
def test_what_is_no_tcp_socket_is_refused_and_closed(closes_descriptors: None) -> None:
    async def body() -> None:
        with lane() as opened, opened.connect() as client:
            await until(lambda: len(opened.relays.sessions) == 1)
            (session,) = opened.relays.sessions
            for take in (session.join, lambda other: Relay(opened.relays, other, opened.ended.append)):
                left, right = socket.socketpair()
                with right, pytest.raises(OSError, match="not supported"):
                    take(left)
                assert left.fileno() == -1
            assert opened.relays.sessions == {session}
            session.abort()
            assert await heard(client) is None

    run_reactor(body())


@pytest.mark.namespaced
def test_a_failing_receiver_of_an_end_is_logged_and_hinders_nobody(closes_descriptors: None) -> None:
    def fail(ended: Ended) -> None:
        raise KeyError(ended.reason)

    async def body() -> None:
        clock = MemoryClock()
        relays = Relays(install_reactor(), clock)
        with listening(socket.AF_INET, "127.0.0.1") as server, listening(socket.AF_INET6, "::1") as entrance:
            clients = [socket.create_connection(entrance.getsockname()[:2]) for _ in range(3)]
            for _ in clients:
                Relay(relays, entrance.accept()[0], fail).begin(server.getsockname())
            await until(lambda: len(relays.idle) == 3)
            clock.advance(1800.0)
            assert relays.sessions == set()
            for client in clients:
                client.close()
        relays.close()

    run_reactor(body(), expected=(KeyError,))


@pytest.mark.namespaced
def test_closing_the_service_leaves_nothing_in_any_state() -> None:
    async def body() -> None:
        before = open_descriptors()
        with lane() as opened:
            for state in STATES:
                await state(*await opened.pair())
            opened.destination = "192.0.2.1", 23
            opened.client()
            opened.relays.close()
            opened.relays.close()
            assert len(opened.ended) >= len(STATES)
            assert opened.relays.sessions == set()
            assert opened.relays.pipes.in_use == 0
        assert open_descriptors() == before

    run_reactor(body(), timeout=30)


@pytest.mark.namespaced
def test_two_thousand_connections_leave_nothing() -> None:
    def crowd(opened: Lane, count: int) -> int:
        for number in range(count):
            with opened.connect() as client, opened.server.accept()[0] as server:
                client.sendall(b"x")
                assert server.recv(9) == b"x"
                if number % 3 == 0:
                    reset(server)
        return count

    async def body() -> None:
        with lane() as opened:
            client, server = await opened.pair()
            await talked(client, server)
            before = open_descriptors()
            assert sum(await elsewhere(*[partial(crowd, opened, 1000)] * 2)) == 2000
            await until(lambda: len(opened.ended) == 2000)
            assert open_descriptors() == before
            assert len(opened.relays.sessions) == len(opened.relays.idle) == 1
            assert len(opened.relays.connecting) == 0
            opened.ended.clear()
            gc.collect()
            left = Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, Relay | Flow | Side))
            assert left == {"Relay": 1, "Flow": 2, "Side": 2}

    run_reactor(body(), timeout=40)


@pytest.mark.namespaced
def test_both_connections_have_the_options_that_are_wanted(closes_descriptors: None) -> None:
    async def body() -> None:
        with lane(Terms(keepalive=77)) as opened:
            before = set(open_descriptors())
            pair = await opened.pair()
            ours = set(open_descriptors()) - before - {side.fileno() for side in pair}
            assert len(ours) == 2
            for number in ours:
                with socket.socket(fileno=os.dup(number)) as side:
                    assert side.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE) == 1
                    assert side.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
                    assert side.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                    assert side.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77

    run_reactor(body())


@pytest.mark.namespaced
def test_a_busy_session_does_not_keep_the_others_waiting(closes_descriptors: None) -> None:
    async def body() -> None:
        with lane() as opened:
            busy, quiet = await opened.pair(), await opened.pair()
            stopped: list[bool] = []

            def shout() -> float:
                busy[0].settimeout(LIMIT)
                while not stopped:
                    busy[0].sendall(PATTERN)
                busy[0].shutdown(socket.SHUT_WR)
                return 0.0

            def swallow() -> float:
                busy[1].settimeout(LIMIT)
                while busy[1].recv(1 << 20):
                    pass
                return 0.0

            def knock() -> float:
                slowest = 0.0
                for connection in quiet:
                    connection.settimeout(LIMIT)
                for _ in range(50):
                    began = time.monotonic()
                    quiet[0].sendall(b"?")
                    assert quiet[1].recv(1) == b"?"
                    slowest = max(slowest, time.monotonic() - began)
                stopped.append(True)
                return slowest

            _, _, slowest = await elsewhere(shout, swallow, knock)
            assert slowest < 5.0
            busy[1].close()
            assert (await opened.over()).upward > 0

    run_reactor(body(), timeout=40)
