# SPDX-License-Identifier: MIT
"""The demonstration in memory: the same cores, the same plan, no privileges."""

from __future__ import annotations

from miredo.address.endpoint import show_ipv6
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
    SHOWN,
    USUAL_NAT,
)
from miredo.lab.report import Report
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET
from miredo.lab.world import CLIENT_PORT, ClientNode, World


def run(behaviour: NatBehaviour, link: Link, seed: int = 0) -> Report:
    """The whole plan with a client behind such a NAT."""
    world = World(seed, link)
    server = world.server(*TEREDO_INTERNET.addresses_of("server")[:2])
    world.relay(TEREDO_INTERNET.addresses_of("relay")[0])
    host = world.host(show_ipv6(HOST_ADDRESS), HOST)
    client = world.client(TEREDO_INTERNET.external_of(CLIENT), server, behaviour, CLIENT)
    peer = world.client(TEREDO_INTERNET.external_of(PEER), server, USUAL_NAT, PEER)
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
    report.nodes = {node: TEREDO_INTERNET.addresses_of(node) for node in SHOWN}
    for node in (client, peer):
        if node.qualified:
            report.nodes[node.name].append(show_ipv6(node.qualified.address))
    if client.observed is not None:
        report.observe(client.observed, CLIENT_PORT)
