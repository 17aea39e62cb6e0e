# SPDX-License-Identifier: MIT
"""The privileged child as a process: what it is, whom it serves, and what it does for them."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EPERM
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from miredo.address.endpoint import parse_ipv6
from miredo.kernel.hookprogram import HookEnded
from miredo.kernel.namespaces import create_namespace
from miredo.kernel.privileged import boxes, commands
from miredo.kernel.privileged.boxes import encode
from miredo.kernel.privileged.charge import Charge, send_charge
from miredo.kernel.privileged.commands import answer_in, box_of
from miredo.kernel.privileged.loop import LEFT_TO_THE_WORKER
from tests.kernel.bench import Recorder, refused_with
from tests.kernel.privileged.children import (
    ADDRESS,
    PATIENCE,
    TEXT,
    charge,
    program,
    spawned,
    wait_for,
    whole_life,
)
from tests.namespaced import install_reactor

# ------------------------------------------------------------------ what it is


def test_it_imports_nothing_of_twisted() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    news, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far, news, told:
        send_charge(near, charge())
        near.shutdown(socket.SHUT_WR)
        script = (
            "import sys; from miredo.kernel.privileged.__main__ import main; status = main(sys.argv[1:])\n"
            "import miredo.kernel.privileged.hooks\n"
            "sys.stderr.write(' '.join([str(status), *sys.modules]))"
        )
        words = [sys.executable, "-P", "-c", script, str(far.fileno()), str(told.fileno())]
        kept = far.fileno(), told.fileno()
        ended = subprocess.run(words, pass_fds=kept, capture_output=True, text=True, timeout=20, check=True)
    status, *modules = ended.stderr.split()
    assert status == "0"
    assert "miredo.kernel.netlink" in modules
    assert [name for name in modules if name.partition(".")[0] in ("twisted", "automat", "hyperlink")] == []
    assert "pyroute2.iproute" not in modules


@pytest.mark.namespaced
def test_it_has_nothing_of_the_workers_but_two_sockets_and_standard_error() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    os.set_inheritable(writing, True)
    child = spawned(charge())
    os.close(reading)
    os.close(writing)
    child.endpoints("left", install_reactor()).network().close()
    folder = f"/proc/{child.pid}/fd"
    wait_for(lambda: len(os.listdir(folder)) == 7)
    targets = [os.readlink(f"{folder}/{name}") for name in sorted(os.listdir(folder), key=int)]
    assert targets[:2] == ["/dev/null"] * 2
    assert targets[2] == os.readlink("/proc/self/fd/2")
    assert sorted(target.partition(":")[0] for target in targets[3:]) == ["pipe", "pipe", "socket", "socket"]
    assert os.readlink(f"/proc/{child.pid}/cwd") == "/"
    whole_life(child)


@pytest.mark.namespaced
def test_it_lets_go_of_the_terminal_when_it_is_told() -> None:
    child = spawned(charge())
    child.detach()
    assert os.readlink(f"/proc/{child.pid}/fd/2") == "/dev/null"
    whole_life(child)


# ------------------------------------------------------------------ whom it serves

AS_NOBODY = """
import json, os, sys
from miredo.address.endpoint import parse_ipv6
from miredo.kernel.identity import Identity, give_up
from miredo.kernel.privileged.charge import Charge
from miredo.kernel.privileged.worker import PrivilegedChild
from tests.kernel.bench import Recorder, stop
from tests.namespaced import install_reactor, run_reactor, until

text = f"[client c]\\nNamespace left\\nServerAddress 192.0.2.1\\n[relay r]\\nBindPort 500\\nRecord {sys.argv[2]}\\n"
child = PrivilegedChild.spawn(Charge("miredo", None, text.encode()))
reactor = install_reactor()
left, own = (child.endpoints(name, reactor) for name in ("left", None))
said = {}

async def body():
    import twisted.internet.udp, encodings.idna, miredo.kernel.watch
    child.attach(reactor, print)
    account = os.open("/proc/self/status", os.O_RDONLY)
    give_up(Identity("nobody", 65534, 65534), sys.argv[1])
    lines = os.pread(account, 1 << 14, 0).decode().splitlines()
    said["status"] = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    network, news = left.network(), []
    network.watch(lambda: news.append("changed"))
    tunnel = left.open_tunnel("teredo", 1280)
    received = []
    tunnel.start(received.append)
    network.add_address(tunnel.index, parse_ipv6("2001:0:c000:201::1"), 32)
    await until(lambda: network.is_local(parse_ipv6("2001:0:c000:201::1")))
    network.add_route(bytes(16), 0, tunnel.index, metric=1029)
    icmpv6 = left.icmpv6()
    echo = bytes([128, 0, 0, 0, 0, 1, 0, 1])
    await until(lambda: icmpv6.send(echo, parse_ipv6("2001:db8::1")) and len(received) > 0)
    said["routed"] = received[0][:40].hex()
    said["news"] = len(news) > 0
    said["forwarding"] = network.get_sysctl("net/ipv6/conf/all/forwarding")
    said["hosts"] = len(own.read_file("/etc/hosts", 100)) > 0
    port = own.listen_udp(Recorder(), "0.0.0.0", 500)
    said["port"] = port.getHost().port
    free = own.listen_udp(Recorder(), "127.0.0.1", 0)
    made, record = own.open_record(sys.argv[2])
    said["record"] = made
    os.write(record, b"kept")
    os.close(record)
    try:
        network.delete_link("teredo")
    except OSError as error:
        said["laboratory"] = error.errno
    icmpv6.close()
    network.close()
    await stop(port, free)
    tunnel.close()
    await child.end()

run_reactor(body())
print(json.dumps(said))
"""


@pytest.mark.root
@pytest.mark.namespaced
def test_a_worker_that_is_nobody_in_an_empty_directory_has_all_it_needs(tmp_path: Path) -> None:
    root, record = tmp_path / "root", tmp_path / "record"
    root.mkdir(mode=0o755)
    create_namespace("left")
    words = [sys.executable, "-c", AS_NOBODY, str(root), str(record)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert said["status"]["Uid"] == ["65534"] * 4
    assert said["status"]["CapEff"] == ["0" * 16]
    assert bytes.fromhex(said["routed"])[8:] == ADDRESS + parse_ipv6("2001:db8::1")
    assert (said["news"], said["forwarding"], said["hosts"], said["port"]) == (True, "0", True, 500)
    assert (said["record"], said["laboratory"]) == (True, EPERM)
    assert record.read_bytes() == b"kept"
    assert (record.stat().st_uid, stat.S_IMODE(record.stat().st_mode)) == (0, 0o600)


@pytest.mark.namespaced
def test_refusals_do_it_no_harm() -> None:
    child = spawned(charge())
    endpoints = child.endpoints("left", install_reactor())
    network = endpoints.network()
    refusals: list[Callable[[], object]] = [
        lambda: endpoints.open_tunnel("eth0", 1280),
        lambda: endpoints.listen_udp(Recorder(), "127.0.0.1", 53),
        lambda: endpoints.read_file("/etc/shadow", 1),
        lambda: endpoints.raw_ipv6(),
        lambda: child.endpoints("elsewhere", install_reactor()).icmpv6(),
        lambda: network.set_down(1),
        lambda: network.get_sysctl("kernel/hostname"),
    ]
    for refusal in refusals:
        with refused_with(EPERM):
            refusal()
    network.close()
    endpoints.open_tunnel("teredo", 1280).close()
    whole_life(child)


@pytest.mark.namespaced
def test_a_refusal_of_the_system_is_the_same_as_without_a_child(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    text = f"{TEXT}SecretFile {secret}\n"
    child = spawned(charge(text))
    with pytest.raises(FileNotFoundError) as refused:
        child.read(str(secret), 10)
    assert (refused.value.strerror, refused.value.filename) == ("No such file or directory", str(secret))
    secret.mkdir()
    with pytest.raises(IsADirectoryError):
        child.read(str(secret), 10)
    secret.rmdir()
    secret.write_bytes(b"correct horse")
    assert child.read(str(secret), 7) == b"correct"
    whole_life(child)


# ------------------------------------------------------------------ a worker that is somebody else's


@contextmanager
def raw_child(told: Charge) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """A child and the end of its requests, without anything between them."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    news, told_by = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [sys.executable, "-P", "-m", "miredo.kernel.privileged", str(far.fileno()), str(told_by.fileno())]
    kept = far.fileno(), told_by.fileno()
    with near, news:
        with far, told_by:
            process = subprocess.Popen(words, pass_fds=kept, stderr=subprocess.PIPE)
        with process:
            send_charge(near, told)
            yield near, process


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0",
        encode({}),
        encode({"command": b"Reboot"}),
        encode({"command": b"OpenUDP", "address": b"0.0.0.0"}),
        encode({"command": b"OpenUDP", "address": b"0.0.0.0", "port": b"99999999999"}),
        encode({"command": b"End"}) + b"\0",
        bytes(70000),
    ],
)
def test_what_is_no_command_ends_it(octets: bytes) -> None:
    with raw_child(charge()) as (requests, process):
        requests.send(octets)
        assert process.wait(PATIENCE) == 1
        assert process.stderr is not None
        assert b"was sent what is no command" in process.stderr.read()


def test_a_descriptor_from_the_worker_ends_it() -> None:
    with raw_child(charge()) as (requests, process):
        boxes.send(requests, box_of(commands.NumberTable("a")), requests.fileno())
        assert process.wait(PATIENCE) == 1


def test_a_worker_that_takes_no_answers_ends_it() -> None:
    with raw_child(charge()) as (requests, process):
        with suppress(ConnectionError):
            for _ in range(1_000_000):
                boxes.send(requests, box_of(commands.NumberTable("a")))
        assert process.wait(PATIENCE) == 0


def test_a_charge_that_is_none_ends_it() -> None:
    with raw_child(charge("[client c]\n")) as (_, process):
        assert process.wait(PATIENCE) == 1
        assert process.stderr is not None
        assert b"ServerAddress" in process.stderr.read()


@pytest.mark.namespaced
def test_such_a_signal_does_not_end_it_before_it_is_ready() -> None:
    child = spawned(charge())
    for number in LEFT_TO_THE_WORKER:
        os.kill(child.pid, number)
    assert len(child.read("/etc/hosts", 1)) <= 1
    whole_life(child)


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT"])
def test_a_signal_that_goes_to_all_is_left_to_the_worker(number: str) -> None:
    with raw_child(charge()) as (requests, process):
        assert answered(requests).value is None
        process.send_signal(signal.Signals[number])
        assert answered(requests).value is None
        requests.close()
        assert process.wait(PATIENCE) == 0


def answered(requests: socket.socket) -> commands.Answer:
    boxes.send(requests, box_of(commands.NumberTable("nobody has it")))
    received = boxes.receive(requests, descriptors=True)
    assert received is not None
    return answer_in(*received)


# ------------------------------------------------------------------ reload


@pytest.mark.namespaced
def test_after_a_reload_it_permits_what_the_file_names_now_and_what_it_named(tmp_path: Path) -> None:
    file = tmp_path / "miredo.conf"
    file.write_text(TEXT)
    child = spawned(charge(TEXT, str(file)))
    endpoints = child.endpoints("left", install_reactor())
    with refused_with(EPERM):
        endpoints.open_tunnel("other", 1280)
    for text in (f"{TEXT}InterfaceName other\n", f"{TEXT}InterfaceName third\nNonsense\n"):
        file.write_text(text)
        assert child.read(str(file), 1000) == text.encode()
    for name in ("teredo", "other"):
        endpoints.open_tunnel(name, 1280).close()
    with refused_with(EPERM):
        endpoints.open_tunnel("third", 1280)
    whole_life(child)


# ------------------------------------------------------------------ hooks


@pytest.mark.requirement("T36")
@pytest.mark.namespaced
def test_a_hook_has_its_variables_and_a_path_in_the_namespace_of_its_role(tmp_path: Path) -> None:
    hook = program(tmp_path / "hook", "/usr/bin/env\n/usr/bin/readlink /proc/self/ns/net\necho wrong >&2\nexit 3")
    child = spawned(charge(hook=hook))
    ended: list[HookEnded] = []
    given = {"STATE": "down", "OLD_STATE": "down", "IFACE": "teredo"}
    whole_life(child, lambda: child.run_hook(given, "left").addCallback(ended.append))
    ((status, output),) = ended
    *variables, namespace, wrong = output.splitlines()
    assert (status, wrong) == (3, "wrong")
    names = {name: value for name, _, value in (line.partition("=") for line in variables)}
    assert {name: value for name, value in names.items() if name not in ("PATH", "PWD", "SHLVL", "_")} == given
    assert namespace == f"net:[{os.stat('/run/netns/left').st_ino}]"


@pytest.mark.namespaced
def test_hooks_run_one_by_one_in_order_while_others_are_served(tmp_path: Path) -> None:
    said, gate = tmp_path / "said", tmp_path / "gate"
    hook = program(tmp_path / "hook", f'until test -e {gate}; do sleep 0.01; done; echo "$STATE $OLD_STATE" >> {said}')
    child = spawned(charge(hook=hook))
    wanted = [("up", "down"), ("up", "up"), ("down", "up"), ("destroy", "up")]

    def body() -> Deferred[HookEnded]:
        runs = [child.run_hook({"STATE": state, "OLD_STATE": old, "IFACE": "teredo"}, "left") for state, old in wanted]
        child.endpoints("left", install_reactor()).open_tunnel("teredo", 1280).close()
        assert not said.exists()
        gate.touch()
        return runs[-1]

    whole_life(child, body)
    assert said.read_text().splitlines() == [" ".join(pair) for pair in wanted]


@pytest.mark.namespaced
def test_a_hook_that_others_may_write_is_not_run(tmp_path: Path) -> None:
    hook = program(tmp_path / "hook", "exit 0")
    os.chmod(hook, 0o777)
    child = spawned(charge(hook=hook))
    ended: list[HookEnded] = []
    given = {"STATE": "destroy", "IFACE": "teredo"}
    whole_life(child, lambda: child.run_hook(given, "left").addCallback(ended.append))
    assert [one.status for one in ended] == [126]
    assert "others than its owner may write it" in ended[0].output


@pytest.mark.namespaced
def test_the_end_waits_for_the_last_hooks(tmp_path: Path) -> None:
    said = tmp_path / "said"
    hook = program(tmp_path / "hook", f"sleep 0.2; echo $STATE >> {said}")
    child = spawned(charge(hook=hook))
    ended: list[HookEnded] = []

    def body() -> None:
        for state in ("down", "destroy"):
            child.run_hook({"STATE": state, "IFACE": "teredo"}, "left").addCallback(ended.append)

    whole_life(child, body)
    assert said.read_text().splitlines() == ["down", "destroy"]
    assert [one.status for one in ended] == [0, 0]
