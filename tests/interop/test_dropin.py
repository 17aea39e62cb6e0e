# SPDX-License-Identifier: MIT
r"""
Debian's C miredo and ours, started by the same lines with the same files, live through the same.

What is not in this table is alike, but for seconds and lost pings, and a line of ours about the NAT. Of the lines of a
log those of a process stand together::

    start, log (server)
        its   info Starting...
        ours  info Starting...
              info Teredo server started on 192.0.2.221 and 192.0.2.222
    start, log (relay)
        its   info Starting...
        ours  info Starting...
              notice Teredo pseudo-tunnel started
    start, log (client)
        its   info Starting...
              notice New Teredo address/MTU
              notice Teredo pseudo-tunnel started
              info (address: ADDRESS, MTU: 1280)
        ours  info Starting...
              notice New Teredo address/MTU (ADDRESS, 1280)
              notice Teredo pseudo-tunnel started (address: ADDRESS, MTU: 1280)
    pid file, text
        its   'PID'
        ours  'PID\n'
    pid file, owner
        its   root:nogroup
        ours  root:root
    worker, user and group (client, relay)
        its   miredo:nogroup
        ours  nobody:nogroup
    worker, other groups
        its   nogroup
        ours  none
    worker, capabilities
        its   CapBnd
        ours  none
    worker, NoNewPrivs
        its   0
        ours  1
    worker, root directory
        its   /
        ours  /run/miredo
    SIGHUP, log (client)
        its   notice Reloading configuration on signal 1 (Hangup)
              notice Child PID exited (code: 0)
              info Starting...
              notice New Teredo address/MTU
              notice Teredo pseudo-tunnel started
              info (address: ADDRESS, MTU: 1280)
        ours  notice Reloading configuration on signal 1 (Hangup)
              info 1 of 1 roles run on as they are, 0 begin anew
    SIGHUP, log (relay, server)
        its   notice Reloading configuration on signal 1 (Hangup)
              notice Child PID exited (code: 0)
              info Starting...
        ours  notice Reloading configuration on signal 1 (Hangup)
              info 1 of 1 roles run on as they are, 0 begin anew
    SIGHUP, address (client)
        its   another
        ours  the same
    SIGHUP, connection (client)
        its   breaks
        ours  goes on
    SIGTERM, log (client)
        its   notice Exiting on signal 15 (Terminated)
              notice Child PID exited (code: 0)
              info Terminated with no error.
        ours  notice Exiting on signal 15 (Terminated)
              info Teredo pseudo-tunnel stopped
    SIGTERM, log (relay, server)
        its   notice Exiting on signal 15 (Terminated)
              notice Child PID exited (code: 0)
              info Terminated with no error.
        ours  notice Exiting on signal 15 (Terminated)
    SIGUSR1, SIGUSR2 (client, relay)
        its   ends with status -10, leaves an interface, the pid file, a process
        ours  goes on
    SIGUSR1, SIGUSR2 (server)
        its   ends with status -10, leaves the pid file, a process
        ours  goes on
    second instance
        its   status 1
              Cannot create PID file FILE:
              Resource temporarily unavailable
              Please make sure another instance of the program is not already running.
        ours  status 1
              PROGRAM: process PID runs already: FILE is locked
    second instance, log
        its   nothing
        ours  critical PROGRAM: process PID runs already: FILE is locked
    SIGHUP, broken file, log (client, relay)
        its   notice Reloading configuration on signal 1 (Hangup)
              notice Child PID exited (code: 0)
              info Starting...
              notice Child PID exited (code: 2)
              info Terminated with error(s).
              error Invalid integer value "nonsense" for BindPort: Success
              alert Fatal configuration error
        ours  notice Reloading configuration on signal 1 (Hangup)
              error FILE:LINE:COLUMN: error: BindPort: nonsense is not a port from 0 to 65535
              error BindPort nonsense
              error ^^^^^^^^
              error all roles run on as they are
    SIGHUP, broken file, log (server)
        its   notice Reloading configuration on signal 1 (Hangup)
              notice Child PID exited (code: 0)
              warning Ignoring line 1: ServerBindAddress
              info Starting...
              notice Child PID exited (code: 2)
              info Terminated with error(s).
              alert Server address not specified
              alert Fatal configuration error
        ours  notice Reloading configuration on signal 1 (Hangup)
              error FILE:LINE:COLUMN: error: ServerBindAddress: there is no value
              error ServerBindAddress
              error ^^^^^^^^^^^^^^^^^
              error all roles run on as they are
    SIGHUP, broken file
        its   ends with status 1, leaves nothing
        ours  goes on
    SIGKILL (client)
        its   ends with status -9, leaves an interface, the pid file, a process
        ours  ends with status -9, leaves nothing
    -t, SIGTERM (server)
        its   goes on
        ours  ends
"""

from __future__ import annotations

import json
import textwrap
import traceback
from pathlib import Path
from socket import AF_INET, AF_INET6, SOCK_DGRAM, socket

import pytest

from miredo.kernel.namespaces import entered
from miredo.lab.fronts import NO_NAT, KernelNat
from tests.interop.dropin import (
    NAME_SERVER,
    NODES,
    PATIENCE,
    debian,
    need_debian,
)
from tests.interop.dropinlife import FIGURE, Facts, Life
from tests.namespaced import run_in_namespaces
from tests.test_tap import wait_for

pytestmark = [pytest.mark.interop, pytest.mark.root]


def in_full(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def lived(folder: Path, *, ours: bool, jailed: bool = False) -> Facts:
    """What is seen of one of the two programs."""
    need_debian()
    facts, jail = folder / "facts", folder / "jail"
    jail.mkdir()

    def body() -> None:
        with debian(folder, KernelNat.MASQUERADE_FILTERED) as built:
            if ours:
                built.replace_programs()
            life = Life(built, jail if jailed else None)
            if jailed:
                life.live_shortly()
            else:
                life.live()
            facts.write_text(json.dumps(life.facts))

    run_in_namespaces(body, in_full)
    seen: Facts = json.loads(facts.read_text())
    for fact in filter(FIGURE.search, seen):
        print(f"{fact}: {seen[fact]}")
    return seen


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    return lived(tmp_path_factory.mktemp("ours"), ours=True)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    return lived(tmp_path_factory.mktemp("theirs"), ours=False)


@pytest.fixture(scope="module", params=["as it is", "-t"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Ours, in the usual root directory or in one that was asked for."""
    if request.param == "-t":
        return lived(tmp_path_factory.mktemp("jailed"), ours=True, jailed=True)
    found: Facts = request.getfixturevalue("ours")
    return found


# ---------------------------------------------------------------- ours


@pytest.mark.namespaced
def test_what_leaves_the_lab_would_be_seen(tmp_path: Path) -> None:
    with debian(tmp_path, NO_NAT) as built:
        for node, family, elsewhere in ("client", AF_INET, NAME_SERVER), ("host", AF_INET6, "2001:db8:dead::1"):
            with entered(node), socket(family, SOCK_DGRAM) as sending:
                sending.sendto(b"", (elsewhere, 53))
        seen: list[str] = []

        def both_are_seen() -> bool:
            seen.extend(built.came_outside())
            return len(seen) == 2

        wait_for(both_are_seen)


def test_who_starts_it_sees_nothing_and_a_success(either: Facts) -> None:
    assert {either[f"{node}: start"] for node in NODES} == {"status 0\nnothing said"}


def test_a_client_gets_its_address_and_pings_pass_both_ways(either: Facts) -> None:
    seconds = [float(either[fact]) for fact in either if "seconds until" in fact]
    assert len(seconds) == 3
    assert max(seconds) < PATIENCE
    assert either["client: start, log"].endswith("notice Teredo pseudo-tunnel started (address: ADDRESS, MTU: 1280)")


@pytest.mark.parametrize("node", NODES)
def test_the_number_of_the_process_is_for_all_to_read(node: str, either: Facts) -> None:
    found = {what: either[f"{node}: pid file, {what}"] for what in ("text", "mode", "owner")}
    assert found == {"text": r"'PID\n'", "mode": "644", "owner": "root:root"}


@pytest.mark.parametrize("node", NODES)
def test_who_talks_to_the_network_has_no_privilege_and_sees_an_empty_directory(node: str, either: Facts) -> None:
    assert either[f"{node}: session of its own"] == "True"
    assert either[f"{node}: standard input, output and error"] == "/dev/null"
    found = seen_of(either, f"{node}: worker, ")
    root = found.pop("root directory")
    assert root == either[f"{node}: root directory that was asked for"]
    assert found == {
        "user and group": "miredo-server:nogroup" if node == "server" else "nobody:nogroup",
        "other groups": "none",
        "capabilities": "none",
        "all that root has here": "False",
        "CapEff": "",
        "NoNewPrivs": "1",
    }


@pytest.mark.parametrize("node", NODES)
def test_the_child_keeps_what_it_needs_and_no_more(node: str, either: Facts) -> None:
    assert seen_of(either, f"{node}: child, ") == {
        "user and group": "root:root",
        "other groups": "none",
        "capabilities": "CapPrm CapEff CapBnd",
        "all that root has here": "False",
        "CapEff": "3402",
        "NoNewPrivs": "0",
        "root directory": "/",
    }


def seen_of(facts: Facts, beginning: str) -> Facts:
    return {fact.removeprefix(beginning): facts[fact] for fact in facts if fact.startswith(beginning)}


def test_a_hangup_with_the_same_file_disturbs_nobody(either: Facts) -> None:
    assert {either[f"{node}: SIGHUP, pings lost"] for node in NODES} == {"none"}
    assert {either[f"{node}: SIGHUP, log"] for node in NODES} == {
        "notice Reloading configuration on signal 1 (Hangup)\ninfo 1 of 1 roles run on as they are, 0 begin anew"
    }
    assert (either["client: SIGHUP, address"], either["client: SIGHUP, connection"]) == ("the same", "goes on")


@pytest.mark.parametrize("node", NODES)
def test_a_hangup_with_a_broken_file_says_so_and_disturbs_nobody(node: str, ours: Facts) -> None:
    assert ours[f"{node}: SIGHUP, broken file"] == "goes on"
    log = ours[f"{node}: SIGHUP, broken file, log"]
    assert log.startswith("notice Reloading configuration on signal 1 (Hangup)\nerror FILE:LINE:COLUMN: error: ")
    assert log.endswith("all roles run on as they are")
    assert ours["client: SIGHUP, broken file, pings lost"] == "none"


@pytest.mark.parametrize("node", NODES)
def test_the_signals_for_the_user_do_nothing(node: str, ours: Facts) -> None:
    assert ours[f"{node}: SIGUSR1, SIGUSR2"] == "goes on"
    assert ours[f"{node}: SIGUSR1, SIGUSR2, log"] == "nothing"


@pytest.mark.parametrize("node", NODES)
def test_a_second_one_says_so_in_one_line_and_fails(node: str, ours: Facts) -> None:
    assert ours[f"{node}: second instance"] == "status 1\nPROGRAM: process PID runs already: FILE is locked"


@pytest.mark.parametrize("node", NODES)
def test_the_end_is_quick_and_leaves_nothing(node: str, either: Facts) -> None:
    """No process, one that nobody takes leave of either; no interface, address, route or rule; no file."""
    assert either[f"{node}: SIGTERM"] == "ends with status 0, leaves nothing"
    assert "notice Exiting on signal 15 (Terminated)" in either[f"{node}: SIGTERM, log"]
    assert float(either[f"{node}: SIGTERM, seconds"]) < PATIENCE


# ---------------------------------------------------------------- both


def table(one: Facts, other: Facts) -> str:
    """The facts that differ, each with the nodes that it differs for unless it does for all."""
    nodes: dict[tuple[str, str, str], list[str]] = {}
    for fact in filter(lambda fact: fact in other and not FIGURE.search(fact), one):
        node, what = fact.split(": ", 1)
        if one[fact] != other[fact]:
            nodes.setdefault((what, one[fact], other[fact]), []).append(node)
    rows = []
    for (what, left, right), where in nodes.items():
        rows.append(what if len(where) == len(NODES) else f"{what} ({', '.join(sorted(where))})")
        rows += [*lines("its   ", left), *lines("ours  ", right)]
    return textwrap.indent("\n".join(rows), "    ")


def lines(whose: str, fact: str) -> list[str]:
    first, *others = fact.split("\n")
    return [f"    {whose}{first}", *(f"          {other}" for other in others)]


def test_the_table_tells_all_differences(ours: Facts, theirs: Facts) -> None:
    told_here = table(theirs, ours)
    assert told_here in str(__doc__), told_here
