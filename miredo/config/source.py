# SPDX-License-Identifier: MIT
"""The bytes of a configuration file, whatever stands at its path: never too many, and never waited for in vain."""

from __future__ import annotations

import errno
import os
import select
import stat
import time

FILE_LIMIT = 1 << 18
"""Bytes of a file; ours. The largest example file has 7 kB."""
PATIENCE = 3.0
"""Seconds that a pipe has to say all (C{<(...)} of a shell is one); ours."""

DEFAULT_FILES = {
    program: (f"/etc/miredo/{program}.conf", f"/etc/{program}.conf") for program in ("miredo", "miredo-server")
}
"""Where each program looks; the first that exists is taken."""

_PIECE = 1 << 16


def default_file(program: str = "miredo") -> str:
    """The first default configuration file that exists; the first one, for the message, if none does."""
    names = DEFAULT_FILES[program]
    return next((name for name in names if os.path.exists(name)), names[0])


def read(path: str | os.PathLike[str]) -> bytes:
    """All that is in a file, or comes out of a pipe within L{PATIENCE}.

    @raise OSError: it cannot be read, it has more than L{FILE_LIMIT} bytes, or nothing comes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return _all_of(descriptor)
    finally:
        os.close(descriptor)


def _all_of(descriptor: int) -> bytes:
    end = time.monotonic() + PATIENCE
    text = bytearray()
    while _readable(descriptor, end) and (piece := os.read(descriptor, _PIECE)):
        text += piece
        if len(text) > FILE_LIMIT:
            raise OSError(errno.EFBIG, f"The file has more than {FILE_LIMIT} bytes")
    return bytes(text)


def _readable(descriptor: int, end: float) -> bool:
    """Wait until a read returns at once, be it with nothing; always true of a file."""
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    if not ready.poll(max(0.0, end - time.monotonic()) * 1000):
        raise TimeoutError(errno.ETIMEDOUT, f"Not all of it came within {PATIENCE:g} s")
    return True
