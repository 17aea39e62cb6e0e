# SPDX-License-Identifier: MIT
"""
The privileged child's one loop. It waits for requests, hooks and signals, and for nothing else: what it is asked is
answered at once.

It ends when it is told to, when the worker is gone (the end of its socket, or SIGTERM from PR_SET_PDEATHSIG), and when
the worker sends what is no command. SIGTERM of anybody else is left to the worker, since systemd sends it to both.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from miredo.kernel.hookprogram import HookEnded
from miredo.kernel.privileged import commands
from miredo.kernel.privileged.boxes import Box, MalformedBox, receive, send
from miredo.kernel.privileged.commands import Answer, answered, command_in, refusal, write_number
from miredo.kernel.privileged.hooks import Hooks

if TYPE_CHECKING:
    from types import FrameType

    from miredo.kernel.privileged.obedience import Obedience
    from miredo.kernel.privileged.permits import Permits

LEFT_TO_THE_WORKER = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT, signal.SIGTERM)
"""What a terminal or systemd sends to all processes. They have Python handlers: hooks would inherit that they are
ignored."""


_ERRORS = 2


class Loop:
    """
    Serves the worker that has C{worker} as its number.

    @param requests: where commands come and answers go.
    @param news: where the ends of hooks are told.
    """

    def __init__(
        self, requests: socket.socket, news: socket.socket, obedience: Obedience, permits: Permits, worker: int
    ) -> None:
        self._requests = requests
        self._news = news
        self._obedience = obedience
        self._permits = permits
        self._worker = worker
        self._hooks = Hooks(self._hook_ended)
        self._untold: deque[Box] = deque()
        self._ending = False
        self._status = 0

    def run(self) -> int:
        """Serve until the end; the exit status."""
        self._requests.setblocking(False)
        self._news.setblocking(False)
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (*LEFT_TO_THE_WORKER, signal.SIGCHLD):
            signal.signal(number, _woken)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, LEFT_TO_THE_WORKER)  # the worker has blocked them
        try:
            while not self._ending or not self._hooks.idle:
                self._turn(reading)
        finally:
            self._obedience.undo()
        self._tell()
        return self._status

    def _turn(self, signals: int) -> None:
        watched = select.poll()
        watched.register(signals, select.POLLIN)
        if not self._ending:
            watched.register(self._requests, select.POLLIN)
        if self._untold:
            watched.register(self._news, select.POLLOUT)
        if (said := self._hooks.descriptor) is not None:
            watched.register(said, select.POLLIN)
        ready = [descriptor for descriptor, _ in watched.poll(self._patience())]
        if signals in ready:
            os.read(signals, select.PIPE_BUF)
        self._tell()
        self._hooks.look()
        if not self._ending and os.getppid() != self._worker:
            self._end()
        if not self._ending and self._requests.fileno() in ready:
            self._serve()

    def _patience(self) -> float | None:
        """Milliseconds until something is due."""
        deadline = self._hooks.deadline
        return None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000

    def _serve(self) -> None:
        try:
            received = receive(self._requests)
            if received is None:
                self._end()
            else:
                self._answer(command_in(received[0]))
        except MalformedBox as error:
            _say(f"was sent what is no command: {error}")
            self._status = 1
            self._end()
        except OSError:  # the worker is gone, or does not take its answers
            self._end()

    def _answer(self, command: commands.Command) -> None:
        try:
            self._permits.check(command)
            answer = self._obey(command)
        except OSError as error:
            send(self._requests, refusal(error))
            return
        if answer.descriptor is not None:
            try:
                send(self._requests, {}, answer.descriptor)
            finally:
                os.close(answer.descriptor)
        send(self._requests, answered(answer))

    def _obey(self, command: commands.Command) -> Answer:
        match command:
            case commands.RunHook():
                number = self._hooks.ask(self._permits.hook(command))
                self._hooks.look()
                return Answer(write_number(number))
            case commands.Detach():
                _let_go(_ERRORS)
            case commands.End():
                self._end()
            case _:
                return self._obedience.obey(command)
        return Answer()

    def _end(self) -> None:
        self._ending = True
        self._hooks.wind_up()
        self._hooks.look()

    def _hook_ended(self, number: int, end: HookEnded) -> None:
        status = str(end.status).encode()
        self._untold.append({"number": write_number(number), "status": status, "output": end.output.encode()})

    def _tell(self) -> None:
        """Tell the worker as much as it takes, without waiting for it; who is gone needs to hear nothing."""
        while self._untold:
            try:
                send(self._news, self._untold[0])
            except BlockingIOError:
                return
            except OSError:
                self._untold.clear()
                return
            self._untold.popleft()


def _woken(number: int, frame: FrameType | None) -> None:
    """The loop has been woken by the signal itself (signal.set_wakeup_fd)."""


def _say(what: str) -> None:
    with suppress(OSError):
        os.write(_ERRORS, f"miredo: the privileged child {what}\n".encode())


def _let_go(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, descriptor)
    os.close(null)
