# SPDX-License-Identifier: MIT
"""What a core asks its shell to do: nouns, in the order they are to be done."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from miredo.address.endpoint import Endpoint, IPv6, ipv4_of, port_of

PRIMARY, SECONDARY = 0, 1
"""Which of its own two IPv4 addresses a server sends from; a client and a relay have only the first."""


class SendDatagram(NamedTuple):
    """Send C{payload} over UDP from our service port."""

    payload: bytes
    to: Endpoint
    via: int = PRIMARY


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


class Mapping(Enum):
    """What two probes to one port of two addresses can tell of a NAT's mapping (RFC 4787 4.1)."""

    UNKNOWN = "unknown"
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    DESTINATION_DEPENDENT = "destination-dependent"


class NatObserved(NamedTuple):
    """The secondary server address was asked too: what is known of the NAT in front of us now."""

    mapping: Mapping
    mapped: Endpoint
    mapped_for_secondary: Endpoint | None

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


Announcement = Qualified | Unqualified | ServerSilent | SecretExpiring | NatObserved
"""What a client says of itself."""

Action = (
    SendDatagram
    | DeliverPacket
    | ForwardPacket
    | SendError
    | Qualified
    | Unqualified
    | ServerSilent
    | SecretExpiring
    | NatObserved
    | PeerTrusted
    | PeerLost
    | AllLost
)
