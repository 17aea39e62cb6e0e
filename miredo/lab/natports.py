# SPDX-License-Identifier: MIT
"""The external ports and addresses of a NAT, and which of them a new mapping gets."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from miredo.address.endpoint import Dice, Endpoint, IPv4, ipv4_of
from miredo.lab.natbehaviour import POOL_STEP, Pooling, PortAssignment

WELL_KNOWN: Final = range(1, 1024)
"""The external ports for inside ports below 1024 (REQ-3 a)."""

UNPRIVILEGED: Final = range(1024, 65536)
"""The external ports for inside ports from 1024 on (REQ-3 a)."""

RANDOM_TRIES: Final = 16
"""How often a taken random port is rolled anew before the ports after it are tried in order; our number."""


def pool_of(external: IPv4, count: int) -> tuple[IPv4, ...]:
    """The external addresses of a NAT whose first is C{external}: L{POOL_STEP} apart, around within the last byte."""
    return tuple(external[:3] + bytes([(external[3] + POOL_STEP * each) % 256]) for each in range(count))


class Pool:
    """The external addresses, and whose each is; who gets which is decided by dice that are rolled once."""

    def __init__(self, addresses: tuple[IPv4, ...], pooling: Pooling, dice: Dice) -> None:
        self._addresses = addresses
        self._pooling = pooling
        self._key = dice(16) if len(addresses) > 1 else b""

    def of(self, inside: Endpoint, destination: Endpoint) -> IPv4:
        """The address for a new mapping (RFC 4787, 4.1)."""
        deciding = inside if self._pooling is Pooling.PAIRED else destination
        digest = blake2b(ipv4_of(deciding), digest_size=4, key=self._key).digest()
        return self._addresses[int.from_bytes(digest, "big") % len(self._addresses)]


def roll_port(ports: range, dice: Dice) -> int:
    """Any of them, free or not."""
    return ports[int.from_bytes(dice(4), "big") % len(ports)]


def random_port(ports: range, is_taken: Callable[[int], bool], dice: Dice) -> int | None:
    """A free port, C{None} if there is none."""
    port = ports[0]
    for _ in range(RANDOM_TRIES):
        port = roll_port(ports, dice)
        if not is_taken(port):
            return port
    return free_from(ports, port, is_taken)


def free_from(ports: range, start: int, is_taken: Callable[[int], bool]) -> int | None:
    """The first free port from C{start} on, from the range's end back to its beginning."""
    first = start - ports.start
    around = (ports[step % len(ports)] for step in range(first, first + len(ports)))
    return next((port for port in around if not is_taken(port)), None)


class Ports:
    """The ports of one range at one external address, and which of them are taken.

    @param load: foreign mappings a second, evenly spaced; they move the counter on and hold no port.
    """

    def __init__(self, ports: range, dice: Dice, load: float = 0.0) -> None:
        self._ports = ports
        self._dice = dice
        self._taken: set[int] = set()
        self._counter = roll_port(ports, dice)
        self._load = load
        self._phase = int.from_bytes(dice(4), "big") / 2**32 if load else 0.0
        self._foreign = 0

    def take(self, assignment: PortAssignment, wanted: int, now: float) -> int | None:
        """A port that was free, now taken; C{None} if all are taken."""
        if len(self._taken) == len(self._ports):
            return None
        match assignment:
            case PortAssignment.SEQUENTIAL:
                port = self._next(now)
            case PortAssignment.PRESERVING if wanted in self._ports and wanted not in self._taken:
                port = wanted
            case _:
                port = random_port(self._ports, self._taken.__contains__, self._dice)
        if port is not None:
            self._taken.add(port)
        return port

    def release(self, port: int) -> None:
        """The mapping that held C{port} is gone."""
        self._taken.remove(port)

    def _next(self, now: float) -> int | None:
        foreign = int(self._load * now + self._phase)
        port = free_from(self._ports, self._counter + foreign - self._foreign, self._taken.__contains__)
        self._foreign = foreign
        if port is not None:
            self._counter = port + 1
        return port
