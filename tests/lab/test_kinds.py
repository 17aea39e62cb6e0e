# SPDX-License-Identifier: MIT
"""One packet over links that lose some: a way is found in time, whichever end it comes from."""

import pytest

from miredo.lab.links import Link
from miredo.lab.nat import FAMILIAR, LINUX_MASQUERADE, NatBehaviour
from tests.recorded import recorded_worlds
from tests.world import PATIENCE, Lab, client_and_relay, qualified_lab

pytestmark = pytest.mark.untraced

SEEDS, ENOUGH = 1000, 980
LOSSY = Link(delay=0.02, loss=0.02)


def client_trusts_host(lab: Lab) -> bool:
    """After one packet of the client's host."""
    lab.ping()
    return lab.world.run_until(lambda: lab.client.core.peers.get(lab.host.address) is not None, PATIENCE)


def relay_trusts_client(lab: Lab) -> bool:
    """After one packet of the native host."""
    lab.ping_back()
    return lab.world.run_until(lambda: lab.relay.core.peers.get(lab.address) is not None, PATIENCE)


def trusted(behaviour: NatBehaviour, seed: int, *, by_relay: bool) -> bool:
    """Whether one packet of one end makes the other one trusted."""
    lab = client_and_relay(behaviour, LOSSY, seed=seed)
    lab.qualify(60.0)
    return relay_trusts_client(lab) if by_relay else client_trusts_host(lab)


@pytest.mark.requirement("A13", "C41", "R5")
@pytest.mark.parametrize("by_relay", [False, True], ids=["the client's host sends", "the native host sends"])
@pytest.mark.parametrize("name", ["port-restricted", "port-symmetric", "linux-masquerade"])
def test_at_two_percent_loss_one_packet_makes_its_peer_trusted_within_9_s(name: str, by_relay: bool) -> None:
    """Each datagram crosses two links. Recording so many worlds would take most of the time, and a seed gives each."""
    with recorded_worlds(limit=0):
        found = sum(trusted(FAMILIAR[name], seed, by_relay=by_relay) for seed in range(SEEDS))
    assert found >= ENOUGH


@pytest.mark.requirement("C22", "R8")
@pytest.mark.parametrize("by_relay", [False, True], ids=["the client's host sends", "the native host sends"])
def test_a_masquerade_meets_no_packet_before_its_client_has_opened_it(by_relay: bool) -> None:
    """What came too early would hold the port that the client's answer needs."""
    lab = qualified_lab(LINUX_MASQUERADE, Link(delay=0.04))
    assert lab.answered(lab.ping_back() if by_relay else lab.ping())
    assert sum(lab.nat.refused.values()) == 0
