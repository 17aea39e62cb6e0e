# SPDX-License-Identifier: MIT
"""The roles as Twisted services: open, begin, end, close.

C{privilegedStartService} opens everything that needs root and touches nothing else; C{startService} begins to talk;
C{stopService} leaves no address, route, interface, timer or descriptor behind.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from errno import EADDRNOTAVAIL
from typing import Generic, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.logger import Logger

from miredo.address.endpoint import Dice, IPv4, show_ipv4
from miredo.address.scope import IPv4Scope
from miredo.address.teredo import TEREDO_PORT
from miredo.config import ClientConfig, RelayConfig, RoleConfig, ServerConfig, TunnelConfig, next_ipv4
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
from miredo.service.surroundings import StartFailure, Surroundings, blaming
from miredo.teredo.client import Client
from miredo.teredo.qualification import Server as ServerAddresses
from miredo.teredo.relay import Relay
from miredo.teredo.security import Credential, Keyring
from miredo.teredo.server import Server

RESOLVE_AGAIN = 10.0
"""Seconds until a server's name that could not be resolved is looked up again. Ours."""

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
        watch = network.watch(lambda: self._changed(network))
        self._open.callback(watch.close)

    def startService(self) -> None:
        super().startService()
        self._log.info("{role}: Starting...", role=self.name)
        self.protocol.begin()

    def _changed(self, network: INetwork) -> None:
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

    def open(self, network: INetwork) -> None:
        config, around = self.config, self._surroundings
        servers = [
            ServerAddresses(first, second)
            for first, second in config.servers
            if isinstance(first, bytes) and isinstance(second, bytes)
        ]
        self._has_names = len(servers) < len(config.servers)
        if self._has_names and config.namespace is not None:
            raise StartFailure(
                f"{self._first_name()}: a role with a Namespace needs IPv4 addresses here, names are not looked up"
            )
        with blaming(config, "InterfaceName"):
            icmpv6 = around.endpoints.icmpv6()
        self._open.callback(icmpv6.close)
        tunnel = self.open_tunnel(config)
        refresh_interval = float(config.refresh_interval)
        known = [] if self._has_names else servers
        credential = self._credential()
        core = self.build(
            lambda dice: Client(known, self._scope, dice, refresh_interval=refresh_interval, credential=credential)
        )
        address = TunnelAddress(config.title, network, tunnel, config.route_metric, around.clock)
        self._open.callback(address.close)
        self.protocol = TeredoClientProtocol(config.title, core, around.clock, tunnel, icmpv6, address, around.observer)
        self.open_port(config)
        self.watch(network)
        self._again = around.clock.alarm(self._look_up)
        self._open.callback(self._again.cancel)

    def _credential(self) -> Credential | None:
        credentials = self.credentials(self.config.secret_file)
        if len(credentials) > 1:
            raise StartFailure(f"{self.config.where('SecretFile')}: a client has one secret, and there are several")
        return credentials[0] if credentials else None

    def startService(self) -> None:
        super().startService()
        if self._has_names:
            self._look_up()

    def _look_up(self) -> None:
        Deferred.fromCoroutine(self._find_servers())

    async def _find_servers(self) -> None:
        """Look up the servers that are names, until one at least has an address; then ask them in the file's order."""
        servers, reasons = [], []
        for index, (first, second) in enumerate(self.config.servers):
            try:
                primary = await self._look_up_host(first, "ServerAddress", index)
                secondary = await self._look_up_host(second or next_ipv4(primary), "ServerAddress2")
            except DNSLookupError as error:
                reasons.append(error.args[0])
            else:
                servers.append(ServerAddresses(primary, secondary))
        if not self.running:
            return
        after = "" if servers else f"; trying again in {RESOLVE_AGAIN:g} s"
        for reason in reasons:
            self._log.warn("{role}: {reason}{after}", role=self.name, reason=reason, after=after)
        if servers:
            self.protocol.core.qualification.use_servers(servers)
            self.protocol.restart()
        else:
            self._again.arm(self._surroundings.clock.now() + RESOLVE_AGAIN)

    async def _look_up_host(self, host: IPv4 | str, keyword: str, index: int = 0) -> IPv4:
        """The first address of a name that may be used.

        @raise DNSLookupError: there is none; its argument is a line for the log.
        """
        if isinstance(host, bytes):
            return host
        try:
            addresses = await self._surroundings.resolve(host)
        except DNSLookupError as error:
            raise DNSLookupError(f"{self.config.where(keyword, index)}: {str(error).rstrip('.')}") from error
        for address in addresses:
            if self._scope.permits(address):
                return address
        found = ", ".join(map(show_ipv4, addresses))
        raise DNSLookupError(f"{self.config.where(keyword, index)}: no IPv4 address that may be used among {found}")

    def _first_name(self) -> str:
        """Where the first server stands that is a name."""
        for index, (first, _) in enumerate(self.config.servers):
            if isinstance(first, str):
                return self.config.where("ServerAddress", index)
        return self.config.where("ServerAddress2")


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
            lambda dice: Relay(self._scope, dice, prefix=config.prefix, direct_bubbles=config.direct_bubbles)
        )
        self.protocol = TeredoRelayProtocol(config.title, core, around.clock, tunnel, icmpv6, around.observer)
        self.open_port(config)
        self.watch(network)

    def startService(self) -> None:
        super().startService()
        self._log.info("{role}: Teredo pseudo-tunnel started", role=self.name)


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


def _then(before: Deferred[object], port: IUDPTransport) -> Deferred[object]:
    """Stop a port after C{before}."""
    return before.addCallback(lambda _: maybeDeferred(IListeningPort(port).stopListening))
