# SPDX-License-Identifier: MIT
"""The roles as Twisted services: open, begin, end, close.

C{privilegedStartService} opens everything that needs root and touches nothing else; C{startService} begins to talk;
C{stopService} leaves no address, route, interface, timer or descriptor behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from errno import EADDRNOTAVAIL
from typing import Generic, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.logger import Logger

from miredo.address.endpoint import Dice, IPv4, IPv6, show_ipv4
from miredo.address.ranges import IPv6Ranges
from miredo.address.scope import IPv4Scope, is_link_local
from miredo.address.teredo import TEREDO_PORT
from miredo.config import (
    ClientConfig,
    Qualification,
    RelayConfig,
    RoleConfig,
    ServerConfig,
    ServerOrder,
    TunnelConfig,
)
from miredo.kernel.interfaces import INetwork, ITunnel
from miredo.service.announcements import TunnelAddress
from miredo.service.protocols import (
    TeredoClientProtocol,
    TeredoProtocol,
    TeredoRelayProtocol,
    TeredoServerProtocol,
    TunnelProtocol,
)
from miredo.service.recorder import FlightRecorder
from miredo.service.secretfile import BadSecretFileError, read_credentials
from miredo.service.servernames import ServerNames
from miredo.service.surroundings import StartFailure, Surroundings, blaming
from miredo.teredo.client import Client
from miredo.teredo.qualification import Server as ServerAddresses
from miredo.teredo.relay import Relay
from miredo.teredo.security import Credential, Keyring
from miredo.teredo.server import Server

IPV6_CAME = {
    False: "{role}: this host has other IPv6 connectivity: RFC 4380 5.5 wants no Teredo client here, "
    "and RelayType autoclient would rest",
    True: "{role}: resting: this host has other IPv6 connectivity (RFC 4380 5.5)",
}
"""What is said when it comes, by whether the client rests."""
IPV6_WENT = "{role}: this host has no other IPv6 connectivity any more"

Config = TypeVar("Config", bound=RoleConfig)
Core = TypeVar("Core", Client, Relay, Server)


class RoleService(Service, Generic[Config]):
    """What all roles have: a network namespace that they look at, ports, and things to close.

    @ivar recorder: records the core, if C{Record} asks for it.
    """

    recorder: FlightRecorder | None = None

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        self.config = config
        self.setName(config.title)
        self._surroundings = surroundings
        self._scope = IPv4Scope(config.allow_ipv4)
        self._open = ExitStack()
        self._ports: list[IUDPTransport] = []
        self._log = Logger(namespace="miredo")

    def privilegedStartService(self) -> None:
        """Open what the role needs.

        @raise StartFailure: something cannot be had; all that was opened is closed again.
        """
        try:
            with blaming(self.config, "Namespace"):
                network = self._surroundings.endpoints.network()
            self._open.callback(network.close)
            self._scope.attached(_own(network), network.broadcasts())
            self.open(network)
        except BaseException:
            self._close()
            raise

    def open(self, network: INetwork) -> None:
        """Open what this kind of role needs."""

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self._close()

    def listen(self, protocol: TeredoProtocol, address: IPv4, port: int, keyword: str) -> IUDPTransport:
        with blaming(self.config, keyword):
            transport = self._surroundings.endpoints.listen_udp(protocol, show_ipv4(address), port)
        self._ports.append(transport)
        return transport

    def build(self, make: Callable[[Dice], Core]) -> Core:
        """Make the core, and record it if that is wished."""
        path, around = self.config.record, self._surroundings
        if path is None:
            return make(around.dice)
        with blaming(self.config, "Record"):
            self.recorder = FlightRecorder(self.config.title, path, around.dice, around.clock.now)
        self._open.callback(self.recorder.close)
        core = make(self.recorder.dice)
        self.recorder.watch(core)
        return core

    def credentials(self, path: str | None) -> list[Credential]:
        """What C{SecretFile} holds."""
        if path is None:
            return []
        try:
            return read_credentials(path)
        except (OSError, BadSecretFileError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise StartFailure(f"{self.config.where('SecretFile')}: {reason}") from error

    def _close(self) -> Deferred[None]:
        """Close the ports, then everything else, the last first."""
        ports, self._ports = self._ports, []
        stopped: Deferred[object] = succeed(None)
        for port in ports:
            stopped = _then(stopped, port)
        self._open.close()
        return stopped.addCallback(lambda _: None)


class TunnelService(RoleService[Config]):
    """A client or a relay."""

    protocol: TunnelProtocol

    def open_tunnel(self, config: TunnelConfig) -> ITunnel:
        with blaming(config, "InterfaceName"):
            tunnel = self._surroundings.endpoints.open_tunnel(config.interface_name, config.interface_mtu)
        self._open.callback(tunnel.close)
        return tunnel

    def open_port(self, config: TunnelConfig) -> None:
        """Listen with the protocol, whose alarm is given back whatever happens."""
        self._open.callback(self.protocol.end)
        try:
            transport = self._surroundings.endpoints.listen_udp(
                self.protocol, show_ipv4(config.bind_address), config.bind_port
            )
        except OSError as error:
            keyword = "BindAddress" if error.errno == EADDRNOTAVAIL else "BindPort"
            raise StartFailure(f"{config.where(keyword)}: {error.strerror}") from error
        self._ports.append(transport)

    @property
    def port(self) -> int:
        """The UDP port that it listens on."""
        return int(self._ports[0].getHost().port)

    def watch(self, network: INetwork) -> None:
        """Notice when the addresses of the namespace, or its ways to the IPv4 Internet, change."""
        self._attached = _own(network), network.ways_out()
        watch = network.watch(lambda: self.changed(network))
        self._open.callback(watch.close)

    def startService(self) -> None:
        super().startService()
        self._log.info("{role}: Starting...", role=self.name)
        self.protocol.begin()

    def changed(self, network: INetwork) -> None:
        """Addresses, links or routes have changed."""
        own, _ = attached = _own(network), network.ways_out()
        if attached == self._attached or not self.running:
            return
        self._attached = attached
        self._scope.attached(own, network.broadcasts())
        self._log.info("{role}: the IPv4 addresses or default routes of this host changed", role=self.name)
        self.protocol.restart()


class TeredoClientService(TunnelService[ClientConfig]):
    """A Teredo client."""

    protocol: TeredoClientProtocol
    _names: ServerNames | None = None
    _needless = False

    def open(self, network: INetwork) -> None:
        config, around = self.config, self._surroundings
        servers = [
            ServerAddresses(first, second)
            for first, second in config.servers
            if isinstance(first, bytes) and isinstance(second, bytes)
        ]
        with blaming(config, "InterfaceName"):
            icmpv6 = around.endpoints.icmpv6()
        self._open.callback(icmpv6.close)
        tunnel = self.open_tunnel(config)
        refresh_interval = float(config.refresh_interval)
        known = servers if len(servers) == len(config.servers) else []
        credential = self._credential()
        core = self.build(
            lambda dice: Client(
                known,
                self._scope,
                dice,
                refresh_interval=refresh_interval,
                credential=credential,
                in_order=config.server_order is ServerOrder.LISTED,
                strict=config.qualification is Qualification.STRICT,
            )
        )
        self._tunnel = tunnel
        address = TunnelAddress(config.title, network, tunnel, config.route_metric, around.clock)
        self._open.callback(address.close)
        self.protocol = TeredoClientProtocol(config.title, core, around.clock, tunnel, icmpv6, address, around.observer)
        self.open_port(config)
        self.watch(network)
        self._rest_if_needless(network)
        self._names = ServerNames(config, around.resolve, self._scope.permits, around.clock, self._use_servers)
        self._open.callback(self._names.end)
        self.protocol.news = self._names.heard

    def changed(self, network: INetwork) -> None:
        self._rest_if_needless(network)
        super().changed(network)

    def _rest_if_needless(self, network: INetwork) -> None:
        """RFC 4380 5.5: no Teredo where there is other IPv6 connectivity, unless it was asked for by name."""
        needless = any(index != self._tunnel.index for index, _, _ in network.ipv6_ways_out())
        if needless == self._needless:
            return
        self._needless = needless
        self._log.info(IPV6_CAME[self.config.rests] if needless else IPV6_WENT, role=self.name)
        if self.config.rests:
            self.protocol.rest(needless)

    def _credential(self) -> Credential | None:
        credentials = self.credentials(self.config.secret_file)
        if len(credentials) > 1:
            raise StartFailure(f"{self.config.where('SecretFile')}: a client has one secret, and there are several")
        return credentials[0] if credentials else None

    def startService(self) -> None:
        super().startService()
        if self._names is not None:
            self._names.begin()

    def stopService(self) -> Deferred[None]:
        looked_up = succeed(None) if self._names is None else self._names.end()
        stopped = super().stopService()
        return looked_up.addCallback(lambda _: stopped)

    def _use_servers(self, servers: Sequence[ServerAddresses]) -> None:
        self.protocol.core.qualification.use_servers(servers)
        self.protocol.restart()


class TeredoRelayService(TunnelService[RelayConfig]):
    """A Teredo relay."""

    protocol: TeredoRelayProtocol

    def open(self, network: INetwork) -> None:
        config, around = self.config, self._surroundings
        with blaming(config, "InterfaceName"):
            icmpv6 = around.endpoints.icmpv6()
        self._open.callback(icmpv6.close)
        tunnel = self.open_tunnel(config)
        with blaming(config, "Prefix"):
            network.add_route(config.prefix + bytes(12), 32, tunnel.index)
        core = self.build(
            lambda dice: Relay(
                self._scope,
                dice,
                prefix=config.prefix,
                mtu=config.interface_mtu,
                direct_bubbles=config.direct_bubbles,
                open_to_all=config.open_to_all,
                served=self._served(network),
            )
        )
        self.protocol = TeredoRelayProtocol(config.title, core, around.clock, tunnel, icmpv6, around.observer)
        self.open_port(config)
        self.watch(network)

    def startService(self) -> None:
        super().startService()
        self._log.info("{role}: Teredo pseudo-tunnel started", role=self.name)

    def changed(self, network: INetwork) -> None:
        if self.config.for_this_host:
            self.protocol.core.serve(_own_ipv6(network))
        super().changed(network)

    def _served(self, network: INetwork) -> IPv6Ranges | None:
        """What clients reach through us (RFC 4380 5.4.2)."""
        if self.config.for_this_host:
            return IPv6Ranges(addresses=_own_ipv6(network))
        return IPv6Ranges(self.config.served) if self.config.served else None


class TeredoServerService(RoleService[ServerConfig]):
    """A Teredo server."""

    def open(self, network: INetwork) -> None:
        config, around = self.config, self._surroundings
        with blaming(config, "ServerBindAddress"):
            native = around.endpoints.raw_ipv6()
        self._open.callback(native.close)
        addresses = config.bind_address, config.bind_address2
        # Our own addresses are good: a relay may be here too. The core knows its own two (RFC 4380 5.4.3).
        scope = IPv4Scope(config.allow_ipv4, broadcasts=network.broadcasts())
        keyring = Keyring(self.credentials(config.secret_file))
        core = self.build(
            lambda _: Server(
                addresses,
                scope,
                prefix=config.prefix,
                mtu=config.interface_mtu,
                keyring=keyring,
                secrets_required=config.secret_required,
                symmetric_bubbles=config.symmetric_bubbles,
            )
        )
        self.protocols = TeredoServerProtocol.pair(config.title, core, around.clock, native, around.observer)
        for protocol, address, keyword in zip(
            self.protocols, addresses, ("ServerBindAddress", "ServerBindAddress2"), strict=True
        ):
            self.listen(protocol, address, TEREDO_PORT, keyword)

    def startService(self) -> None:
        super().startService()
        self._log.info(
            "{role}: Teredo server started on {first} and {second}",
            role=self.name,
            first=show_ipv4(self.config.bind_address),
            second=show_ipv4(self.config.bind_address2),
        )


def _own(network: INetwork) -> list[IPv4]:
    return sorted({address for address, _ in network.ipv4_addresses()})


def _own_ipv6(network: INetwork) -> list[IPv6]:
    return [address for address, _ in network.ipv6_addresses() if not is_link_local(address)]


def _then(before: Deferred[object], port: IUDPTransport) -> Deferred[object]:
    """Stop a port after C{before}."""
    return before.addCallback(lambda _: maybeDeferred(IListeningPort(port).stopListening))
