# SPDX-License-Identifier: MIT
"""The demonstration in memory: the same cores, the same plan, no privileges."""

from __future__ import annotations

from miredo.address.endpoint import show_endpoint, show_ipv6
from miredo.lab.links import Link
from miredo.lab.nat import NatBehaviour
from miredo.lab.pings import Ping
from miredo.lab.plan import (
    CLIENT,
    HOST,
    PEER,
    PEER_PATIENCE,
    PING_INTERVAL,
    PING_PATIENCE,
    PINGS,
    QUALIFICATION_PATIENCE,
    USUAL_NAT,
)
from miredo.lab.report import Report
from miredo.lab.world import ClientNode, World

SERVER, RELAY = ("192.0.2.1", "192.0.2.2"), "192.0.2.17"
NAT_A, NAT_B, HOST_TEXT = "198.51.100.1", "198.51.100.2", "2001:db8:3::1"


def run(behaviour: NatBehaviour, link: Link, seed: int = 0) -> Report:
    """The whole plan with a client behind such a NAT."""
    world = World(seed, link)
    server = world.server(*SERVER)
    world.relay(RELAY)
    host = world.host(HOST_TEXT, HOST)
    client = world.client(NAT_A, server, behaviour, CLIENT)
    peer = world.client(NAT_B, server, USUAL_NAT, PEER)
    report = Report(simulated=True, nat=behaviour, link=link, steps=world.steps)
    client.start()
    peer.start()
    if not world.run_until(lambda: client.qualified is not None, QUALIFICATION_PATIENCE):
        report.failure = "the client did not qualify"
        return report
    report.qualified = world.now
    report.first_ping = _wait(world, client.ping(host.address), PING_PATIENCE)
    for _ in range(PINGS):
        world.run(PING_INTERVAL)
        report.rtts.append(_wait(world, client.ping(host.address), PING_PATIENCE))
    address = client.qualified.address if client.qualified else None
    if address is not None:
        report.back_ping = _wait(world, host.ping(address), PING_PATIENCE)
    if peer.qualified is not None:
        report.peer_ping = _wait(world, client.ping(peer.qualified.address), PEER_PATIENCE)
    world.run_until(lambda: client.observed is not None, QUALIFICATION_PATIENCE)
    _describe(report, client, peer)
    return report


def _wait(world: World, ping: Ping, seconds: float) -> float | None:
    world.run_until(lambda: ping.answered is not None, seconds)
    return ping.rtt


def _describe(report: Report, client: ClientNode, peer: ClientNode) -> None:
    report.nodes = {"server": list(SERVER), "relay": [RELAY], HOST: [HOST_TEXT]}
    for node, external in ((client, NAT_A), (peer, NAT_B)):
        teredo = [show_ipv6(node.qualified.address)] if node.qualified else []
        report.nodes[node.name] = [f"NAT {external}", *teredo]
    if client.observed is not None:
        report.mapping, report.mapped = client.observed.mapping, show_endpoint(client.observed.mapped)
