# SPDX-License-Identifier: MIT
"""What a configuration says, as frozen dataclasses: one of the process, one a role.

An IPv4 address is its 4 bytes, a prefix its first 4 bytes, a name is a C{str}. Each field declares its directive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from posixpath import normpath
from typing import TYPE_CHECKING, ClassVar

from miredo.address.endpoint import IPv4, show_ipv4, show_ipv6
from miredo.address.scope import FORBIDDEN_IPV4, IPv4Scope
from miredo.address.teredo import SERVICE_PREFIX, TEREDO_PORT
from miredo.config.directive import REQUIRED, declared, directive
from miredo.config.problem import Place
from miredo.config.readers import (
    ANY_IPV4,
    Host,
    absolute_path,
    bind_address,
    choice,
    day,
    hook_path,
    host,
    interface_name,
    ipv4,
    ipv4_ranges,
    ipv6_ranges,
    link_mtu,
    namespace_name,
    port,
    relay_type,
    service_prefix,
    switch,
    user_name,
    whole_number,
)
from miredo.config.words import FastPath, LogFormat, LogLevel, Qualification, RelayType, ServerOrder, SyslogFacility
from miredo.teredo.constants import BUBBLE_TTL, MIRE_PORT
from miredo.teredo.symmetric import SymmetricBubbles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from miredo.config.problem import Problem

NOWHERE = Place("", None, "")
"""The place of what was not read from a file."""

REFRESH_INTERVAL_BOUNDS = 5, 120
"""Seconds: 120 is the largest interval of RFC 4380 5.2.7; below 5, our number, it only loads the server."""


def next_ipv4(address: IPv4) -> IPv4:
    """C{address} + 1, where a server's second address is unless it is given."""
    return ((int.from_bytes(address, "big") + 1) & 0xFFFF_FFFF).to_bytes(4, "big")


_SUNSET = directive("Sunset", day, "Day on which the service is going to end; it is said at the start.")
"""RFC 4380 5.5 has servers and relays announce it."""


@dataclass(frozen=True)
class Fault:
    """A value that is good by itself and wrong beside the C{others}; C{index} counts a repeated directive's lines."""

    keyword: str
    message: str
    hint: str | None = None
    others: tuple[str, ...] = ()
    index: int = 0


@dataclass(frozen=True)
class Claim:
    """What a role wants for itself in its namespace, or in the whole process."""

    keyword: str
    what: str
    address: IPv4 = ANY_IPV4
    anywhere: bool = False

    def clashes(self, other: Claim) -> bool:
        """Whether two roles cannot have both; 0.0.0.0 takes the port of every address."""
        return self.what == other.what and (self.address == other.address or ANY_IPV4 in (self.address, other.address))


@dataclass(frozen=True, kw_only=True)
class Located:
    """Knows where each of its directives was written."""

    section: Place = field(default=NOWHERE, compare=False, repr=False)
    places: Mapping[str, tuple[Place, ...]] = field(default_factory=dict, compare=False, repr=False)

    def where(self, keyword: str, index: int = 0) -> str:
        """C{miredo.conf:3: BindPort 3544}, or the section and the default of a directive that is not in the file."""
        written = self.places.get(keyword, ())
        if index < len(written):
            return str(written[index])
        default = next(one.default for one in declared(type(self)) if one.directive.keyword == keyword)
        said = keyword if default == REQUIRED else f"{keyword} (default {default.strip('()')})"
        return ": ".join(part for part in (str(self.section), said) if part)


@dataclass(frozen=True, kw_only=True)
class ProcessConfig(Located):
    """What concerns the process as a whole."""

    user: str | None = field(
        default=None, metadata=directive("User", user_name, "User that the program becomes once all is open.")
    )
    chroot: str | None = field(
        default=None, metadata=directive("Chroot", absolute_path, "Directory that the program locks itself into.")
    )
    pid_file: str | None = field(
        default=None, metadata=directive("PidFile", absolute_path, "File that holds the number of the process.")
    )
    syslog_facility: SyslogFacility = field(
        default=SyslogFacility.DAEMON,
        metadata=directive("SyslogFacility", choice(*SyslogFacility), "Facility of the messages sent to syslog."),
    )
    fast_path: FastPath = field(
        default=FastPath.AUTO,
        metadata=directive(
            "FastPath", choice(*FastPath), "What moves packets of known peers: auto, kernel, portable or off."
        ),
    )
    log: LogLevel = field(
        default=LogLevel.INFO,
        metadata=directive(
            "Log", choice(*LogLevel), "Least level that is logged: debug, info, warn, error or critical."
        ),
    )
    log_format: LogFormat = field(
        default=LogFormat.TEXT,
        metadata=directive("LogFormat", choice(*LogFormat), "What a line of the log is: text, or json (an object)."),
    )


@dataclass(frozen=True, kw_only=True)
class RoleConfig(Located):
    """What all roles have; C{name} is empty in a classic file."""

    kind: ClassVar[str]

    name: str = ""
    allow_ipv4: tuple[str, ...] = field(
        default=(),
        metadata=directive("AllowIPv4", ipv4_ranges, "Forbidden IPv4 ranges that a private Teredo may use."),
    )
    namespace: str | None = field(
        default=None, metadata=directive("Namespace", namespace_name, "Network namespace of sockets and tunnel.")
    )
    record: str | None = field(
        default=None, metadata=directive("Record", absolute_path, "File that the flight recorder writes.")
    )

    @property
    def title(self) -> str:
        """C{client a}, or C{client} in a classic file."""
        return f"{self.kind} {self.name}".rstrip()

    def faults(self) -> Iterator[Fault]:
        """What is wrong with the values together."""
        yield from ()

    def advice(self) -> Iterator[Fault]:
        """What works and had better be changed."""
        yield from ()

    def claims(self) -> Iterator[Claim]:
        """What no other role of the same namespace may have, and the file that no other role at all may have."""
        if self.record is not None:
            yield Claim("Record", f"file {normpath(self.record)}", anywhere=True)

    def _pair_faults(self, keyword: str, first: Host, second: Host | None, index: int = 0) -> Iterator[Fault]:
        """What is wrong with the two addresses of a server; a second one that is merely implied is not blamed twice."""
        unusable = self._forbids(first)
        if unusable:
            yield Fault(keyword, *unusable, ("AllowIPv4",), index)
        if isinstance(first, bytes) and second == next_ipv4(first):
            if not unusable and (unusable := self._forbids(second)):
                yield Fault(keyword, f"the second address, {unusable[0]}", unusable[1], ("AllowIPv4",), index)
        elif first == second:
            yield Fault(f"{keyword}2", "the two addresses of a server are the same", None, (keyword,))
        elif second and (unusable := self._forbids(second)):
            yield Fault(f"{keyword}2", *unusable, ("AllowIPv4",))

    def _forbids(self, address: Host) -> tuple[str, str | None] | None:
        """Why Teredo sends nothing to C{address} (RFC 4380 5.2.4), and the way out."""
        if isinstance(address, str) or IPv4Scope(self.allow_ipv4).permits(address):
            return None
        row = next(row for row in FORBIDDEN_IPV4 if row.first <= address <= row.last)
        block = f"{show_ipv4(row.first)}/{row.length}"
        cure = f'a private Teredo has a line "AllowIPv4 {" ".join([*self.allow_ipv4, block])}"'
        reason = f"{show_ipv4(address)} is in {block} ({row.name}, {row.source}), which Teredo does not use"
        return reason, None if row.lasting else cure


@dataclass(frozen=True, kw_only=True)
class TunnelConfig(RoleConfig):
    """What the roles with a tunnel interface have."""

    bind_address: IPv4 = field(
        default=ANY_IPV4, metadata=directive("BindAddress", bind_address, "IPv4 address to send from; 0.0.0.0 is any.")
    )
    bind_port: int = field(default=0, metadata=directive("BindPort", port, "UDP port to send from; 0 draws one."))
    interface_name: str = field(
        default="teredo", metadata=directive("InterfaceName", interface_name, "Name of the tunnel interface.")
    )
    interface_mtu: int = field(
        default=1280, metadata=directive("InterfaceMTU", link_mtu, "MTU of the tunnel interface, in bytes.")
    )
    copy_dscp: bool = field(
        default=False,
        metadata=directive(
            "CopyDSCP",
            switch,
            "Whether the DSCP of a packet stands in its IPv4 header too, for networks that look at it.",
            default="no",
        ),
    )

    def claims(self) -> Iterator[Claim]:
        """A tunnel and a port."""
        yield from super().claims()
        yield Claim("InterfaceName", f"interface {self.interface_name}")
        if self.bind_port:
            yield Claim("BindPort", f"UDP port {self.bind_port}", self.bind_address)


@dataclass(frozen=True, kw_only=True)
class ClientConfig(TunnelConfig):
    """A Teredo client (RFC 4380 5.2)."""

    kind: ClassVar[str] = "client"

    relay_type: RelayType = field(
        default=RelayType.CLIENT,
        metadata=directive(
            "RelayType",
            relay_type(RelayType.CLIENT, RelayType.AUTOCLIENT),
            "client, or autoclient, which rests while there is another way to the IPv6 Internet.",
        ),
    )
    server_address: tuple[Host, ...] = field(
        metadata=directive("ServerAddress", host, "Teredo server.", repeatable=True)
    )
    server_address2: Host | None = field(
        default=None,
        metadata=directive(
            "ServerAddress2", host, "Second IPv4 address of the Teredo server.", default="(ServerAddress + 1)"
        ),
    )
    server_order: ServerOrder = field(
        default=ServerOrder.FASTEST,
        metadata=directive(
            "ServerOrder",
            choice(*ServerOrder),
            "Which of several servers is asked: fastest, that is all at once; or listed, that is in their order.",
        ),
    )
    qualification: Qualification = field(
        default=Qualification.RELAXED,
        metadata=directive(
            "Qualification",
            choice(*Qualification),
            "relaxed, or strict: no address before both addresses of the server have answered, as in RFC 4380.",
        ),
    )
    refresh_interval: int = field(
        default=30,
        metadata=directive(
            "RefreshInterval",
            whole_number(*REFRESH_INTERVAL_BOUNDS, "a number of seconds"),
            "Seconds between signs of life to the server, at most.",
        ),
    )
    determine_interval: bool = field(
        default=False,
        metadata=directive(
            "DetermineInterval",
            switch,
            "Whether a longer interval is looked for, as long as the NAT allows, on a second UDP port.",
            default="no",
        ),
    )
    probe_filtering: bool = field(
        default=False,
        metadata=directive(
            "ProbeFiltering",
            switch,
            "Whether the NAT's filtering is looked into, once for each mapping; for the log alone.",
            default="no",
        ),
    )
    route_metric: int = field(
        default=1029,
        metadata=directive(
            "RouteMetric", whole_number(1, 0xFFFF_FFFF, "a metric"), "Metric of the default route; less is preferred."
        ),
    )
    client_hook: str | None = field(
        default=None,
        metadata=directive(
            "ClientHook",
            hook_path,
            "Program that configures the tunnel interface; none: this one does it itself.",
            default="none",
        ),
    )
    bubble_ttl: int = field(
        default=BUBBLE_TTL,
        metadata=directive(
            "BubbleTTL",
            whole_number(0, 255, "a TTL"),
            "TTL of the first direct bubble to a client, enough for the own NAT and no more; 0 is the usual one.",
        ),
    )
    accept_strangers: bool = field(
        default=True,
        metadata=directive(
            "AcceptStrangers",
            switch,
            "Whether peers that this host has not sent to may begin; no lets in nothing of theirs.",
            default="yes",
        ),
    )
    local_discovery: bool = field(
        default=True,
        metadata=directive(
            "LocalDiscovery",
            switch,
            "Whether clients on the same private network find each other, as RFC 4380 5.2.8 has it.",
            default="yes",
        ),
    )
    secret_file: str | None = field(
        default=None,
        metadata=directive(
            "SecretFile",
            absolute_path,
            "File with the secret that is shared with the server, for secure qualification.",
        ),
    )

    @property
    def rests(self) -> bool:
        """Whether it does without Teredo while the host has other IPv6 connectivity (RFC 4380 5.5)."""
        return self.relay_type is RelayType.AUTOCLIENT

    @property
    def servers(self) -> tuple[tuple[Host, Host | None], ...]:
        """Each server's first and second address; no second one: L{next_ipv4} of what the first's name resolves to."""
        return tuple((one, self.server_address2 or _implied(one)) for one in self.server_address)

    def faults(self) -> Iterator[Fault]:
        """Servers must be usable over Teredo and have two addresses each."""
        if self.server_address2 is not None and len(self.server_address) > 1:
            message = "it belongs to one ServerAddress, and there are several"
            yield Fault("ServerAddress2", message, "without it the second address of each is the first + 1")
            return
        for index, (first, second) in enumerate(self.servers):
            if first in self.server_address[:index]:
                yield Fault("ServerAddress", "this server is named twice", None, (), index)
            yield from self._pair_faults("ServerAddress", first, second, index)

    def claims(self) -> Iterator[Claim]:
        """A tunnel, a port, and the route to the service prefix, which a client takes from its server."""
        yield from super().claims()
        yield _route_claim("Namespace", SERVICE_PREFIX)


@dataclass(frozen=True, kw_only=True)
class RelayConfig(TunnelConfig):
    """A Teredo relay (RFC 4380 5.4)."""

    kind: ClassVar[str] = "relay"

    relay_type: RelayType = field(
        default=RelayType.CONE,
        metadata=directive(
            "RelayType",
            relay_type(RelayType.CONE, RelayType.RELAY, RelayType.RESTRICTED, RelayType.HOST),
            "cone, or relay, which is the same; host: for this host alone; "
            "restricted (deprecated): direct bubbles are sent too.",
        ),
    )
    served: tuple[str, ...] = field(
        default=(),
        metadata=directive("ServedPrefix", ipv6_ranges, "IPv6 prefixes that clients reach through this relay."),
    )
    open_to_all: bool = field(
        default=False,
        metadata=directive(
            "RelayOpen",
            switch,
            "Whether clients that the relay does not know may begin, as RFC 4380 5.4.2 allows.",
            default="no",
        ),
    )
    prefix: bytes = field(
        default=SERVICE_PREFIX,
        metadata=directive(
            "Prefix", service_prefix, "Teredo prefix, 32 bits, that is routed to the tunnel.", default="2001:0::"
        ),
    )
    drain_time: int = field(
        default=0,
        metadata=directive(
            "DrainTime",
            whole_number(0, 3600, "a number of seconds"),
            "Seconds that the relay goes on forwarding after it was told to end.",
        ),
    )

    sunset: date | None = field(default=None, metadata=_SUNSET)

    @property
    def direct_bubbles(self) -> bool:
        """Whether a bubble also goes straight to the client, as from a relay behind a NAT (RFC 4380 5.4.1)."""
        return self.relay_type is RelayType.RESTRICTED

    @property
    def for_this_host(self) -> bool:
        """Whether it is a host-specific relay (RFC 4380 5.4), which serves the addresses of its own host."""
        return self.relay_type is RelayType.HOST

    def faults(self) -> Iterator[Fault]:
        """A host-specific relay serves its host."""
        yield from super().faults()
        if self.for_this_host and self.served:
            message = "a host-specific relay serves the addresses of its host and no prefix"
            yield Fault("ServedPrefix", message, None, ("RelayType",))

    def advice(self) -> Iterator[Fault]:
        """C{restricted} is deprecated, as in miredo."""
        if self.direct_bubbles:
            message = "restricted is deprecated: the relay sends direct bubbles too"
            yield Fault("RelayType", message, "a relay with a public IPv4 address is a cone relay")

    def claims(self) -> Iterator[Claim]:
        """A tunnel, a port, and the route to its prefix."""
        yield from super().claims()
        yield _route_claim("Prefix", self.prefix)


@dataclass(frozen=True, kw_only=True)
class ServerConfig(RoleConfig):
    """A Teredo server (RFC 4380 5.3), on UDP port 3544 of two addresses."""

    kind: ClassVar[str] = "server"

    bind_address: IPv4 = field(metadata=directive("ServerBindAddress", ipv4, "First IPv4 address of the server."))
    bind_address2: IPv4 = field(
        default=b"",
        metadata=directive(
            "ServerBindAddress2", ipv4, "Second IPv4 address of the server.", default="(ServerBindAddress + 1)"
        ),
    )
    prefix: bytes = field(
        default=SERVICE_PREFIX,
        metadata=directive(
            "Prefix", service_prefix, "Teredo prefix, 32 bits, that clients are given.", default="2001:0::"
        ),
    )
    interface_mtu: int = field(
        default=1280, metadata=directive("InterfaceMTU", link_mtu, "MTU that clients are given, in bytes.")
    )
    secret_file: str | None = field(
        default=None,
        metadata=directive("SecretFile", absolute_path, "File with the secrets of clients, for secure qualification."),
    )
    secret_required: bool = field(
        default=False,
        metadata=directive("RequireSecret", switch, "Whether clients without a secret are refused.", default="no"),
    )
    symmetric_bubbles: SymmetricBubbles = field(
        default=SymmetricBubbles.PORT,
        metadata=directive(
            "SymmetricBubbles",
            choice(*SymmetricBubbles),
            "Bubbles from elsewhere than their address says, to our clients: strict, port or any.",
        ),
    )
    rate_limit: int = field(
        default=200,
        metadata=directive(
            "RateLimit",
            whole_number(0, 1_000_000, "a number of packets"),
            "Answers a second to one IPv4 address, and packets a second forwarded from one; 0 is no limit.",
        ),
    )
    sunset: date | None = field(default=None, metadata=_SUNSET)

    def __post_init__(self) -> None:
        if not self.bind_address2:
            object.__setattr__(self, "bind_address2", next_ipv4(self.bind_address))

    def faults(self) -> Iterator[Fault]:
        """Clients must be able to use both addresses, and to prove what they are asked to."""
        if self.secret_required and self.secret_file is None:
            yield Fault("RequireSecret", "there is no SecretFile", "name the file with the secrets of the clients")
        yield from self._pair_faults("ServerBindAddress", self.bind_address, self.bind_address2)

    def claims(self) -> Iterator[Claim]:
        """The Teredo port of both addresses."""
        yield from super().claims()
        yield Claim("ServerBindAddress", f"UDP port {TEREDO_PORT}", self.bind_address)
        yield Claim("ServerBindAddress2", f"UDP port {TEREDO_PORT}", self.bind_address2)


@dataclass(frozen=True, kw_only=True)
class MireConfig(RoleConfig):
    """A Teredo echo responder, on UDP ports 3544 and 3545 of one address; it has no state that C{Record} could keep."""

    kind: ClassVar[str] = "mire"

    bind_address: IPv4 = field(
        metadata=directive("BindAddress", ipv4, "Public IPv4 address, which its Teredo address embeds twice.")
    )
    record: None = field(default=None, init=False)

    def faults(self) -> Iterator[Fault]:
        """Clients and relays must be able to use the address."""
        if unusable := self._forbids(self.bind_address):
            yield Fault("BindAddress", *unusable, ("AllowIPv4",))

    def claims(self) -> Iterator[Claim]:
        """Both ports."""
        yield from super().claims()
        yield Claim("BindAddress", f"UDP port {TEREDO_PORT}", self.bind_address)
        yield Claim("BindAddress", f"UDP port {MIRE_PORT}", self.bind_address)


@dataclass(frozen=True)
class Configuration:
    """A file, read."""

    process: ProcessConfig
    roles: tuple[RoleConfig, ...]
    warnings: tuple[Problem, ...] = field(default=(), compare=False)


ROLES: Mapping[str, type[RoleConfig]] = {one.kind: one for one in (ClientConfig, RelayConfig, ServerConfig, MireConfig)}
"""The kinds of sections."""


def _implied(first: Host) -> Host | None:
    return next_ipv4(first) if isinstance(first, bytes) else None


def _route_claim(keyword: str, prefix: bytes) -> Claim:
    return Claim(keyword, f"the route to {show_ipv6(prefix + bytes(12))}/32")
