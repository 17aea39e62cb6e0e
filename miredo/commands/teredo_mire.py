# SPDX-License-Identifier: MIT
"""The command C{teredo-mire}: a Teredo echo responder on an address, without a configuration file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from miredo.address.endpoint import parse_ipv4
from miredo.commands.classic import WrongUsage
from miredo.commands.classic import main as run
from miredo.commands.usage import TEREDO_MIRE
from miredo.service.origin import Origin

if TYPE_CHECKING:
    from miredo.commands.classic import Words

SECTION = "[mire teredo-mire]\nBindAddress {}\n"


def main(arguments: list[str] | None = None) -> int:
    """Run it; the exit status."""
    return run(TEREDO_MIRE, origin, arguments)


def origin(words: Words) -> Origin:
    """What the command line means.

    @raise WrongUsage: there is no IPv4 address on it.
    """
    address = words.operand
    if address is None:
        raise WrongUsage("needs the IPv4 address to answer on")
    try:
        parse_ipv4(address)
    except ValueError as error:
        raise WrongUsage(f'"{address}" is not an IPv4 address') from error
    return Origin.of_command_line("miredo", SECTION.format(address))


if __name__ == "__main__":
    sys.exit(main())
