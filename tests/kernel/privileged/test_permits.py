# SPDX-License-Identifier: MIT
"""What the worker may ask for is what the configuration names: each command, refused and permitted."""

from dataclasses import dataclass
from errno import EINVAL, ENAMETOOLONG, EPERM

import pytest

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.address.teredo import CLIENT_LINK_LOCAL
from miredo.config import parse
from miredo.kernel.privileged import commands as ask
from miredo.kernel.privileged import permits as rules
from miredo.kernel.privileged.charge import Charge
from miredo.kernel.privileged.commands import COMMANDS, Command
from miredo.kernel.privileged.permits import Hook, Permits
from tests.kernel.bench import refused_with

TEXT = """
[client c]
ServerAddress 192.0.2.1
BindAddress 192.0.2.9
BindPort 500
SecretFile /etc/miredo/secret
Record /var/log/client.rec
[relay r]
Namespace left
InterfaceName relay
Prefix 2001:db8::
[client d]
Namespace right
ServerAddress 192.0.2.1
ClientHook /usr/local/sbin/own-hook
[server s]
Namespace server
ServerBindAddress 192.0.2.1
SecretFile /etc/miredo/secrets
"""
FILE, HOOK = "/etc/miredo/miredo.conf", "/etc/miredo/client-hook"
ADDRESS, OTHER = parse_ipv6("2001:0:c000:201::1"), parse_ipv6("2001:db8::1")
LOCAL = CLIENT_LINK_LOCAL
ANYWHERE, SERVED, RELAYED = bytes(16), parse_ipv6("2001::"), parse_ipv6("2001:db8::")
IPV4 = parse_ipv4("192.0.2.7")
CLIENT, RELAY = 7, 8
TABLE = 84
UP = {"STATE": "up", "OLD_STATE": "down", "IFACE": "teredo", "IFINDEX": str(CLIENT)}
NEW = {"ADDRESS": "2001:0:c000:201::1", "LLADDRESS": "fe80::ffff:ffff:ffff", "MTU": "1280"}
OLD = {f"OLD_{name}": value for name, value in NEW.items()}


@dataclass(frozen=True)
class Unheard(Command):
    """A command that nobody has thought of."""


@pytest.fixture
def permits(monkeypatch: pytest.MonkeyPatch) -> Permits:
    """Of L{usual_permits}, where the table is."""
    monkeypatch.setattr(rules, "table_named", {"teredo": TABLE}.get)
    return usual_permits()


def usual_permits() -> Permits:
    """Of L{TEXT}; a client's tunnel has index 7, a relay's 8 in another namespace."""
    permits = Permits(Charge("miredo", FILE, TEXT.encode(), hook=HOOK))
    permits.grow(parse(TEXT, FILE))
    permits.indices[None, "teredo"] = CLIENT
    permits.indices["left", "relay"] = RELAY
    return permits


PERMITTED = [
    ask.OpenUDP(None, "0.0.0.0", 0),
    ask.OpenUDP("left", "198.51.100.1", 1024),
    ask.OpenUDP(None, "192.0.2.9", 500),
    ask.OpenGroup(None, "224.0.0.253", 3544),
    ask.OpenRawIPv6("server"),
    ask.OpenICMPv6(None),
    ask.OpenICMPv6("left"),
    ask.OpenICMPErrors("right"),
    ask.OpenNetlink("server", news=True),
    ask.OpenTunnel("left", "relay", 1280),
    ask.CheckTunnel(None, "teredo"),
    ask.ReadSysctl("server", "net/ipv4/conf/eth0/rp_filter"),
    ask.ReadSysctl(None, "net/ipv6/conf/default/disable_ipv6"),
    ask.OpenFile(FILE),
    ask.OpenFile("/etc/hosts"),
    ask.OpenFile("/etc/netns/left/resolv.conf"),
    ask.OpenFile("/etc/miredo/secret"),
    ask.OpenFile("/etc/miredo/secrets"),
    ask.OpenFile("/run/systemd/netif/links/7"),
    ask.OpenFile("/run/NetworkManager"),
    ask.OpenRecord("/var/log/client.rec"),
    ask.DiscardRecord("/var/log/client.rec"),
    ask.SetUp(None, CLIENT, 1280),
    ask.SetDown("left", RELAY),
    ask.AddAddress(None, CLIENT, ADDRESS, 32),
    ask.AddAddress(None, CLIENT, LOCAL, 64),
    ask.DeleteAddress(None, CLIENT, LOCAL, 64),
    ask.AddRoute(None, CLIENT, ANYWHERE, 0, 1029, None, None),
    ask.AddRoute(None, CLIENT, ANYWHERE, 0, None, None, TABLE),
    ask.AddRoute("left", RELAY, RELAYED, 32, None, None, None),
    ask.DeleteRoute(None, CLIENT, ANYWHERE, 0, 1029, None, 99),
    ask.AddRule(None, ADDRESS, TABLE, 32765),
    ask.DeleteRule(None, ADDRESS, 99, 32765),
    ask.RemoveLeftovers(None),
    ask.NumberTable("teredo"),
    ask.OpenSyslog(),
    ask.RunHook(None, {**UP, **NEW}),
    ask.RunHook(None, {**UP, **NEW, **OLD, "OLD_STATE": "up"}),
    ask.RunHook(None, {"STATE": "destroy", "IFACE": "teredo"}),
    ask.Detach(),
    ask.End(),
]

REFUSED = [
    (ask.OpenUDP("elsewhere", "0.0.0.0", 0), EPERM),
    (ask.OpenUDP("../../proc/1/ns/net", "0.0.0.0", 0), EPERM),
    (ask.OpenUDP(None, "0.0.0.0", 500), EPERM),
    (ask.OpenUDP("left", "192.0.2.9", 500), EPERM),
    (ask.OpenUDP(None, "192.0.2.9", 53), EPERM),
    (ask.OpenUDP(None, "localhost", 0), EINVAL),
    (ask.OpenUDP(None, "0.0.0.0\0", 0), EINVAL),
    (ask.OpenUDP(None, "0.0.0.0", 65536), EINVAL),
    (ask.OpenGroup("left", "224.0.0.253", 3544), EPERM),
    (ask.OpenGroup(None, "224.0.0.253", 5), EPERM),
    (ask.OpenGroup(None, "192.0.2.1", 3544), EINVAL),
    (ask.OpenGroup(None, "224.0.0.253", 65536), EINVAL),
    (ask.OpenRawIPv6(None), EPERM),
    (ask.OpenICMPv6("server"), EPERM),
    (ask.OpenICMPErrors("left"), EPERM),
    (ask.OpenNetlink("elsewhere", news=False), EPERM),
    (ask.OpenTunnel(None, "relay", 1280), EPERM),
    (ask.OpenTunnel("left", "teredo", 1280), EPERM),
    (ask.OpenTunnel(None, "eth0", 1280), EPERM),
    (ask.OpenTunnel(None, "tun%d", 1280), EINVAL),
    (ask.OpenTunnel(None, "a23456789012345x", 1280), ENAMETOOLONG),
    (ask.CheckTunnel(None, "eth0"), EPERM),
    (ask.ReadSysctl("elsewhere", "net/ipv4/conf/eth0/rp_filter"), EPERM),
    (ask.ReadSysctl(None, "net/ipv6/conf/all/stable_secret"), EPERM),
    (ask.ReadSysctl(None, "kernel/core_pattern"), EPERM),
    (ask.ReadSysctl(None, "net/ipv6/conf/all/../../../../kernel/hostname"), EINVAL),
    (ask.ReadSysctl(None, "net/ipv6/conf//disable_ipv6"), EINVAL),
    (ask.ReadSysctl(None, "net/ipv6/conf/a\0b/disable_ipv6"), EINVAL),
    (ask.OpenFile("/etc/shadow"), EPERM),
    (ask.OpenFile("/etc/netns/elsewhere/hosts"), EPERM),
    (ask.OpenFile("/etc/netns/../shadow/hosts"), EPERM),
    (ask.OpenFile("/var/log/client.rec"), EPERM),
    (ask.OpenFile("/run/systemd/netif/links/8"), EPERM),
    (ask.OpenFile("/run/systemd/netif/links/1"), EPERM),
    (ask.OpenFile(""), EPERM),
    (ask.OpenRecord("/etc/miredo/secret"), EPERM),
    (ask.DiscardRecord("/etc/hosts"), EPERM),
    (ask.SetUp(None, RELAY, None), EPERM),
    (ask.SetUp("left", CLIENT, None), EPERM),
    (ask.SetDown(None, 1), EPERM),
    (ask.AddAddress(None, 2, ADDRESS, 32), EPERM),
    (ask.AddAddress(None, CLIENT, ADDRESS, 64), EPERM),
    (ask.AddAddress(None, CLIENT, OTHER, 32), EPERM),
    (ask.AddAddress(None, CLIENT, LOCAL, 32), EPERM),
    (ask.AddAddress(None, CLIENT, IPV4, 24), EPERM),
    (ask.AddAddress(None, CLIENT, b"\x20\x01\0\0", 32), EPERM),
    (ask.AddAddress(None, CLIENT, ADDRESS, 129), EINVAL),
    (ask.AddAddress(None, CLIENT, b"", 0), EINVAL),
    (ask.AddAddress("left", RELAY, ADDRESS, 32), EPERM),
    (ask.DeleteAddress(None, 2, ADDRESS, 32), EPERM),
    (ask.DeleteAddress(None, CLIENT, OTHER, 64), EPERM),
    (ask.AddRoute(None, 2, ANYWHERE, 0, None, None, None), EPERM),
    (ask.AddRoute(None, CLIENT, ANYWHERE, 0, None, OTHER, None), EPERM),
    (ask.AddRoute(None, CLIENT, ANYWHERE, 0, None, None, 255), EPERM),
    (ask.AddRoute(None, CLIENT, ANYWHERE, 1, None, None, None), EPERM),
    (ask.AddRoute(None, CLIENT, bytes(4), 0, None, None, None), EPERM),
    (ask.AddRoute(None, CLIENT, SERVED, 32, None, None, None), EPERM),
    (ask.AddRoute("left", RELAY, ANYWHERE, 0, None, None, None), EPERM),
    (ask.AddRoute("left", RELAY, SERVED, 32, None, None, None), EPERM),
    (ask.AddRoute("left", RELAY, RELAYED, 33, None, None, None), EPERM),
    (ask.AddRoute("left", RELAY, RELAYED, 32, None, None, TABLE), EPERM),
    (ask.AddRoute(None, CLIENT, ANYWHERE, 129, None, None, None), EINVAL),
    (ask.DeleteRoute(None, 2, ANYWHERE, 0, None, None, None), EPERM),
    (ask.DeleteRoute("left", RELAY, ANYWHERE, 0, None, None, None), EPERM),
    (ask.AddRule(None, OTHER, TABLE, 32765), EPERM),
    (ask.AddRule(None, ADDRESS, 254, 32765), EPERM),
    (ask.AddRule(None, ADDRESS, TABLE, 0), EPERM),
    (ask.AddRule(None, ADDRESS, TABLE, 32767), EPERM),
    (ask.AddRule("left", ADDRESS, TABLE, 32765), EPERM),
    (ask.AddRule(None, b"\x20\x01\0\0", TABLE, 32765), EPERM),
    (ask.AddRule(None, b"", TABLE, 32765), EINVAL),
    (ask.DeleteRule(None, OTHER, TABLE, 32765), EPERM),
    (ask.RemoveLeftovers("elsewhere"), EPERM),
    (ask.RunHook(None, {}), EPERM),
    (ask.RunHook(None, {"IFACE": "teredo"}), EPERM),
    (ask.RunHook(None, {**UP, "IFACE": "eth0"}), EPERM),
    (ask.RunHook("left", {**UP, "IFACE": "relay", "IFINDEX": "8"}), EPERM),
    (ask.RunHook(None, {**UP, "IFINDEX": "1"}), EPERM),
    (ask.RunHook("right", {"STATE": "up", "IFACE": "teredo", "IFINDEX": ""}), EPERM),
    (ask.RunHook(None, {**UP, "STATE": "reboot"}), EPERM),
    (ask.RunHook(None, {**UP, "OLD_STATE": "up\n"}), EPERM),
    (ask.RunHook(None, {**UP, "PATH": "/tmp"}), EPERM),
    (ask.RunHook(None, {**UP, "LD_PRELOAD": "/tmp/evil.so"}), EPERM),
    (ask.RunHook(None, {**UP, "OLD_OLD_STATE": "up"}), EPERM),
    (ask.RunHook(None, {**UP, "OLD_IFACE": "teredo"}), EPERM),
    (ask.RunHook(None, {**UP, "ADDRESS": "2001:db8::1"}), EPERM),
    (ask.RunHook(None, {**UP, "ADDRESS": "2001:0:c000:201::1; reboot"}), EPERM),
    (ask.RunHook(None, {**UP, "ADDRESS": "2001:0:C000:201::1"}), EPERM),
    (ask.RunHook(None, {**UP, "LLADDRESS": "2001:0:c000:201::1"}), EPERM),
    (ask.RunHook(None, {**UP, "LLADDRESS": "fe80::1%eth0"}), EPERM),
    (ask.RunHook(None, {**UP, "MTU": "1279"}), EPERM),
    (ask.RunHook(None, {**UP, "MTU": "65536"}), EPERM),
    (ask.RunHook(None, {**UP, "MTU": "$(reboot)"}), EPERM),
    (Unheard(), EPERM),
]


def name(command: Command) -> str:
    return type(command).__name__


@pytest.mark.requirement("T36")
@pytest.mark.parametrize("command", PERMITTED, ids=name)
def test_what_the_configuration_names_is_permitted(permits: Permits, command: Command) -> None:
    permits.check(command)


@pytest.mark.requirement("T36")
@pytest.mark.parametrize(("command", "errno"), REFUSED, ids=[name(command) for command, _ in REFUSED])
def test_what_it_does_not_name_is_refused(permits: Permits, command: Command, errno: int) -> None:
    with refused_with(errno):
        permits.check(command)


def test_every_command_is_permitted_to_somebody_and_whatever_could_do_harm_is_refused_to_somebody() -> None:
    harmless = {ask.NumberTable, ask.OpenSyslog, ask.Detach, ask.End}
    assert {type(command) for command in PERMITTED} == set(COMMANDS.values())
    assert {type(command) for command, _ in REFUSED} == {*COMMANDS.values(), Unheard} - harmless


@pytest.mark.parametrize(
    "command", [command for command in PERMITTED if isinstance(command, ask.InNamespace)], ids=name
)
def test_without_a_role_nothing_of_a_namespace_is_permitted(command: Command) -> None:
    with refused_with(EPERM):
        Permits(Charge("miredo", FILE, b"", hook=HOOK)).check(command)


def test_each_client_has_the_hook_of_its_section_or_that_of_the_program(permits: Permits) -> None:
    assert permits.hook(ask.RunHook(None, UP)) == Hook(HOOK, None, UP)
    down = {"STATE": "down", "IFACE": "teredo"}
    assert permits.hook(ask.RunHook("right", down)) == Hook("/usr/local/sbin/own-hook", "right", down)


def test_a_client_without_a_hook_has_none() -> None:
    permits = Permits(Charge("miredo", FILE, b""))
    permits.grow(parse("ServerAddress 192.0.2.1\n", FILE))
    with refused_with(EPERM):
        permits.check(ask.RunHook(None, {"STATE": "down", "IFACE": "teredo"}))


def test_after_a_reload_the_old_and_the_new_are_permitted(permits: Permits) -> None:
    permits.grow(parse("[relay r]\nNamespace left\nInterfaceName other\n", FILE))
    for tunnel in ("relay", "other"):
        permits.check(ask.OpenTunnel("left", tunnel, 1280))


def test_a_program_without_tunnels_needs_nothing_for_them(permits: Permits) -> None:
    server = Permits(Charge("miredo-server", FILE, b""))
    server.grow(parse("ServerBindAddress 192.0.2.1\n", FILE, program="miredo-server"))
    assert (permits.has_tunnels, server.has_tunnels) == (True, False)
