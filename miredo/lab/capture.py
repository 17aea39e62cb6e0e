# SPDX-License-Identifier: MIT
"""Records the packets of every link of a laboratory, as a pcapng file that tshark and Wireshark read.

Each link is an interface of the file, and each packet is on it once. On a wire it is taken where it arrives, so one
that the link loses is not there. A NAT's links have one interface each, their neighbour's: what goes out of it is taken
when it leaves, and may be lost afterwards where the lab's links lose packets.

The times are the kernel's, and beside each packet stands the state that the clients were in then.
"""

from __future__ import annotations

import socket
import struct
import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import ExitStack
from errno import ENETDOWN, ETIMEDOUT
from operator import attrgetter
from typing import BinaryIO, Final, NamedTuple

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from miredo.kernel.errors import naming
from miredo.kernel.interfaces import IClock
from miredo.kernel.namespaces import entered
from miredo.lab.pcapng import enhanced_packet, interface_description, interface_statistics, section_header
from miredo.lab.states import History
from miredo.lab.topology import Segment, Topology

LONGEST: Final = 65535
BATCH: Final = 64
"""Packets that are read of one socket at a time."""
GRACE: Final = 10_000_000
"""
Nanoseconds that a packet is kept before it is written: one with an earlier time may still be on its way from the
driver, where it got its time, to its socket. Ours.
"""
KEPT: Final = 16384
"""Packets that are kept at most, if need be at the cost of the order. Ours."""
BUFFER: Final = 4 << 20
"""Bytes that the kernel is asked to keep for each socket; it gives what its rmem_max allows."""
STAMPING_TRIES: Final = 1000
"""Milliseconds until the kernel must stamp packets; it takes a few. Ours."""

SOL_PACKET: Final = 263
PACKET_STATISTICS: Final = 6
PACKET_IGNORE_OUTGOING: Final = 23
SO_TIMESTAMPNS: Final = 64
"""SO_TIMESTAMPNS_NEW of Linux 5.1: seconds and nanoseconds, 64 bits each on every machine."""
TIMESTAMP: Final = struct.Struct("=qq")
ANCILLARY: Final = socket.CMSG_SPACE(TIMESTAMP.size)
ETH_P_ALL: Final = 0x0003
ETH_P_IP: Final = 0x0800
ETH_P_IPV6: Final = 0x86DD


class Taken(NamedTuple):
    """A packet; its time in nanoseconds since 1970, and the number of its link."""

    at: int
    number: int
    packet: bytes


class Capture:
    """A file, closed with the capture, and a socket on each interface.

    @param topology: of the laboratory, which has been built.
    @param clock: what the history's times are of.
    @ivar failure: why the file is not whole, once it is not.
    """

    def __init__(
        self, file: BinaryIO, topology: Topology, reactor: IReactorFDSet, clock: IClock, history: History
    ) -> None:
        self.failure: str | None = None
        self._file = file
        self._segments = topology.segments()
        self._clock = clock
        self._epoch = _epoch(clock)
        self._history = history
        self._kept: list[Taken] = []
        with ExitStack() as opening:
            opening.callback(self._close_file)
            self._alarm = clock.alarm(self._take)
            opening.callback(self._alarm.cancel)
            self._taps = [
                opening.enter_context(_Tap(number, segment, node, interface, reactor, self._take))
                for number, segment in enumerate(self._segments)
                for node, interface in segment.interfaces
            ]
            _await_stamps(topology.nodes[0])
            self._write(section_header(), *(interface_description(segment.name) for segment in self._segments))
            self._open = opening.pop_all()

    def close(self) -> None:
        """Take what has arrived until now, and end."""
        now = time.time_ns()
        while self._read(now) < now:
            pass
        self._write_kept(len(self._kept))
        self._tell_losses(now)
        self._open.close()

    def _take(self) -> None:
        """Write what has come, in order, up to a time that no packet can be missing before."""
        settled = self._read(time.time_ns() - GRACE)
        count = bisect_right(self._kept, settled, key=attrgetter("at"))
        self._write_kept(max(count, len(self._kept) - KEPT))
        self._alarm.arm(self._clock.now() + GRACE / 1e9 if self._kept else None)

    def _read(self, now: int) -> int:
        """Read a batch of each socket; the time, C{now} or before, up to which all have been read."""
        for tap in self._taps:
            packets, reached = tap.read()
            self._kept += packets
            if reached is not None:
                now = min(now, reached)
        self._kept.sort(key=attrgetter("at"))
        return now

    def _write_kept(self, count: int) -> None:
        ready, self._kept = self._kept[:count], self._kept[count:]
        if ready:
            self._write(
                *(enhanced_packet(number, at, packet, self._comment(number, at)) for at, number, packet in ready)
            )

    def _comment(self, number: int, at: int) -> str:
        """The state at a time of the client that a link belongs to, or of all clients, a line each."""
        client = self._segments[number].client
        clients = self._history.clients if client is None else [client]
        when = (at - self._epoch) / 1e9
        states = [(each, self._history.at(each, when)) for each in clients]
        return "\n".join(f"{each}: {state}" for each, state in states if state)

    def _tell_losses(self, now: int) -> None:
        lost = [0] * len(self._segments)
        for tap in self._taps:
            lost[tap.number] += tap.dropped()
        self._write(*(interface_statistics(number, now, count) for number, count in enumerate(lost)))
        if any(lost):
            self._fail(f"packets are missing from the record, they came too fast: {sum(lost)}")

    def _write(self, *blocks: bytes) -> None:
        """A disk that is full ends the record, not the run; the file always ends with a whole block otherwise."""
        if self.failure is None:
            try:
                self._file.write(b"".join(blocks))
                self._file.flush()
            except OSError as error:
                self._fail(f"the packets could not be recorded: {error.strerror}")

    def _close_file(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            self._fail(f"the packets could not be recorded: {error.strerror}")

    def _fail(self, why: str) -> None:
        self.failure = self.failure or why


@implementer(IReadDescriptor)
class _Tap:
    """A packet socket that sees each IP packet of one interface: those that arrive, or both ways if it is alone.

    @param number: of the link in the file.
    @param take: is called when there is something to read.
    """

    def __init__(
        self,
        number: int,
        segment: Segment,
        node: str,
        interface: str,
        reactor: IReactorFDSet,
        take: Callable[[], None],
    ) -> None:
        self.number = number
        self._reactor = reactor
        self._take = take
        with entered(node), naming(f"capture on {interface} of {node}"):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, len(segment.interfaces) > 1)
                self._socket.bind((interface, ETH_P_ALL))
            except OSError:
                self._socket.close()
                raise

    def __enter__(self) -> _Tap:
        self._reactor.addReader(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._reactor.removeReader(self)
        self._socket.close()

    def read(self) -> tuple[list[Taken], int | None]:
        """What has come, and the time of the last packet if there may be more."""
        packets: list[Taken] = []
        reached = 0
        for _ in range(BATCH):
            try:
                packet, ancillary, _, (_, protocol, *_) = self._socket.recvmsg(LONGEST, ANCILLARY)
            except BlockingIOError:
                return packets, None
            except OSError as error:
                if error.errno != ENETDOWN:
                    raise
                continue  # told once, before what came earlier; an interface may come up again
            reached = _time_in(ancillary)
            if protocol in (ETH_P_IP, ETH_P_IPV6):
                packets.append(Taken(reached, self.number, packet))
        return packets, reached

    def dropped(self) -> int:
        """How many packets the kernel had no room for, since it was asked last (packet(7))."""
        _, dropped = struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        return int(dropped)

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        self._take()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor takes an interface that goes down for the end of the socket, which it is not."""
        if isinstance(reason.value, ConnectionDone) and self._socket.fileno() >= 0:
            self._take()
            self._reactor.addReader(self)

    def logPrefix(self) -> str:
        return "capture"


def _time_in(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The time that the kernel gave a packet, in nanoseconds since 1970."""
    ((_, _, data),) = ancillary
    seconds, nanoseconds = TIMESTAMP.unpack(data)
    return int(seconds) * 10**9 + int(nanoseconds)


def _await_stamps(node: str) -> None:
    """
    Wait until packets get their times when they come: the kernel begins to stamp a moment after it was asked to, and
    gives out the time of reading until then.

    @raise TimeoutError: it does not begin.
    """
    with entered(node), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hearing:
        hearing.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        hearing.bind(("127.0.0.1", 0))
        for _ in range(STAMPING_TRIES):
            hearing.sendto(b"", hearing.getsockname())
            sent = time.time_ns()
            if _time_in(hearing.recvmsg(0, ANCILLARY)[1]) <= sent:
                return
            time.sleep(0.001)
    raise TimeoutError(ETIMEDOUT, "the kernel gives packets no times")


def _epoch(clock: IClock) -> int:
    """When the clock showed 0, in nanoseconds since 1970: the best of some tries, for they may be interrupted."""
    tries = []
    for _ in range(5):
        before, real, after = clock.now(), time.time_ns(), clock.now()
        tries.append((after - before, real - round((before + after) / 2 * 1e9)))
    return min(tries)[1]
