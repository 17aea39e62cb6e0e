# SPDX-License-Identifier: MIT
"""Host names to IPv4 addresses by the system's resolver, several at once and never for long."""

from __future__ import annotations

import socket
import time
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from miredo.address.endpoint import IPv4

PATIENCE = 10.0
"""Seconds that all names together have. The system's resolver alone would take 30 for one (resolv.conf(5))."""
AT_ONCE = 8
"""Names that are asked for at a time; ours."""


def addresses_of(names: Collection[str], patience: float = PATIENCE) -> dict[str, list[IPv4] | str]:
    """The IPv4 addresses of each name, or why there are none. It takes no longer than C{patience}, whatever happens."""
    waiting: SimpleQueue[str] = SimpleQueue()
    for name in names:
        waiting.put(name)
    answers: dict[str, list[IPv4] | str] = {}

    def ask() -> None:
        while True:
            try:
                name = waiting.get_nowait()
            except Empty:
                return
            answers[name] = _addresses(name)

    threads = [Thread(target=ask, daemon=True) for _ in range(min(AT_ONCE, len(names)))]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return {name: answers.get(name, f"no answer came within {patience:g} s") for name in names}


def _addresses(name: str) -> list[IPv4] | str:
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_DGRAM)
    except OSError as error:
        return error.strerror or str(error)
    except UnicodeError:
        return "it cannot be a name"
    return [socket.inet_aton(str(address[0])) for *_, address in found]
