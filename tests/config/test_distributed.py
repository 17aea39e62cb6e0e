# SPDX-License-Identifier: MIT
"""Files as distributions ship them, as tools write them and as people have them: each is read without a warning."""

from pathlib import Path

import pytest

from miredo.address.endpoint import parse_ipv4
from miredo.config import ClientConfig, RelayConfig, RelayType, RoleConfig, ServerConfig, SyslogFacility, parse

FIRST = parse_ipv4("192.0.2.1")

DEBIAN = """\
# Please refer to the miredo.conf(5) man page for details.
InterfaceName\tteredo

# Pick a Teredo server:
#ServerAddress\tteredo.example.net
ServerAddress\tteredo-debian.example.org

# Some firewall/NAT setups require a specific UDP port number:
#BindPort\t3545
"""
DEBIAN_SERVER = """\
# Please refer to the miredo-server.conf(5) manpage for details.

# Server primary IPv4 address.
# Miredo will open UDP port 3544 on this IPv4 address and the next one.
ServerBindAddress 192.0.2.1
"""
EXECUTABLE = """\
#! /usr/sbin/miredo -f -c
#
# A file that can be started, with everything of a client's.
RelayType client
InterfaceName\tteredo
BindPort\t3545
BindAddress\t192.0.2.9
SyslogFacility\tlocal0
ServerAddress\tteredo.example.org
ServerAddress2\t192.0.2.77
"""
ROUTER = """\
RelayType client
InterfaceName teredo
BindAddress 203.0.113.7
ServerAddress teredo.example.org
"""
GENERATED = """\

      InterfaceName teredo
      ServerAddress teredo.example.org


      BindPort 3545
"""
RELAY = """\
RelayType cone
InterfaceName teredo
InterfaceMTU 1280
BindAddress 192.0.2.9
BindPort 3545
Prefix 2001:0000::
SyslogFacility daemon
"""
OTHER_SYSTEM = "\ufeffServerAddress teredo.example.org\r\n\r\n# caf\u00e9\r\nBindPort 3545"


def only(text: str | bytes, program: str = "miredo") -> RoleConfig:
    """The one role of a file that is read strictly, and without a warning."""
    configuration = parse(text, "a.conf", program=program, strict=True)
    assert configuration.warnings == ()
    (role,) = configuration.roles
    return role


@pytest.mark.parametrize(
    ("text", "client"),
    [
        pytest.param(DEBIAN, ClientConfig(server_address=("teredo-debian.example.org",)), id="Debian"),
        pytest.param(
            ROUTER,
            ClientConfig(server_address=("teredo.example.org",), bind_address=parse_ipv4("203.0.113.7")),
            id="a script of a router",
        ),
        pytest.param(GENERATED, ClientConfig(server_address=("teredo.example.org",), bind_port=3545), id="generated"),
        pytest.param(
            OTHER_SYSTEM, ClientConfig(server_address=("teredo.example.org",), bind_port=3545), id="another system"
        ),
        pytest.param(
            EXECUTABLE,
            ClientConfig(
                server_address=("teredo.example.org",),
                server_address2=parse_ipv4("192.0.2.77"),
                bind_address=parse_ipv4("192.0.2.9"),
                bind_port=3545,
            ),
            id="a file that can be started",
        ),
    ],
)
def test_a_client_as_others_write_it(text: str, client: ClientConfig) -> None:
    assert only(text) == client


@pytest.mark.parametrize("program", ["miredo", "miredo-server"])
def test_a_server_as_debian_ships_it(program: str) -> None:
    assert only(DEBIAN_SERVER, program) == ServerConfig(bind_address=FIRST)


def test_a_relay_as_others_write_it() -> None:
    assert only(RELAY) == RelayConfig(relay_type=RelayType.CONE, bind_address=parse_ipv4("192.0.2.9"), bind_port=3545)


def test_an_old_comment_may_be_in_latin_1() -> None:
    assert only(b"# R\xe9mi\nServerAddress 192.0.2.1\n") == ClientConfig(server_address=(FIRST,))


def test_every_facility_of_the_manual_is_known() -> None:
    for name in ["daemon", "kern", "user", *(f"local{number}" for number in range(8))]:
        configuration = parse(f"RelayType cone\nSyslogFacility {name}", "a.conf", strict=True)
        assert configuration.process.syslog_facility is SyslogFacility(name)


def test_a_directive_of_an_old_version_is_told_of_and_passed_over_by_a_daemon() -> None:
    configuration = parse("ServerAddress 192.0.2.1\nIgnoreConeBit yes\n", "a.conf")
    assert [warning.message for warning in configuration.warnings] == ['unknown directive "IgnoreConeBit"; ignored']


@pytest.mark.interop
@pytest.mark.parametrize("name", ["miredo.conf", "miredo-server.conf"])
def test_what_the_distribution_has_put_on_this_host_is_good(name: str) -> None:
    path = Path("/etc") / name
    if not path.exists():
        pytest.skip(f"there is no {path}; cure: sudo apt-get install {path.stem}")
    only(path.read_bytes(), path.stem)
