# SPDX-License-Identifier: MIT
"""The demonstration in memory: the same cores, the same plan, no privileges."""

from __future__ import annotations

from miredo.address.endpoint import IPv6, show_ipv6
from miredo.lab.fronts import Front, KernelNat
from miredo.lab.nat import NatBehaviour
from miredo.lab.pings import Ping
from miredo.lab.plan import (
    CLIENT,
    HOST,
    PEER,
    PING_INTERVAL,
    PING_PATIENCE,
    PINGS,
    QUALIFICATION_PATIENCE,
    SHOWN,
    Scenario,
)
from miredo.lab.report import Report
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET
from miredo.lab.world import CLIENT_PORT, ClientNode, NativeHost, World


def run(scenario: Scenario, seed: int = 0) -> Report:
    """The whole plan.

    @raise ValueError: a kernel's NAT is wanted, and there is no kernel in memory.
    """
    world = World(seed, scenario.link, native_link=scenario.link)
    server = world.server(*TEREDO_INTERNET.addresses_of("server")[:2])
    world.relay(TEREDO_INTERNET.addresses_of("relay")[0])
    host = world.host(show_ipv6(HOST_ADDRESS), HOST)
    client = world.client(TEREDO_INTERNET.external_of(CLIENT), server, _model(scenario.nat), CLIENT)
    peer = world.client(TEREDO_INTERNET.external_of(PEER), server, _model(scenario.peer_nat), PEER)
    report = Report(simulated=True, scenario=scenario, steps=world.steps)
    client.start()
    peer.start()
    if not world.run_until(lambda: client.qualified is not None, QUALIFICATION_PATIENCE):
        report.failure = "the client did not qualify"
        return report
    report.qualified = world.now
    if scenario.host_first:
        _ping_back(report, world, host, client)
    report.first_ping = _ping(world, client, host.address, PING_PATIENCE)
    for _ in range(PINGS if report.first_ping is not None else 0):
        world.run(PING_INTERVAL)
        report.rtts.append(_ping(world, client, host.address, PING_PATIENCE))
    if not scenario.host_first:
        _ping_back(report, world, host, client)
    if peer.qualified is not None:
        report.peer_ping = _ping(world, client, peer.qualified.address, scenario.peer_patience)
    world.run_until(lambda: client.observed is not None, QUALIFICATION_PATIENCE)
    _describe(report, client, peer)
    return report


def _model(front: Front) -> NatBehaviour | None:
    if isinstance(front, KernelNat):
        raise ValueError(f"{front} is the kernel's, and in memory there is none")
    return front if isinstance(front, NatBehaviour) else None


def _ping(world: World, client: ClientNode, destination: IPv6, seconds: float) -> float | None:
    """Nothing is answered to a client that has lost its address meanwhile."""
    return _wait(world, client.ping(destination), seconds) if client.qualified else None


def _ping_back(report: Report, world: World, host: NativeHost, client: ClientNode) -> None:
    if client.qualified is not None:
        report.back_ping = _wait(world, host.ping(client.qualified.address), PING_PATIENCE)


def _wait(world: World, ping: Ping, seconds: float) -> float | None:
    world.run_until(lambda: ping.answered is not None, seconds)
    return ping.rtt


def _describe(report: Report, client: ClientNode, peer: ClientNode) -> None:
    topology = TEREDO_INTERNET.fronted({CLIENT: report.scenario.nat, PEER: report.scenario.peer_nat})
    report.nodes = {node: topology.addresses_of(node) for node in SHOWN}
    for node in (client, peer):
        if node.qualified:
            report.nodes[node.name].append(show_ipv6(node.qualified.address))
    if client.observed is not None:
        report.observe(client.observed, CLIENT_PORT)
