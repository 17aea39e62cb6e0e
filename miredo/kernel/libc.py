# SPDX-License-Identifier: MIT
"""
System calls that not every supported Python has: C{os.setns} and C{os.unshare} came with 3.12, C{os.timerfd_create}
with 3.13, mount(2) never did. Imports neither Twisted nor pyroute2, so that namespaces can be entered before them.
"""

import ctypes
import os
import sys

CLONE_NEWNS = 0x00020000
"""A mount namespace of one's own (linux/sched.h)."""
CLONE_NEWUSER = 0x10000000
"""A user namespace of one's own (linux/sched.h)."""
CLONE_NEWNET = 0x40000000
"""A network namespace of one's own (linux/sched.h)."""

MS_BIND = 0x1000
"""Show what is at one place at another place too (linux/mount.h)."""
MS_REC = 0x4000
"""The mounts below as well (linux/mount.h)."""
MS_PRIVATE = 1 << 18
"""Mounts neither reach nor come from other mount namespaces (linux/mount.h)."""
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_CLOCK_REALTIME, _CLOCK_BOOTTIME = 0, 7
_TFD_TIMER_ABSTIME, _TFD_TIMER_CANCEL_ON_SET = 1, 2
_NEVER = (1 << 63) - 1
"""Nanoseconds: the year 2262."""

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Call mount(2)."""
    texts = [text.encode() if text is not None else None for text in (source, target, kind, data)]
    _checked(_libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]))


def unmount(target: str) -> None:
    """Take away the mount at C{target}, at once even where it is in use (umount2(2), MNT_DETACH)."""
    _checked(_libc.umount2(target.encode(), _MNT_DETACH))


def die_with_parent(signal: int) -> None:
    """Have the kernel send this process C{signal} when the thread that has started it ends (PR_SET_PDEATHSIG)."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal), 0, 0, 0))


if sys.version_info >= (3, 12):
    unshare = os.unshare
    setns = os.setns
else:

    def unshare(flags: int) -> None:
        """Leave shared namespaces for fresh ones (unshare(2))."""
        _checked(_libc.unshare(flags))

    def setns(fd: int, nstype: int = 0) -> None:
        """Enter the namespace that C{fd} refers to (setns(2)); this thread only."""
        _checked(_libc.setns(fd, nstype))


if sys.version_info >= (3, 13):

    def _create(clock: int) -> int:
        return os.timerfd_create(clock, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

    def _set(fd: int, flags: int, nanoseconds: int) -> None:
        os.timerfd_settime_ns(fd, flags=flags, initial=nanoseconds)

else:

    class _Timespec(ctypes.Structure):
        _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))

    class _Itimerspec(ctypes.Structure):
        _fields_ = (("interval", _Timespec), ("value", _Timespec))

    def _create(clock: int) -> int:
        return _checked(_libc.timerfd_create(clock, os.O_NONBLOCK | os.O_CLOEXEC))

    def _set(fd: int, flags: int, nanoseconds: int) -> None:
        expiry = _Itimerspec(_Timespec(0, 0), _Timespec(*divmod(nanoseconds, 1_000_000_000)))
        _checked(_libc.timerfd_settime(fd, flags, ctypes.byref(expiry), None))


def create_timer() -> int:
    """A non-blocking timerfd on CLOCK_BOOTTIME, disarmed."""
    return _create(_CLOCK_BOOTTIME)


def set_timer(fd: int, nanoseconds: int) -> None:
    """Let a timerfd expire once, at that absolute time; 0 disarms it."""
    _set(fd, _TFD_TIMER_ABSTIME, nanoseconds)


def create_step_timer() -> int:
    """
    A non-blocking timerfd that never expires: its read fails with ECANCELED each time CLOCK_REALTIME was set.

    To the kernel, waking from a suspension sets it too.
    """
    fd = _create(_CLOCK_REALTIME)
    _set(fd, _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET, _NEVER)
    return fd
