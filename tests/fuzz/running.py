# SPDX-License-Identifier: MIT
"""Fuzzing target by target, each in a process of its own, and what is kept of it.

A run begins with the seeds of a target and its corpus. Inputs that reach an edge of the code that no other input of
the corpus reaches are added to it; an input that breaks a promise is left in a file of its own.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha1
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.fuzz.targets import TARGETS, Target
from tests.wire.test_mutations import mutants, read
from tests.wire.vectors import VECTORS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MUTATIONS = "mutations"
"""The name of "a datagram through every parser of wire", for C{--run}."""
SLOWEST, LARGEST = 10, 1024
"""Seconds that one input may take and MiB that the process may hold; ours, far beyond what any takes."""
TAIL = 25
"""Lines of libFuzzer's report that are shown of a failure."""


class Place(NamedTuple):
    """Where the targets are, and what is kept of them."""

    module: str = "tests.fuzz.targets"
    targets: Mapping[str, Target] = TARGETS
    corpus: Path = HERE / "corpus"
    found: Path = HERE / "found"


class Outcome(NamedTuple):
    """What a run of one target came to; C{failure} is the file with the input that broke a promise."""

    target: str
    inputs: int
    edges: int
    seconds: int
    added: Sequence[Path]
    failure: Path | None
    report: str


def is_possible() -> bool:
    """Whether there is a fuzzer."""
    return find_spec("atheris") is not None


def fuzz(name: str, seconds: int, place: Place) -> Outcome:
    """Fuzz one target and keep what is new."""
    corpus = place.corpus / name
    corpus.mkdir(parents=True, exist_ok=True)
    place.found.mkdir(parents=True, exist_ok=True)
    with started(name, place) as (seeds, new):
        limits = [f"-max_total_time={seconds}", f"-timeout={SLOWEST}", f"-rss_limit_mb={LARGEST}"]
        kept = [f"-artifact_prefix={place.found}/{name}-", "-print_final_stats=1"]
        done = child(name, place, *limits, *kept, str(new), str(corpus), str(seeds))
        added = merge(name, place, corpus, new, seeds) if done.returncode == 0 else []
    written = re.search(r"Test unit written to (.+)", done.stdout)
    failure = Path(written[1]) if written else None
    if done.returncode and failure is None:
        raise RuntimeError(f"the fuzzer of {name} ended with {done.returncode}:\n{done.stdout}")
    return Outcome(name, counted(done.stdout), edges(done.stdout), seconds, added, failure, report(done.stdout))


def minimise(name: str, place: Place) -> tuple[int, int]:
    """Leave of a corpus what reaches all that it reaches; how many inputs there were and are."""
    corpus = place.corpus / name
    corpus.mkdir(parents=True, exist_ok=True)
    before = sorted(corpus.iterdir())
    with started(name, place) as (seeds, new):
        merge(name, place, new, corpus, seeds)
        kept = {file.name: file.read_bytes() for file in new.iterdir()}
    for file in before:
        file.unlink()
    for digest, data in kept.items():
        (corpus / digest).write_bytes(data)
    return len(before), len(kept)


def mutate(count: int, found: Path) -> int:
    """Put that many damaged variants of every vector through the parsers of wire; how many there were in all."""
    total, mutant = 0, b""
    whole = False
    try:
        for name in VECTORS:
            for mutant in mutants(name, count):
                read(mutant)
                total += 1
        whole = True
    finally:
        if not whole:
            found.mkdir(parents=True, exist_ok=True)
            file = found / f"{MUTATIONS}-crash-{sha1(mutant, usedforsecurity=False).hexdigest()}"
            file.write_bytes(mutant)
            print(how_to_repeat(file, MUTATIONS), file=sys.stderr, flush=True)
    return total


def run(file: Path, name: str) -> None:
    """Run one target with the input of a file; raises what the target raises."""
    targets = {MUTATIONS: read} | {each: target.run for each, target in TARGETS.items()}
    targets[name](file.read_bytes())


def how_to_repeat(file: Path, name: str) -> str:
    """The command that runs an input again."""
    shown = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
    return f"the input that broke it is in {shown}; to run it again: ./x fuzz --run {shown} {name}"


# ------------------------------------------------------------------ the process


@contextmanager
def started(name: str, place: Place) -> Iterator[tuple[Path, Path]]:
    """A folder with the seeds of a target, and an empty one."""
    with TemporaryDirectory() as folder:
        seeds, new = Path(folder, "seeds"), Path(folder, "new")
        seeds.mkdir()
        new.mkdir()
        for number, seed in enumerate(place.targets[name].seeds()):
            (seeds / str(number)).write_bytes(seed)
        yield seeds, new


def child(name: str, place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Libfuzzer with one target; it measures coverage itself."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    longest = f"-max_len={place.targets[name].longest}"
    with TemporaryDirectory() as folder:
        return subprocess.run(
            [program(Path(folder), name, place), longest, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )


def program(folder: Path, name: str, place: Place) -> Path:
    """A file to execute: libFuzzer starts itself again, under the name that it was started by, to merge."""
    file = folder / name
    command = shlex.join([sys.executable, "-m", "tests.fuzz.fuzzing", str(file), place.module, name])
    file.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    file.chmod(0o700)
    return file


def merge(name: str, place: Place, into: Path, *others: Path) -> list[Path]:
    """Add to a folder what reaches an edge that nothing in it reaches; what was added."""
    before = set(into.iterdir())
    done = child(name, place, "-merge=1", "-use_counters=0", str(into), *map(str, others))
    if done.returncode:
        raise RuntimeError(f"the corpus of {name} could not be merged:\n{done.stdout}")
    return sorted(set(into.iterdir()) - before)


def counted(text: str) -> int:
    """How many inputs were run."""
    found = re.findall(r"^(?:stat::number_of_executed_units: |#)(\d+)", text, re.MULTILINE)
    return max(map(int, found), default=0)


def edges(text: str) -> int:
    """How many edges of the instrumented code were reached."""
    return max(map(int, re.findall(r" cov: (\d+)", text)), default=0)


def report(text: str) -> str:
    """The part of libFuzzer's output that tells of a failure."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if "Uncaught Python exception" in line or "ERROR:" in line]
    return "\n".join(lines[starts[0] :][:TAIL] if starts else lines[-TAIL:])
