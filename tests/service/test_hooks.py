# SPDX-License-Identifier: MIT
"""A client whose tunnel a hook configures: what the hook is told, in which order, and what is said of it."""

import pytest
from zope.interface.verify import verifyObject

from miredo.address.endpoint import parse_endpoint, parse_ipv4, parse_ipv6, show_ipv6
from miredo.address.teredo import CLIENT_LINK_LOCAL
from miredo.kernel.hookprogram import HookEnded
from miredo.kernel.memory import MemoryClock, MemoryHook, MemoryInternet
from miredo.service.announcements import KERNEL_PATIENCE, TunnelAddress
from miredo.service.configuring import Configured, IConfiguring
from miredo.service.daemon import CannotStart
from miredo.service.hooks import END_PATIENCE, HookConfiguring
from miredo.teredo.actions import Qualified, Unqualified
from tests.service.internet import ROLES, Logged, RecordingEndpoints, TeredoInternet, logging

ONE = parse_ipv6("2001:0:c000:201:0:1111:39cc:9bfe")
OTHER = parse_ipv6("2001:0:c000:201:0:2222:39cc:9bfe")
MAPPED, SERVER = parse_endpoint("198.51.100.1:40000"), parse_endpoint("192.0.2.1:3544")

IS_ONE = {"ADDRESS": show_ipv6(ONE), "LLADDRESS": "fe80::ffff:ffff:ffff", "MTU": "1280"}
IS_OTHER = IS_ONE | {"ADDRESS": show_ipv6(OTHER), "MTU": "1400"}
WAS_ONE = {f"OLD_{name}": value for name, value in IS_ONE.items()}
WAS_OTHER = {f"OLD_{name}": value for name, value in IS_OTHER.items()}

STARTED = f"client: Teredo pseudo-tunnel started (address: {show_ipv6(ONE)}, MTU: 1280)"
STARTED_OTHER = f"client: Teredo pseudo-tunnel started (address: {show_ipv6(OTHER)}, MTU: 1400)"
STOPPED = "client: Teredo pseudo-tunnel stopped"


class Bench:
    """A tunnel whose address a hook configures."""

    def __init__(self) -> None:
        self.clock = MemoryClock()
        self.endpoints = RecordingEndpoints(MemoryInternet(self.clock), [(parse_ipv4("198.51.100.1"), 24)], None)
        self.tunnel = self.endpoints.open_tunnel("teredo", 1280)
        self.network = self.endpoints.network()
        self.hook = MemoryHook("/hook")
        self.hook.slow = True
        self.configuring = HookConfiguring("client", self.hook, self.network, self.tunnel, self.clock)
        self.address = TunnelAddress("client", self.network, self.tunnel, self.clock, self.configuring)
        self.address.begin()
        self.ended: list[None] = []

    def up(self, address: bytes = ONE, mtu: int = 1280) -> None:
        self.address.qualified(Qualified(address, mtu, MAPPED, SERVER))

    def down(self) -> None:
        self.address.unqualified(Unqualified(ONE, "stopped"))

    def end(self) -> None:
        self.address.end().addCallback(self.ended.append)

    def obeyed(self, address: bytes = ONE) -> None:
        """What a hook does that is told C{up}."""
        for one, length in ((CLIENT_LINK_LOCAL, 64), (address, 32)):
            self.network.add_address(self.tunnel.index, one, length)

    def told(self) -> list[dict[str, str]]:
        """The environments, without what is always there."""
        always = {"IFACE": "teredo", "IFINDEX": str(self.tunnel.index)}
        assert all(always.items() <= run.items() for run in self.hook.runs)
        return [{name: value for name, value in run.items() if name not in always} for run in self.hook.runs]


def story(logged: Logged) -> list[tuple[str, str]]:
    """What is logged, but for what the core found out."""
    return [(level, text) for level, text in logged.lines if "New Teredo address" not in text]


def was(state: str, **more: str) -> dict[str, str]:
    return {"STATE": state, "OLD_STATE": "up" if more else "down", **more}


def test_what_configures_keeps_its_interface() -> None:
    bench = Bench()
    assert verifyObject(IConfiguring, bench.configuring)


@pytest.mark.requirement("T36")
def test_a_hook_is_told_what_each_change_is() -> None:
    bench = Bench()
    bench.hook.slow = False
    bench.up()
    bench.up(OTHER, 1400)
    bench.down()
    bench.up()
    bench.end()
    assert bench.told() == [
        {**was("up"), **IS_ONE},
        {**was("up", **WAS_ONE), **IS_OTHER},
        was("down", **WAS_OTHER),
        {**was("up"), **IS_ONE},
        was("down", **WAS_ONE),
        was("destroy", **WAS_ONE),
    ]
    assert bench.ended == [None]


def test_a_client_that_ends_without_an_address_says_down_and_destroy() -> None:
    bench = Bench()
    bench.hook.slow = False
    bench.down()
    bench.end()
    assert bench.told() == [was("down"), was("destroy")]


def test_a_client_that_never_began_tells_its_hook_nothing() -> None:
    bench = Bench()
    fresh = HookConfiguring("client", bench.hook, bench.network, bench.tunnel, bench.clock)
    ended: list[None] = []
    fresh.end().addCallback(ended.append)
    assert (ended, bench.hook.runs) == ([None], [])


def test_the_line_in_the_log_comes_when_the_hook_has_ended() -> None:
    bench = Bench()
    with logging() as logged:
        bench.up()
        bench.obeyed()
        assert story(logged) == []
        bench.hook.end()
        assert story(logged) == [("info", STARTED)]
        bench.down()
        assert story(logged) == [("info", STARTED)]
        bench.hook.end()
    assert story(logged) == [("info", STARTED), ("info", STOPPED)]


def test_the_line_waits_until_the_kernel_takes_packets_for_the_address() -> None:
    bench = Bench()
    with logging() as logged:
        bench.up()
        bench.hook.end()
        bench.clock.advance(0.1)
        assert story(logged) == []
        bench.obeyed()
        bench.clock.advance(0.002)
    assert story(logged) == [("info", STARTED)]


def test_a_hook_that_gives_no_address_is_waited_for_a_second() -> None:
    bench = Bench()
    with logging() as logged:
        bench.up()
        bench.hook.end()
        bench.clock.advance(KERNEL_PATIENCE + 0.01)
    assert story(logged) == [("info", STARTED)]


def test_an_address_that_is_lost_before_it_was_usable_has_not_started() -> None:
    bench = Bench()
    with logging() as logged:
        bench.up()
        bench.hook.end()
        bench.down()
        bench.hook.end()
        bench.clock.advance(KERNEL_PATIENCE + 0.01)
    assert story(logged) == [("info", STOPPED)]


def test_of_what_comes_while_a_hook_runs_the_newest_counts() -> None:
    bench = Bench()
    with logging() as logged:
        bench.up()
        bench.down()
        bench.up(OTHER, 1400)
        bench.down()
        bench.up(OTHER, 1400)
        assert len(bench.hook.runs) == 1
        bench.obeyed()
        bench.hook.end()
        assert len(bench.hook.runs) == 2
        bench.hook.end()
        bench.clock.advance(KERNEL_PATIENCE + 0.01)
    assert bench.told() == [{**was("up"), **IS_ONE}, {**was("up", **WAS_ONE), **IS_OTHER}]
    assert story(logged) == [("info", text) for text in (STARTED, STOPPED, STOPPED, STARTED_OTHER)]


def test_an_address_that_went_and_came_back_meanwhile_needs_no_hook() -> None:
    bench = Bench()
    bench.up()
    bench.down()
    bench.up()
    bench.hook.end()
    assert bench.told() == [{**was("up"), **IS_ONE}]


def test_after_a_hook_has_failed_the_same_is_told_again() -> None:
    bench = Bench()
    for _ in range(2):
        bench.up()
        bench.hook.end(1)
    assert bench.told() == [{**was("up"), **IS_ONE}, {**was("up", **WAS_ONE), **IS_ONE}]


FAILURES = [
    ((3, "no such thing\nmore\n"), "exit status 3: no such thing", ["more"]),
    ((1, ""), "exit status 1", []),
    (
        (-9, "it took too long\n"),
        "ended by signal 9: it took too long",
        [],
    ),
]


@pytest.mark.parametrize(("outcome", "text", "rest"), FAILURES)
def test_a_hook_that_fails_is_one_line_with_the_first_of_its_own(
    outcome: tuple[int, str], text: str, rest: list[str]
) -> None:
    bench = Bench()
    with logging() as logged:
        bench.up()
        bench.hook.end(*outcome)
        bench.clock.advance(KERNEL_PATIENCE + 0.01)
    assert logged.at("error") == [f"client: cannot configure teredo: /hook: {text}"]
    assert [text for level, text in story(logged) if level == "info"] == [f"client: /hook: {line}" for line in rest]


def test_a_hook_that_fails_after_it_gave_the_address_has_started_the_tunnel() -> None:
    bench = Bench()
    with logging() as logged:
        bench.up()
        bench.obeyed()
        bench.hook.end(1)
    assert story(logged) == [("error", "client: cannot configure teredo: /hook: exit status 1"), ("info", STARTED)]


def test_a_hook_that_fails_to_take_the_address_away_has_lost_it_all_the_same() -> None:
    bench = Bench()
    bench.up()
    bench.hook.end()
    with logging() as logged:
        bench.down()
        bench.hook.end(2)
    assert story(logged) == [("error", "client: cannot configure teredo: /hook: exit status 2"), ("info", STOPPED)]


def test_what_a_hook_says_is_logged_line_by_line() -> None:
    bench = Bench()
    with logging() as logged:
        bench.up()
        bench.hook.end(0, "one\n\ntwo\n")
    assert story(logged) == [("info", f"client: /hook: {line}") for line in ("one", "", "two")]


# ------------------------------------------------------------------ the end


def test_the_end_waits_for_the_hook() -> None:
    bench = Bench()
    bench.up()
    bench.hook.end()
    with logging() as logged:
        bench.down()
        bench.end()
        bench.hook.end()
        assert (story(logged), bench.ended) == ([("info", STOPPED)], [])
        bench.hook.end()
    assert bench.ended == [None]
    assert [run["STATE"] for run in bench.told()] == ["up", "down", "destroy"]
    assert bench.clock.armed == []


@pytest.mark.parametrize("runs_meanwhile", ["up", "down"])
def test_the_end_waits_for_a_slow_hook_no_longer_than_it_may(runs_meanwhile: str) -> None:
    bench = Bench()
    with logging() as logged:
        bench.up()
        if runs_meanwhile == "down":
            bench.hook.end()
        bench.down()
        bench.end()
        bench.clock.advance(END_PATIENCE - 0.01)
        assert bench.ended == []
        bench.clock.advance(0.02)
        assert (bench.ended, story(logged)) == ([None], [("info", STOPPED)])
        assert bench.clock.armed == []
        while len(bench.hook.runs) < 3:
            bench.hook.end()
        bench.hook.end(4)
    assert [run["STATE"] for run in bench.told()] == ["up", "down", "destroy"]
    assert bench.told()[-1] == was("destroy", **WAS_ONE)
    assert logged.at("error") == ["client: /hook: exit status 4"]


def test_the_end_comes_once() -> None:
    bench = Bench()
    bench.hook.slow = False
    bench.end()
    bench.end()
    assert [run["STATE"] for run in bench.told()] == ["down", "destroy"]


def test_what_is_wished_after_the_end_is_not_told() -> None:
    bench = Bench()
    bench.hook.slow = False
    bench.end()
    bench.up()
    assert [run["STATE"] for run in bench.told()] == ["down", "destroy"]


# ------------------------------------------------------------------ what the tunnel has


def test_what_the_hook_gave_is_what_the_tunnel_should_have() -> None:
    bench = Bench()
    assert bench.address.configured == Configured(alone=False)
    bench.up()
    bench.obeyed()
    bench.network.add_address(bench.tunnel.index, parse_ipv6("2001:db8::1"), 64)
    assert bench.address.configured == Configured(alone=False)
    bench.hook.end()
    assert bench.address.configured == Configured(((CLIENT_LINK_LOCAL, 64), (ONE, 32)), (), alone=False)
    bench.down()
    assert bench.address.configured == Configured(alone=False)
    bench.hook.end()
    assert bench.address.configured == Configured(alone=False)


HOOKED = f"{ROLES}ClientHook /etc/miredo/client-hook\n"


def client_with_hook() -> tuple[TeredoInternet, MemoryHook]:
    internet = TeredoInternet(HOOKED)
    hook = internet.client.hook("/etc/miredo/client-hook")
    assert isinstance(hook, MemoryHook)
    return internet, hook


def started() -> tuple[TeredoInternet, MemoryHook]:
    internet, hook = client_with_hook()
    internet.start()
    internet.run()
    assert [run["STATE"] for run in hook.runs] == ["up"]
    return internet, hook


def blames_another(logged: Logged) -> bool:
    return any("another program manages" in text for text in logged.at("warn"))


def test_nobody_is_blamed_for_what_a_hook_does() -> None:
    with logging() as logged:
        internet, hook = client_with_hook()
        hook.slow = True
        internet.start()
        internet.run()
        network, index = internet.client.network(), internet.client.tunnel.index
        network.set_down(index)
        internet.run()
        network.set_up(index)
        for address, length in ((CLIENT_LINK_LOCAL, 64), (internet.qualified[-1], 32), (parse_ipv6("fd00::1"), 64)):
            network.add_address(index, address, length)
        internet.run()
        hook.end()
        network.add_address(index, parse_ipv6("fd00::2"), 64)
        internet.run()
    assert not blames_another(logged)


@pytest.mark.parametrize("harm", ["address", "down"])
def test_somebody_is_blamed_for_what_is_gone_of_what_a_hook_gave(harm: str) -> None:
    with logging() as logged:
        internet, hook = client_with_hook()
        hook.slow = True
        internet.start()
        internet.run()
        network, index = internet.client.network(), internet.client.tunnel.index
        network.add_address(index, internet.qualified[-1], 32)
        hook.end()
        internet.run()
        assert not blames_another(logged)
        if harm == "down":
            network.set_down(index)
        else:
            network.delete_address(index, internet.qualified[-1], 32)
        internet.run()
    assert blames_another(logged)


# ------------------------------------------------------------------ in a service


def test_a_client_with_a_hook_configures_nothing_itself() -> None:
    internet, hook = started()
    assert internet.client.changes == []
    assert hook.runs[0]["ADDRESS"] == show_ipv6(internet.qualified[-1])


def test_a_client_whose_server_falls_silent_tells_its_hook() -> None:
    internet, hook = started()
    internet.server.stack.links["eth0"].addresses.clear()
    internet.run(120)
    assert [run["STATE"] for run in hook.runs] == ["up", "down"]
    assert hook.runs[1]["OLD_ADDRESS"] == hook.runs[0]["ADDRESS"]


def test_a_client_that_stops_keeps_its_tunnel_until_the_hook_has_ended() -> None:
    internet, hook = started()
    hook.slow = True
    stopped: list[object] = []
    deferred = internet.roles.stopService()
    assert deferred is not None
    deferred.addCallback(stopped.append)
    assert (internet.client.tunnel.open, stopped) == (True, [])
    assert not internet.client.port_at((internet.client.places[0][0], internet.client.places[0][1]))
    hook.end()
    assert (internet.client.tunnel.open, stopped) == (True, [])
    hook.end()
    assert (internet.client.tunnel.open, len(stopped)) == (False, 1)
    assert [run["STATE"] for run in hook.runs] == ["up", "down", "destroy"]
    assert internet.client.open_things() == []
    assert internet.clock.armed == []


def test_a_hook_that_cannot_be_run_is_named_with_its_line_and_nothing_is_left() -> None:
    internet, hook = client_with_hook()
    hook.fault = PermissionError(1, "hook /etc/miredo/client-hook: not executable")
    with pytest.raises(CannotStart, match=r"lab\.conf:11: ClientHook .*: hook /etc/miredo/client-hook: not executable"):
        internet.roles.privilegedStartService()
    assert internet.client.open_things() == []
    assert internet.clock.armed == []
    assert hook.runs == []


def test_a_slow_outcome_is_told_to_whoever_is_there_yet() -> None:
    bench = Bench()
    bench.hook.slow = False
    bench.hook.outcome = HookEnded(5, "why")
    with logging() as logged:
        bench.end()
    assert logged.at("error") == ["client: /hook: exit status 5: why"] * 2
