# SPDX-License-Identifier: MIT
"""
C{python -m miredo.kernel.privileged REQUESTS NEWS [tunnels]}: the numbers of two sockets, that the worker has made, and
whether it has tunnels.

Not a command for people: whoever starts it must own the other ends, and be its parent.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec, module_from_spec

from miredo.kernel.identity import SUPERUSER, bequeath, keep
from miredo.kernel.libc import die_with_parent

_INPUT, _OUTPUT, _ERRORS = 0, 1, 2


def spare_pyroute2() -> None:
    """
    Have modules of pyroute2 found without the package itself being run: it would import every protocol that pyroute2
    knows, which takes longer than all else that is imported here.
    """
    found = find_spec("pyroute2")
    if found is not None:
        sys.modules.setdefault("pyroute2", module_from_spec(found))


def settle(*kept: int) -> None:
    """Have nothing of the worker's but C{kept} and standard error, end with it, and be in no folder's way."""
    die_with_parent(signal.SIGTERM)
    os.chdir("/")
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in _INPUT, _OUTPUT:
        os.dup2(null, descriptor)
    for descriptor in kept:
        os.set_inheritable(descriptor, False)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor not in (_INPUT, _OUTPUT, _ERRORS, *kept):
            with suppress(OSError):  # the listing's own
                os.close(descriptor)


def main(arguments: list[str]) -> int:
    """Serve the worker; the exit status."""
    requests, news = map(int, arguments[:2])
    worker = os.getppid()
    settle(requests, news)
    if os.geteuid() != SUPERUSER:
        bequeath()  # to hooks: what was executed for its file's capabilities has none to hand on
    spare_pyroute2()

    from miredo.kernel.privileged.beginning import TUNNELS
    from miredo.kernel.privileged.charge import receive_charge
    from miredo.kernel.privileged.loop import Loop
    from miredo.kernel.privileged.obedience import Obedience
    from miredo.kernel.privileged.permits import Permits

    if TUNNELS in arguments:
        import_module("miredo.kernel.netlink")  # it takes its time, but the worker has its own imports to do
    asked = socket.socket(fileno=requests)
    charge = receive_charge(asked)
    if charge is None:
        return 0
    permits = Permits(charge)
    obedience = Obedience(charge, permits)
    if permits.has_tunnels:
        import_module("miredo.kernel.netlink")
    keep(permits.capabilities)
    return Loop(asked, socket.socket(fileno=news), obedience, permits, worker).run()


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # nothing is left to be done, and taking all apart would take its time
