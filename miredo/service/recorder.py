# SPDX-License-Identifier: MIT
"""The file of a role's flight recorder (C{Record FILE}).

It is opened when the role is, while there are the privileges for it and the path means what it says, and written at
the end, on demand, and at the first error that escapes from the core; that one is then kept until a demand. What an
earlier run left in it stays until something is written.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from errno import EEXIST, EINVAL

from twisted.logger import Logger

from miredo.address.endpoint import Dice
from miredo.teredo.recording import NAME, USUAL_LIMIT, Core, Recorder

OWNER_ONLY = 0o600
"""The mode of the file: it holds packets, nonces and keys."""


class FlightRecorder:
    """Records a core into a file.

    @raise OSError: there can be no such file.
    """

    def __init__(self, role: str, path: str, dice: Dice, now: Callable[[], float], *, limit: int = USUAL_LIMIT) -> None:
        self._recorder = Recorder(role, dice, now, limit=limit, failed=self._core_failed)
        self._role, self._path = role, path
        self._log = Logger(namespace="miredo")
        self._core_has_failed = False
        self._written = False
        try:
            self._made, self._descriptor = _open(path)
        except OSError as error:
            raise OSError(error.errno, error.strerror) from error  # without the path, which the directive names

    def dice(self, count: int) -> bytes:
        """What the core has to be built with in the place of its dice."""
        return self._recorder.dice(count)

    def watch(self, core: Core) -> None:
        """Record this core from now on."""
        self._recorder.watch(core)

    def write(self) -> bool:
        """Write the ring as it is now; False, and a line in the log, if the system did not let us."""
        try:
            _overwrite(self._descriptor, self._recorder.contents())
        except OSError as error:
            self._log.warn("{role}: Record {path}: {reason}", role=self._role, path=self._path, reason=error.strerror)
            return False
        self._written = True
        return True

    def close(self) -> None:
        """The core has stopped: keep its last inputs, unless those before an error are kept."""
        if self._recorder.begun and not self._core_has_failed:
            self.write()
        if self._made and not self._written:
            _remove(self._path, self._descriptor)
        os.close(self._descriptor)

    def _core_failed(self, error: BaseException) -> None:
        """Once is enough: who logs the error itself may do so for each packet."""
        if self._core_has_failed:
            return
        self._core_has_failed = True
        if self.write():
            self._log.error(
                "{role}: internal error ({kind}: {error}); what led to it is in {path}",
                role=self._role,
                kind=type(error).__name__,
                error=error,
                path=self._path,
            )


def _open(path: str) -> tuple[bool, int]:
    """Open a file that only its owner may read; whether it was made, and its descriptor.

    What is there already must be empty or a recording: a slip in a path shall not cost a file of something else.
    """
    try:
        return True, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, OWNER_ONLY)
    except FileExistsError:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(EINVAL, "not a regular file")
        if os.pread(descriptor, len(NAME), 0) not in (b"", NAME):
            raise OSError(EEXIST, "there is a file that is no recording")
        os.fchmod(descriptor, OWNER_ONLY)
    except BaseException:
        os.close(descriptor)
        raise
    return False, descriptor


def _remove(path: str, descriptor: int) -> None:
    """Remove a file if the path still means it: it may mean another one by now, or nothing."""
    with suppress(OSError):
        if os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor)):
            os.unlink(path)


def _overwrite(descriptor: int, octets: bytes) -> None:
    os.ftruncate(descriptor, 0)
    left, at = memoryview(octets), 0
    while left:
        count = os.pwrite(descriptor, left, at)
        left, at = left[count:], at + count
