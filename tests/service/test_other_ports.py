# SPDX-License-Identifier: MIT
"""The ports that a client has besides its service port: open while something is found out, and no longer."""

from __future__ import annotations

from errno import EMFILE
from random import Random

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.protocol import DatagramProtocol

from miredo.address.scope import IPv4Scope
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.errors import refused
from miredo.kernel.memory import MemoryICMPv6, MemoryRawIPv6
from miredo.service.protocols import TeredoClientProtocol
from miredo.teredo.actions import FILTERING_PORT, PRIMARY, SECONDARY, Filtering
from miredo.teredo.client import Client
from miredo.teredo.qualification import Server as ServerAddresses
from tests.namespaced import install_reactor, run_reactor, until
from tests.service.internet import ROLES, SERVER, SERVER2, TeredoInternet, logging
from tests.service.test_protocols import SERVERS, Heard, give_addresses, servers, tunnel

SEARCHING = ROLES + "DetermineInterval yes\n"
PROBING = ROLES + "ProbeFiltering yes\n"
HERE = "198.51.100.7"
FIRST_TWO = 60.0 + 90.0
"""Seconds that the search takes where nothing forgets."""


def started(text: str) -> TeredoInternet:
    internet = TeredoInternet(text)
    internet.start()
    internet.run()
    return internet


def ports(internet: TeredoInternet) -> set[str]:
    """The client's, which are open now."""
    return {each for each in internet.client.open_things() if each.startswith("port")}


def wait(internet: TeredoInternet, seconds: float) -> None:
    """So that each alarm rings in its time."""
    for _ in range(int(seconds)):
        internet.run(1.0)


@pytest.mark.requirement("C63")
def test_the_secondary_port_is_open_until_the_interval_is_found() -> None:
    with logging() as logged:
        internet = started(SEARCHING)
        assert len(ports(internet)) == 2
        wait(internet, FIRST_TWO - 1)
        assert len(ports(internet)) == 2
        wait(internet, 2)
    assert len(ports(internet)) == 1
    assert "client a: the refresh interval is 90 s" in logged.at("info")
    assert {each.via for each in internet.sent("client a")} == {PRIMARY, SECONDARY}
    assert internet.client_service().protocol.core.qualification.refresh_interval == 90.0


@pytest.mark.requirement("C63")
def test_a_client_that_is_not_told_to_has_one_port() -> None:
    internet = started(ROLES)
    assert len(ports(internet)) == 1
    wait(internet, FIRST_TWO)
    assert {each.via for each in internet.sent("client a")} == {PRIMARY}


@pytest.mark.requirement("C63")
@pytest.mark.parametrize("after", [0.0, 61.0, 100.0])
def test_a_client_that_stops_in_the_middle_leaves_nothing_behind(after: float) -> None:
    internet = started(SEARCHING + "ProbeFiltering yes\n")
    wait(internet, after)
    assert len(ports(internet)) >= 2
    with logging() as logged:
        internet.stop()
    assert internet.client.open_things() == []
    assert internet.clock.armed == []
    assert logged.failures == 0
    internet.start()
    internet.run()
    assert len(ports(internet)) >= 2
    internet.stop()
    assert internet.client.open_things() == []


@pytest.mark.requirement("C63")
def test_a_machine_that_slept_begins_with_another_secondary_port() -> None:
    internet = started(SEARCHING)
    wait(internet, 30)
    before = len(internet.client.places)
    internet.clock.suspend(3600)
    internet.run(1.0)
    assert (len(ports(internet)), len(internet.client.places)) == (2, before + 1)
    wait(internet, FIRST_TWO + 1)
    assert len(ports(internet)) == 1


@pytest.mark.requirement("C63")
def test_without_a_secondary_port_the_interval_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    internet = TeredoInternet(SEARCHING)
    internet.start()
    listen = internet.client.listen_udp

    def refusing(protocol: DatagramProtocol, address: str, port: int) -> IUDPTransport:
        if internet.qualified:
            raise refused(EMFILE, "port")
        return listen(protocol, address, port)

    monkeypatch.setattr(internet.client, "listen_udp", refusing)
    with logging() as logged:
        internet.run()
        wait(internet, 13)
    client = internet.client_service().protocol
    assert client.refused == {"port": 1}
    assert "client a: the refresh interval is 30 s" in logged.at("info")
    assert logged.failures == 0
    assert client.core.address is not None


@pytest.mark.requirement("A16")
def test_the_filtering_is_told_where_it_is_asked_for() -> None:
    with logging() as logged:
        internet = started(PROBING)
    assert len(ports(internet)) == 1
    assert FILTERING_PORT in {each.via for each in internet.sent("client a")}
    (line,) = [line for line in logged.at("info") if "NAT: mapping" in line]
    assert "filtering endpoint-independent" in line


# ---------------------------------------------------------------- real sockets


@pytest.mark.requirement("C63", "A16")
@pytest.mark.namespaced
def test_the_interval_and_the_filtering_are_found_on_real_sockets(closes_descriptors: None) -> None:
    """With intervals of a second and less in the place of minutes."""

    async def body() -> None:
        give_addresses(SERVER, SERVER2, HERE)
        reactor = install_reactor()
        clock, endpoints, heard = BoottimeClock(reactor), KernelEndpoints(None, reactor), Heard()
        core = Client(
            [ServerAddresses(*SERVERS)],
            IPv4Scope(),
            Random(1).randbytes,
            refresh_interval=0.2,
            longest_interval=0.8,
            probe_filtering=True,
        )
        client = TeredoClientProtocol("client", core, clock, tunnel(), MemoryICMPv6(), heard)
        client.listen = lambda port: endpoints.listen_udp(port, HERE, 0)
        first, second = servers(clock, MemoryRawIPv6(lambda packet: None))
        places = [(first, SERVER, 3544), (second, SERVER2, 3544), (client, HERE, 0)]
        opened = [IListeningPort(endpoints.listen_udp(*place)) for place in places]
        client.begin()
        await until(lambda: heard.intervals != [] and heard.observed != [])
        assert heard.intervals == [pytest.approx(0.6)]
        assert [each.filtering for each in heard.observed] == [Filtering.ENDPOINT_INDEPENDENT]
        client.end()
        await client.closed
        for port in opened:
            await maybeDeferred(port.stopListening)

    run_reactor(body())
