# SPDX-License-Identifier: MIT
"""C{./x demo}: a Teredo client behind a NAT qualifies and pings a native IPv6 host through a relay.

Everything is on this machine: network namespaces of this process, made for it and gone with it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import BinaryIO

from miredo.commands.output import say
from miredo.kernel.userns import NoNamespaces, enter_lab
from miredo.lab import kernelnat
from miredo.lab.fronts import Front, KernelNat, parse_front
from miredo.lab.links import Link
from miredo.lab.nat import BEHAVIOURS, FAMILIAR
from miredo.lab.plan import SIMULATED_DELAY, USUAL_NAT, Scenario
from miredo.lab.report import Report

LAB_FILE = Path(__file__).parents[2] / "etc" / "lab.conf"


_NATS = """\
The NATs, MAPPING/FILTERING in the words of RFC 4787:
{kinds}
or by a familiar name:
{names}
Any of these words may follow, in any order, each after a slash:
  preserving, sequential, random
                    which external port a new mapping gets; preserving is usual
  load=RATE         with sequential: so many foreign mappings a second
  hairpinning       the hosts inside reach each other's external endpoints
  pool=COUNT        so many external addresses; /paired (usual): one for each
                    host inside, /arbitrary: the destination's address decides
  lifetime=SECONDS  how long an idle session lives
  inbound-refresh   packets from outside keep a session alive too
such as: --nat symmetric/sequential/load=5, --nat cone/hairpinning/pool=4/arbitrary
Without any further word:
  none              the client has a public address
or a NAT of the kernel's (on real packets only; needs the program nft):
{kernel}
""".format(
    kernel="\n".join(f"  {kind}" for kind in KernelNat),
    kinds="\n".join(f"  {behaviour}" for behaviour in BEHAVIOURS),
    names="\n".join(
        f"  {name:<26} {'Linux: who sends first is answered from another port' if behaviour.masquerade else behaviour}"
        for name, behaviour in FAMILIAR.items()
    ),
)


KEPT = """\
The lab is up until Ctrl-C. Meanwhile, in another terminal:
  ./x lab ping client-a host
  ./x lab shell client-a          (its process is {process})"""

LONGEST_DELAY = 10_000
"""Milliseconds; nothing qualifies over a link that takes longer. Ours."""


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="./x demo",
        description="A Teredo Internet on this machine: a client behind a NAT qualifies with our server and pings a "
        "native IPv6 host through our relay.",
        epilog=_NATS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument(
        "--nat", type=_front, default=USUAL_NAT, metavar="NAT", help=f"see below; usually {USUAL_NAT}"
    )
    arguments.add_argument(
        "--peer-nat", type=_front, default=USUAL_NAT, metavar="NAT", help="the NAT in front of client-b"
    )
    arguments.add_argument("--host-first", action="store_true", help="the native host pings first, the client then")
    arguments.add_argument("--sim", action="store_true", help="in memory: no namespaces, no privileges, any system")
    links = arguments.add_argument_group("every link", "each way, between each node and its neighbour")
    links.add_argument(
        "--delay", type=_time, metavar="MS", help="milliseconds that a packet takes; usually 0, with --sim 10"
    )
    links.add_argument("--jitter", type=_time, metavar="MS", default=0.0, help="milliseconds more at most")
    links.add_argument("--loss", type=_share, metavar="PERCENT", default=0.0, help="packets that are lost")
    links.add_argument("--reorder", type=_share, metavar="PERCENT", default=0.0, help="packets that are overtaken")
    links.add_argument("--rate", type=_number, metavar="MBIT", default=0.0, help="megabits a second; 0: any number")
    arguments.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments.add_argument("--ladder", choices=("text", "mermaid"), default="text", help="how the packets are drawn")
    arguments.add_argument(
        "--pcap", type=Path, metavar="FILE", help="record the packets (pcapng), each where it arrives"
    )
    arguments.add_argument("--keep", action="store_true", help="leave the lab up until Ctrl-C; visit it with ./x lab")
    arguments.add_argument("--verbose", "-v", action="store_true", help="the roles' log on standard error")
    return arguments


def main(words: list[str] | None = None) -> int:
    """Run it; the exit status."""
    arguments = parser()
    options = arguments.parse_args(words)
    kernels = [front for front in (options.nat, options.peer_nat) if isinstance(front, KernelNat)]
    if options.sim and (impossible := _not_in_memory(options, kernels)):
        arguments.error(impossible)

    def show(report: Report) -> None:
        say(json.dumps(report.as_json(), indent=1) if options.json else report.as_text(options.ladder == "mermaid"))
        if options.keep and report.ok:
            print(KEPT.format(process=os.getpid()), file=sys.stderr)

    try:
        scenario = Scenario(options.nat, options.peer_nat, _link(options), options.host_first)
    except ValueError as error:
        arguments.error(str(error))
    if options.sim:
        from miredo.lab.simulated import run

        report = run(scenario)
    else:
        try:
            # Before the namespaces: /run is another one there.
            capture = options.pcap.open("wb") if options.pcap else None
        except OSError as error:
            arguments.error(f"--pcap {options.pcap}: {error.strerror}")
        try:
            if kernels:
                kernelnat.require_program()
            enter_lab()
        except NoNamespaces as refusal:
            return _refused(refusal, scenario, options.json)
        except OSError as error:
            return _refused(NoNamespaces(str(error.strerror), kernelnat.CURE), scenario, options.json)
        report = _live(scenario, capture, options.verbose, show if options.keep else None)
    if not options.keep or not report.ok:
        show(report)
    return 0 if report.ok else 1


def _not_in_memory(options: argparse.Namespace, kernels: list[KernelNat]) -> str | None:
    """What is asked for and needs real packets."""
    if options.pcap:
        return "--pcap records real packets, and --sim has none"
    if options.keep:
        return "--keep leaves namespaces up, and --sim has none"
    return f"{kernels[0]} is the kernel's NAT, and --sim has no kernel" if kernels else None


def _number(text: str) -> float:
    """A number from 0 on."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not (isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return abs(number)


def _time(text: str) -> float:
    """Milliseconds."""
    if (milliseconds := _number(text)) > LONGEST_DELAY:
        raise argparse.ArgumentTypeError(f"{text} ms is more than a link may take, {LONGEST_DELAY} ms")
    return milliseconds


def _share(text: str) -> float:
    """Percent."""
    if (percent := _number(text)) > 100:
        raise argparse.ArgumentTypeError(f"{text} is more than 100 percent")
    return percent


def _link(options: argparse.Namespace) -> Link:
    """What was asked for; in memory, where nothing takes time by itself, a usual delay unless told otherwise.

    @raise ValueError: a number that no link can have.
    """
    usual = SIMULATED_DELAY if options.sim else 0.0
    return Link(
        delay=usual if options.delay is None else options.delay / 1e3,
        jitter=options.jitter / 1e3,
        loss=options.loss / 1e2,
        reorder=options.reorder / 1e2,
        rate=options.rate * 1e6,
    )


def _live(
    scenario: Scenario,
    capture: BinaryIO | None,
    verbose: bool,
    keep: Callable[[Report], None] | None,
) -> Report:
    """On real packets; Twisted is imported only now, inside the namespaces."""
    from twisted.internet import reactor

    from miredo.config import ConfigError, load
    from miredo.lab.live import Demonstration
    from miredo.lab.logging import log_to_standard_error

    log_to_standard_error(verbose)
    try:
        configuration = load(LAB_FILE, strict=True)
    except ConfigError as error:
        raise SystemExit(str(error)) from error
    return Demonstration(reactor, scenario, configuration, capture).run(keep)


def _refused(refusal: NoNamespaces, scenario: Scenario, as_json: bool) -> int:
    """Say what is missing, the command that would allow it, and what works without."""
    if as_json:
        refused = Report(simulated=False, scenario=scenario, failure=refusal.reason)
        say(json.dumps({**refused.as_json(), "cure": refusal.cure}))
    print(f"demo: {refusal.reason}", file=sys.stderr)
    print(f"  to allow it:  {refusal.cure}", file=sys.stderr)
    if not isinstance(scenario.nat, KernelNat) and not isinstance(scenario.peer_nat, KernelNat):
        print("  or in memory: ./x demo --sim", file=sys.stderr)
    return 1


def _front(text: str) -> Front:
    try:
        return parse_front(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
