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
from contextlib import suppress
from math import isfinite

from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore, FirstError, ensureDeferred, gatherResults
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IReactorCore, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater, react
from twisted.python.failure import Failure

from miredo.commands.output import say
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
    runs = _Survey((kernel_trials if options.kernel else trials)(options.delay or DELAYS), options.sim)
    with suppress(SystemExit):  # which is how it always returns
        react(lambda reactor: ensureDeferred(runs.go(IReactorProcess(reactor), IReactorCore(reactor))))
    if runs.results is None:
        print(f"lab: {runs.refusal}", file=sys.stderr)
        return 1
    return tell(runs.results, options)


class _Survey:
    """All runs.

    @ivar results: what came of them.
    @ivar refusal: why there is none.
    """

    def __init__(self, wanted: list[Trial], in_memory: bool) -> None:
        self.results: Results | None = None
        self.refusal = "interrupted"
        self._wanted = wanted
        self._in_memory = in_memory
        self._interrupted = False
        self._ended = 0
        self._running: set[_Demonstration] = set()

    async def go(self, reactor: IReactorProcess, core: IReactorCore) -> None:
        core.addSystemEventTrigger("before", "shutdown", self._end)
        await deferLater(IReactorTime(core), 0)  # until it runs and heeds signals
        places = DeferredSemaphore(AT_ONCE)
        runs = [places.run(self._first_packet, reactor, trial) for trial in self._wanted]
        try:
            answers = await gatherResults(runs, consumeErrors=True)
        except FirstError as first:
            if not isinstance(first.subFailure.value, Refused):
                raise
            self.refusal = str(first.subFailure.value)
        else:
            self.results = dict(zip(self._wanted, answers, strict=True))
        self._tell_progress("\r\x1b[K")

    def _tell_progress(self, text: str) -> None:
        """To a person who waits for minutes."""
        if sys.stderr.isatty():
            print(text, end="", file=sys.stderr, flush=True)

    def _end(self) -> Deferred[None]:
        """End what still runs, and wait for it."""
        self._interrupted = self.results is None
        return DeferredList([each.end() for each in self._running]).addCallback(lambda _: None)

    async def _first_packet(self, reactor: IReactorProcess, trial: Trial) -> float | None:
        demonstration = _Demonstration()
        words = [sys.executable, "-m", "miredo.commands.demo", "--json", *_words(trial, self._in_memory)]
        self._running.add(demonstration)
        reactor.spawnProcess(demonstration, words[0], words, os.environ)
        await demonstration.ended
        self._running.discard(demonstration)
        if self._interrupted:
            await Deferred()  # for good: no other run takes its place
        self._ended += 1
        self._tell_progress(f"\rlab: {self._ended} of {len(self._wanted)} runs")
        return demonstration.answer(trial)


def tell(results: Results, options: argparse.Namespace) -> int:
    """Show the tables, and how to see for oneself what did not work; the exit status."""
    say(json.dumps(as_json(results), indent=1) if options.json else as_text(results))
    silent = [trial for trial, seconds in results.items() if seconds is None]
    for trial in silent:
        print(f"lab: nothing came back in: ./x demo {shlex.join(_words(trial, options.sim))}", file=sys.stderr)
    return 1 if silent else 0


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

    def end(self) -> Deferred[None]:
        """Have it end; fires when it has."""
        over: Deferred[None] = Deferred()
        self.ended.addBoth(lambda _: over.callback(None))
        if self.transport is not None:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")  # it takes its namespaces with it
        return over

    def answer(self, trial: Trial) -> float | None:
        """Seconds until the packet was answered.

        @raise Refused: it did not begin.
        """
        told = json.loads(self.told[1]) if self.told[1] else {}
        if self.told[2] or "nodes" not in told:
            raise Refused(self.told[2].decode(errors="replace").strip() or "a demonstration ended without a word")
        seconds = told[trial.way]
        return None if seconds is None else float(seconds)


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
