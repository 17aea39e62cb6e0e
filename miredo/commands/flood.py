# SPDX-License-Identifier: MIT
"""What a relay does under a flood of packets for Teredo clients that are not there, on real packets.

Ours, as the program that C{twistd} runs, and Debian's C miredo where it is installed, under the same flood: first at
the rate R, half of what ours can read, then as fast as one process can write. Meanwhile clients that the relay knows
ping a native host through it, and new clients are pinged by that host.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

from miredo.address.endpoint import parse_ipv6
from miredo.commands.daemons import Daemon, end_on_sigterm, go_first, packets_read, wait_for_interface
from miredo.commands.output import say
from miredo.kernel.userns import NoNamespaces, enter_lab
from miredo.lab.flooding import NUMBERS, Flood
from miredo.lab.population import Client, Population
from miredo.lab.topology import End, Route, Topology, Wire

NEIGHBOURS = Topology(
    nodes=("relay", "far"),
    wires=(
        Wire(End("far", "wan", ("192.0.2.30/28", "192.0.2.18/28")), End("relay", "wan", ("192.0.2.17/28",))),
        Wire(End("far", "six", ("2001:db8:2::2/64",)), End("relay", "six", ("2001:db8:2::1/64",))),
    ),
    routes=(
        Route("relay", "0.0.0.0/0", "wan", "192.0.2.30"),
        Route("far", "2001::/32", "six", "2001:db8:2::1"),
    ),
    nats=(),
    ipv4_routers=(),
    ipv6_routers=("relay",),
)
"""The relay, and everybody else."""
CLIENTS, SERVER, RELAY = "192.0.2.30", "192.0.2.18", ("192.0.2.17", 3545)
HOST = parse_ipv6("2001:db8:2::2")
FLOODER, TUNNEL = "flood", "teredo"
CONFIGURATION = (
    f"RelayType cone\nInterfaceName {TUNNEL}\nBindAddress {RELAY[0]}\nBindPort {RELAY[1]}\nSyslogFacility user\n"
)
MIREDO = "/usr/sbin/miredo"

LEAST_RATE = 20_000.0
"""Destinations a second: the least R. Ours."""
ESTABLISHED = 20
PING_INTERVAL = 0.05
"""Seconds between the pings of one established client."""
ARRIVING = 2.0
"""Seconds between new clients."""
START_PATIENCE, STRAGGLERS, RECOVERY_PATIENCE = 20.0, 3.0, 60.0
"""Seconds for a program to start, for late answers, and for service to come back."""
SAMPLING = 0.5
"""Seconds between looks at a program's memory."""


@dataclass
class Figures:
    """What one program did; times in seconds, rates in packets a second, memory in megabytes."""

    program: str
    rate: float = 0.0
    destinations: int = 0
    lost: int = 0
    pings: int = 0
    new_clients: int = 0
    new_unserved: int = 0
    slowest_new: float | None = None
    above_rate: float = 0.0
    above_read: float = 0.0
    memory_before: float = 0.0
    memory_at_rate: float = 0.0
    memory_above: float = 0.0
    memory_after: float = 0.0
    back: float | None = None
    new_back: float | None = None

    @property
    def loss(self) -> float:
        """Pings of established clients that were lost at R, as a share."""
        return self.lost / self.pings if self.pings else 0.0


@dataclass
class Findings:
    """Everything that was measured.

    @ivar capacity: packets to new destinations that our relay reads a second.
    """

    capacity: float
    figures: list[Figures]


@dataclass(frozen=True)
class Plan:
    """How much of everything.

    @ivar destinations: of the flood at R, in all.
    @ivar above: seconds of the flood above R.
    @ivar rate: R; C{None}: half of the capacity.
    @ivar capacity_seconds: how long our relay's capacity is measured.
    @ivar programs: what is measured; C{None}: ours, and C miredo where it is installed.
    @ivar sources: native networks that the floods come from, a /48 each.
    """

    destinations: int = 1_000_000
    above: float = 20.0
    rate: float | None = None
    sources: int = 65536
    capacity_seconds: float = 5.0
    programs: tuple[str, ...] | None = None


class _Stage:
    """The lab of a measurement: a relay's node and its neighbours, and the device that floods come from."""

    def __init__(self, folder: Path, sources: int) -> None:
        # The reactor may be imported only now, in the namespaces; it never runs.
        from twisted.internet import reactor
        from twisted.internet.interfaces import IReactorFDSet

        from miredo.kernel.clock import BoottimeClock
        from miredo.kernel.endpoints import KernelEndpoints
        from miredo.kernel.namespaces import entered
        from miredo.kernel.tun import create_device
        from miredo.lab.building import Laboratory

        descriptors = IReactorFDSet(reactor)
        self.folder = folder
        self._sources = sources
        self._next = 0
        self._laboratory = Laboratory(
            NEIGHBOURS, lambda node: KernelEndpoints(node, descriptors), BoottimeClock(descriptors), os.urandom
        )
        self._laboratory.build({})
        with entered("relay"):
            self._device = create_device(FLOODER)
        network = KernelEndpoints("relay", descriptors).network()
        index = network.index_of(FLOODER)
        if index is not None:
            network.set_up(index, 1500)
            network.add_address(index, parse_ipv6("2001:db8:f::2"), 64)
        network.close()

    def close(self) -> None:
        os.close(self._device)
        self._laboratory.close()

    def flood(self, rate: float, count: float = inf, seconds: float = inf) -> Flood:
        """Flood destinations that were never flooded before."""
        flood = Flood(self._device, self._next, self._sources, rate, count, seconds)
        # The numbers are enough for ten such floods; those of a flood without a count are not known before its end.
        self._next = (self._next + (int(count) if count != inf else NUMBERS // 4)) % (NUMBERS // 2)
        return flood

    def population(self) -> Population:
        return Population("far", CLIENTS, SERVER, RELAY, HOST)

    @contextmanager
    def relay(self, program: str) -> Iterator[Daemon]:
        """A relay that runs.

        @raise ChildProcessError: it does not start.
        """
        file = self.folder / f"{program}.conf"
        file.write_text(CONFIGURATION)
        daemon = Daemon("relay", _words(program, file), self.folder / f"{program}.log")
        try:
            if not wait_for_interface("relay", TUNNEL, START_PATIENCE):
                raise ChildProcessError(f"{program} does not start: {daemon.log.read_text().strip()}")
            yield daemon
        finally:
            daemon.stop()


def _words(program: str, file: Path) -> list[str]:
    pid = str(file.with_suffix(".pid"))
    if program == "miredo":
        return [MIREDO, "-f", "-c", str(file), "-p", pid]
    twistd = "from twisted.scripts.twistd import run; run()"
    return [sys.executable, "-c", twistd, "--nodaemon", "--pidfile=", "miredo", "-c", str(file)]


class _Watch:
    """Looks at a program's memory, and whether a flood has ended.

    @ivar peak: the most that was seen.
    """

    def __init__(self, daemon: Daemon, flood: Flood) -> None:
        self.peak = 0.0
        self._daemon = daemon
        self._ended = select.poll()
        self._ended.register(flood.descriptor, select.POLLIN | select.POLLHUP)
        self._looked = 0.0

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._looked >= SAMPLING:
            self._looked = now
            self.peak = max(self.peak, self._daemon.usage().resident)
        return bool(self._ended.poll(0))


def measure(plan: Plan, tell: Callable[[str], None] = lambda line: None) -> Findings:
    """Measure all that is installed, in namespaces of this process.

    @param tell: is told what is being done.
    @raise ChildProcessError: a program did not start.
    """
    with TemporaryDirectory() as name, ExitStack() as closing:
        folder = Path(name)
        folder.chmod(0o755)
        stage = _Stage(folder, plan.sources)
        closing.callback(stage.close)
        tell(f"what our relay can read, {plan.capacity_seconds:g} s")
        capacity = _capacity(stage, plan.capacity_seconds)
        rate = plan.rate or max(LEAST_RATE, capacity / 2)
        tell(f"it reads {capacity:,.0f} packets to new destinations a second, so R = {rate:,.0f}")
        programs = installed() if plan.programs is None else plan.programs
        return Findings(capacity, [_measured(stage, program, plan, rate, tell) for program in programs])


def installed() -> tuple[str, ...]:
    """The programs that can be measured here; C miredo becomes its own user, which needs root."""
    return ("ours", "miredo") if os.access(MIREDO, os.X_OK) and os.geteuid() == 0 else ("ours",)


def _capacity(stage: _Stage, seconds: float) -> float:
    with stage.relay("ours"):
        time.sleep(1.0)
        before = packets_read("relay", TUNNEL)
        sent = stage.flood(inf, seconds=seconds).end()
        return (packets_read("relay", TUNNEL) - before) / sent.seconds


def _measured(stage: _Stage, program: str, plan: Plan, rate: float, tell: Callable[[str], None]) -> Figures:
    figures = Figures(program)
    with stage.relay(program) as daemon, ExitStack() as closing:
        population = stage.population()
        closing.callback(population.close)
        if not population.establish(ESTABLISHED, START_PATIENCE):
            raise ChildProcessError(f"{program} serves nobody: {daemon.log.read_text().strip()}")
        figures.memory_before = daemon.usage().resident
        tell(f"{program}: a flood at R, {plan.destinations:,} destinations")
        _at_rate(stage, daemon, population, figures, plan, rate)
        tell(f"{program}: a flood above R, {plan.above:g} s")
        _above_rate(stage, daemon, population, figures, plan)
    return figures


def _at_rate(stage: _Stage, daemon: Daemon, population: Population, figures: Figures, plan: Plan, rate: float) -> None:
    flood = stage.flood(rate, count=plan.destinations)
    watch = _Watch(daemon, flood)
    population.run(inf, interval=PING_INTERVAL, arriving=ARRIVING, until=watch)
    sent = flood.end()
    population.run(STRAGGLERS)
    served = [arrival.served for arrival in population.arrivals]
    in_time = [each for each in served if each is not None]
    figures.rate, figures.destinations = sent.rate, sent.packets
    figures.pings = len(population.sent)
    figures.lost = sum(ping.answered is None for _, ping in population.sent)
    figures.new_clients, figures.new_unserved = len(served), len(served) - len(in_time)
    figures.slowest_new = max(in_time, default=None)
    figures.memory_at_rate = watch.peak


def _above_rate(stage: _Stage, daemon: Daemon, population: Population, figures: Figures, plan: Plan) -> None:
    before = packets_read("relay", TUNNEL)
    flood = stage.flood(inf, seconds=plan.above)
    watch = _Watch(daemon, flood)
    population.run(inf, interval=PING_INTERVAL, until=watch)
    sent = flood.end()
    figures.above_rate = sent.rate
    figures.above_read = (packets_read("relay", TUNNEL) - before) / sent.seconds
    population.sent.clear()
    population.arrivals.clear()
    ended = time.monotonic()
    arrival = population.arrive()

    def is_back() -> bool:
        return arrival.served is not None and len(_first_answers(population)) == ESTABLISHED

    population.run(RECOVERY_PATIENCE, interval=PING_INTERVAL, until=is_back)
    answers = _first_answers(population)
    figures.back = max(answers.values()) - ended if len(answers) == ESTABLISHED else None
    figures.new_back = arrival.served
    usage = daemon.usage()
    figures.memory_above = max(watch.peak, usage.resident)
    population.run(STRAGGLERS)
    figures.memory_after = daemon.usage().resident


def _first_answers(population: Population) -> dict[Client, float]:
    """When each established client had its first answer."""
    found: dict[Client, float] = {}
    for client, ping in population.sent:
        if ping.answered is not None:
            found[client] = min(ping.answered, found.get(client, inf))
    return found


# ------------------------------------------------------------------ the command


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    plan = Plan()
    arguments.add_argument(
        "--destinations", type=int, default=plan.destinations, metavar="N", help="of the flood at R; usually 1000000"
    )
    arguments.add_argument(
        "--above", type=float, default=plan.above, metavar="SECONDS", help="of the flood above R; usually 20"
    )
    arguments.add_argument(
        "--sources",
        type=int,
        default=plan.sources,
        metavar="N",
        help="networks that the floods come from; usually 65536",
    )
    arguments.add_argument("--rate", type=float, metavar="R", help="packets a second; usually half of what ours reads")
    arguments.add_argument("--json", action="store_true", help="an object on standard output")


def run(options: argparse.Namespace) -> int:
    """Measure and tell; 0 unless it could not be measured. No reactor may have been imported yet."""
    try:
        enter_lab()
        end_on_sigterm()
        go_first()
        findings = measure(
            Plan(options.destinations, options.above, options.rate, options.sources),
            lambda line: print(line, file=sys.stderr, flush=True),
        )
    except NoNamespaces as error:
        print(f"flood: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"flood: {error}", file=sys.stderr)
        return 1
    say(json.dumps(asdict(findings), indent=1) if options.json else as_text(findings))
    return 0


def as_text(findings: Findings) -> str:
    """A line a figure, a column a program."""
    rows: list[tuple[str, Callable[[Figures], str]]] = [
        ("", lambda one: one.program),
        ("flood at R, packets a second", lambda one: f"{one.rate:,.0f}"),
        ("  destinations", lambda one: f"{one.destinations:,}"),
        ("  established clients: pings lost", lambda one: f"{one.lost} of {one.pings} ({one.loss:.3%})"),
        ("  new clients served", lambda one: f"{one.new_clients - one.new_unserved} of {one.new_clients}"),
        ("  slowest of them, s", lambda one: _seconds(one.slowest_new)),
        ("flood above R, packets a second", lambda one: f"{one.above_rate:,.0f}"),
        ("  of which the relay read", lambda one: f"{one.above_read:,.0f}"),
        ("  established clients back after, s", lambda one: _seconds(one.back)),
        ("  a new client served after, s", lambda one: _seconds(one.new_back)),
        ("memory before, MB", lambda one: f"{one.memory_before:.0f}"),
        ("  most at R, MB", lambda one: f"{one.memory_at_rate:.0f}"),
        ("  most above R, MB", lambda one: f"{one.memory_above:.0f}"),
        ("  afterwards, MB", lambda one: f"{one.memory_after:.0f}"),
    ]
    head = f"Our relay reads {findings.capacity:,.0f} packets to new destinations a second."
    lines = [f"{name:<38}" + "".join(f"{show(one):>24}" for one in findings.figures) for name, show in rows]
    return "\n".join([head, "", *(line.rstrip() for line in lines)])


def _seconds(value: float | None) -> str:
    return f"not in {RECOVERY_PATIENCE:g}" if value is None else f"{value:.2f}"


def main(words: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(prog="./x bench flood", description=__doc__.split("\n\n")[0])
    add_arguments(arguments)
    return run(arguments.parse_args(words))


if __name__ == "__main__":
    sys.exit(main())
