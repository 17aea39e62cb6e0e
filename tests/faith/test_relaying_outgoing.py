# SPDX-License-Identifier: MIT
"""A connection leaves from the address and the kind of port that are wanted."""

import socket
from errno import EADDRINUSE, EADDRNOTAVAIL, ECONNREFUSED, ENETUNREACH

import pytest

from miredo.faith.relaying_outgoing import HIGHEST, LOWEST, WELL_KNOWN, Outgoing
from tests.faith.relaying_lane import LIMIT, listening
from tests.kernel.bench import refused_with


def source_of(outgoing: Outgoing, server: socket.socket, source: str | None = None) -> tuple[str, int]:
    """Where the server sees a connection come from."""
    with outgoing.connect(server.getsockname(), source):
        server.settimeout(LIMIT)
        connection, peer = server.accept()
        connection.close()
    return str(peer[0]), int(peer[1])


def dice(number: int) -> Outgoing:
    return Outgoing(privileged=True, dice=lambda count: number.to_bytes(count, "big"))


@pytest.mark.namespaced
def test_a_connection_does_not_wait_and_does_not_pass_to_other_programs(closes_descriptors: None) -> None:
    with listening(socket.AF_INET, "127.0.0.1") as server, Outgoing().connect(server.getsockname()) as connection:
        assert not connection.getblocking()
        assert not connection.get_inheritable()


@pytest.mark.namespaced
def test_the_source_is_the_address_that_is_wanted(closes_descriptors: None) -> None:
    with listening(socket.AF_INET, "127.0.0.1") as server:
        assert source_of(Outgoing(), server)[0] == "127.0.0.1"
        assert source_of(Outgoing(), server, "127.0.0.7")[0] == "127.0.0.7"
        assert source_of(dice(0), server, "127.0.0.8")[0] == "127.0.0.8"


@pytest.mark.namespaced
def test_a_source_takes_no_port_from_connections_to_others(closes_descriptors: None) -> None:
    """More connections than there are ports, since each server has ports of its own (IP_BIND_ADDRESS_NO_PORT)."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as ports:
        ports.write("40000 40009")
    servers = [listening(socket.AF_INET, f"127.0.1.{number}") for number in range(1, 5)]
    connections = [Outgoing().connect(server.getsockname(), "127.0.0.7") for server in servers for _ in range(5)]
    assert len({connection.getsockname() for connection in connections}) <= 10
    for opened in servers + connections:
        opened.close()


@pytest.mark.namespaced
def test_privileged_ports_start_anywhere_and_spare_those_of_services(closes_descriptors: None) -> None:
    with listening(socket.AF_INET, "127.0.0.1") as server:
        assert source_of(dice(0), server) == ("127.0.0.1", LOWEST)
        assert source_of(dice(5), server) == ("127.0.0.1", LOWEST + 5)
        ports = {source_of(Outgoing(privileged=True), server)[1] for _ in range(60)}
    assert len(ports) > 10
    assert all(LOWEST <= port <= HIGHEST for port in ports)
    assert not ports & WELL_KNOWN


@pytest.mark.namespaced
def test_a_port_that_somebody_has_is_passed_over(closes_descriptors: None) -> None:
    with listening(socket.AF_INET, "127.0.0.1") as server, socket.socket() as other:
        other.bind(("", LOWEST))
        assert source_of(dice(0), server)[1] == LOWEST + 1


@pytest.mark.namespaced
def test_a_port_serves_once_for_each_server(closes_descriptors: None) -> None:
    with listening(socket.AF_INET, "127.0.0.1") as server, listening(socket.AF_INET, "127.0.0.2") as another:
        connections = [dice(0).connect(to.getsockname()) for to in (server, another, server)]
        assert [connection.getsockname()[1] for connection in connections] == [LOWEST, LOWEST, LOWEST + 1]
        for connection in connections:
            connection.close()


@pytest.mark.namespaced
def test_when_all_ports_are_in_use_it_says_so(closes_descriptors: None) -> None:
    few = Outgoing(privileged=True, ports=range(700, 703))
    with listening(socket.AF_INET, "127.0.0.1") as server:
        connections = [few.connect(server.getsockname()) for _ in range(3)]
        assert {connection.getsockname()[1] for connection in connections} == {700, 701, 702}
        with pytest.raises(OSError, match=r"privileged source ports to .+ port") as refused:
            few.connect(server.getsockname())
        assert refused.value.errno == EADDRINUSE
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("privileged", [False, True])
@pytest.mark.namespaced
def test_what_cannot_be_is_refused_at_once(privileged: bool, closes_descriptors: None) -> None:
    outgoing = Outgoing(privileged)
    with refused_with(ENETUNREACH, ECONNREFUSED):
        outgoing.connect(("192.0.2.1", 23))
    with refused_with(EADDRNOTAVAIL):
        outgoing.connect(("127.0.0.1", 23), "192.0.2.7")
