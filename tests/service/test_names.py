# SPDX-License-Identifier: MIT
"""Servers that are names: looked up, looked up again, and never in the wrong network namespace."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.address.endpoint import parse_ipv4
from miredo.address.teredo import server_of
from miredo.assembly import CannotStart
from miredo.service.names import look_up
from tests.service.internet import ROLES, TeredoInternet, logging

SERVER_AND_RELAY = ROLES[: ROLES.index("[client a]")]


def internet_with(*lines: str) -> TeredoInternet:
    """A classic client's lines in a section without a namespace, beside a server and a relay."""
    internet = TeredoInternet(SERVER_AND_RELAY + "[client a]\n" + "\n".join(lines) + "\n")
    internet.start()
    return internet


def asked_servers(internet: TeredoInternet) -> list[str]:
    """Whom the client has sent to, each once."""
    return list(dict.fromkeys(".".join(map(str, event.to[:4])) for event in internet.sent("client a")))


# ---------------------------------------------------------------- a client with names


def test_a_server_may_be_a_name() -> None:
    internet = internet_with("ServerAddress teredo.example.org")
    internet.run(5)
    assert (internet.names.asked, internet.events) == (["teredo.example.org"], [])
    internet.names.answer("192.0.2.1")
    internet.run()
    assert [server_of(address) for address in internet.qualified] == [parse_ipv4("192.0.2.1")]
    assert asked_servers(internet) == ["192.0.2.1", "192.0.2.2"]


def test_an_address_that_may_not_be_used_is_passed_over() -> None:
    internet = internet_with("ServerAddress teredo.example.org")
    internet.names.answer("10.0.0.1", "192.0.2.1")
    internet.run()
    assert len(internet.qualified) == 1


def test_a_private_server_may_be_a_name_where_it_is_allowed() -> None:
    internet = internet_with("ServerAddress teredo.example.org", "AllowIPv4 10.0.0.0/8")
    internet.names.answer("10.0.0.1")
    internet.run()
    assert asked_servers(internet) == ["10.0.0.1"]


def test_a_name_that_is_not_found_is_looked_up_again_after_ten_seconds() -> None:
    internet = internet_with("ServerAddress teredo.example.org")
    with logging() as logged:
        internet.names.fail("teredo.example.org has no IPv4 address")
        internet.run(9.9)
    assert len(internet.names.asked) == 1
    internet.run(0.2)
    assert internet.names.asked == ["teredo.example.org"] * 2
    internet.names.answer("192.0.2.1")
    internet.run()
    assert len(internet.qualified) == 1
    assert logged.lines == [
        (
            "warn",
            "client a: lab.conf:9: ServerAddress teredo.example.org: DNS lookup failed: "
            "teredo.example.org has no IPv4 address; trying again in 10 s",
        )
    ]
    assert logged.failures == 0


def test_a_name_without_an_address_that_may_be_used_is_looked_up_again() -> None:
    internet = internet_with("ServerAddress teredo.example.org")
    with logging() as logged:
        internet.names.answer("10.0.0.1", "127.0.0.1")
    internet.run(10)
    assert len(internet.names.asked) == 2
    assert "no IPv4 address that may be used among 10.0.0.1, 127.0.0.1; trying again" in logged.at("warn")[0]


def test_a_second_address_may_be_a_name_too() -> None:
    internet = internet_with("ServerAddress one.example.org", "ServerAddress2 other.example.org")
    internet.names.answer("192.0.2.1")
    internet.names.answer("192.0.2.99")
    internet.run()
    assert internet.names.asked == ["one.example.org", "other.example.org"]
    assert asked_servers(internet) == ["192.0.2.1", "192.0.2.99"]


def test_a_second_address_may_be_the_only_name() -> None:
    internet = internet_with("ServerAddress 192.0.2.1", "ServerAddress2 other.example.org")
    internet.names.answer("192.0.2.2")
    internet.run()
    assert len(internet.qualified) == 1


def test_a_second_address_that_is_not_found_is_named() -> None:
    internet = internet_with("ServerAddress 192.0.2.1", "ServerAddress2 other.example.org")
    with logging() as logged:
        internet.names.fail("nothing there")
    assert "lab.conf:10: ServerAddress2 other.example.org: " in logged.at("warn")[0]
    internet.run(10)
    assert len(internet.names.asked) == 2


def test_names_and_addresses_are_asked_in_the_order_of_the_file() -> None:
    internet = internet_with("ServerAddress first.example.org", "ServerAddress 192.0.2.1")
    internet.names.answer("203.0.113.200")
    internet.run(3.9)
    assert asked_servers(internet) == ["203.0.113.200"]
    internet.run(10)
    assert asked_servers(internet) == ["203.0.113.200", "192.0.2.1", "192.0.2.2"]
    assert len(internet.qualified) == 1


def test_a_name_that_is_not_found_does_not_keep_the_others_from_being_asked() -> None:
    internet = internet_with("ServerAddress first.example.org", "ServerAddress 192.0.2.1")
    with logging() as logged:
        internet.names.fail("nothing there")
    internet.run(60)
    assert len(internet.qualified) == 1
    assert len(internet.names.asked) == 1
    assert [line for line in logged.at("warn") if "trying again" in line] == []


def test_an_answer_that_comes_after_the_end_does_nothing() -> None:
    internet = internet_with("ServerAddress teredo.example.org")
    internet.stop()
    internet.names.answer("192.0.2.1")
    internet.run(60)
    assert (internet.events, internet.clock.armed) == ([], [])


def test_a_failure_that_comes_after_the_end_does_nothing() -> None:
    internet = internet_with("ServerAddress teredo.example.org")
    internet.stop()
    with logging() as logged:
        internet.names.fail("nothing there")
    internet.run(60)
    assert (logged.lines, internet.clock.armed, len(internet.names.asked)) == ([], [], 1)


def test_the_end_forgets_a_name_that_was_to_be_looked_up_again() -> None:
    internet = internet_with("ServerAddress teredo.example.org")
    internet.names.fail("nothing there")
    internet.stop()
    assert internet.clock.armed == []
    internet.run(60)
    assert len(internet.names.asked) == 1


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (["ServerAddress teredo.example.org"], "10: ServerAddress teredo.example.org"),
        (["ServerAddress 192.0.2.1", "ServerAddress teredo.example.org"], "11: ServerAddress teredo.example.org"),
        (["ServerAddress 192.0.2.1", "ServerAddress2 other.example.org"], "11: ServerAddress2 other.example.org"),
    ],
)
def test_a_role_in_another_namespace_takes_no_names(lines: list[str], where: str) -> None:
    with pytest.raises(CannotStart) as refusal:
        internet_with("Namespace client", *lines)
    text = f"{where}: a role with a Namespace needs IPv4 addresses here, names are not looked up"
    assert str(refusal.value) == f"miredo: lab.conf:{text}"


# ---------------------------------------------------------------- the reactor's resolver


@implementer(IHostResolution)
class Resolution:
    name = "teredo.example.org"

    def cancel(self) -> None:
        raise AssertionError("nobody cancels")


@implementer(IReactorPluggableNameResolver, IHostnameResolver)
class Resolving:
    """A reactor that knows the addresses of every name."""

    def __init__(self, *addresses: IAddress) -> None:
        self.addresses = addresses
        self.nameResolver = self
        self.asked: list[tuple[str, object]] = []

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        raise AssertionError("nobody installs")

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: object = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        self.asked.append((hostName, addressTypes))
        resolution = Resolution()
        resolutionReceiver.resolutionBegan(resolution)
        for address in self.addresses:
            resolutionReceiver.addressResolved(address)
        resolutionReceiver.resolutionComplete()
        return resolution


def test_all_ipv4_addresses_of_a_name_are_found() -> None:
    reactor = Resolving(
        IPv4Address("TCP", "192.0.2.1", 0), IPv6Address("TCP", "2001:db8::1", 0), IPv4Address("TCP", "192.0.2.9", 0)
    )
    found: list[list[bytes]] = []
    look_up("teredo.example.org", reactor).addCallback(found.append)
    assert found == [[parse_ipv4("192.0.2.1"), parse_ipv4("192.0.2.9")]]
    assert reactor.asked == [("teredo.example.org", [IPv4Address])]


def test_a_name_without_an_ipv4_address_is_not_found() -> None:
    failures: list[Failure] = []
    look_up("six.example.org", Resolving(IPv6Address("TCP", "2001:db8::1", 0))).addErrback(failures.append)
    assert [type(failure.value) for failure in failures] == [DNSLookupError]
    assert "six.example.org has no IPv4 address" in failures[0].getErrorMessage()
