# SPDX-License-Identifier: MIT
"""How the kernel's refusals are told."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Let an C{OSError} that passes say what was refused: its C{strerror} becomes C{what: text}."""
    try:
        yield
    except OSError as error:
        raise refused(error.errno or 0, what, error.strerror) from error


def refused(errno: int, what: str, text: str | None = None) -> OSError:
    """The C{OSError} of a refusal, with the system's text for C{errno} unless there is a better one."""
    return OSError(errno, f"{what}: {text or os.strerror(errno)}")
