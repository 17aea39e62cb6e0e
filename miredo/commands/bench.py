# SPDX-License-Identifier: MIT
"""C{./x bench}: measurements, each a verb of its own."""

from __future__ import annotations

import argparse
import signal
import sys

from miredo.commands import flood, malformed, recovery, start


def main(words: list[str] | None = None) -> int:
    """Run one; the exit status."""
    options = parser().parse_args(words)
    try:
        return int(options.bench(options))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="./x bench", description="Measures, in labs on this machine.")
    verbs = arguments.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("recovery", help="how long a client takes to be back when something broke")
    recovery.add_arguments(verb)
    verb.set_defaults(bench=recovery.bench)
    verb = verbs.add_parser("flood", help="a relay in a flood of destinations, beside C miredo")
    flood.add_arguments(verb)
    verb.set_defaults(bench=flood.run)
    verb = verbs.add_parser("malformed", help="100,000 malformed packets at each port")
    malformed.add_arguments(verb)
    verb.set_defaults(bench=malformed.run)
    verb = verbs.add_parser("start", help="how soon each program is there, and the memory it takes, beside C miredo")
    start.add_arguments(verb)
    verb.set_defaults(bench=start.run)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
