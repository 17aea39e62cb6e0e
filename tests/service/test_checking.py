# SPDX-License-Identifier: MIT
"""What would go wrong is found without starting anything, on the fakes."""

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.config import parse
from miredo.kernel.errors import refused
from miredo.kernel.interfaces import IRawIPv6
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryHook, MemoryInternet, MemoryPort
from miredo.service.checking import check, line
from miredo.service.diagnosis import Finding

ROLES = """\
[server s]
ServerBindAddress 192.0.2.1
[relay r]
BindPort 3545
[client a]
Namespace client
ServerAddress 192.0.2.1
"""
MIRE = "[mire m]\nBindAddress 192.0.2.1\n"


class Host(MemoryEndpoints):
    """A host whose filter and whose rights can be taken away."""

    closed = 0
    lacking = False

    def port_at(self, place: tuple[bytes, int]) -> MemoryPort | None:
        return None if place[1] == self.closed else super().port_at(place)

    def raw_ipv6(self) -> IRawIPv6:
        if self.lacking:
            raise refused(1, "raw IPv6 socket")
        return super().raw_ipv6()


class Machine:
    """Two namespaces, and what a check of a file says of them."""

    def __init__(self) -> None:
        self.clock = MemoryClock()
        internet = MemoryInternet(self.clock)
        self.host = Host(internet, [(parse_ipv4("192.0.2.1"), 28), (parse_ipv4("192.0.2.2"), 28)])
        self.host.stack.sysctls["net/ipv6/conf/all/forwarding"] = "1"
        self.client = Host(internet, [(parse_ipv4("198.51.100.7"), 24)], "client")
        self.route(self.client, bytes(4), 0)

    def route(self, host: Host, destination: bytes, length: int, metric: int | None = None) -> None:
        network = host.network()
        index = network.index_of("eth0")
        assert index is not None
        network.add_route(destination, length, index, metric)

    def namespace(self, name: str | None) -> Host:
        if name not in (None, "client"):
            raise AssertionError(name)
        return self.host if name is None else self.client

    def check(self, text: str = ROLES) -> list[str]:
        found: list[list[tuple[str, Finding]]] = []
        roles = parse(text, "a.conf", strict=True).roles
        Deferred.fromCoroutine(check(roles, self.namespace, self.clock, bytes)).addCallback(found.append)
        self.clock.advance(0)
        for _ in roles:
            self.clock.advance(2)
        return [line(title, finding) for title, finding in found[0]]


@pytest.mark.parametrize("text", [ROLES, MIRE])
def test_of_a_good_machine_there_is_nothing_to_say_and_nothing_is_left_on_it(text: str) -> None:
    machine = Machine()
    before = {each: set(each.stack.links) for each in (machine.host, machine.client)}
    assert machine.check(text) == []
    for each, links in before.items():
        assert set(each.stack.links) == links
        assert each.tunnels == []
        assert not any(sender.open for sender in each.raw_senders)
        assert not any(sender.open for sender in each.icmpv6_senders)
        assert not any(listener.open for listener in each.icmp_listeners)
        for port in (3544, 3545):
            assert each.port_at((parse_ipv4("192.0.2.1"), port)) is None
    assert machine.clock.armed == []


def test_nothing_is_sent_but_to_the_machine_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is looked up either."""
    sent: list[tuple[str, int]] = []
    write = MemoryPort.write

    def noted(port: MemoryPort, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        assert addr is not None
        sent.append(addr)
        write(port, packet, addr)

    monkeypatch.setattr(MemoryPort, "write", noted)
    machine = Machine()
    assert machine.check(ROLES.replace("ServerAddress 192.0.2.1", "ServerAddress teredo.example.org")) == []
    assert {address for address, _ in sent} == {"192.0.2.1", "192.0.2.2", "198.51.100.7"}
    assert machine.host.raw_senders[0].sent == []


def test_a_taken_port_is_an_error_with_its_directive_and_its_cure() -> None:
    machine = Machine()
    machine.host.listen_udp(DatagramProtocol(), "0.0.0.0", 3545)
    (said,) = machine.check()
    assert said.startswith(
        "error: relay r: a.conf:4: BindPort 3545: UDP 0.0.0.0 port 3545: Address already in use; cure:"
    )
    assert "ss -lunp" in said


def test_an_address_that_the_host_has_not_is_an_error() -> None:
    machine = Machine()
    (said,) = machine.check("[server s]\nServerBindAddress 192.0.2.2\n")
    assert said.startswith(
        "error: server s: a.conf:1: [server s]: ServerBindAddress2 (default ServerBindAddress + 1): "
    )
    assert "cure: name an address that this host has" in said


def test_an_interface_that_is_there_already_is_an_error() -> None:
    machine = Machine()
    machine.client.stack.add_link("teredo")
    (said,) = machine.check()
    assert said.startswith("error: client a: a.conf:5: [client a]: InterfaceName (default teredo): interface teredo:")


@pytest.mark.parametrize(("length", "metric"), [(32, 1), (33, 1024), (40, 2000)])
def test_a_route_that_the_kernel_would_prefer_to_the_relays_is_a_warning(length: int, metric: int) -> None:
    machine = Machine()
    machine.route(machine.host, parse_ipv6("2001::"), length, metric)
    machine.route(machine.host, parse_ipv6("2001::"), 32, 2000)
    (said,) = machine.check()
    assert said.startswith(f"warning: relay r: there is a route to 2001::/{length} with metric {metric} on this host")
    assert said.endswith(f"cure: ip -6 route del 2001::/{length} metric {metric}")


def test_servers_that_nothing_leads_to_are_a_warning() -> None:
    machine = Machine()
    network = machine.client.network()
    index = network.index_of("eth0")
    assert index is not None
    network.delete_route(bytes(4), 0, index)
    said = machine.check()
    assert [one.partition(";")[0] for one in said] == [
        f"warning: client a: there is no route to the server's address {address}"
        for address in ("192.0.2.1", "192.0.2.2")
    ]


def test_a_lack_of_rights_is_an_error() -> None:
    machine = Machine()
    machine.host.lacking = True
    (said,) = machine.check()
    assert said.endswith("cure: run as root, or with the capabilities CAP_NET_ADMIN and CAP_NET_RAW")


def test_what_the_host_lacks_is_a_warning_and_what_prevents_the_start_an_error() -> None:
    machine = Machine()
    machine.host.stack.sysctls["net/ipv6/conf/all/forwarding"] = "0"
    machine.client.stack.sysctls["net/ipv6/conf/default/disable_ipv6"] = "1"
    first, second = machine.check()
    assert first.startswith("warning: relay r: this host does not forward IPv6")
    assert second.startswith("error: client a: IPv6 is switched off on all new interfaces")


def test_a_packet_filter_is_a_warning() -> None:
    machine = Machine()
    machine.host.closed = 3545
    (said,) = machine.check()
    assert said.startswith("warning: relay r: datagrams to UDP 192.0.2.1 port 3545 do not arrive")


def test_a_secret_file_is_read_and_a_recording_must_have_its_folder(tmp_path: Path) -> None:
    machine = Machine()
    secret = tmp_path / "secret"
    secret.write_text("client-7 correct horse battery staple\n")
    secret.chmod(0o600)
    text = f"{ROLES}SecretFile {secret}\nRecord {tmp_path}/recording\n"
    assert machine.check(text) == []
    secret.chmod(0o644)
    (said,) = machine.check(text)
    assert said == f"error: client a: a.conf:8: SecretFile {secret}: others may read it; cure: chmod 600"
    secret.unlink()
    (said,) = machine.check(text.replace("/recording", "/no/recording"))[:1]
    assert said.endswith("No such file or directory; cure: create it with mode 600")
    assert machine.check(text.replace("/recording", "/no/recording"))[1].endswith(f"cure: see to {tmp_path}/no")
    assert list(tmp_path.iterdir()) == []


def test_a_hook_that_cannot_be_run_is_found() -> None:
    machine = Machine()
    hook = machine.client.hook("/etc/hook")
    assert isinstance(hook, MemoryHook)
    text = f"{ROLES}ClientHook /etc/hook\n"
    assert machine.check(text) == []
    hook.fault = refused(1, "hook /etc/hook", "not executable")
    assert machine.check(text) == [
        "error: client a: a.conf:8: ClientHook /etc/hook: hook /etc/hook: not executable; "
        "cure: ls -l /etc/hook; chown root: /etc/hook; chmod 755 /etc/hook"
    ]
    assert hook.runs == []
