# SPDX-License-Identifier: MIT
"""Host names, looked up in memory and on real sockets: what is believed, who is asked, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from errno import EPERM
from pathlib import Path
from random import Random
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.names import dns
from twisted.python.failure import Failure

from miredo.address.endpoint import IPv4, parse_ipv4, show_ipv4
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.errors import refused
from miredo.kernel.interfaces import IEndpoints
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryInternet
from miredo.kernel.namespaces import create_namespace
from miredo.service.names import HostNames, Question, addresses_in, listed_name_servers
from tests.namespaced import install_reactor, run_reactor, until
from tests.service.internet import logging
from tests.service.nameserver import NameServer, Reply, a, addresses, answer, asked_name, cname, code, silence

NAME = "teredo.example.org"
OWN, FIRST, SECOND, STRANGER = "192.0.2.7", "192.0.2.53", "192.0.2.54", "192.0.2.66"
RESOLV_CONF = f"# ours\nsearch example.org\nnameserver {FIRST}\nnameserver {SECOND} \noptions timeout:9\n"
GOOD = addresses("198.51.100.1")
FOUND = ["198.51.100.1"]


@dataclass
class Case:
    """What the two name servers answer, what somebody else does, and what comes of it, after how many seconds."""

    first: Reply
    outcome: list[str] | str
    second: Reply = silence
    forged: Reply = silence
    seconds: float = 0.0


def records(make: Callable[[bytes], list[dns.RRHeader]]) -> Reply:
    return lambda question: [answer(question, *make(asked_name(question)))]


def bad_then_good(bad: Callable[[dns.Message], bytes]) -> Reply:
    return lambda question: [bad(question), *GOOD(question)]


def other(question: dns.Message, name: str = "other.example.org", kind: int = dns.A, cls: int = dns.IN) -> bytes:
    """An answer to another question than was asked, that gives a wrong address for ours."""
    return answer(question, a(NAME, "203.0.113.6"), queries=[dns.Query(name, kind, cls)])


def mailbox(name: bytes) -> dns.RRHeader:
    """A record of a type that nobody asked for."""
    return dns.RRHeader(name, 15, dns.IN, 60, None)


CASES = {
    "one address": Case(GOOD, FOUND),
    "several addresses": Case(addresses("198.51.100.1", "198.51.100.2"), ["198.51.100.1", "198.51.100.2"]),
    "an alias": Case(records(lambda name: [cname(name, "b.test"), a("b.test", "198.51.100.1")]), FOUND),
    "aliases in any order, of which letters are capital": Case(
        records(lambda name: [a("D.test", "198.51.100.1"), cname("b.test", "d.TEST"), cname(name.upper(), "B.test")]),
        FOUND,
    ),
    "an alias without an address": Case(records(lambda name: [cname(name, "b.test")]), f"{NAME} has no IPv4 address"),
    "an alias of itself": Case(
        records(lambda name: [cname(name, "b.test"), cname("b.test", NAME)]), f"{NAME} has no IPv4 address"
    ),
    "records that nobody asked for": Case(
        records(lambda name: [mailbox(name), a("x.test", "203.0.113.6"), a(name, "198.51.100.1")]), FOUND
    ),
    "an address of another class": Case(
        records(lambda name: [a(name, "203.0.113.6", cls=3)]), f"{NAME} has no IPv4 address"
    ),
    "no such name": Case(code(dns.ENAME), f"{NAME} does not exist", second=GOOD),
    "no address": Case(code(dns.OK), f"{NAME} has no IPv4 address", second=GOOD),
    "a server failure": Case(code(dns.ESERVER), FOUND, second=GOOD),
    "a refusal": Case(code(dns.EREFUSED), FOUND, second=GOOD),
    "failures of both": Case(code(dns.ESERVER), f"{FIRST}: SERVFAIL, {SECOND}: response code 9", second=code(9)),
    "silence": Case(silence, FOUND, second=GOOD, seconds=1.0),
    "a wrong identifier": Case(
        bad_then_good(lambda question: answer(question, a(NAME, "203.0.113.6"), identifier=question.id ^ 1)), FOUND
    ),
    "an answer for another name": Case(bad_then_good(other), FOUND),
    "an answer for another type": Case(bad_then_good(lambda question: other(question, NAME, kind=28)), FOUND),
    "an answer for another class": Case(bad_then_good(lambda question: other(question, NAME, cls=3)), FOUND),
    "an answer for no question": Case(
        bad_then_good(lambda question: answer(question, a(NAME, "203.0.113.6"), queries=[])), FOUND
    ),
    "a question": Case(bad_then_good(lambda question: answer(question, a(NAME, "203.0.113.6"), response=False)), FOUND),
    "an answer to something else than a query": Case(
        bad_then_good(lambda question: answer(question, a(NAME, "203.0.113.6"), operation=4)), FOUND
    ),
    "garbage": Case(bad_then_good(lambda question: question.id.to_bytes(2, "big") + b"\xc0" * 40), FOUND),
    "a pointer to itself": Case(
        bad_then_good(lambda question: answer(question)[:12] + b"\xc0\x0c\x00\x01\x00\x01"), FOUND
    ),
    "nothing": Case(bad_then_good(lambda question: b""), FOUND),
    "more than an answer can have": Case(
        bad_then_good(lambda question: answer(question, a(NAME, "203.0.113.6")) + bytes(512)), FOUND
    ),
    "an answer twice": Case(lambda question: GOOD(question) * 2, FOUND),
    "an answer from elsewhere": Case(GOOD, FOUND, forged=addresses("203.0.113.6")),
    "a long answer with an address": Case(
        lambda question: [answer(question, a(asked_name(question), "198.51.100.1"), cut=True)], FOUND
    ),
    "a long answer without one": Case(
        lambda question: [answer(question, cut=True)], f"{NAME} has no IPv4 address in an answer that was cut short"
    ),
    "a record cut short": Case(
        lambda question: [answer(question, *(a(asked_name(question), f"198.51.100.{n}") for n in (1, 2)))[:-1]], FOUND
    ),
}


def etc(folder: Path, resolv_conf: str | None = RESOLV_CONF, hosts: str | None = None) -> str:
    """The files of a machine."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("resolv.conf", resolv_conf), ("hosts", hosts)):
        if text is not None:
            (folder / name).write_text(text)
    return str(folder)


def listen(far: IEndpoints, case: Case) -> tuple[tuple[NameServer, NameServer], list[IUDPTransport]]:
    """Both name servers, the stranger who answers before the first, and the ports of all."""
    forger = DatagramProtocol()
    first, second = NameServer(case.first, case.forged, forger), NameServer(case.second)
    places = (forger, STRANGER), (first, FIRST), (second, SECOND)
    return (first, second), [far.listen_udp(each, address, dns.PORT) for each, address in places]


def show(outcome: list[IPv4] | Failure) -> list[str] | str:
    if isinstance(outcome, Failure):
        assert isinstance(outcome.value, DNSLookupError)
        return str(outcome.value.args[0])
    return [show_ipv4(each) for each in outcome]


def outcome_of(looking_up: Deferred[list[IPv4]]) -> list[list[IPv4] | Failure]:
    """What comes of it, once it has."""
    outcomes: list[list[IPv4] | Failure] = []
    looking_up.addBoth(outcomes.append)
    return outcomes


# ---------------------------------------------------------------- in memory


class Memory:
    """A host that asks and two name servers, in memory."""

    def __init__(self, folder: str, case: Case, namespace: str | None = None) -> None:
        self.clock = MemoryClock()
        net = MemoryInternet(self.clock)
        self.host = MemoryEndpoints(net, [(parse_ipv4(OWN), 24)], namespace)
        far = MemoryEndpoints(net, [(parse_ipv4(each), 24) for each in (FIRST, SECOND, STRANGER)])
        self.first, self.second = listen(far, case)[0]
        self.names = HostNames(self.host, self.clock, Random(53).randbytes, folder)

    def is_idle(self) -> bool:
        """No alarm, and no port on the host."""
        ports = [port for port in range(32768, 32800) if self.host.port_at((parse_ipv4(OWN), port))]
        return (self.clock.armed, ports) == ([], [])


@pytest.mark.parametrize("name", CASES)
def test_what_an_answer_means(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    memory = Memory(etc(tmp_path), case)
    with logging() as logged:
        outcomes = outcome_of(memory.names(NAME))
        if case.seconds:
            memory.clock.advance(case.seconds - 0.001)
            assert outcomes == []
        memory.clock.advance(0.002)
    assert [show(outcome) for outcome in outcomes] == [case.outcome]
    assert (memory.is_idle(), logged.failures) == (True, 0)


def test_servers_that_are_silent_are_asked_three_times_with_growing_patience(tmp_path: Path) -> None:
    memory = Memory(etc(tmp_path), Case(silence, ""))
    outcomes = outcome_of(memory.names(NAME))
    memory.clock.advance(25.9)
    assert (outcomes, len(memory.first.asked), len(memory.second.asked)) == ([], 3, 3)
    memory.clock.advance(0.2)
    assert [show(outcome) for outcome in outcomes] == [f"{FIRST}: no answer, {SECOND}: no answer"]
    assert memory.is_idle()


def test_a_server_that_has_answered_is_not_asked_again(tmp_path: Path) -> None:
    memory = Memory(etc(tmp_path), Case(code(dns.ESERVER), "", second=silence))
    outcomes = outcome_of(memory.names(NAME))
    memory.clock.advance(13.1)
    assert [show(outcome) for outcome in outcomes] == [f"{FIRST}: SERVFAIL, {SECOND}: no answer"]
    assert (len(memory.first.asked), len(memory.second.asked)) == (1, 3)


def test_a_question_has_one_answer_and_what_comes_later_is_too_late() -> None:
    question = Question(NAME, FIRST, 0x1234)
    asked = dns.Message()
    asked.fromStr(question.datagram)
    outcomes: list[dns.Message | None] = []
    question.answer.addCallback(outcomes.append)
    for address in ("192.0.2.1", "192.0.2.2"):
        question.datagramReceived(answer(asked, a(NAME, address)), (FIRST, 53))
    question.give_up()
    assert [addresses_in(outcome, NAME) for outcome in outcomes if outcome] == [[parse_ipv4("192.0.2.1")]]


def test_each_question_has_a_port_and_an_identifier_of_its_own(tmp_path: Path) -> None:
    memory = Memory(etc(tmp_path), Case(silence, ""))
    outcome_of(memory.names(NAME))
    memory.clock.advance(26)
    assert len(set(memory.first.identifiers + memory.second.identifiers)) == 6
    assert {address for address, _ in memory.first.askers} == {OWN}


def test_the_last_dot_of_a_name_is_not_asked_for(tmp_path: Path) -> None:
    memory = Memory(etc(tmp_path), Case(GOOD, ""))
    outcomes = outcome_of(memory.names(NAME + "."))
    memory.clock.advance(0)
    assert (memory.first.asked, [show(outcome) for outcome in outcomes]) == ([NAME], [FOUND])


@pytest.mark.parametrize("when", [0.0, 0.5, 1.5])
def test_a_look_up_that_is_cancelled_leaves_nothing(tmp_path: Path, when: float) -> None:
    memory = Memory(etc(tmp_path), Case(silence, ""))
    looking_up = memory.names(NAME)
    outcomes = outcome_of(looking_up)
    memory.clock.advance(when)
    assert not memory.is_idle()
    looking_up.cancel()
    assert [type(each.value) for each in outcomes if isinstance(each, Failure)] == [CancelledError]
    assert memory.is_idle()


class Refusing(MemoryEndpoints):
    """A namespace in which nothing can be opened."""

    def listen_udp(self, protocol: DatagramProtocol, address: str, port: int) -> IUDPTransport:
        raise refused(EPERM, f"UDP {address} port {port}")


def test_a_network_that_is_not_there_is_an_answer_at_once(tmp_path: Path) -> None:
    clock = MemoryClock()
    host = Refusing(MemoryInternet(clock), [(parse_ipv4(OWN), 24)])
    outcomes = outcome_of(HostNames(host, clock, Random(53).randbytes, etc(tmp_path))(NAME))
    reason = "UDP 0.0.0.0 port 0: Operation not permitted"
    assert [show(outcome) for outcome in outcomes] == [f"{FIRST}: {reason}, {SECOND}: {reason}"]
    assert clock.armed == []


# ---------------------------------------------------------------- the files


@pytest.mark.parametrize("namespace", [None, "client"])
def test_hosts_comes_before_the_name_servers(tmp_path: Path, namespace: str | None) -> None:
    hosts = f"::1 {NAME}\n192.0.2.99 x {NAME.upper()} # ours\n192.0.2.98 {NAME}\n#192.0.2.97 {NAME}\n"
    memory = Memory(etc(tmp_path, hosts=hosts), Case(GOOD, ""), namespace)
    assert [show(outcome) for outcome in outcome_of(memory.names(NAME))] == [["192.0.2.99", "192.0.2.98"]]
    assert (memory.first.asked, memory.is_idle()) == ([], True)


def test_an_ipv6_address_in_hosts_is_no_answer(tmp_path: Path) -> None:
    memory = Memory(etc(tmp_path, hosts=f"2001:db8::1 {NAME}\n"), Case(GOOD, ""))
    outcomes = outcome_of(memory.names(NAME))
    memory.clock.advance(0)
    assert [show(outcome) for outcome in outcomes] == [FOUND]


def test_a_namespace_may_have_files_of_its_own(tmp_path: Path) -> None:
    folder = etc(tmp_path, hosts=f"192.0.2.99 {NAME}\n")
    etc(tmp_path / "netns" / "client", f"nameserver {SECOND}\n", "192.0.2.98 other.example.org\n")
    case = Case(GOOD, "", second=addresses("198.51.100.2"))
    inside, outside = Memory(folder, case, "client"), Memory(folder, case)
    outcomes = outcome_of(inside.names(NAME)) + outcome_of(outside.names(NAME))
    found = outcome_of(inside.names(NAME))
    inside.clock.advance(0)
    assert [show(outcome) for outcome in outcomes + found] == [["192.0.2.99"], ["198.51.100.2"]]
    assert (inside.first.asked, inside.second.asked) == ([], [NAME, NAME])


def test_the_files_are_read_anew_for_each_look_up(tmp_path: Path) -> None:
    memory = Memory(etc(tmp_path), Case(GOOD, "", second=GOOD))
    outcome_of(memory.names(NAME))
    etc(tmp_path, f"nameserver {SECOND}\n")
    outcome_of(memory.names(NAME))
    memory.clock.advance(0)
    assert (memory.first.asked, memory.second.asked) == ([NAME], [NAME])


def test_ipv6_name_servers_are_not_asked(tmp_path: Path) -> None:
    memory = Memory(etc(tmp_path, f"nameserver fe80::1%eth0\nnameserver {SECOND}\n"), Case(silence, "", second=GOOD))
    outcomes = outcome_of(memory.names(NAME))
    memory.clock.advance(0)
    assert [show(outcome) for outcome in outcomes] == [FOUND]


def test_ipv6_name_servers_only_are_said_to_be_so(tmp_path: Path) -> None:
    memory = Memory(etc(tmp_path, "nameserver 2001:db8::53\n"), Case(GOOD, ""))
    (outcome,) = outcome_of(memory.names(NAME))
    assert show(outcome) == (
        f"{tmp_path}/resolv.conf names IPv6 name servers only, and just those with an IPv4 address are asked"
    )


@pytest.mark.parametrize("text", [None, "", "search example.org\n"])
def test_without_a_name_server_the_own_host_is_asked(tmp_path: Path, text: str | None) -> None:
    memory = Memory(etc(tmp_path, text), Case(silence, ""))
    own = NameServer(GOOD)
    memory.host.listen_udp(own, "127.0.0.1", 53)
    outcomes = outcome_of(memory.names(NAME))
    memory.clock.advance(0)
    assert (own.asked, [show(outcome) for outcome in outcomes]) == ([NAME], [FOUND])


def test_three_name_servers_are_asked_and_no_more(tmp_path: Path) -> None:
    text = "".join(f"nameserver 203.0.113.{number}\n" for number in (1, 2, 3)) + f"nameserver {FIRST}\n"
    memory = Memory(etc(tmp_path, text), Case(GOOD, ""))
    outcomes = outcome_of(memory.names(NAME))
    memory.clock.advance(38.9)
    assert outcomes == []
    memory.clock.advance(0.2)
    assert (len(outcomes), memory.first.asked) == (1, [])


def test_lines_that_only_look_like_name_servers_are_none() -> None:
    text = (
        "nameserver\n;nameserver 192.0.2.1\n# nameserver 192.0.2.2\nnameservers 192.0.2.3\n\tnameserver\t192.0.2.4 x\n"
    )
    assert listed_name_servers(text) == ["192.0.2.4"]


# ---------------------------------------------------------------- anything


@given(st.binary(max_size=600))
def test_no_datagram_is_an_answer_that_is_none(datagram: bytes) -> None:
    question = Question(NAME, FIRST, 0x1234)
    with logging() as logged:
        question.datagramReceived(datagram, (FIRST, 53))
        question.datagramReceived(b"\x12\x34" + datagram, (FIRST, 53))
        question.datagramReceived(b"\x12\x34\x81\x80\x00\x01" + datagram, (FIRST, 53))
    assert (question.answer.called, logged.failures) == (False, 0)


@given(st.data())
def test_a_damaged_answer_is_one_or_none(data: st.DataObject) -> None:
    question = Question(NAME, FIRST, 0x1234)
    asked = dns.Message()
    asked.fromStr(question.datagram)
    whole = bytearray(answer(asked, cname(NAME, "b.test"), a("b.test", "192.0.2.1"), a(NAME, "192.0.2.2")))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    question.datagramReceived(bytes(whole[: data.draw(st.integers(0, len(whole)))]), (FIRST, 53))
    outcomes: list[dns.Message | None] = []
    question.answer.addCallback(outcomes.append)
    for message in outcomes:
        assert message is not None
        assert all(len(address) == 4 for address in addresses_in(message, NAME))


# ---------------------------------------------------------------- on real sockets


@pytest.mark.namespaced
@pytest.mark.parametrize("name", CASES)
def test_what_an_answer_means_on_real_sockets(tmp_path: Path, name: str, closes_descriptors: None) -> None:
    """In a network namespace whose resolv.conf is its own."""
    case = CASES[name]
    reactor = install_reactor()
    create_namespace("far")
    far = KernelEndpoints("far", reactor)
    give_addresses(far)
    folder = etc(tmp_path, "nameserver 203.0.113.1\n")
    etc(tmp_path / "netns" / "far")
    names = HostNames(far, BoottimeClock(reactor), Random(53).randbytes, folder)

    async def body() -> None:
        _, ports = listen(far, case)
        outcomes = outcome_of(names(NAME))
        await until(lambda: outcomes != [])
        assert [show(outcome) for outcome in outcomes] == [case.outcome]
        await close(ports)

    run_reactor(body())


@pytest.mark.namespaced
def test_a_look_up_that_is_cancelled_leaves_no_socket(tmp_path: Path, closes_descriptors: None) -> None:
    create_namespace("far")
    far = KernelEndpoints("far", install_reactor())
    give_addresses(far)
    names = HostNames(far, BoottimeClock(install_reactor()), Random(53).randbytes, etc(tmp_path))

    async def body() -> None:
        (first, _), ports = listen(far, Case(silence, ""))
        looking_up = names(NAME)
        outcomes = outcome_of(looking_up)
        await until(lambda: first.asked != [])
        looking_up.cancel()
        await until(lambda: outcomes != [])
        await close(ports)

    run_reactor(body())


@pytest.mark.namespaced
def test_a_namespace_without_a_way_to_the_name_servers_is_told_at_once(tmp_path: Path) -> None:
    create_namespace("far")
    far = KernelEndpoints("far", install_reactor())
    names = HostNames(far, BoottimeClock(install_reactor()), Random(53).randbytes, etc(tmp_path))

    async def body() -> None:
        before = monotonic()
        outcomes = outcome_of(names(NAME))
        await until(lambda: outcomes != [])
        reason = "Network is unreachable"
        assert [show(outcome) for outcome in outcomes] == [f"{FIRST}: {reason}, {SECOND}: {reason}"]
        assert monotonic() - before < 0.5

    run_reactor(body())


def give_addresses(far: KernelEndpoints) -> None:
    """Let the loopback of a namespace be up and have everybody's."""
    network = far.network()
    index = network.index_of("lo")
    assert index is not None
    network.set_up(index)
    for address in (FIRST, SECOND, STRANGER):
        network.add_address(index, parse_ipv4(address), 32)
    network.close()


async def close(ports: list[IUDPTransport]) -> None:
    for port in ports:
        await maybeDeferred(IListeningPort(port).stopListening)
