# SPDX-License-Identifier: MIT
"""C{./x fuzz}: see C{./x fuzz --help}."""

import argparse
import sys
import time
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.running import MUTATIONS, Outcome, Place, fuzz, how_to_repeat, is_possible, minimise, mutate, run

NO_FUZZER = (
    "x fuzz: atheris is not installed. There are builds of it for CPython 3.11 to 3.13 on Linux and x86-64 only; "
    "--mutations and --run do without it."
)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 on")
    return int(text)


def options(arguments: Sequence[str], targets: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./x fuzz",
        description="Fuzz the parsers and the cores, guided by coverage. Inputs that reach something new are added to "
        "the corpus, those that break a promise to tests/fuzz/found.",
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all of {', '.join(targets)} if none is named")
    parser.add_argument(
        "--seconds",
        type=_positive,
        default=60,
        metavar="N",
        help="of fuzzing in all, split evenly; some more for starting (default: 60)",
    )
    others = parser.add_mutually_exclusive_group()
    others.add_argument("--run", type=Path, metavar="FILE", help="run one target with the input in a file")
    others.add_argument("--mutations", type=int, metavar="N", help="N damaged variants of every vector, no fuzzing")
    others.add_argument("--minimise", action="store_true", help="only drop what the corpus can do without")
    chosen = parser.parse_args(arguments)
    known = [*targets, *([MUTATIONS] if chosen.run else [])]
    for name in chosen.targets:
        if name not in known:
            parser.error(f"there is no target {name}; there are {', '.join(known)}")
    if chosen.run and not chosen.run.is_file():
        parser.error(f"there is no file {chosen.run}")
    if chosen.run and len(chosen.targets) != 1:
        parser.error("--run FILE takes the one target that it is for")
    return chosen


def main(arguments: Sequence[str], place: Place | None = None) -> int:
    place = place or Place()
    chosen = options(arguments, list(place.targets))
    if chosen.run:
        run(chosen.run, *chosen.targets)
        print("no promise is broken")
        return 0
    if chosen.mutations is not None:
        return damaged(chosen.mutations, place)
    if not is_possible():
        print(NO_FUZZER, file=sys.stderr)
        return 1
    names = chosen.targets or list(place.targets)
    if chosen.minimise:
        for name in names:
            print("{}: {} inputs, {} are left".format(name, *minimise(name, place)), flush=True)
        return 0
    return fuzzed(names, max(1, chosen.seconds // len(names)), place)


def damaged(count: int, place: Place) -> int:
    begun = time.monotonic()
    total = mutate(count, place.found)
    print(f"{total} damaged datagrams, {time.monotonic() - begun:.1f} s: nothing but MalformedPacket came out")
    return 0


def fuzzed(names: Sequence[str], seconds: int, place: Place) -> int:
    """All targets, also after one has failed."""
    print(f"{'target':14} {'inputs':>9} {'inputs/s':>9} {'edges':>6} {'corpus':>7} {'new':>4}", flush=True)
    failed = 0
    for name in names:
        outcome = fuzz(name, seconds, place)
        show(outcome, place)
        failed |= outcome.failure is not None
    return int(failed)


def show(outcome: Outcome, place: Place) -> None:
    kept = len(list((place.corpus / outcome.target).iterdir()))
    rate = outcome.inputs // outcome.seconds
    line = f"{outcome.target:14} {outcome.inputs:9} {rate:9} {outcome.edges:6} {kept:7} {len(outcome.added):4}"
    print(line, flush=True)
    for file in outcome.added:
        print(f"    new: {file}")
    if outcome.failure is not None:
        print(outcome.report)
        print("in base64:", b64encode(outcome.failure.read_bytes()).decode())
        print(f"{outcome.target}: {how_to_repeat(outcome.failure, outcome.target)}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
