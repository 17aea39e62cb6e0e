# SPDX-License-Identifier: MIT
"""The section of an echo responder: one address, which it has two ports of."""

import pytest

from miredo.address.endpoint import parse_ipv4
from miredo.config import ConfigError, MireConfig, directives, parse

MIRE = "[mire m]\nBindAddress 192.0.2.25\n"


def problems(text: str) -> list[tuple[int | None, str]]:
    """The lines that are refused, and why."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "a.conf", strict=True)
    return [(problem.line, problem.message) for problem in caught.value.problems]


def test_it_has_an_address_a_namespace_and_ranges() -> None:
    text = "[mire m]\nBindAddress 10.0.0.25\nAllowIPv4 10.0.0.0/8\nNamespace x\n"
    assert parse(text, "a.conf", strict=True).roles == (
        MireConfig(name="m", bind_address=parse_ipv4("10.0.0.25"), allow_ipv4=("10.0.0.0/8",), namespace="x"),
    )
    assert [row.keyword for row in directives("mire")] == ["BindAddress", "AllowIPv4", "Namespace"]


def test_it_needs_its_address() -> None:
    assert problems("[mire m]\n") == [(1, "[mire m] needs BindAddress")]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("192.168.1.1", "192.168.1.1 is in 192.168.0.0/16 (private network, RFC 1918, RFC 4380 5.2.4), which"),
        ("0.0.0.0", "0.0.0.0 is in 0.0.0.0/8 (this network,"),
        ("127.0.0.1", "127.0.0.1 is in 127.0.0.0/8 (loopback,"),
        ("a.example", "a.example is not an IPv4 address"),
    ],
)
def test_its_address_is_one_that_clients_can_use(address: str, why: str) -> None:
    ((line, message),) = problems(f"[mire m]\nBindAddress {address}\n")
    assert line == 2
    assert message.startswith(f"BindAddress: {why}")


def test_it_has_no_recording() -> None:
    ((line, message),) = problems(MIRE + "Record /run/x\n")
    assert line == 3
    assert message.startswith("Record is for a client or a ")
    assert message.endswith(", not for [mire m]")


@pytest.mark.parametrize(
    ("other", "port"),
    [
        ("[server s]\nServerBindAddress 192.0.2.25\n", 3544),
        ("[server s]\nServerBindAddress 192.0.2.24\n", 3544),
        ("[relay r]\nBindAddress 192.0.2.25\nBindPort 3545\n", 3545),
        ("[relay r]\nBindPort 3545\n", 3545),
    ],
)
def test_no_other_role_of_its_namespace_has_its_ports(other: str, port: int) -> None:
    ((_, message),) = problems(MIRE + other)
    assert message == f"UDP port {port} is taken by [mire m] (a.conf:2: BindAddress 192.0.2.25)"
    assert len(parse(MIRE + other + "Namespace x\n", "a.conf", strict=True).roles) == 2


def test_two_of_them_live_together_at_two_addresses() -> None:
    assert len(parse(MIRE + "[mire n]\nBindAddress 192.0.2.26\n", "a.conf", strict=True).roles) == 2
    assert len(problems(MIRE + "[mire n]\nBindAddress 192.0.2.25\n")) == 2
