# SPDX-License-Identifier: MIT
"""The process that fuzzes one target: C{python -m tests.fuzz.fuzzing PROGRAM MODULE TARGET [libFuzzer's arguments]}.

Atheris instruments what is imported after it, so this module imports nothing of ours before.
"""

import sys
from importlib import import_module

import atheris


def main(program: str, module: str, name: str, *arguments: str) -> None:
    """Does not return: libFuzzer ends the process. C{program} starts this again."""
    with atheris.instrument_imports(include=["miredo"]):
        targets = import_module(module).TARGETS
    atheris.Setup([program, *arguments], targets[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
