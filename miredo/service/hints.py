# SPDX-License-Identifier: MIT
"""ICMP errors of IPv4 about what a role has sent: hints, since anybody can forge them."""

from __future__ import annotations

from collections.abc import Callable

from miredo.address.endpoint import Endpoint, IPv4, ipv4_of, port_of
from miredo.kernel.interfaces import IEndpoints, IICMPErrors
from miredo.wire.icmpv4 import FRAGMENTATION_NEEDED, parse_unreachable
from miredo.wire.ipv4 import parse_ipv4_packet
from miredo.wire.reader import MalformedPacket


def hear_unreachable(
    endpoints: IEndpoints, is_own: Callable[[IPv4], bool], port: int, tell: Callable[[Endpoint], None]
) -> IICMPErrors:
    """
    Tell of each endpoint that is said to be unreachable for datagrams from C{port} of one of our addresses.

    @param is_own: whether this host has an address.
    @raise OSError: the socket cannot be had.
    """

    def receive(packet: bytes) -> None:
        try:
            error = parse_unreachable(parse_ipv4_packet(packet).payload)
        except MalformedPacket:
            return
        ours = port_of(error.source) == port and is_own(ipv4_of(error.source))
        if ours and error.code != FRAGMENTATION_NEEDED:  # nothing that we send forbids to fragment it
            tell(error.destination)

    return endpoints.icmp_errors(receive)
