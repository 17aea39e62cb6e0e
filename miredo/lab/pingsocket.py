# SPDX-License-Identifier: MIT
"""A ping program of our own: echo requests from a node's kernel, replies through the reactor."""

from __future__ import annotations

import socket
import struct

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.address.endpoint import Dice, IPv6, show_ipv6
from miredo.kernel.interfaces import IClock
from miredo.kernel.namespaces import entered
from miredo.lab.pings import Ping, Pings
from miredo.wire.icmpv6 import emit_icmpv6_body

ICMP6_FILTER = 1
ECHO_REPLY = 129
ONLY_ECHO_REPLIES = struct.pack("=8I", *(0xFFFFFFFF ^ (1 << ECHO_REPLY >> 32 * word & 0xFFFFFFFF) for word in range(8)))
"""A struct icmp6_filter (RFC 3542 3.2): a set bit blocks its type."""
DEFAULT_ROUTE = f"{bytes(16).hex()} 00 "
"""How /proc/net/ipv6_route begins the line of one; the kernel's own one that refuses is on lo."""
ECHO_HEADER = 8
LONGEST = 2048


def is_configured(node: str, address: IPv6) -> bool:
    """Whether a node's kernel takes packets for an address and has a default route.

    Linux sees to the first a little after the node has the address (addrconf_dad_work), and drops packets until then.
    """
    with entered(node), open("/proc/thread-self/net/ipv6_route") as routes:
        lines = routes.read().splitlines()
    is_local = any(line.startswith(f"{address.hex()} 80 ") for line in lines)
    return is_local and any(line.startswith(DEFAULT_ROUTE) and not line.endswith(" lo") for line in lines)


@implementer(IReadDescriptor)
class PingSocket:
    """Pings from one node; the kernel there routes, picks the source address and answers for its peers."""

    def __init__(self, node: str, reactor: IReactorFDSet, clock: IClock, dice: Dice) -> None:
        self._reactor = reactor
        self._clock = clock
        self._pings = Pings(dice)
        with entered(node):
            self._socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, ONLY_ECHO_REPLIES)
        reactor.addReader(self)

    def ping(self, destination: IPv6) -> Ping:
        """Send one echo request.

        @raise OSError: the node has no way to send it.
        """
        ping, request = self._pings.request(self._clock.now())
        self._socket.sendto(emit_icmpv6_body(request), (show_ipv6(destination), 0))
        return ping

    def __enter__(self) -> PingSocket:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()

    def close(self) -> None:
        self._reactor.removeReader(self)
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        try:
            message = self._socket.recv(LONGEST)
        except BlockingIOError:
            return
        if message[:1] == bytes([ECHO_REPLY]):
            self._pings.replied(message[ECHO_HEADER:], self._clock.now())

    def connectionLost(self, reason: Failure) -> None:
        self._socket.close()

    def logPrefix(self) -> str:
        return "ping"
