# SPDX-License-Identifier: MIT
"""The three cores as targets."""

from enum import IntFlag

from miredo.address.endpoint import Endpoint, IPv6, endpoint, ipv4_of, parse_endpoint, parse_ipv4
from miredo.address.scope import is_global_ipv6, is_link_local
from miredo.address.teredo import ALL_NODES, is_teredo, mapped_of
from miredo.teredo.actions import Action, ForwardPacket, Qualified, SendDatagram, SendToGroup, Unqualified
from miredo.teredo.client import Client
from miredo.teredo.discovery import Subnet
from miredo.teredo.mire import CLIENT_PORT, SERVER_PORT, Mire
from miredo.teredo.relay import Relay
from miredo.teredo.server import Server
from miredo.wire.bubble import emit_bubble, is_bubble
from miredo.wire.encapsulation import Encapsulated, emit_encapsulation, emit_origin, parse_encapsulation
from miredo.wire.icmpv6 import EchoReply, EchoRequest, emit_icmpv6, parse_icmpv6
from miredo.wire.ipv6 import ICMPV6, destination_of, emit_ipv6, next_header_of, parse_ipv6, source_of
from miredo.wire.reader import MalformedPacket
from tests.fuzz.script import Script
from tests.fuzz.trial import ADDRESSES, CONTACT_LIMIT, ENDPOINTS, PEER_LIMIT, SCOPE, Dice, Trial
from tests.teredo.cores import (
    MAPPED,
    OTHER_SERVER,
    PEER_MAPPED,
    SERVER,
    advertisement,
    qualified_client,
)
from tests.wire.test_mutations import repaired

LONGEST_ADVERTISEMENT = 117
"""Bytes: authentication, origin, IPv6 header and the advertisement; a stranger gets no more for his solicitation."""


MIRE = parse_ipv4("203.0.113.7")
PRIMARIES = (SERVER.primary, OTHER_SERVER.primary)
LAN = Subnet(parse_ipv4("192.168.1.2"), 24)


class Answering(IntFlag):
    """How servers answer solicitations, or do not."""

    SILENT = 1
    MOVED = 2
    """The NAT has given the client another mapping."""
    SECONDARY_SILENT = 4
    SECONDARY_MOVED = 8
    """The NAT gives another mapping for another destination."""
    SPOILT = 16


class ClientTrial(Trial):
    """A client whose server answers until the story says otherwise."""

    def __init__(self) -> None:
        servers = [SERVER, OTHER_SERVER]
        super().__init__(Client(servers, SCOPE, Dice(), peer_limit=PEER_LIMIT, contact_limit=CONTACT_LIMIT))
        self.held: IPv6 | None = None
        self._server = Answering(0)
        self._spoilt = (0, 0)
        self._tests: dict[IPv6, list[bytes]] = {}
        self._solicited: list[tuple[bytes, Endpoint]] = []

    def own(self, script: Script) -> IPv6:
        return script.choice((self.held or ADDRESSES[0], *ADDRESSES[:2]))

    def destination(self, script: Script) -> IPv6:
        return script.choice((self.held or ADDRESSES[0], *ADDRESSES[:5]))

    def change_server(self, script: Script) -> None:
        told = script.byte()
        self._server = Answering(told & 0x1F)
        self._spoilt = (script.byte(), script.byte()) if Answering.SPOILT in self._server else (0, 0)

    def change(self, action: Action) -> None:
        match action:
            case Qualified(address):
                self.held = address
            case Unqualified(address):
                assert address == self.held
                self.held = None
            case _:
                pass
        assert self.held is None or is_teredo(self.held)

    def note(self, content: Encapsulated, to: Endpoint) -> None:
        super().note(content, to)
        if content.authentication is not None:
            self._solicited.append((content.authentication.nonce, to))
        elif next_header_of(content.packet) == ICMPV6:
            request = parse_icmpv6(parse_ipv6(content.packet)[0])
            assert isinstance(request, EchoRequest)
            self._tests.setdefault(destination_of(content.packet), []).append(request.data)

    def obey(self, actions: list[Action]) -> None:
        """And the server's answers to what was asked come at once."""
        super().obey(actions)
        asked, self._solicited = self._solicited, []
        for nonce, server in asked:
            if not self._server & (Answering.SILENT if ipv4_of(server) in PRIMARIES else Answering.SECONDARY_SILENT):
                self.arrive(self.answer(nonce, server), server)

    def answer(self, nonce: bytes, server: Endpoint) -> bytes:
        """An advertisement; a spoilt one has a byte changed, and its checksum is right all the same."""
        primary = OTHER_SERVER.primary if ipv4_of(server) in OTHER_SERVER else SERVER.primary
        moved = Answering.MOVED if ipv4_of(server) in PRIMARIES else Answering.SECONDARY_MOVED
        answer = bytearray(advertisement(nonce, PEER_MAPPED if moved in self._server else MAPPED, primary))
        offset, value = self._spoilt
        answer[offset % len(answer)] ^= value
        return mended(bytes(answer)) if value else bytes(answer)

    def reply(self, source: IPv6, destination: IPv6) -> bytes:
        tests = self._tests.get(source, [bytes(16)])
        return emit_icmpv6(source, destination, EchoReply(1, 1, tests[-1]), 64)

    def is_proof(self, content: Encapsulated, nonce: bytes | None, outer: Endpoint) -> bool:
        source = source_of(content.packet)
        if is_teredo(source):
            destination = destination_of(content.packet)
            answers = is_link_local(destination) and destination in self.keyed[source]
            known = answers or nonce in self.nonces[source]
            return mapped_of(source) == outer or (is_bubble(content.packet) and known)
        message = parse_icmpv6(parse_ipv6(content.packet)[0])
        return isinstance(message, EchoReply) and message.data in self._tests.get(source, [])

    def check_delivery(self, packet: bytes) -> None:
        super().check_delivery(packet)
        assert destination_of(packet) == self.held
        assert source_of(packet) != self.held


class RelayTrial(Trial):
    """A relay, and the native network behind it."""

    def own(self, script: Script) -> IPv6:
        return script.choice(ADDRESSES[1:5])

    def destination(self, script: Script) -> IPv6:
        return script.choice(ADDRESSES)

    def change_server(self, script: Script) -> None:
        """A relay has no server of its own: the packet goes to whom it knows longest."""
        for address in list(self.trusted)[:1]:
            self.transmit(self.data(ADDRESSES[1], address, 48 + script.byte()))

    def is_proof(self, content: Encapsulated, nonce: bytes | None, outer: Endpoint) -> bool:
        source = source_of(content.packet)
        if mapped_of(source) == outer and self.keyed[source]:
            return True
        answers = destination_of(content.packet) in self.keyed[source] or nonce in self.nonces[source]
        return is_bubble(content.packet) and answers

    def check_delivery(self, packet: bytes) -> None:
        super().check_delivery(packet)
        assert is_teredo(source_of(packet))
        assert not is_teredo(destination_of(packet))
        assert is_global_ipv6(destination_of(packet), SCOPE)


def client(data: bytes) -> None:
    """A client: datagrams, packets of its host, time, servers that fall silent."""
    ClientTrial().tell(Script(data))


def relay(data: bytes) -> None:
    """A relay: datagrams, packets for clients, time; the first bit says whether it sends direct bubbles."""
    script = Script(data)
    direct = script.byte() & 1 == 1
    core = Relay(SCOPE, Dice(), direct_bubbles=direct, peer_limit=PEER_LIMIT, contact_limit=CONTACT_LIMIT)
    RelayTrial(core).tell(script)


def server(data: bytes) -> None:
    """A server: where the datagram comes from, at which address it arrives, whether its checksum is mended; it."""
    script = Script(data)
    outer, told = script.choice((*ENDPOINTS, parse_endpoint("203.0.113.120:4096"))), script.byte()
    datagram = data[2:]
    if told & 2:
        datagram = mended(datagram)
    core = Server(SERVER, SCOPE)
    actions = core.receive(datagram, outer, told & 1, 0.0)
    assert len(actions) <= 1
    assert (sum(core.drops.values()) == 1) == (not actions), "dropped without a reason, or with more than one"
    assert core.receive(datagram, outer, told & 1, 0.0) == actions
    for action in actions:
        judge(action, parse_encapsulation(datagram), outer)


def mended(datagram: bytes) -> bytes:
    """The same datagram with the right ICMPv6 checksum."""
    try:
        found = parse_encapsulation(datagram)
    except MalformedPacket:
        return datagram
    return emit_encapsulation(found._replace(packet=emit_ipv6(repaired(parse_ipv6(found.packet)[0]))))


def judge(action: Action, asked: Encapsulated, outer: Endpoint) -> None:
    """RFC 4380 5.3.1: what a server may do with a datagram from C{outer}."""
    packet = asked.packet
    match action:
        case SendDatagram(payload, to):
            assert SCOPE.permits(ipv4_of(to)), "sent to a forbidden address"
            if payload.endswith(packet + asked.trailers):
                assert to == mapped_of(destination_of(packet))
                assert ipv4_of(to) not in SERVER
                assert payload in (packet + asked.trailers, emit_origin(outer) + packet + asked.trailers)
                assert is_bubble(packet) or next_header_of(packet) == ICMPV6
            else:
                assert to == outer
                assert len(payload) <= LONGEST_ADVERTISEMENT
        case ForwardPacket(forwarded, to):
            assert forwarded == packet[:7] + bytes((packet[7] - 1,)) + packet[8:]
            assert to == destination_of(packet)
            assert is_global_ipv6(to, SCOPE)
            assert mapped_of(source_of(packet)) == outer
        case _:
            raise AssertionError(f"a server asks for {action}")


def mire(data: bytes) -> None:
    """An echo responder: a datagram from somewhere to one of its ports leads to one that is not longer, or to none."""
    if len(data) < 2:
        return
    outer = ENDPOINTS[data[0] % len(ENDPOINTS)]
    core = Mire(MIRE, SCOPE)
    port = (SERVER_PORT, CLIENT_PORT)[data[1] % 2]
    answer = core.receive(data[2:], outer, port)
    assert sum(core.drops.values()) == (answer is None)
    if answer is not None:
        assert answer.to == outer
        assert len(answer.payload) <= len(data) - 2
        assert core.receive(answer.payload, outer, CLIENT_PORT) is None


def discovery(data: bytes) -> None:
    """A client on a LAN: the last byte of the IPv4 address that a datagram of the group comes from; it."""
    if not data:
        return
    outer, datagram = endpoint(LAN.own[:3] + data[:1], 4096), data[1:]
    client = qualified_client()
    client.core.attached([LAN], 0.0)
    actions = client.core.discovered(datagram, outer, 2.0)
    assert sum(client.core.drops.values()) == (not actions)
    if actions:
        source = source_of(parse_encapsulation(datagram).packet)
        introduction = SendToGroup(emit_bubble(client.address, ALL_NODES, hop_limit=1))
        assert actions == [introduction, SendDatagram(emit_bubble(client.address, source), outer)]
        assert LAN.has_host(ipv4_of(outer))
        assert ipv4_of(mapped_of(source)) == ipv4_of(MAPPED)
        assert source != client.address
        assert client.core.peers.get(source) is None, "trusted by a discovery bubble"
