# SPDX-License-Identifier: MIT
"""The file of a role's flight recorder (C{Record FILE}).

It is opened when the role is, while there are the privileges for it and the path means what it says, and written at
the end, on demand, and at the first error that escapes from the core; that one is then kept until a demand. What an
earlier run left in it stays until something is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.logger import Logger

from miredo.address.endpoint import Dice
from miredo.kernel.interfaces import IEndpoints
from miredo.teredo.recording import USUAL_LIMIT, Core, Recorder


class FlightRecorder:
    """Records a core into a file.

    @param endpoints: opens the file.
    @raise OSError: there can be no such file.
    """

    def __init__(
        self,
        role: str,
        path: str,
        endpoints: IEndpoints,
        dice: Dice,
        now: Callable[[], float],
        *,
        limit: int = USUAL_LIMIT,
    ) -> None:
        self._recorder = Recorder(role, dice, now, limit=limit, failed=self._core_failed)
        self._role, self._path, self._endpoints = role, path, endpoints
        self._log = Logger(namespace="miredo")
        self._core_has_failed = False
        self._written = False
        try:
            self._made, self._descriptor = endpoints.open_record(path)
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
            self._endpoints.discard_record(self._path, self._descriptor)
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


def _overwrite(descriptor: int, octets: bytes) -> None:
    os.ftruncate(descriptor, 0)
    left, at = memoryview(octets), 0
    while left:
        count = os.pwrite(descriptor, left, at)
        left, at = left[count:], at + count
