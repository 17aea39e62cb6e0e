# SPDX-License-Identifier: MIT
"""
Who the process is, and becoming less: another user, another root directory, no capability, and no way to get one back.

C{capset} and C{prctl} work on the calling thread alone, so that privileges are given up while there is one.
Imports neither Twisted nor pyroute2.
"""

import ctypes
import os
import pwd
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

PROC = "/proc/self"
SUPERUSER = 0
EVERYTHING = (1 << 64) - 1
"""All capabilities, those that are still to be invented too."""

_VERSION_3 = 0x20080522
"""Two words a set (linux/capability.h)."""
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39
_PR_CAP_AMBIENT, _RAISE, _CLEAR_ALL = 47, 2, 4
_HIGHEST = 63

_libc = ctypes.CDLL(None, use_errno=True)


class Capability(IntEnum):
    """Those that the program has a use for (capabilities(7))."""

    CAP_DAC_OVERRIDE = 1
    CAP_SETGID = 6
    CAP_SETUID = 7
    CAP_SETPCAP = 8
    CAP_NET_BIND_SERVICE = 10
    CAP_NET_ADMIN = 12
    CAP_NET_RAW = 13
    CAP_SYS_CHROOT = 18
    CAP_SYS_ADMIN = 21


class Identity(NamedTuple):
    """A user of the system, with its own group."""

    name: str
    uid: int
    gid: int


class Held(NamedTuple):
    """The capabilities of the calling thread, a bit each."""

    effective: int
    permitted: int
    inheritable: int


class UnknownUser(LookupError):
    """There is no such user; the text says so."""


class StillPrivileged(Exception):
    """The system did as if all had been given up, and it was not; the text names what is left."""


def look_up(user: str) -> Identity:
    """
    The user of that name, or of that number.

    @raise UnknownUser: there is none.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if not (user.isascii() and user.isdigit()):
            raise UnknownUser(f'there is no user "{user}"') from None
        return of_number(int(user))
    return Identity(entry.pw_name, entry.pw_uid, entry.pw_gid)


def of_number(uid: int) -> Identity:
    """
    The user of that number.

    @raise UnknownUser: there is none.
    """
    try:
        entry = pwd.getpwuid(uid)
    except (KeyError, OverflowError):
        raise UnknownUser(f"there is no user with number {uid}") from None
    return Identity(entry.pw_name, entry.pw_uid, entry.pw_gid)


def out_of_reach(identity: Identity, proc: str = PROC) -> str | None:
    """Why this user namespace does not let anybody become that user, if so (user_namespaces(7))."""
    if not _is_mapped(identity.uid, f"{proc}/uid_map"):
        return f"this user namespace has no user {identity.name} ({identity.uid})"
    if not _is_mapped(identity.gid, f"{proc}/gid_map"):
        return f"this user namespace has no group {identity.gid}"
    with open(f"{proc}/setgroups") as file:
        return None if file.read().strip() == "allow" else "this user namespace denies setgroups(2)"


def is_known(uid: int) -> bool:
    """Whether that number of a file's owner is a user of this user namespace, not somebody whom it cannot name."""
    return _is_mapped(uid, f"{PROC}/uid_map")


def _is_mapped(number: int, path: str) -> bool:
    with open(path) as file:
        rows = [tuple(map(int, line.split())) for line in file]
    return any(first <= number < first + count for first, _, count in rows)


def held() -> Held:
    """What the calling thread may do beyond an ordinary user."""
    data = (ctypes.c_uint32 * 6)()
    _checked(_libc.capget(_header(), data))
    return Held(*(data[at] | data[at + 3] << 32 for at in range(3)))


def lacking(needed: Iterable[Capability]) -> list[Capability]:
    """Those that the calling thread cannot use now."""
    effective = held().effective
    return [one for one in needed if not effective >> one & 1]


def bequeath() -> None:
    """Let programs that are executed from now on have what this thread has, though it is not root (ambient set)."""
    _, permitted, inheritable = held()
    _set(permitted, permitted, inheritable | permitted)
    for capability in _bits(permitted):
        _checked(_libc.prctl(_PR_CAP_AMBIENT, _RAISE, capability, 0, 0))


def keep(kept: Iterable[Capability]) -> None:
    """Have no other capabilities from now on, nor let programs that are executed have them, root's neither."""
    _, permitted, inheritable = held()
    mask = sum(1 << one for one in {*kept})
    if not lacking([Capability.CAP_SETPCAP]):
        _reduce_bounding_set(mask)
    _set(permitted & mask, permitted & mask, inheritable & mask)


def give_up(identity: Identity | None, root: str | None) -> None:
    """
    Keep nothing that an ordinary user has not; the standing order of the steps is that each still needs the last.

    Without CAP_SETPCAP the bounding set stays, and has nothing to bound: nothing is ever gained again.

    @param identity: whom to become, with no group but the user's own; C{None} stays who it is.
    @param root: the new root directory.
    @raise OSError: the system refused a step.
    @raise StillPrivileged: it did not do what it promised.
    @raise RuntimeError: there are several threads, and the others would stay privileged.
    """
    threads = len(os.listdir(f"{PROC}/task"))
    if threads > 1:
        raise RuntimeError(f"privileges are for a process with one thread to give up, this one has {threads}")
    if root is not None:
        os.chroot(root)
        os.chdir("/")
    if identity is not None:
        os.setgroups([])
        os.setresgid(identity.gid, identity.gid, identity.gid)
    if not lacking([Capability.CAP_SETPCAP]):
        _reduce_bounding_set(0)
    if identity is not None:
        os.setresuid(identity.uid, identity.uid, identity.uid)
    _checked(_libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0))
    _set(0, 0, 0)
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _verify(identity)


def _verify(identity: Identity | None) -> None:
    kept = []
    if any(held()):
        kept.append("capabilities")
    if _libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:
        kept.append("a way to new privileges")
    if identity is not None and {*os.getresuid()} != {identity.uid}:
        kept.append("another user")
    if identity is not None and ({*os.getresgid()} != {identity.gid} or os.getgroups()):
        kept.append("other groups")
    if kept:
        raise StillPrivileged(f"it still has {', '.join(kept)}")


def _reduce_bounding_set(mask: int) -> None:
    for capability in range(_HIGHEST + 1):
        if not mask >> capability & 1 and _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) > 0:
            _checked(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0))


def _set(effective: int, permitted: int, inheritable: int) -> None:
    low = [one & 0xFFFF_FFFF for one in (effective, permitted, inheritable)]
    high = [one >> 32 for one in (effective, permitted, inheritable)]
    _checked(_libc.capset(_header(), (ctypes.c_uint32 * 6)(*low, *high)))


def _header() -> ctypes.Array[ctypes.c_uint32]:
    """Of the calling thread."""
    return (ctypes.c_uint32 * 2)(_VERSION_3, 0)


def _bits(capabilities: int) -> list[int]:
    return [one for one in range(_HIGHEST + 1) if capabilities >> one & 1]


def _checked(result: int) -> None:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
