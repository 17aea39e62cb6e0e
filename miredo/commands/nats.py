# SPDX-License-Identifier: MIT
"""C{./x lab nats}: the first packet both ways through every kind of NAT, each in a C{./x demo} of its own.

With C{--kernel}: between clients behind the kernel's own NATs.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections import defaultdict
from math import isfinite

from twisted.internet.defer import Deferred, DeferredSemaphore, FirstError, ensureDeferred, gatherResults
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import react
from twisted.python.failure import Failure

from miredo.lab.survey import DELAYS, Results, Trial, as_json, as_text, kernel_trials, trials

AT_ONCE = 4 * (os.cpu_count() or 1)
"""Labs that are up at the same time: most of their time they wait."""


class Refused(Exception):
    """A demonstration could not begin; the text is what it said."""


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    usual = " ".join(f"{delay * 1e3:g}" for delay in DELAYS)
    arguments.add_argument(
        "--delay", type=_delay, nargs="+", metavar="MS", help=f"of every link, each way; usually {usual}"
    )
    where = arguments.add_mutually_exclusive_group()
    where.add_argument("--sim", action="store_true", help="in memory")
    where.add_argument(
        "--kernel", action="store_true", help="between clients behind the kernel's own NATs, by nftables, instead"
    )
    arguments.add_argument("--json", action="store_true", help="a list of objects on standard output")


def survey(options: argparse.Namespace) -> int:
    """Run all; 0 if each first packet was answered."""
    try:
        react(lambda reactor: ensureDeferred(_survey(IReactorProcess(reactor), options)))
    except SystemExit as end:  # which is how it always returns
        return int(end.code or 0)


async def _survey(reactor: IReactorProcess, options: argparse.Namespace) -> None:
    """The exit status is raised, as L{react} wants it."""
    wanted = (kernel_trials if options.kernel else trials)(options.delay or DELAYS)
    places = DeferredSemaphore(AT_ONCE)
    runs = [places.run(_first_packet, reactor, trial, options.sim) for trial in wanted]
    try:
        answers = await gatherResults(runs, consumeErrors=True)
    except FirstError as first:
        if isinstance(first.subFailure.value, Refused):
            print(f"lab: {first.subFailure.value}", file=sys.stderr)
            raise SystemExit(1) from None
        raise
    raise SystemExit(tell(dict(zip(wanted, answers, strict=True)), options))


def tell(results: Results, options: argparse.Namespace) -> int:
    """Show the tables, and how to see for oneself what did not work; the exit status."""
    print(json.dumps(as_json(results), indent=1) if options.json else as_text(results))
    silent = [trial for trial, seconds in results.items() if seconds is None]
    for trial in silent:
        print(f"lab: nothing came back in: ./x demo {shlex.join(_words(trial, options.sim))}", file=sys.stderr)
    return 1 if silent else 0


async def _first_packet(reactor: IReactorProcess, trial: Trial, in_memory: bool) -> float | None:
    demonstration = _Demonstration()
    words = [sys.executable, "-m", "miredo.commands.demo", "--json", *_words(trial, in_memory)]
    reactor.spawnProcess(demonstration, words[0], words, os.environ)
    await demonstration.ended
    told = json.loads(demonstration.told[1]) if demonstration.told[1] else {}
    if demonstration.told[2] or "nodes" not in told:
        raise Refused(demonstration.told[2].decode(errors="replace").strip() or "a demonstration ended without a word")
    seconds = told[trial.way]
    return None if seconds is None else float(seconds)


class _Demonstration(ProcessProtocol):
    """One run.

    @ivar told: what it wrote, by descriptor.
    """

    def __init__(self) -> None:
        self.told: defaultdict[int, bytes] = defaultdict(bytes)
        self.ended: Deferred[None] = Deferred()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.told[childFD] += data

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)


def _words(trial: Trial, in_memory: bool) -> list[str]:
    return [*trial.words(), "--sim"] if in_memory else trial.words()


def _delay(text: str) -> float:
    """Milliseconds on the command line, seconds from here on."""
    try:
        delay = float(text) / 1e3
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not (isfinite(delay) and delay >= 0):
        raise argparse.ArgumentTypeError(f"{text} ms: must be 0 or more")
    return delay
