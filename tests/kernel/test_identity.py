# SPDX-License-Identifier: MIT
"""Less and less: who the process is, and what it has given up. The kernel's own account is in /proc/self/status."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from miredo.kernel.identity import Identity, UnknownUser, give_up, look_up, of_number, out_of_reach

NOBODY = Identity("nobody", 65534, 65534)
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
NONE = "0" * 16

SCRIPT = """
import ctypes, json, os, sys
from miredo.kernel.identity import Identity, bequeath, give_up, held
NOBODY = Identity("nobody", 65534, 65534)
account, said = os.open("/proc/self/status", os.O_RDONLY), {}
def tried(call):
    try:
        call()
    except OSError as error:
        return type(error).__name__
os.setgroups([0, 4, 24])
"""
ACCOUNT = """
lines = os.pread(account, 1 << 14, 0).decode().splitlines()
said["status"] = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
print(json.dumps(said))
"""
LIKE_SYSTEMD = """
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(8, 1, 0, 0, 0) == 0  # PR_SET_KEEPCAPS
before = held().permitted
os.setresuid(65534, 65534, 65534)
words = before & 0xFFFFFFFF, before >> 32
data = (ctypes.c_uint32 * 6)(words[0], words[0], 0, words[1], words[1], 0)
assert libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), data) == 0
assert held().permitted == before != 0
"""


def account_of(text: str, *arguments: str) -> dict[str, object]:
    """What a process says of itself after it has run C{text}; its C{status} is what the kernel says."""
    words = [sys.executable, "-c", SCRIPT + text + ACCOUNT, *arguments]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert isinstance(said, dict)
    return said


def status_of(said: dict[str, object]) -> dict[str, list[str]]:
    status = said["status"]
    assert isinstance(status, dict)
    return status


@pytest.mark.root
def test_another_user_has_nothing_left() -> None:
    said = account_of(
        """give_up(NOBODY, None)
said["back"] = [tried(lambda: os.setuid(0)), tried(lambda: os.setgid(0)), tried(lambda: os.chroot("/"))]
"""
    )
    status = status_of(said)
    assert {status[name][0] for name in SETS} == {NONE}
    assert status["NoNewPrivs"] == ["1"]
    assert status["Uid"] == ["65534"] * 4
    assert status["Gid"] == ["65534"] * 4
    assert status["Groups"] == []
    assert said["back"] == ["PermissionError"] * 3


@pytest.mark.root
def test_another_root_directory_is_all_there_is(tmp_path: Path) -> None:
    (tmp_path / "only").write_text("this")
    tmp_path.chmod(0o755)
    said = account_of(
        """give_up(NOBODY, sys.argv[1])
said["seen"] = [os.listdir("/"), os.getcwd(), os.listdir("../../..")]
""",
        str(tmp_path),
    )
    assert said["seen"] == [["only"], "/", ["only"]]
    assert status_of(said)["Uid"] == ["65534"] * 4


@pytest.mark.root
def test_root_in_a_chroot_is_no_more_than_a_name(tmp_path: Path) -> None:
    said = account_of(
        """give_up(None, sys.argv[1])
said["out"] = tried(lambda: os.chroot("."))
""",
        str(tmp_path),
    )
    status = status_of(said)
    assert status["Uid"] == ["0"] * 4
    assert {status[name][0] for name in SETS} == {NONE}
    assert said["out"] == "PermissionError"


@pytest.mark.root
def test_capabilities_without_root_go_too_and_can_be_left_to_others() -> None:
    said = account_of(
        LIKE_SYSTEMD
        + """bequeath()
said["held"] = f"{before:016x}"
said["heir"] = os.popen("grep -E '^(CapEff|CapAmb)' /proc/self/status").read().split()[1::2]
give_up(None, None)
"""
    )
    assert said["heir"] == [said["held"]] * 2
    status = status_of(said)
    assert {status[name][0] for name in SETS if name != "CapBnd"} == {NONE}
    assert status["NoNewPrivs"] == ["1"]


def test_other_threads_would_keep_what_this_one_gives_up() -> None:
    going = threading.Event()
    thread = threading.Thread(target=going.wait)
    before = os.getresuid()
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="privileges are for a process with one thread to give up"):
            give_up(NOBODY, None)
    finally:
        going.set()
        thread.join()
    assert os.getresuid() == before


@pytest.mark.root
def test_a_directory_that_is_not_there_is_told_before_anything_is_given_up() -> None:
    said = account_of("""said["why"] = tried(lambda: give_up(NOBODY, "/nowhere/at/all"))""")
    assert said["why"] == "FileNotFoundError"
    status = status_of(said)
    assert (status["Uid"], status["NoNewPrivs"]) == (["0"] * 4, ["0"])
    assert status["CapEff"] != [NONE]


def test_users_are_known_by_name_or_number() -> None:
    assert look_up("nobody") == look_up("65534") == of_number(65534) == NOBODY
    assert look_up("root").uid == 0


@pytest.mark.parametrize("user", ["no-such-user", "", "4294967295", "99999999999999999999", "-1", "٣"])
def test_there_is_no_such_user(user: str) -> None:
    with pytest.raises(UnknownUser, match="there is no user"):
        look_up(user)


@pytest.mark.parametrize(
    ("uid_map", "gid_map", "setgroups", "reason"),
    [
        ("0 0 4294967295", "0 0 4294967295", "allow", None),
        ("0 1000 1\n1 100000 65536", "0 1000 1\n1 100000 65536", "allow", None),
        ("0 1000 1", "0 1000 1", "deny", "this user namespace has no user nobody (65534)"),
        ("0 0 4294967295", "0 1000 1", "deny", "this user namespace has no group 65534"),
        ("0 0 4294967295", "0 0 4294967295", "deny", "this user namespace denies setgroups(2)"),
        ("", "", "allow", "this user namespace has no user nobody (65534)"),
    ],
)
def test_a_user_namespace_may_not_have_the_user(
    uid_map: str, gid_map: str, setgroups: str, reason: str | None, tmp_path: Path
) -> None:
    for name, text in (("uid_map", uid_map), ("gid_map", gid_map), ("setgroups", setgroups)):
        (tmp_path / name).write_text(text)
    assert out_of_reach(NOBODY, str(tmp_path)) == reason
