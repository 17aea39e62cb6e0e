# SPDX-License-Identifier: MIT
"""Servers that do not answer, and ends that are not heard of any more."""

import os
import socket
from errno import ECONNREFUSED, ECONNRESET, EMFILE, ENETUNREACH

import pytest

from miredo.faith.relaying import Ended, Reason, Relay, Relays, Terms
from miredo.faith.relaying_outgoing import Outgoing
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.memory import MemoryClock
from tests.faith.relaying_lane import (
    heard,
    heard_all,
    lane,
    listening,
    readable,
    reset,
)
from tests.faith.relaying_states import both_sides, first_ended, ordered, talked
from tests.namespaced import install_reactor, pause, run_reactor, until


@pytest.mark.namespaced
def test_a_server_that_refuses_resets_the_client(closes_descriptors: None) -> None:
    async def body() -> None:
        with lane() as opened:
            opened.server.close()
            client = opened.client()
            assert await heard(client) is None
            assert await opened.over() == Ended(Reason.UNREACHABLE, ECONNREFUSED, 0, 0, 0, 0, half_closed=False)

    run_reactor(body())


@pytest.mark.namespaced
def test_a_server_to_which_there_is_no_way_resets_the_client(closes_descriptors: None) -> None:
    async def body() -> None:
        with lane() as opened:
            opened.destination = "192.0.2.1", 23
            assert await heard(opened.client()) is None
            ended = await opened.over()
            assert (ended.reason, ended.errno) == (Reason.UNREACHABLE, ENETUNREACH)

    run_reactor(body())


@pytest.mark.namespaced
def test_without_a_descriptor_for_the_server_the_client_is_reset(closes_descriptors: None) -> None:
    def none_left() -> socket.socket:
        raise OSError(EMFILE, os.strerror(EMFILE))

    async def body() -> None:
        with lane(outgoing=Outgoing(open_socket=none_left)) as opened:
            assert await heard(opened.client()) is None
            ended = await opened.over()
            assert (ended.reason, ended.errno) == (Reason.UNREACHABLE, EMFILE)

    run_reactor(body())


@pytest.mark.namespaced
def test_nobody_is_told_of_an_end_before_begin_has_returned(closes_descriptors: None) -> None:
    async def body() -> None:
        relays = Relays(install_reactor(), BoottimeClock(install_reactor()))
        ended: list[Ended] = []
        with listening(socket.AF_INET6, "::1") as listener, socket.create_connection(listener.getsockname()[:2]):
            relay = Relay(relays, listener.accept()[0], ended.append)
            await pause(0.02)
            relay.begin(("192.0.2.1", 23))
            assert ended == []
            await until(lambda: ended != [])
        relays.close()

    run_reactor(body())


def deaf_server() -> socket.socket:
    """It answers nobody: its queue has room for one, who is there already."""
    return listening(socket.AF_INET, "127.0.0.1", backlog=0)


@pytest.mark.namespaced
def test_a_server_that_does_not_answer_in_time_resets_the_client(closes_descriptors: None) -> None:
    async def body() -> None:
        clock = MemoryClock()
        deaf = deaf_server()
        with socket.create_connection(deaf.getsockname()), lane(Terms(connect=30.0), clock, server=deaf) as opened:
            client = opened.client()
            await until(lambda: clock.armed == [1030.0])
            await pause(0.02)
            clock.advance(29.999)
            await pause(0.02)
            assert opened.ended == []
            assert not readable(client)
            clock.advance(0.001)
            assert await heard(client) is None
            assert (await opened.over()).reason is Reason.CONNECT_TIMEOUT

    run_reactor(body())


@pytest.mark.namespaced
def test_a_reset_of_the_client_ends_the_wait_for_the_server(closes_descriptors: None) -> None:
    async def body() -> None:
        with lane(server=deaf_server()) as opened, socket.create_connection(opened.destination):
            client = opened.client()
            await until(lambda: len(opened.relays.sessions) == 1)
            await pause(0.02)
            reset(client)
            ended = await opened.over()
            assert (ended.reason, ended.errno) == (Reason.CLIENT_LOST, ECONNRESET)

    run_reactor(body())


@pytest.mark.namespaced
def test_what_a_client_sent_before_it_reset_waits_for_the_server(closes_descriptors: None) -> None:
    async def body() -> None:
        relays = Relays(install_reactor(), BoottimeClock(install_reactor()))
        ended: list[Ended] = []
        with listening(socket.AF_INET6, "::1") as entrance, listening(socket.AF_INET, "127.0.0.1") as behind:
            client = socket.create_connection(entrance.getsockname()[:2])
            relay = Relay(relays, entrance.accept()[0], ended.append)
            client.sendall(b"last words")
            reset(client)
            await pause(0.02)
            assert ended == []
            relay.begin(behind.getsockname())
            server, _ = behind.accept()
            with server:
                assert await heard_all(server, 10) == b"last words"
                assert await heard(server) is None
        assert [(end.reason, end.upward) for end in ended] == [(Reason.CLIENT_LOST, 10)]
        relays.close()

    run_reactor(body())


@pytest.mark.namespaced
def test_a_reset_of_the_client_before_it_begins_ends_the_session(closes_descriptors: None) -> None:
    async def body() -> None:
        relays = Relays(install_reactor(), BoottimeClock(install_reactor()))
        ended: list[Ended] = []
        with listening(socket.AF_INET6, "::1") as listener:
            client = socket.create_connection(listener.getsockname()[:2])
            relay = Relay(relays, listener.accept()[0], ended.append)
            reset(client)
            await until(lambda: ended != [])
            relay.begin(("127.0.0.1", 9))
            assert [end.reason for end in ended] == [Reason.CLIENT_LOST]
            late = socket.socket()
            relay.join(late)
            assert late.fileno() == -1
        relays.close()

    run_reactor(body())


@pytest.mark.namespaced
def test_the_idle_timeout_is_exact_over_both_directions(closes_descriptors: None) -> None:
    async def body() -> None:
        clock = MemoryClock(now=0.0)
        with lane(Terms(idle=1800.0), clock) as opened:
            client, server = await opened.pair()
            await talked(client, server)
            for speaker, listener in ((client, server), (server, client), (server, client)):
                clock.advance(1799.0)
                speaker.sendall(b".")
                assert await heard(listener) == b"."
            clock.advance(1799.999)
            await pause(0.01)
            assert opened.ended == []
            clock.advance(0.001)
            assert opened.ended.pop() == Ended(Reason.IDLE, 0, 2, 2, 0, 0, half_closed=False)
            assert await heard(client) is None
            assert await heard(server) is None
            assert clock.armed == []

    run_reactor(body())


@pytest.mark.namespaced
def test_without_timeouts_nobody_is_idle(closes_descriptors: None) -> None:
    async def body() -> None:
        clock = MemoryClock()
        with lane(Terms(idle=0.0, connect=0.0), clock) as opened:
            client, server = await opened.pair()
            client.sendall(b".")
            assert await heard(server) == b"."
            assert clock.armed == []
            clock.advance(1e6)
            server.sendall(b".")
            assert await heard(client) == b"."

    run_reactor(body())


@both_sides
@pytest.mark.namespaced
def test_one_half_alone_may_have_a_timeout_of_its_own(who: str, closes_descriptors: None) -> None:
    async def body() -> None:
        clock = MemoryClock()
        with lane(Terms(half_open=60.0), clock) as opened:
            first, second = ordered(who, await opened.pair())
            await talked(first, second)
            clock.advance(1000.0)
            await first_ended(first, second)
            clock.advance(59.0)
            second.sendall(b".")
            assert await heard(first) == b"."
            clock.advance(59.999)
            assert opened.ended == []
            clock.advance(0.001)
            assert opened.ended.pop().reason is Reason.HALF_OPEN

    run_reactor(body())
