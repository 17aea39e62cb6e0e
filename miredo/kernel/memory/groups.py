# SPDX-License-Identifier: MIT
"""Multicast groups in memory: two links are one wire if they have addresses of one subnet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_network

from twisted.internet.interfaces import IUDPTransport
from zope.interface import implementer

from miredo.address.endpoint import IPv4, show_ipv4
from miredo.kernel.interfaces import IGroup
from miredo.kernel.memory.network import MemoryStack

Place = tuple[IPv4, int]
"""An address and a port."""


@implementer(IGroup)
class MemoryGroup:
    """
    A group, as one namespace has joined it.

    @param place: the group's address and port.
    @param carry: takes what is sent, with its source.
    @ivar sent: what was sent, once for all links.
    @ivar open: L{close} has not been called.
    """

    def __init__(
        self,
        stack: MemoryStack,
        port: IUDPTransport,
        place: Place,
        receive: Callable[[bytes, tuple[str, int]], None],
        carry: Callable[[Place, bytes], None],
    ) -> None:
        self.sent: list[bytes] = []
        self.open = True
        self.place = place
        self._stack = stack
        self._port = port
        self._receive = receive
        self._carry = carry
        self._members: dict[int, IPv4] = {}

    def attend(self, links: Mapping[int, IPv4]) -> list[int]:
        indices = [link.index for link in self._stack.links.values()]
        self._members = {index: own for index, own in links.items() if index in indices}
        return sorted(self._members)

    def send(self, datagram: bytes) -> bool:
        if not self.open:
            return False
        self.sent.append(datagram)
        number = int(self._port.getHost().port)
        up = [own for index, own in self._members.items() if self._is_up(index)]
        for own in up:
            self._carry((own, number), datagram)
        return len(up) == len(self._members)

    def arrive(self, source: Place, datagram: bytes) -> None:
        """Let a datagram come by the group, if its source is on the wire of a link that is attended."""
        if self.open and any(self._is_near(index, source[0]) for index in self._members):
            self._receive(datagram, (show_ipv4(source[0]), source[1]))

    def close(self) -> None:
        self.open = False

    def _is_up(self, index: int) -> bool:
        return any(link.index == index and link.up for link in self._stack.links.values())

    def _is_near(self, index: int, ipv4: IPv4) -> bool:
        value = int.from_bytes(ipv4, "big")
        return any(
            len(address) == 4 and value in range(*_bounds(address, length))
            for link in self._stack.links.values()
            if link.index == index and link.up
            for address, length in link.addresses
        )


def _bounds(address: IPv4, length: int) -> tuple[int, int]:
    subnet = ip_network((address, length), strict=False)
    first = int(subnet.network_address)
    return first, first + subnet.num_addresses
