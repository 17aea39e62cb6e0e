# SPDX-License-Identifier: MIT
"""What good files say."""

from datetime import date
from typing import TypeVar

import pytest

from miredo.address.endpoint import parse_ipv4
from miredo.config import (
    ClientConfig,
    ConfigError,
    FastPath,
    LogLevel,
    ProcessConfig,
    RelayConfig,
    RelayType,
    RoleConfig,
    ServerConfig,
    SyslogFacility,
    load,
    next_ipv4,
    parse,
)

Role = TypeVar("Role", bound=RoleConfig)

FIRST, SECOND = parse_ipv4("192.0.2.1"), parse_ipv4("192.0.2.2")

DISTRIBUTED = """\
# Please refer to the miredo.conf(5) man page for details.
InterfaceName\tteredo

# Pick a Teredo server:
#ServerAddress\tteredo.example.net
ServerAddress\tteredo.example.org

# Some firewall/NAT setups require a specific UDP port number:
#BindPort\t3545
"""


def only(kind: type[Role], text: str, *, program: str = "miredo", server_name: str | None = None) -> Role:
    """The one role of a text, which must be of that kind."""
    (role,) = parse(text, "miredo.conf", program=program, server_name=server_name).roles
    assert isinstance(role, kind)
    return role


def warned(text: str) -> list[str]:
    """The warnings of a classic file."""
    return [problem.message for problem in parse(text, "miredo.conf").warnings]


# Classic files


def test_a_file_as_distributions_ship_it_is_a_client() -> None:
    assert only(ClientConfig, DISTRIBUTED) == ClientConfig(server_address=("teredo.example.org",))


def test_a_client_may_have_several_servers() -> None:
    client = only(ClientConfig, "ServerAddress 192.0.2.1\nServerAddress b.example\n")
    assert client.server_address == (FIRST, "b.example")
    assert client.servers == ((FIRST, SECOND), ("b.example", None))


def test_the_second_address_of_a_server_can_be_any_other() -> None:
    other = parse_ipv4("203.0.113.9")
    assert only(ClientConfig, "ServerAddress a\nServerAddress2 203.0.113.9").servers == (("a", other),)


@pytest.mark.parametrize("word", ["client", "autoclient", "AutoClient"])
def test_a_relay_type_can_name_a_client(word: str) -> None:
    client = only(ClientConfig, f"RelayType {word}\nServerAddress 192.0.2.1")
    assert client.relay_type is RelayType(word.lower())


@pytest.mark.parametrize("word", ["cone", "relay", "CONE"])
def test_a_relay_type_can_name_a_relay_which_needs_nothing_else(word: str) -> None:
    relay = only(RelayConfig, f"RelayType {word}")
    assert relay == RelayConfig(relay_type=RelayType(word.lower()))
    assert not relay.direct_bubbles


def test_a_restricted_relay_sends_direct_bubbles_and_is_deprecated() -> None:
    assert only(RelayConfig, "RelayType restricted").direct_bubbles
    assert warned("RelayType restricted") == [
        "RelayType: restricted is deprecated: the relay sends direct bubbles too",
    ]


def test_an_address_to_bind_as_a_server_makes_a_server() -> None:
    assert only(ServerConfig, "serverbindaddress 192.0.2.1").bind_address2 == SECOND


def test_the_program_makes_a_server_which_then_needs_its_address() -> None:
    with pytest.raises(ConfigError, match="a server needs ServerBindAddress"):
        parse("InterfaceMTU 1400", "miredo-server.conf", program="miredo-server")


def test_an_unreadable_relay_type_is_the_only_complaint() -> None:
    for text in ("RelayType blah", "RelayType blah\nServerAddress 192.0.2.1"):
        with pytest.raises(ConfigError) as caught:
            parse(text, "miredo.conf", strict=True)
        assert len(caught.value.problems) == 1


def test_what_a_daemon_does_not_know_it_ignores_aloud() -> None:
    text = "ServerAddress a\nFoo bar\nServerBindAddress2 x y z\n"
    assert warned(text) == [
        'unknown directive "Foo"; ignored',
        "ServerBindAddress2 is for a server, not for a client; ignored",
    ]
    assert only(ClientConfig, text) == ClientConfig(server_address=("a",))


def test_every_directive_of_a_client_is_read() -> None:
    text = """
        ServerAddress 10.0.0.1
        ServerAddress2 10.0.0.9
        BindAddress 127.0.0.1
        BindPort 4096
        InterfaceName tun-x
        InterfaceMTU 1500
        RefreshInterval 20
        RouteMetric 1
        AllowIPv4   10.0.0.0/8\t192.168.0.1
        Namespace blue
    """
    assert only(ClientConfig, text) == ClientConfig(
        server_address=(parse_ipv4("10.0.0.1"),),
        server_address2=parse_ipv4("10.0.0.9"),
        bind_address=parse_ipv4("127.0.0.1"),
        bind_port=4096,
        interface_name="tun-x",
        interface_mtu=1500,
        refresh_interval=20,
        route_metric=1,
        allow_ipv4=("10.0.0.0/8", "192.168.0.1/32"),
        namespace="blue",
    )


@pytest.mark.parametrize(
    ("prefix", "octets"),
    [("2001:0::", "20010000"), ("2001::", "20010000"), ("2001:0::/32", "20010000"), ("3FFE:831F::", "3ffe831f")],
)
def test_a_prefix_is_its_first_four_bytes(prefix: str, octets: str) -> None:
    assert only(RelayConfig, f"RelayType relay\nPrefix {prefix}").prefix == bytes.fromhex(octets)


def test_every_directive_of_the_process_is_read() -> None:
    text = "User a\nChroot /b\nPidFile /c d\nSyslogFacility LOCAL7\nFastPath off\nLog debug\nRelayType cone"
    assert parse(text, "miredo.conf").process == ProcessConfig(
        user="a",
        chroot="/b",
        pid_file="/c d",
        syslog_facility=SyslogFacility.LOCAL7,
        fast_path=FastPath.OFF,
        log=LogLevel.DEBUG,
    )


@pytest.mark.parametrize(
    "text", ["\ufeffServerAddress a\r\nBindPort 1\r\n", b"\xef\xbb\xbfServerAddress a\r\nBindPort 1"]
)
def test_a_file_of_another_system_is_read_too(text: str | bytes) -> None:
    assert parse(text, "miredo.conf").roles == (ClientConfig(server_address=("a",), bind_port=1),)


@pytest.mark.parametrize(("address", "following"), [("10.0.0.255", "10.0.1.0"), ("255.255.255.255", "0.0.0.0")])
def test_the_next_address_carries(address: str, following: str) -> None:
    assert next_ipv4(parse_ipv4(address)) == parse_ipv4(following)


# Sections


def test_sections_make_several_roles_of_one_process() -> None:
    text = """
        Log warn
        [ SERVER one ]
        ServerBindAddress 192.0.2.1
        [relay Two.2]
        BindPort 3545
    """
    configuration = parse(text, "all.conf")
    assert configuration.process.log is LogLevel.WARN
    assert configuration.roles == (
        ServerConfig(name="one", bind_address=FIRST),
        RelayConfig(name="Two.2", bind_port=3545),
    )
    assert [role.title for role in configuration.roles] == ["server one", "relay Two.2"]


def test_names_of_sections_are_case_sensitive_and_kinds_have_names_of_their_own() -> None:
    text = "[relay a]\n[relay A]\nNamespace x\n[client a]\nServerAddress a\nNamespace y"
    assert [role.title for role in parse(text, "all.conf").roles] == ["relay a", "relay A", "client a"]


def test_another_namespace_is_another_world() -> None:
    text = "[relay a]\nBindPort 3545\n[relay b]\nBindPort 3545\nNamespace b"
    assert len(parse(text, "all.conf").roles) == 2


def test_a_port_can_be_shared_by_two_addresses() -> None:
    relay = "Prefix 2001:{0}::\nInterfaceName t{0}\nBindPort 3545\nBindAddress 192.0.2.{0}\n"
    assert len(parse(f"[relay a]\n{relay.format(1)}[relay b]\n{relay.format(2)}", "all.conf").roles) == 2


def test_ports_that_are_drawn_do_not_clash() -> None:
    text = "[relay a]\n[relay b]\nPrefix 2001:1::\nInterfaceName b"
    assert len(parse(text, "all.conf").roles) == 2


# The server of the command line


@pytest.mark.manual("M28")
def test_a_server_named_on_the_command_line_replaces_those_of_the_file() -> None:
    text = "ServerAddress 10.0.0.1\nServerAddress b\nServerAddress2 c"
    client = only(ClientConfig, text, server_name="d.example")
    assert client == ClientConfig(server_address=("d.example",))
    assert client.where("ServerAddress") == "command line: ServerAddress d.example"


def test_the_command_line_names_the_address_of_a_server() -> None:
    server = only(ServerConfig, "ServerBindAddress2 10.0.0.1", program="miredo-server", server_name="192.0.2.1")
    assert server == ServerConfig(bind_address=FIRST)


@pytest.mark.manual("M29")
def test_a_server_named_for_a_relay_is_ignored_aloud() -> None:
    configuration = parse("RelayType cone", "miredo.conf", server_name="a.example")
    assert [problem.render() for problem in configuration.warnings] == [
        "command line: warning: a.example is ignored: miredo.conf has no client\n  a.example\n  ^^^^^^^^^",
    ]


def test_a_server_named_for_one_of_several_clients_is_an_error() -> None:
    text = "[client a]\nServerAddress a\n[client b]\nServerAddress a\nNamespace b"
    with pytest.raises(ConfigError, match=r"command line: error: c could be for each of \[client a\], \[client b\]"):
        parse(text, "all.conf", server_name="c")


@pytest.mark.parametrize("name", ["", "10.0.0.1", "a b", "\x1b"])
def test_a_bad_server_on_the_command_line_is_said_to_be_there(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^command line: error: ServerAddress: "):
        parse("", "miredo.conf", server_name=name)


# Limits and days


def test_a_server_has_a_limit_for_each_source_and_a_last_day() -> None:
    server = only(ServerConfig, "ServerBindAddress 192.0.2.1\nRateLimit 0\nSunset 2028-02-29")
    assert (server.rate_limit, server.sunset) == (0, date(2028, 2, 29))
    assert only(ServerConfig, "ServerBindAddress 192.0.2.1").rate_limit == 200
    assert only(RelayConfig, "RelayType cone\nSunset 2028-02-29").sunset == date(2028, 2, 29)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Sunset 2027-02-29", "2027-02-29 is no day of the calendar"),
        ("Sunset 31.12.2027", "31.12.2027 is not a date"),
        ("Sunset 20271231", "20271231 is not a date"),
        ("Sunset 2027-W01-1", "2027-W01-1 is not a date"),
        ("RateLimit -1", "-1 is not a number of packets from 0 to 1000000"),
        ("RateLimit 1.5", "1.5 is not a number of packets"),
    ],
)
def test_what_is_no_limit_and_no_day_is_refused(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(f"ServerBindAddress 192.0.2.1\n{line}", "a.conf")


# Places


def test_a_directive_knows_its_line() -> None:
    client = only(ClientConfig, "ServerAddress a\n\nbindport   3544\nServerAddress b")
    assert client.where("BindPort") == "miredo.conf:3: bindport 3544"
    assert client.where("ServerAddress", 1) == "miredo.conf:4: ServerAddress b"


def test_a_directive_that_is_not_there_knows_its_section_and_its_default() -> None:
    (relay,) = parse("\n[relay r]\n", "lab.conf").roles
    assert relay.where("BindPort") == "lab.conf:2: [relay r]: BindPort (default 0)"
    assert relay.where("Namespace") == "lab.conf:2: [relay r]: Namespace (default none)"
    assert only(ClientConfig, "ServerAddress a").where("ServerAddress2") == (
        "miredo.conf: ServerAddress2 (default ServerAddress + 1)"
    )
    assert parse("User a\nRelayType cone", "miredo.conf").process.where("User") == "miredo.conf:1: User a"


def test_a_role_that_was_read_from_no_file_can_still_be_asked() -> None:
    client = ClientConfig(server_address=(FIRST,))
    assert client.where("BindPort") == "BindPort (default 0)"
    assert client.where("ServerAddress") == "ServerAddress"


def test_places_make_no_difference_between_two_roles() -> None:
    one, other = only(RelayConfig, "RelayType cone"), only(RelayConfig, "\n\nRelayType cone")
    assert one == other
    assert hash(one) == hash(other)


def test_the_file_is_called_what_it_was_opened_as(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("etc") / "a.conf"
    path.write_text("RelayType cone\nBindPort 1\n")
    assert load(path).roles[0].where("BindPort") == f"{path}:2: BindPort 1"
