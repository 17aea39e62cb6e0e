# SPDX-License-Identifier: MIT
"""A Teredo Internet of services on the fakes: a server, a relay, a client, and a native IPv6 host behind the relay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EPERM
from random import Random

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from miredo.address.endpoint import IPv4, IPv6, parse_ipv4, parse_ipv6
from miredo.address.teredo import is_teredo
from miredo.assembly import Roles, assemble
from miredo.config import parse
from miredo.kernel.errors import refused
from miredo.kernel.interfaces import INetwork
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryInternet, MemoryNetwork, MemoryStack, MemoryTunnel
from miredo.lab.pings import Kernel, Ping
from miredo.service.roles import TeredoClientService, TeredoRelayService, TeredoServerService
from miredo.service.surroundings import Did, Resolver, Sent, Took
from miredo.teredo.actions import Qualified
from miredo.wire.ipv6 import destination_of

SERVER, SERVER2, RELAY = "192.0.2.1", "192.0.2.2", "192.0.2.17"
OTHER_SERVER, OTHER_SERVER2 = "192.0.2.65", "192.0.2.66"
CLIENT, CLIENT2 = parse_ipv4("198.51.100.7"), parse_ipv4("203.0.113.7")
HOST = parse_ipv6("2001:db8:3::1")

ROLES = """\
[server s]
Namespace server
ServerBindAddress 192.0.2.1
[relay r]
Namespace relay
BindAddress 192.0.2.17
BindPort 3545
[client a]
Namespace client
ServerAddress 192.0.2.1
"""


class RecordingNetwork(MemoryNetwork):
    """Tells what it was asked to change, and refuses what it is told to."""

    def __init__(self, endpoints: RecordingEndpoints) -> None:
        super().__init__(endpoints.stack, {})
        self._endpoints = endpoints

    def _told(self, what: str, address: bytes) -> None:
        change = f"{what} {address.hex()}"
        self._endpoints.changes.append(change)
        if change.startswith(tuple(self._endpoints.refuses)):
            raise refused(EPERM, what)

    def add_address(self, index: int, address: IPv4 | IPv6, prefix_length: int) -> None:
        self._told("add address", address)
        super().add_address(index, address, prefix_length)

    def delete_address(self, index: int, address: IPv4 | IPv6, prefix_length: int) -> None:
        self._told("delete address", address)
        super().delete_address(index, address, prefix_length)

    def add_route(
        self,
        destination: IPv4 | IPv6,
        prefix_length: int,
        index: int,
        metric: int | None = None,
        gateway: IPv4 | IPv6 | None = None,
        table: int | None = None,
    ) -> None:
        self._told("add route", destination)
        super().add_route(destination, prefix_length, index, metric, gateway, table)

    def delete_route(
        self,
        destination: IPv4 | IPv6,
        prefix_length: int,
        index: int,
        metric: int | None = None,
        gateway: IPv4 | IPv6 | None = None,
        table: int | None = None,
    ) -> None:
        self._told("delete route", destination)
        super().delete_route(destination, prefix_length, index, metric, gateway, table)


class RecordingEndpoints(MemoryEndpoints):
    """
    Endpoints whose network records.

    @ivar refuses: how those changes begin that the kernel refuses.
    @ivar places: where a port was ever opened.
    """

    def __init__(
        self,
        internet: MemoryInternet,
        addresses: list[tuple[IPv4, int]],
        namespace: str | None,
        deliver_raw: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__(internet, addresses, namespace, deliver_raw)
        self.changes: list[str] = []
        self.refuses: list[str] = []
        self.places: list[tuple[IPv4, int]] = []

    def listen_udp(self, protocol: DatagramProtocol, address: str, port: int) -> IUDPTransport:
        opened = super().listen_udp(protocol, address, port)
        self.places.append((parse_ipv4(address), opened.getHost().port))
        return opened

    def network(self) -> INetwork:
        return RecordingNetwork(self)

    @property
    def tunnel(self) -> MemoryTunnel:
        """The one that was opened last."""
        return self.tunnels[-1]

    def open_things(self) -> list[str]:
        """Ports, tunnels and senders that nobody has closed."""
        own = [address for link in self.stack.links.values() for address, _ in link.addresses]
        open_ports = [port for _, port in self.places if any(self.port_at((address, port)) for address in own)]
        return [
            *(f"port {port}" for port in open_ports),
            *(f"tunnel {tunnel.name}" for tunnel in self.tunnels if tunnel.open),
            *("raw sender" for sender in self.raw_senders if sender.open),
            *("ICMPv6 sender" for sender in self.icmpv6_senders if sender.open),
            *("group" for group in self.groups if group.open),
            *("ICMP listener" for listener in self.icmp_listeners if listener.open),
        ]


class Names:
    """A resolver that is asked by services and answered by tests."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._waiting: list[Deferred[list[IPv4]]] = []

    def __call__(self, name: str) -> Deferred[list[IPv4]]:
        self.asked.append(name)
        self._waiting.append(Deferred())
        return self._waiting[-1]

    def answer(self, *addresses: str) -> None:
        """Answer the oldest question."""
        self._waiting.pop(0).callback([parse_ipv4(address) for address in addresses])

    def fail(self, reason: str) -> None:
        """Have no answer to the oldest question."""
        self._waiting.pop(0).errback(DNSLookupError(reason))


class TeredoInternet:
    """
    The services of a configuration, started by L{start}, and time that passes when L{run} is called.

    @ivar events: what the roles did.
    @ivar resolve: looks up the names of all roles.
    """

    def __init__(self, text: str = ROLES, observed: bool = True) -> None:
        self.clock = MemoryClock()
        self.net = MemoryInternet(self.clock)
        self.names = Names()
        self.resolve: Resolver = self.names
        self.events: list[Sent | Took | Did] = []
        dice = Random(4380).randbytes
        server = [(parse_ipv4(SERVER), 28), (parse_ipv4(SERVER2), 28)]
        self.server = RecordingEndpoints(self.net, server, "server", self._route_natively)
        other = [(parse_ipv4(OTHER_SERVER), 28), (parse_ipv4(OTHER_SERVER2), 28)]
        self.other = RecordingEndpoints(self.net, other, "other", self._route_natively)
        self.relay = RecordingEndpoints(self.net, [(parse_ipv4(RELAY), 28)], "relay")
        self.relay.stack.sysctls["net/ipv6/conf/all/forwarding"] = "1"
        self.client = RecordingEndpoints(self.net, [(CLIENT, 24)], "client")
        self.classic = RecordingEndpoints(self.net, [(CLIENT2, 24)], None)
        self._namespaces = {
            each.namespace: each for each in (self.server, self.other, self.relay, self.client, self.classic)
        }
        self.roles: Roles = assemble(
            parse(text, "lab.conf", strict=True),
            clock=self.clock,
            endpoints=self._namespaces.__getitem__,
            resolve=lambda name: self.resolve(name),
            dice=dice,
            observer=self.events.append if observed else None,
        )
        self.host = Kernel(dice, self._from_host)
        self.client_host = Kernel(dice, lambda packet: self.client.tunnel.arrive(packet))

    # ------------------------------------------------------------ life

    def start(self) -> None:
        self.roles.privilegedStartService()
        self.roles.startService()

    def stop(self) -> None:
        """Stop them all; on the fakes nothing has to be waited for."""
        ended: list[object] = []
        maybeDeferred(self.roles.stopService).addCallback(ended.append)
        assert len(ended) == 1

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass, and packets go where they are routed to."""
        self.clock.advance(seconds)
        while self._deliver():
            self.clock.advance(0)

    # ------------------------------------------------------------ what there is

    def service(self, title: str) -> TeredoClientService | TeredoRelayService | TeredoServerService:
        found = next(role for role in self.roles if role.name == title)
        assert isinstance(found, (TeredoClientService, TeredoRelayService, TeredoServerService))
        return found

    def client_service(self, title: str = "client a") -> TeredoClientService:
        found = self.service(title)
        assert isinstance(found, TeredoClientService)
        return found

    @property
    def qualified(self) -> list[IPv6]:
        """The addresses that the clients have had."""
        actions = [event.action for event in self.events if isinstance(event, Did)]
        return [action.address for action in actions if isinstance(action, Qualified)]

    def sent(self, role: str) -> list[Sent]:
        return [event for event in self.events if isinstance(event, Sent) and event.role == role]

    def ping(self, destination: IPv6 = HOST) -> Ping:
        """The client's host pings."""
        return self.client_host.ping(self.qualified[-1], destination, self.clock.now())

    # ------------------------------------------------------------ the native network

    def _from_host(self, packet: bytes) -> None:
        if is_teredo(destination_of(packet)):
            self.relay.tunnel.arrive(packet)

    def _route_natively(self, packet: bytes) -> None:
        if destination_of(packet) == HOST:
            self.host.receive(packet, self.clock.now())

    def _deliver(self) -> bool:
        """Take what the relay and the client wrote into their tunnels; whether there was anything."""
        moved = False
        for tunnel in self.relay.tunnels:
            for packet in _taken(tunnel.written):
                self._route_natively(packet)
                moved = True
        for tunnel in self.client.tunnels:
            for packet in _taken(tunnel.written):
                self.client_host.receive(packet, self.clock.now())
                moved = True
        return moved


def _taken(packets: list[bytes]) -> list[bytes]:
    taken = list(packets)
    packets.clear()
    return taken


def own(endpoints: RecordingEndpoints) -> tuple[list[tuple[bytes, int]], list[tuple[bytes, int, int]]]:
    """Addresses and routes of the tunnel."""
    network = MemoryNetwork(endpoints.stack, {})
    index = endpoints.tunnel.index
    return network.addresses(index), network.routes(index)


def links(stack: MemoryStack) -> list[str]:
    return sorted(stack.links)


@implementer(ILogObserver)
class Logged:
    """
    What our roles log.

    @ivar lines: level and text of each.
    @ivar failures: how many of them came with a traceback.
    """

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.failures = 0

    def __call__(self, event: LogEvent) -> None:
        self.failures += "log_failure" in event or bool(event.get("isError"))
        if event.get("log_namespace") == "miredo":
            self.lines.append((event["log_level"].name, formatEvent(event)))

    def at(self, level: str) -> list[str]:
        return [text for name, text in self.lines if name == level]


@contextmanager
def logging() -> Iterator[Logged]:
    """Collects what is logged inside the C{with} block."""
    logged = Logged()
    globalLogPublisher.addObserver(logged)
    try:
        yield logged
    finally:
        globalLogPublisher.removeObserver(logged)
