# SPDX-License-Identifier: MIT
"""
C{./x bench start}: how soon each role is there after its program was started, and what memory it takes then.

Ours and Debian's C programs in turn, as an administrator starts them: detached, as root, with their usual user and root
directory. The C programs tell nobody that they are ready, so that both are measured by what can be seen from outside:
who started them ends, their pid file is there, and somebody in another node, who has been knocking since the start,
gets a first packet.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import sys
import sysconfig
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import miredo
from miredo.commands.daemons import end_on_sigterm, go_first
from miredo.commands.output import say
from miredo.commands.started import NotStarted, Started, memory_of
from miredo.kernel.namespaces import entered
from miredo.kernel.userns import NoNamespaces, enter_lab
from miredo.lab.knocking import AtClient, AtMire, AtRelay, AtServer, Visitor
from miredo.lab.topology import End, Route, Topology, Wire

NEIGHBOURS = Topology(
    nodes=("here", "there"),
    wires=(
        Wire(End("there", "wan", ("192.0.2.9/28",)), End("here", "wan", ("192.0.2.1/28", "192.0.2.2/28"))),
        Wire(End("there", "six", ("2001:db8:2::2/64",)), End("here", "six", ("2001:db8:2::1/64",))),
    ),
    routes=(
        Route("here", "0.0.0.0/0", "wan", "192.0.2.9"),
        Route("here", "::/0", "six", "2001:db8:2::2"),
        Route("there", "2001::/32", "six", "2001:db8:2::1"),
    ),
    nats=(),
    ipv4_routers=(),
    ipv6_routers=("here",),
)
"""Who is measured, and who knocks."""
HERE, THERE = "192.0.2.1", "192.0.2.9"
NETWORK_PATIENCE = 10.0
"""Seconds that this network may take to be there."""

OURS, ITS = "ours", "C miredo"
RUNS = 5
SETTLING = 2.0
"""Seconds after the start at which memory is looked at."""
KNOCKING = 0.001
"""Seconds between knocks."""
LONGEST = 1024
"""Bytes of what a service manager is told."""


class Figure(StrEnum):
    """What is measured: seconds after the start, and megabytes."""

    FIRST_PACKET = "first packet, s"
    READY = "READY=1 to its service manager, s"
    RETURNED = "who started it has ended, s"
    PID_FILE = "pid file, s"
    PROCESSOR = "processor, s"
    RESIDENT = "resident (RSS), MB"
    WORKER = "  the worker"
    CHILD = "  the privileged child"
    PROPORTIONAL = "proportional (PSS), MB"
    WORKER_PROPORTIONAL = "  the worker's"
    CHILD_PROPORTIONAL = "  the privileged child's"
    ENDED = "has done it, s"


Figures = dict[Figure, float]
Samples = dict[tuple[str, Figure, str], list[float]]
"""By what was started, figure and program."""
OUR_PROCESSES = (Figure.WORKER, Figure.WORKER_PROPORTIONAL), (Figure.CHILD, Figure.CHILD_PROPORTIONAL)
"""What is told of each."""
OF_UNCOMPILED = Figure.FIRST_PACKET, Figure.READY, Figure.PROCESSOR


class Row(NamedTuple):
    """What was measured of one figure."""

    subject: str
    figure: Figure
    ours: list[float]
    its: list[float]

    @property
    def ratio(self) -> float | None:
        """Our median as a multiple of its, unless that is too little to be measured."""
        return median(self.ours) / its if self.ours and self.its and (its := median(self.its)) else None


class Role(NamedTuple):
    """How a role is started.

    @ivar module: of our command.
    @ivar its: the C program.
    @ivar text: what stands in the file; C{None}: ours has it all on its command line, and the C program, which stays
        in the foreground, is told nothing.
    """

    module: str
    its: str
    text: str | None
    visitor: type[Visitor]


class Task(NamedTuple):
    """A command that does something and ends."""

    module: str
    its: str
    words: tuple[str, ...]


FILE = "FILE"
ROLES = {
    "client": Role("miredo", "/usr/sbin/miredo", f"InterfaceName teredo\nServerAddress {THERE}\n", AtClient),
    "relay": Role("miredo", "/usr/sbin/miredo", "InterfaceName teredo\nRelayType cone\n", AtRelay),
    "server": Role("miredo_server", "/usr/sbin/miredo-server", f"ServerBindAddress {HERE}\n", AtServer),
    "mire": Role("teredo_mire", "/usr/bin/teredo-mire", None, AtMire),
}
UNCOMPILED = "server, nothing compiled"
"""Its first start where the installer has compiled nothing but the standard library is, as it is everywhere; and each
start where the program may not write beside that."""
TASKS = {
    "miredo-checkconf FILE": Task("checkconf", "/usr/sbin/miredo-checkconf", (FILE,)),
    "miredo -V": Task("miredo", "/usr/sbin/miredo", ("-V",)),
}
SUBJECTS = (*ROLES, UNCOMPILED, *TASKS)


def our_command(module: str) -> list[str]:
    """What a console script of pip's does."""
    return [sys.executable, "-P", "-c", f"import sys; from miredo.commands.{module} import main; sys.exit(main())"]


def its_program(subject: str) -> str | None:
    """The C program that does the same, if there is one."""
    if subject == UNCOMPILED:
        return None
    return ROLES[subject].its if subject in ROLES else TASKS[subject].its


# ------------------------------------------------------------------ the measurements


class Bench:
    """Measures in the namespaces of this process.

    @param folder: an empty one, for all files; what Python compiles too, whatever else was compiled on this machine.
    @ivar samples: what was measured so far.
    """

    def __init__(self, folder: Path) -> None:
        self.samples: Samples = defaultdict(list)
        self._log = folder / "log"
        self._pid_file = folder / "pid"
        self._configuration = folder / "some.conf"
        self._compiled = folder / "compiled"
        self._environment = {
            "NOTIFY_SOCKET": str(folder / "notify"),
            "PYTHONPYCACHEPREFIX": str(self._compiled),
            "PYTHONDONTWRITEBYTECODE": "",
        }
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._manager.bind(str(folder / "notify"))

    def close(self) -> None:
        self._manager.close()

    def sample(self, subject: str, program: str, settling: float) -> None:
        """Measure one once, and keep it."""
        if subject == UNCOMPILED:
            self._forget_compiled()
        for figure, value in self.measure(subject, program, settling).items():
            self.samples[subject, figure, program].append(value)

    def measure(self, subject: str, program: str, settling: float) -> Figures:
        """Measure one once.

        @param settling: seconds after the start at which memory is looked at.
        @raise NotStarted: it could not be.
        """
        try:
            if subject in TASKS:
                return self._of_task(TASKS[subject], program)
            figures = self._of_role(ROLES["server" if subject == UNCOMPILED else subject], program, settling)
        except NotStarted as error:
            raise NotStarted(f"{subject}, {program}: {error}") from error
        return {each: figures[each] for each in OF_UNCOMPILED} if subject == UNCOMPILED else figures

    def _forget_compiled(self) -> None:
        places = {Path(miredo.__file__).parents[1], *map(Path, map(sysconfig.get_path, ("purelib", "platlib")))}
        for place in places:
            shutil.rmtree(self._compiled / place.relative_to("/"), ignore_errors=True)

    def _of_task(self, task: Task, program: str) -> Figures:
        self._configuration.write_text(ROLES["client"].text or "")
        words = our_command(task.module) if program == OURS else [task.its]
        words += [str(self._configuration) if word == FILE else word for word in task.words]
        with self._started(words) as started:
            return started.when({Figure.ENDED: started.has_ended})

    def _of_role(self, role: Role, program: str, settling: float) -> Figures:
        detaches = program == OURS or role.text is not None
        with ExitStack() as closing:
            visitor = role.visitor("there", THERE, HERE)
            closing.callback(visitor.close)
            self._forget()
            started = closing.enter_context(self._started(self._words(role, program)))
            signs = {Figure.FIRST_PACKET: _knocking(visitor)}
            if program == OURS:
                signs[Figure.READY] = self._is_ready
            if detaches:
                signs[Figure.PID_FILE] = lambda: started.is_in(self._pid_file)
                signs[Figure.RETURNED] = started.has_ended
            figures = started.when(signs)
            while started.age < settling:
                visitor.heard()
                time.sleep(0.01)
            figures[Figure.PROCESSOR] = started.processor()
            return figures | _memory(started.family(), program)

    def _words(self, role: Role, program: str) -> list[str]:
        words = our_command(role.module) if program == OURS else [role.its]
        if role.text is None:
            return [*words, "-p", str(self._pid_file), HERE] if program == OURS else words
        self._configuration.write_text(role.text)
        return [*words, "-c", str(self._configuration), "-p", str(self._pid_file)]

    def _forget(self) -> None:
        """What those before have told and left."""
        self._pid_file.unlink(missing_ok=True)
        while self._told():
            pass

    def _is_ready(self) -> bool:
        return b"READY=1" in self._told().split(b"\n")

    def _told(self) -> bytes:
        try:
            return self._manager.recv(LONGEST)
        except BlockingIOError:
            return b""

    @contextmanager
    def _started(self, words: list[str]) -> Iterator[Started]:
        with entered("here"):
            started = Started(words, self._log, self._environment)
        try:
            yield started
        finally:
            started.stop()


def _knocking(visitor: Visitor) -> Callable[[], bool]:
    """Whether a packet has come to who knocks."""
    knocked = -KNOCKING

    def has_come() -> bool:
        nonlocal knocked
        if time.monotonic() - knocked >= KNOCKING:
            knocked = time.monotonic()
            visitor.knock()
        return visitor.heard()

    return has_come


def _memory(family: list[int], program: str) -> Figures:
    """Of all processes together, and of ours one by one."""
    memory = [one for one in map(memory_of, family) if one is not None]
    figures = {
        Figure.RESIDENT: sum(one.resident for one in memory),
        Figure.PROPORTIONAL: sum(one.proportional for one in memory),
    }
    if program == OURS and len(memory) == len(OUR_PROCESSES):
        for (resident, proportional), one in zip(OUR_PROCESSES, memory, strict=True):
            figures |= {resident: one.resident, proportional: one.proportional}
    return figures


@contextmanager
def network() -> Iterator[None]:
    """The nodes of L{NEIGHBOURS}. The reactor may be imported only now, in the namespaces; it never runs."""
    from twisted.internet import reactor
    from twisted.internet.interfaces import IReactorFDSet

    from miredo.kernel.clock import BoottimeClock
    from miredo.kernel.endpoints import KernelEndpoints
    from miredo.lab.building import Laboratory

    descriptors = IReactorFDSet(reactor)
    laboratory = Laboratory(
        NEIGHBOURS, lambda node: KernelEndpoints(node, descriptors), BoottimeClock(descriptors), os.urandom
    )
    laboratory.build({})
    try:
        end = time.monotonic() + NETWORK_PATIENCE
        while not laboratory.is_ready:
            if time.monotonic() > end:
                raise NotStarted(f"the network is not there after {NETWORK_PATIENCE:g} s")
            time.sleep(0.01)
        yield
    finally:
        laboratory.close()


# ------------------------------------------------------------------ the command


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    arguments.add_argument("--runs", type=int, default=RUNS, metavar="N", help=f"of each; usually {RUNS}")
    arguments.add_argument("--of", action="append", choices=SUBJECTS, help="only this one (repeatable)")
    arguments.add_argument("--program", choices=(OURS, ITS), help="only this one")
    arguments.add_argument(
        "--settling", type=float, default=SETTLING, metavar="SECONDS", help=f"before memory is looked at; {SETTLING:g}"
    )
    arguments.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(options: argparse.Namespace) -> int:
    """Measure and tell; 0 unless it could not be measured. No reactor may have been imported yet."""
    subjects = [each for each in SUBJECTS if not options.of or each in options.of]
    theirs = [] if options.program == OURS else there_are(subjects)
    wanted = [(subject, ITS) for subject in theirs]
    wanted += [(subject, OURS) for subject in subjects if options.program != ITS]
    wanted.sort(key=lambda one: SUBJECTS.index(one[0]))  # each beside its like
    try:
        enter_lab()
        end_on_sigterm()
        go_first()
        rows = rows_of(measured(wanted, options.runs, options.settling))
    except (NoNamespaces, NotStarted, OSError) as error:
        print(f"start: {error}", file=sys.stderr)
        return 1
    say(json.dumps(as_json(rows), indent=1) if options.json else as_text(rows))
    return 0


def there_are(subjects: Sequence[str]) -> list[str]:
    """Those that the C programs can be measured at here; if not all, says why."""
    programs = {subject: its for subject in subjects if (its := its_program(subject)) is not None}
    if programs and os.geteuid() != 0:
        print("start: the C programs become users of their own, which needs root", file=sys.stderr)
        return []
    there = {subject: os.access(its, os.X_OK) for subject, its in programs.items()}
    if missing := sorted({programs[subject] for subject in there if not there[subject]}):
        cure = "sudo apt-get install miredo miredo-server"
        print(f"start: there is no {', '.join(missing)}; cure: {cure}", file=sys.stderr)
    return [subject for subject in there if there[subject]]


def measured(wanted: Sequence[tuple[str, str]], runs: int, settling: float) -> Samples:
    """Measure so often, all in turn.

    @param wanted: what is started, and whose program.
    @raise NotStarted: something did not do what it was started for.
    """
    with TemporaryDirectory() as name, network():
        folder = Path(name)
        folder.chmod(0o755)
        bench = Bench(folder)
        try:
            for subject in {subject for subject, program in wanted if program == OURS}:
                bench.measure(subject, OURS, 0.0)  # from here on all of it is compiled
            for number in range(runs):
                print(f"start: run {number + 1} of {runs}", file=sys.stderr, flush=True)
                for subject, program in wanted:
                    bench.sample(subject, program, settling)
        finally:
            bench.close()
    return bench.samples


def rows_of(samples: Samples) -> list[Row]:
    """A row for each figure that there is of what was started."""
    rows = [
        Row(subject, figure, samples.get((subject, figure, OURS), []), samples.get((subject, figure, ITS), []))
        for subject in SUBJECTS
        for figure in Figure
    ]
    return [row for row in rows if row.ours or row.its]


def as_text(rows: list[Row]) -> str:
    """A table: the median of each figure, and between which values the others were."""
    lines = [f"{'median (least to most)':<42} {OURS:>24} {ITS:>24} {'ratio':>6}"]
    subject = ""
    for row in rows:
        if row.subject != subject:
            subject = row.subject
            lines.append(subject)
        ratio = "" if row.ratio is None else f"{row.ratio:.0f}"
        lines.append(f"  {row.figure:<40} {_shown(row.ours):>24} {_shown(row.its):>24} {ratio:>6}".rstrip())
    return "\n".join(lines)


def as_json(rows: list[Row]) -> list[dict[str, object]]:
    """An object a row."""
    return [
        {
            "of": row.subject,
            "figure": row.figure.name.lower(),
            **{
                name: {"values": [round(value, 4) for value in values], "median": round(median(values), 4)}
                for name, values in (("ours", row.ours), ("c-miredo", row.its))
                if values
            },
            "ratio": None if row.ratio is None else round(row.ratio, 1),
        }
        for row in rows
    ]


def _shown(values: list[float]) -> str:
    if not values:
        return ""
    digits = 3 if median(values) < 1 else 2
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
