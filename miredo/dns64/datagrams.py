# SPDX-License-Identifier: MIT
"""A question to a name server over UDP, from a port of its own that the kernel draws."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol
from twisted.names import dns

from miredo.dns64.deadlines import Deadlines
from miredo.dns64.drops import Drop
from miredo.dns64.message import parse_message
from miredo.dns64.query import UDP_SIZE, Fit, Query
from miredo.dns64.sockets import Sockets
from miredo.wire.reader import MalformedPacket


class Miscased(Exception):
    """The answer repeats the question in other letters: a forgery, or a name server that does not keep them."""


class QuestionProtocol(DatagramProtocol):
    """
    One question to one name server.

    @ivar answer: fires with the message, or fails with L{Miscased}; it may be cancelled.
    """

    noisy = False

    def __init__(self, query: Query, place: tuple[str, int], drops: Counter[Drop]) -> None:
        self._query = query
        self._place = ip_address(place[0]), place[1]
        self._drops = drops
        self.answer: Deferred[dns.Message] = Deferred()

    def datagramReceived(self, datagram: bytes, address: tuple[str, int]) -> None:
        """Take the answer; what anybody else sends, or says of anything else, is passed over."""
        if (ip_address(address[0]), address[1]) != self._place or datagram[:2] != self._query.octets[:2]:
            self._drops[Drop.STRANGER] += 1
            return
        if len(datagram) > UDP_SIZE:
            self._drops[Drop.UPSTREAM_MALFORMED] += 1
            return
        try:
            message = parse_message(datagram)
        except MalformedPacket:
            self._drops[Drop.UPSTREAM_MALFORMED] += 1
            return
        self._take(message)

    def _take(self, message: dns.Message) -> None:
        match self._query.fit(message):
            case Fit.STRANGER:
                self._drops[Drop.STRANGER] += 1
            case Fit.MISCASED if not self.answer.called:
                self._drops[Drop.MISCASED] += 1
                self.answer.errback(Miscased())
            case Fit.ANSWER if not self.answer.called:
                self.answer.callback(message)
            case _:
                pass


async def ask_by_datagram(
    sockets: Sockets, query: Query, place: tuple[str, int], deadlines: Deadlines, patience: float, drops: Counter[Drop]
) -> dns.Message:
    """
    Ask once.

    @raise TooLate: there was no answer.
    @raise Miscased: there was one in other letters.
    @raise OSError: the question could not be sent.
    """
    protocol = QuestionProtocol(query, place, drops)
    any_address = str(type(ip_address(place[0]))(0))
    port = sockets.listen_udp(protocol, any_address, 0)
    try:
        port.write(query.octets, place)
        return await deadlines.limited(patience, _awaited(protocol.answer))
    finally:
        await maybeDeferred(IListeningPort(port).stopListening)


async def _awaited(answer: Deferred[dns.Message]) -> dns.Message:
    return await answer
