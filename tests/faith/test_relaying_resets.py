# SPDX-License-Identifier: MIT
"""A reset, and the death of a program, pass through the relay whatever was going on."""

import signal
import socket
import subprocess
from errno import ECONNRESET, EPIPE

import pytest

from miredo.faith.relaying import Ended, Reason, Relay, Relays
from miredo.kernel.clock import BoottimeClock
from tests.faith.relaying_lane import (
    heard,
    heard_all,
    lane,
    listening,
    reset,
)
from tests.faith.relaying_states import (
    State,
    both_blocked,
    both_sides,
    first_ended,
    in_every_state,
    ordered,
    second_blocked,
    unread,
)
from tests.namespaced import install_reactor, run_reactor, until

RESETS = {ECONNRESET, EPIPE}


def lost(who: str) -> Reason:
    return Reason.CLIENT_LOST if who == "client" else Reason.SERVER_LOST


async def end_of(connection: socket.socket) -> bytes | None:
    """Read whatever is there, up to the end or reset."""
    while piece := await heard(connection):
        pass
    return piece


@both_sides
@in_every_state
@pytest.mark.namespaced
def test_a_reset_passes_in_every_state(who: str, state: State, closes_descriptors: None) -> None:
    async def body() -> None:
        with lane() as opened:
            first, second = ordered(who, await opened.pair())
            await state(first, second)
            reset(first)
            ended = await opened.over()
            assert ended.reason is lost(who)
            assert ended.errno in RESETS
            if state is first_ended:  # what it could read has ended before
                await until(lambda: second.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in RESETS)
            else:
                assert await end_of(second) is None
            assert opened.relays.pipes.in_use == 0

    run_reactor(body(), timeout=20)


@both_sides
@pytest.mark.namespaced
def test_what_was_sent_before_a_reset_arrives_before_it(who: str, closes_descriptors: None) -> None:
    async def body() -> None:
        with lane() as opened:
            for _ in range(20):
                first, second = ordered(who, await opened.pair())
                first.sendall(b"last words")
                reset(first)
                assert (await opened.over()).reason is lost(who)
                assert await heard_all(second, 10) == b"last words"
                assert await heard(second) is None

    run_reactor(body())


@pytest.mark.namespaced
def test_the_last_words_of_a_server_that_hears_no_more_arrive(closes_descriptors: None) -> None:
    """The relay hears of the reset by sending to it, when the answer is there and not read yet."""

    async def body() -> None:
        with lane() as opened:
            for _ in range(20):
                client, server = await opened.pair()
                client.sendall(b"first")
                assert await heard(server) == b"first"
                server.sendall(b"go away")
                client.sendall(b"second")
                reset(server)
                ended = await opened.over()
                assert (ended.reason, ended.downward) == (Reason.SERVER_LOST, 7)

    run_reactor(body())


@pytest.mark.namespaced
def test_the_only_words_of_a_server_that_resets_at_once_arrive(closes_descriptors: None) -> None:
    """It has accepted, spoken and reset before the relay hears that it has accepted."""

    async def body() -> None:
        relays = Relays(install_reactor(), BoottimeClock(install_reactor()))
        ended: list[Ended] = []
        entrance, behind = listening(socket.AF_INET6, "::1"), listening(socket.AF_INET, "127.0.0.1")
        with entrance, behind, socket.create_connection(entrance.getsockname()[:2]) as client:
            Relay(relays, entrance.accept()[0], ended.append).begin(behind.getsockname())
            server, _ = behind.accept()
            server.sendall(b"full")
            reset(server)
            assert await heard_all(client, 4) == b"full"
            assert await heard(client) is None
        assert [(end.reason, end.downward) for end in ended] == [(Reason.SERVER_LOST, 4)]
        relays.close()

    run_reactor(body())


def killed(connection: socket.socket) -> None:
    """Let another process have the socket alone, and kill it."""
    with subprocess.Popen(["/bin/sleep", "60"], pass_fds=[connection.fileno()]) as holder:
        connection.close()
        holder.send_signal(signal.SIGKILL)


@both_sides
@in_every_state
@pytest.mark.namespaced
def test_a_killed_end_ends_the_session_in_every_state(who: str, state: State, closes_descriptors: None) -> None:
    """Its kernel resets the connection if something is unread, and ends it otherwise."""

    async def body() -> None:
        with lane() as opened:
            first, second = ordered(who, await opened.pair())
            await state(first, second)
            killed(first)
            if state in (second_blocked, both_blocked, unread):
                assert (await opened.over()).reason is lost(who)
                assert await end_of(second) is None
            else:
                assert await end_of(second) == b""
                second.close()
                assert (await opened.over()).reason is Reason.FINISHED

    run_reactor(body(), timeout=20)
