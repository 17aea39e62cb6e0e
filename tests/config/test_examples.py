# SPDX-License-Identifier: MIT
"""The files of etc/ are read as they are, and say of every directive what the program does."""

from pathlib import Path

import pytest

from miredo.address.endpoint import parse_endpoint, parse_ipv4
from miredo.config import ClientConfig, MireConfig, RelayConfig, ServerConfig, directives, load, parse

ETC = Path(__file__).parents[2] / "etc"

SHOWN = [
    ("miredo.conf", "process"),
    ("miredo.conf", "client"),
    ("miredo.conf", "relay"),
    ("miredo-server.conf", "process"),
    ("miredo-server.conf", "server"),
    ("mire.conf", "process"),
    ("mire.conf", "mire"),
]


def blocks(file: str) -> list[list[str]]:
    """The lines of a file, cut where one is empty."""
    return [block.splitlines() for block in (ETC / file).read_text().split("\n\n")]


def test_the_client_file_is_a_client_of_an_example_server() -> None:
    configuration = load(ETC / "miredo.conf", strict=True)
    assert configuration.warnings == ()
    assert configuration.roles == (ClientConfig(server_address=(parse_ipv4("192.0.2.1"),)),)


def test_the_server_file_is_a_server_on_two_example_addresses() -> None:
    configuration = load(ETC / "miredo-server.conf", program="miredo-server", strict=True)
    assert configuration.warnings == ()
    assert configuration.roles == (ServerConfig(bind_address=parse_ipv4("192.0.2.1")),)


def test_the_mire_file_is_a_responder_on_an_example_address() -> None:
    configuration = load(ETC / "mire.conf", strict=True)
    assert configuration.warnings == ()
    assert configuration.roles == (MireConfig(name="m", bind_address=parse_ipv4("192.0.2.25")),)


def test_the_file_of_a_server_that_is_a_relay_too_has_both_on_one_address() -> None:
    configuration = load(ETC / "server-and-relay.conf", strict=True)
    assert configuration.warnings == ()
    first = parse_ipv4("192.0.2.1")
    assert configuration.roles == (
        ServerConfig(name="s", bind_address=first),
        RelayConfig(name="r", bind_address=first, bind_port=3545, served=("2001:db8::/32",)),
    )


def test_the_lab_file_has_four_roles_each_in_a_namespace_of_its_own() -> None:
    first = parse_ipv4("192.0.2.1")
    relay = parse_endpoint("192.0.2.17:3545")
    configuration = load(ETC / "lab.conf", strict=True)
    assert configuration.warnings == ()
    assert configuration.roles == (
        ServerConfig(name="s", namespace="server", bind_address=first, bind_address2=parse_ipv4("192.0.2.2")),
        RelayConfig(name="r", namespace="relay", bind_address=relay[:4], bind_port=3545),
        ClientConfig(name="a", namespace="client-a", server_address=(first,)),
        ClientConfig(name="b", namespace="client-b", server_address=(first,)),
    )


@pytest.mark.parametrize(("file", "kind"), SHOWN)
def test_every_directive_is_shown_with_its_meaning_and_its_default(file: str, kind: str) -> None:
    for row in directives(kind):
        block = next(block for block in blocks(file) if f"# {row.meaning}" in block)
        line = next(line for line in block if line.lstrip("#").startswith(f"{row.keyword} "))
        if row.default == "(required)":
            assert not line.startswith("#"), row
        elif row.default.startswith("("):
            assert any(said.startswith(f"# Default: {row.default.strip('()')}") for said in block), row
        else:
            assert line == f"#{row.keyword} {row.default}"


@pytest.mark.parametrize("file", ["miredo.conf", "miredo-server.conf", "mire.conf"])
def test_nothing_is_shown_that_no_role_has(file: str) -> None:
    known = {row.keyword for shown, kind in SHOWN if shown == file for row in directives(kind)}
    lines = [line for block in blocks(file) for line in block]
    shown = {line.lstrip("#").split()[0] for line in lines if line[:2] not in ("", "# ", "#", "[m")}
    assert shown == known


def test_every_line_that_is_shown_can_be_uncommented() -> None:
    """Each for the role under whose heading it stands."""
    text: dict[str, list[str]] = {"client": [], "relay": []}
    heading = ""
    for line in (ETC / "miredo.conf").read_text().splitlines():
        if line.startswith("# --"):
            heading = line.lower().partition(":")[0]
        if line[:2] not in ("# ", "#", ""):
            for kind, lines in text.items():
                if kind in heading or "process" in heading:
                    lines.append(line.lstrip("#"))
    assert isinstance(parse("\n".join(text["client"]), "miredo.conf", strict=True).roles[0], ClientConfig)
    assert isinstance(parse("\n".join(text["relay"]), "miredo.conf", strict=True).roles[0], RelayConfig)


@pytest.mark.parametrize("kind", ["process", "client", "relay", "server"])
def test_a_default_that_is_written_out_changes_nothing(kind: str) -> None:
    bare = {"process": "", "client": "ServerAddress 192.0.2.1", "relay": "", "server": "ServerBindAddress 192.0.2.1"}
    head = "" if kind == "process" else f"[{kind} x]\n"
    tail = "\n[relay r]\nNamespace r" if kind == "process" else ""
    defaults = [f"{row.keyword} {row.default}" for row in directives(kind) if not row.default.startswith("(")]
    short = parse(f"{head}{bare[kind]}{tail}", "a.conf")
    long = parse(f"{head}{bare[kind]}\n" + "\n".join(defaults) + tail, "a.conf")
    assert defaults
    assert short == long
