# SPDX-License-Identifier: MIT
"""A capture of clients that qualify, as tshark tells it: every link by its name, and beside each packet a comment."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorCore

from miredo.assembly import assemble_on
from miredo.config import load
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.lab.building import Laboratory
from miredo.lab.capture import Capture
from miredo.lab.pingsocket import PingSocket, is_configured
from miredo.lab.plan import USUAL_NAT
from miredo.lab.states import History, describe_client
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET
from miredo.service.roles import TeredoClientService
from miredo.service.surroundings import Did, Sent, Took
from miredo.teredo.client import Client
from tests.namespaced import install_reactor, run_in_namespaces, run_reactor, until

pytestmark = pytest.mark.interop

LAB_FILE = Path(__file__).parents[2] / "etc" / "lab.conf"
FIELDS = ("frame.interface_name", "frame.time_epoch", "frame.comment", "frame.protocols", "icmpv6.type")
SOLICITATION, ADVERTISEMENT, ECHO_REQUEST = "133", "134", "128"
QUALIFIED = r"qualified 2001:0:c000:201:[0-9a-f:]+, mapped 198\.51\.100\.1:\d+, mapping "

HOST = "2001:db8:3::1"


class Seen(NamedTuple):
    """What tshark tells of a packet; a field that it does not have is empty."""

    link: str
    time: str
    comment: str
    protocols: str
    icmpv6_type: str

    @property
    def states(self) -> list[str]:
        """The lines of the comment."""
        return self.comment.split("\\n")


async def record(file: Path) -> str | None:
    """Two clients qualify and one pings a native host; what the capture failed of."""
    reactor = install_reactor()
    clock, history, cores = BoottimeClock(reactor), History(), dict[str, tuple[str, Client]]()

    def observe(event: Sent | Took | Did) -> None:
        if event.role in cores:
            node, core = cores[event.role]
            history.note(node, event.at, describe_client(core))

    built = Laboratory(TEREDO_INTERNET, lambda node: KernelEndpoints(node, reactor), clock, os.urandom)
    built.build(dict.fromkeys(("client-a", "client-b"), USUAL_NAT))
    capture = Capture(file.open("wb"), TEREDO_INTERNET, reactor, clock, history)
    built.start()
    roles = assemble_on(IReactorCore(reactor), load(LAB_FILE), observe)
    roles.privilegedStartService()
    for role in roles:
        if isinstance(role, TeredoClientService) and role.config.namespace is not None:
            cores[role.config.title] = role.config.namespace, role.protocol.core
    roles.startService()
    await until(lambda: all(configured(node, core) for node, core in cores.values()))
    with PingSocket("client-a", reactor, clock, os.urandom) as pinging:
        ping = pinging.ping(HOST_ADDRESS)
        await until(lambda: ping.answered is not None)
    await maybeDeferred(roles.stopService)
    built.close()
    capture.close()
    return capture.failure


def configured(node: str, core: Client) -> bool:
    """Whether a client has an address that its node can use."""
    return core.address is not None and is_configured(node, core.address)


def tshark(file: Path, *words: str) -> str:
    """Run tshark, without a configuration of its user; it complains of nothing."""
    environment = {**os.environ, "HOME": str(file.parent), "WIRESHARK_CONFIG_DIR": str(file.parent)}
    command = ["tshark", "-n", "-r", str(file), "--enable-heuristic", "teredo_udp", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert [line for line in done.stderr.splitlines() if "as user" not in line] == []
    return done.stdout


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    if shutil.which("tshark") is None:
        pytest.skip("there is no tshark; cure: sudo apt-get install tshark")
    file = tmp_path_factory.mktemp("capture") / "lab.pcapng"

    def body() -> None:
        assert run_reactor(record(file)) is None

    run_in_namespaces(body, repr)
    words = [word for field in FIELDS for word in ("-e", field)]
    lines = tshark(file, "-T", "fields", "-E", "separator=|", *words).splitlines()
    return [Seen(*line.split("|")) for line in lines]


def of_kind(seen: list[Seen], kind: str, link: str) -> list[Seen]:
    """The ICMPv6 messages of a kind that clients tunnelled over a link."""
    return [each for each in seen if (each.icmpv6_type, each.link) == (kind, link) and ":teredo:" in each.protocols]


def test_every_link_has_packets_under_its_name(seen: list[Seen]) -> None:
    assert {each.link for each in seen} == {segment.name for segment in TEREDO_INTERNET.segments()}


def test_packets_are_in_the_order_of_time(seen: list[Seen]) -> None:
    times = [float(each.time) for each in seen]
    assert times == sorted(times)


def test_a_solicitation_finds_its_client_soliciting_and_so_does_its_answer(seen: list[Seen]) -> None:
    for link in ("client-a--NAT", "NAT of client-a--core"):
        first = of_kind(seen, SOLICITATION, link)[0], of_kind(seen, ADVERTISEMENT, link)[0]
        assert [each.comment for each in first] == ["client-a: soliciting 192.0.2.1, try 1 of 3"] * 2


def test_a_ping_finds_its_client_qualified_and_in_touch_with_the_host(seen: list[Seen]) -> None:
    test, ping = of_kind(seen, ECHO_REQUEST, "client-a--NAT")
    trying, trusting = rf"{HOST} \(attempt 1 of 4, 1 packet waiting\)", rf"{HOST} trusted at 192\.0\.2\.17:\d+"
    assert re.fullmatch(rf"client-a: {QUALIFIED}.*; contacting {trying}", test.comment)
    assert re.fullmatch(rf"client-a: {QUALIFIED}.*; peers: {trusting}", ping.comment)


def test_on_a_wire_stand_the_states_of_all_clients(seen: list[Seen]) -> None:
    ping = of_kind(seen, ECHO_REQUEST, "core--relay")[-1]
    assert [state[:36] for state in ping.states] == [f"client-{each}: qualified 2001:0:c000:201:" for each in "ab"]
