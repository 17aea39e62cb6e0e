# SPDX-License-Identifier: MIT
"""The FTP gateway is core: no sockets, no clock, no dice, no Twisted."""

from tests.test_architecture import behind_the_gate


def test_the_gateway_imports_nothing_that_could_reach_the_world() -> None:
    done = behind_the_gate("miredo.faith.ftpsession")
    assert done.returncode == 0, done.stderr
