# SPDX-License-Identifier: MIT
"""Which first packet gets through which NAT, at which delay: the cold pings of many labs, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from miredo.lab.fronts import NO_NAT, Front, KernelNat
from miredo.lab.links import Link
from miredo.lab.nat import FAMILIAR, KINDS, LINUX_MASQUERADE, NatBehaviour
from miredo.lab.plan import Scenario

DELAYS = (0.0, 0.04, 0.15)
"""Seconds each way on every link: none, a country's, a bad satellite's."""
PAIRED: tuple[Front, ...] = (
    NO_NAT,
    FAMILIAR["cone"],
    FAMILIAR["address-restricted"],
    FAMILIAR["port-restricted"],
    LINUX_MASQUERADE,
)
"""What is in front of clients that reach each other: RFC 4380 promises all but the last, C{BubbleTTL} that one."""
KERNEL_PAIRED: tuple[Front, ...] = (
    NO_NAT,
    KernelNat.CONE,
    KernelNat.ADDRESS_RESTRICTED,
    KernelNat.MASQUERADE_FILTERED,
    KernelNat.MASQUERADE,
)
"""The same of the kernel's."""


class Way(StrEnum):
    """Whose first packet it is; the value is the key of L{miredo.lab.report.Report.as_json} that has its time."""

    TO_HOST = "first_ping_s"
    FROM_HOST = "host_to_client_s"
    BETWEEN_CLIENTS = "client_to_client_s"


@dataclass(frozen=True, slots=True)
class Trial:
    """One cold ping, in a lab of its own."""

    scenario: Scenario
    way: Way

    def words(self) -> list[str]:
        """What to tell C{./x demo}."""
        scenario = self.scenario
        words = ["--nat", str(scenario.nat), "--peer-nat", str(scenario.peer_nat)]
        words += ["--delay", f"{scenario.link.delay * 1e3:g}"]
        return [*words, "--host-first"] if scenario.host_first else words


Results = Mapping[Trial, float | None]
"""The seconds that each ping took; C{None} if nothing came back."""


def trials(delays: Sequence[float]) -> list[Trial]:
    """Both ways between a native host and a client behind every kind of NAT, and every pair of L{PAIRED}."""
    links = [Link(delay=delay) for delay in delays]
    native = [
        Trial(Scenario(nat=kind, link=link, host_first=way is Way.FROM_HOST), way)
        for link, kind, way in product(links, KINDS, (Way.TO_HOST, Way.FROM_HOST))
    ]
    return native + _pairs(PAIRED, delays)


def kernel_trials(delays: Sequence[float]) -> list[Trial]:
    """Every pair of L{KERNEL_PAIRED}."""
    return _pairs(KERNEL_PAIRED, delays)


def _pairs(fronts: Sequence[Front], delays: Sequence[float]) -> list[Trial]:
    return [
        Trial(Scenario(left, right, Link(delay=delay)), Way.BETWEEN_CLIENTS)
        for delay, left, right in product(delays, fronts, fronts)
    ]


def as_text(results: Results) -> str:
    """The tables of both kinds of ping, if there were any; milliseconds."""
    links = list(dict.fromkeys(trial.scenario.link for trial in results))
    native = [trial for trial in results if trial.way is not Way.BETWEEN_CLIENTS]
    pairs = [trial for trial in results if trial.way is Way.BETWEEN_CLIENTS]
    delays = [f"{link.delay * 1e3:g} ms" for link in links]
    lines = []
    if native:
        lines.append(_row("every link, each way", delays, wide=True))
        lines.append(_row("NAT in front of the client", ["to host", "from host"] * len(links)))
    lines += [
        _row(str(kind), [_ms(results[trial]) for trial in native if trial.scenario.nat == kind])
        for kind in dict.fromkeys(trial.scenario.nat for trial in native)
    ]
    if native and pairs:
        lines.append("")
    if pairs:
        lines.append(_row("client-a -> client-b, direct", delays))
    for ends in dict.fromkeys((trial.scenario.nat, trial.scenario.peer_nat) for trial in pairs):
        mine = [trial for trial in pairs if (trial.scenario.nat, trial.scenario.peer_nat) == ends]
        lines.append(_row(" -> ".join(map(_name, ends)), [_ms(results[trial]) for trial in mine]))
    answered = sum(seconds is not None for seconds in results.values())
    return "\n".join([*lines, "", f"{answered} of {len(results)} first packets were answered"])


def as_json(results: Results) -> list[dict[str, object]]:
    """An object for each ping; the keys are public and stay."""
    return [
        {
            "from": {Way.FROM_HOST: "host"}.get(trial.way, "client-a"),
            "to": {Way.TO_HOST: "host", Way.FROM_HOST: "client-a"}.get(trial.way, "client-b"),
            "nat": str(trial.scenario.nat),
            "peer_nat": str(trial.scenario.peer_nat) if trial.way is Way.BETWEEN_CLIENTS else None,
            "delay_ms": round(trial.scenario.link.delay * 1e3, 6),
            "rtt_ms": None if seconds is None else round(seconds * 1e3, 3),
        }
        for trial, seconds in results.items()
    ]


_NAMES, _CELL = 56, 11
_FAMILIAR = {FAMILIAR[name]: name for name in ("cone", "address-restricted", "port-restricted")}


def _name(front: Front) -> str:
    """As short as it can be."""
    return _FAMILIAR.get(front, str(front)) if isinstance(front, NatBehaviour) else str(front)


def _row(name: str, cells: Sequence[str], *, wide: bool = False) -> str:
    width = 2 * _CELL if wide else _CELL
    return f"{name:{_NAMES}}" + "".join(f"{cell:>{width}}" for cell in cells)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.1f}"
