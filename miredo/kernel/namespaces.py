# SPDX-License-Identifier: MIT
"""
Named network namespaces, kept as iproute2 keeps them: a bind mount each under /run/netns.

Entering is for opening something and no more: C{with entered(name): open()}, and no C{await} in between, because the
one thread of the process is elsewhere meanwhile. What was opened stays in the namespace that it was opened in.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL

from miredo.kernel.errors import naming, refused
from miredo.kernel.libc import CLONE_NEWNET, MS_BIND, mount, setns, unmount, unshare

DIRECTORY = "/run/netns"
"""Where the names are, as ip-netns(8) has it."""

LOST = 70
"""The exit status of a process that cannot return to its own namespace (EX_SOFTWARE of sysexits.h)."""

_STANDARD_ERROR = 2
_OWN = "/proc/thread-self/ns/net"


def path_of(namespace: str) -> str:
    """
    The file that a namespace is entered by.

    @raise OSError: EINVAL, C{namespace} is no plain file name.
    """
    if namespace in ("", ".", "..") or "/" in namespace or "\0" in namespace:
        raise refused(EINVAL, f"network namespace {namespace!r}", "not a name")
    return f"{DIRECTORY}/{namespace}"


@contextmanager
def entered(namespace: str | None) -> Iterator[None]:
    """Be in another network namespace for the time of a C{with} block; C{None} stays where it is."""
    if namespace is None:
        yield
        return
    with _opened(_OWN) as own:
        with naming(f"network namespace {namespace}"), _opened(path_of(namespace)) as other:
            setns(other, CLONE_NEWNET)
        with _return_to(own):
            yield


def create_namespace(name: str) -> None:
    """Make a network namespace with nothing in it but a loopback that is down, and give it a name."""
    os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
    path = path_of(name)
    with naming(f"network namespace {name}"):
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        try:
            _mount_fresh_namespace(path)
        except OSError:
            os.unlink(path)
            raise


def delete_namespace(name: str) -> None:
    """Take its name from a network namespace, which goes with its links when nothing has anything open in it."""
    path = path_of(name)
    with naming(f"network namespace {name}"):
        unmount(path)
        os.unlink(path)


def _mount_fresh_namespace(path: str) -> None:
    with _opened(_OWN) as own:
        unshare(CLONE_NEWNET)
        with _return_to(own):
            mount(_OWN, path, None, MS_BIND)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _return_to(own: int) -> Iterator[None]:
    try:
        yield
    finally:
        try:
            setns(own, CLONE_NEWNET)
        except OSError as error:
            # Going on would open the next role's sockets in a namespace that is not its own.
            line = f"miredo: cannot return to the network namespace of the process: {error.strerror}\n"
            os.write(_STANDARD_ERROR, line.encode())
            os._exit(LOST)
