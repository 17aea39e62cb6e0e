# SPDX-License-Identifier: MIT
"""
Our programs where Debian's were, under the unit and the scripts that Debian's packages have left.

The unit needs nothing. The scripts start ours, and say rightly whether it runs; but start-stop-daemon looks for a
process whose executable is C{/usr/sbin/miredo}, and that of a Python program is Python. So C{stop} and C{reload} do not
find it, and C{start} does not see that it runs already, until C{/etc/default} says what doc/operating.md has.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from miredo.address.endpoint import IPv6
from miredo.lab.fronts import KernelNat
from tests.daemons import lives
from tests.interop.dropin import (
    CLIENT_FILE,
    PATIENCE,
    ROOT,
    SBIN,
    Debian,
    Ran,
    address_of,
    debian,
    ended,
    need_debian,
    pid_in,
    strays,
    traces,
)
from tests.test_tap import wait_for

pytestmark = [pytest.mark.interop, pytest.mark.root, pytest.mark.namespaced]

FRONT = KernelNat.MASQUERADE_FILTERED
UNIT = Path("/lib/systemd/system/miredo.service")
PROGRAMS = {"client": "miredo", "server": "miredo-server"}
FUNCTIONS = Path("/lib/lsb/init-functions")
"""What the scripts are written with."""
MANUAL = ROOT / "doc" / "operating.md"


@pytest.fixture(autouse=True)
def _packages() -> None:
    need_debian()


def scripted(built: Debian, node: str, verb: str) -> Ran:
    """Run a script of Debian's."""
    script = Path("/etc/init.d", PROGRAMS[node])
    if not (script.exists() and FUNCTIONS.exists()):
        pytest.skip(
            f"there is no {script}, or no {FUNCTIONS}; cure: sudo apt-get install miredo miredo-server sysvinit-utils"
        )
    return built.run(node, script, verb)


def address() -> IPv6:
    """The client's, once it has one."""
    wait_for(lambda: address_of("client") is not None, PATIENCE)
    found = address_of("client")
    assert found is not None
    return found


def manual(program: str) -> str:
    """What the manual has C{/etc/default} say, for the Python and the programs that are here."""
    found = re.search(rf"^# /etc/default/{program}\n(.*?)^(?:#|```)", MANUAL.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None, f"{MANUAL} has nothing for {program}"
    return found[1].replace("/opt/miredo/bin/python", sys.executable).replace("/opt/miredo/bin", str(SBIN))


def test_the_unit_runs_ours(tmp_path: Path) -> None:
    if not (UNIT.exists() and os.access("/bin/kill", os.X_OK)):
        pytest.skip(f"there is no {UNIT}, or no /bin/kill; cure: sudo apt-get install miredo procps")
    said = dict(re.findall(r"^(Exec\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    with debian(tmp_path, FRONT) as built:
        built.replace_programs()
        scripted(built, "server", "force-start")
        assert built.run("client", *shlex.split(said["ExecStartPre"])) == (0, "")
        with built.running("client", *shlex.split(said["ExecStart"])) as (process, output):
            before = address()
            assert pid_in("/run/miredo.pid") == process.pid
            reload = said["ExecReload"].replace("$MAINPID", str(process.pid))
            assert built.run("client", *shlex.split(reload)) == (0, "")
            wait_for(lambda: "1 of 1 roles run on as they are" in output.read_text(), PATIENCE)
            assert address() == before
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        lines = output.read_text().splitlines()
        assert all(line.startswith(f"miredo[{process.pid}]: ") for line in lines)
        assert [line.split(": ", 1)[1] for line in lines[-2:]] == [
            "Exiting on signal 15 (Terminated)",
            "Teredo pseudo-tunnel stopped",
        ]
        assert traces("client") == []
        scripted_end(built, "server")


def scripted_end(built: Debian, node: str) -> None:
    """End what a script has started and cannot end."""
    pid = pid_in(f"/run/{PROGRAMS[node]}.pid")
    os.kill(pid, signal.SIGTERM)
    assert ended(pid) == 0


@pytest.mark.parametrize("node", PROGRAMS)
def test_a_script_starts_ours_and_does_not_find_it_again(node: str, tmp_path: Path) -> None:
    with debian(tmp_path, FRONT) as built:
        built.replace_programs()
        assert scripted(built, node, "force-start").status == 0
        pid = pid_in(f"/run/{PROGRAMS[node]}.pid")
        assert scripted(built, node, "status").status == 0
        assert scripted(built, node, "reload").status == 1
        again = scripted(built, node, "force-start")
        assert again.status == 1
        assert f"{PROGRAMS[node]}: process {pid} runs already" in again.said
        assert scripted(built, node, "stop").status == 0
        assert lives(pid)
        scripted_end(built, node)


def all_verbs(built: Debian, node: str) -> list[tuple[str, Ran]]:
    """What a script says of each thing that it does."""
    verbs = ("force-start", "force-start", "status", "reload", "stop", "status")
    seen = [(verb, scripted(built, node, verb)) for verb in verbs]
    wait_for(lambda: not strays())
    assert not Path(f"/run/{PROGRAMS[node]}.pid").exists()
    return seen


@pytest.mark.parametrize("node", PROGRAMS)
def test_with_the_lines_of_the_manual_a_script_does_with_ours_what_it_does_with_debians(
    node: str, tmp_path: Path
) -> None:
    with debian(tmp_path, FRONT) as built:
        theirs = all_verbs(built, node)
        assert [ran.status for _, ran in theirs] == [0, 0, 0, 0, 0, 3]
        built.log.news()
        built.replace_programs()
        default = Path("/etc/default", PROGRAMS[node])
        built.show(default, default.read_text() + manual(PROGRAMS[node]))
        assert all_verbs(built, node) == theirs
        said = [line.text for line in built.log.news()]
        assert "Reloading configuration on signal 1 (Hangup)" in said
        assert "Exiting on signal 15 (Terminated)" in said


def test_a_script_reloads_no_broken_file(tmp_path: Path) -> None:
    with debian(tmp_path, FRONT) as built:
        built.replace_programs()
        default = Path("/etc/default/miredo")
        built.show(default, default.read_text() + manual("miredo"))
        with built.saying(CLIENT_FILE, "nonsense\n"):
            refused = scripted(built, "client", "reload")
        assert refused.status == 1
        assert f"{CLIENT_FILE}:1:1: error: " in refused.said
        assert refused.said.endswith("Cannot reload miredo: fix /etc/miredo/miredo.conf first.\n")
