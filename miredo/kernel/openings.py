# SPDX-License-Identifier: MIT
"""
What of a network namespace takes privileges to open, as descriptors and without Twisted.

There are two who open: L{KernelOpenings} in this process, and
L{ChildOpenings<miredo.kernel.privileged.openings.ChildOpenings>}, which has a privileged child do it by the former.
"""

import os
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from errno import EEXIST, EINVAL, EISDIR
from typing import Protocol

from miredo.address.endpoint import parse_ipv4
from miredo.kernel.errors import naming, refused
from miredo.kernel.namespaces import entered
from miredo.kernel.tun import QUEUE_LENGTH, check_device, create_device

OWNER_ONLY = 0o600
"""The mode of a recording: it holds packets, nonces and keys."""
RECORDING = b"miredo recording "
"""What a recording begins with: C{NAME} of L{miredo.teredo.recording}, which would bring all cores with it."""

_FLAGS = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DONT = 0
_IP_MULTICAST_ALL = 49  # linux/in.h; the socket module lacks these
_ICMPV6_FILTER = 1
_EVERY_TYPE = b"\xff" * 32
_SOL_RAW, _ICMP_FILTER = 255, 1
_ONLY_UNREACHABLE = struct.pack("=I", 0xFFFF_FFFF ^ 1 << 3)  # a set bit blocks its ICMP type
_NEWS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR and IPV6_ROUTE of linux/rtnetlink.h."""


class Openings(Protocol):
    """Opens descriptors in one network namespace; whoever asks owns them. Each raises C{OSError}."""

    def udp(self, address: str, port: int) -> socket.socket:
        """As L{bound_udp}."""

    def group(self, address: str, port: int) -> socket.socket:
        """As L{bound_group}."""

    def raw_ipv6(self) -> socket.socket:
        """A socket that sends whole IPv6 packets (IPPROTO_RAW: the packet brings its own header, raw(7))."""

    def icmpv6(self) -> socket.socket:
        """A raw ICMPv6 socket: the kernel fills the checksum (RFC 3542 3.1). It receives nothing."""

    def icmp_errors(self) -> socket.socket:
        """A raw ICMP socket that hears Destination Unreachable and nothing else."""

    def netlink(self, *, news: bool = False) -> socket.socket:
        """As L{netlink_socket}."""

    def tunnel(self, name: str, mtu: int) -> tuple[int, int]:
        """Make a TUN device, up and without any address: its descriptor and the index of the interface."""

    def check_tunnel(self, name: str) -> None:
        """As L{check_device}."""

    def sysctl(self, path: str) -> str:
        """The text of a variable below /proc/sys."""

    def file(self, path: str) -> int:
        """As L{open_file}."""

    def record(self, path: str) -> tuple[bool, int]:
        """As L{open_record}."""

    def discard_record(self, path: str, descriptor: int) -> None:
        """As L{discard_record}."""


class KernelOpenings:
    """Opens with the privileges of this process."""

    def __init__(self, namespace: str | None) -> None:
        self._namespace = namespace

    def udp(self, address: str, port: int) -> socket.socket:
        with entered(self._namespace):
            return bound_udp(address, port)

    def group(self, address: str, port: int) -> socket.socket:
        with entered(self._namespace):
            return bound_group(address, port)

    def raw_ipv6(self) -> socket.socket:
        with entered(self._namespace), naming("raw IPv6 socket"):
            return socket.socket(socket.AF_INET6, socket.SOCK_RAW | _FLAGS, socket.IPPROTO_RAW)

    def icmpv6(self) -> socket.socket:
        with entered(self._namespace), naming("raw IPv6 socket"):
            opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW | _FLAGS, socket.IPPROTO_ICMPV6)
        opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, _EVERY_TYPE)
        return opened

    def icmp_errors(self) -> socket.socket:
        with entered(self._namespace), naming("raw ICMP socket"):
            opened = socket.socket(socket.AF_INET, socket.SOCK_RAW | _FLAGS, socket.IPPROTO_ICMP)
        opened.setsockopt(_SOL_RAW, _ICMP_FILTER, _ONLY_UNREACHABLE)
        return opened

    def netlink(self, *, news: bool = False) -> socket.socket:
        with entered(self._namespace):
            return netlink_socket(news=news)

    def tunnel(self, name: str, mtu: int) -> tuple[int, int]:
        with entered(self._namespace):
            device = create_device(name)
        try:
            return device, self._configured(name, mtu)
        except OSError:
            os.close(device)
            raise

    def check_tunnel(self, name: str) -> None:
        with entered(self._namespace):
            check_device(name)

    def sysctl(self, path: str) -> str:
        if ".." in path.split("/"):
            raise refused(EINVAL, f"sysctl {path}")
        # /proc/sys/net shows the network namespace of whoever opens it.
        with naming(f"sysctl {path}"), entered(self._namespace), open(f"/proc/sys/{path}") as variable:
            return variable.read().strip()

    def file(self, path: str) -> int:
        return open_file(path)

    def record(self, path: str) -> tuple[bool, int]:
        return open_record(path)

    def discard_record(self, path: str, descriptor: int) -> None:
        discard_record(path, descriptor)

    def _configured(self, name: str, mtu: int) -> int:
        from miredo.kernel.netlink import KernelNetwork  # pyroute2 takes its time, and a server has no tunnel

        with entered(self._namespace):
            index = socket.if_nametoindex(name)
        network = KernelNetwork(self._namespace)
        try:
            network.set_no_generated_addresses(index)
            network.set_queue_length(index, QUEUE_LENGTH)
            network.set_up(index, mtu)
        finally:
            network.close()
        return index


# ------------------------------------------------------------------ in the network namespace of this thread


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

    def set_up(udp: socket.socket) -> None:
        udp.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)

    return _bound(place, address, port, set_up)


def bound_group(address: str, port: int) -> socket.socket:
    """
    A UDP socket for what comes to a multicast group, once it is a member on some link.

    Others on this host may have one too (SO_REUSEADDR); what is bound to a unicast address and the same port is not
    in its way. IP_MULTICAST_ALL is off: memberships of others are theirs.
    """

    def set_up(udp: socket.socket) -> None:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)

    return _bound(f"UDP group {address}:{port}", address, port, set_up)


def _bound(what: str, address: str, port: int, set_up: Callable[[socket.socket], None]) -> socket.socket:
    with naming(what):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | _FLAGS)
        try:
            set_up(udp)
            udp.bind((address, port))
        except OSError:
            udp.close()
            raise
    return udp


def netlink_socket(*, news: bool = False, buffer: int | None = None) -> socket.socket:
    """
    A socket for questions to rtnetlink(7).

    @param news: it hears of changes of links, addresses and routes instead.
    @param buffer: bytes of news that wait at most; the system's default.
    """
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | _FLAGS, socket.NETLINK_ROUTE)
    if buffer is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    if news:
        opened.bind((0, _NEWS))
    return opened


# ------------------------------------------------------------------ files


def open_file(path: str) -> int:
    """
    A descriptor to read a file with; never that of a directory, by which a way out of a chroot leads.

    @raise OSError: EISDIR, it is a directory; EINVAL, it is something else that is no file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise OSError(EISDIR, os.strerror(EISDIR))
    raise OSError(EINVAL, "not a regular file")


def read_whole(descriptor: int, limit: int) -> bytes:
    """The first C{limit} bytes of what C{descriptor} gives, which is closed."""
    with open(descriptor, "rb") as file:
        return file.read(limit)


def open_record(path: str) -> tuple[bool, int]:
    """
    Open a file that only its owner may read; whether it was made, and its descriptor.

    What is there already must be empty or a recording: a slip in a path shall not cost a file of something else.
    """
    try:
        return True, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, OWNER_ONLY)
    except FileExistsError:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(EINVAL, "not a regular file")
        if os.pread(descriptor, len(RECORDING), 0) not in (b"", RECORDING):
            raise OSError(EEXIST, "there is a file that is no recording")
        os.fchmod(descriptor, OWNER_ONLY)
    except BaseException:
        os.close(descriptor)
        raise
    return False, descriptor


def discard_record(path: str, descriptor: int) -> None:
    """Remove a file if the path still means it: it may mean another one by now, or nothing."""
    with suppress(OSError):
        if os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor)):
            os.unlink(path)
