# SPDX-License-Identifier: MIT
"""Debian's C miredo behind a plain Linux masquerade: its own kind does not reach it, our client does."""

import shutil
from pathlib import Path

import pytest

from miredo.address.endpoint import IPv6
from miredo.lab.fronts import NO_NAT, Front, KernelNat
from tests.interop.test_miredo import (
    ITS_CLIENT,
    MIREDO,
    OUR_CLIENT,
    OUR_SERVER,
    answers,
    in_the_lab,
    need_them,
    peers,
    qualified,
)

pytestmark = [pytest.mark.interop, pytest.mark.namespaced]

LEFT = [NO_NAT, KernelNat.MASQUERADE_FILTERED, KernelNat.MASQUERADE]


@pytest.fixture(autouse=True)
def _programs() -> None:
    """Skips where Debian's programs or nft are not there."""
    need_them()
    if shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        pytest.skip("there is no nft; cure: sudo apt-get install nftables")


async def reaches(node: str, destination: IPv6) -> bool:
    """Within the time that both programs take for all their attempts."""
    try:
        await answers(node, destination, 6.0)
    except AssertionError:
        return False
    return True


@pytest.mark.requirement("C44a")
@pytest.mark.parametrize("left", LEFT, ids=str)
def test_our_client_reaches_its_client_behind_a_masquerade(left: Front, tmp_path: Path) -> None:
    async def body() -> None:
        with peers(tmp_path) as debian:
            debian.start(MIREDO, "client-b", ITS_CLIENT)
            its = await qualified("client-b")
            await qualified("client-a")
            assert await answers("client-a", its) < 2

    in_the_lab(left, OUR_SERVER + OUR_CLIENT.format("client-a"), body, KernelNat.MASQUERADE)


@pytest.mark.parametrize(("left", "reached"), [(LEFT[0], True), (LEFT[1], False), (LEFT[2], False)], ids=str)
def test_its_client_reaches_its_client_there_from_a_public_address_only(
    left: Front, reached: bool, tmp_path: Path
) -> None:
    """So it is the bubble that makes the difference, and not this lab."""

    async def body() -> None:
        with peers(tmp_path) as debian:
            for node in ("client-a", "client-b"):
                debian.start(MIREDO, node, ITS_CLIENT)
            its = await qualified("client-b")
            await qualified("client-a")
            assert await reaches("client-a", its) is reached

    in_the_lab(left, OUR_SERVER, body, KernelNat.MASQUERADE)
