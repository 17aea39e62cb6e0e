# SPDX-License-Identifier: MIT
"""
What a service manager wants to hear (sd_notify(3)): that the service is ready, reloads, stops, and lives.

The socket is connected at once, while its path still means something. Nobody listening is as good as being told, and
no message waits for anybody. Imports no Twisted.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

SOCKET, WATCHDOG, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
_MICROSECONDS = 1_000_000


class ServiceManager:
    """
    The manager that C{environment} names, which is taken out of there: programs started from here are not the service.

    @ivar watchdog: seconds within which it wants a sign of life, if it does.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        path = environment.pop(SOCKET, "")
        interval, pid = environment.pop(WATCHDOG, ""), environment.pop(WATCHDOG_PID, "")
        meant = pid in ("", str(os.getpid()))
        self._socket = _connected(path)
        self.watchdog = int(interval) / _MICROSECONDS if self._socket and meant and interval.isdigit() else None

    def ready(self, status: str, main_pid: int | None = None) -> None:
        """
        The start, or a reload, has succeeded.

        @param main_pid: the process that is the service, if it is not the one that was started.
        """
        self._tell("READY=1", f"STATUS={status}", *([f"MAINPID={main_pid}"] if main_pid else []))

    def reloading(self) -> None:
        """The configuration is read anew; L{ready} ends that. The time is what C{Type=notify-reload} asks for."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=Reloading")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1", "STATUS=Stopping")

    def alive(self) -> None:
        """Here is the sign of life."""
        self._tell("WATCHDOG=1")

    def close(self) -> None:
        """Tell nothing more. Twice is once."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, *assignments: str) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send("\n".join(assignments).encode())


def _connected(path: str) -> socket.socket | None:
    """@param path: of a socket; with @ in the place of the NUL of an abstract one."""
    if path[:1] not in ("/", "@"):
        return None
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        connecting.connect(path.replace("@", "\0", 1) if path.startswith("@") else path)
    except OSError:
        connecting.close()
        return None
    return connecting
