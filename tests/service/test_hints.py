# SPDX-License-Identifier: MIT
"""ICMP errors of IPv4 are hints: which of them a client heeds, and that none of them costs it a peer."""

import pytest

from miredo.address.endpoint import Endpoint, endpoint, ipv4_of, parse_ipv4, port_of
from miredo.address.teredo import TEREDO_PORT
from miredo.kernel.memory.endpoints import unreachable_port
from miredo.service.surroundings import Sent
from miredo.wire.icmpv4 import FRAGMENTATION_NEEDED, emit_unreachable
from miredo.wire.ipv4 import ICMP, IPv4Packet, emit_ipv4_packet, parse_ipv4_packet
from tests.service.internet import CLIENT, RELAY, SERVER, TeredoInternet

RELAY_PORT = endpoint(parse_ipv4(RELAY), 3545)
PRIMARY = endpoint(parse_ipv4(SERVER), TEREDO_PORT)


def connected() -> TeredoInternet:
    """A client that has had an answer of the native host."""
    internet = TeredoInternet()
    internet.start()
    internet.run()
    internet.ping()
    internet.run()
    return internet


def own_port(internet: TeredoInternet) -> int:
    return internet.client_service().port


def hears(internet: TeredoInternet, packet: bytes) -> list[Sent]:
    """An error comes to the client's host; what the client sends because of it."""
    before = len(internet.sent("client a"))
    internet.client.refused(packet)
    return internet.sent("client a")[before:]


def error(internet: TeredoInternet, *, source: Endpoint | None = None, to: Endpoint = RELAY_PORT) -> bytes:
    """About a datagram from the client's service port, unless it is said to come from elsewhere."""
    source = source or endpoint(CLIENT, own_port(internet))
    return unreachable_port((ipv4_of(source), port_of(source)), (ipv4_of(to), port_of(to)), b"data")


@pytest.mark.requirement("E9", "C28a")
def test_an_error_about_a_relay_has_its_hosts_tested_through_the_server_at_once() -> None:
    internet = connected()
    sent = hears(internet, error(internet))
    assert [each.to for each in sent] == [PRIMARY, RELAY_PORT]


@pytest.mark.requirement("E9", "T33")
def test_a_forged_error_loses_no_peer() -> None:
    internet = connected()
    for _ in range(20):
        hears(internet, error(internet))
    before = len(internet.sent("server s"))
    ping = internet.ping()
    internet.run()
    assert ping.answered is not None
    assert internet.sent("client a")[-1].to == RELAY_PORT
    assert len(internet.sent("server s")) - before <= 2


@pytest.mark.requirement("T33")
def test_an_error_about_what_the_client_cannot_have_sent_is_not_heeded() -> None:
    internet = connected()
    port = own_port(internet)
    for source in (endpoint(CLIENT, port ^ 1), endpoint(parse_ipv4("203.0.113.9"), port)):
        assert hears(internet, error(internet, source=source)) == []
    assert hears(internet, error(internet, to=endpoint(parse_ipv4(RELAY), 3546))) == []


@pytest.mark.requirement("E9")
def test_an_error_about_the_size_of_a_datagram_is_not_heeded() -> None:
    internet = connected()
    packet = parse_ipv4_packet(error(internet))
    too_big = emit_unreachable(FRAGMENTATION_NEEDED, 1400, packet.payload[8:])
    assert hears(internet, emit_ipv4_packet(packet._replace(payload=too_big))) == []


@pytest.mark.requirement("T31")
@pytest.mark.parametrize("packet", [b"", b"\x45", bytes(64)])
def test_what_is_no_error_does_nothing(packet: bytes) -> None:
    internet = connected()
    source = CLIENT
    empty = emit_ipv4_packet(IPv4Packet(0, 0, False, False, 0, 64, ICMP, source, source, b""))
    assert hears(internet, packet) == []
    assert hears(internet, empty) == []


@pytest.mark.requirement("E9")
def test_the_relays_host_itself_says_that_the_relay_is_gone() -> None:
    internet = connected()
    for role in ("relay r", "server s"):
        internet.service(role).stopService()
    before = len(internet.sent("client a"))
    internet.ping()
    internet.run()
    assert [each.to for each in internet.sent("client a")[before:]] == [RELAY_PORT, PRIMARY, RELAY_PORT]
