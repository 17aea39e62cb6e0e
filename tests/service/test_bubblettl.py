# SPDX-License-Identifier: MIT
"""C{BubbleTTL} on its way from the file to the port."""

import pytest
from twisted.internet.interfaces import IUDPTransport

from miredo.address.endpoint import parse_ipv4
from miredo.address.teredo import compose
from miredo.kernel.memory import MemoryPort
from miredo.kernel.sockets import write_with_ttl
from miredo.wire.bubble import emit_bubble
from miredo.wire.icmpv6 import EchoRequest, emit_icmpv6
from tests.service.internet import ROLES, TeredoInternet
from tests.service.test_protocols import Refusing

PEER_PLACE = "203.0.113.9", 40000
PEER = compose(parse_ipv4("192.0.2.1"), parse_ipv4(PEER_PLACE[0]) + PEER_PLACE[1].to_bytes(2, "big"), 0)


def ttls_to_peer(directive: str) -> list[int | None]:
    """What the client's port was told of each direct bubble."""
    internet = TeredoInternet(ROLES + directive)
    internet.start()
    internet.run()
    client = internet.client_service()
    own = internet.qualified[-1]
    internet.client.tunnel.arrive(emit_icmpv6(own, PEER, EchoRequest(1, 1, b""), 64))
    internet.run(3.0)
    port: object = client.protocol.transport
    assert isinstance(port, MemoryPort)
    bubble = emit_bubble(own, PEER)
    ttls = [port.ttls.get(number) for number, sent in enumerate(port.written) if sent == (bubble, PEER_PLACE)]
    internet.stop()
    return ttls


@pytest.mark.requirement("C44a")
@pytest.mark.parametrize(
    ("directive", "expected"),
    [("", [1, None]), ("BubbleTTL 5\n", [1, None]), ("BubbleTTL 0\n", [None, None])],
)
def test_a_client_with_a_public_address_opens_its_own_firewall_only(directive: str, expected: list[int | None]) -> None:
    assert ttls_to_peer(directive) == expected


class Plain(Refusing):
    """A transport of somebody else's, which is no socket."""

    def __init__(self) -> None:
        super().__init__(AssertionError("never refused"))
        self.written: list[tuple[bytes, tuple[str, int] | None]] = []

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        self.written.append((packet, addr))


def test_a_transport_that_knows_no_ttl_sends_all_the_same() -> None:
    plain = Plain()
    write_with_ttl(IUDPTransport(plain), b"bubble", PEER_PLACE, 2)
    assert plain.written == [(b"bubble", PEER_PLACE)]
