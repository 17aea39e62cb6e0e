# SPDX-License-Identifier: MIT
"""Everything a role opens, in the network namespace that it lives in."""

import os
import socket
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet, IReactorSocket, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from miredo.address.endpoint import endpoint, parse_ipv4
from miredo.kernel.groups import GroupSocket
from miredo.kernel.icmperrors import ICMPErrorSocket
from miredo.kernel.interfaces import IEndpoints, IGroup, IICMPErrors, IICMPv6, INetwork, IRawIPv6, ITunnel
from miredo.kernel.namespaces import entered
from miredo.kernel.netlink import KernelNetwork
from miredo.kernel.sockets import ICMPv6Socket, RawIPv6Socket, bound_udp
from miredo.kernel.tun import QUEUE_LENGTH, KernelTunnel, check_device, create_device

_DATAGRAM_LIMIT = 65535


@implementer(IEndpoints)
class KernelEndpoints:
    """The kernel's sockets and devices of one namespace, read by one reactor."""

    def __init__(self, namespace: str | None, reactor: IReactorFDSet) -> None:
        self.namespace = namespace
        self._reactor = reactor

    def listen_udp(self, protocol: DatagramProtocol, address: str, port: int) -> IUDPTransport:
        with entered(self.namespace):
            udp = bound_udp(address, port)
        with udp:
            adopt = IReactorSocket(self._reactor).adoptDatagramPort
            return IUDPTransport(adopt(udp.fileno(), socket.AF_INET, protocol, _DATAGRAM_LIMIT))

    def open_tunnel(self, name: str, mtu: int) -> ITunnel:
        with entered(self.namespace):
            device = create_device(name)
        try:
            return KernelTunnel(device, name, self._configured(name, mtu), self._reactor)
        except OSError:
            os.close(device)
            raise

    def check_tunnel(self, name: str) -> None:
        with entered(self.namespace):
            check_device(name)

    def raw_ipv6(self) -> IRawIPv6:
        with entered(self.namespace):
            return RawIPv6Socket()

    def icmpv6(self) -> IICMPv6:
        with entered(self.namespace):
            return ICMPv6Socket()

    def icmp_errors(self, receive: Callable[[bytes], None]) -> IICMPErrors:
        with entered(self.namespace):
            return ICMPErrorSocket(self._reactor, receive)

    def join_group(
        self,
        port: IUDPTransport,
        group: str,
        number: int,
        receive: Callable[[bytes, tuple[str, int]], None],
    ) -> IGroup:
        with entered(self.namespace):
            return GroupSocket(self._reactor, port, endpoint(parse_ipv4(group), number), receive)

    def network(self) -> INetwork:
        return KernelNetwork(self.namespace, self._reactor)

    def _configured(self, name: str, mtu: int) -> int:
        with entered(self.namespace):
            index = socket.if_nametoindex(name)
        network = KernelNetwork(self.namespace, self._reactor)
        try:
            network.set_no_generated_addresses(index)
            network.set_queue_length(index, QUEUE_LENGTH)
            network.set_up(index, mtu)
        finally:
            network.close()
        return index
