# SPDX-License-Identifier: MIT
"""Standard output, as every program here writes to it."""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """
    Write a text and a line's end, at once.

    Who reads no further (C{./x demo | head}) gets no more, and that is all.

    @raise SystemExit: it cannot be written: a disk is full, say, or standard output is closed.
    """
    if sys.stdout is None:
        raise SystemExit("cannot write: standard output is closed")
    try:
        print(text, flush=True)
    except OSError as error:
        # Python would try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise SystemExit(f"cannot write to standard output: {error.strerror}") from error
