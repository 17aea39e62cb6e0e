# SPDX-License-Identifier: MIT
"""C{twistd miredo --check} as a process: it says what is wrong, changes nothing, and its status tells of errors."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from miredo.kernel.interfaces import INetwork
from miredo.kernel.netlink import KernelNetwork
from tests.namespaced import install_reactor
from tests.test_tap import CAP_NET_ADMIN, TWISTD, give_addresses, state, take_interface, take_port, without

CONF = Path("/proc/sys/net")
RELAY = "[relay r]\nBindAddress 192.0.2.1\nBindPort 4444\n"
BOTH = f"[server s]\nServerBindAddress 192.0.2.1\n{RELAY}"
FORWARDING = "net/ipv6/conf/all/forwarding"


@dataclass
class Checked:
    """What a check said, and its status."""

    status: int
    lines: list[str]
    errors: str


def check(folder: Path, text: str, *lacking: int) -> Checked:
    """Check a file, and see that it changed nothing and left nothing."""
    (folder / "a.conf").write_text(text)
    before = state(), sysctls(), os.listdir(folder)
    told = subprocess.run(
        [TWISTD, "miredo", "--check", "-c", "a.conf"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        preexec_fn=without(*lacking),
    )
    assert (state(), sysctls(), os.listdir(folder)) == before
    assert "Traceback" not in told.stdout + told.stderr
    return Checked(told.returncode, told.stdout.splitlines(), told.stderr)


def sysctls() -> dict[str, str]:
    """Those of every link, as far as they can be read."""
    found = {}
    for path in (*CONF.glob("ipv[46]/conf/*/*"), CONF / "ipv4/ip_forward"):
        try:
            found[str(path)] = path.read_text()
        except OSError:  # a secret that nobody has set
            found[str(path)] = ""
    return found


def host() -> INetwork:
    """This child's namespace, with addresses, and forwarding."""
    give_addresses()
    network = KernelNetwork(None, install_reactor())
    network.set_sysctl(FORWARDING, 1)
    loopback = network.index_of("lo")
    assert loopback is not None
    network.set_up(loopback)
    return network


@pytest.mark.namespaced
def test_a_machine_with_which_nothing_is_wrong_is_ok(tmp_path: Path) -> None:
    host().close()
    assert len(sysctls()) > 50
    assert check(tmp_path, BOTH) == Checked(0, ["ok"], "")
    assert check(tmp_path, "ServerAddress teredo.example.org\n") == Checked(0, ["ok"], "")


@pytest.mark.namespaced
def test_a_warning_does_not_fail(tmp_path: Path) -> None:
    network = host()
    network.set_sysctl(FORWARDING, 0)
    network.close()
    told = check(tmp_path, BOTH)
    assert (told.status, told.lines[1:]) == (0, ["ok"])
    assert told.lines[0].startswith("warning: relay r: this host does not forward IPv6")


@pytest.mark.namespaced
def test_every_error_is_said_and_the_status_is_one(tmp_path: Path) -> None:
    host().close()
    take_interface()
    take_port()
    told = check(tmp_path, BOTH.replace("[relay", "ServerBindAddress2 192.0.2.99\n[relay"))
    assert told.status == 1
    assert [line.split("; cure: ")[0] for line in told.lines] == [
        "error: server s: a.conf:3: ServerBindAddress2 192.0.2.99: UDP 192.0.2.99 port 3544: "
        "Cannot assign requested address",
        "error: relay r: a.conf:4: [relay r]: InterfaceName (default teredo): interface teredo: exists already",
        "error: relay r: a.conf:6: BindPort 4444: UDP 192.0.2.1 port 4444: Address already in use",
    ]
    assert all("; cure: " in line for line in told.lines)


@pytest.mark.namespaced
def test_who_may_not_make_a_tunnel_is_told_so(tmp_path: Path) -> None:
    host().close()
    told = check(tmp_path, RELAY, CAP_NET_ADMIN)
    assert told.status == 1
    (line,) = told.lines
    assert "interface teredo: Operation not permitted; cure: run as root" in line


@pytest.mark.namespaced
def test_the_errors_of_the_file_are_told_as_at_a_start(tmp_path: Path) -> None:
    told = check(tmp_path, "BindPort 99999\n")
    assert (told.status, told.lines) == (1, [])
    assert "a.conf:1:10: error: BindPort: 99999 is not a port" in told.errors


@pytest.mark.namespaced
def test_a_namespace_that_is_not_there_is_told_with_how_to_make_it(tmp_path: Path) -> None:
    told = check(tmp_path, RELAY + "Namespace nowhere\n")
    (line,) = told.lines
    assert line.endswith("network namespace nowhere: No such file or directory; cure: ip netns add nowhere")
    assert told.status == 1
