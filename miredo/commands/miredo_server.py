# SPDX-License-Identifier: MIT
"""The command C{miredo-server}: a Teredo server, like the C program of that name."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from miredo.commands.classic import main as run
from miredo.commands.usage import MIREDO_SERVER
from miredo.config.source import DEFAULT_FILES, default_file
from miredo.service.origin import Origin

if TYPE_CHECKING:
    from miredo.commands.classic import Words

PROGRAM = "miredo-server"


def main(arguments: list[str] | None = None) -> int:
    """Run it; the exit status."""
    return run(MIREDO_SERVER, origin, arguments)


def origin(words: Words) -> Origin:
    """What the command line means: an address and no file are a server too.

    @raise ConfigError: the file cannot be read.
    """
    file = words.path("config")
    if file is None and words.operand is not None and not any(map(os.path.exists, DEFAULT_FILES[PROGRAM])):
        return Origin.of_command_line(PROGRAM, "", words.operand)
    return Origin.of_file(PROGRAM, file or default_file(PROGRAM), words.operand)


if __name__ == "__main__":
    sys.exit(main())
