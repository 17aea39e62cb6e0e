# SPDX-License-Identifier: MIT
"""
How a privileged child begins: as a program that imports what it needs, and waits to be told whom it serves.

Imports no Twisted, so that the child can be begun before, and the worker's own imports do not hold it up.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import NamedTuple

from miredo.kernel.identity import SUPERUSER, bequeath
from miredo.kernel.privileged.loop import LEFT_TO_THE_WORKER

TUNNELS = "tunnels"
"""Tells the program that its worker has some."""

_PROGRAM = "miredo.kernel.privileged"


class Begun(NamedTuple):
    """A child that has been told nothing yet: its number, and our ends of its sockets, without which it ends."""

    pid: int
    requests: socket.socket
    news: socket.socket


def begin(*, tunnels: bool = False) -> Begun:
    """
    Start one that has what this process has, and wait for nothing.

    @param tunnels: it is going to open some, which takes more imports.
    @raise OSError: it cannot be started.
    """
    if os.geteuid() != SUPERUSER:
        bequeath()
    requests, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    news, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    news.setblocking(False)
    with asked, told:
        return Begun(_spawned(asked.fileno(), told.fileno(), *([TUNNELS] if tunnels else [])), requests, news)


def _spawned(requests: int, news: int, *words: str) -> int:
    """Start the program with these two descriptors; standard error is ours, and until it is ready no signal ends it."""
    arguments = [sys.executable, "-P", "-m", _PROGRAM, str(requests), str(news), *words]
    kept = [(os.POSIX_SPAWN_DUP2, descriptor, descriptor) for descriptor in (requests, news)]
    blocked, restored = LEFT_TO_THE_WORKER, [*LEFT_TO_THE_WORKER, signal.SIGPIPE, signal.SIGCHLD]
    return os.posix_spawn(
        sys.executable, arguments, os.environ, file_actions=kept, setsigmask=blocked, setsigdef=restored
    )
