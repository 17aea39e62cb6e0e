# SPDX-License-Identifier: MIT
"""Children that are begun before it is known what they are for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from miredo.kernel.privileged.beginning import TUNNELS, begin
from miredo.kernel.privileged.commands import NumberTable
from miredo.kernel.privileged.worker import PrivilegedChild
from tests.kernel.privileged.children import charge, wait_for, whole_life


def test_one_that_is_told_nothing_ends_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    begun = begin(tunnels=True)
    begun.requests.close()
    begun.news.close()
    _, status = os.waitpid(begun.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.namespaced
@pytest.mark.parametrize("tunnels", [False, True])
def test_one_that_was_begun_before_serves_as_any_other(tunnels: bool) -> None:
    begun = begin(tunnels=tunnels)
    command = Path(f"/proc/{begun.pid}/cmdline")
    wait_for(lambda: command.read_text() != "")
    assert (TUNNELS in command.read_text().split("\0")) is tunnels
    child = PrivilegedChild.spawn(charge("ServerAddress 192.0.2.1\n"), begun)
    assert child.pid == begun.pid
    assert child.ask(NumberTable("main")).value in (b"254", None)  # as far as iproute2's file is there
    whole_life(child)


def test_to_begin_one_takes_no_twisted() -> None:
    text = "import sys; import miredo.kernel.privileged.beginning; print('twisted' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == "False\n"


def test_it_imports_no_core_and_nothing_that_only_other_sockets_of_pyroute2_need() -> None:
    text = (
        "import sys; from miredo.kernel.privileged.__main__ import spare_pyroute2; spare_pyroute2()\n"
        "import miredo.kernel.privileged.loop, miredo.kernel.privileged.obedience, miredo.kernel.privileged.permits\n"
        "import miredo.kernel.netlink; print(*sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=30, check=True)
    needless = {"asyncio", "hashlib", "miredo.teredo.mire", "miredo.teredo.server", "pyroute2.netlink.core", "ssl"}
    assert needless & {*ended.stdout.split()} == set()
