# SPDX-License-Identifier: MIT
"""
Doing without what Twisted and pyroute2 import and no daemon here uses: a fifth of the memory and of the time to start.

In the place of such a module is one that has only what is taken from it at the start. Whoever asks it for more has it
run after all; once the program is locked into a directory, that fails as any late import does.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING

from zope.interface import Interface

from miredo.kernel.privileged.__main__ import spare_pyroute2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

TLS = "OpenSSL"
"""Where it is not installed, Twisted lets be what needs it."""


class IPlugin(Interface):
    """In the place of the one for which Twisted would import what looks for plugins. These programs have none."""


PARTS: Mapping[str, Mapping[str, str]] = {
    "asyncio": {
        "AbstractEventLoop": "asyncio.events",
        "Future": "asyncio.futures",
        "iscoroutine": "asyncio.coroutines",
    },
    "http.cookiejar": {},
    "twisted.plugin": {"IPlugin": __name__},
}
"""What is taken of a module at the start, and where that is."""


class _WithoutTLS:
    """Has pyOpenSSL be not installed."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        del path, target
        if fullname == TLS:
            raise ModuleNotFoundError("these programs do without it", name=fullname)


def spare() -> None:
    """Do so from now on; Twisted must not have been imported yet."""
    spare_pyroute2()
    sys.meta_path.insert(0, _WithoutTLS())
    for name, parts in PARTS.items():
        spare_module(name, parts)


def spare_module(name: str, parts: Mapping[str, str]) -> None:
    """Have a module be there without being run, but for parts of it."""
    found = find_spec(name)
    if found is None or found.loader is None or name in sys.modules:
        return
    run = found.loader.exec_module
    module = sys.modules[name] = module_from_spec(found)  # by which its submodules are found
    for part, place in parts.items():
        setattr(module, part, getattr(import_module(place), part))

    def missed(attribute: str) -> object:
        if attribute.startswith("__"):
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        del vars(module)["__getattr__"]
        run(module)
        return getattr(module, attribute)

    vars(module)["__getattr__"] = missed  # PEP 562
