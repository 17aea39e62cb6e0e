# SPDX-License-Identifier: MIT
"""Broken files, each with what is said of it.

L{MIREDO_REFUSES} are cases of miredo-checkconf 1.2.6 too; the first six rows of L{OURS} it passes in silence. Whole
texts are in C{refusals.txt}, beside what miredo-checkconf says.
One of its cases is none of ours: a server's name is looked up by the role, not by the parser.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from miredo.config import ClientConfig, ConfigError, Configuration, load, parse

SERVER = "ServerAddress 192.0.2.1\n"

MIREDO_REFUSES = [
    pytest.param("", "miredo.conf: error: a client needs ServerAddress", id="empty file"),
    pytest.param(f"{SERVER}BindPrt 3545", '2:1: error: unknown directive "BindPrt"', id="unknown directive"),
    pytest.param(f"{SERVER}BindPort 1\nBINDPORT 2", "3:1: error: BindPort is given twice", id="repeated directive"),
    pytest.param(
        f"{SERVER}ServerBindAddress2 192.0.2.2",
        "2:1: error: ServerBindAddress2 is for a server, not for a client",
        id="directive of a server",
    ),
    pytest.param(
        f"RelayType cone\n{SERVER}", "2:1: error: ServerAddress is for a client, not for a relay", id="of a client"
    ),
    pytest.param(
        f"{SERVER}Prefix 2001::", "2:1: error: Prefix is for a relay or a server, not for a client", id="of a relay"
    ),
    pytest.param(
        f"{SERVER}RelayType blah",
        "2:11: error: RelayType: blah is not one of client, autoclient, cone, relay, restricted",
        id="relay type",
    ),
    pytest.param(f"{SERVER}BindPort 99999", "2:10: error: BindPort: 99999 is not a port from 0 to 65535", id="port"),
    pytest.param(f"{SERVER}BindPort abc", "2:10: error: BindPort: abc is not a port from 0 to 65535", id="letters"),
    pytest.param(
        f"{SERVER}InterfaceMTU 70000",
        "2:14: error: InterfaceMTU: 70000 is not an MTU from 1280 to 65535",
        id="large MTU",
    ),
    pytest.param(
        f"{SERVER}BindAddress 300.1.1.1", "2:13: error: BindAddress: 300.1.1.1 is not an IPv4 address", id="address"
    ),
    pytest.param(
        "RelayType cone\nPrefix zzz", "2:8: error: Prefix: zzz is not an IPv6 prefix such as 2001:0::", id="prefix"
    ),
    pytest.param(
        f"{SERVER}SyslogFacility nope", "2:16: error: SyslogFacility: nope is not one of auth, authpriv", id="facility"
    ),
    pytest.param(f"{SERVER}BindPort", "2:1: error: BindPort: there is no value", id="no value"),
    pytest.param(
        f"{SERVER}InterfaceName {'x' * 1020}", "2:1: error: the line has 1034 bytes, 1024 are the limit", id="long line"
    ),
]

OURS = [
    pytest.param(
        "ServerAddress 10.0.0.1",
        "1:15: error: ServerAddress: 10.0.0.1 is in 10.0.0.0/8 (private network",
        id="private server",
    ),
    pytest.param(
        "RelayType cone\nPrefix ff02::",
        "2:8: error: Prefix: ff02:: cannot be a Teredo prefix: it is not global unicast",
        id="multicast prefix",
    ),
    pytest.param(
        f"{SERVER}InterfaceMTU 100",
        "2:14: error: InterfaceMTU: 100 is not an MTU from 1280 to 65535",
        id="small MTU",
    ),
    pytest.param(
        f"{SERVER}InterfaceName abcdefghijklmnopqrstuvwxyz",
        "2:15: error: InterfaceName: abcdefghijklmnopqrstuvwxyz has 26 bytes, the name of a network interface has at "
        "most 15",
        id="26 letters",
    ),
    pytest.param(
        f'{SERVER}InterfaceName "teredo"', "2:15: error: InterfaceName: a value has no quotes", id="quoted value"
    ),
    pytest.param(
        f"{SERVER}InterfaceName teredo # mine",
        "2:22: error: InterfaceName: a comment may not follow a value",
        id="comment after a value",
    ),
    pytest.param(
        "ServerAddress 127.0.0.1\nAllowIPv4 10.0.0.0/8",
        "1:15: error: ServerAddress: 127.0.0.1 is in 127.0.0.0/8 (loopback",
        id="loopback server",
    ),
    pytest.param(
        "ServerAddress 223.255.255.255",
        "1:15: error: ServerAddress: the second address, 224.0.0.0 is in 224.0.0.0/4 (multicast",
        id="multicast behind the server",
    ),
    pytest.param(
        f"{SERVER}ServerAddress2 192.0.2.1",
        "2:16: error: ServerAddress2: the two addresses of a server are the same",
        id="one address",
    ),
    pytest.param(
        f"{SERVER}ServerAddress2 10.0.0.1",
        "2:16: error: ServerAddress2: 10.0.0.1 is in 10.0.0.0/8",
        id="private second address",
    ),
    pytest.param(
        f"{SERVER}{SERVER}", "2:15: error: ServerAddress: this server is named twice", id="one server, two lines"
    ),
    pytest.param(
        f"{SERVER}ServerAddress 192.0.2.3\nServerAddress2 192.0.2.9",
        "3:16: error: ServerAddress2: it belongs to one ServerAddress, and there are several",
        id="one second address, two servers",
    ),
    pytest.param(
        f"{SERVER}AllowIPv4 10.0.0.0/8,192.168.0.0/16",
        "2:11: error: AllowIPv4: 10.0.0.0/8,192.168.0.0/16 is not an IPv4 range such as 10.0.0.0/8",
        id="ranges with a comma",
    ),
    pytest.param(
        f"{SERVER}AllowIPv4 10.0.0.0/8 10.1.0.0/8",
        "2:22: error: AllowIPv4: 10.1.0.0/8 has bits beyond its length",
        id="range with host bits",
    ),
    pytest.param(
        f"{SERVER}AllowIPv4 127.0.0.0/8",
        "2:11: error: AllowIPv4: 127.0.0.0/8 cannot be allowed (loopback",
        id="lasting",
    ),
    pytest.param(f"{SERVER}BindAddress 224.0.0.1", "BindAddress: 224.0.0.1 cannot be the address", id="bind multicast"),
    pytest.param(f"{SERVER}BindAddress eth0", "BindAddress: eth0 is not an IPv4 address", id="bind to a name"),
    pytest.param(f"{SERVER}InterfaceName a/b", '2:16: error: InterfaceName: "/" cannot be in the name', id="slash"),
    pytest.param(f"{SERVER}InterfaceName a b", '2:16: error: InterfaceName: " " cannot be in the name', id="blank"),
    pytest.param(f"{SERVER}InterfaceName t%d", '2:16: error: InterfaceName: "%" cannot be in the name', id="template"),
    pytest.param(f"{SERVER}InterfaceName ..", "InterfaceName: .. cannot be the name of a network", id="dots"),
    pytest.param(f"{SERVER}Namespace ../x", '2:13: error: Namespace: "/" cannot be in the name', id="namespace"),
    pytest.param("RelayType cone\nPrefix fe80::", "fe80:: cannot be a Teredo prefix", id="link-local prefix"),
    pytest.param(
        "RelayType cone\nPrefix 2001::/48", "2:14: error: Prefix: a Teredo prefix has 32 bits", id="long prefix"
    ),
    pytest.param("RelayType cone\nPrefix 2001:0:1::", "2001:0:1:: has bits beyond the first 32", id="prefix bits"),
    pytest.param(f"{SERVER}RefreshInterval 4", "4 is not a number of seconds from 5 to 120", id="hasty"),
    pytest.param(f"{SERVER}RefreshInterval 121", "121 is not a number of seconds from 5 to 120", id="forgetful"),
    pytest.param(f"{SERVER}BubbleTTL 256", "256 is not a TTL from 0 to 255", id="far"),
    pytest.param(f"{SERVER}BindPort ٣", "2:10: error: BindPort: ٣ is not a port", id="digits of another script"),
    pytest.param(f"{SERVER}BindPort = 3545", '2:10: error: BindPort: "=" is not part of the language', id="equals"),
    pytest.param(f"{SERVER}BindPort=3545", '2:1: error: unknown directive "BindPort=3545"', id="equals, no blanks"),
    pytest.param(
        "ServerAddress a\\\nBindPort 1", "1:16: error: ServerAddress: a line is not continued", id="continued"
    ),
    pytest.param("ServerAddress a b", "a b is neither a host name nor an IPv4 address", id="two servers in a line"),
    pytest.param("ServerAddress 2001:db8::1", "2001:db8::1 is neither a host name nor", id="IPv6 server"),
    pytest.param(f"{SERVER}Chroot run", "2:8: error: Chroot: run is not an absolute path", id="relative path"),
    pytest.param(f"{SERVER}User a:b", '2:7: error: User: ":" cannot be in the name of a user', id="user"),
    pytest.param(f"{SERVER}BindPort 1\x00", "2:11: error: character U+0000 has no place", id="NUL"),
    pytest.param(
        f"{SERVER}Bind\u00a0Port 1", "2:5: error: character U+00A0 (NO-BREAK SPACE) has no place", id="no-break space"
    ),
    pytest.param("ServerBindAddress 192.168.1.1", "1:19: error: ServerBindAddress: 192.168.1.1 is in", id="server"),
    pytest.param("ServerBindAddress a.example", "a.example is not an IPv4 address", id="server by name"),
]

SECTIONS = [
    pytest.param("[clent a]", '1:1: error: there is no kind "clent"; the kinds are client, relay, server', id="kind"),
    pytest.param("[faithd telnet]\nRule x", 'error: there is no kind "faithd"', id="kind of a later version"),
    pytest.param("[client]\n" + SERVER, "1:1: error: a client has a name in a file with sections", id="no name"),
    pytest.param("[client a", "1:1: error: [client a is not the head of a section", id="unclosed"),
    pytest.param("[client a] x", "1:1: error: [client a] x is not the head of a section", id="more after the head"),
    pytest.param("[]", "1:1: error: [] is not the head of a section", id="empty head"),
    pytest.param("[client a]", "1:1: error: [client a] needs ServerAddress", id="no server"),
    pytest.param(f"[client a]\n{SERVER}Foo 1", '3:1: error: unknown directive "Foo"', id="unknown"),
    pytest.param(f"[client a]\n{SERVER}User x", "3:1: error: User is for the whole process", id="process"),
    pytest.param(f"{SERVER}[relay r]", "1:1: error: ServerAddress is for a client, not for the process", id="outside"),
    pytest.param(f"[relay r]\n{SERVER}", "2:1: error: ServerAddress is for a client, not for [relay r]", id="other"),
    pytest.param(
        "[relay r]\nRelayType client", "2:11: error: RelayType: client is not one of cone, relay", id="relay type"
    ),
    pytest.param(
        "[relay r]\nNamespace x\n[relay r]\nNamespace y", "3:1: error: there are two sections [relay r]", id="twice"
    ),
    pytest.param(
        "[relay r]\nPrefix 2001:1::\n[relay q]\nInterfaceName teredo",
        "4:15: error: interface teredo is taken by [relay r] (miredo.conf:1: [relay r]: InterfaceName (default",
        id="interface",
    ),
    pytest.param(
        "[relay r]\nBindPort 3545\n[relay q]\nNamespace n\n[relay p]\nBindAddress 192.0.2.1\nBindPort 3545",
        "7:10: error: UDP port 3545 is taken by [relay r] (miredo.conf:2: BindPort 3545)",
        id="port",
    ),
    pytest.param(
        "[server s]\nServerBindAddress 192.0.2.1\n[relay r]\nBindPort 3544",
        "4:10: error: UDP port 3544 is taken by [server s] (miredo.conf:2: ServerBindAddress 192.0.2.1)",
        id="port of a server",
    ),
    pytest.param(
        "[server s]\nServerBindAddress 192.0.2.1\n[server t]\nServerBindAddress 192.0.2.2",
        "4:19: error: UDP port 3544 is taken by [server s] (miredo.conf:1: [server s]: ServerBindAddress2 (default",
        id="second address of a server",
    ),
    pytest.param(
        "[relay r]\n[relay q]\nInterfaceName q\nPrefix 2001:0::/32",
        "4:8: error: the route to 2001::/32 is taken by [relay r]",
        id="prefix route",
    ),
    pytest.param(
        f"[client a]\n{SERVER}[client b]\nInterfaceName b\n{SERVER}",
        "3:1: error: the route to 2001::/32 is taken by [client a]",
        id="route of two clients",
    ),
]


def refusal(read: Callable[[], Configuration]) -> ConfigError:
    """The error that reading ends in."""
    with pytest.raises(ConfigError) as caught:
        read()
    return caught.value


@pytest.mark.parametrize(("text", "said"), MIREDO_REFUSES + OURS + SECTIONS)
def test_a_broken_file_is_refused_with_a_place_and_a_reason(text: str, said: str) -> None:
    error = refusal(lambda: parse(text, "miredo.conf", strict=True))
    assert said in str(error)
    assert all(problem.file == "miredo.conf" and problem.severity == "error" for problem in error.problems)


def test_each_broken_line_is_one_problem_in_the_order_of_the_file() -> None:
    lines = ["ServerAddress 10.0.0.1", "BindPort 99999", "Foo 1", "InterfaceMTU 100", "RelayType x", "SyslogFacility y"]
    error = refusal(lambda: parse("\n".join(lines), "miredo.conf", strict=True))
    assert [problem.line for problem in error.problems] == [1, 2, 3, 4, 5, 6]


def test_a_missing_file_is_named_with_the_reason_and_its_number(tmp_path: Path) -> None:
    error = refusal(lambda: load(tmp_path / "none.conf"))
    assert str(error) == f"{tmp_path}/none.conf: error: No such file or directory (errno 2)"


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    assert str(refusal(lambda: load(tmp_path))) == f"{tmp_path}: error: Is a directory (errno 21)"


def test_a_path_with_a_nul_is_refused_like_any_other() -> None:
    assert "null byte" in str(refusal(lambda: load("a\0b")))


def test_a_long_comment_is_an_error_but_a_daemon_only_warns_of_it() -> None:
    text = f"# {'x' * 5000}\n{SERVER}"
    assert "1:1: error: the comment has 5002 bytes" in str(refusal(lambda: parse(text, "miredo.conf", strict=True)))
    (warning,) = parse(text, "miredo.conf").warnings
    assert (warning.line, warning.severity) == (1, "warning")


def test_a_comment_may_be_in_any_encoding() -> None:
    assert parse(b"# R\xe9mi\n" + SERVER.encode(), "miredo.conf", strict=True).warnings == ()


def test_the_longest_line_is_a_kilobyte() -> None:
    blanks = " " * (1024 - len("ServerAddress192.0.2.1"))
    assert parse(f"ServerAddress{blanks}192.0.2.1", "miredo.conf").roles
    assert refusal(lambda: parse(f"ServerAddress {blanks}192.0.2.1", "miredo.conf")).problems[0].line == 1


def test_a_byte_that_is_not_utf8_is_shown_where_it_stands() -> None:
    error = refusal(lambda: parse("# é\nServerAddress 192.0.2.1\nNamespace é".encode() + b"\xff", "miredo.conf"))
    assert str(error).splitlines() == [
        "miredo.conf:3:12: error: byte 0xff is not UTF-8",
        r"  Namespace é\xff",
        "             ^",
    ]


def test_a_name_of_a_server_is_not_looked_up() -> None:
    (client,) = parse("ServerAddress does-not.resolve.invalid", "miredo.conf").roles
    assert isinstance(client, ClientConfig)
    assert client.server_address == ("does-not.resolve.invalid",)
