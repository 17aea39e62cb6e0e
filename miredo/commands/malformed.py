# SPDX-License-Identifier: MIT
"""What malformed datagrams do to a client, a relay, a server and an echo responder, each a process of its own.

Every port gets so many of them, under false IPv4 sources; told are those that its program took, the memory and the
lines of its log before and after, and whether a ping through all of them is answered at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from miredo.address.endpoint import Endpoint, IPv6, endpoint, ipv4_of, parse_endpoint, parse_ipv4, show_ipv6
from miredo.address.teredo import TEREDO_PORT, compose, is_teredo
from miredo.commands.daemons import Daemon, Usage, end_on_sigterm
from miredo.commands.output import say
from miredo.kernel.namespaces import entered
from miredo.kernel.userns import NoNamespaces, enter_lab
from miredo.lab.damage import damaged, sound
from miredo.lab.pings import Pings
from miredo.lab.topology import End, Route, Topology, Wire
from miredo.wire.icmpv6 import emit_icmpv6_body

FOUR_ROLES = Topology(
    nodes=("far", "server", "relay", "client", "mire"),
    wires=(
        Wire(End("far", "server", ("192.0.2.14/28",)), End("server", "wan", ("192.0.2.1/28", "192.0.2.2/28"))),
        Wire(End("far", "relay", ("192.0.2.30/28",)), End("relay", "wan", ("192.0.2.17/28",))),
        Wire(End("far", "mire", ("192.0.2.46/28",)), End("mire", "wan", ("192.0.2.33/28",))),
        Wire(End("far", "client", ("198.51.100.254/24",)), End("client", "wan", ("198.51.100.1/24",))),
        Wire(End("far", "six-s", ("2001:db8:1::2/64",)), End("server", "six", ("2001:db8:1::1/64",))),
        Wire(End("far", "six-r", ("2001:db8:2::2/64",)), End("relay", "six", ("2001:db8:2::1/64",))),
    ),
    routes=(
        Route("server", "0.0.0.0/0", "wan", "192.0.2.14"),
        Route("relay", "0.0.0.0/0", "wan", "192.0.2.30"),
        Route("mire", "0.0.0.0/0", "wan", "192.0.2.46"),
        Route("client", "0.0.0.0/0", "wan", "198.51.100.254"),
        Route("server", "::/0", "six", "2001:db8:1::2"),
        Route("relay", "::/0", "six", "2001:db8:2::2"),
        Route("far", "2001::/32", "six-r", "2001:db8:2::1"),
    ),
    nats=(),
    ipv4_routers=("far",),
    ipv6_routers=("far", "relay"),
)
"""Everybody, and the native host and the attacker in one node."""
SERVER, CLIENT = parse_ipv4("192.0.2.1"), parse_endpoint("198.51.100.1:40000")
HOST = "2001:db8:2::2"
MIRE = show_ipv6(compose(parse_ipv4("192.0.2.33"), parse_endpoint("192.0.2.33:3545"), 0))
CONFIGURATIONS = {
    "server": "[server s]\nServerBindAddress 192.0.2.1\n",
    "relay": "[relay r]\nBindAddress 192.0.2.17\nBindPort 3545\n",
    "mire": "[mire m]\nBindAddress 192.0.2.33\n",
    "client": "[client c]\nServerAddress 192.0.2.1\nBindAddress 198.51.100.1\nBindPort 40000\n",
}
PORTS = {
    "client": ("client", CLIENT),
    "relay": ("relay", parse_endpoint("192.0.2.17:3545")),
    "server, first address": ("server", endpoint(SERVER, TEREDO_PORT)),
    "server, second address": ("server", parse_endpoint("192.0.2.2:3544")),
    "mire, port 3544": ("mire", parse_endpoint("192.0.2.33:3544")),
    "mire, port 3545": ("mire", parse_endpoint("192.0.2.33:3545")),
}
RATE, BURST = 8000.0, 50
"""Datagrams a second, and at once: fewer than wait in a socket by default."""
START_PATIENCE, PING_PATIENCE, SETTLING = 20.0, 15.0, 2.0
"""Seconds for a program to start, for a ping, and for what waits in a socket to be read."""
REPLY, ECHO_HEADER, LONGEST = 129, 8, 2048


@dataclass(frozen=True)
class PortFigures:
    """What one port got and what became of its program; memory in megabytes."""

    port: str
    sent: int
    taken: int
    memory_before: float
    memory_after: float
    log_lines: int
    running: bool


@dataclass(frozen=True)
class Findings:
    """Everything that was measured.

    @ivar pings: whether the client's pings to the host and to the echo responder were answered at the end.
    """

    ports: list[PortFigures]
    pings: dict[str, bool]

    @property
    def intact(self) -> bool:
        """Whether every program is there and serves."""
        return all(self.pings.values()) and all(port.running for port in self.ports)


def measure(count: int, tell: Callable[[str], None] = lambda line: None) -> Findings:
    """Measure in namespaces of this process.

    @param count: datagrams for each port.
    @param tell: is told what is being done.
    @raise ChildProcessError: a program did not start, or did not serve from the beginning.
    """
    with TemporaryDirectory() as name, ExitStack() as closing:
        closing.callback(_build().close)
        daemons = {}
        for node, text in CONFIGURATIONS.items():
            daemons[node] = _start(node, text, Path(name))
            closing.callback(daemons[node].stop)
        for destination in (HOST, MIRE):
            if not _answers(destination, START_PATIENCE):
                logs = "\n".join(daemon.log.read_text() for daemon in daemons.values())
                raise ChildProcessError(f"{destination} does not answer: {logs}")
        ports = []
        for port, (node, to) in PORTS.items():
            tell(f"{port}: {count:,} datagrams")
            ports.append(_attacked(port, daemons[node], node, to, count))
        return Findings(ports, {"host": _answers(HOST, PING_PATIENCE), "mire": _answers(MIRE, PING_PATIENCE)})


def _build() -> ExitStack:
    """The lab; the reactor may be imported only now, in the namespaces, and never runs."""
    from twisted.internet import reactor
    from twisted.internet.interfaces import IReactorFDSet

    from miredo.kernel.clock import BoottimeClock
    from miredo.kernel.endpoints import KernelEndpoints
    from miredo.lab.building import Laboratory

    descriptors = IReactorFDSet(reactor)
    laboratory = Laboratory(
        FOUR_ROLES, lambda node: KernelEndpoints(node, descriptors), BoottimeClock(descriptors), os.urandom
    )
    closing = ExitStack()
    closing.callback(laboratory.close)
    laboratory.build({})
    return closing


def _start(node: str, text: str, folder: Path) -> Daemon:
    file = folder / f"{node}.conf"
    file.write_text(text)
    twistd = "from twisted.scripts.twistd import run; run()"
    words = [sys.executable, "-c", twistd, "--nodaemon", "--pidfile=", "miredo", "-c", str(file)]
    return Daemon(node, words, folder / f"{node}.log")


# ------------------------------------------------------------------ the attack


def _attacked(port: str, daemon: Daemon, node: str, to: Endpoint, count: int) -> PortFigures:
    before, taken, lines = daemon.usage(), _datagrams_taken(node), _lines(daemon)
    sources = [parse_endpoint("45.1.2.3:3545"), parse_endpoint("46.1.2.3:40000")]
    if node == "client":
        sources += [endpoint(SERVER, TEREDO_PORT), parse_endpoint("192.0.2.17:3545")]
    with entered("far"):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        begun = time.monotonic()
        for number, datagram in enumerate(_datagrams(node, sources[0], count)):
            if number % BURST == 0:
                time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
            raw.sendto(_forged(sources[number % len(sources)], to, datagram), (socket.inet_ntoa(ipv4_of(to)), 0))
    time.sleep(SETTLING)
    running = daemon.running
    after = daemon.usage() if running else Usage(0.0, 0.0)
    return PortFigures(
        port,
        count,
        _datagrams_taken(node) - taken,
        before.resident,
        after.resident,
        _lines(daemon) - lines,
        running,
    )


def _datagrams(node: str, source: Endpoint, count: int) -> Iterator[bytes]:
    own = _client_address() if node == "client" else compose(SERVER, CLIENT, 0)
    destination = own if node == "client" else socket.inet_pton(socket.AF_INET6, HOST)
    return damaged(sound(compose(SERVER, source, 0), destination, SERVER, CLIENT), count)


def _forged(source: Endpoint, to: Endpoint, payload: bytes) -> bytes:
    """An IPv4 packet; the kernel fills in its checksum (raw(7)), and UDP may go without one (RFC 768)."""
    udp = struct.pack("!2s2sHH", source[4:], to[4:], 8 + len(payload), 0)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0, source[:4], to[:4])
    return header + udp + payload


def _client_address() -> IPv6:
    """The client's Teredo address, as its kernel has it."""
    with entered("client"), open("/proc/thread-self/net/if_inet6") as table:
        addresses = [bytes.fromhex(line.split()[0]) for line in table]
    return next((address for address in addresses if is_teredo(address)), compose(SERVER, CLIENT, 0))


def _datagrams_taken(node: str) -> int:
    """How many UDP datagrams programs in a node have read (InDatagrams of RFC 4113)."""
    with entered(node), open("/proc/thread-self/net/snmp") as table:
        found = re.findall(r"^Udp: (\d+)", table.read(), re.MULTILINE)
    return int(found[0])


def _lines(daemon: Daemon) -> int:
    return len(daemon.log.read_text(errors="replace").splitlines())


def _answers(destination: str, seconds: float) -> bool:
    """Whether one of the client's pings, one a second, is answered in that time."""
    pings = Pings(os.urandom)
    begun = time.monotonic()
    with entered("client"):
        raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    with raw:
        while (now := time.monotonic()) - begun < seconds:
            ping, request = pings.request(now)
            try:
                raw.sendto(emit_icmpv6_body(request), (destination, 0))
            except OSError:
                time.sleep(0.1)  # there is no route yet
                continue
            while select.select([raw], [], [], max(0.0, now + 1.0 - time.monotonic()))[0]:
                message = raw.recv(LONGEST)
                if message[:1] == bytes([REPLY]):
                    pings.replied(message[ECHO_HEADER:], time.monotonic())
                if ping.answered is not None:
                    return True
    return False


# ------------------------------------------------------------------ the command


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    arguments.add_argument("--count", type=int, default=100_000, metavar="N", help="for each port; usually 100000")
    arguments.add_argument("--json", action="store_true", help="an object on standard output")


def run(options: argparse.Namespace) -> int:
    """Measure and tell; 0 if all serve as before. No reactor may have been imported yet."""
    try:
        enter_lab()
        end_on_sigterm()
        findings = measure(options.count, lambda line: print(line, file=sys.stderr, flush=True))
    except (NoNamespaces, OSError) as error:
        print(f"malformed: {error}", file=sys.stderr)
        return 1
    say(json.dumps(asdict(findings), indent=1) if options.json else as_text(findings))
    return 0 if findings.intact else 1


def as_text(findings: Findings) -> str:
    """A line a port."""
    lines = [f"{'':<24}{'sent':>9}{'taken':>9}{'MB before':>11}{'after':>7}{'log lines':>11}"]
    for one in findings.ports:
        end = "" if one.running else "  ended"
        memory = f"{one.memory_before:>11.1f}{one.memory_after:>7.1f}"
        lines.append(f"{one.port:<24}{one.sent:>9,}{one.taken:>9,}{memory}{one.log_lines:>11}{end}")
    answered = [f"{name}: {'answers' if answer else 'does not answer'}" for name, answer in findings.pings.items()]
    return "\n".join([*lines, "", "Pings of the client afterwards: " + ", ".join(answered)])


def main(words: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(prog="./x bench malformed", description=__doc__.split("\n\n")[0])
    add_arguments(arguments)
    return run(arguments.parse_args(words))


if __name__ == "__main__":
    sys.exit(main())
