# SPDX-License-Identifier: MIT
"""C{./x bench recovery}: how long our client takes to be back when something broke, and C miredo in the same lab.

Each trial is a process with a lab of its own; they mostly wait, so that many run at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf, isfinite
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import BoundedSemaphore
from typing import NamedTuple

from miredo.commands.daemons import Daemon
from miredo.commands.output import say
from miredo.kernel.userns import NoNamespaces, enter_lab
from miredo.lab.recovering import Figure, Figures, NoTrial, Recovery, Trial

MIREDO = "/usr/sbin/miredo"
CONFIGURATION = "InterfaceName teredo\nServerAddress 192.0.2.1\nSyslogFacility user\n"

OURS, ITS = "ours", "C miredo"
PROGRAMS = OURS, ITS
RUNS = 3
AT_ONCE = 12
"""Labs that are up at the same time."""
LONGEST_FIRST = (
    Trial.SERVER_IDLE,
    Trial.RELAY_UPLOAD,
    Trial.RELAY_SILENT,
    Trial.RELAY_REFUSING,
    Trial.SERVER_OPENING,
    Trial.NAT_IDLE,
    Trial.NAT_SENDING,
)
"""The trials, so ordered that all of them end soon after one another."""

TARGETS = {
    Figure.NOTICED_OPENING: 20.0,
    Figure.NOTICED_IDLE: 45.0,
    Figure.SERVER_BACK: 15.0,
    Figure.REMAPPED_SENDING: 5.0,
    Figure.REMAPPED_IDLE: 31.0,
    Figure.RELAY_REFUSING: 0.5,
    Figure.RELAY_SILENT: 4.0,
}
"""Seconds that ours may take; a TCP upload waits for the sender's own timer besides, and has no target."""

Samples = dict[tuple[Figure, str], list[float]]
"""By figure and program; what never came is infinite."""


class Broken(Exception):
    """A trial could not begin; the text says which, and why."""


class Row(NamedTuple):
    """What was measured of one figure, in seconds."""

    figure: Figure
    target: float | None
    ours: list[float]
    its: list[float]

    @property
    def met(self) -> bool | None:
        """Whether our median is within the target."""
        return None if self.target is None or not self.ours else median(self.ours) <= self.target

    @property
    def ratio(self) -> float | None:
        """Its median as a multiple of ours."""
        return median(self.its) / median(self.ours) if self.ours and self.its else None


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    arguments.add_argument("--runs", type=int, default=RUNS, metavar="N", help=f"of each trial; usually {RUNS}")
    arguments.add_argument("--at-once", type=int, default=AT_ONCE, metavar="N", help=f"labs; usually {AT_ONCE}")
    arguments.add_argument("--trial", action="append", choices=LONGEST_FIRST, help="only this one (repeatable)")
    arguments.add_argument("--program", choices=PROGRAMS, help="only this one")
    arguments.add_argument("--json", action="store_true", help="one JSON object on standard output")


def bench(options: argparse.Namespace) -> int:
    """Run it; the exit status: 0 if every target is met."""
    trials = [Trial(word) for word in options.trial or LONGEST_FIRST]
    programs = [options.program] if options.program else [*([ITS] if its_is_there() else []), OURS]
    try:
        samples = measured(trials, programs, options.runs, options.at_once)
    except Broken as broken:
        print(f"bench: {broken}", file=sys.stderr)
        return 1
    rows = [Row(each, TARGETS.get(each), samples[each, OURS], samples[each, ITS]) for each in Figure]
    rows = [row for row in rows if row.ours or row.its]
    say(json.dumps(as_json(rows), indent=1) if options.json else as_text(rows))
    return 1 if any(row.met is False for row in rows) else 0


def as_text(rows: list[Row]) -> str:
    """A table: the median of each, and between which values the others were."""
    lines = [f"{'seconds: median (least to most)':<58} {'target':>6} {OURS:>22} {ITS:>24} {'ratio':>6}"]
    for row in rows:
        target = "" if row.target is None else f"{row.target:g}"
        ratio = "" if row.ratio is None else f"{row.ratio:.1f}"
        mark = "" if row.met is not False else "  MISSED"
        lines.append(f"{row.figure:<58} {target:>6} {_shown(row.ours):>22} {_shown(row.its):>24} {ratio:>6}{mark}")
    return "\n".join(lines)


def as_json(rows: list[Row]) -> list[dict[str, object]]:
    """A row each; what never came is C{null}."""
    return [
        {
            "figure": row.figure,
            "target": row.target,
            "met": row.met,
            **{
                name: {"seconds": [_finite(each) for each in values], "median": _finite(median(values))}
                for name, values in (("ours", row.ours), ("c-miredo", row.its))
                if values
            },
            "ratio": None if row.ratio is None else _finite(row.ratio),
        }
        for row in rows
    ]


def _shown(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})" if values else ""


def _finite(value: float) -> float | None:
    return round(value, 3) if isfinite(value) else None


def its_is_there() -> bool:
    """Whether C miredo can be measured; if not, says why."""
    if os.geteuid() != 0:
        print("bench: C miredo becomes a user of its own, which needs root; ours alone is measured", file=sys.stderr)
        return False
    if not os.access(MIREDO, os.X_OK):
        print(f"bench: there is no {MIREDO}; cure: sudo apt-get install miredo", file=sys.stderr)
        return False
    return True


# ------------------------------------------------------------------ the trials


def measured(trials: Sequence[Trial], programs: Sequence[str], runs: int, at_once: int) -> Samples:
    """Run each trial with each program so often.

    @raise Broken: one of them could not begin.
    """
    wanted = [(trial, program) for trial in trials for program in programs for _ in range(runs)]
    samples: Samples = defaultdict(list)
    starting = BoundedSemaphore(os.cpu_count() or 1)
    with ThreadPoolExecutor(at_once) as pool:
        running = [pool.submit(apart, trial, program, starting) for trial, program in wanted]
        for (_, program), figures in zip(wanted, running, strict=True):
            for figure, seconds in figures.result().items():
                samples[figure, program].append(inf if seconds is None else seconds)
    return samples


def apart(trial: Trial, program: str, starting: BoundedSemaphore) -> Figures:
    """Run one trial in a process of its own, for its lab and its reactor.

    @param starting: is held until the client has an address: starting is work, and would disturb the others.
    @raise Broken: the trial could not begin.
    """
    spawning = get_context("spawn")
    ours, its = spawning.Pipe()
    process = spawning.Process(target=measure, args=(trial, program, its), daemon=True)
    try:
        with starting:
            process.start()
            its.close()
            told: Figures | str | None = ours.recv()
        figures = ours.recv() if told is None else told
    except EOFError:
        figures = "it ended without a word"
    process.join()
    if isinstance(figures, dict):
        return figures
    raise Broken(f"{trial}, {program}: {figures}")


def measure(trial: Trial, program: str, tell: Connection) -> None:
    """Run one trial, in namespaces that this process does not come back from.

    @param tell: is sent C{None} when the client has an address, then the figures; or why there are none.
    """
    try:
        enter_lab()
        from twisted.internet import reactor

        with TemporaryDirectory() as folder:
            begin = _beginning(Path(folder)) if program == ITS else None
            tell.send(Recovery(reactor, trial, begin).run(started=lambda: tell.send(None)))
    except (NoNamespaces, NoTrial) as error:
        tell.send(str(error))


def _beginning(folder: Path) -> Callable[[str], Callable[[], object]]:
    """What starts C miredo in a node, and returns what ends it."""

    def begin(node: str) -> Callable[[], object]:
        configuration = folder / "miredo.conf"
        configuration.write_text(CONFIGURATION)
        words = [MIREDO, "-f", "-c", str(configuration), "-p", str(folder / "miredo.pid")]
        return Daemon(node, words, folder / "miredo.log").stop

    return begin
