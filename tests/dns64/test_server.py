# SPDX-License-Identifier: MIT
"""The server in memory, over UDP: whom it asks, what it believes, what it keeps, and that nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from errno import EPERM
from ipaddress import IPv4Network
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.names import dns

from miredo.address.endpoint import parse_ipv4, show_ipv6
from miredo.address.rfc6052 import parse_prefix
from miredo.dns64.cache import FAILURE
from miredo.dns64.config import Dns64Config, NameServer, Place, Pref64
from miredo.dns64.drops import Drop
from miredo.dns64.forwarding import PENANCE
from miredo.dns64.message import Edns, code_of, data_of, edns_of, emit_message, parse_message
from miredo.dns64.query import UDP_SIZE, mixed
from miredo.dns64.server import Dns64DatagramProtocol, Dns64Server, client_address
from miredo.kernel.errors import refused
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryInternet, MemoryPort
from tests.dns64.upstream import Authority, AuthorityOverUDP, ask
from tests.service.internet import logging

OWN, FIRST, SECOND, STRANGER, CLIENT = "192.0.2.7", "192.0.2.53", "192.0.2.54", "192.0.2.66", "192.0.2.99"
MADE = ["2001:db8:64::c633:6401"]
LINES = (("v4.test", dns.A, "198.51.100.1"), ("v6.test", dns.AAAA, "2001:db8::1"))
CONFIG = Dns64Config(
    name_servers=(NameServer(address=FIRST), NameServer(address=SECOND)),
    listen=(Place(address=OWN),),
    clients=(IPv4Network("192.0.2.0/24"),),
    prefixes=(Pref64(prefix=parse_prefix("2001:db8:64::/96")),),
    hosts=None,
)


class Client(DatagramProtocol):
    """Somebody with questions."""

    noisy = False

    def __init__(self) -> None:
        self.answers: list[dns.Message] = []
        self.octets: list[bytes] = []

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        assert addr == (OWN, 53)
        self.octets.append(datagram)
        self.answers.append(parse_message(datagram))

    def send(self, octets: bytes) -> None:
        assert self.transport is not None
        self.transport.write(octets, (OWN, 53))

    @property
    def addresses(self) -> list[str]:
        return [show_ipv6(data_of(each)) for each in self.answers[-1].answers if each.type == dns.AAAA]


class World:
    """A DNS64, two name servers, a stranger and a client, in memory."""

    def __init__(self, config: Dns64Config = CONFIG) -> None:
        self.clock = MemoryClock()
        self.net = net = MemoryInternet(self.clock)
        self.host = MemoryEndpoints(net, [(parse_ipv4(OWN), 24)])
        far = MemoryEndpoints(net, [(parse_ipv4(each), 24) for each in (FIRST, SECOND, STRANGER, CLIENT)])
        self.first, self.second = AuthorityOverUDP(Authority(LINES)), AuthorityOverUDP(Authority(LINES))
        self.client, self.stranger = Client(), DatagramProtocol()
        for protocol, place in (
            (self.first, (FIRST, 53)),
            (self.second, (SECOND, 53)),
            (self.client, (CLIENT, 4000)),
            (self.stranger, (STRANGER, 53)),
        ):
            far.listen_udp(protocol, *place)
        make_reactor: Callable[[], MemoryReactorClock] = MemoryReactorClock
        self.reactor = make_reactor()
        self.server = Dns64Server(config, self.host, self.reactor, self.clock, Random(64).randbytes)
        self.server.open()

    def ask(
        self, name: str = "v4.test", kind: int = dns.AAAA, edns: Edns | None = None, *, seconds: float = 0.0
    ) -> dns.Message | None:
        """The client asks; what it has been answered in so many seconds."""
        before = len(self.client.answers)
        self.client.send(ask(name, kind, edns=edns))
        self.clock.advance(seconds)
        return self.client.answers[-1] if len(self.client.answers) > before else None

    def close(self) -> None:
        done: list[object] = []
        Deferred.fromCoroutine(self.server.close()).addBoth(done.append)
        self.clock.advance(0)
        assert done == [None]

    def is_idle(self) -> bool:
        """No alarm, no port but the server's own, and nothing of Twisted's."""
        ports = [port for port in range(32768, 33800) if self.host.port_at((parse_ipv4(OWN), port))]
        return (self.clock.armed, ports, self.reactor.getDelayedCalls()) == ([], [], [])


@contextmanager
def world(config: Dns64Config = CONFIG) -> Iterator[World]:
    """Nothing may be left of it, nor logged as a failure."""
    made = World(config)
    with logging() as logged:
        yield made
        assert made.is_idle()
        made.close()
    assert made.is_idle()
    assert made.host.port_at((parse_ipv4(OWN), 53)) is None
    assert logged.failures == 0


def test_a_name_that_has_only_an_ipv4_address_gets_another() -> None:
    with world() as there:
        there.ask()
        assert there.client.addresses == MADE
        assert there.first.authority.asked == [("v4.test", dns.AAAA), ("v4.test", dns.A)]
        assert there.second.authority.asked == []


def test_the_answer_has_the_question_and_the_edns_of_the_client() -> None:
    with world() as there:
        message = there.ask("V4.tEsT", edns=Edns(4096, dnssec_ok=True))
        assert message is not None
        assert (message.id, message.queries[0].name.name) == (0x1234, b"V4.tEsT")
        assert message.answers[0].name.name == b"V4.tEsT"
        assert edns_of(message) == Edns(UDP_SIZE, dnssec_ok=True)


@pytest.mark.parametrize("dnssec_ok", [True, False])
def test_name_servers_are_asked_with_edns_and_the_flags_of_the_client(dnssec_ok: bool) -> None:
    with world() as there:
        there.client.send(ask("v6.test", edns=Edns(4096, dnssec_ok), checking_disabled=not dnssec_ok))
        there.clock.advance(0)
        (asked,) = there.first.authority.messages
        assert edns_of(asked) == Edns(UDP_SIZE, dnssec_ok)
        assert (asked.recDes, asked.checkingDisabled) == (1, int(not dnssec_ok))


def test_questions_have_identifiers_ports_and_letters_of_their_own() -> None:
    with world(replace(CONFIG, cache_octets=0)) as there:
        for _ in range(8):
            there.ask("some.long.name.of.many.letters.test", dns.TXT)
        messages = there.first.authority.messages
        assert len({message.id for message in messages}) == 8
        assert len({message.queries[0].name.name for message in messages}) == 8
        assert {len(message.queries) for message in messages} == {1}


def test_letters_stay_where_nobody_wishes_otherwise() -> None:
    with world(replace(CONFIG, mix_case=False)) as there:
        there.ask("v6.TEST")
        assert there.first.authority.messages[0].queries[0].name.name == b"v6.test"


def test_only_letters_are_mixed() -> None:
    name = b"a-1.\xe4\xc4z"
    assert {mixed(name, Random(number).randbytes) for number in range(50)} == {
        b"a-1.\xe4\xc4z",
        b"A-1.\xe4\xc4z",
        b"a-1.\xe4\xc4Z",
        b"A-1.\xe4\xc4Z",
    }


# ---------------------------------------------------------------- what is kept


def test_what_is_known_is_not_asked_for_again_and_gets_older() -> None:
    with world() as there:
        there.ask()
        there.clock.advance(30.5)
        message = there.ask()
        assert message is not None
        assert [each.ttl for each in message.answers] == [70]
        assert len(there.first.authority.asked) == 2
        assert there.server.forwarder.asked == {"asked": 2, "known": 2}
        there.clock.advance(40)
        there.ask()
        assert len(there.first.authority.asked) == 3  # the AAAA answer held for 60 s


def test_one_question_is_asked_once_for_all_who_wait() -> None:
    with world() as there:
        for identifier in range(5):
            there.client.send(ask("v6.test", identifier=identifier))
        there.clock.advance(0)
        assert len(there.first.authority.asked) == 1
        assert sorted(message.id for message in there.client.answers) == list(range(5))


def test_a_failure_is_kept_for_a_while() -> None:
    with world() as there:
        for each in (there.first, there.second):
            each.authority.codes = {dns.MX: dns.ESERVER}
        for _ in range(3):
            message = there.ask(kind=dns.MX)
            assert message is not None
            assert message.rCode == dns.ESERVER
        assert (len(there.first.authority.asked), len(there.second.authority.asked)) == (1, 1)
        there.clock.advance(FAILURE)
        there.ask(kind=dns.MX)
        assert len(there.first.authority.asked) == 2


# ---------------------------------------------------------------- who is asked


def nothing(message: dns.Message) -> list[bytes]:
    del message
    return []


def test_a_silent_server_is_followed_by_the_next_and_comes_last_for_a_while() -> None:
    with world() as there:
        there.first.sent = nothing
        assert there.ask("v6.test", seconds=0.9) is None
        there.clock.advance(0.2)
        assert there.client.addresses == ["2001:db8::1"]
        there.first.sent = lambda message: [emit_message(message)]
        there.ask("one.test", dns.MX)
        assert (len(there.first.authority.asked), len(there.second.authority.asked)) == (1, 2)
        there.clock.advance(PENANCE)
        there.ask("two.test", dns.MX)
        assert len(there.first.authority.asked) == 2


@pytest.mark.parametrize("code", [dns.ESERVER, dns.EREFUSED, 9])
def test_an_error_is_followed_by_the_next_server(code: int) -> None:
    with world() as there:
        there.first.authority.codes = {dns.AAAA: code}
        there.ask("v6.test")
        assert there.client.addresses == ["2001:db8::1"]


def test_no_such_name_is_an_answer() -> None:
    with world() as there:
        message = there.ask("no.test")
        assert message is not None
        assert message.rCode == dns.ENAME
        assert there.second.authority.asked == []


def test_silence_everywhere_is_a_server_failure() -> None:
    with world() as there:
        there.first.sent = there.second.sent = nothing
        assert there.ask(kind=dns.MX, seconds=7.9) is None
        there.clock.advance(0.2)
        assert there.client.answers[-1].rCode == dns.ESERVER
        assert (len(there.first.authority.asked), len(there.second.authority.asked)) == (2, 2)


def test_silence_about_aaaa_is_followed_by_a_question_for_a() -> None:
    """RFC 6147 5.1.3."""
    with world() as there:
        for each in (there.first, there.second):
            each.sent = lambda message: [] if message.queries[0].type == dns.AAAA else [emit_message(message)]
        there.ask(seconds=8.1)
        assert there.client.addresses == MADE
        assert there.client.answers[-1].answers[0].ttl == 300


@pytest.mark.parametrize("code", [dns.EFORMAT, dns.ENOTIMP])
def test_a_server_without_edns_is_asked_without(code: int) -> None:
    with world() as there:

        def old(asked: dns.Message, answer: dns.Message) -> None:
            if asked.additional:
                answer.rCode, answer.answers, answer.authority, answer.additional = code, [], [], []

        there.first.authority.change = old
        there.ask()
        assert there.client.addresses == MADE
        assert [edns_of(message) is None for message in there.first.authority.messages] == [False, True] * 2
        assert there.second.authority.asked == []


# ---------------------------------------------------------------- what is believed

Spoil = Callable[[dns.Message], bytes]


def changed(change: Callable[[dns.Message], None]) -> Spoil:
    def spoil(message: dns.Message) -> bytes:
        forged = parse_message(emit_message(message))
        change(forged)
        return emit_message(forged)

    return spoil


def other_name(message: dns.Message) -> None:
    message.queries = parse_message(ask("other.test")).queries


def other_type(message: dns.Message) -> None:
    message.queries[0].type = dns.A


def other_class(message: dns.Message) -> None:
    message.queries[0].cls = 3


def twice(message: dns.Message) -> None:
    message.queries *= 2


SPOILS: dict[str, tuple[Spoil, Drop]] = {
    "another identifier": (changed(lambda message: setattr(message, "id", message.id ^ 1)), Drop.STRANGER),
    "another name": (changed(other_name), Drop.STRANGER),
    "another type": (changed(other_type), Drop.STRANGER),
    "another class": (changed(other_class), Drop.STRANGER),
    "two questions": (changed(twice), Drop.STRANGER),
    "a question": (changed(lambda message: setattr(message, "answer", 0)), Drop.STRANGER),
    "another operation": (changed(lambda message: setattr(message, "opCode", 4)), Drop.STRANGER),
    "nothing": (lambda message: b"", Drop.STRANGER),
    "a part": (lambda message: emit_message(message)[:-1], Drop.UPSTREAM_MALFORMED),
    "garbage": (lambda message: emit_message(message)[:2] + b"\xff" * 40, Drop.UPSTREAM_MALFORMED),
    "too much": (lambda message: emit_message(message) + bytes(UDP_SIZE), Drop.UPSTREAM_MALFORMED),
}


@pytest.mark.parametrize("name", SPOILS)
def test_what_is_no_answer_is_passed_over(name: str) -> None:
    spoil, reason = SPOILS[name]
    with world() as there:
        there.first.sent = lambda message: [spoil(message), emit_message(message)]
        there.ask("v6.test")
        assert there.client.addresses == ["2001:db8::1"]
        assert there.server.drops == {reason: 1}


def test_an_answer_from_elsewhere_is_passed_over() -> None:
    with world() as there:

        def forge(message: dns.Message) -> list[bytes]:
            assert there.stranger.transport is not None
            there.stranger.transport.write(emit_message(message), there.first.askers[-1])
            return []

        there.first.sent = forge
        assert there.ask("v6.test", seconds=0.9) is None
        assert there.server.drops == {Drop.STRANGER: 1}
        there.clock.advance(0.2)
        assert there.client.addresses == ["2001:db8::1"]


def test_an_answer_that_says_edns_twice_is_none() -> None:
    with world() as there:
        there.first.authority.change = lambda asked, answer: answer.additional.extend(answer.additional)
        there.ask("v6.test")
        assert there.client.addresses == ["2001:db8::1"]
        assert there.server.drops == {Drop.UPSTREAM_MALFORMED: 1}


# ---------------------------------------------------------------- who may ask


def test_strangers_are_refused() -> None:
    with world(replace(CONFIG, clients=(IPv4Network("192.0.2.0/26"),))) as there:
        message = there.ask()
        assert message is not None
        assert code_of(message) == dns.EREFUSED
        assert (there.first.authority.asked, there.server.drops) == ([], {Drop.CLIENT: 1})


def test_no_more_questions_are_under_way_than_allowed() -> None:
    with world(replace(CONFIG, questions=3)) as there:
        there.first.sent = nothing
        for number in range(5):
            there.client.send(ask(f"n{number}.test", dns.MX))
        there.clock.advance(0)
        assert there.server.drops == {Drop.BUSY: 2}
        there.clock.advance(1.1)
        assert len(there.client.answers) == 3


def test_an_answer_that_the_kernel_does_not_send_is_counted() -> None:
    with world() as there:

        class Refusing(MemoryPort):
            def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
                raise refused(EPERM, "UDP")

        protocol = Dns64DatagramProtocol(there.server.responder)
        protocol.transport = Refusing(protocol, (parse_ipv4(OWN), 54), there.host, there.net)
        protocol.datagramReceived(ask("ipv4only.arpa"), (CLIENT, 4000))
        assert there.server.drops == {Drop.UNSENT: 1}


def test_answers_are_counted_by_their_code() -> None:
    with world() as there:
        there.ask()
        there.ask("no.test")
        there.ask("v6.test")
        assert there.server.responder.replies == {dns.OK: 2, dns.ENAME: 1}


def test_ipv4only_arpa_costs_no_question() -> None:
    with world() as there:
        there.ask("ipv4only.arpa")
        assert there.client.addresses == ["2001:db8:64::c000:aa", "2001:db8:64::c000:ab"]
        assert there.first.authority.asked == []


# ---------------------------------------------------------------- files, and the end


def test_hosts_are_read_anew_when_that_is_wished(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("198.51.100.9 printer.lan\n")
    with world(replace(CONFIG, hosts=str(hosts))) as there:
        there.ask("printer.lan")
        assert there.client.addresses == ["2001:db8:64::c633:6409"]
        hosts.write_text("198.51.100.10 printer.lan\n")
        there.server.read_hosts()
        there.ask("printer.lan")
        assert there.client.addresses == ["2001:db8:64::c633:640a"]
        hosts.unlink()
        with pytest.raises(FileNotFoundError):
            there.server.read_hosts()
        there.ask("printer.lan")
        assert there.client.addresses == ["2001:db8:64::c633:640a"]
        assert there.first.authority.asked == []


def test_what_is_under_way_ends_with_the_server() -> None:
    there = World()
    there.first.sent = nothing
    with logging() as logged:
        there.ask(seconds=0.5)
        assert not there.is_idle()
        there.close()
        assert there.is_idle()
        there.clock.advance(60)
    assert (there.client.answers, logged.failures) == ([], 0)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("192.0.2.1", "c0000201"),
        ("::ffff:192.0.2.1", "c0000201"),
        ("fe80::1%eth0", "fe80" + "0" * 27 + "1"),
        ("::1", "0" * 31 + "1"),
    ],
)
def test_the_address_of_a_client(text: str, octets: str) -> None:
    assert client_address(text).hex() == octets


# ---------------------------------------------------------------- anything


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=100), max_size=10), st.lists(st.binary(max_size=100), max_size=4))
def test_whatever_comes_nothing_is_left_and_nothing_logged(clients: list[bytes], servers: list[bytes]) -> None:
    with world() as there:
        there.first.sent = lambda message: [emit_message(message)[: 2 + len(each)] + each for each in servers]
        for octets in clients:
            there.client.send(octets)
            there.client.send(ask("v4.test")[:12] + octets)
        there.client.send(ask("v4.test"))
        there.clock.advance(60)
        assert there.client.answers[-1].id == 0x1234
