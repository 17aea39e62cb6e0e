# SPDX-License-Identifier: MIT
"""The names of routing tables, as iproute2 keeps them: lines of a number and a name (ip-route(8))."""

from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("/etc/iproute2", "/usr/share/iproute2", "/usr/lib/iproute2")
"""Where iproute2 looks: the administrator's files, then those of the distribution."""

_SIZE_LIMIT = 1 << 16
_TABLE_NUMBERS = range(1, 1 << 32)


def table_named(name: str, root: Path = Path("/")) -> int | None:
    """
    The number of a table: of several lines with its name the first counts; what cannot be read is passed by.

    @param root: is put before L{FOLDERS}.
    """
    return next((number for file in _files(root) for number in _numbers(file, name)), None)


def _files(root: Path) -> Iterator[Path]:
    for folder in FOLDERS:
        place = root / folder.lstrip("/")
        yield place / "rt_tables"
        yield from sorted((place / "rt_tables.d").glob("*.conf"))


def _numbers(file: Path, name: str) -> Iterator[int]:
    try:
        with file.open("rb") as opened:
            text = opened.read(_SIZE_LIMIT)
    except OSError:
        return
    for line in text.decode("ascii", "replace").splitlines():
        match line.partition("#")[0].split():
            case [number, found] if found == name and (value := _number(number)) in _TABLE_NUMBERS:
                yield value


def _number(word: str) -> int:
    """A decimal or hexadecimal number; 0, which is no table, for anything else."""
    try:
        return int(word, 16 if word.startswith("0x") else 10)
    except ValueError:
        return 0
