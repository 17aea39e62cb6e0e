# SPDX-License-Identifier: MIT
"""What a run of the demonstration found out, for a person and for a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from miredo.address.endpoint import show_endpoint
from miredo.lab.ladder import Step, as_json, as_mermaid, render
from miredo.lab.plan import Scenario
from miredo.teredo.actions import Filtering, Mapping, NatObserved

COLUMNS = ("client-a", "server", "relay", "host")
"""The nodes of the drawing, from left to right."""
LONGEST_LADDER = 20
"""Steps that are drawn; all of them are in the JSON."""


@dataclass(slots=True)
class Report:
    """One run. Times in seconds; a time that is C{None} never came."""

    simulated: bool
    scenario: Scenario
    nodes: dict[str, list[str]] = field(default_factory=dict)
    mapping: Mapping = Mapping.UNKNOWN
    filtering: Filtering = Filtering.NOT_MEASURED
    mapped: str | None = None
    port_preserved: bool | None = None
    same_address: bool | None = None
    qualified: float | None = None
    first_ping: float | None = None
    rtts: list[float | None] = field(default_factory=list)
    back_ping: float | None = None
    peer_ping: float | None = None
    steps: list[Step] = field(default_factory=list)
    failure: str | None = None

    @property
    def ok(self) -> bool:
        """The client qualified, the native host answered each of its pings, and it each of the native host's."""
        answered = None not in (self.first_ping, self.back_ping, *self.rtts)
        return self.failure is None and self.qualified is not None and answered

    def as_json(self) -> dict[str, object]:
        """One object; the keys are public and stay."""
        rtts = [round(rtt * 1000, 3) for rtt in self.rtts if rtt is not None]
        return {
            "ok": self.ok,
            "failure": self.failure,
            "simulated": self.simulated,
            "qualified_s": _rounded(self.qualified),
            "first_ping_s": _rounded(self.first_ping),
            "rtt_ms": {"min": min(rtts), "mean": round(sum(rtts) / len(rtts), 3), "max": max(rtts)} if rtts else None,
            "pings": {"sent": len(self.rtts), "answered": len(rtts)},
            "host_to_client_s": _rounded(self.back_ping),
            "client_to_client_s": _rounded(self.peer_ping),
            "nat": {
                "mapping": self.mapping.value,
                "filtering": self.filtering.value,
                "mapped": self.mapped,
                "port_preserved": self.port_preserved,
                "same_address": self.same_address,
                "is": str(self.scenario.nat),
            },
            "peer_nat": str(self.scenario.peer_nat),
            "host_first": self.scenario.host_first,
            "link": str(self.scenario.link),
            "nodes": self.nodes,
            "ladder": as_json(self.steps),
        }

    def as_text(self, mermaid: bool = False) -> str:
        """A page for a terminal; its drawing as text, or as a Mermaid sequence diagram."""
        where = "in memory" if self.simulated else "on real packets"
        lines = [f"A Teredo Internet {where}", ""]
        width = max(map(len, self.nodes), default=0)
        lines += [f"  {name:{width}}  {', '.join(addresses)}" for name, addresses in self.nodes.items()]
        lines += ["", *self._results(), ""]
        shown = [step for step in self.steps if {step.sender, step.receiver} <= set(COLUMNS)][:LONGEST_LADDER]
        answers = [number for number, step in enumerate(shown, 1) if step.receiver == COLUMNS[0]]
        shown = shown[: answers[-1]] if answers else shown
        lines += [
            "Packets of client-a, up to the first pings:",
            "",
            as_mermaid(shown, COLUMNS) if mermaid else render(shown, COLUMNS),
            "",
        ]
        lines.append(
            "OK" if self.ok else f"FAILED: {self.failure or 'not every ping to and from the native host was answered'}"
        )
        return "\n".join(lines)

    def _results(self) -> list[str]:
        rtts = [rtt for rtt in self.rtts if rtt is not None]
        spread = f"{_ms(min(rtts))} / {_ms(sum(rtts) / len(rtts))} / {_ms(max(rtts))}" if rtts else "none"
        forth = [
            ("first ping to the native host", _ms(self.first_ping)),
            (f"{len(self.rtts)} more pings, min / mean / max", f"{spread} ({len(rtts)} answered)"),
        ]
        back = [("ping from the native host", _ms(self.back_ping))]
        rows: Sequence[tuple[str, str]] = (
            ("NAT in front of client-a", str(self.scenario.nat)),
            ("NAT in front of client-b", str(self.scenario.peer_nat)),
            ("every link, each way", str(self.scenario.link)),
            ("what client-a learned of its NAT", self._learned()),
            ("qualified", f"{_ms(self.qualified)} after start" if self.qualified is not None else "no"),
            *(back + forth if self.scenario.host_first else forth + back),
            ("ping client-a to client-b, direct", self._between_clients()),
        )
        width = max(len(name) for name, _ in rows)
        return [f"  {name:{width}}  {value}" for name, value in rows]

    def _between_clients(self) -> str:
        if self.peer_ping is None and self.qualified is not None:
            return "no answer (some pairs of NATs let none through)"
        return _ms(self.peer_ping)

    def _learned(self) -> str:
        port = {None: "", True: ", port preserved", False: ", port not preserved"}[self.port_preserved]
        pooling = ", other address for the other server" if self.same_address is False else ""
        return f"mapping {self.mapping.value}{port}{pooling}; filtering {self.filtering.value}"

    def observe(self, observed: NatObserved, local_port: int) -> None:
        """What the client learned of its NAT."""
        self.mapping, self.mapped = observed.mapping, show_endpoint(observed.mapped)
        self.filtering = observed.filtering
        self.port_preserved, self.same_address = observed.preserves(local_port), observed.same_address


def _ms(seconds: float | None) -> str:
    return "no answer" if seconds is None else f"{seconds * 1000:.1f} ms"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
