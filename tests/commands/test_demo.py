# SPDX-License-Identifier: MIT
"""C{./x demo} as a user starts it: it works with every kind of NAT, leaves nothing behind, and says what is missing."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from miredo.kernel.libc import CLONE_NEWNS, CLONE_NEWUSER, MS_PRIVATE, MS_REC, mount, unshare
from miredo.lab.nat import BEHAVIOURS, Mapping, NatBehaviour
from tests.namespaced import run_in_namespaces

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "miredo.commands.demo"]
SYMMETRIC = "address-and-port-dependent/address-and-port-dependent"
KEYS = {"ok", "qualified_s", "first_ping_s", "rtt_ms", "nat", "nodes", "ladder"}
CAP_SYS_ADMIN = 21
PR_CAPBSET_DROP = 24


@dataclass
class Ended:
    """How a demo ended, and what it wrote."""

    status: int
    out: str
    err: str


def demo(*words: str, prepare: Callable[[], None] | None = None) -> Ended:
    told = subprocess.run([*DEMO, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, preexec_fn=prepare)
    assert "Traceback" not in told.stderr, told.stderr
    return Ended(told.returncode, told.stdout, told.stderr)


@pytest.fixture(scope="module")
def namespaces() -> None:
    """Skips what needs namespaces where this user gets none."""
    run_in_namespaces(lambda: None, str)


@pytest.fixture(scope="module")
def runs(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """A run on real packets with each kind of NAT; all at once, since most of their time they wait."""
    folder = tmp_path_factory.mktemp("demos")
    running = {}
    for number, kind in enumerate(map(str, BEHAVIOURS)):
        out, err = folder / f"{number}.out", folder / f"{number}.err"
        with out.open("wb") as writing, err.open("wb") as complaining:
            command = [*DEMO, "--json", "--nat", kind]
            running[kind] = out, err, subprocess.Popen(command, cwd=ROOT, stdout=writing, stderr=complaining)
    return {
        kind: Ended(process.wait(60), out.read_text(), err.read_text()) for kind, (out, err, process) in running.items()
    }


def is_honest(nat: dict[str, str], behaviour: NatBehaviour) -> bool:
    """Two addresses of a server tell whether a mapping depends on the destination, and of the filtering nothing."""
    independent = behaviour.mapping is Mapping.ENDPOINT_INDEPENDENT
    told = "endpoint-independent" if independent else "destination-dependent"
    return (nat["mapping"], nat["filtering"], nat["is"]) == (told, "not measured", str(behaviour))


# ---------------------------------------------------------------- it works


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=str)
def test_every_kind_of_nat_qualifies_and_pings_on_real_packets(behaviour: NatBehaviour, runs: dict[str, Ended]) -> None:
    ended = runs[str(behaviour)]
    assert (ended.status, ended.err) == (0, "")
    told = json.loads(ended.out)
    assert told.keys() >= KEYS
    assert (told["ok"], told["failure"], told["simulated"]) == (True, None, False)
    assert is_honest(told["nat"], behaviour)
    assert 0 < told["qualified_s"] < 4  # no solicitation had to be repeated
    assert 0 < told["first_ping_s"] < 2  # no bubble had to be repeated
    assert 0 < told["rtt_ms"]["min"] <= told["rtt_ms"]["mean"] <= told["rtt_ms"]["max"]
    assert told["pings"] == {"sent": 5, "answered": 5}
    assert told["nodes"]["client-a"][:2] == ["192.168.1.2", "NAT 198.51.100.1"]
    assert told["nodes"]["client-a"][2].startswith("2001:0:c000:201:")
    assert told["host_to_client_s"] is not None
    assert {"Router Solicitation", "echo request", "echo reply"} <= {step["what"] for step in told["ladder"]}


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=str)
def test_every_kind_of_nat_qualifies_and_pings_in_memory(behaviour: NatBehaviour) -> None:
    ended = demo("--sim", "--json", "--nat", str(behaviour))
    assert (ended.status, ended.err) == (0, "")
    told = json.loads(ended.out)
    assert told.keys() >= KEYS
    assert (told["ok"], told["simulated"]) == (True, True)
    assert is_honest(told["nat"], behaviour)
    assert told["pings"] == {"sent": 5, "answered": 5}


def test_a_page_tells_a_person(namespaces: None) -> None:
    has_the_summary(demo(), "A Teredo Internet on real packets")


def test_a_page_tells_a_person_of_a_run_in_memory() -> None:
    has_the_summary(demo("--sim"), "A Teredo Internet in memory")


def has_the_summary(ended: Ended, headline: str) -> None:
    """A page for a person, from its headline to its OK."""
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert (lines[0], lines[-1]) == (headline, "OK")
    for beginning in (
        "  client-a  ",
        "  NAT in front of client-a           endpoint-independent/address-and-port-dependent",
        "  what client-a learned of its NAT   mapping endpoint-independent, port preserved; filtering not measured",
        "  qualified  ",
        "  first ping to the native host  ",
        "  5 more pings, min / mean / max  ",
        "      ms  client-a ",
    ):
        assert [line for line in lines if line.startswith(beginning)], beginning
    assert "-- Router Solicitation --->|" in ended.out
    assert all(len(line) <= 120 for line in lines)


def test_a_third_word_assigns_ports(namespaces: None) -> None:
    told = json.loads(demo("--json", "--nat", "endpoint-independent/endpoint-independent/random").out)
    assert told["ok"]
    assert told["nat"]["is"] == "endpoint-independent/endpoint-independent/random"


def test_the_native_host_may_ping_first(namespaces: None) -> None:
    told = json.loads(demo("--json", "--host-first", "--nat", SYMMETRIC).out)
    assert (told["ok"], told["host_first"]) == (True, True)
    asked = [step["sender"] for step in told["ladder"] if step["what"] == "echo request"]
    assert asked[0] == "host"
    assert told["host_to_client_s"] > min(told["rtt_ms"]["mean"] / 1e3, told["first_ping_s"])


def test_client_b_may_be_behind_any_nat() -> None:
    cone, symmetric = (json.loads(demo("--sim", "--json", "--peer-nat", nat).out) for nat in ("cone", "symmetric"))
    assert cone["peer_nat"] == "endpoint-independent/endpoint-independent"
    assert cone["client_to_client_s"] == pytest.approx(0.1)
    assert (symmetric["ok"], symmetric["client_to_client_s"]) == (True, None)


def test_the_log_is_there_for_who_asks(namespaces: None) -> None:
    ended = demo("--verbose")
    assert ended.status == 0
    assert "Teredo pseudo-tunnel started (address: 2001:0:c000:201:" in ended.err
    assert "Teredo server started on 192.0.2.1 and 192.0.2.2" in ended.err


def test_packets_are_recorded_where_the_user_says(tmp_path: Path, namespaces: None) -> None:
    file = tmp_path / "demo.pcapng"
    assert demo("--pcap", str(file)).status == 0
    assert file.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    assert file.stat().st_size > 4000


# ---------------------------------------------------------------- it refuses


@pytest.mark.parametrize("kind", ["pyramid", "symmetric/cone", "endpoint-independent", "a/b/c/d", ""])
def test_a_nat_that_is_not_known_is_answered_with_the_words_that_are(kind: str) -> None:
    ended = demo("--nat", kind)
    assert (ended.status, ended.out) == (2, "")
    assert f"NAT behaviour {kind!r}" in ended.err
    for word in ("endpoint-independent", "address-dependent", "address-and-port-dependent"):
        assert f"{word}" in ended.err.splitlines()[-1]


def test_help_lists_all_nine_kinds() -> None:
    ended = demo("--help")
    assert ended.status == 0
    assert [kind for kind in map(str, BEHAVIOURS) if f"  {kind}\n" not in ended.out] == []


def test_a_file_that_cannot_be_written_is_named_before_anything_starts(tmp_path: Path) -> None:
    ended = demo("--pcap", str(tmp_path / "nowhere" / "demo.pcapng"))
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.splitlines()[-1].endswith("nowhere/demo.pcapng: No such file or directory")


def test_memory_has_no_packets_to_record(tmp_path: Path) -> None:
    ended = demo("--sim", "--pcap", str(tmp_path / "demo.pcapng"))
    assert (ended.status, ended.out) == (2, "")
    assert "--pcap records real packets" in ended.err
    assert list(tmp_path.iterdir()) == []


def enter_user_namespace(flags: int = 0) -> None:
    """Be root of a user namespace of one's own, whose limits are one's own."""
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | flags)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path(f"/proc/self/{name}").write_text(text)


def refuse_network_namespaces() -> None:
    enter_user_namespace()
    Path("/proc/sys/user/max_net_namespaces").write_text("0")


def refuse_user_namespaces_without_privileges() -> None:
    enter_user_namespace()
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0):
        raise OSError("CAP_SYS_ADMIN stays")


def hide_tun() -> None:
    enter_user_namespace(CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", "/dev/net", "tmpfs", 0)


REFUSALS = {
    "net": (
        refuse_network_namespaces,
        "namespaces: No space left on device (user.max_net_namespaces is 0)",
        "sudo sysctl user.max_net_namespaces=15000",
    ),
    "user": (
        refuse_user_namespaces_without_privileges,
        "namespaces: No space left on device (user.max_user_namespaces is 0)",
        "sudo sysctl user.max_user_namespaces=15000",
    ),
    "tun": (
        hide_tun,
        "/dev/net/tun: No such file or directory",
        "sudo sh -c 'mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200'",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_where_namespaces_are_refused_the_cure_is_told_and_memory_offered(kind: str, namespaces: None) -> None:
    prepare, reason, cure = REFUSALS[kind]
    ended = demo(prepare=prepare)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == f"demo: {reason}\n  to allow it:  {cure}\n  or in memory: ./x demo --sim\n"


def test_a_refusal_is_json_too(namespaces: None) -> None:
    prepare, reason, cure = REFUSALS["net"]
    ended = demo("--json", prepare=prepare)
    assert ended.status == 1
    told = json.loads(ended.out)
    assert (told["ok"], told["failure"], told["cure"]) == (False, reason, cure)
    assert {"qualified_s", "first_ping_s", "rtt_ms", "nat", "nodes", "ladder"} <= set(told)


def test_memory_works_where_namespaces_are_refused(namespaces: None) -> None:
    assert demo("--sim", prepare=refuse_network_namespaces).status == 0


# ---------------------------------------------------------------- it leaves nothing


def machine() -> tuple[list[str], list[str], int]:
    """This machine's links, named network namespaces and mounts."""
    devices = Path("/proc/net/dev").read_text().splitlines()[2:]
    named = sorted(os.listdir("/run/netns")) if Path("/run/netns").exists() else []
    return sorted(line.split(":")[0].strip() for line in devices), named, mounts()


def mounts() -> int:
    return len(Path("/proc/self/mountinfo").read_text().splitlines())


def processes(belongs: Callable[[Path], bool]) -> list[str]:
    """The numbers of the processes that C{belongs} says yes to."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and belongs(entry):
                found.append(entry.name)
    return found


def inhabitants(kind: str, namespace: str) -> list[str]:
    """The processes in a namespace, C{net:[4026531840]} of the kind C{net}."""
    return processes(lambda entry: os.readlink(entry / "ns" / kind) == namespace)


def members(session: int) -> list[str]:
    """The processes of a session."""
    return processes(lambda entry: (entry / "stat").read_text().rpartition(")")[2].split()[3] == str(session))


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A demo in a session of its own that has built its lab, and has 3 s to go: two clients that cannot meet."""
    command = [*DEMO, "--nat", SYMMETRIC, *words]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        named = Path("/proc", str(process.pid), "root", "run", "netns")
        deadline = time.monotonic() + 20
        while not is_under_way(process.pid, named):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


def is_under_way(process: int, named: Path) -> bool:
    """Whether a demo is in its own namespaces, has made those of its clients, and runs its roles, an alarm each."""
    with suppress(OSError):
        at_home = os.readlink(f"/proc/{process}/ns/net") == os.readlink("/proc/self/ns/net")
        if not at_home and {"client-a", "client-b"} <= set(os.listdir(named)):
            files = [os.readlink(file) for file in Path(f"/proc/{process}/fd").iterdir()]
            return sum("timerfd" in file for file in files) >= 3
    return False


def test_a_demo_leaves_nothing_behind(namespaces: None) -> None:
    before = machine()
    assert demo().status == 0
    assert machine() == before


def test_a_demo_that_was_killed_leaves_nothing_behind(namespaces: None) -> None:
    before = machine()
    with running() as process:
        own = {kind: os.readlink(f"/proc/{process.pid}/ns/{kind}") for kind in ("net", "mnt")}
        assert machine() == before
        # Its network namespace changes for moments, while it opens something in a node; its mounts stay its own.
        assert inhabitants("mnt", own["mnt"]) == [str(process.pid)]
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        assert members(process.pid) == []
        assert [inhabitants(kind, namespace) for kind, namespace in own.items()] == [[], []]
    assert machine() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_was_interrupted_says_so_and_leaves_nothing_behind(number: int, namespaces: None) -> None:
    before = machine()
    with running("--json") as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        told = json.loads(out)
        assert (process.returncode, err) == (1, "")
        assert (told["ok"], told["failure"]) == (False, "interrupted")
    assert machine() == before
