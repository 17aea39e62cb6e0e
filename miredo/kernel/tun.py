# SPDX-License-Identifier: MIT
"""Making TUN devices (networking/tuntap of the kernel), in the network namespace of this thread; without Twisted."""

import os
import socket
import struct
from errno import EBUSY, EEXIST, EPERM
from fcntl import ioctl

from miredo.kernel.errors import refused
from miredo.kernel.links import check_name

DEVICE = "/dev/net/tun"
"""The file that TUN devices are made with."""

QUEUE_LENGTH = 4096
"""Packets that wait in a device for us. Ours: Linux's 500 are overrun by 30,000 packets a second in 17 ms, which is no
more than another program's turn on the processor."""

_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFF_TUN_EXCL = 0x8000

# _IOW('T', 202, int); the direction bits differ on these architectures (their asm/ioctl.h).
_WRITE = 4 << 29 if os.uname().machine.startswith(("alpha", "mips", "ppc", "sparc")) else 1 << 30
_TUNSETIFF = _WRITE | struct.calcsize("i") << 16 | ord("T") << 8 | 202

_TUNGETFEATURES = (3 << 30 ^ _WRITE) | struct.calcsize("I") << 16 | ord("T") << 8 | 207
_CAP_NET_ADMIN = 12


def create_device(name: str) -> int:
    """
    Make a TUN device in the network namespace of this thread; it lives as long as the descriptor.

    @raise OSError: EEXIST, an interface of that name is there; or what opening L{DEVICE} and TUNSETIFF answer.
    """
    check_name(name)
    fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_TUN_EXCL))
    except OSError as error:
        os.close(fd)
        raise _told(error, name) from error
    return fd


def check_device(name: str) -> None:
    """
    Refuse what L{create_device} would refuse in the network namespace of this thread, and make nothing.

    @raise OSError: as L{create_device}; EPERM, this thread lacks CAP_NET_ADMIN.
    """
    check_name(name)
    fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        ioctl(fd, _TUNGETFEATURES, bytes(struct.calcsize("I")))
    except OSError as error:
        raise _told(error, name) from error
    finally:
        os.close(fd)
    if name in (known for _, known in socket.if_nameindex()):
        raise refused(EEXIST, f"interface {name}", "exists already")
    if not _capabilities() >> _CAP_NET_ADMIN & 1:
        raise refused(EPERM, f"interface {name}")


def _capabilities() -> int:
    with open("/proc/thread-self/status") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))


def _told(error: OSError, name: str) -> OSError:
    # With IFF_TUN_EXCL the kernel answers EBUSY for a name that any interface has.
    if error.errno == EBUSY:
        return refused(EEXIST, f"interface {name}", "exists already")
    return refused(error.errno or 0, f"interface {name}", error.strerror)
