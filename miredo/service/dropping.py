# SPDX-License-Identifier: MIT
"""
Which privileges a process gives up once all is open: decided, with all that stands against it, before anything is
touched. Imports no Twisted, since daemons fork after it.

1. A user and a directory that were asked for are had, or nothing starts.
2. Root becomes the usual user, in the usual directory; it stays root only if it was told to, by name.
3. Whoever is root in a user namespace that has no such user stays so: it is an ordinary user outside.
4. Whoever is not root stays who it is, and gives up the capabilities that it was started with.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from miredo.config import MireConfig, RoleConfig, TunnelConfig
from miredo.kernel.identity import (
    SUPERUSER,
    Capability,
    Identity,
    UnknownUser,
    held,
    lacking,
    look_up,
    out_of_reach,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

USER = "nobody"
"""Whom the classic commands become, as miredo 1.2.6 does."""
ROOT = "/run/miredo"
"""Where the classic commands lock themselves in: an empty directory of root's, made if there is none."""
OWN_ROOT = "/"
"""The directory that is none to be locked into."""
_MODE = 0o755


class CannotDrop(Exception):
    """What was asked for cannot be had here; the text is one line for a person."""


class Drop(NamedTuple):
    """What is given up, besides all capabilities: for another user, and another root directory."""

    identity: Identity | None = None
    root: str | None = None


class Decision(NamedTuple):
    """What is given up, if anything, and what a person is to know about it."""

    drop: Drop | None
    notices: tuple[str, ...] = ()


def decide(user: str | None, root: str | None, *, usually: bool, gid: int | None = None) -> Decision:
    """
    @param user: who was asked for, by name or number.
    @param root: the directory that was asked for; L{OWN_ROOT}: none.
    @param gid: the group that was asked for, in the place of the user's own.
    @param usually: what was not asked for is L{USER} and L{ROOT}; else it is given up by nobody.
    @raise CannotDrop: it cannot be.
    """
    wanted = None if root is None or os.path.normpath(root) == OWN_ROOT else root
    identity = _identity(user or USER, gid) if user or usually else None
    if os.geteuid() != SUPERUSER:
        return _as_ordinary_user(identity if user else None, wanted, usually=usually)
    if identity is None:
        return Decision(Drop(None, wanted) if wanted else None, ("runs on as root: no User is given",))
    if identity.uid == SUPERUSER:
        return _as_root(identity, wanted)
    if reason := out_of_reach(identity):
        return Decision(None, (f"{reason}: nothing is given up",))
    default = ROOT if usually and root is None else None
    return _checked(Drop(identity, wanted or default))


def _identity(user: str, gid: int | None) -> Identity:
    try:
        identity = look_up(user)
    except UnknownUser as unknown:
        if gid is None or not user.isdigit():
            raise CannotDrop(str(unknown)) from unknown
        return Identity(user, int(user), gid)
    return identity if gid is None else identity._replace(gid=gid)


def _as_root(identity: Identity, root: str | None) -> Decision:
    if identity.name != "root":
        raise CannotDrop(f"user {identity.name} is root by another name; to stay root, say so: -u root")
    notice = "runs on as root, as it was told"
    return _checked(Drop(None, root), notice) if root else Decision(None, (notice,))


def _as_ordinary_user(identity: Identity | None, root: str | None, *, usually: bool) -> Decision:
    if identity is not None and identity.uid != os.geteuid():
        raise CannotDrop(f"only root can become user {identity.name}")
    if root is not None:
        return _checked(Drop(None, root))
    return Decision(Drop() if usually and held().permitted else None)


def _checked(drop: Drop, *notices: str) -> Decision:
    needed = [Capability.CAP_SETGID, Capability.CAP_SETUID] if drop.identity else []
    if missing := lacking([*needed, *([Capability.CAP_SYS_CHROOT] if drop.root else [])]):
        whom = f"become user {drop.identity.name}" if drop.identity else f"be locked into {drop.root}"
        raise CannotDrop(f"cannot {whom}: {_listed(missing)} is missing")
    return Decision(drop, notices)


def prepare(drop: Drop) -> None:
    """
    See to the directory.

    @raise CannotDrop: the directory will not do.
    """
    if drop.root is not None:
        try:
            _prepare_root(drop.root, drop.identity)
        except OSError as error:
            raise CannotDrop(f"cannot be locked into {drop.root}: {error.strerror}") from error


def _prepare_root(root: str, identity: Identity | None) -> None:
    """Strangers who may write there could have us import what they like (L{miredo.service.imports})."""
    if root == ROOT and not os.path.lexists(root):
        os.mkdir(root, _MODE)
        os.chmod(root, _MODE)  # whatever the umask
    status = os.stat(root)
    if not stat.S_ISDIR(status.st_mode):
        raise CannotDrop(f"cannot be locked into {root}: it is not a directory")
    owners = SUPERUSER, identity.uid if identity else SUPERUSER
    if status.st_uid not in owners or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CannotDrop(f"cannot be locked into {root}: others may write there; cure: chmod 755, chown root")


def missing_for(roles: Sequence[RoleConfig]) -> str | None:
    """What these roles need and this process has not, in one line."""
    needed = sorted({one for role in roles for one in _needed(role)})
    if not (missing := lacking(needed)):
        return None
    here = "" if missing == needed else f" ({_listed(missing)} is missing)"
    return f"needs root, or {_listed(needed)}{here}"


def _needed(role: RoleConfig) -> list[Capability]:
    tunnel = [Capability.CAP_NET_ADMIN] if isinstance(role, TunnelConfig) else []
    raw = [] if isinstance(role, MireConfig) else [Capability.CAP_NET_RAW]
    namespace = [Capability.CAP_SYS_ADMIN] if role.namespace is not None else []
    return [*tunnel, *raw, *namespace]


def _listed(capabilities: Sequence[Capability]) -> str:
    return " and ".join(one.name for one in capabilities)
