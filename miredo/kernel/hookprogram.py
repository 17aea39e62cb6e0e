# SPDX-License-Identifier: MIT
"""
The administrator's hook: a program that runs as root, started here, without Twisted, without a shell.

It has no arguments and no standard input, an environment of its own, and one pipe for what it says. It leads a process
group, so that what it has started can be ended with it.
"""

import os
import signal
import stat
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from errno import EACCES, EPERM
from typing import NamedTuple

from miredo.kernel.errors import refused
from miredo.kernel.namespaces import entered

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a hook finds its programs: the super-user's search path of login(1)."""
LIMIT = 60.0
"""Seconds that a hook may take. Ours."""
OUTPUT_LIMIT = 8192
"""Bytes of a hook's output that are kept. Ours."""
CANNOT_START = 126
"""The status of a hook that could not be started, as sh(1) has it."""

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class HookEnded(NamedTuple):
    """What became of a hook.

    @ivar status: its exit status, or the negative number of the signal that ended it.
    @ivar output: what it wrote to its standard output and error, the first L{OUTPUT_LIMIT} bytes of it.
    """

    status: int
    output: str


def check_hook(path: str) -> None:
    """
    Refuse what must not be run as root: what others than root could have written.

    @raise OSError: the reason.
    """
    what = f"hook {path}"
    try:
        found = os.stat(path)
    except OSError as error:
        raise refused(error.errno or 0, what) from error
    if not stat.S_ISREG(found.st_mode):
        raise refused(EACCES, what, "not a file")
    if found.st_uid not in (0, os.geteuid()):
        raise refused(EPERM, what, f"it is run as root and belongs to user {found.st_uid}, not to root")
    if found.st_mode & _OTHERS_MAY_WRITE:
        raise refused(EPERM, what, "it is run as root, and others than its owner may write it")
    if not os.access(path, os.X_OK):
        raise refused(EACCES, what, "not executable")
    if (folder := _open_folder(path)) is not None:
        raise refused(EPERM, what, f"it is run as root, and everybody may replace it in {folder}")


def _open_folder(path: str) -> str | None:
    """A folder above a file in which everybody may put another in its place."""
    folder = os.path.realpath(path)
    while folder != "/":
        folder = os.path.dirname(folder)
        mode = os.stat(folder).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return folder
    return None


def start_hook(path: str, environment: Mapping[str, str], namespace: str | None) -> subprocess.Popen[bytes]:
    """
    Start a hook that has passed L{check_hook} just now; C{stdout} of the result does not block.

    @param namespace: the network namespace that it is to work in.
    @raise OSError: it cannot be started.
    """
    check_hook(path)
    with entered(namespace):
        process = subprocess.Popen(
            [path],
            env={"PATH": PATH, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            cwd="/",
            umask=0o022,
            start_new_session=True,
        )
    if process.stdout is not None:
        os.set_blocking(process.stdout.fileno(), False)
    return process


def kill_hook(process: subprocess.Popen[bytes]) -> None:
    """End a hook that has not been reaped yet, with what it has started in its process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def not_started(error: OSError) -> HookEnded:
    """What became of a hook that could not be started."""
    return HookEnded(CANNOT_START, error.strerror or str(error))


def text_of(output: bytes) -> str:
    """What a hook said, as far as it can be shown: nothing in it moves a cursor."""
    text = output[:OUTPUT_LIMIT].decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
