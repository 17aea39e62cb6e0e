# SPDX-License-Identifier: MIT
"""A relay's neighbours, as little as they can be: clients that ping, their server, and a native host.

No core runs here, so that what is measured is the relay and not what measures it. All of them live in one node, each
client at a port of its own and behind no NAT; the native host that the clients ping is the node's kernel.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from miredo.address.endpoint import IPv6, endpoint, parse_ipv4, show_ipv6
from miredo.address.teredo import TEREDO_PORT, compose
from miredo.kernel.namespaces import entered
from miredo.lab.pings import Ping, Pings
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.encapsulation import parse_encapsulation
from miredo.wire.icmpv6 import EchoReply, EchoRequest, emit_icmpv6, emit_icmpv6_body, parse_icmpv6
from miredo.wire.ipv6 import destination_of, parse_ipv6, source_of
from miredo.wire.reader import MalformedPacket

Address = tuple[str, int]
"""A UDP endpoint as sockets have it."""

FIRST_PORT = 40000
REPLY, ECHO_HEADER = 129, 8
RETRY = 1.0
"""Seconds between the pings to a client that has not answered yet, as ping programs have it."""
LONGEST = 2048
HOP_LIMIT = 64
TICK = 0.005
"""Seconds between looks at what is due."""


class Client:
    """A client that answers whatever comes, and whose pings go to the native host by way of the relay."""

    def __init__(self, node: str, ipv4: str, port: int, server: str, relay: Address) -> None:
        with entered(node):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((ipv4, port))
        self.socket.setblocking(False)
        self.address = compose(parse_ipv4(server), endpoint(parse_ipv4(ipv4), port), 0)
        self.pings = Pings(os.urandom)
        self._relay = relay

    def ping(self, host: IPv6) -> Ping:
        ping, request = self.pings.request(time.monotonic())
        self.send(emit_icmpv6(self.address, host, request, HOP_LIMIT))
        return ping

    def answer(self, bubble: bytes) -> None:
        """A bubble came through the server: a bubble goes straight to the relay, the trailers with it."""
        trailers = bubble[len(emit_bubble(self.address, self.address)) :]
        self.send(emit_bubble(self.address, source_of(bubble)) + trailers)

    def receive(self) -> None:
        """Take what came from the relay."""
        try:
            packet = self.socket.recv(LONGEST)
            message = parse_icmpv6(parse_ipv6(packet)[0])
        except (OSError, MalformedPacket):
            return  # nothing, or a bubble
        if isinstance(message, EchoReply):
            self.pings.replied(message.data, time.monotonic())
        elif isinstance(message, EchoRequest):
            reply = EchoReply(message.identifier, message.sequence, message.data)
            self.send(emit_icmpv6(self.address, source_of(packet), reply, HOP_LIMIT))

    def send(self, packet: bytes) -> None:
        self.socket.sendto(packet, self._relay)


@dataclass(slots=True)
class Arrival:
    """A client that the native host pings for the first time.

    @ivar served: seconds until it had answered; C{None} if it has not.
    """

    client: Client
    begun: float
    tried: float
    pings: list[Ping] = field(default_factory=list)

    @property
    def served(self) -> float | None:
        answered = [ping.answered for ping in self.pings if ping.answered is not None]
        return min(answered) - self.begun if answered else None


class Population:
    """Everybody but the relay.

    @param node: where they live.
    @param ipv4: the address of the clients.
    @param server: the IPv4 address of the server of all of them.
    @param relay: where the relay listens.
    @param host: the native IPv6 address of the node.
    @ivar established: clients that the relay knows, from L{establish} on.
    @ivar arrivals: clients that came later, one each L{arrive}.
    @ivar sent: the pings of the established clients to the native host.
    """

    def __init__(self, node: str, ipv4: str, server: str, relay: Address, host: IPv6) -> None:
        self.established: list[Client] = []
        self.arrivals: list[Arrival] = []
        self.sent: list[tuple[Client, Ping]] = []
        self._node, self._ipv4, self._server, self._relay, self._host = node, ipv4, server, relay, host
        self._clients: dict[IPv6, Client] = {}
        self._native = Pings(os.urandom)
        self._poll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        with entered(node):
            self._bubbles = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        self._bubbles.bind((server, TEREDO_PORT))
        for opened, receive in ((self._bubbles, self._pass_on), (self._raw, self._take_reply)):
            opened.setblocking(False)
            self._read(opened, receive)

    def close(self) -> None:
        for client in self._clients.values():
            client.socket.close()
        self._bubbles.close()
        self._raw.close()
        self._poll.close()

    # ------------------------------------------------------------ what is asked of them

    def establish(self, count: int, seconds: float) -> bool:
        """Have the native host ping so many new clients; whether all have answered in that time."""
        arrivals = [self.arrive() for _ in range(count)]
        self.established += [arrival.client for arrival in arrivals]
        done = self.run(seconds, until=lambda: all(arrival.served is not None for arrival in arrivals))
        self.arrivals.clear()
        return done

    def arrive(self) -> Arrival:
        """A new client that the native host begins to ping."""
        client = Client(self._node, self._ipv4, FIRST_PORT + len(self._clients), self._server, self._relay)
        self._clients[client.address] = client
        self._read(client.socket, client.receive)
        now = time.monotonic()
        arrival = Arrival(client, now, now)
        self.arrivals.append(arrival)
        self._greet(arrival)
        return arrival

    def run(
        self,
        seconds: float,
        *,
        interval: float | None = None,
        arriving: float | None = None,
        until: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Let time pass.

        @param interval: seconds between the pings of each established client; C{None}: they do not ping.
        @param arriving: seconds between new clients.
        @param until: ends it early.
        @return: whether that was so.
        """
        now = begun = time.monotonic()
        sent = arrived = 0
        while now - begun < seconds:
            if until():
                return True
            for descriptor, _ in self._poll.poll(TICK):
                self._readers[descriptor]()
            now = time.monotonic()
            while interval is not None and sent < (now - begun) * len(self.established) / interval:
                client = self.established[sent % len(self.established)]
                self.sent.append((client, client.ping(self._host)))
                sent += 1
            if arriving is not None and arrived < (now - begun) / arriving:
                self.arrive()
                arrived += 1
            for arrival in self.arrivals:
                if arrival.served is None and now - arrival.tried >= RETRY:
                    arrival.tried = now
                    self._greet(arrival)
        return until()

    # ------------------------------------------------------------ steps

    def _read(self, opened: socket.socket, receive: Callable[[], None]) -> None:
        self._readers[opened.fileno()] = receive
        self._poll.register(opened, select.EPOLLIN)

    def _greet(self, arrival: Arrival) -> None:
        ping, request = self._native.request(time.monotonic())
        arrival.pings.append(ping)
        self._raw.sendto(emit_icmpv6_body(request), (show_ipv6(arrival.client.address), 0))

    def _pass_on(self) -> None:
        """The server's part: a bubble of the relay reaches its client."""
        try:
            datagram = self._bubbles.recv(LONGEST)
            packet = parse_encapsulation(datagram).packet
        except (OSError, MalformedPacket):
            return
        client = self._clients.get(destination_of(packet))
        if client is not None and is_bubble(packet):
            client.answer(datagram)

    def _take_reply(self) -> None:
        try:
            message = self._raw.recv(LONGEST)
        except BlockingIOError:
            return
        if message[:1] == bytes([REPLY]):
            self._native.replied(message[ECHO_HEADER:], time.monotonic())
