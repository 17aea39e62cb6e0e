# SPDX-License-Identifier: MIT
"""An authority that knows what a test says: zones of records, and ways to behave badly."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.protocol import DatagramProtocol, ServerFactory
from twisted.names import dns

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.dns64.framing import MessageStream
from miredo.dns64.message import (
    Edns,
    Message,
    address_record,
    edns_of,
    edns_record,
    emit_message,
    parse_message,
    pointer,
    question,
    record,
    target_of,
)
from miredo.dns64.names import emit_name, is_same

TTL = 300
SOA_TTL = 100
MINIMUM = 60

Line = tuple[str, int, str]
"""The name, type and text of a record."""


def make(name: str | bytes, kind: int, text: str = "", ttl: int = TTL) -> dns.RRHeader:
    """A record of what a test writes: an address, or a name; anything else is in octets."""
    owner = name.encode() if isinstance(name, str) else name
    match kind:
        case dns.A:
            return address_record(owner, ttl, parse_ipv4(text))
        case dns.AAAA:
            return address_record(owner, ttl, parse_ipv6(text))
        case dns.CNAME | dns.DNAME | dns.PTR | dns.NS:
            return pointer(owner, kind, ttl, text.encode())
        case dns.SOA:
            return record(
                owner, kind, ttl, emit_name(b"ns." + owner) + emit_name(b"root." + owner) + bytes(16) + b"\0\0\0\x3c"
            )
        case _:
            return record(owner, kind, ttl, text.encode())


class Authority:
    """
    Answers questions as a name server that has these records.

    @ivar codes: response codes instead of an answer, by type.
    @ivar asked: what was asked, in lower case, with the type.
    @ivar messages: the messages themselves.
    @param soa: says in a negative answer how long that holds.
    """

    def __init__(self, lines: Iterable[Line] = (), *, soa: bool = True) -> None:
        self.records = [make(*line) for line in lines]
        self.codes: dict[int, int] = {}
        self.asked: list[tuple[str, int]] = []
        self.messages: list[dns.Message] = []
        self.soa = soa
        self.change: Callable[[dns.Message, dns.Message], None] = lambda asked, answer: None

    def answer(self, octets: bytes) -> dns.Message:
        """The answer to a message."""
        asked = parse_message(octets)
        self.messages.append(asked)
        (query,) = asked.queries
        self.asked.append((query.name.name.decode().lower(), query.type))
        message = Message(asked.id, answer=1, recDes=1, recAv=1, auth=True)
        message.queries = asked.queries
        self._fill(message, query)
        if edns_of(asked) is not None:
            message.additional.append(edns_record(Edns(4096)))
        self.change(asked, message)
        return message

    def _fill(self, message: Message, query: dns.Query) -> None:
        if query.type in self.codes:
            message.rCode = self.codes[query.type]
            return
        name = query.name.name
        for _ in range(20):
            own = [each for each in self.records if is_same(each.name.name, name)]
            found = [each for each in own if each.type == query.type]
            aliases = [each for each in own if each.type == dns.CNAME]
            message.answers += found or aliases
            if found or not aliases:
                break
            name = target_of(aliases[0])
        known = any(is_same(each.name.name, name) for each in self.records)
        if not any(each.type == query.type for each in message.answers):
            message.rCode = dns.OK if known else dns.ENAME
            if self.soa:
                message.authority.append(make("test", dns.SOA, ttl=SOA_TTL))


class AuthorityOverUDP(DatagramProtocol):
    """
    @ivar sent: how an answer is sent: as the messages that it becomes.
    """

    noisy = False

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.sent: Callable[[dns.Message], list[bytes]] = lambda message: [emit_message(message)]
        self.askers: list[tuple[str, int]] = []

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.askers.append(addr)
        for octets in self.sent(self.authority.answer(datagram)):
            assert self.transport is not None
            self.transport.write(octets, addr)


class AuthorityStream(MessageStream):
    """An authority's side of a connection."""

    def __init__(self, factory: AuthorityOverTCP) -> None:
        super().__init__()
        self._factory = factory

    def connectionMade(self) -> None:
        self._factory.connections.append(self)

    def message_received(self, octets: bytes) -> None:
        answer = self._factory.authority.answer(octets)
        if not self._factory.silent:
            for each in self._factory.sent(answer):
                self.send(each)

    def connectionLost(self, reason: object = None) -> None:
        self._factory.connections.remove(self)


class AuthorityOverTCP(ServerFactory):
    """
    @ivar silent: it takes questions and says nothing.
    @ivar connections: those that there are.
    """

    noisy = False

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.silent = False
        self.sent: Callable[[dns.Message], list[bytes]] = lambda message: [emit_message(message)]
        self.connections: list[AuthorityStream] = []

    def buildProtocol(self, addr: object) -> AuthorityStream:
        return AuthorityStream(self)


def ask(
    name: str | bytes,
    kind: int = dns.AAAA,
    *,
    cls: int = dns.IN,
    edns: Edns | None = None,
    checking_disabled: bool = False,
    recursion: bool = True,
    identifier: int = 0x1234,
) -> bytes:
    """A question of a client."""
    message = Message(identifier, recDes=int(recursion), checkingDisabled=int(checking_disabled))
    message.queries = [question(name.encode() if isinstance(name, str) else name, kind, cls)]
    if edns is not None:
        message.additional = [edns_record(edns)]
    return emit_message(message)
