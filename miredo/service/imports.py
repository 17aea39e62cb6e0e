# SPDX-License-Identifier: MIT
"""
What is imported before the root directory changes, and what is tried after that.

Python, Twisted and the codecs import much at its first use, of files that are out of sight in a chroot. All that a
role can need in its life is in one list; what is missed there is seen by L{LateImports}.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

from twisted.logger import Logger

MODULES = (
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.punycode",
    "encodings.utf_8",
    "hashlib",
    "hmac",
    "linecache",
    "miredo.kernel.netlink",
    "miredo.kernel.watch",
    "miredo.service.mire",
    "miredo.service.names",
    "miredo.service.roles",
    "stringprep",
    "traceback",
    "twisted.internet.process",
    "twisted.internet.udp",
    "twisted.names.dns",
    "twisted.names.hosts",
    "twisted.python.failure",
)
"""What may come up in a life: names, secrets, tracebacks, sockets. A reload may bring any role to where there was none,
so that a server has here what only a client needs."""

LOCALTIME = ":/etc/localtime"
"""What TZ means where it is not set (tzset(3)); set, it is not read again by each strftime(3)."""


class LateImports:
    """
    Sees each attempt to import what has not been, and finds nothing.

    @ivar names: what was asked for, in order.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._log = Logger(namespace="miredo")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        self.names.append(fullname)
        self._log.warn("{module} is imported after the start", module=fullname)
        return None

    def install(self) -> LateImports:
        """Look from now on; the same object."""
        sys.meta_path.insert(0, self)
        return self

    def remove(self) -> None:
        """Look no more."""
        sys.meta_path.remove(self)


def import_all() -> None:
    """Import what roles can need, and learn what the time zone is."""
    for name in MODULES:
        import_module(name)
    os.environ.setdefault("TZ", LOCALTIME)
    time.tzset()
    "".encode("idna")
