# SPDX-License-Identifier: MIT
"""Sending of a role: UDP to the IPv4 Internet with a TTL or DSCP, raw IPv6 and ICMPv6 to the IPv6 Internet."""

import socket
import struct
from errno import EMSGSIZE

from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.udp import Port
from zope.interface import implementer

from miredo.address.endpoint import IPv6, show_ipv6
from miredo.kernel.interfaces import IICMPv6, IRawIPv6, ITimesToLive

_DESTINATION = slice(24, 40)


def write_with_ttl(transport: IUDPTransport, datagram: bytes, address: tuple[str, int], ttl: int) -> None:
    """
    Send one datagram with a TTL of its own; a transport that is no socket and knows no TTL sends it as any other.

    @raise OSError: the kernel refuses it.
    @raise MessageLengthError: no datagram can hold it.
    """
    if ITimesToLive.providedBy(transport):
        ITimesToLive(transport).write_with_ttl(datagram, address, ttl)
    elif isinstance(transport, Port) and transport.socket is not None:
        _send_with(socket.IP_TTL, ttl, transport.socket, datagram, address)
    else:
        transport.write(datagram, address)


def write_with_dscp(transport: IUDPTransport, datagram: bytes, address: tuple[str, int], dscp: int) -> None:
    """
    Send one datagram with a DSCP (RFC 2474 3) of its own and an ECN field of 0; a transport that is no socket sends it
    as any other.

    @raise OSError: the kernel refuses it.
    @raise MessageLengthError: no datagram can hold it.
    """
    if isinstance(transport, Port) and transport.socket is not None:
        _send_with(socket.IP_TOS, dscp << 2, transport.socket, datagram, address)
    else:
        transport.write(datagram, address)


def _send_with(option: int, value: int, udp: socket.socket, datagram: bytes, address: tuple[str, int]) -> None:
    """ip(7): ancillary data of one message; the socket's own option stays, which other datagrams take meanwhile."""
    try:
        udp.sendmsg([datagram], [(socket.IPPROTO_IP, option, struct.pack("=i", value))], 0, address)
    except OSError as error:
        if error.errno == EMSGSIZE:
            raise MessageLengthError("message too long") from error
        raise


@implementer(IRawIPv6)
class RawIPv6Socket:
    """Sends by C{raw}, which it owns (L{raw_ipv6<miredo.kernel.openings.Openings.raw_ipv6>})."""

    def __init__(self, raw: socket.socket) -> None:
        self._socket = raw

    def send(self, packet: bytes) -> bool:
        destination = packet[_DESTINATION]
        return len(destination) == 16 and _sent(self._socket, packet, destination)

    def close(self) -> None:
        self._socket.close()


@implementer(IICMPv6)
class ICMPv6Socket:
    """Sends by C{raw}, which it owns (L{icmpv6<miredo.kernel.openings.Openings.icmpv6>})."""

    def __init__(self, raw: socket.socket) -> None:
        self._socket = raw

    def send(self, message: bytes, destination: IPv6) -> bool:
        return _sent(self._socket, message, destination)

    def close(self) -> None:
        self._socket.close()


def _sent(raw: socket.socket, data: bytes, destination: IPv6) -> bool:
    try:
        raw.sendto(data, (show_ipv6(destination), 0))
    except OSError:
        return False
    return True
