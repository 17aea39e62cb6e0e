# SPDX-License-Identifier: MIT
"""Somebody outside who knocks at a role until it opens: sends it what it has to answer, and hears the first packet."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

from miredo.address.endpoint import Endpoint, endpoint, ipv4_of, parse_ipv4, port_of, show_ipv4, show_ipv6
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import TEREDO_PORT, compose
from miredo.kernel.namespaces import entered
from miredo.lab.pings import Pings
from miredo.teredo.actions import PRIMARY, SendDatagram
from miredo.teredo.mire import CLIENT_PORT
from miredo.teredo.qualification import SOLICITATION
from miredo.teredo.server import Server
from miredo.wire.icmpv6 import emit_icmpv6, emit_icmpv6_body

LONGEST = 2048
HOP_LIMIT = 64


class Visitor:
    """Whoever it is has a UDP port in a node.

    @param ipv4: the address of that port.
    @param role: the role's IPv4 address.
    """

    port = 0

    def __init__(self, node: str, ipv4: str, role: str) -> None:
        self.role = role
        with entered(node):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((ipv4, self.port))
        self.own = endpoint(parse_ipv4(ipv4), self.socket.getsockname()[1])

    def knock(self) -> None:
        """Send something that is to be answered."""

    def heard(self) -> bool:
        """Whether something has come."""
        try:
            datagram, (host, port) = self.socket.recvfrom(LONGEST)
        except BlockingIOError:
            return False
        self.answer(datagram, endpoint(parse_ipv4(host), port))
        return True

    def answer(self, datagram: bytes, source: Endpoint) -> None:
        """Do what has to be done about it."""

    def close(self) -> None:
        self.socket.close()


class AtServer(Visitor):
    """A client that solicits."""

    def knock(self) -> None:
        self.socket.sendto(SOLICITATION, (self.role, TEREDO_PORT))


class AtMire(Visitor):
    """A client that pings."""

    def __init__(self, node: str, ipv4: str, role: str) -> None:
        super().__init__(node, ipv4, role)
        mire = parse_ipv4(role)
        address = compose(mire, endpoint(mire, CLIENT_PORT), 0)
        _, request = Pings(os.urandom).request(0.0)
        self._ping = emit_icmpv6(compose(ipv4_of(self.own), self.own, 0), address, request, HOP_LIMIT)

    def knock(self) -> None:
        self.socket.sendto(self._ping, (self.role, CLIENT_PORT))


class AtRelay(Visitor):
    """A native host that pings a client, and the client's server, which the relay has to turn to."""

    port = TEREDO_PORT

    def __init__(self, node: str, ipv4: str, role: str) -> None:
        super().__init__(node, ipv4, role)
        with entered(node):
            self._raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        server = ipv4_of(self.own)
        self._client = show_ipv6(compose(server, endpoint(server, CLIENT_PORT), 0))
        _, request = Pings(os.urandom).request(0.0)
        self._ping = emit_icmpv6_body(request)

    def knock(self) -> None:
        with suppress(OSError):  # the native network has no way there yet
            self._raw.sendto(self._ping, (self._client, 0))

    def close(self) -> None:
        super().close()
        self._raw.close()


class AtClient(Visitor):
    """A server, which only waits to be solicited."""

    port = TEREDO_PORT

    def __init__(self, node: str, ipv4: str, role: str) -> None:
        super().__init__(node, ipv4, role)
        first = ipv4_of(self.own)
        self._core = Server((first, first[:3] + bytes([first[3] + 1])), IPv4Scope())

    def answer(self, datagram: bytes, source: Endpoint) -> None:
        for action in self._core.receive(datagram, source, PRIMARY, time.monotonic()):
            if isinstance(action, SendDatagram):
                self.socket.sendto(action.payload, (show_ipv4(ipv4_of(action.to)), port_of(action.to)))
