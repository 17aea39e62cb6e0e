# SPDX-License-Identifier: MIT
"""A whole Teredo Internet of services on the fakes: what they configure, keep and take back."""

from collections import Counter
from collections.abc import Callable

import pytest
from twisted.internet.protocol import DatagramProtocol

from miredo.address.endpoint import endpoint, parse_ipv4, parse_ipv6, show_ipv6
from miredo.address.teredo import CLIENT_LINK_LOCAL, SERVICE_PREFIX, compose, is_teredo, mapped_of, server_of
from miredo.kernel.memory import MemoryNetwork
from miredo.service.daemon import CannotStart
from miredo.service.surroundings import Did, Sent, Took
from miredo.teredo.actions import DeliverPacket, Mapping, NatObserved, PeerTrusted, Qualified, ServerSilent
from miredo.teredo.drops import Drop
from miredo.wire.icmpv6 import EchoRequest, emit_icmpv6
from tests.service.internet import (
    CLIENT,
    CLIENT2,
    HOST,
    ROLES,
    TeredoInternet,
    links,
    logging,
    own,
)

DEFAULT_ROUTE = (bytes(16), 0, 1029)


def started(text: str = ROLES) -> TeredoInternet:
    """Everything runs, and the client has its address."""
    internet = TeredoInternet(text)
    internet.start()
    internet.run()
    assert len(internet.qualified) == 1
    return internet


def move(internet: TeredoInternet) -> None:
    """The client's host gets another IPv4 address."""
    network = MemoryNetwork(internet.client.stack, {})
    index = network.index_of("eth0")
    assert index is not None
    network.delete_address(index, CLIENT, 24)
    network.add_address(index, parse_ipv4("198.51.100.8"), 24)


# ---------------------------------------------------------------- qualification


def test_a_client_that_qualifies_configures_its_tunnel() -> None:
    internet = started()
    (address,) = internet.qualified
    assert is_teredo(address)
    assert server_of(address) == parse_ipv4("192.0.2.1")
    assert mapped_of(address)[:4] == CLIENT
    assert own(internet.client) == ([(CLIENT_LINK_LOCAL, 64), (address, 32)], [DEFAULT_ROUTE])
    assert internet.client.stack.links["teredo"].up
    assert internet.client.stack.links["teredo"].mtu == 1280


def test_a_client_takes_the_metric_of_its_file_and_the_mtu_of_its_server() -> None:
    server = ROLES.replace("ServerBindAddress", "InterfaceMTU 1400\nServerBindAddress")
    internet = started(server + "RouteMetric 77\nInterfaceName tun7\n")
    assert own(internet.client)[1] == [(bytes(16), 0, 77)]
    assert internet.client.stack.links["tun7"].mtu == 1400


def test_qualification_is_logged_with_its_address() -> None:
    with logging() as logged:
        internet = started()
    address = show_ipv6(internet.qualified[0])
    said = [line for line in logged.at("info") if line.startswith("client a: ") and "NAT" not in line]
    assert said == [
        "client a: Starting...",
        f"client a: New Teredo address/MTU ({address}, 1280)",
        f"client a: Teredo pseudo-tunnel started (address: {address}, MTU: 1280)",
    ]
    assert any(
        line.startswith("client a: NAT: mapping endpoint-independent, port preserved, the same address")
        for line in logged.at("info")
    )
    assert (logged.at("warn"), logged.at("error"), logged.failures) == ([], [], 0)


def test_the_relay_routes_the_service_prefix_into_its_tunnel() -> None:
    assert own(started().relay) == ([], [(SERVICE_PREFIX + bytes(12), 32, 1024)])


def test_pings_pass_in_both_directions() -> None:
    internet = started()
    there = internet.ping()
    internet.run()
    back = internet.host.ping(HOST, internet.qualified[0], internet.clock.now())
    internet.run()
    assert (there.rtt, back.rtt) == (0.0, 0.0)


def test_a_native_host_reaches_a_client_that_never_sent_it_anything() -> None:
    internet = started()
    ping = internet.host.ping(HOST, internet.qualified[0], internet.clock.now())
    internet.run()
    assert ping.rtt == 0.0


def test_packets_of_a_trusted_peer_go_no_way_round() -> None:
    internet = started()
    internet.ping()
    internet.run()
    before = len(internet.sent("server s")), len(internet.sent("client a")), len(internet.sent("relay r"))
    ping = internet.ping()
    internet.run()
    after = len(internet.sent("server s")), len(internet.sent("client a")), len(internet.sent("relay r"))
    assert ping.answered is not None
    assert [now - then for now, then in zip(after, before, strict=True)] == [0, 1, 1]


def test_an_observer_hears_what_every_role_does() -> None:
    internet = started()
    internet.ping()
    internet.run()
    kinds = Counter((event.role, type(event)) for event in internet.events)
    assert {role for role, _ in kinds} == {"server s", "relay r", "client a"}
    took = [event.packet for event in internet.events if isinstance(event, Took) and event.role == "client a"]
    did = [event.action for event in internet.events if isinstance(event, Did) and event.role == "client a"]
    assert [parse_ipv6("2001:db8:3::1") == packet[24:40] for packet in took] == [True]
    assert [type(action) for action in did] == [Qualified, NatObserved, PeerTrusted, DeliverPacket]
    mapped = mapped_of(internet.qualified[0])
    assert did[1] == NatObserved(Mapping.ENDPOINT_INDEPENDENT, mapped, mapped)
    assert {event.via for event in internet.sent("server s")} == {0, 1}
    assert all(event.at == internet.clock.now() for event in internet.events)


def test_without_an_observer_pings_pass_too() -> None:
    internet = TeredoInternet(observed=False)
    internet.start()
    internet.run()
    address = internet.client_service().protocol.core.address
    assert address is not None
    ping = internet.client_host.ping(address, HOST, internet.clock.now())
    internet.run()
    assert ping.answered is not None
    assert internet.events == []


# ---------------------------------------------------------------- change and loss


def test_a_changed_ipv4_address_is_asked_about_at_once() -> None:
    internet = started()
    before = len(internet.sent("client a"))
    with logging() as logged:
        move(internet)
        internet.run()
    assert "client a: the IPv4 addresses or default routes of this host changed" in logged.at("info")
    assert len(internet.sent("client a")) > before
    assert [mapped_of(address)[:4] for address in internet.qualified] == [CLIENT, parse_ipv4("198.51.100.8")]


def test_another_default_route_is_asked_about_at_once() -> None:
    internet = started()
    before = len(internet.sent("client a"))
    network = internet.client.network()
    index = next(link.index for link in internet.client.stack.links.values() if link.name not in ("lo", "teredo"))
    network.add_route(bytes(4), 0, index)
    internet.run()
    assert len(internet.sent("client a")) > before


def test_an_address_that_changes_leaves_before_the_new_one_comes() -> None:
    internet = started()
    internet.client.changes.clear()
    move(internet)
    internet.run()
    old, new = internet.qualified
    default = bytes(16).hex()
    assert internet.client.changes == [
        f"delete route {default}",
        f"delete address {old.hex()}",
        f"delete address {CLIENT_LINK_LOCAL.hex()}",
        f"add address {CLIENT_LINK_LOCAL.hex()}",
        f"add address {new.hex()}",
        f"add route {default}",
    ]
    assert own(internet.client) == ([(CLIENT_LINK_LOCAL, 64), (new, 32)], [DEFAULT_ROUTE])


def test_the_client_does_not_take_its_own_tunnel_for_a_change() -> None:
    internet = started()
    before = len(internet.sent("client a"))
    assert before == 2  # to the primary and to the secondary address of the server
    network = MemoryNetwork(internet.client.stack, {})
    network.add_address(internet.client.tunnel.index, parse_ipv6("2001:db8::9"), 64)
    network.set_up(internet.client.tunnel.index, 1290)
    internet.run()
    assert len(internet.sent("client a")) == before


def test_an_ipv4_address_on_another_link_is_a_change() -> None:
    internet = started()
    before = len(internet.sent("client a"))
    link = internet.client.stack.add_link("eth1")
    MemoryNetwork(internet.client.stack, {}).add_address(link.index, parse_ipv4("203.0.113.9"), 24)
    internet.run()
    assert len(internet.sent("client a")) == before + 1


def test_a_machine_that_slept_asks_at_once() -> None:
    internet = started()
    before = len(internet.sent("client a"))
    internet.clock.suspend(3600)
    internet.run()
    assert len(internet.sent("client a")) > before
    assert internet.client_service().protocol.core.address == internet.qualified[-1]


def test_a_server_that_falls_silent_takes_address_and_route_with_it() -> None:
    internet = started()
    with logging() as logged:
        internet.service("server s").stopService()
        internet.run(50)
    assert own(internet.client) == ([], [])
    assert internet.client.tunnel.open
    assert logged.at("warn") == ["client a: No reply from Teredo server (192.0.2.1:3544)"]
    assert logged.at("info")[-2:] == [
        "client a: Lost Teredo connectivity (no reply from the server)",
        "client a: Teredo pseudo-tunnel stopped",
    ]
    assert [event for event in internet.events if isinstance(event, Did) and isinstance(event.action, ServerSilent)]


def test_a_server_that_comes_back_is_found() -> None:
    internet = started()
    server = internet.service("server s")
    server.stopService()
    internet.run(50)
    server.privilegedStartService()
    server.startService()
    internet.run(30)
    assert len(internet.qualified) == 2
    assert own(internet.client)[1] == [DEFAULT_ROUTE]


def test_a_client_keeps_its_address_for_a_day() -> None:
    internet = started()
    for _ in range(24 * 60):
        internet.run(60)
    assert len(internet.qualified) == 1
    ping = internet.ping()
    internet.run()
    assert ping.answered is not None


# ---------------------------------------------------------------- the end


def nothing_is_left(internet: TeredoInternet) -> None:
    """No address, route, interface, armed alarm, port or sender."""
    assert internet.clock.armed == []
    for endpoints in (internet.server, internet.relay, internet.client, internet.classic):
        assert links(endpoints.stack) == ["eth0", "lo"]
        assert all(not link.routes for link in endpoints.stack.links.values())
        assert endpoints.open_things() == []
        own_addresses = [address for link in endpoints.stack.links.values() for address, _ in link.addresses]
        assert [address for address in own_addresses if len(address) != 4] == []
    assert not is_anybody_told_of_a_resume(internet)


def is_anybody_told_of_a_resume(internet: TeredoInternet) -> bool:
    """Whether a role that has ended does anything when the machine has slept."""
    before = len(internet.events)
    alarm = internet.clock.alarm(lambda: None)
    internet.clock.suspend(3600)
    alarm.arm(internet.clock.now())
    internet.clock.advance(0)
    alarm.cancel()
    return len(internet.events) != before


def test_services_that_stop_leave_nothing_behind() -> None:
    internet = started()
    internet.ping()
    internet.run(1)
    assert internet.server.open_things() == ["port 3544", "port 3544", "raw sender"]
    assert internet.client.open_things() == ["port 32768", "tunnel teredo", "ICMPv6 sender", "group", "ICMP listener"]
    with logging() as logged:
        internet.stop()
    nothing_is_left(internet)
    assert logged.at("info") == ["client a: Teredo pseudo-tunnel stopped"]
    assert logged.failures == 0


def test_services_that_stop_while_soliciting_leave_nothing_behind() -> None:
    internet = TeredoInternet()
    internet.start()
    internet.stop()
    internet.run(60)
    nothing_is_left(internet)
    assert internet.qualified == []


def test_services_that_were_opened_but_never_started_leave_nothing_behind() -> None:
    internet = TeredoInternet()
    internet.roles.privilegedStartService()
    internet.stop()
    nothing_is_left(internet)
    assert internet.events == []


def test_services_can_be_started_again() -> None:
    internet = started()
    internet.stop()
    internet.start()
    internet.run()
    assert len(internet.qualified) == 2
    ping = internet.ping()
    internet.run()
    assert ping.answered is not None
    internet.stop()
    nothing_is_left(internet)


def test_stopping_twice_is_stopping_once() -> None:
    internet = started()
    internet.stop()
    internet.stop()
    nothing_is_left(internet)


# ---------------------------------------------------------------- refusals at the start


def take_name(internet: TeredoInternet) -> None:
    internet.client.stack.add_link("teredo")


def take_server_port(internet: TeredoInternet) -> None:
    internet.server.listen_udp(DatagramProtocol(), "192.0.2.2", 3544)


def take_relay_port(internet: TeredoInternet) -> None:
    internet.relay.listen_udp(DatagramProtocol(), "0.0.0.0", 3545)


def take_address(internet: TeredoInternet) -> None:
    internet.server.stack.links["eth0"].addresses.pop()


def refuse_route(internet: TeredoInternet) -> None:
    internet.relay.refuses.append("add route")


@pytest.mark.parametrize(
    ("prevent", "line"),
    [
        (take_name, "8: [client a]: InterfaceName (default teredo): interface teredo: exists already"),
        (
            take_server_port,
            "1: [server s]: ServerBindAddress2 (default ServerBindAddress + 1): "
            "UDP 192.0.2.2 port 3544: Address already in use",
        ),
        (
            take_address,
            "1: [server s]: ServerBindAddress2 (default ServerBindAddress + 1): "
            "UDP 192.0.2.2 port 3544: Cannot assign requested address",
        ),
        (take_relay_port, "7: BindPort 3545: UDP 192.0.2.17 port 3545: Address already in use"),
        (refuse_route, "4: [relay r]: Prefix (default 2001:0::): add route: Operation not permitted"),
    ],
)
def test_a_role_that_cannot_start_says_where_and_why_in_one_line(
    prevent: Callable[[TeredoInternet], None], line: str
) -> None:
    internet = TeredoInternet()
    prevent(internet)
    with pytest.raises(CannotStart) as refusal:
        internet.roles.privilegedStartService()
    assert str(refusal.value) == f"miredo: lab.conf:{line}"


@pytest.mark.parametrize("prevent", [take_name, refuse_route])
def test_a_role_that_cannot_start_leaves_nothing_of_the_others_open(prevent: Callable[[TeredoInternet], None]) -> None:
    internet = TeredoInternet()
    prevent(internet)
    with pytest.raises(CannotStart):
        internet.roles.privilegedStartService()
    if prevent is take_name:
        internet.client.stack.delete_link("teredo")
    nothing_is_left(internet)


def test_two_clients_share_a_process() -> None:
    second = "[client b]\nServerAddress 192.0.2.1\n"
    internet = TeredoInternet(ROLES + second)
    internet.start()
    internet.run()
    one, other = internet.qualified
    assert {mapped_of(one)[:4], mapped_of(other)[:4]} == {CLIENT, CLIENT2}
    assert own(internet.client)[1] == own(internet.classic)[1] == [DEFAULT_ROUTE]


def test_sent_datagrams_are_told_with_their_time_and_destination() -> None:
    internet = started()
    first = internet.sent("client a")[0]
    assert isinstance(first, Sent)
    assert first.to == parse_ipv4("192.0.2.1") + (3544).to_bytes(2, "big")
    assert first.at == 1000.0


@pytest.mark.requirement("T9", "C45")
def test_nothing_goes_to_a_peer_that_embeds_an_address_or_broadcast_of_this_host() -> None:
    internet = started()
    core = internet.client_service().protocol.core
    for ipv4 in (CLIENT, *internet.client.network().broadcasts()):
        peer = compose(parse_ipv4("203.0.113.9"), endpoint(ipv4, 4096), 0)
        packet = emit_icmpv6(internet.qualified[0], peer, EchoRequest(1, 1, b"nothing"))
        assert core.transmit(packet, internet.clock.now()) == []
    assert core.drops[Drop.FORBIDDEN_IPV4] >= 2
