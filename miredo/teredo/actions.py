# SPDX-License-Identifier: MIT
"""What a core asks its shell to do: nouns, in the order they are to be done."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from miredo.address.endpoint import Endpoint, IPv6, ipv4_of, port_of

PRIMARY, SECONDARY = 0, 1
"""Which of its own two IPv4 addresses a server sends from, or a client that has its service port and its secondary port
(RFC 4380 5.2.7); a relay has only the first."""
FILTERING_PORT = 2
"""A client's port that is there to look into the NAT's filtering."""


class SendDatagram(NamedTuple):
    """Send C{payload} over UDP from our service port.

    @ivar ttl: of the IPv4 packet; C{None} is the system's usual one.
    """

    payload: bytes
    to: Endpoint
    via: int = PRIMARY
    ttl: int | None = None


class SendToGroup(NamedTuple):
    """Send C{payload} from our service port to the discovery group, on every link where it is joined, with TTL 1."""

    payload: bytes


class OpenPort(NamedTuple):
    """Open another port of a client, to send and receive C{via}; any free number does."""

    via: int


class ClosePort(NamedTuple):
    """Close that port."""

    via: int


class DeliverPacket(NamedTuple):
    """Give an IPv6 packet to the host: write it to the tunnel interface."""

    packet: bytes


class ForwardPacket(NamedTuple):
    """Send an IPv6 packet as it is to the native IPv6 network (RFC 4380 5.3.1, a server's)."""

    packet: bytes
    to: IPv6


class SendError(NamedTuple):
    """Send an ICMPv6 error to a local or native sender; the checksum and the source are still to be filled in."""

    message: bytes
    to: IPv6


class Qualified(NamedTuple):
    """The client has an address, or another one than before."""

    address: IPv6
    mtu: int
    mapped: Endpoint
    server: Endpoint


class Unqualified(NamedTuple):
    """The client's address is no longer to be used."""

    address: IPv6
    reason: str


class ServerSilent(NamedTuple):
    """A whole round of solicitations had no answer."""

    server: Endpoint


class SecretExpiring(NamedTuple):
    """The server took our secret and says that a new one is to be had (RFC 4380 5.2.2)."""

    server: Endpoint


class RefreshDetermined(NamedTuple):
    """The refresh interval is so many seconds from now on: what a search found, or what it is when nothing is known."""

    interval: float


class ServerRelays(NamedTuple):
    """C{host} was reached through a relay at an address of our own server (RFC 6169 6.1.2)."""

    server: Endpoint
    host: IPv6


class Mapping(Enum):
    """What two probes to one port of two addresses can tell of a NAT's mapping (RFC 4787 4.1)."""

    UNKNOWN = "unknown"
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    DESTINATION_DEPENDENT = "destination-dependent"


class Filtering(Enum):
    """What an answer from an address that was never sent to can tell of a NAT's filtering (RFC 4787 5)."""

    NOT_MEASURED = "not measured"
    NOT_SEEN = "not seen"
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ENDPOINT_DEPENDENT = "address-dependent or address-and-port-dependent"


class NatObserved(NamedTuple):
    """The secondary server address was asked too: what is known of the NAT in front of us now."""

    mapping: Mapping
    mapped: Endpoint
    mapped_for_secondary: Endpoint | None
    filtering: Filtering = Filtering.NOT_MEASURED

    @property
    def same_address(self) -> bool | None:
        """Whether both servers saw one IPv4 address of ours (pooling, RFC 4787 4.1); C{None} if but one answered."""
        other = self.mapped_for_secondary
        return None if other is None else ipv4_of(other) == ipv4_of(self.mapped)

    def preserves(self, local_port: int) -> bool:
        """Whether the NAT maps our port to the same number (RFC 4787 4.2.1)."""
        return port_of(self.mapped) == local_port


class PeerTrusted(NamedTuple):
    """Packets to and from this peer may take the fast path."""

    address: IPv6
    endpoint: Endpoint


class PeerLost(NamedTuple):
    """This peer may no longer take the fast path."""

    address: IPv6


class AllLost(NamedTuple):
    """No peer may take the fast path any more."""


Announcement = Qualified | Unqualified | ServerSilent | SecretExpiring | ServerRelays | NatObserved | RefreshDetermined
"""What a client says of itself."""

Action = (
    SendDatagram
    | SendToGroup
    | OpenPort
    | ClosePort
    | DeliverPacket
    | ForwardPacket
    | SendError
    | Qualified
    | Unqualified
    | ServerSilent
    | SecretExpiring
    | ServerRelays
    | NatObserved
    | RefreshDetermined
    | PeerTrusted
    | PeerLost
    | AllLost
)
