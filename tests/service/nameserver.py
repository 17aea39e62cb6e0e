# SPDX-License-Identifier: MIT
"""Name servers that answer as a test says, well or badly."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.protocol import DatagramProtocol
from twisted.names import dns

Reply = Callable[[dns.Message], list[bytes]]
"""The datagrams that a question is answered with."""


def answer(
    question: dns.Message,
    *records: dns.RRHeader,
    identifier: int | None = None,
    queries: list[dns.Query] | None = None,
    code: int = dns.OK,
    cut: bool = False,
    response: bool = True,
    operation: int = 0,
) -> bytes:
    """A right answer, but for what is said."""
    message = dns.Message(
        question.id if identifier is None else identifier,
        answer=response,
        opCode=operation,
        recAv=1,
        rCode=code,
        trunc=cut,
        maxSize=0,
    )
    message.queries = question.queries if queries is None else queries
    message.answers = list(records)
    return message.toStr()


def asked_name(question: dns.Message) -> bytes:
    return question.queries[0].name.name


def a(name: bytes | str, address: str, cls: int = dns.IN) -> dns.RRHeader:
    return dns.RRHeader(name, dns.A, cls, 60, dns.Record_A(address))


def cname(name: bytes | str, other: str) -> dns.RRHeader:
    return dns.RRHeader(name, dns.CNAME, dns.IN, 60, dns.Record_CNAME(other))


def addresses(*quads: str) -> Reply:
    """The name has these."""
    return lambda question: [answer(question, *(a(asked_name(question), quad) for quad in quads))]


def code(number: int) -> Reply:
    """An answer without a record."""
    return lambda question: [answer(question, code=number)]


def silence(question: dns.Message) -> list[bytes]:
    """No answer."""
    del question
    return []


class NameServer(DatagramProtocol):
    """A name server on a port of its own.

    @ivar asked: the names that it was asked for; with C{identifiers} and C{askers}, a question at the same index.
    @param forger: a port that answers before it, with what C{forged} says.
    """

    noisy = False

    def __init__(self, reply: Reply, forged: Reply = silence, forger: DatagramProtocol | None = None) -> None:
        self.reply = reply
        self.asked: list[str] = []
        self.identifiers: list[int] = []
        self.askers: list[tuple[str, int]] = []
        self._forged = forged
        self._forger = forger

    def datagramReceived(self, datagram: bytes, address: tuple[str, int]) -> None:
        question = dns.Message()
        question.fromStr(datagram)
        self.asked.append(asked_name(question).decode())
        self.identifiers.append(question.id)
        self.askers.append(address)
        if self._forger is not None and self._forger.transport is not None:
            for each in self._forged(question):
                self._forger.transport.write(each, address)
        for each in self.reply(question):
            assert self.transport is not None
            self.transport.write(each, address)
