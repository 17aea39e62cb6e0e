# SPDX-License-Identifier: MIT
"""The options of a DNS64."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from miredo.address.rfc6052 import WELL_KNOWN, Prefix
from miredo.dns64.names import is_name

Network = IPv4Network | IPv6Network

LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
MAPPED = IPv6Network("::ffff:0:0/96")
"""IPv4-mapped addresses, of no use in a AAAA record (RFC 6147 5.1.4)."""
UNREACHABLE = tuple(
    IPv4Network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32")
)
"""Where no translator carries anybody: faithd refuses these too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """
    An address and a port to listen at.

    @ivar address: of IPv4 or IPv6, numeric.
    @raise ValueError: one of them is none.
    """

    address: str
    port: int = 53

    def __post_init__(self) -> None:
        ip_address(self.address)
        if not 0 <= self.port <= 0xFFFF:
            raise ValueError(f"{self.port} is no port")


@dataclass(frozen=True, kw_only=True, slots=True)
class NameServer:
    """
    Who is asked.

    @ivar tls_name: what its certificate must say, a name or an address; it is asked over TLS then (RFC 7858), and over
        UDP and TCP otherwise.
    @ivar port: C{None} is 853 with TLS and 53 without.
    @raise ValueError: the address is none, or the port.
    """

    address: str
    port: int | None = None
    tls_name: str | None = None

    def __post_init__(self) -> None:
        ip_address(self.address)
        if self.port is not None and not 0 < self.port <= 0xFFFF:
            raise ValueError(f"{self.port} is no port")

    @property
    def place(self) -> tuple[str, int]:
        """Where it is."""
        return self.address, self.port or (53 if self.tls_name is None else 853)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pref64:
    """
    A prefix, and what it is for.

    @ivar ranges: the IPv4 addresses that it stands for; none is all that no other prefix has been given (RFC 6147 5).
    @ivar clients: the clients that are told of it; none is everybody.
    """

    prefix: Prefix
    ranges: tuple[IPv4Network, ...] = ()
    clients: tuple[Network, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Dns64Config:
    """
    @ivar listen: where clients are answered, over UDP and TCP.
    @ivar name_servers: the first that answers is believed.
    @ivar clients: whoever may ask; others are refused.
    @ivar prefixes: an address is made for each of them.
    @ivar rotate: of several prefixes an answer has one, in turn.
    @ivar non_global: the Well-Known Prefix stands for IPv4 addresses too that are not global, which RFC 6052 3.1
        forbids.
    @ivar excluded_ipv6: AAAA records that are passed over (RFC 6147 5.1.4).
    @ivar excluded_ipv4: A records of which no address is made.
    @ivar after_name_error: A records are asked for also where the AAAA question was answered with NXDOMAIN, which
        RFC 6147 5.1.2 forbids; for name servers that do not know better.
    @ivar reverse_name: the name of every address under the prefixes; without it they have those of the IPv4 addresses.
    @ivar hosts: a hosts(5) whose names are answered first.
    @ivar mix_case: questions are asked in random upper and lower case, which the answer must repeat.
    @ivar patience: seconds that each name server is waited for, in a first round, a second and so on.
    @ivar stream_patience: seconds for connecting, handshake and answer together, over TCP and TLS.
    @ivar stream_idle: seconds after which a connection without a question is closed, a client's or our own.
    @ivar questions: how many of the clients' are under way at most.
    @ivar connections: how many TCP connections clients may have.
    @ivar cache_octets: what the cache may hold, in bytes of messages; 0 is no cache.
    @ivar authorities: a file of CA certificates, PEM; C{None} is the system's.
    @raise ValueError: the options contradict each other or themselves.
    """

    name_servers: tuple[NameServer, ...]
    listen: tuple[Place, ...] = (Place(address="::1"), Place(address="127.0.0.1"))
    clients: tuple[Network, ...] = LOOPBACK
    prefixes: tuple[Pref64, ...] = (Pref64(prefix=WELL_KNOWN),)
    rotate: bool = False
    non_global: bool = False
    excluded_ipv6: tuple[IPv6Network, ...] = (MAPPED,)
    excluded_ipv4: tuple[IPv4Network, ...] = UNREACHABLE
    after_name_error: bool = False
    reverse_name: bytes | None = None
    hosts: str | None = "/etc/hosts"
    mix_case: bool = True
    patience: tuple[float, ...] = (1.0, 3.0)
    stream_patience: float = 5.0
    stream_idle: float = 10.0
    questions: int = 1000
    connections: int = 100
    cache_octets: int = 4 << 20
    authorities: str | None = None

    def __post_init__(self) -> None:
        for fault, text in self._faults():
            if fault:
                raise ValueError(text)

    def _faults(self) -> tuple[tuple[bool, str], ...]:
        prefixes = [each.prefix for each in self.prefixes]
        seconds = (*self.patience, self.stream_patience, self.stream_idle)
        return (
            (not self.name_servers, "there is no name server to ask"),
            (not self.listen, "there is no address to listen at"),
            (not self.prefixes, "there is no prefix"),
            (len(set(prefixes)) < len(prefixes), "a prefix is named twice"),
            (not self.patience or min(seconds) <= 0, "a time is not above 0 seconds"),
            (min(self.questions, self.connections) < 1, "a limit is below 1"),
            (self.reverse_name is not None and not is_name(self.reverse_name), "a name that cannot be written"),
            (self.cache_octets < 0, "a cache is smaller than nothing"),
        )
