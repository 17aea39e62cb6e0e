# SPDX-License-Identifier: MIT
"""What is wrong with a host is said once, with the cure; a host with which nothing is wrong hears nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.address.teredo import SERVICE_PREFIX
from miredo.config import ClientConfig, RelayConfig, ServerConfig
from miredo.config.words import RelayType
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryInternet, MemoryNetwork, MemoryStack
from miredo.service import diagnosis
from miredo.service.configuring import Configured
from miredo.service.daemon import CannotStart
from miredo.service.diagnosis import Diagnosis, Finding, forwarding_off, of_host, strict_filter
from tests.service.internet import ROLES, RecordingEndpoints, TeredoInternet, logging

FORWARDING = "net/ipv6/conf/all/forwarding"
DISABLED = "net/ipv6/conf/default/disable_ipv6"
OURS, FOREIGN = parse_ipv6("2001:db8:1::1"), parse_ipv6("fe80::bad")
PREFIX = parse_ipv6("2001::")
RELAY = RelayConfig(bind_address=parse_ipv4("192.0.2.17"))
HOST_RELAY = RelayConfig(relay_type=RelayType.HOST)
SERVER = ServerConfig(bind_address=parse_ipv4("192.0.2.1"))
CLIENT = ClientConfig(server_address=(parse_ipv4("192.0.2.1"),))


def network() -> MemoryNetwork:
    """A host with a way out, with which nothing is wrong."""
    internet = TeredoInternet("[server s]\nNamespace server\nServerBindAddress 192.0.2.1\n")
    found = MemoryNetwork(internet.server.stack, {})
    found.set_sysctl(FORWARDING, 1)
    found.add_route(bytes(4), 0, index(found, "eth0"))
    return found


def index(found: MemoryNetwork, name: str) -> int:
    number = found.index_of(name)
    assert number is not None
    return number


def second_way_out(found: MemoryNetwork) -> None:
    found.stack.add_link("eth1")
    found.set_up(index(found, "eth1"))
    found.add_route(bytes(4), 0, index(found, "eth1"), metric=10)


# ---------------------------------------------------------------- before a role starts


@pytest.mark.parametrize("config", [RELAY, HOST_RELAY, SERVER, CLIENT])
def test_with_a_good_host_nothing_is_wrong(config: RelayConfig | ServerConfig | ClientConfig) -> None:
    assert of_host(config, network()) == []


def test_a_relay_needs_forwarding_unless_it_is_for_its_own_host() -> None:
    host = network()
    host.set_sysctl(FORWARDING, 0)
    (finding,) = of_host(RELAY, host)
    assert "net.ipv6.conf.all.forwarding is 0" in finding.what
    assert finding.cure.startswith("sysctl -w net.ipv6.conf.all.forwarding=1")
    assert not finding.prevents
    assert [of_host(config, host) for config in (HOST_RELAY, SERVER, CLIENT)] == [[], [], []]


def test_a_tunnel_needs_ipv6_and_a_server_has_no_tunnel() -> None:
    host = network()
    host.set_sysctl(DISABLED, 1)
    for config in (RELAY, CLIENT):
        (finding,) = of_host(config, host)
        assert finding.prevents
        assert finding.cure == "sysctl -w net.ipv6.conf.default.disable_ipv6=0"
    assert of_host(SERVER, host) == []


@pytest.mark.parametrize(
    ("every", "one", "wrong"),
    [(0, 0, False), (1, 0, True), (0, 1, True), (2, 1, False), (1, 2, False), (2, 0, False)],
)
def test_the_strict_filter_hurts_beside_a_second_way_out(every: int, one: int, wrong: bool) -> None:
    """The larger value of the two counts, and 2 is the loose one."""
    host = network()
    host.set_sysctl("net/ipv4/conf/all/rp_filter", every)
    for name in ("eth0", "eth1"):
        host.set_sysctl(f"net/ipv4/conf/{name}/rp_filter", one)
    assert strict_filter(host) is None
    second_way_out(host)
    finding = strict_filter(host)
    assert (finding is not None) == wrong
    if finding is not None:
        assert finding.cure == "sysctl -w net.ipv4.conf.eth0.rp_filter=2 net.ipv4.conf.eth1.rp_filter=2"


def test_two_routes_by_one_link_are_one_way_out() -> None:
    host = network()
    host.set_sysctl("net/ipv4/conf/all/rp_filter", 1)
    host.add_route(bytes(4), 0, index(host, "eth0"), metric=10)
    assert strict_filter(host) is None


def test_what_cannot_be_read_is_not_held_against_anybody() -> None:
    class Unreadable(MemoryNetwork):
        def get_sysctl(self, path: str) -> str:
            raise OSError(13, path)

    host = network()
    host.set_sysctl(FORWARDING, 0)
    assert forwarding_off(Unreadable(host.stack, {})) is None
    assert forwarding_off(host) is not None


def test_the_same_is_said_once() -> None:
    one, other = Finding("it is off", "switch it on"), Finding("it is gone", "fetch it")
    told = Diagnosis("relay r")
    with logging() as logged:
        for _ in range(3):
            told.say(one, None)
        told.say(one, other)
    assert logged.lines == [
        ("warn", "relay r: it is off; cure: switch it on"),
        ("warn", "relay r: it is gone; cure: fetch it"),
    ]


# ---------------------------------------------------------------- while it runs


Change = Callable[[MemoryNetwork, int], None]


def set_down(found: MemoryNetwork, tunnel: int) -> None:
    found.set_down(tunnel)


def add_address(found: MemoryNetwork, tunnel: int) -> None:
    found.add_address(tunnel, FOREIGN, 64)


def add_ipv4_address(found: MemoryNetwork, tunnel: int) -> None:
    found.add_address(tunnel, parse_ipv4("198.18.0.1"), 24)


def delete_addresses(found: MemoryNetwork, tunnel: int) -> None:
    for address, length in list(found.addresses(tunnel)):
        found.delete_address(tunnel, address, length)


def delete_routes(found: MemoryNetwork, tunnel: int) -> None:
    for destination, length, metric in found.routes(tunnel):
        found.delete_route(destination, length, tunnel, metric)


def rename(found: MemoryNetwork, tunnel: int) -> None:
    links = found.stack.links
    links["tun9"] = links.pop("teredo")
    found.stack.changed()
    assert found.index_of("tun9") == tunnel


TAMPERINGS: dict[str, tuple[Change, str]] = {
    "down": (set_down, "it was set down"),
    "foreign": (add_address, "it has an address that is not ours, fe80::bad/64"),
    "address": (delete_addresses, "our address fe80::ffff:ffff:ffff/64 is gone"),
    "route": (delete_routes, "our route to ::/0 is gone"),
    "renamed": (rename, "it was renamed or deleted"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_who_changes_a_client_s_tunnel_is_noticed_once(name: str) -> None:
    change, what = TAMPERINGS[name]
    internet, found, tunnel = qualified()
    with logging() as logged:
        change(found, tunnel)
        internet.run()
        found.stack.changed()
        internet.run(60)
    (line,) = logged.at("warn")
    assert line.startswith(f"client a: another program manages teredo: {what}; cure: find it (ip monitor)")


def qualified() -> tuple[TeredoInternet, MemoryNetwork, int]:
    internet = TeredoInternet()
    internet.start()
    internet.run()
    found = MemoryNetwork(internet.client.stack, {})
    return internet, found, index(found, "teredo")


def test_who_goes_on_changing_it_is_not_said_again() -> None:
    internet, found, tunnel = qualified()
    with logging() as logged:
        for change in (add_address, delete_addresses, set_down, set_down):
            change(found, tunnel)
            internet.run(1)
    assert len(logged.at("warn")) == 3  # each kind of change once


def test_an_ipv4_address_on_the_tunnel_is_nobody_s_fault() -> None:
    internet, found, tunnel = qualified()
    with logging() as logged:
        add_ipv4_address(found, tunnel)
        internet.run(60)
    assert logged.at("warn") == []


def test_what_a_client_changes_itself_is_no_tampering() -> None:
    with logging() as logged:
        internet, found, _ = qualified()
        eth0 = index(found, "eth0")
        found.delete_address(eth0, parse_ipv4("198.51.100.7"), 24)
        found.add_address(eth0, parse_ipv4("198.51.100.8"), 24)
        internet.run(100)
        internet.stop()
    assert len(internet.qualified) == 2
    assert logged.at("warn") == []


def test_ipv6_that_is_switched_off_on_the_tunnel_is_told_as_such() -> None:
    internet, found, tunnel = qualified()
    with logging() as logged:
        found.set_sysctl("net/ipv6/conf/teredo/disable_ipv6", 1)
        delete_addresses(found, tunnel)
        internet.run()
    (line,) = logged.at("warn")
    assert "(net.ipv6.conf.teredo.disable_ipv6 is 1); cure: sysctl -w net.ipv6.conf.teredo.disable_ipv6=0" in line


def test_a_route_that_takes_clients_elsewhere_is_said_by_the_relay() -> None:
    internet = TeredoInternet()
    internet.start()
    internet.run()
    found = MemoryNetwork(internet.relay.stack, {})
    with logging() as logged:
        found.add_route(PREFIX, 32, index(found, "eth0"), metric=1)
        internet.run()
    (line,) = logged.at("warn")
    assert line.startswith("relay r: packets for 2001::/32 go into eth0 and not into teredo: another route or rule")
    assert "cure: ip -6 route show 2001::/32" in line


def test_a_route_that_was_there_before_is_said_at_the_start() -> None:
    internet = TeredoInternet()
    found = MemoryNetwork(internet.relay.stack, {})
    found.add_route(PREFIX, 40, index(found, "eth0"))
    with logging() as logged:
        internet.start()
    assert [line for line in logged.at("warn") if "go into eth0" in line] == logged.at("warn")
    assert len(logged.at("warn")) == 1


# ---------------------------------------------------------------- who it was


@contextmanager
def run_folder(folder: Path) -> Iterator[None]:
    """Let that folder be /run."""
    before = diagnosis.RUN
    diagnosis.RUN = str(folder)
    yield
    diagnosis.RUN = before


def endpoints(namespace: str | None) -> MemoryEndpoints:
    return MemoryEndpoints(MemoryInternet(MemoryClock()), namespace=namespace)


def cure(folder: Path, namespace: str | None = None) -> str:
    """What to do about a foreign address."""
    internet, found, tunnel = qualified()
    found.add_address(tunnel, FOREIGN, 64)
    ours = Configured(tuple((one, length) for one, length in found.addresses(tunnel) if one != FOREIGN))
    with run_folder(folder):
        finding = diagnosis.tampered(found, internet.client.tunnel, ours, endpoints(namespace))
    assert finding is not None
    return finding.cure


def networkd(folder: Path, state: str) -> None:
    links = folder / "systemd/netif/links"
    links.mkdir(parents=True)
    for number in range(1, 9):
        (links / str(number)).write_text(f"# This is private data. Do not parse.\nADMIN_STATE={state}\n")


def test_network_manager_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "NetworkManager").mkdir()
    assert "unmanaged-devices=interface-name:teredo" in cure(tmp_path)
    assert "find it" in cure(tmp_path, namespace="left")


def test_systemd_networkd_is_told_apart_if_it_manages_the_link(tmp_path: Path) -> None:
    networkd(tmp_path, "configured")
    assert "/etc/systemd/network/10-teredo.network" in cure(tmp_path)
    assert "find it" in cure(tmp_path, namespace="left")


def test_systemd_networkd_that_leaves_the_link_alone_is_not_blamed(tmp_path: Path) -> None:
    networkd(tmp_path, "unmanaged")
    assert "find it" in cure(tmp_path)


# ---------------------------------------------------------------- at the start of a role


def warned(prepare: Callable[[MemoryStack], None], role: str) -> list[str]:
    """What a role of the usual Internet warns of in its first minute."""
    internet = TeredoInternet(ROLES)
    namespaces: dict[str, RecordingEndpoints] = {"relay r": internet.relay, "client a": internet.client}
    prepare(namespaces[role].stack)
    with logging() as logged:
        internet.start()
        internet.run(60)
        internet.stop()
    assert all(line.startswith(f"{role}: ") for line in logged.at("warn"))
    return logged.at("warn")


def test_a_relay_says_at_its_start_that_nothing_is_forwarded() -> None:
    def prepare(stack: MemoryStack) -> None:
        stack.sysctls[FORWARDING] = "0"

    (line,) = warned(prepare, "relay r")
    assert "this host does not forward IPv6" in line


def test_a_client_says_at_its_start_that_ipv6_is_off() -> None:
    def prepare(stack: MemoryStack) -> None:
        stack.sysctls[DISABLED] = "1"

    (line,) = warned(prepare, "client a")
    assert "IPv6 is switched off on all new interfaces" in line


@pytest.mark.parametrize("role", ["relay r", "client a"])
def test_a_role_on_a_good_host_warns_of_nothing(role: str) -> None:
    assert warned(lambda stack: None, role) == []


def test_a_route_that_leaves_the_relays_no_place_is_told_before_it_cannot_start() -> None:
    internet = TeredoInternet()
    found = MemoryNetwork(internet.relay.stack, {})
    found.add_route(SERVICE_PREFIX + bytes(12), 32, index(found, "eth0"))
    with logging() as logged, pytest.raises(CannotStart, match="File exists"):
        internet.roles.privilegedStartService()
    assert [line for line in logged.at("warn") if "cure: ip -6 route del 2001::/32" in line] != []
