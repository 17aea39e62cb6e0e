# SPDX-License-Identifier: MIT
"""Everything a role opens, in the network namespace that it lives in."""

import socket
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet, IReactorSocket, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from miredo.kernel.groups import GroupSocket
from miredo.kernel.hooks import SpawnedHooks
from miredo.kernel.icmperrors import ICMPErrorSocket
from miredo.kernel.interfaces import IEndpoints, IGroup, IHook, IICMPErrors, IICMPv6, INetwork, IRawIPv6, ITunnel
from miredo.kernel.netlink import KernelNetwork
from miredo.kernel.openings import KernelOpenings, Openings, read_whole
from miredo.kernel.sockets import ICMPv6Socket, RawIPv6Socket
from miredo.kernel.tunnel import KernelTunnel

_DATAGRAM_LIMIT = 65535


@implementer(IEndpoints)
class KernelEndpoints:
    """
    The kernel's sockets and devices of one namespace, read by one reactor.

    @param openings: who opens them; this process, unless it is said.
    @param hooks: makes hooks of their programs and namespaces; this process runs them, unless it is said.
    """

    def __init__(
        self,
        namespace: str | None,
        reactor: IReactorFDSet,
        openings: Openings | None = None,
        hooks: Callable[[str, str | None], IHook] | None = None,
    ) -> None:
        self.namespace = namespace
        self._reactor = reactor
        self._openings = openings or KernelOpenings(namespace)
        self._hooks = hooks or SpawnedHooks(reactor)

    def listen_udp(self, protocol: DatagramProtocol, address: str, port: int) -> IUDPTransport:
        with self._openings.udp(address, port) as udp:
            adopt = IReactorSocket(self._reactor).adoptDatagramPort
            return IUDPTransport(adopt(udp.fileno(), socket.AF_INET, protocol, _DATAGRAM_LIMIT))

    def open_tunnel(self, name: str, mtu: int) -> ITunnel:
        device, index = self._openings.tunnel(name, mtu)
        return KernelTunnel(device, name, index, self._reactor)

    def check_tunnel(self, name: str) -> None:
        self._openings.check_tunnel(name)

    def raw_ipv6(self) -> IRawIPv6:
        return RawIPv6Socket(self._openings.raw_ipv6())

    def icmpv6(self) -> IICMPv6:
        return ICMPv6Socket(self._openings.icmpv6())

    def icmp_errors(self, receive: Callable[[bytes], None]) -> IICMPErrors:
        return ICMPErrorSocket(self._openings.icmp_errors(), self._reactor, receive)

    def join_group(
        self,
        port: IUDPTransport,
        group: str,
        number: int,
        receive: Callable[[bytes, tuple[str, int]], None],
    ) -> IGroup:
        return GroupSocket(self._openings.group(group, number), self._reactor, port, receive)

    def network(self) -> INetwork:
        return KernelNetwork(self.namespace, self._reactor, self._openings)

    def hook(self, path: str) -> IHook:
        return self._hooks(path, self.namespace)

    def open_file(self, path: str) -> int:
        return self._openings.file(path)

    def read_file(self, path: str, limit: int) -> bytes:
        return read_whole(self._openings.file(path), limit)

    def open_record(self, path: str) -> tuple[bool, int]:
        return self._openings.record(path)

    def discard_record(self, path: str, descriptor: int) -> None:
        self._openings.discard_record(path, descriptor)
