# SPDX-License-Identifier: MIT
"""Servers that are names: looked up, looked up again, and followed when they move."""

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.names import dns

from miredo.address.endpoint import IPv4, parse_ipv4
from miredo.address.teredo import server_of
from miredo.assembly import assemble
from miredo.config import parse
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.namespaces import create_namespace
from miredo.service import servernames
from miredo.service.names import HostNames
from miredo.service.surroundings import Did, Sent, Took
from miredo.teredo import qualification
from miredo.teredo.actions import Qualified, ServerSilent, Unqualified
from tests.namespaced import install_reactor, run_reactor, until
from tests.service.internet import ROLES, TeredoInternet, logging
from tests.service.nameserver import NameServer, Reply, addresses, code, silence

SERVERS_AND_RELAY = ROLES[: ROLES.index("[client a]")] + "[server t]\nNamespace other\nServerBindAddress 192.0.2.65\n"


def internet_with(*lines: str) -> TeredoInternet:
    """A classic client's lines in a section without a namespace, beside a server and a relay."""
    internet = TeredoInternet(SERVERS_AND_RELAY + "[client a]\n" + "\n".join(lines) + "\n")
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
            "client a: lab.conf:12: ServerAddress teredo.example.org: DNS lookup failed: "
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
    assert "lab.conf:13: ServerAddress2 other.example.org: " in logged.at("warn")[0]
    internet.run(10)
    assert len(internet.names.asked) == 2


def test_names_and_addresses_are_asked_in_the_order_of_the_file() -> None:
    internet = internet_with("ServerAddress first.example.org", "ServerAddress 192.0.2.1")
    assert asked_servers(internet) == []
    internet.names.answer("203.0.113.200")
    internet.run(14)
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


def test_the_end_waits_until_a_look_up_has_closed_its_sockets() -> None:
    internet = TeredoInternet(f"{SERVERS_AND_RELAY}[client a]\nServerAddress teredo.example.org\n")
    answered: Deferred[list[IPv4]] = Deferred()
    closed: Deferred[None] = Deferred()

    async def look_up() -> list[IPv4]:
        try:
            return await answered
        finally:
            await closed

    internet.resolve = lambda name: Deferred.fromCoroutine(look_up())
    internet.start()
    ended: list[object] = []
    maybeDeferred(internet.roles.stopService).addCallback(ended.append)
    assert ended == []
    closed.callback(None)
    assert len(ended) == 1


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


# ---------------------------------------------------------------- a server that moves

MOVED, OLD = "192.0.2.65", "192.0.2.1"


def asked_again(internet: TeredoInternet, name: str = "teredo.example.org") -> int:
    """How often a name was looked up after the first time."""
    return internet.names.asked.count(name) - 1


def silent(internet: TeredoInternet) -> int:
    return sum(isinstance(event, Did) and isinstance(event.action, ServerSilent) for event in internet.events)


def unqualified(internet: TeredoInternet) -> list[str]:
    actions = [event.action for event in internet.events if isinstance(event, Did)]
    return [action.reason for action in actions if isinstance(action, Unqualified)]


def servers_of(internet: TeredoInternet) -> list[bytes]:
    """The server of each address that the client has had."""
    return [server_of(address) for address in internet.qualified]


def qualified_by_name(*lines: str) -> TeredoInternet:
    """The client has an address of a server that was found by its name."""
    internet = internet_with(*(lines or ("ServerAddress teredo.example.org",)))
    internet.names.answer(OLD)
    internet.run()
    assert servers_of(internet) == [parse_ipv4(OLD)]
    return internet


def take_server_away(internet: TeredoInternet) -> None:
    """The server at the old address ends; there is another one at the new address."""
    ended: list[object] = []
    maybeDeferred(internet.service("server s").stopService).addCallback(ended.append)
    assert len(ended) == 1


def bring_server_back(internet: TeredoInternet) -> None:
    internet.service("server s").privilegedStartService()
    internet.service("server s").startService()


def run_until_asked(internet: TeredoInternet, times: int = 1) -> None:
    """Let time pass until the first name has been looked up that often again."""
    for _ in range(2000):
        if asked_again(internet) >= times:
            return
        internet.run(0.1)
    raise AssertionError("nobody asked again")


def test_a_name_is_looked_up_again_when_its_server_falls_silent_and_not_before() -> None:
    internet = qualified_by_name()
    internet.run(3600)
    assert asked_again(internet) == 0
    take_server_away(internet)
    run_until_asked(internet)
    assert silent(internet) == 1


def test_a_server_that_moved_is_used_at_once_when_its_name_says_so() -> None:
    internet = qualified_by_name()
    take_server_away(internet)
    run_until_asked(internet)
    with logging() as logged:
        internet.names.answer(MOVED)
        internet.run()
    assert servers_of(internet) == [parse_ipv4(OLD), parse_ipv4(MOVED)]
    assert "client a: lab.conf:12: ServerAddress teredo.example.org: now 192.0.2.65" in logged.at("info")
    internet.run(3600)
    assert (asked_again(internet), silent(internet)) == (1, 1)


def test_a_name_that_moves_later_is_asked_for_every_30_seconds_at_most() -> None:
    internet = qualified_by_name()
    take_server_away(internet)
    times = []
    for number in range(1, 6):
        run_until_asked(internet, number)
        times.append(internet.clock.now())
        internet.names.answer(OLD)
    pauses = [after - before for before, after in pairwise(times)]
    assert all(29.8 <= pause <= 45 for pause in pauses)
    run_until_asked(internet, 6)
    internet.names.answer(MOVED)
    internet.run()
    assert servers_of(internet) == [parse_ipv4(OLD), parse_ipv4(MOVED)]


def test_known_addresses_stay_in_use_if_a_look_up_fails_and_that_is_said_once() -> None:
    internet = qualified_by_name()
    take_server_away(internet)
    with logging() as logged:
        for number in (1, 2, 3):
            run_until_asked(internet, number)
            internet.names.fail("no answer")
    assert [line for line in logged.at("warn") if "DNS" in line] == [
        "client a: lab.conf:12: ServerAddress teredo.example.org: DNS lookup failed: no answer"
    ]
    bring_server_back(internet)
    internet.run(60)
    assert servers_of(internet) == [parse_ipv4(OLD)] * 2


def test_one_look_up_at_a_time_is_enough() -> None:
    internet = qualified_by_name()
    take_server_away(internet)
    internet.run(300)
    assert silent(internet) > 5
    assert asked_again(internet) == 1


def test_a_server_that_answered_again_is_not_passed_over_any_more() -> None:
    internet = qualified_by_name()
    take_server_away(internet)
    run_until_asked(internet)
    bring_server_back(internet)
    internet.run(30)
    internet.names.answer(MOVED, OLD)
    internet.run(30)
    assert servers_of(internet) == [parse_ipv4(OLD)] * 2


def test_an_unchanged_answer_disturbs_nothing() -> None:
    internet = qualified_by_name()
    take_server_away(internet)
    run_until_asked(internet)
    before = len(internet.sent("client a"))
    internet.names.answer(OLD)
    internet.run()
    assert len(internet.sent("client a")) == before


def test_a_server_that_answered_again_meanwhile_needs_no_look_up() -> None:
    internet = qualified_by_name()
    take_server_away(internet)
    run_until_asked(internet)
    internet.names.answer(OLD)
    while silent(internet) < 2:
        internet.run(0.1)
    bring_server_back(internet)
    internet.run(3600)
    assert asked_again(internet) == 1
    assert len(internet.qualified) == 2


def test_a_silent_server_that_is_an_address_is_no_reason_to_look_up_names() -> None:
    internet = internet_with("ServerAddress 192.0.2.1", "ServerAddress teredo.example.org")
    internet.names.answer("203.0.113.200")
    internet.run()
    take_server_away(internet)
    while silent(internet) < 1:
        internet.run(0.1)
    internet.run(1)
    assert asked_again(internet) == 0
    while silent(internet) < 2:
        internet.run(0.1)
    run_until_asked(internet)


def test_a_name_that_was_not_found_at_the_start_is_looked_up_when_another_server_falls_silent() -> None:
    internet = internet_with("ServerAddress 192.0.2.1", "ServerAddress teredo.example.org")
    internet.names.fail("nothing there")
    internet.run()
    assert servers_of(internet) == [parse_ipv4(OLD)]
    take_server_away(internet)
    run_until_asked(internet)
    internet.names.answer(MOVED)
    internet.run(60)
    assert servers_of(internet) == [parse_ipv4(OLD), parse_ipv4(MOVED)]


def test_another_server_in_use_keeps_its_address_when_the_first_one_has_moved() -> None:
    internet = internet_with("ServerAddress teredo.example.org", "ServerAddress 192.0.2.1")
    take_server_away(internet)
    internet.names.answer("203.0.113.200")
    run_until_asked(internet)
    bring_server_back(internet)
    internet.run(30)
    assert servers_of(internet) == [parse_ipv4(OLD)]
    internet.names.answer("203.0.113.201")
    internet.run(60)
    assert (servers_of(internet), unqualified(internet)) == ([parse_ipv4(OLD)], [])
    take_server_away(internet)
    internet.run(60)
    assert "203.0.113.201" in asked_servers(internet)


def test_an_address_whose_server_is_no_longer_named_is_given_up() -> None:
    internet = qualified_by_name()
    take_server_away(internet)
    run_until_asked(internet)
    bring_server_back(internet)
    internet.run(15)
    assert servers_of(internet) == [parse_ipv4(OLD)] * 2
    take_server_away(internet)
    internet.names.answer(MOVED)
    internet.run()
    assert servers_of(internet) == [*[parse_ipv4(OLD)] * 2, parse_ipv4(MOVED)]
    assert unqualified(internet) == ["no reply from the server", "its server is no longer to be used"]


def test_a_name_with_two_addresses_leads_to_the_other_one_when_one_is_silent() -> None:
    internet = internet_with("ServerAddress teredo.example.org")
    internet.names.answer(OLD, MOVED)
    internet.run()
    take_server_away(internet)
    run_until_asked(internet)
    internet.names.answer(OLD, MOVED)
    internet.run()
    assert servers_of(internet) == [parse_ipv4(OLD), parse_ipv4(MOVED)]


def test_the_order_of_the_addresses_of_a_name_does_not_matter_while_it_is_not_known_to_be_silent() -> None:
    internet = internet_with("ServerAddress teredo.example.org", "ServerAddress other.example.org")
    internet.names.answer(OLD)
    internet.names.answer("203.0.113.200", "203.0.113.201")
    internet.run()
    take_server_away(internet)
    run_until_asked(internet)
    internet.names.answer(MOVED)
    internet.names.answer("203.0.113.201", "203.0.113.200")
    internet.run(30)
    assert servers_of(internet) == [parse_ipv4(OLD), parse_ipv4(MOVED)]
    assert "203.0.113.201" not in asked_servers(internet)


def test_a_name_all_of_whose_addresses_are_silent_changes_every_ten_minutes_at_most() -> None:
    """Each change begins the rounds anew; ever new ones would keep the rests from growing."""
    internet = internet_with("ServerAddress teredo.example.org")
    internet.names.answer("203.0.113.200", "203.0.113.201")
    changes: list[float] = []
    for number in range(1, 60):
        run_until_asked(internet, number)
        with logging() as logged:
            internet.names.answer("203.0.113.201", "203.0.113.200")
        changes += [internet.clock.now() for line in logged.at("info") if ": now " in line]
    assert len(changes) >= 3
    assert min(after - before for before, after in pairwise(changes)) >= 599


def test_a_second_address_that_is_a_name_is_looked_up_again_too() -> None:
    internet = internet_with("ServerAddress 192.0.2.1", "ServerAddress2 other.example.org")
    internet.names.answer("192.0.2.2")
    internet.run()
    take_server_away(internet)
    internet.run(60)
    assert internet.names.asked == ["other.example.org"] * 2
    internet.names.answer("192.0.2.66")
    internet.run()
    assert servers_of(internet) == [parse_ipv4(OLD)]


# ---------------------------------------------------------------- with name servers


class Named:
    """A client in a namespace, and a name server that its resolv.conf names."""

    def __init__(self, folder: Path, *lines: str) -> None:
        (folder / "netns" / "client").mkdir(parents=True)
        (folder / "netns" / "client" / "resolv.conf").write_text("nameserver 192.0.2.17\n")
        text = "\n".join([*lines, "ServerAddress teredo.example.org"])
        self.internet = internet = TeredoInternet(f"{SERVERS_AND_RELAY}[client a]\nNamespace client\n{text}\n")
        self.server = NameServer(addresses(OLD))
        internet.relay.listen_udp(self.server, "192.0.2.17", dns.PORT)
        self.names = HostNames(internet.client, internet.clock, Random(53).randbytes, str(folder))
        internet.resolve = self.names
        internet.start()


def test_a_role_in_a_namespace_asks_the_name_servers_of_its_namespace(tmp_path: Path) -> None:
    named = Named(tmp_path)
    named.internet.run()
    assert servers_of(named.internet) == [parse_ipv4(OLD)]
    assert [address for address, _ in named.server.askers] == ["198.51.100.7"]


@pytest.mark.parametrize("reply", [silence, code(dns.ENAME)])
def test_a_stop_during_a_look_up_or_a_rest_leaves_nothing(tmp_path: Path, reply: Reply) -> None:
    named = Named(tmp_path)
    named.server.reply = reply
    with logging() as logged:
        named.internet.run(0.5)
        assert named.internet.clock.armed != []
        named.internet.stop()
    assert (named.internet.clock.armed, named.internet.client.open_things(), logged.failures) == ([], [], 0)
    named.internet.run(100)
    assert named.server.asked == ["teredo.example.org"]


def test_a_server_that_moves_is_followed_within_a_minute(tmp_path: Path) -> None:
    """The rest of a refresh interval, three solicitations, and one question: 30 + 12 s."""
    named = Named(tmp_path)
    internet = named.internet
    internet.run(100)
    take_server_away(internet)
    named.server.reply = addresses(MOVED)
    before = internet.clock.now()
    while len(internet.qualified) == 1:
        internet.run(0.1)
    assert servers_of(internet) == [parse_ipv4(OLD), parse_ipv4(MOVED)]
    assert 12 <= internet.clock.now() - before <= 42.2
    assert len(named.server.asked) == 2


NAME_SERVER = "192.0.2.53"
REAL_ROLES = """\
[server s]
Namespace far
ServerBindAddress 192.0.2.1
[client a]
Namespace near
ServerAddress teredo.example.org
"""


class Joined:
    """A client and its server on real sockets, in two namespaces at the two ends of a cable.

    @ivar far: where the server is, and the name server that the client's resolv.conf names.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "netns" / "near").mkdir(parents=True)
        (folder / "netns" / "near" / "resolv.conf").write_text(f"nameserver {NAME_SERVER}\n")
        self._reactor = install_reactor()
        self._join()
        near, self.far = self._endpoints("near"), self._endpoints("far")
        clock = BoottimeClock(self._reactor)
        self.events: list[Sent | Took | Did] = []
        self.roles = assemble(
            parse(REAL_ROLES, "real.conf"),
            clock=clock,
            endpoints=self._endpoints,
            resolve=HostNames(near, clock, Random(53).randbytes, str(folder)),
            observer=self.events.append,
        )

    def _endpoints(self, namespace: str | None) -> KernelEndpoints:
        return KernelEndpoints(namespace, self._reactor)

    def _join(self) -> None:
        create_namespace("near")
        create_namespace("far")
        network = self._endpoints("near").network()
        network.add_veth("wire", "wire", "far")
        network.close()
        for name, own in (("near", ["192.0.2.7"]), ("far", [OLD, "192.0.2.2", NAME_SERVER])):
            network = self._endpoints(name).network()
            index = network.index_of("wire")
            assert index is not None
            network.set_up(index)
            for address in own:
                network.add_address(index, parse_ipv4(address), 24)
            network.close()

    def start(self) -> None:
        self.roles.privilegedStartService()
        self.roles.startService()

    @property
    def qualified(self) -> bool:
        return any(isinstance(event, Did) and isinstance(event.action, Qualified) for event in self.events)


@pytest.mark.namespaced
def test_a_server_that_moves_is_followed_on_real_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closes_descriptors: None
) -> None:
    monkeypatch.setattr(qualification, "SOLICITATION_TIMEOUT", 0.1)
    monkeypatch.setattr(servernames, "LOOK_UP_PAUSE", 0.5)
    joined = Joined(tmp_path)

    async def body() -> None:
        server = NameServer(addresses("192.0.2.99"))
        port = joined.far.listen_udp(server, NAME_SERVER, dns.PORT)
        joined.start()
        await until(lambda: server.asked != [])
        server.reply = addresses(OLD)
        await until(lambda: joined.qualified)
        assert len(server.asked) == 2
        await maybeDeferred(joined.roles.stopService)
        await maybeDeferred(IListeningPort(port).stopListening)

    run_reactor(body())


@pytest.mark.namespaced
def test_a_stop_during_a_look_up_leaves_nothing_in_the_reactor(tmp_path: Path, closes_descriptors: None) -> None:
    joined = Joined(tmp_path)

    async def body() -> None:
        server = NameServer(silence)
        port = joined.far.listen_udp(server, NAME_SERVER, dns.PORT)
        joined.start()
        await until(lambda: server.asked != [])
        await maybeDeferred(IListeningPort(port).stopListening)
        await maybeDeferred(joined.roles.stopService)

    run_reactor(body())
