# SPDX-License-Identifier: MIT
"""A descriptor that the reactor looks at for somebody."""

from collections.abc import Callable

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class Readable:
    """Has C{read} called when there is something to read; whoever reads it closes it.

    @param name: what failures in the log are said to come from.
    """

    def __init__(self, descriptor: int, read: Callable[[], None], name: str) -> None:
        self._descriptor = descriptor
        self._read = read
        self._name = name

    def fileno(self) -> int:
        return self._descriptor

    def doRead(self) -> None:
        self._read()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends, and the owner sees to the rest."""

    def logPrefix(self) -> str:
        return self._name
