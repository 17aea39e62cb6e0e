# SPDX-License-Identifier: MIT
"""
Into private namespaces, before Twisted is imported and while the process has one thread.

Root gets a mount and a network namespace, anybody else a user namespace around them, to be root in. /run is a fresh
tmpfs, so that named network namespaces made there are seen by nobody else, and all of it ends with the process, kill -9
included. Imports neither Twisted nor pyroute2.
"""

import os
import shlex
import socket
import struct
import sys
from collections.abc import Callable
from errno import ENODEV, ENOENT, ENOSPC, ENXIO, EPERM
from fcntl import ioctl

from miredo.kernel.libc import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER, MS_PRIVATE, MS_REC, mount, unshare
from miredo.kernel.namespaces import DIRECTORY

TUN = "/dev/net/tun"
"""The file that TUN devices are made with; who cannot open it has no lab."""

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_INSIDE_CONTAINER = "start the container with --cap-add SYS_ADMIN --cap-add NET_ADMIN --device /dev/net/tun"

ReadsSysctl = Callable[[str], str | None]
"""Gives the value of a kernel variable such as C{user.max_user_namespaces}, C{None} where this kernel has it not."""


class NoNamespaces(Exception):
    """
    This process cannot have namespaces with TUN devices of its own.

    @ivar reason: what was refused, in one line.
    @ivar cure: the command that would allow it, or what else to do.
    """

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(f"{reason}; to allow it: {cure}")
        self.reason = reason
        self.cure = cure


def enter_lab() -> None:
    """
    Move this process to private namespaces, with a loopback that is up and an empty /run/netns.

    @raise NoNamespaces: some of that is refused here; the process may be left in namespaces that lack the rest.
    @raise RuntimeError: the process has several threads, and the others would stay where they are.
    """
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise RuntimeError(f"namespaces are for a process with one thread, this one has {threads}")
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise tun_refused(error, driver_is_there=os.path.exists("/sys/class/misc/tun")) from error
    try:
        _unshare()
        _mount_run()
        _set_loopback_up()
    except OSError as error:
        raise namespaces_refused(error, _sysctl, as_root=os.geteuid() == 0) from error


def tun_refused(error: OSError, driver_is_there: bool) -> NoNamespaces:
    """What to tell of an C{error} at opening L{TUN}."""
    reason = f"{TUN}: {error.strerror}"
    if error.errno == ENOENT and driver_is_there:
        return NoNamespaces(reason, "sudo sh -c 'mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200'")
    if error.errno in (ENOENT, ENODEV, ENXIO):
        return NoNamespaces(reason, "sudo modprobe tun")
    if error.errno == EPERM:  # the file's mode is right: the device rules of a container refuse
        return NoNamespaces(reason, _INSIDE_CONTAINER)
    return NoNamespaces(reason, f"sudo chmod 666 {TUN}")


def namespaces_refused(error: OSError, sysctl: ReadsSysctl, as_root: bool) -> NoNamespaces:
    """What to tell of an C{error} at entering namespaces."""
    reason = f"namespaces: {error.strerror}"
    if error.errno == ENOSPC:
        for kind in ("user", "net", "mnt"):
            variable = f"user.max_{kind}_namespaces"
            if sysctl(variable) == "0":
                return NoNamespaces(f"{reason} ({variable} is 0)", f"sudo sysctl {variable}=15000")
    if as_root:
        return NoNamespaces(reason, _INSIDE_CONTAINER)
    for variable, refusing, allowing in (
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ):
        if sysctl(variable) == refusing:
            return NoNamespaces(f"{reason} ({variable} is {refusing})", f"sudo sysctl {variable}={allowing}")
    return NoNamespaces(reason, f"sudo {shlex.join(sys.orig_argv)}")


def _unshare() -> None:
    if os.geteuid() == 0:
        try:
            unshare(CLONE_NEWNS | CLONE_NEWNET)
        except PermissionError:
            pass  # root of a container without CAP_SYS_ADMIN is like anybody else
        else:
            return
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET)
    # user_namespaces(7): a gid map may be written without CAP_SETGID only when setgroups(2) is denied.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"0 {user} 1")
    _write("/proc/self/gid_map", f"0 {group} 1")


def _mount_run() -> None:
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
    os.mkdir(DIRECTORY)


def _set_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as carrier:
        request = ioctl(carrier, _SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
        name, flags = struct.unpack_from("16sh", request)
        ioctl(carrier, _SIOCSIFFLAGS, struct.pack("16sh22x", name, flags | _IFF_UP))


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _sysctl(variable: str) -> str | None:
    try:
        with open(f"/proc/sys/{variable.replace('.', '/')}") as file:
            return file.read().strip()
    except OSError:
        return None
