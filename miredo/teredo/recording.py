# SPDX-License-Identifier: MIT
"""The flight recorder of a core: what went in, what came out, and the dice, so that a run can be had again.

A core is a function of its state, of what it is told, of the time it is told with it, and of its dice. All of these are
kept, in a ring of segments. A segment begins with the whole state, so that the run can be replayed from any segment
on; when the ring is full, the oldest segment goes. The bound holds but for a core whose state alone is larger than a
quarter of it: a segment is as large as its state at least, so that the states take half of the time and room at most.

A recording::

    "miredo recording 1\\n"
    chunk  {"kind", "role", "segments", "records"}     what is in it, and how many of it
    chunk  ("state", seconds, bytes)                   of L{snapshots.load_state}
    chunk  ("input", seconds, name, arguments, dice, outcome)   as often as there are records, and so on
    chunk  ("end", records)

A chunk is its length and its CRC-32, 4 bytes each, network order, and a value as in L{miredo.teredo.snapshots}. What
the core was built with is part of its state.

B{A recording is secret}: it holds the packets, and the nonces and keys that were drawn.
"""

from __future__ import annotations

import inspect
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from operator import attrgetter
from types import TracebackType
from typing import NamedTuple
from zlib import crc32

from miredo.address.endpoint import Dice
from miredo.address.scope import IPv4Scope
from miredo.teredo.client import Client
from miredo.teredo.relay import Relay
from miredo.teredo.server import Server
from miredo.teredo.snapshots import DamagedRecording, dump, load, load_state

Core = Client | Relay | Server

NAME = b"miredo recording "
"""What a file of any version begins with."""
MAGIC = NAME + b"1\n"
"""What a file begins with: the number is of the format."""
USUAL_LIMIT = 4 << 20
"""Bytes of the ring. Ours: some ten thousand small packets, or three thousand large ones."""
SEGMENTS = 4
"""Into how many the ring is divided, so that three quarters of it at least survive. Ours."""

_CHUNK = struct.Struct("!II")
_TUNNEL_INPUTS = ("start", "stop", "resumed", "expire", "receive", "transmit", "passes")
_PEERS_INPUTS = ("peers.seen", "peers.egress", "peers.ingress")
INPUTS: dict[str, tuple[str, ...]] = {
    "client": (
        *_TUNNEL_INPUTS,
        *_PEERS_INPUTS,
        "unreachable",
        "receive_on",
        "discovered",
        "attached",
        "qualification.use_servers",
        "_scope.attached",
    ),
    "relay": (*_TUNNEL_INPUTS, *_PEERS_INPUTS, "serve", "_scope.attached"),
    "server": ("receive", "_scope.attached"),
}
"""Everything that changes a core from outside, as attributes of the core."""


class Raised(NamedTuple):
    """An input ended in an error of the core."""

    error: str
    text: str

    @classmethod
    def by(cls, error: BaseException) -> Raised:
        return cls(type(error).__name__, str(error))


class Input(NamedTuple):
    """One thing that a core was told, what its dice gave meanwhile, and what came of it: a list of actions mostly."""

    at: float
    name: str
    arguments: tuple[object, ...]
    dice: tuple[bytes, ...]
    outcome: object


# ------------------------------------------------------------------ recording


@dataclass
class _Segment:
    state: bytes
    inputs: list[bytes] = field(default_factory=list)
    size: int = 0


class Recorder:
    """Records one core.

    The core stays the very object that it is: its inputs are replaced on it, one by one, so whoever holds it needs to
    know nothing of the recorder, and a core that is not recorded pays nothing.

    @param role: a name for people.
    @param now: seconds, for the inputs that bring no time along.
    @param failed: is called when an error escapes from the core, which was recorded.
    @ivar begun: whether the core was told anything but to stop.
    """

    def __init__(
        self,
        role: str,
        dice: Dice,
        now: Callable[[], float],
        *,
        limit: int = USUAL_LIMIT,
        failed: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self.role = role
        self.begun = False
        self._now = now
        self._limit = limit
        self._failed = failed
        self._kind = ""
        self._core: Core | None = None
        self._segments: deque[_Segment] = deque()
        self._drawn: list[bytes] | None = None  # by the input that is under way
        self._roll = dice

    def dice(self, count: int) -> bytes:
        """What the core has to be built with in the place of its dice."""
        rolled = self._roll(count)
        if self._drawn is not None:
            self._drawn.append(rolled)
        return rolled

    def watch(self, core: Core) -> None:
        """Record this core from now on."""
        self._kind, self._core = type(core).__name__.lower(), core
        for name in INPUTS[self._kind]:
            owner, method = _owner(core, name)
            setattr(owner, method, self._recorded(name, getattr(owner, method)))

    def _recorded(self, name: str, method: Callable[..., object]) -> Callable[..., object]:
        @wraps(method)
        def recorded(*arguments: object, **keywords: object) -> object:
            if self._drawn is not None:  # the core calls itself: part of the input under way
                return method(*arguments, **keywords)
            if keywords:
                arguments = inspect.signature(method).bind(*arguments, **keywords).args
            self._turn()
            self._drawn = []
            try:
                outcome = method(*arguments)
            except BaseException as error:
                self._keep(name, arguments, Raised.by(error))
                self._failed(error)
                raise
            self._keep(name, arguments, outcome)
            return outcome

        return recorded

    def _turn(self) -> None:
        """Begin a segment if the last one is full, and drop what is more than the limit."""
        last = self._segments[-1] if self._segments else None
        if last is None or last.size - len(last.state) >= max(self._limit // SEGMENTS, len(last.state)):
            state = _chunk(("state", float(self._now()), dump(self._core)))
            self._segments.append(_Segment(state, size=len(state)))
        while len(self._segments) > 1 and self.size > self._limit:
            self._segments.popleft()

    def _keep(self, name: str, arguments: tuple[object, ...], outcome: object) -> None:
        drawn, self._drawn = tuple(self._drawn or ()), None
        self.begun = self.begun or name != "stop"
        kept = ("raised", *outcome) if isinstance(outcome, Raised) else outcome
        chunk = _chunk(("input", float(self._now()), name, arguments, drawn, kept))
        self._segments[-1].inputs.append(chunk)
        self._segments[-1].size += len(chunk)

    @property
    def size(self) -> int:
        """Bytes kept."""
        return sum(segment.size for segment in self._segments)

    def contents(self) -> bytes:
        """The recording as it is now."""
        records = sum(len(segment.inputs) for segment in self._segments)
        head = {"kind": self._kind, "role": self.role, "segments": len(self._segments), "records": records}
        parts = [MAGIC, _chunk(head)]
        for segment in self._segments:
            parts += [segment.state, *segment.inputs]
        return b"".join([*parts, _chunk(("end", records))])


def _owner(core: Core, name: str) -> tuple[object, str]:
    """The object that has an input, and the name of the method there."""
    path, _, method = name.rpartition(".")
    return (attrgetter(path)(core) if path else core), method


def _chunk(value: object) -> bytes:
    octets = dump(value)
    return _CHUNK.pack(len(octets), crc32(octets)) + octets


# ------------------------------------------------------------------ reading


@dataclass(frozen=True)
class Recording:
    """What a file holds: the state that the first input found, and the inputs.

    @ivar kind: C{client}, C{relay} or C{server}.
    """

    kind: str
    role: str
    state: bytes
    inputs: tuple[Input, ...]


def parse_recording(data: bytes) -> Recording:
    """Read a whole file.

    @raise DamagedRecording: it is none, or not as it was written.
    """
    if not data:
        raise DamagedRecording("it is empty: it is written when the role ends")
    if not data.startswith(MAGIC):
        raise DamagedRecording("it does not begin as a recording of this version does")
    chunks = _chunks(data, len(MAGIC))
    kind, role, segments, records = _head(next(chunks, None))
    states, inputs = [], []
    for chunk in chunks:
        match chunk:
            case ("state", float(), bytes(state)):
                states.append(state)
            case ("input", float(at), str(name), tuple(arguments), tuple(drawn), outcome) if name in INPUTS[kind]:
                inputs.append(Input(at, name, arguments, _drawn(drawn), _outcome(outcome)))
            case ("end", int(number)) if number == records == len(inputs) and len(states) == segments:
                break
            case _:
                raise DamagedRecording("it holds something else than it should")
    else:
        raise DamagedRecording("its end is missing")
    for _ in chunks:
        raise DamagedRecording("there is something behind its end")
    return Recording(kind, role, states[0] if states else b"", tuple(inputs))


def _chunks(data: bytes, at: int) -> Iterator[object]:
    while at < len(data):
        if len(data) - at < _CHUNK.size:
            raise DamagedRecording("it is cut short")
        length, checksum = _CHUNK.unpack_from(data, at)
        at += _CHUNK.size
        octets = data[at : at + length]
        at += length
        if len(octets) < length:
            raise DamagedRecording("it is cut short")
        if crc32(octets) != checksum:
            raise DamagedRecording(f"it is damaged before byte {at}")
        yield load(octets)


def _head(head: object) -> tuple[str, str, int, int]:
    match head:
        case {"kind": str(kind), "role": str(role), "segments": int(segments), "records": int(records)}:
            if kind in INPUTS:
                return kind, role, segments, records
    raise DamagedRecording("it does not say what was recorded")


def _drawn(drawn: tuple[object, ...]) -> tuple[bytes, ...]:
    octets = tuple(one for one in drawn if isinstance(one, bytes))
    if len(octets) < len(drawn):
        raise DamagedRecording("dice give bytes")
    return octets


def _outcome(outcome: object) -> object:
    match outcome:
        case ("raised", str(error), str(text)):
            return Raised(error, text)
        case _:
            return outcome


# ------------------------------------------------------------------ replaying


class Replayed(NamedTuple):
    """An input that was given to a core again, and what came of it now.

    @ivar difference: what is not as it was; None if all is.
    """

    recorded: Input
    outcome: object
    difference: str | None


class _Dice:
    """Gives again what was recorded, and zeros where that does not fit.

    @ivar wrong: the first time that it did not fit.
    """

    def __init__(self) -> None:
        self._left: deque[bytes] = deque()
        self.wrong: str | None = None

    def give(self, throws: tuple[bytes, ...]) -> None:
        """What the next input has."""
        self._left = deque(throws)

    def __call__(self, count: int) -> bytes:
        if self._left and len(self._left[0]) == count:
            return self._left.popleft()
        had = f"then gave {len(self._left.popleft())}" if self._left else "were not asked then"
        self.wrong = self.wrong or f"the dice are asked for {count} bytes, and {had}"
        return bytes(count)

    @property
    def difference(self) -> str | None:
        if self._left and self.wrong is None:
            return f"the dice were asked then, and are not now: {len(self._left)} of the throws are left"
        return self.wrong


class _Attempt:
    """Whatever error a core ends in is what came of the input."""

    error: Exception | None = None

    def __enter__(self) -> _Attempt:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        if isinstance(error, Exception):
            self.error = error
            return True
        return False


def replay(recording: Recording) -> Iterator[Replayed]:
    """Tell a core all that was recorded; it ends after the first difference.

    @raise DamagedRecording: the state is not one of this kind of core.
    """
    dice = _Dice()
    core = _fresh(recording.kind, dice)
    if recording.inputs:
        load_state(recording.state, core)
    for each in recording.inputs:
        dice.give(each.dice)
        outcome: object = None
        with _Attempt() as attempt:
            owner, method = _owner(core, each.name)
            outcome = getattr(owner, method)(*each.arguments)
        now = Raised.by(attempt.error) if attempt.error else outcome
        difference = dice.difference or _difference(each.outcome, now)
        yield Replayed(each, now, difference)
        if difference is not None:
            return


def _difference(then: object, now: object) -> str | None:
    """What is not alike; equality would not tell one kind of action from another, since they are tuples."""
    return None if repr(then) == repr(now) else "what came of it is not what came of it then"


def _fresh(kind: str, dice: Dice) -> Core:
    """A core of a kind, whose state is going to be replaced whole."""
    if kind == "client":
        return Client([], IPv4Scope(), dice)
    if kind == "relay":
        return Relay(IPv4Scope(), dice)
    return Server((bytes(4), bytes(4)), IPv4Scope())
