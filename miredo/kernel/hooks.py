# SPDX-License-Identifier: MIT
"""Hooks beside the reactor: started by this process, or by whoever has the privileges for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from zope.interface import implementer

from miredo.kernel.hookprogram import (
    LIMIT,
    OUTPUT_LIMIT,
    HookEnded,
    check_hook,
    kill_hook,
    not_started,
    start_hook,
    text_of,
)
from miredo.kernel.interfaces import IHook
from miredo.kernel.readable import Readable

if TYPE_CHECKING:
    import subprocess

_CHUNK = 4096
_LAST_CHUNKS = 16
"""Reads that an ended hook's pipe gets yet: somebody whom it has left running may go on writing."""


class SpawnedHooks:
    """
    Makes the hooks of a process that has kept its privileges; one of them runs at a time, in order.

    @param limit: seconds that a run may take.
    """

    def __init__(self, reactor: IReactorFDSet, limit: float = LIMIT) -> None:
        self._reactor = reactor
        self._limit = limit
        self._turn = DeferredLock()

    def __call__(self, path: str, namespace: str | None) -> SpawnedHook:
        return SpawnedHook(path, namespace, self._start, self._turn)

    def _start(self, path: str, environment: Mapping[str, str], namespace: str | None) -> Deferred[HookEnded]:
        try:
            process = start_hook(path, environment, namespace)
        except OSError as error:
            return succeed(not_started(error))
        return HookProcess(process, self._reactor, self._limit).ended


@implementer(IHook)
class SpawnedHook:
    """A hook that L{SpawnedHooks} has made."""

    def __init__(
        self,
        path: str,
        namespace: str | None,
        start: Callable[[str, Mapping[str, str], str | None], Deferred[HookEnded]],
        turn: DeferredLock,
    ) -> None:
        self.path = path
        self._namespace = namespace
        self._start = start
        self._turn = turn

    def check(self) -> None:
        check_hook(self.path)

    def run(self, environment: Mapping[str, str]) -> Deferred[HookEnded]:
        return self._turn.run(self._start, self.path, environment, self._namespace)


@implementer(IHook)
class DelegatedHook:
    """
    A hook that a privileged child runs, which looks at it each time that it does.

    @param run: has the child run it.
    """

    def __init__(self, path: str, run: Callable[[Mapping[str, str]], Deferred[HookEnded]]) -> None:
        self.path = path
        self._run = run

    def check(self) -> None:
        if os.geteuid() == 0:  # after the drop this process sees neither the file nor its owner
            check_hook(self.path)

    def run(self, environment: Mapping[str, str]) -> Deferred[HookEnded]:
        return self._run(environment)


class HookProcess:
    """
    A hook that runs. Its end is seen by a descriptor of the process (pidfd_open(2)), so that no signal is needed.

    @ivar ended: fires when it has.
    """

    def __init__(self, process: subprocess.Popen[bytes], reactor: IReactorFDSet, limit: float) -> None:
        assert process.stdout is not None
        self.ended: Deferred[HookEnded] = Deferred()
        self._process = process
        self._reactor = reactor
        self._pipe = process.stdout
        self._output = b""
        self._limit = limit
        self._said = Readable(process.stdout.fileno(), self._read, "hook")
        self._exit = Readable(os.pidfd_open(process.pid), self._exited, "hook")
        for descriptor in (self._said, self._exit):
            reactor.addReader(descriptor)
        self._overtime = IReactorTime(reactor).callLater(limit, self._kill)

    def _read(self) -> None:
        if not self._read_chunk():
            self._reactor.removeReader(self._said)

    def _read_chunk(self) -> bool:
        """Whether there may be more; what is over the limit is read, lest the hook wait for us, and not kept."""
        try:
            chunk = os.read(self._pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return True
        self._output = (self._output + chunk)[:OUTPUT_LIMIT]
        return bool(chunk)

    def _kill(self) -> None:
        self._output = f"it took longer than {self._limit:g} s and was killed\n".encode() + self._output
        kill_hook(self._process)

    def _exited(self) -> None:
        for descriptor in (self._said, self._exit):
            self._reactor.removeReader(descriptor)
        if self._overtime.active():
            self._overtime.cancel()
        for _ in range(_LAST_CHUNKS):
            if not self._read_chunk():
                break
        self._pipe.close()
        os.close(self._exit.fileno())
        self.ended.callback(HookEnded(self._process.wait(), text_of(self._output)))
