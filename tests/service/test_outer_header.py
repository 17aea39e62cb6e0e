# SPDX-License-Identifier: MIT
"""What the IPv4 header of our datagrams says of the IPv6 packet inside: nothing of ECN, of the DSCP only if asked."""

import os
import socket

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorCore

from miredo.address.endpoint import show_ipv6
from miredo.assembly import assemble_on
from miredo.config import parse
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.namespaces import entered
from miredo.lab.building import Laboratory
from miredo.lab.pingsocket import PingSocket, is_configured
from miredo.lab.plan import USUAL_NAT
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET
from miredo.service.roles import TeredoClientService
from miredo.wire.ipv6 import dscp_of
from tests.kernel.test_endpoints import capture_on, frames
from tests.namespaced import install_reactor, run_reactor, until

ROLES = """\
[server s]
Namespace server
ServerBindAddress 192.0.2.1
[relay r]
Namespace relay
BindAddress 192.0.2.17
BindPort 3545
{0}
[client a]
Namespace client-a
ServerAddress 192.0.2.1
{0}
"""

EXPEDITED, CONGESTION_EXPERIENCED = 46, 3
RELAY = bytes([192, 0, 2, 17])


def outer_headers(directive: str) -> dict[str, set[int]]:
    """The TOS bytes of datagrams with a marked IPv6 packet, from and to the relay."""
    reactor = install_reactor()
    clock = BoottimeClock(reactor)
    lab = Laboratory(TEREDO_INTERNET, lambda node: KernelEndpoints(node, reactor), clock, os.urandom)
    roles = assemble_on(IReactorCore(reactor), parse(ROLES.format(directive), "lab.conf", strict=True))
    found: dict[str, set[int]] = {"from": set(), "to": set()}

    async def whole() -> None:
        lab.build(dict.fromkeys(("client-a", "client-b"), USUAL_NAT))
        lab.start()
        roles.privilegedStartService()
        roles.startService()
        client = list(roles)[2]
        assert isinstance(client, TeredoClientService)
        await until(lambda: (own := client.protocol.core.address) is not None and is_configured("client-a", own))
        own = client.protocol.core.address
        assert own is not None
        with PingSocket("client-a", reactor, clock, os.urandom) as pings:
            ping = pings.ping(HOST_ADDRESS)
            await until(lambda: ping.answered is not None)
        with capture_on("relay", "wan") as hearing:
            mark("client-a", show_ipv6(HOST_ADDRESS))
            mark("host", show_ipv6(own))

            def both_ways() -> bool:
                for frame in frames(hearing):
                    if frame[12:14] == b"\x08\x00" and dscp_of(frame[42:]) == EXPEDITED:
                        found["from" if frame[26:30] == RELAY else "to"].add(frame[15])
                return all(found.values())

            await until(both_ways)
        await maybeDeferred(roles.stopService)
        lab.close()

    run_reactor(whole(), timeout=20)
    return found


def mark(node: str, destination: str) -> None:
    """Send a packet that says that it is urgent and has met congestion."""
    with entered(node), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, EXPEDITED << 2 | CONGESTION_EXPERIENCED)
        udp.sendto(b"marked", (destination, 9))


@pytest.mark.requirement("E3", "E5")
@pytest.mark.namespaced
def test_the_outer_header_says_nothing_of_the_inner_one() -> None:
    assert outer_headers("") == {"from": {0}, "to": {0}}


@pytest.mark.requirement("E3", "E5")
@pytest.mark.namespaced
def test_the_dscp_is_copied_where_that_is_wished_and_ecn_is_not() -> None:
    assert outer_headers("CopyDSCP yes") == {"from": {EXPEDITED << 2}, "to": {EXPEDITED << 2}}
