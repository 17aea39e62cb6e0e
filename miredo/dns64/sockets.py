# SPDX-License-Identifier: MIT
"""
The sockets of a DNS64.

UDP over IPv4 is opened by the role's L{IEndpoints}. That has neither UDP over IPv6 nor TCP: those are opened by the
reactor, in the namespace of the process.
"""

from __future__ import annotations

from ipaddress import ip_address

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTCP,
    IReactorUDP,
    IStreamClientEndpoint,
    IUDPTransport,
)
from twisted.internet.protocol import DatagramProtocol, ServerFactory

from miredo.dns64.message import STREAM_LIMIT
from miredo.kernel.interfaces import IEndpoints

NEVER = 1e9
"""Seconds after which Twisted's own timer gives up a connection: ours does so long before."""
BACKLOG = 50
"""Connections that wait to be accepted. Twisted's own number."""


class Sockets:
    """
    Opens them.

    @param reactor: has C{listenUDP}, C{listenTCP} and C{connectTCP}.
    """

    def __init__(self, endpoints: IEndpoints, reactor: object) -> None:
        self._endpoints = endpoints
        self._reactor = reactor

    def listen_udp(self, protocol: DatagramProtocol, address: str, port: int) -> IUDPTransport:
        """@raise OSError: it is taken, not ours, or forbidden."""
        if ip_address(address).version == 4:
            return self._endpoints.listen_udp(protocol, address, port)
        try:
            opened = IReactorUDP(self._reactor).listenUDP(port, protocol, interface=address, maxPacketSize=STREAM_LIMIT)
        except CannotListenError as error:
            raise _refused("UDP", address, error) from error
        return IUDPTransport(opened)

    def listen_tcp(self, factory: ServerFactory, address: str, port: int) -> IListeningPort:
        """@raise OSError: it is taken, not ours, or forbidden."""
        try:
            opened = IReactorTCP(self._reactor).listenTCP(port, factory, backlog=BACKLOG, interface=address)
        except CannotListenError as error:
            raise _refused("TCP", address, error) from error
        return IListeningPort(opened)

    def connect_tcp(
        self, factory: IProtocolFactory, place: tuple[str, int], tls: IOpenSSLClientConnectionCreator | None
    ) -> Deferred[IProtocol]:
        """Connect, and begin TLS if it is said how; the handshake is still to come. It may be cancelled."""
        address, port = place
        kind = TCP4ClientEndpoint if ip_address(address).version == 4 else TCP6ClientEndpoint
        endpoint: IStreamClientEndpoint = kind(self._reactor, address, port, timeout=NEVER)
        if tls is not None:
            endpoint = wrapClientTLS(tls, endpoint)
        return endpoint.connect(factory)


def _refused(what: str, address: str, error: CannotListenError) -> OSError:
    number = error.socketError.errno if isinstance(error.socketError, OSError) else None
    return OSError(number, f"{what} {address} port {error.port}: {error.socketError}")
