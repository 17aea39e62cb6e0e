# SPDX-License-Identifier: MIT
"""Our client and Debian's, behind every pair of NATs through which two of Debian's reach each other in the same run."""

from pathlib import Path

import pytest

from miredo.lab.nat import FAMILIAR, NatBehaviour
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
from tests.namespaced import run_in_namespaces

pytestmark = [pytest.mark.interop]

NATS = ("cone", "address-restricted", "port-restricted", "linux-masquerade", "symmetric")
PATIENCE = 5.0
"""Seconds: a ping a second has five chances."""


@pytest.fixture(autouse=True)
def _programs() -> None:
    need_them()


def reaches(folder: Path, left: NatBehaviour, right: NatBehaviour, *, ours: str = "") -> bool:
    """Whether client-a reaches client-b, cold; the one that is named is our program, the others are Debian's."""
    folder.mkdir()
    found: list[bool] = []

    async def body() -> None:
        with peers(folder) as debian:
            for node in {"client-a", "client-b"} - {ours}:
                debian.start(MIREDO, node, ITS_CLIENT)
            await qualified("client-a")
            destination = await qualified("client-b")
            try:
                await answers("client-a", destination, PATIENCE)
            except AssertionError:
                found.append(False)
            else:
                found.append(True)

    text = OUR_SERVER + (OUR_CLIENT.format(ours) if ours else "")

    def whole() -> None:
        in_the_lab(left, text, body, right)
        (folder / "reached").write_text(str(found[0]))

    run_in_namespaces(whole, str)
    return (folder / "reached").read_text() == "True"


@pytest.mark.parametrize("right", NATS)
@pytest.mark.parametrize("left", NATS)
def test_what_two_of_its_clients_can_ours_can_with_one_of_them(left: str, right: str, tmp_path: Path) -> None:
    """Both directions: ours sends first, and ours is sent to first."""
    ends = FAMILIAR[left], FAMILIAR[right]
    theirs = reaches(tmp_path / "theirs", *ends)
    first = reaches(tmp_path / "first", *ends, ours="client-a")
    second = reaches(tmp_path / "second", *ends, ours="client-b")
    print(f"{left} -> {right}: two of theirs {theirs}, ours first {first}, theirs first {second}")
    assert first >= theirs
    assert second >= theirs
