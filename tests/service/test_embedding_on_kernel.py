# SPDX-License-Identifier: MIT
"""A Teredo client inside a program, on the real reactor: what it leaves open, which is nothing."""

import pytest
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorUDP
from twisted.internet.protocol import DatagramProtocol

from miredo.address.endpoint import parse_ipv4
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import server_of
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.memory import MemoryRawIPv6
from miredo.service.embedding import TeredoClient
from miredo.service.protocols import TeredoServerProtocol
from miredo.teredo.server import Server
from tests.namespaced import install_reactor, pause, run_reactor
from tests.service.internet import SERVER, SERVER2


class Chatty(TeredoServerProtocol):
    """A server that says more than it is asked, on a stock port."""

    def __init__(self) -> None:
        core = Server((parse_ipv4(SERVER), parse_ipv4(SERVER2)), IPv4Scope())
        super().__init__("server", core, 0, BoottimeClock(install_reactor()), MemoryRawIPv6())

    def datagramReceived(self, datagram: bytes, address: tuple[str, int]) -> None:
        super().datagramReceived(datagram, address)
        assert self.transport is not None
        for _ in range(3):
            self.transport.write(b"rubbish", address)


def serve() -> IListeningPort:
    """Let the loopback have a server's addresses, and a server answer at the first."""
    network = KernelEndpoints(None, install_reactor()).network()
    index = network.index_of("lo")
    assert index is not None
    for address in (SERVER, SERVER2):
        network.add_address(index, parse_ipv4(address), 32)
    network.close()
    return IReactorUDP(install_reactor()).listenUDP(3544, Chatty(), SERVER, 65535)


@pytest.mark.namespaced
def test_a_stopped_client_leaves_no_descriptor(closes_descriptors: None) -> None:
    async def body() -> None:
        server = serve()
        client = TeredoClient(SERVER)
        for _ in range(2):
            connectivity = await client.start()
            assert server_of(connectivity.address.packed) == parse_ipv4(SERVER)
            await client.stop()
        await maybeDeferred(server.stopListening)

    run_reactor(body())


@pytest.mark.namespaced
def test_a_client_that_was_stopped_too_soon_leaves_no_descriptor(closes_descriptors: None) -> None:
    async def body() -> None:
        client = TeredoClient(SERVER, reactor=install_reactor())
        started = client.start()
        stops = [client.stop(), client.stop()]
        assert [stop.called for stop in stops] == [False, False]
        with pytest.raises(CancelledError):
            await started
        for stop in stops:
            await stop

    run_reactor(body())


@pytest.mark.namespaced
def test_a_port_that_cannot_be_had_leaves_no_descriptor(closes_descriptors: None) -> None:
    async def body() -> None:
        taken = IReactorUDP(install_reactor()).listenUDP(4444, DatagramProtocol(), "", 65535)
        client = TeredoClient(SERVER, port=4444, reactor=install_reactor())
        with pytest.raises(OSError, match=r"UDP 0\.0\.0\.0 port 4444: Address already in use"):
            await client.start()
        await maybeDeferred(taken.stopListening)
        started = client.start()
        await client.stop()
        with pytest.raises(CancelledError):
            await started

    run_reactor(body())


@pytest.mark.namespaced
def test_what_the_port_still_reads_after_the_stop_is_not_heard(closes_descriptors: None) -> None:
    async def body() -> None:
        server = serve()
        stops: list[Deferred[None]] = []
        client = TeredoClient(SERVER, qualified=lambda _: stops.append(client.stop()))
        with pytest.raises(CancelledError):
            await client.start()
        for stop in stops:
            await stop
        await pause(0.01)
        assert (len(stops), client.drops) == (1, {})
        await maybeDeferred(server.stopListening)

    run_reactor(body())
