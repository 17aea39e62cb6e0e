# SPDX-License-Identifier: MIT
"""What client, relay and server are by the manuals' words: the commands in a laboratory, and what passes its wires."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from miredo.address.endpoint import show_ipv4
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.namespaces import entered
from miredo.lab.fronts import KernelNat
from miredo.lab.kernelnat import CURE
from miredo.lab.nat import Refusal
from miredo.lab.pingsocket import PingSocket
from miredo.lab.plan import USUAL_NAT
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET, NatPlace
from miredo.wire.bubble import is_bubble
from miredo.wire.icmpv6 import EchoRequest, parse_icmpv6
from miredo.wire.ipv6 import ICMPV6, UDP, IPv6Packet, destination_of, source_of
from tests.interop.test_miredo import address_in, answers, qualified
from tests.manuals.internet import Internet, Tap
from tests.manuals.places import opened_by, raw_ipv6_sockets
from tests.namespaced import install_reactor, pause, run_reactor, until

if TYPE_CHECKING:
    from pathlib import Path

    from miredo.address.endpoint import IPv6
    from tests.daemons import Running

SERVER = "ServerBindAddress 192.0.2.1\n"
CLIENT = "ServerAddress 192.0.2.1\n"
LOST = "ServerAddress 192.0.2.9\n"
"""Of a client whose server is not there."""
RELAY = "RelayType {}\nBindPort 3545\n"
EXTERNAL, RELAY_ADDRESS = "198.51.100.1", "192.0.2.17"
PROTOCOL_41 = 41

manual = pytest.mark.manual


async def has_said(running: Running, text: str) -> None:
    await until(lambda: text in running.text, 15)


async def has_no_ipv6(net: Internet, client: str) -> None:
    """Neither native, nor through a NAT that would let protocol 41 pass."""
    reactor = install_reactor()
    pinging = PingSocket(client, reactor, BoottimeClock(reactor), os.urandom)
    with pinging, pytest.raises(OSError, match="unreachable"):
        pinging.ping(HOST_ADDRESS)
    dropped = net.lab.nats[client].dropped
    before = dropped["not a whole UDP datagram"]
    with entered(client):
        tunnel = socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOL_41)
    with tunnel:
        tunnel.sendto(bytes(40), (RELAY_ADDRESS, 0))
    await until(lambda: dropped["not a whole UDP datagram"] > before)


def is_echo_request(packet: IPv6Packet) -> bool:
    return packet.next_header == ICMPV6 and isinstance(parse_icmpv6(packet), EchoRequest)


@pytest.mark.namespaced
@manual("M4", "M5", "M6", "M7", "M8", "M9", "M10", "M12", "M29", "M38", "N6", "N9", "N24", "O9", "O10")
def test_client_relay_and_server_are_what_the_manuals_say(tmp_path: Path) -> None:
    async def body() -> None:
        with Internet(tmp_path, dict.fromkeys(("client-a", "client-b"), USUAL_NAT)) as net:
            at_nat, at_other_nat = net.tap("core", "nat-client-a"), net.tap("core", "nat-client-b")
            at_server, at_servers_ipv6 = net.tap("server", "wan"), net.tap("server", "six")
            at_relay, at_relays_ipv6 = net.tap("relay", "wan"), net.tap("relay", "six")
            server = net.start("miredo-server", "server", SERVER)
            relay = net.start("miredo", "relay", RELAY.format("relay"), "192.0.2.9")
            await has_no_ipv6(net, "client-a")
            await has_said(server, "Teredo server started")
            await has_said(relay, "Teredo pseudo-tunnel started")
            net.start("miredo", "client-b", LOST)
            net.start("miredo", "client-a", CLIENT)
            client = await qualified("client-a")
            await answers("client-a", HOST_ADDRESS)
            await answers("six", client)
            has_all_in_udp(at_nat, client)
            is_asked_by_clients_and_relays(at_server)
            forwards_what_sets_up(at_server, at_servers_ipv6, at_relays_ipv6, client)
            assert raw_ipv6_sockets(server.pid) & opened_by(server.pid)
            forwards_both_ways(at_relay, at_relays_ipv6, client)
            assert "192.0.2.9 is ignored" in relay.text
            await until(lambda: any(sent.destination == "192.0.2.9" for sent in at_other_nat.carried))
            assert address_in("client-b") is None

    run_reactor(body(), timeout=40)


def has_all_in_udp(at_nat: Tap, client: IPv6) -> None:
    """A client: what leaves its NAT is UDP over IPv4, and has its packets inside."""
    assert {packet.protocol for packet in at_nat.ipv4 if show_ipv4(packet.source) == EXTERNAL} == {UDP}
    sent = [one for one in at_nat.carried if one.source == EXTERNAL]
    assert any(source_of(one.packet) == client for one in sent if one.destination == RELAY_ADDRESS)


def is_asked_by_clients_and_relays(at_server: Tap) -> None:
    assert {one.source for one in at_server.carried if one.port == 3544} == {EXTERNAL, RELAY_ADDRESS}


def forwards_what_sets_up(at_server: Tap, at_servers_ipv6: Tap, at_relays_ipv6: Tap, client: IPv6) -> None:
    """A server: echo requests of the client's own go by it, bubbles come by it, and no packet that a relay carries."""
    sent = [packet for packet in at_servers_ipv6.ipv6 if packet.source == client]
    assert {packet.destination for packet in sent} >= {HOST_ADDRESS}
    assert all(map(is_echo_request, sent))
    assert {packet.payload for packet in sent}.isdisjoint(packet.payload for packet in at_relays_ipv6.ipv6)
    assert any(is_bubble(one.packet) for one in at_server.carried if one.destination == EXTERNAL)


def forwards_both_ways(at_relay: Tap, at_relays_ipv6: Tap, client: IPv6) -> None:
    """A relay: what is in UDP at one side of it stands by itself at the other."""
    native = {(packet.source, packet.destination, packet.payload) for packet in at_relays_ipv6.ipv6}
    inside = [one.packet for one in at_relay.carried]
    for ends in ((client, HOST_ADDRESS), (HOST_ADDRESS, client)):
        carried = {packet[40:] for packet in inside if (source_of(packet), destination_of(packet)) == ends}
        assert carried & {payload for source, destination, payload in native if (source, destination) == ends}


# ---------------------------------------------------------------- where a relay may be

RELAY_BEHIND_NAT = replace(
    TEREDO_INTERNET,
    wires=tuple(wire for wire in TEREDO_INTERNET.wires if wire.segment.name != "core--relay"),
    routes=tuple(one for one in TEREDO_INTERNET.routes if (one.node, one.interface) != ("relay", "wan")),
    nats=(TEREDO_INTERNET.nats[0], NatPlace("relay", "192.168.3.2/24", RELAY_ADDRESS, "core")),
)


@pytest.mark.namespaced
@manual("O21")
def test_behind_a_restricted_nat_a_relay_gets_no_answer_unless_it_is_told_so(tmp_path: Path) -> None:
    async def body() -> None:
        with Internet(tmp_path, {"client-a": USUAL_NAT, "relay": USUAL_NAT}, RELAY_BEHIND_NAT) as net:
            server = net.start("miredo-server", "server", SERVER)
            relay = net.start("miredo", "relay", RELAY.format("relay"))
            await has_said(server, "Teredo server started")
            await has_said(relay, "Teredo pseudo-tunnel started")
            net.start("miredo", "client-a", CLIENT)
            client = await qualified("client-a")
            reactor = install_reactor()
            with PingSocket("host", reactor, BoottimeClock(reactor), os.urandom) as pinging:
                refused = net.lab.nats["relay"].nat.refused
                before = refused[Refusal.FILTERED]
                ping = pinging.ping(client)
                await until(lambda: refused[Refusal.FILTERED] > before)
                await pause(0.5)
                assert ping.answered is None
            relay.end()
            relay = net.start("miredo", "relay", RELAY.format("restricted"))
            await has_said(relay, "Teredo pseudo-tunnel started")
            await answers("host", client)

    run_reactor(body(), timeout=40)


# ---------------------------------------------------------------- how it is kept out

NFT = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
PERIMETER = """
table ip perimeter {
  chain outgoing {
    type filter hook forward priority filter
    oifname wan udp dport 3544 counter drop
  }
}
"""


def nft(node: str, *words: str, text: str = "") -> str:
    """Run it in a node; what it prints."""
    assert NFT is not None
    with entered(node):
        return subprocess.run([NFT, *words], input=text, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(NFT is None, reason=f"there is no nft; cure: {CURE}")
@pytest.mark.namespaced
@manual("M39")
def test_a_perimeter_that_drops_what_goes_to_port_3544_has_no_client_behind_it(tmp_path: Path) -> None:
    fronts = dict.fromkeys(("client-a", "client-b"), KernelNat.MASQUERADE_FILTERED)

    async def body() -> None:
        with Internet(tmp_path, fronts) as net:
            nft("nat-client-a", "-f", "-", text=PERIMETER)
            server = net.start("miredo-server", "server", SERVER)
            await has_said(server, "Teredo server started")
            kept_out = net.start("miredo", "client-a", CLIENT)
            await has_said(kept_out, "Starting...")
            net.start("miredo", "client-b", CLIENT)
            await qualified("client-b")
            await until(lambda: "counter packets 0 " not in nft("nat-client-a", "list", "table", "ip", "perimeter"))
            assert address_in("client-a") is None
            nft("nat-client-a", "delete", "table", "ip", "perimeter")
            await qualified("client-a")

    run_reactor(body(), timeout=40)
