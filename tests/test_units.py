# SPDX-License-Identifier: MIT
"""The units of C{etc/systemd}: what they say, how much they leave exposed, and that the daemons live under them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import time
from getopt import gnu_getopt
from pathlib import Path
from pwd import getpwnam
from typing import TYPE_CHECKING

import pytest

from miredo.commands.usage import COMMANDS
from tests import systemd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "etc" / "systemd"
UNITS = sorted(path.name for path in FOLDER.iterdir())
MOST_EXPOSED = 2.5
"""Of 10, by systemd-analyze's count; miredo 1.2.6 has 9.6."""
MODULES = {"miredo": "miredo", "miredo-server": "miredo_server", "miredo-checkconf": "checkconf"}

CLIENT = "ServerAddress 192.0.2.1\nSecretFile /etc/miredo/secret\nBindPort 4096\n"
HOOKED = "ServerAddress 192.0.2.1\nInterfaceName hooked\nSecretFile /etc/miredo/secret\nClientHook /etc/miredo/a-hook\n"
HOOK = """#!/bin/sh
echo "hook: $STATE as $(id -un)"
if [ "$STATE" = up ]; then
    ip link set "$IFACE" up mtu "$MTU"
    ip -6 address replace "$ADDRESS/32" dev "$IFACE"
fi
"""
SERVER = "ServerBindAddress 192.0.2.1\nSecretFile /etc/miredo/secret\n"
PATIENCE = 10.0


def said(unit: str) -> dict[str, list[str]]:
    """The values of every directive."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / unit).read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def command(words: str) -> tuple[str, dict[str, str], list[str]]:
    """The name of one of our commands, its options and its operands."""
    name, *arguments = shlex.split(words)
    declared = next(one for one in COMMANDS if one.name == name)
    options, operands = gnu_getopt(arguments, declared.letters, declared.words)
    return name, dict(options), operands


def test_there_is_a_unit_for_each_file_and_one_for_any() -> None:
    assert UNITS == ["miredo-server.service", "miredo.service", "miredo@.service"]


@pytest.mark.parametrize("unit", UNITS)
def test_the_file_that_is_checked_is_the_one_that_is_run(unit: str) -> None:
    values = said(unit)
    (before,), (start,) = values["ExecStartPre"], values["ExecStart"]
    checker, options, operands = command(before)
    name, given, rest = command(start)
    assert checker == "miredo-checkconf"
    assert operands == [given["-c"]]
    assert ("-s" in options) == (name == "miredo-server")
    assert "-f" in given
    assert rest == []


@pytest.mark.parametrize("unit", UNITS)
def test_the_number_of_the_process_is_written_where_the_unit_may_write(unit: str) -> None:
    values = said(unit)
    given = command(values["ExecStart"][0])[1]
    assert Path(given["-p"]).parent == Path("/run", values["RuntimeDirectory"][0])
    assert values["ProtectSystem"] == ["strict"]


@pytest.mark.parametrize("unit", UNITS)
def test_the_pages_that_a_unit_points_to_are_ours(unit: str) -> None:
    for place in said(unit)["Documentation"][0].split():
        name, _, section = place.removeprefix("man:").removesuffix(")").partition("(")
        assert (ROOT / "doc" / "man" / f"{name}.{section}").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian package systemd)")
@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_exposes_little(unit: str) -> None:
    words = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(FOLDER / unit)]
    told = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    level = re.search(r"Overall exposure level.*: ([\d.]+)", told)
    assert level is not None, told
    assert float(level[1]) <= MOST_EXPOSED, told


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[systemd.Machine]:
    """A machine that has booted, with our units, the commands, and the two addresses of a server."""
    if reason := systemd.missing():
        pytest.skip(f"no systemd of our own: {reason}")
    folder = tmp_path_factory.mktemp("machine")
    etc, programs = folder / "etc-miredo", folder / "sbin"
    etc.mkdir()
    programs.mkdir()
    for name, module in MODULES.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m miredo.commands.{module} "$@"\n')
        program.chmod(0o755)
    write(etc / "miredo.conf", CLIENT)
    write(etc / "miredo-server.conf", SERVER)
    write(etc / "other.conf", "[mire m]\nBindAddress 192.0.2.25\n")
    write(etc / "secret", "one hmac-sha256 a-secret-of-some-length\n", 0o600)
    write(etc / "hooked.conf", HOOKED)
    write(etc / "a-hook", HOOK, 0o755)
    write(etc / "wrong.conf", "Serveraddres 192.0.2.1\n")
    units = {unit: (FOLDER / unit).read_text() for unit in UNITS}
    units |= {f"{unit.partition('.')[0]}.service.d/log.conf": log_to_file() for unit in UNITS}
    shown = {"/etc/miredo": etc, "/usr/local/sbin": programs, **{str(place): place for place in pythons()}}
    with systemd.booted(folder, units, shown) as booted:
        booted.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "far")
        for end in ("uplink", "far"):
            booted.run("ip", "link", "set", end, "up")
        for address in ("192.0.2.1/24", "192.0.2.2/24", "192.0.2.25/24"):
            booted.run("ip", "address", "add", address, "dev", "uplink")
        yield booted


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)


def pythons() -> list[Path]:
    """What this Python consists of, and this tree; none below another or below C{/usr}."""
    seen = Path("/usr")
    places = dict.fromkeys(Path(one).resolve() for one in (sys.base_prefix, sys.prefix, ROOT))
    return [one for one in places if not {seen, *places} & {*one.parents} and one != seen]


HIDDEN = {("/home", "/root"): "ProtectHome=no", ("/tmp", "/var/tmp"): "PrivateTmp=no"}
"""Folders that a unit hides, and what shows them."""


def log_to_file() -> str:
    """What a test changes: there is no journal; and a tree in somebody's home, or a temporary one, can be seen."""
    parents = {str(parent) for place in pythons() for parent in place.parents}
    shown = [line for folders, line in HIDDEN.items() if parents & {*folders}]
    return "\n".join(["[Service]", *(f"Standard{one}=append:/run/log.%N" for one in ("Output", "Error")), *shown, ""])


def log(machine: systemd.Machine, name: str) -> str:
    return machine.run("cat", f"/run/log.{name}", check=False).stdout


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def started(machine: systemd.Machine, unit: str) -> int:
    """Start it; the number of its process."""
    done = machine.run("systemctl", "start", unit, check=False)
    assert done.returncode == 0, done.stderr + log(machine, unit.removesuffix(".service"))
    return int(machine.show(unit, "MainPID"))


def status_of(machine: systemd.Machine, pid: int) -> dict[str, str]:
    lines = machine.run("cat", f"/proc/{pid}/status").stdout.splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def has_address(machine: systemd.Machine, interface: str) -> bool:
    return "2001:0:c000:201:" in machine.run("ip", "-6", "address", "show", "dev", interface, check=False).stdout


@pytest.fixture
def client(machine: systemd.Machine) -> Iterator[int]:
    """The number of a client's process, which has an address from a server beside it."""
    started(machine, "miredo-server.service")
    yield started(machine, "miredo.service")
    machine.run("systemctl", "stop", "miredo.service", "miredo-server.service")


@pytest.mark.interop
def test_a_client_gets_its_address_under_its_unit(machine: systemd.Machine, client: int) -> None:
    """With a secret that root alone may read, from a server under a unit too."""
    assert eventually(lambda: has_address(machine, "teredo")), log(machine, "miredo")
    assert eventually(lambda: "Teredo pseudo-tunnel started" in log(machine, "miredo"))
    assert machine.run("cat", "/run/miredo/miredo.pid").stdout == f"{client}\n"


@pytest.mark.interop
def test_the_process_that_talks_to_the_network_has_no_privileges(machine: systemd.Machine, client: int) -> None:
    status = status_of(machine, client)
    assert set(status["Uid"].split()) == {str(getpwnam("nobody").pw_uid)}
    assert {int(status[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


@pytest.mark.interop
def test_a_reload_is_the_same_process_with_the_same_address(machine: systemd.Machine, client: int) -> None:
    assert eventually(lambda: has_address(machine, "teredo"))
    before = machine.run("ip", "-6", "address", "show", "dev", "teredo").stdout
    machine.run("systemctl", "reload", "miredo.service")
    assert eventually(lambda: "1 of 1 roles run on as they are" in log(machine, "miredo")), log(machine, "miredo")
    assert machine.show("miredo.service", "MainPID") == str(client)
    assert machine.show("miredo.service", "ActiveState") == "active"
    assert machine.run("ip", "-6", "address", "show", "dev", "teredo").stdout == before


@pytest.mark.interop
@pytest.mark.usefixtures("client")
def test_a_client_that_is_stopped_leaves_nothing(machine: systemd.Machine) -> None:
    assert eventually(lambda: has_address(machine, "teredo"))
    machine.run("systemctl", "stop", "miredo.service")
    assert machine.show("miredo.service", "Result") == "success"
    assert machine.run("ip", "link", "show", "teredo", check=False).returncode != 0
    assert machine.run("ls", "/run/miredo").stdout == "miredo-server.pid\n"
    assert log(machine, "miredo").splitlines()[-2].endswith("Exiting on signal 15 (Terminated)")
    assert "plugin cache" not in log(machine, "miredo")


@pytest.mark.interop
def test_what_a_killed_client_leaves_is_taken_back(machine: systemd.Machine, client: int) -> None:
    assert eventually(lambda: has_address(machine, "teredo"))
    machine.run("kill", "-KILL", str(client))
    assert eventually(lambda: machine.run("ls", "/run/miredo").stdout == "miredo-server.pid\n")
    assert machine.run("ip", "link", "show", "teredo", check=False).returncode != 0
    assert eventually(lambda: machine.show("miredo.service", "SubState") == "auto-restart")


@pytest.mark.interop
@pytest.mark.usefixtures("client")
def test_other_roles_run_beside_it_each_file_by_its_name(machine: systemd.Machine) -> None:
    pid = started(machine, "miredo@other.service")
    assert eventually(lambda: "Teredo echo responder started" in log(machine, "miredo@other"))
    assert machine.run("cat", "/run/miredo/other.pid").stdout == f"{pid}\n"
    machine.run("systemctl", "stop", "miredo@other.service")
    assert has_address(machine, "teredo")


@pytest.mark.interop
def test_a_hook_configures_the_tunnel_as_root_under_the_unit_s_restrictions(machine: systemd.Machine) -> None:
    started(machine, "miredo-server.service")
    started(machine, "miredo@hooked.service")
    assert eventually(lambda: has_address(machine, "hooked")), log(machine, "miredo@hooked")
    machine.run("systemctl", "stop", "miredo@hooked.service", "miredo-server.service")
    said_by_hook = re.findall(r"hook: (\w+) as (\w+)", log(machine, "miredo@hooked"))
    assert said_by_hook == [("up", "root"), ("down", "root"), ("destroy", "root")]


@pytest.mark.interop
def test_a_file_that_is_wrong_is_told_of_before_anything_starts(machine: systemd.Machine) -> None:
    assert machine.run("systemctl", "start", "miredo@wrong.service", check=False).returncode != 0
    machine.run("systemctl", "stop", "miredo@wrong.service")
    assert "/etc/miredo/wrong.conf:1:1: error: " in log(machine, "miredo@wrong")
    assert "Starting..." not in log(machine, "miredo@wrong")


@pytest.mark.interop
def test_nothing_of_this_machine_can_be_changed_from_the_other(machine: systemd.Machine, tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    assert machine.run("ls", tmp_path, check=False).returncode != 0
    for place in ("/etc", "/usr", "/usr/local/sbin", "/etc/miredo", ROOT):
        assert "Read-only file system" in machine.run("touch", f"{place}/new", check=False).stderr
    units = machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "--type=service").stdout
    known = [name for name, load, *_ in map(str.split, units.splitlines()) if load != "not-found"]
    assert {re.split(r"[@.]", name)[0] for name in known} <= {*MODULES}, units
