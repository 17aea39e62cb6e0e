# SPDX-License-Identifier: MIT
"""
The worker's side of its privileged child.

A request waits for its answer, which is there in far less than a millisecond; news, which are the ends of hooks and of
the child, come by the reactor.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from errno import EPIPE, ETIMEDOUT
from typing import Self

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReadDescriptor

from miredo.kernel.errors import refused
from miredo.kernel.hookprogram import HookEnded, not_started
from miredo.kernel.hooks import DelegatedHook
from miredo.kernel.interfaces import IEndpoints, IHook
from miredo.kernel.openings import read_whole
from miredo.kernel.privileged import commands
from miredo.kernel.privileged.beginning import Begun, begin
from miredo.kernel.privileged.boxes import Box, MalformedBox, receive, send
from miredo.kernel.privileged.charge import Charge, send_charge
from miredo.kernel.privileged.commands import Answer, answer_in, box_of, number, text
from miredo.kernel.privileged.endpoints import PrivilegedEndpoints
from miredo.kernel.privileged.openings import descriptor_of
from miredo.kernel.readable import Readable

PATIENCE = 5.0
"""Seconds that an answer is waited for. Ours: a child that needs so long is as good as dead."""

_NAME = "privileged child"


class PrivilegedChild:
    """
    A process that has what this one gives up.

    @ivar pid: its number.
    @ivar patience: seconds that an answer is waited for.
    """

    patience = PATIENCE

    def __init__(self, pid: int, requests: socket.socket, news: socket.socket) -> None:
        self.pid = pid
        self._requests = requests
        self._news = news
        self._exit = os.pidfd_open(pid)
        self._status: int | None = None
        self._trouble: str | None = None
        self._ended: Deferred[None] | None = None
        self._lost: Callable[[str], None] | None = None
        self._reactor: IReactorFDSet | None = None
        self._readers: list[IReadDescriptor] = []
        self._hooks: dict[int, Deferred[HookEnded]] = {}

    @classmethod
    def spawn(cls, charge: Charge, begun: Begun | None = None) -> Self:
        """
        Start one, and wait for nothing.

        @param begun: one that has been begun already.
        @raise OSError: it cannot be started.
        """
        child = cls(*(begun or begin()))
        send_charge(child._requests, charge)
        return child

    def attach(self, reactor: IReactorFDSet, lost: Callable[[str], None]) -> None:
        """
        Hear of the ends of hooks, and of the child's.

        @param lost: is called once if it ends without having been told to, with the reason.
        """
        self._reactor = reactor
        self._lost = lost
        read = (self._news.fileno(), self._read_news), (self._exit, self._exited)
        self._readers = [Readable(descriptor, call, _NAME) for descriptor, call in read]
        for reader in self._readers:
            reactor.addReader(reader)

    def endpoints(self, namespace: str | None, reactor: IReactorFDSet) -> IEndpoints:
        """What opens in a namespace by way of the child."""
        return PrivilegedEndpoints(namespace, reactor, self.ask, self._hook)

    def _hook(self, path: str, namespace: str | None) -> IHook:
        return DelegatedHook(path, lambda environment: self.run_hook(environment, namespace))

    def read(self, path: str, limit: int) -> bytes:
        """
        The first C{limit} bytes of a file. Of the configuration the child takes notice: it permits what that names.

        @raise OSError: it cannot be read, or is none that may be.
        """
        return read_whole(descriptor_of(self.ask(commands.OpenFile(path))), limit)

    def open_syslog(self) -> int:
        """
        A descriptor that is connected to the system's log, and does not block.

        @raise OSError: nobody keeps it.
        """
        return descriptor_of(self.ask(commands.OpenSyslog()))

    def run_hook(self, environment: Mapping[str, str], namespace: str | None) -> Deferred[HookEnded]:
        """
        Run the hook of the client whose tunnel is C{IFACE}, after those before it. Never fails.

        @param environment: all that it gets, but for a PATH.
        """
        try:
            answer = self.ask(commands.RunHook(namespace, dict(environment)))
        except OSError as error:
            return succeed(not_started(error))
        ended: Deferred[HookEnded] = Deferred()
        self._hooks[number(answer.value or b"")] = ended
        return ended

    def detach(self) -> None:
        """
        Have it let go of the terminal, as a daemon does.

        @raise OSError: it is gone.
        """
        self.ask(commands.Detach())

    def end(self) -> Deferred[None]:
        """Have it undo everything; fires when it has gone, which takes as long as the last hooks do."""
        if self._status is not None or self._reactor is None:
            self._close()
            return succeed(None)
        if self._ended is None:
            self._ended = Deferred()
            try:
                self.ask(commands.End())
            except OSError:
                self._requests.close()  # which is as good as a command
        return self._ended

    def ask(self, command: commands.Command) -> Answer:
        """
        Have a command obeyed.

        @raise OSError: it is refused, by the child or by the system; or there is no child any more.
        """
        if self._trouble is not None:
            raise refused(EPIPE, _NAME, self._trouble)
        try:
            send(self._requests, box_of(command))
            box, descriptor = self._answer()
        except (OSError, MalformedBox) as error:
            raise self._given_up(error) from error
        return answer_in(box, descriptor)

    # ------------------------------------------------------------ requests

    def _answer(self) -> tuple[Box, int | None]:
        """The box of an answer, and the descriptor that came before it."""
        box, descriptor = self._awaited()
        if descriptor is None:
            return box, None
        try:
            return self._awaited()[0], descriptor
        except (OSError, MalformedBox):
            os.close(descriptor)
            raise

    def _awaited(self) -> tuple[Box, int | None]:
        waiting = select.poll()
        waiting.register(self._requests, select.POLLIN)
        until = time.monotonic() + self.patience
        while not waiting.poll(max(0.0, until - time.monotonic()) * 1000):
            if time.monotonic() >= until:
                raise OSError(ETIMEDOUT, f"no answer for {self.patience:g} s")
        received = receive(self._requests, descriptors=True)
        if received is None:
            raise OSError(EPIPE, "it has ended")
        return received

    def _given_up(self, error: OSError | MalformedBox) -> OSError:
        """There is no child any more, as far as we are concerned: it notices the end of its socket."""
        reason = error.strerror if isinstance(error, OSError) else str(error)
        self._trouble = reason or str(error)
        self._requests.close()
        if self._reactor is not None:
            IReactorTime(self._reactor).callLater(0, self._say_lost, self._trouble)
        return refused(EPIPE, _NAME, self._trouble)

    # ------------------------------------------------------------ news

    def _read_news(self) -> None:
        while True:
            try:
                received = receive(self._news)
            except BlockingIOError:
                return
            except (OSError, MalformedBox):
                received = None
            if received is None:
                self._forget(self._news.fileno())
                return
            self._hook_ended(received[0])

    def _hook_ended(self, box: Box) -> None:
        waiting = self._hooks.pop(number(box["number"]), None)
        if waiting is not None:
            waiting.callback(HookEnded(int(box["status"]), text(box["output"])))

    def _exited(self) -> None:
        _, status = os.waitpid(self.pid, os.WNOHANG)
        self._status = os.waitstatus_to_exitcode(status)
        self._read_news()
        self._close()
        self._say_lost(_how(self._status))
        if self._ended is not None:
            self._ended.callback(None)

    def _say_lost(self, how: str) -> None:
        """Unless it was told to end, or this has been said."""
        self._trouble = self._trouble or how
        hooks, self._hooks = self._hooks, {}
        for waiting in hooks.values():
            waiting.callback(not_started(refused(EPIPE, _NAME, how)))
        lost, self._lost = self._lost, None
        if lost is not None and self._ended is None:
            lost(how)

    def _forget(self, descriptor: int) -> None:
        for reader in self._readers:
            if self._reactor is not None and reader.fileno() == descriptor:
                self._reactor.removeReader(reader)

    def _close(self) -> None:
        for reader in self._readers:
            self._forget(reader.fileno())
        self._readers = []
        for end in self._requests, self._news:
            end.close()
        if self._exit >= 0:
            os.close(self._exit)
            self._exit = -1


def _how(status: int) -> str:
    if status < 0:
        return f"it was killed by signal {-status} ({signal.strsignal(-status)})"
    return f"it ended with status {status}"
