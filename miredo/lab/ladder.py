# SPDX-License-Identifier: MIT
"""
The packets of a run, and a drawing of who sent what to whom::

          ms  client                  nat                 server
                 |                     |                     |
         0.0     |---------- Router Solicitation ----------->|
        41.2   Router Advertisement (origin 198.51.100.7:40000)
                 |<------------------------------------------|

A lifeline per node, a step per packet; the drawing is plain ASCII, so every terminal and every README shows it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Final, assert_never

from miredo.address.endpoint import show_endpoint
from miredo.wire.bubble import is_bubble
from miredo.wire.encapsulation import Encapsulated, parse_encapsulation
from miredo.wire.icmpv6 import (
    DestinationUnreachable,
    EchoReply,
    EchoRequest,
    ICMPv6Message,
    OtherICMPv6,
    PacketTooBig,
    RouterAdvertisement,
    RouterSolicitation,
    parse_icmpv6,
)
from miredo.wire.ipv6 import FRAGMENT, ICMPV6, TCP, UDP, next_header_of, parse_ipv6, upper_layer
from miredo.wire.reader import MalformedPacket
from miredo.wire.trailers import (
    AlternateAddressTrailer,
    DiscardPacket,
    NeighborDiscoveryTrailer,
    NonceTrailer,
    RandomPortTrailer,
    Trailer,
    parse_trailers,
)

WIDTH: Final = 100
"""Columns of a drawing at most, unless told otherwise."""

EXPIRED: Final = "TTL expired"
"""What is noted at a datagram that no router takes any further."""

_TIME: Final = 8
"""Columns of the time, in ms with one decimal."""

_NARROWEST: Final = 4
"""The least distance of two lifelines that an arrow fits between."""

_USUAL: Final = 12
"""The least distance of two lifelines where there is room."""

_AROUND_LABEL: Final = 6
"""What an arrow has more than its label: lifeline, head, and on each side a dash and a blank."""


@dataclass(frozen=True, slots=True)
class Step:
    """A packet on its way from one node to another, or what befell a node alone (sender and receiver are the same)."""

    at: float
    """Seconds since the start of the run."""
    sender: str
    receiver: str
    what: str
    note: str = ""
    """What else is to be said, such as C{lost}."""

    @property
    def label(self) -> str:
        """What is written along the arrow."""
        return f"{self.what} [{self.note}]" if self.note else self.what


def describe(datagram: bytes) -> str:
    """A short name for the content of a Teredo datagram, the payload of UDP; C{malformed} for what is none."""
    try:
        content = parse_encapsulation(datagram)
    except MalformedPacket:
        return "malformed"
    name, remarks = describe_ipv6(content.packet), _trailer_names(content)
    if content.origin is None:
        return _remarked(name, remarks)
    if is_bubble(content.packet):
        # RFC 4380 5.3.1: a server adds the origin when it forwards, so this one came the indirect way.
        return _remarked(f"{name} with origin", ["indirect", *remarks])
    return _remarked(name, [f"origin {show_endpoint(content.origin)}", *remarks])


def describe_ipv6(packet: bytes) -> str:
    """A short name for an IPv6 packet; C{malformed} for what is none."""
    try:
        whole, _ = parse_ipv6(packet)
        if is_bubble(packet):
            return "bubble"
        if next_header_of(packet) == FRAGMENT:
            return "fragment"
        kind, at = upper_layer(packet)
        if kind == ICMPV6:
            return _icmpv6_name(parse_icmpv6(whole._replace(next_header=kind, payload=packet[at:])))
    except MalformedPacket:
        return "malformed"
    return {TCP: "TCP", UDP: "UDP"}.get(kind, f"IPv6 protocol {kind}")


def render(steps: Iterable[Step], columns: Sequence[str], width: int = WIDTH) -> str:
    """
    Draw steps in the order given; consecutive ones that differ in time only are drawn as one.

    @param columns: the nodes from left to right. Those that steps name besides are drawn to the right of them.
    @param width: how wide the drawing may be; it takes more only if the arrows would not fit.
    """
    drawn = list(_folded(steps))
    nodes = list(dict.fromkeys([*columns, *(node for step in drawn for node in (step.sender, step.receiver))]))
    return _Drawing(nodes, drawn, width).draw() if nodes else ""


def as_mermaid(steps: Sequence[Step], columns: Sequence[str]) -> str:
    """The same as a Mermaid sequence diagram; a node's name is an alias, as Mermaid takes no dashes in identifiers."""
    names = list(dict.fromkeys([*columns, *(name for step in steps for name in (step.sender, step.receiver))]))
    alias = {name: f"n{number}" for number, name in enumerate(names)}
    lines = ["sequenceDiagram", *(f"    participant {alias[name]} as {name}" for name in names)]
    for step in steps:
        label = f"{step.at * 1000:.1f} ms {step.label}".replace(";", ",").replace("#", " ")
        if step.sender == step.receiver:
            lines.append(f"    Note over {alias[step.sender]}: {label}")
        else:
            arrow = "--x" if step.note in ("lost", "filtered", "refused", EXPIRED) else "->>"
            lines.append(f"    {alias[step.sender]}{arrow}{alias[step.receiver]}: {label}")
    return "\n".join(lines)


def as_json(steps: Iterable[Step]) -> list[dict[str, str | float]]:
    """The steps as objects with the names of L{Step}'s fields; times in seconds, rounded to microseconds."""
    return [asdict(replace(step, at=round(step.at, 6))) for step in steps]


class _Drawing:
    """
    A drawing of a certain width.

    @ivar x: the column of each node's lifeline.
    """

    def __init__(self, nodes: Sequence[str], steps: Sequence[Step], width: int) -> None:
        self.steps = steps
        self.width = width
        margin = _TIME + 2 + len(nodes[0]) // 2
        room = (width - margin - (len(nodes[-1]) + 1) // 2) // max(1, len(nodes) - 1)
        self.distance = max(_NARROWEST, min(room, self._wanted(nodes)))
        self.x = {node: margin + place * self.distance for place, node in enumerate(nodes)}

    def draw(self) -> str:
        """The heading, then every step."""
        lines = [self._heading(), self._lifelines(), *(line for step in self.steps for line in self._step(step))]
        return "\n".join(line.rstrip() for line in lines)

    def _wanted(self, nodes: Sequence[str]) -> int:
        """The distance at which no name is cut and each label fits onto its arrow."""
        place = {node: number for number, node in enumerate(nodes)}
        spans = ((step.label, abs(place[step.sender] - place[step.receiver])) for step in self.steps)
        on_arrows = [-(-(len(label) + _AROUND_LABEL) // span) for label, span in spans if span]
        return max(_USUAL, *(len(node) + 2 for node in nodes), *on_arrows)

    def _heading(self) -> str:
        line = "ms".rjust(_TIME)
        for node, x in self.x.items():
            name = node[: self.distance - 1] if len(self.x) > 1 else node
            line = _overlaid(line, x - len(name) // 2, name)
        return line

    def _lifelines(self, time: str = "") -> str:
        line = time.rjust(_TIME)
        for x in self.x.values():
            line = _overlaid(line, x, "|")
        return line

    def _step(self, step: Step) -> list[str]:
        time = f"{step.at * 1000:.1f}"
        left, right = sorted((self.x[step.sender], self.x[step.receiver]))
        label = _cut(step.label, self.width - _TIME - 2)
        if left == right:
            return [self._alone(time, left, label)]
        shaft = right - left - 2
        if len(label) + _AROUND_LABEL <= right - left:
            return [self._arrow(time, step, f" {label} ".center(shaft, "-"))]
        return [self._above(time, (left + right) // 2, label), self._arrow("", step, "-" * shaft)]

    def _alone(self, time: str, x: int, label: str) -> str:
        fits = x + 2 + len(label) <= self.width
        return self._written(time, x, f"* {label} ") if fits else self._written(time, x - len(label) - 2, f" {label} *")

    def _above(self, time: str, middle: int, label: str) -> str:
        return self._written(time, middle - (len(label) + 1) // 2, f" {label} ")

    def _written(self, time: str, start: int, text: str) -> str:
        """Text over the lifelines, moved to where it is within the width and beside the time."""
        return _overlaid(self._lifelines(time), max(_TIME + 1, min(start, self.width - len(text))), text)

    def _arrow(self, time: str, step: Step, shaft: str) -> str:
        rightwards = self.x[step.sender] < self.x[step.receiver]
        start = min(self.x[step.sender], self.x[step.receiver]) + 1
        return _overlaid(self._lifelines(time), start, f"{shaft}>" if rightwards else f"<{shaft}")


def _folded(steps: Iterable[Step]) -> Iterator[Step]:
    for first, same in groupby(steps, key=lambda step: replace(step, at=0.0)):
        alike = list(same)
        what = f"{first.what} x{len(alike)}" if len(alike) > 1 else first.what
        yield replace(first, at=alike[0].at, what=what)


def _overlaid(line: str, start: int, text: str) -> str:
    return line.ljust(start)[:start] + text + line[start + len(text) :]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(0, length - 2)] + ".."


def _remarked(name: str, remarks: Sequence[str]) -> str:
    return f"{name} ({', '.join(remarks)})" if remarks else name


def _trailer_names(content: Encapsulated) -> list[str]:
    try:
        return [_trailer_name(trailer) for trailer in parse_trailers(content.trailers)]
    except DiscardPacket:
        return ["discarded by its trailer"]


def _trailer_name(trailer: Trailer) -> str:
    match trailer:
        case NonceTrailer():
            return "nonce"
        case AlternateAddressTrailer():
            return "alternates"
        case NeighborDiscoveryTrailer(advertisement):
            return "neighbor advertisement" if advertisement else "neighbor solicitation"
        case RandomPortTrailer(port):
            return f"random port {port}"
        case other:
            assert_never(other)


def _icmpv6_name(message: ICMPv6Message) -> str:
    match message:
        case RouterSolicitation():
            return "Router Solicitation"
        case RouterAdvertisement():
            return "Router Advertisement"
        case EchoRequest():
            return "echo request"
        case EchoReply():
            return "echo reply"
        case DestinationUnreachable(code):
            return f"unreachable, code {code}"
        case PacketTooBig(mtu):
            return f"packet too big, MTU {mtu}"
        case OtherICMPv6(kind):
            return f"ICMPv6 type {kind}"
        case other:
            assert_never(other)
