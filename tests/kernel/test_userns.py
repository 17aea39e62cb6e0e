# SPDX-License-Identifier: MIT
"""Entering private namespaces, and what is told where they are refused."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from errno import EACCES, EINVAL, ENODEV, ENOENT, ENOSPC, EPERM
from pathlib import Path

import pytest

from miredo.kernel.libc import CLONE_NEWUSER, mount, unshare
from miredo.kernel.namespaces import create_namespace
from miredo.kernel.userns import NoNamespaces, enter_lab, namespaces_refused, tun_refused

ROOT = Path(__file__).parents[2]

LAB = """
import sys
from miredo.kernel.namespaces import create_namespace
from miredo.kernel.userns import NoNamespaces, enter_lab
try:
    enter_lab()
except NoNamespaces as refused:
    sys.exit(f"refused: {refused}")
import os
from miredo.kernel.namespaces import create_namespace, entered
from miredo.kernel.netlink import KernelNetwork
from miredo.kernel.tun import create_device
from twisted.internet import reactor
for name in ("left", "right"):
    create_namespace(name)
network = KernelNetwork("left", reactor)
network.add_veth("veth-k0", "veth-k1", "right")
with entered("left"):
    device = create_device("tun-k0")
    print(os.readlink("/proc/thread-self/ns/net"), *network.links(), flush=True)
sys.stdin.read()
"""


def error(errno: int) -> OSError:
    return OSError(errno, os.strerror(errno))


def sysctl(**values: str) -> Callable[[str], str | None]:
    return lambda variable: values.get(variable.replace(".", "_"))


@pytest.mark.namespaced
def test_a_lab_is_root_among_nothing() -> None:
    assert os.geteuid() == 0
    assert os.listdir("/run") == ["netns"]
    assert os.listdir("/run/netns") == []
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.sendto(b"up", udp.getsockname())
        assert udp.recv(10) == b"up"


@pytest.mark.namespaced
def test_a_lab_can_be_entered_from_a_lab() -> None:
    before = os.readlink("/proc/self/ns/net")
    enter_lab()
    assert os.readlink("/proc/self/ns/net") != before


@pytest.mark.namespaced
def test_an_ordinary_user_becomes_root_of_a_lab() -> None:
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    for kind in ("uid", "gid"):
        Path(f"/proc/self/{kind}_map").write_text("1000 0 1")
    assert (os.geteuid(), os.getegid()) == (1000, 1000)
    before = os.readlink("/proc/self/ns/user")
    enter_lab()
    assert (os.geteuid(), os.getegid()) == (0, 0)
    assert os.readlink("/proc/self/ns/user") != before
    create_namespace("left")
    assert os.listdir("/run/netns") == ["left"]


@pytest.mark.namespaced
def test_root_without_the_right_to_namespaces_does_as_an_ordinary_user() -> None:
    script = "import os; from miredo.kernel.userns import *; enter_lab(); print(os.readlink('/proc/self/ns/user'))"
    restricted = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all", "--ambient-caps=-all"]
    inside = subprocess.check_output([*restricted, sys.executable, "-c", script], cwd=ROOT, text=True)
    assert inside.strip() not in ("", os.readlink("/proc/self/ns/user"))


@pytest.mark.namespaced
def test_a_process_with_threads_does_not_enter() -> None:
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait)
    thread.start()
    before = os.readlink("/proc/self/ns/net")
    with pytest.raises(RuntimeError, match="one thread, this one has 2"):
        enter_lab()
    go_on.set()
    thread.join()
    assert os.readlink("/proc/self/ns/net") == before


@pytest.mark.namespaced
def test_a_missing_tun_file_is_found_out_before_anything_is_entered() -> None:
    mount("tmpfs", "/dev/net", "tmpfs", 0)
    before = os.readlink("/proc/self/ns/net")
    with pytest.raises(NoNamespaces, match="/dev/net/tun: No such file or directory"):
        enter_lab()
    assert os.readlink("/proc/self/ns/net") == before


@pytest.mark.namespaced
@pytest.mark.parametrize("kind", ["user", "net"])
def test_a_limit_of_zero_is_found_by_looking(kind: str) -> None:
    unshare(CLONE_NEWUSER)  # whose limits are its own
    if kind == "net":
        Path("/proc/self/uid_map").write_text("0 0 1")  # to be root again, who makes no user namespace
    Path(f"/proc/sys/user/max_{kind}_namespaces").write_text("0")
    with pytest.raises(NoNamespaces) as refused:
        enter_lab()
    assert refused.value.cure == f"sudo sysctl user.max_{kind}_namespaces=15000"
    assert "No space left on device" in refused.value.reason


@pytest.mark.parametrize(
    ("errno", "driver_is_there", "cure"),
    [
        (EACCES, True, "sudo chmod 666 /dev/net/tun"),
        (ENOENT, False, "sudo modprobe tun"),
        (ENODEV, False, "sudo modprobe tun"),
        (ENOENT, True, "mknod -m 666 /dev/net/tun c 10 200"),
        (EPERM, True, "--device /dev/net/tun"),
    ],
)
def test_a_tun_file_that_does_not_open_names_its_cure(errno: int, driver_is_there: bool, cure: str) -> None:
    refused = tun_refused(error(errno), driver_is_there)
    assert refused.reason == f"/dev/net/tun: {os.strerror(errno)}"
    assert cure in refused.cure
    assert str(refused) == f"{refused.reason}; to allow it: {refused.cure}"


@pytest.mark.parametrize(
    ("errno", "values", "as_root", "cure"),
    [
        (ENOSPC, {"user_max_user_namespaces": "0"}, False, "sudo sysctl user.max_user_namespaces=15000"),
        (ENOSPC, {"user_max_mnt_namespaces": "0"}, True, "sudo sysctl user.max_mnt_namespaces=15000"),
        (EPERM, {"kernel_unprivileged_userns_clone": "0"}, False, "sudo sysctl kernel.unprivileged_userns_clone=1"),
        (
            EPERM,
            {"kernel_unprivileged_userns_clone": "1", "kernel_apparmor_restrict_unprivileged_userns": "1"},
            False,
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (EPERM, {}, True, "--cap-add SYS_ADMIN"),
        (EINVAL, {"user_max_user_namespaces": "100"}, False, "sudo "),
    ],
)
def test_namespaces_that_are_refused_name_their_cure(
    errno: int, values: dict[str, str], as_root: bool, cure: str
) -> None:
    refused = namespaces_refused(error(errno), sysctl(**values), as_root)
    assert cure in refused.cure
    assert os.strerror(errno) in refused.reason


def test_the_last_cure_is_the_same_command_with_sudo() -> None:
    refused = namespaces_refused(error(EPERM), sysctl(), as_root=False)
    assert refused.cure.startswith("sudo ")
    assert sys.orig_argv[0] in refused.cure


def test_namespaces_can_be_entered_before_twisted_and_pyroute2_are_imported() -> None:
    script = "import sys, miredo.kernel.userns; print({'twisted', 'zope', 'pyroute2', 'asyncio'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True) == "set()\n"


def test_a_lab_that_is_killed_leaves_nothing() -> None:
    before = traces()
    lab = subprocess.Popen(
        [sys.executable, "-c", LAB], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=-1, stderr=subprocess.PIPE
    )
    with lab:
        assert lab.stdout is not None
        assert lab.stderr is not None
        namespace, *links = lab.stdout.readline().split() or [""]
        if not namespace:
            trouble = lab.stderr.read()
            assert trouble.startswith("refused: "), trouble
            pytest.skip(trouble)
        inside = traces()
        lab.kill()
    assert sorted(links) == ["lo", "tun-k0", "veth-k0"]
    assert inside == before
    assert traces() == before
    assert namespace not in network_namespaces()


def traces() -> tuple[list[tuple[int, str]], list[str], str]:
    names = sorted(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else []
    return socket.if_nameindex(), names, Path("/proc/self/mountinfo").read_text()


def network_namespaces() -> set[str]:
    found = set()
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            found.add(os.readlink(f"/proc/{process}/ns/net"))
        except OSError:
            continue  # it has ended, or is somebody else's
    return found
