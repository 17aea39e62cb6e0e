# SPDX-License-Identifier: MIT
"""What a privileged child opens, in the hands of the worker."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from errno import EPIPE

from miredo.kernel.errors import refused
from miredo.kernel.openings import KernelOpenings
from miredo.kernel.privileged import commands
from miredo.kernel.privileged.commands import Answer, number, text
from miredo.kernel.privileged.permits import FIRST_FREE_PORT

Ask = Callable[[commands.Command], Answer]
"""Has a command obeyed; raises C{OSError}."""


class ChildOpenings:
    """
    Has a child open what takes privileges. What takes none in the own namespace, netlink sockets and UDP ports from
    1024 on, is opened here.
    """

    def __init__(self, namespace: str | None, ask: Ask) -> None:
        self._namespace = namespace
        self._ask = ask
        self._own = KernelOpenings(None) if namespace is None else None

    def udp(self, address: str, port: int) -> socket.socket:
        if self._own is not None and (port == 0 or port >= FIRST_FREE_PORT):
            return self._own.udp(address, port)
        return self._socket(commands.OpenUDP(self._namespace, address, port))

    def group(self, address: str, port: int) -> socket.socket:
        if self._own is not None:
            return self._own.group(address, port)
        return self._socket(commands.OpenGroup(self._namespace, address, port))

    def raw_ipv6(self) -> socket.socket:
        return self._socket(commands.OpenRawIPv6(self._namespace))

    def icmpv6(self) -> socket.socket:
        return self._socket(commands.OpenICMPv6(self._namespace))

    def icmp_errors(self) -> socket.socket:
        return self._socket(commands.OpenICMPErrors(self._namespace))

    def netlink(self, *, news: bool = False) -> socket.socket:
        if self._own is not None:
            return self._own.netlink(news=news)
        return self._socket(commands.OpenNetlink(self._namespace, news))

    def tunnel(self, name: str, mtu: int) -> tuple[int, int]:
        answer = self._ask(commands.OpenTunnel(self._namespace, name, mtu))
        return descriptor_of(answer), number(value_of(answer))

    def check_tunnel(self, name: str) -> None:
        self._ask(commands.CheckTunnel(self._namespace, name))

    def sysctl(self, path: str) -> str:
        return text(value_of(self._ask(commands.ReadSysctl(self._namespace, path))))

    def file(self, path: str) -> int:
        return descriptor_of(self._ask(commands.OpenFile(path)))

    def record(self, path: str) -> tuple[bool, int]:
        answer = self._ask(commands.OpenRecord(path))
        return answer.value == b"1", descriptor_of(answer)

    def discard_record(self, path: str, descriptor: int) -> None:
        """The child knows which file it has made there; where it is another one, or none, nothing is to be done."""
        with suppress(OSError):
            self._ask(commands.DiscardRecord(path))

    def _socket(self, command: commands.Command) -> socket.socket:
        return socket.socket(fileno=descriptor_of(self._ask(command)))


def descriptor_of(answer: Answer) -> int:
    """The descriptor that an answer must have."""
    if answer.descriptor is None:
        raise refused(EPIPE, "privileged child", "an answer without its descriptor")
    return answer.descriptor


def value_of(answer: Answer) -> bytes:
    """The value that an answer must have."""
    if answer.value is None:
        raise refused(EPIPE, "privileged child", "an answer without its value")
    return answer.value
