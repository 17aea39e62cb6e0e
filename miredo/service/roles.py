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

from miredo.address.endpoint import Dice, IPv4, IPv6, ipv4_of, port_of, show_ipv4
from miredo.address.ranges import IPv6Ranges
from miredo.address.scope import IPv4Scope, is_link_local
from miredo.address.teredo import DISCOVERY_GROUP, TEREDO_PORT
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
from miredo.service.configuring import Configured
from miredo.service.diagnosis import Diagnosis, Finding, leads_elsewhere, of_host, tampered
from miredo.service.hints import hear_unreachable
from miredo.service.hooks import configuring
from miredo.service.neighbourhood import Neighbourhood
from miredo.service.protocols import (
    OtherPort,
    TeredoClientProtocol,
    TeredoProtocol,
    TeredoRelayProtocol,
    TeredoServerProtocol,
    TunnelProtocol,
)
from miredo.service.recorder import FlightRecorder
from miredo.service.refusals import Refusals
from miredo.service.secretfile import BadSecretFileError, read_credentials
from miredo.service.selftest import SelfTest, place_of, stopped, unreached
from miredo.service.servernames import ServerNames
from miredo.service.sunset import say_sunset
from miredo.service.surroundings import StartFailure, Surroundings, blaming
from miredo.teredo.client import Client
from miredo.teredo.constants import LONGEST_REFRESH_INTERVAL
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
    _credentials: list[Credential] | None = None
    _credentials_file = ""

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        self.config = config
        self.setName(config.title)
        self._surroundings = surroundings
        self._scope = IPv4Scope(config.allow_ipv4)
        self._open = ExitStack()
        self._ports: list[IUDPTransport] = []
        self._receiving: list[tuple[TeredoProtocol, IUDPTransport]] = []
        self._diagnosis = Diagnosis(config.title)
        self._log = Logger(namespace="miredo")

    def is_as(self, config: RoleConfig | None) -> bool:
        """Whether it does already what a configuration says, its files included."""
        if config != self.config:
            return False
        try:
            return self._credentials is None or self._credentials == self._read_credentials(self._credentials_file)
        except (OSError, BadSecretFileError):
            return True  # what cannot be read now was good once, and is used until it can

    def privilegedStartService(self) -> None:
        """Open what the role needs.

        @raise StartFailure: something cannot be had; all that was opened is closed again.
        """
        try:
            with blaming(self.config, "Namespace"):
                network = self._surroundings.endpoints.network()
            self._open.callback(network.close)
            self._network = network
            self._diagnosis.say(*of_host(self.config, network))
            self._scope.attached(_own(network), network.broadcasts())
            self.open(network)
        except BaseException:
            self._close()
            raise

    def open(self, network: INetwork) -> None:
        """Open what this kind of role needs."""

    def startService(self) -> None:
        super().startService()
        self._log.info("{role}: Starting...", role=self.name)
        for protocol, port in self._receiving:
            self._test(protocol, port)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self._close()

    def _test(self, protocol: TeredoProtocol, port: IUDPTransport) -> None:
        """See whether datagrams reach a port, and say so if they do not."""
        around, to = self._surroundings, place_of(port, self._network)
        if to is None:
            return

        def ended(reached: bool) -> None:
            self._ports.remove(test.sender)
            stopped(test.sender)
            self._diagnosis.say(None if reached else unreached(to))

        test = SelfTest(protocol, around.endpoints, around.clock, around.dice, ended)
        self._ports.append(test.sender)
        self._open.callback(test.end)
        test.begin(to)

    def listen(self, protocol: TeredoProtocol, address: IPv4, port: int, keyword: str) -> IUDPTransport:
        with blaming(self.config, keyword):
            transport = self._surroundings.endpoints.listen_udp(protocol, show_ipv4(address), port)
        self._ports.append(transport)
        self._receiving.append((protocol, transport))
        return transport

    def build(self, make: Callable[[Dice], Core]) -> Core:
        """Make the core, and record it if that is wished."""
        path, around = self.config.record, self._surroundings
        if path is None:
            return make(around.dice)
        with blaming(self.config, "Record"):
            self.recorder = FlightRecorder(self.config.title, path, around.endpoints, around.dice, around.clock.now)
        self._open.callback(self.recorder.close)
        core = make(self.recorder.dice)
        self.recorder.watch(core)
        return core

    def credentials(self, path: str | None) -> list[Credential]:
        """What C{SecretFile} holds."""
        if path is None:
            return []
        try:
            self._credentials_file, self._credentials = path, self._read_credentials(path)
            return self._credentials
        except (OSError, BadSecretFileError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise StartFailure(f"{self.config.where('SecretFile')}: {reason}") from error

    def _read_credentials(self, path: str) -> list[Credential]:
        return read_credentials(path, self._surroundings.endpoints.open_file)

    def _close(self) -> Deferred[None]:
        """Close the ports, then everything else, the last first."""
        ports, self._ports = self._ports, []
        self._receiving.clear()
        closed: Deferred[object] = succeed(None)
        for port in ports:
            closed = _then(closed, port)
        self._open.close()
        return closed.addCallback(lambda _: None)


class TunnelService(RoleService[Config]):
    """A client or a relay."""

    protocol: TunnelProtocol

    def open_tunnel(self, config: TunnelConfig) -> ITunnel:
        with blaming(config, "InterfaceName"):
            tunnel = self._surroundings.endpoints.open_tunnel(config.interface_name, config.interface_mtu)
        self._open.callback(tunnel.close)
        self._tunnel = tunnel
        return tunnel

    def open_port(self, config: TunnelConfig) -> None:
        """Listen with the protocol, whose alarm is given back whatever happens."""
        self.protocol.copies_dscp = config.copy_dscp
        self._open.callback(self.protocol.end)
        try:
            transport = self._surroundings.endpoints.listen_udp(
                self.protocol, show_ipv4(config.bind_address), config.bind_port
            )
        except OSError as error:
            keyword = "BindAddress" if error.errno == EADDRNOTAVAIL else "BindPort"
            raise StartFailure(f"{config.where(keyword)}: {error.strerror}") from error
        self._ports.append(transport)
        self._receiving.append((self.protocol, transport))

    @property
    def port(self) -> int:
        """The UDP port that it listens on."""
        return int(self._ports[0].getHost().port)

    def watch(self, network: INetwork) -> None:
        """Notice when the addresses of the namespace, or its ways to the IPv4 Internet, change."""
        self._attached = _own(network), network.ways_out()
        watch = network.watch(lambda: self._noticed(network))
        self._open.callback(watch.close)

    def startService(self) -> None:
        super().startService()
        self.protocol.begin()

    def _noticed(self, network: INetwork) -> None:
        self.changed(network)
        if self.running:
            self._diagnosis.say(self.diagnose(network))

    def diagnose(self, network: INetwork) -> Finding | None:
        """What is wrong with the tunnel."""
        return tampered(network, self._tunnel, self.configured, self._surroundings.endpoints)

    @property
    def configured(self) -> Configured:
        """What the tunnel was given."""
        return Configured()

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
    _address: TunnelAddress | None = None
    _names: ServerNames | None = None
    _neighbourhood: Neighbourhood | None = None
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
                accept_strangers=config.accept_strangers,
                bubble_ttl=config.bubble_ttl,
                longest_interval=LONGEST_REFRESH_INTERVAL if config.determine_interval else None,
                probe_filtering=config.probe_filtering,
            )
        )
        configurer = configuring(config, around, network, tunnel)
        self._address = address = TunnelAddress(
            config.title, network, tunnel, around.clock, configurer, has_secret=credential is not None
        )
        self._beneath = self._open.pop_all()  # what a hook may need until it has ended
        self.protocol = TeredoClientProtocol(config.title, core, around.clock, tunnel, icmpv6, address, around.observer)
        self.open_port(config)
        with blaming(config, "BindPort"):
            errors = hear_unreachable(around.endpoints, self._scope.owns, self.port, self.protocol.unreachable)
        self._open.callback(errors.close)
        if config.local_discovery:
            self._join_group(network)
        self.watch(network)
        self._rest_if_needless(network)
        self._names = ServerNames(config, around.resolve, self._scope.permits, around.clock, self._use_servers)
        self._open.callback(self._names.end)
        self.protocol.news = self._names.heard
        self.protocol.listen = self._listen_besides

    def _listen_besides(self, port: OtherPort) -> IUDPTransport:
        return self._surroundings.endpoints.listen_udp(port, show_ipv4(self.config.bind_address), 0)

    def changed(self, network: INetwork) -> None:
        self._rest_if_needless(network)
        super().changed(network)
        if self._neighbourhood is not None and self.running:
            self._neighbourhood.look()

    def _join_group(self, network: INetwork) -> None:
        """RFC 4380 5.2.8. Somebody may have its port of all addresses, this client itself by its C{BindPort} too."""
        protocol, own = self.protocol, self.config.bind_address
        place = show_ipv4(ipv4_of(DISCOVERY_GROUP)), port_of(DISCOVERY_GROUP)
        try:
            group = self._surroundings.endpoints.join_group(self._ports[0], *place, protocol.discoveryReceived)
        except OSError as error:
            self._log.warn("{role}: no LocalDiscovery: {reason}", role=self.name, reason=error.strerror)
            return
        self._open.callback(group.close)
        protocol.group = group
        self._neighbourhood = Neighbourhood(group, network, own, protocol.attached)

    @property
    def configured(self) -> Configured:
        return Configured() if self._address is None else self._address.configured

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
        if self._address is not None:
            self._address.begin()
        super().startService()
        if self._neighbourhood is not None:
            self._neighbourhood.look()
        if self._names is not None:
            self._names.begin()

    def stopService(self) -> Deferred[None]:
        looked_up = succeed(None) if self._names is None else self._names.end()
        stopped = super().stopService().addCallback(lambda _: self._others_closed())
        return looked_up.addCallback(lambda _: stopped)

    def _close(self) -> Deferred[None]:
        """The tunnel goes once nobody configures it any more; everything above it at once."""
        closed = super()._close()
        if self._address is None:
            return closed
        ended = self._address.end().addCallback(lambda _: self._beneath.close())
        return ended.addCallback(lambda _: closed)

    def _others_closed(self) -> Deferred[None]:
        """The core's last act was to have its other ports closed."""
        if self._names is None:  # it was never opened
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self.protocol.closed.addCallback(lambda _: closed.callback(None))
        return closed

    def _use_servers(self, servers: Sequence[ServerAddresses]) -> None:
        self.protocol.core.qualification.use_servers(servers)
        self.protocol.restart()


class TeredoRelayService(TunnelService[RelayConfig]):
    """A Teredo relay.

    @ivar ready: whether it wants traffic: it runs, and is not about to end.
    """

    protocol: TeredoRelayProtocol
    ready = False
    _draining: Deferred[None] | None = None

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
        self.ready = True
        self._log.info("{role}: Teredo pseudo-tunnel started", role=self.name, notice=True)
        say_sunset(self.config.title, self.config.sunset, self._surroundings.today())
        self._diagnosis.say(self.diagnose(self._network))

    @property
    def configured(self) -> Configured:
        return Configured(routes=((self.config.prefix + bytes(12), 32),))

    def diagnose(self, network: INetwork) -> Finding | None:
        return super().diagnose(network) or leads_elsewhere(network, self.config.prefix, self._tunnel)

    def drain(self) -> Deferred[None] | None:
        """Want no more traffic, and forward what comes for C{DrainTime} yet; asked again meanwhile, L{hurry}."""
        if self._draining is not None:
            self.hurry()
        if not (self.ready and self.config.drain_time):
            return None
        self.ready = False
        text = "{role}: not ready: forwarding for {seconds} s yet, until another signal at the latest"
        self._log.info(text, role=self.name, seconds=self.config.drain_time)
        alarm = self._surroundings.clock.alarm(self.hurry)
        alarm.arm(self._surroundings.clock.now() + self.config.drain_time)
        self._draining = Deferred()
        return self._draining.addCallback(lambda _: alarm.cancel())

    def hurry(self) -> None:
        """Drain no longer."""
        draining, self._draining = self._draining, None
        if draining is not None:
            draining.callback(None)

    def stopService(self) -> Deferred[None]:
        self.ready = False
        return super().stopService()

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
                rate_limit=config.rate_limit,
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
        if self._credentials:
            refusals = Refusals(self.config.title, self.protocols[0].core.drops, self._surroundings.clock)
            self._open.callback(refusals.end)
        say_sunset(self.config.title, self.config.sunset, self._surroundings.today())


def _own(network: INetwork) -> list[IPv4]:
    return sorted({address for address, _ in network.ipv4_addresses()})


def _own_ipv6(network: INetwork) -> list[IPv6]:
    return [address for address, _ in network.ipv6_addresses() if not is_link_local(address)]


def _then(before: Deferred[object], port: IUDPTransport) -> Deferred[object]:
    """Stop a port after C{before}."""
    return before.addCallback(lambda _: maybeDeferred(IListeningPort(port).stopListening))
