# SPDX-License-Identifier: MIT
"""Cores to test, and the packets of those around them: who is who is as in the test vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import TypeVar

from miredo.address.endpoint import Dice, Endpoint, IPv4, IPv6, endpoint, parse_endpoint, parse_ipv4
from miredo.address.scope import FORBIDDEN_IPV4, IPv4Scope
from miredo.address.teredo import CLIENT_LINK_LOCAL, SERVICE_PREFIX, TEREDO_PORT, compose, server_link_local
from miredo.teredo.actions import Action, DeliverPacket, Qualified, SendDatagram, SendError
from miredo.teredo.client import Client
from miredo.teredo.constants import BUBBLE_TTL
from miredo.teredo.drops import Drop
from miredo.teredo.qualification import Holding, Server
from miredo.teredo.relay import Relay
from miredo.teredo.server import Server as ServerCore
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.encapsulation import emit_nonce_authentication, emit_origin, parse_encapsulation
from miredo.wire.icmpv6 import (
    DestinationUnreachable,
    EchoReply,
    EchoRequest,
    ICMPv6Message,
    emit_icmpv6,
    parse_icmpv6,
    teredo_router_advertisement,
)
from miredo.wire.ipv6 import UDP, IPv6Packet, destination_of, emit_ipv6, parse_ipv6, source_of
from miredo.wire.trailers import NonceTrailer, emit_trailer, nonce_in

SERVER = Server(parse_ipv4("203.0.113.120"), parse_ipv4("203.0.113.121"))
PRIMARY_ENDPOINT = endpoint(SERVER.primary, TEREDO_PORT)
SECONDARY_ENDPOINT = endpoint(SERVER.secondary, TEREDO_PORT)
OTHER_SERVER = Server(parse_ipv4("198.51.100.118"), parse_ipv4("198.51.100.119"))
OTHER_ENDPOINT = endpoint(OTHER_SERVER.primary, TEREDO_PORT)

MAPPED = parse_endpoint("192.0.2.1:4096")
"""The client's mapping, as its server sees it."""
PEER_MAPPED = parse_endpoint("192.0.2.10:8192")
PEER = compose(OTHER_SERVER.primary, PEER_MAPPED, 0x1234)
"""Another client, of another server."""
ELSEWHERE = parse_endpoint("192.0.2.10:60000")
"""Another mapping of the other client's NAT."""

RELAY = parse_endpoint("198.51.100.7:3545")
NATIVE = bytes.fromhex("20010db8000000000000000000000001")
OTHER_NATIVE = bytes.fromhex("20010db8000000000000000000000002")

KEYED = bytes.fromhex("fe80000000000000aabbccdd11223344")
"""The source of some relay's bubbles."""
NONCE = bytes.fromhex("deadbeef")
"""What a trailer has."""
FORBIDDEN = [row.first for row in FORBIDDEN_IPV4]
"""An address of each range that must not be sent to."""

PERIOD = 300.0
"""Seconds in which RFC 4380 5.2.6 counts to four."""

Kind = TypeVar("Kind")


def rolled(seed: int = 0) -> Dice:
    """Dice that fall alike in every run."""
    return Random(seed).randbytes


def only(kind: type[Kind], actions: Sequence[Action]) -> list[Kind]:
    """The actions of one kind."""
    return [action for action in actions if isinstance(action, kind)]


def sent(actions: Sequence[Action]) -> list[tuple[bytes, Endpoint]]:
    """What goes out, and where to."""
    return [(action.payload, action.to) for action in only(SendDatagram, actions)]


def delivered(actions: Sequence[Action]) -> list[bytes]:
    return [action.packet for action in only(DeliverPacket, actions)]


def error_in(action: SendError) -> DestinationUnreachable:
    """The ICMPv6 error that an action asks for; its checksum is still to come."""
    kind, code = action.message[0], action.message[1]
    assert (kind, action.message[2:8]) == (1, bytes(6))
    return DestinationUnreachable(code, action.message[8:])


def solicitation_nonce(datagram: bytes) -> bytes:
    """The nonce that a Router Solicitation asks to have back."""
    authentication = parse_encapsulation(datagram).authentication
    assert authentication is not None
    return authentication.nonce


def trailer_nonce(datagram: bytes) -> bytes | None:
    """The nonce that a bubble has behind it."""
    return nonce_in(parse_encapsulation(datagram).trailers)


def advertisement(
    nonce: bytes | None,
    mapped: Endpoint | None = MAPPED,
    server: IPv4 = SERVER.primary,
    message: ICMPv6Message | None = None,
    *,
    source: IPv6 | None = None,
    destination: IPv6 = CLIENT_LINK_LOCAL,
    hop_limit: int = 255,
) -> bytes:
    """A server's answer to a solicitation; valid as long as nothing else is asked for."""
    message = message or teredo_router_advertisement(SERVICE_PREFIX + server)
    packet = emit_icmpv6(source or server_link_local(server), destination, message, hop_limit)
    before = b"" if nonce is None else emit_nonce_authentication(nonce)
    return before + (b"" if mapped is None else emit_origin(mapped)) + packet


_serial = count()


def data(source: IPv6, destination: IPv6, size: int = 60) -> bytes:
    """A UDP packet of C{size} bytes, no two of them alike."""
    serial = next(_serial).to_bytes(8, "big")
    return emit_ipv6(IPv6Packet(0, 0, UDP, 64, source, destination, serial + bytes(size - 48)))


def routed(source: IPv6, destination: IPv6, segments_left: int = 1) -> bytes:
    """A packet with a routing header of type 0 (RFC 5095)."""
    header = bytes((UDP, 2, 0, segments_left)) + bytes(4) + NATIVE
    return emit_ipv6(IPv6Packet(0, 0, 43, 64, source, destination, header + bytes(8)))


def echo_reply(source: IPv6, destination: IPv6, nonce: bytes) -> bytes:
    return emit_icmpv6(source, destination, EchoReply(1, 1, nonce), 64)


def echo_request_in(packet: bytes) -> EchoRequest:
    """The connectivity test that a packet is."""
    message = parse_icmpv6(parse_ipv6(packet)[0])
    assert isinstance(message, EchoRequest)
    return message


def with_nonce(packet: bytes, nonce: bytes) -> bytes:
    """A bubble with a nonce behind it."""
    return packet + emit_trailer(NonceTrailer(nonce))


def indirect(source: IPv6, destination: IPv6, origin: Endpoint, nonce: bytes | None = None) -> bytes:
    """A bubble as the receiver's server passes it on."""
    bubble = emit_bubble(source, destination)
    return emit_origin(origin) + (bubble if nonce is None else with_nonce(bubble, nonce))


@dataclass
class QualifiedClient:
    """A client core that has its address since time 0, and shorter words for it."""

    core: Client
    address: IPv6

    def passes_or_receives(self, datagram: bytes, outer: Endpoint, now: float) -> list[Action]:
        """As the shell has it: the per-packet path first."""
        if self.core.passes(datagram, outer, now):
            return [DeliverPacket(datagram)]
        return self.core.receive(datagram, outer, now)

    def trusts(self, source: IPv6, outer: Endpoint, now: float) -> bool:
        """Whether C{outer} may send as C{source}: its packet is delivered, and at once."""
        packet = data(source, self.address)
        return delivered(self.passes_or_receives(packet, outer, now)) == [packet]

    @property
    def dropped(self) -> dict[Drop, int]:
        return dropped(self.core)

    def expire_until(self, now: float) -> list[Action]:
        """Let every deadline up to C{now} pass, each at its time; the server answers all solicitations."""
        actions: list[Action] = []
        while self.core.deadline is not None and self.core.deadline <= now:
            at = self.core.deadline
            expired = self.core.expire(at)
            for datagram, to in sent(expired):
                if datagram.startswith(b"\x00\x01"):
                    assert self.core.receive(advertisement(solicitation_nonce(datagram)), to, at) == []
            actions += expired
        return actions

    def tested(self, native: IPv6, now: float) -> bytes:
        """The nonce of the test that a packet of the host to a native host leads to."""
        (test, *_) = sent(self.core.transmit(data(self.address, native), now))
        return echo_request_in(test[0]).data

    def befriend(self, native: IPv6, now: float, outer: Endpoint = RELAY) -> list[Action]:
        """A native host is tested, and a relay brings its reply."""
        nonce = self.tested(native, now)
        return self.core.receive(echo_reply(native, self.address, nonce), outer, now)


def bubble_to(client: QualifiedClient, source: IPv6 = PEER) -> bytes:
    """A bubble that comes straight from its source."""
    return emit_bubble(source, client.address)


def expire_until(core: Client | Relay, now: float) -> list[Action]:
    """Let every deadline up to C{now} pass, each at its time."""
    actions: list[Action] = []
    while core.deadline is not None and core.deadline <= now:
        actions += core.expire(core.deadline)
    return actions


def dropped(core: Client | Relay | ServerCore) -> dict[Drop, int]:
    """The reasons that were met, and how often."""
    return {reason: count for reason, count in core.drops.items() if count}


def client_core(
    scope: IPv4Scope | None = None,
    servers: Sequence[Server] = (SERVER,),
    seed: int = 0,
    *,
    in_order: bool = True,
    strict: bool = False,
) -> Client:
    return Client(servers, scope or IPv4Scope(), rolled(seed), in_order=in_order, strict=strict)


def qualified_client(
    *,
    scope: IPv4Scope | None = None,
    contact_limit: int = 1024,
    peer_limit: int = 1024,
    accept_strangers: bool = True,
    bubble_ttl: int = BUBBLE_TTL,
    at: float = 0.0,
    seed: int = 0,
) -> QualifiedClient:
    """A client of L{SERVER} that is mapped to L{MAPPED}, its secondary server address asked and answered."""
    client = Client(
        [SERVER],
        scope or IPv4Scope(),
        rolled(seed),
        peer_limit=peer_limit,
        contact_limit=contact_limit,
        accept_strangers=accept_strangers,
        bubble_ttl=bubble_ttl,
    )
    ((solicitation, _),) = sent(client.start(at))
    qualified = client.receive(advertisement(solicitation_nonce(solicitation)), PRIMARY_ENDPOINT, at)
    (address,) = only(Qualified, qualified)
    ((probe, _),) = sent(qualified)
    client.receive(advertisement(solicitation_nonce(probe)), SECONDARY_ENDPOINT, at)
    return QualifiedClient(client, address.address)


def relay_core(
    *,
    scope: IPv4Scope | None = None,
    direct_bubbles: bool = False,
    peer_limit: int = 1024,
    contact_limit: int = 1024,
    seed: int = 0,
) -> Relay:
    return Relay(
        scope or IPv4Scope(),
        rolled(seed),
        direct_bubbles=direct_bubbles,
        peer_limit=peer_limit,
        contact_limit=contact_limit,
    )


def bubbles(actions: Sequence[Action]) -> list[tuple[bytes, Endpoint]]:
    """The bubbles that go out."""
    return [(payload, to) for payload, to in sent(actions) if is_bubble(payload)]


def ends(packet: bytes) -> tuple[IPv6, IPv6]:
    """Source and destination."""
    return source_of(packet), destination_of(packet)


def asked(actions: Sequence[Action]) -> bytes:
    """The nonce of the one solicitation that goes out."""
    ((datagram, _),) = sent(actions)
    return solicitation_nonce(datagram)


def solicitations(client: Client, until: float) -> list[tuple[float, Endpoint]]:
    """When, and to whom, a client solicits in vain."""
    found: list[tuple[float, Endpoint]] = []
    while client.deadline is not None and client.deadline <= until:
        now = client.deadline
        found += [(now, to) for _, to in sent(client.expire(now))]
    return found


def qualify(client: Client, actions: Sequence[Action], now: float, mapped: Endpoint = MAPPED) -> list[Action]:
    """The primary server address answers the solicitation among C{actions}."""
    nonces = [solicitation_nonce(datagram) for datagram, to in sent(actions) if to == PRIMARY_ENDPOINT]
    return client.receive(advertisement(nonces[-1], mapped), PRIMARY_ENDPOINT, now)


def refreshed_at(client: Client) -> float:
    """When the client will refresh."""
    state = client.qualification.state
    assert isinstance(state, Holding)
    return state.until
