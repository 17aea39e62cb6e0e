# SPDX-License-Identifier: MIT
"""The file that holds the number of the process, locked for as long as it lives. Imports no Twisted."""

import fcntl
import os
import stat
from contextlib import suppress
from errno import EACCES, EAGAIN, EINVAL, ELOOP

MODE = 0o644
_LONGEST = 32
"""Bytes that are read of somebody else's file: more than any number has."""


class AnotherRuns(Exception):
    """
    Another process has the file.

    @ivar pid: its number, if it is known.
    """

    def __init__(self, path: str, pid: int | None) -> None:
        super().__init__(f"process {pid or '(unknown)'} runs already: {path} is locked")
        self.pid = pid


class PidFile:
    """
    The file C{path}, which holds this process's number from now on. A file that nobody has locked is a dead one's, and
    is taken over.

    @raise AnotherRuns: it is locked.
    @raise OSError: it cannot be made; the error's C{filename} is the path.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1
        while self._descriptor < 0:
            self._descriptor = _taken(path)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)

    def remove(self) -> None:
        """Remove it, if it is still there and still ours, and let the lock go. Twice is once."""
        if self._descriptor < 0:
            return
        with suppress(OSError):  # who may not remove it, or finds none, has done what there was to do
            if _is_at(self.path, self._descriptor):
                os.unlink(self.path)
        os.close(self._descriptor)
        self._descriptor = -1


def _taken(path: str) -> int:
    """Open and lock it; -1 if its last owner has removed it meanwhile."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, MODE)
    except OSError as error:
        if error.errno == ELOOP:
            raise OSError(ELOOP, "is a symbolic link, which is not followed", path) from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(EINVAL, "is not a regular file", path)
        _lock(descriptor, path)
        os.fchmod(descriptor, MODE)
        if _is_at(path, descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return -1


def _lock(descriptor: int, path: str) -> None:
    """With both kinds of locks: whether other implementations see the one or the other, they see that we run."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (EAGAIN, EACCES):
            raise
        word = os.pread(descriptor, _LONGEST, 0).strip()
        raise AnotherRuns(path, int(word) if word.isdigit() else None) from error


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False
