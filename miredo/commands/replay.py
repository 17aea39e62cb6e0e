# SPDX-License-Identifier: MIT
"""C{./x replay FILE}: what a core did, again, action for action, and where it does something else now.

The file comes from C{Record FILE} in a configuration, or from a simulated test that failed. The exit status is 0 if the
core does now what it did then, 1 if it does not, and 2 if the file cannot be replayed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from miredo.address.endpoint import show_endpoint, show_ipv4, show_ipv6
from miredo.commands.output import say
from miredo.lab.ladder import describe, describe_ipv6
from miredo.teredo.actions import SECONDARY, DeliverPacket, ForwardPacket, SendDatagram, SendError
from miredo.teredo.recording import Input, Raised, Recording, Replayed, parse_recording, replay
from miredo.teredo.snapshots import DamagedRecording

ALIKE, DIFFERENT, UNUSABLE = 0, 1, 2
"""The exit status."""
SHOWN = 120
"""Characters of a value that is shown as it is."""


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="./x replay",
        description="Run a recorded core again, and tell where it does something else now.",
        epilog="Exit status: 0 all actions alike, 1 a difference, 2 the file cannot be replayed.",
    )
    arguments.add_argument("file", type=Path, metavar="FILE", help="what Record FILE, or a failed test, has left")
    arguments.add_argument("--verbose", "-v", action="store_true", help="show every input and what came of it")
    return arguments


def main(words: list[str] | None = None) -> int:
    """Replay a file; the exit status."""
    options = parser().parse_args(words)
    try:
        recording = parse_recording(options.file.read_bytes())
        return _tell(recording, options.verbose)
    except OSError as error:
        print(f"replay: {options.file}: {error.strerror}", file=sys.stderr)
    except DamagedRecording as damage:
        print(f"replay: {options.file}: cannot be replayed: {damage}", file=sys.stderr)
    return UNUSABLE


def _tell(recording: Recording, verbose: bool) -> int:
    say(heading(recording))
    count = 0
    for again in replay(recording):
        count += 1
        if verbose or again.difference:
            say("\n".join(account(again)))
        if again.difference:
            say(f"input {count} of {len(recording.inputs)}: {again.difference}")
            return DIFFERENT
    say(f"replayed {count} inputs, all actions alike")
    return ALIKE


def heading(recording: Recording) -> str:
    """Who it was, when, and how often it was told what."""
    inputs = recording.inputs
    lines = [f"{_plain(recording.role)}: a {recording.kind}"]
    if inputs:
        lines[0] += f", {len(inputs)} inputs in {inputs[-1].at - inputs[0].at:.1f} s"
        names = Counter(each.name for each in inputs)
        lines.append("  " + ", ".join(f"{_spoken(name)} {count}" for name, count in names.most_common()))
    return "\n".join(lines)


def account(again: Replayed) -> Iterator[str]:
    """An input and what came of it; what came of it now too, if that is something else."""
    yield f"{again.recorded.at:14.3f}  {shown_input(again.recorded)}"
    outcome = list(shown_outcome(again.recorded.outcome))
    mark = "then" if again.difference else ""
    yield from (f"{mark:>14}    {line}" for line in outcome)
    if again.difference:
        yield from (f"{'now':>14}    {line}" for line in shown_outcome(again.outcome))


def shown_input(each: Input) -> str:
    """What the core was told."""
    match each.name, each.arguments:
        case (("receive" | "passes"), (bytes(datagram), bytes(outer), *_)) if len(outer) == 6:
            return f"{each.name} {describe(datagram)}, {len(datagram)} bytes, from {show_endpoint(outer)}"
        case "transmit", (bytes(packet), *_):
            return f"transmit {describe_ipv6(packet)}, {len(packet)} bytes"
        case (("start" | "stop" | "resumed" | "expire"), _):
            return each.name
        case _:
            return f"{_spoken(each.name)} {', '.join(map(_value, each.arguments))}".rstrip()


def shown_outcome(outcome: object) -> Iterator[str]:
    """What the core asked for, a line each."""
    match outcome:
        case Raised(error, text):
            yield f"ERROR {_plain(error)}: {_plain(text)}"
        case list():
            yield from map(_action, outcome)
        case None:
            pass
        case _:
            yield _value(outcome)


def _action(action: object) -> str:
    match action:
        case SendDatagram(bytes(payload), bytes(to), via, ttl) if len(to) == 6:
            origin = " from the secondary address" if via == SECONDARY else ""
            reach = "" if ttl is None else f", TTL {_value(ttl)}"
            return f"send {describe(payload)}, {len(payload)} bytes, to {show_endpoint(to)}{origin}{reach}"
        case DeliverPacket(bytes(packet)):
            return f"deliver {describe_ipv6(packet)}, {len(packet)} bytes"
        case ForwardPacket(bytes(packet), _):
            return f"forward {describe_ipv6(packet)}, {len(packet)} bytes"
        case SendError(bytes(message), bytes(to)) if len(to) == 16 and len(message) > 1:
            return f"error {message[0]}/{message[1]} to {show_ipv6(to)}"
        case tuple():
            fields: tuple[str, ...] = getattr(action, "_fields", ())
            values = [f"{name}={_value(value)}" for name, value in zip(fields, action, strict=False)]
            return f"{type(action).__name__} {', '.join(values)}".rstrip()
        case _:
            return _value(action)


def _value(value: object) -> str:
    """A value for people: addresses as such."""
    match value:
        case bytes() if len(value) == 4:
            return show_ipv4(value)
        case bytes() if len(value) == 6:
            return show_endpoint(value)
        case bytes() if len(value) == 16:
            return show_ipv6(value)
        case bytes():
            return _cut(value.hex())
        case list() | tuple():
            return _cut("[" + ", ".join(map(_value, value)) + "]")
        case str():
            return _plain(value)
        case Enum():
            return str(value.value)
        case _:
            return _cut(_plain(repr(value)))


def _spoken(name: str) -> str:
    return name.rpartition(".")[2]


def _plain(text: str) -> str:
    """Text of a file of unknown origin, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 2] + ".."


if __name__ == "__main__":
    sys.exit(main())
