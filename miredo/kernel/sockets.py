# SPDX-License-Identifier: MIT
"""The sockets of a role: UDP to the IPv4 Internet, raw IPv6 and ICMPv6 to the IPv6 Internet."""

import socket
import struct
from errno import EINVAL, EMSGSIZE

from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.udp import Port
from zope.interface import implementer

from miredo.address.endpoint import IPv6, parse_ipv4, show_ipv6
from miredo.kernel.errors import naming, refused
from miredo.kernel.interfaces import IICMPv6, IRawIPv6, ITimesToLive

_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DONT = 0
_ICMPV6_FILTER = 1
_EVERY_TYPE = b"\xff" * 32
_DESTINATION = slice(24, 40)


def bound_udp(address: str, port: int) -> socket.socket:
    """
    A UDP socket that sends with DF clear (RFC 4380 5.1.2).

    It must never be connected nor get IP_RECVERR: one ICMP error would then be an EPOLLERR, on which the reactor drops
    a descriptor for good.

    @raise OSError: EINVAL, C{address} is no dotted quad; or what bind(2) answers.
    """
    place = f"UDP {address} port {port}"
    try:
        parse_ipv4(address)
    except ValueError as error:
        raise refused(EINVAL, place, "not an IPv4 address") from error
    with naming(place):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            udp.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
            udp.bind((address, port))
        except OSError:
            udp.close()
            raise
    return udp


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


def _raw_socket(protocol: int) -> socket.socket:
    with naming("raw IPv6 socket"):
        return socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)


@implementer(IRawIPv6)
class RawIPv6Socket:
    """IPPROTO_RAW: the packet brings its own header (raw(7))."""

    def __init__(self) -> None:
        self._socket = _raw_socket(socket.IPPROTO_RAW)

    def send(self, packet: bytes) -> bool:
        destination = packet[_DESTINATION]
        return len(destination) == 16 and _sent(self._socket, packet, destination)

    def close(self) -> None:
        self._socket.close()


@implementer(IICMPv6)
class ICMPv6Socket:
    """A raw ICMPv6 socket: the kernel fills the checksum (RFC 3542 3.1). It receives nothing."""

    def __init__(self) -> None:
        self._socket = _raw_socket(socket.IPPROTO_ICMPV6)
        self._socket.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, _EVERY_TYPE)

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
