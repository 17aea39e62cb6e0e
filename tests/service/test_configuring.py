# SPDX-License-Identifier: MIT
"""What the program gives a tunnel itself: addresses, the default route, and a table of its own where it has a name."""

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from miredo.address.endpoint import parse_ipv4, parse_ipv6, show_ipv6
from miredo.address.teredo import CLIENT_LINK_LOCAL
from miredo.kernel.memory import MemoryClock, MemoryInternet
from miredo.service.configuring import BuiltInConfiguring, Configured, IConfiguring, NotConfigured
from tests.service.internet import RecordingEndpoints, TeredoInternet, logging

ONE = parse_ipv6("2001:0:c000:201:0:1111:39cc:9bfe")
OTHER = parse_ipv6("2001:0:c000:201:0:2222:39cc:9bfe")
ANYWHERE = bytes(16)
TABLE = 84
OWN = ((CLIENT_LINK_LOCAL, 64), (ONE, 32))


def built_in(table: int | None = TABLE) -> tuple[RecordingEndpoints, BuiltInConfiguring]:
    endpoints = RecordingEndpoints(MemoryInternet(MemoryClock()), [(parse_ipv4("198.51.100.1"), 24)], None)
    tunnel = endpoints.open_tunnel("teredo", 1280)
    return endpoints, BuiltInConfiguring("client", endpoints.network(), tunnel, 1029, table)


def routes(endpoints: RecordingEndpoints) -> list[tuple[int, int | None]]:
    """The metrics and tables of the default routes into the tunnel."""
    found = endpoints.stack.links["teredo"].routes
    assert all((route.destination, route.prefix_length) == (ANYWHERE, 0) for route in found)
    return [(route.metric, route.table) for route in found]


def so(answer: Deferred[bool]) -> bool:
    """An answer that is there."""
    answers: list[bool] = []
    answer.addCallback(answers.append)
    return answers == [True]


def test_what_configures_keeps_its_interface() -> None:
    assert verifyObject(IConfiguring, built_in()[1])


def test_a_named_table_gets_a_default_route_and_a_rule_for_the_address() -> None:
    endpoints, configuring = built_in()
    assert so(configuring.up(ONE, 1280))
    assert (routes(endpoints), endpoints.stack.rules) == ([], [])
    configuring.route()
    assert endpoints.stack.links["teredo"].addresses == list(OWN)
    assert routes(endpoints) == [(1029, None), (1024, TABLE)]
    assert endpoints.stack.rules == [(ONE, TABLE, 32765)]
    assert configuring.configured == Configured(OWN, ((ANYWHERE, 0),))


def test_without_a_named_table_there_is_neither() -> None:
    endpoints, configuring = built_in(table=None)
    configuring.up(ONE, 1280)
    configuring.route()
    assert (routes(endpoints), endpoints.stack.rules) == ([(1029, None)], [])


def test_another_address_has_another_rule() -> None:
    endpoints, configuring = built_in()
    for address in (ONE, OTHER):
        configuring.up(address, 1280)
        configuring.route()
    assert endpoints.stack.rules == [(OTHER, TABLE, 32765)]
    assert routes(endpoints) == [(1029, None), (1024, TABLE)]


@pytest.mark.parametrize("end", [False, True])
def test_everything_is_taken_back(end: bool) -> None:
    endpoints, configuring = built_in()
    configuring.up(ONE, 1280)
    configuring.route()
    if end:
        configuring.end()
    else:
        assert so(configuring.down())
    assert (endpoints.stack.links["teredo"].addresses, routes(endpoints), endpoints.stack.rules) == ([], [], [])
    assert configuring.configured == Configured()


def test_a_table_that_cannot_be_used_is_one_line_and_the_tunnel_works() -> None:
    endpoints, configuring = built_in()
    endpoints.network().add_rule(ONE, TABLE, 32765)
    configuring.up(ONE, 1280)
    with logging() as logged:
        configuring.route()
    reason = f"rule from {show_ipv6(ONE)}: File exists"
    assert logged.lines == [("warn", f"client: cannot use the routing table teredo: {reason}")]
    assert routes(endpoints) == [(1029, None), (1024, TABLE)]
    configuring.down()
    assert (routes(endpoints), endpoints.stack.rules) == ([], [(ONE, TABLE, 32765)])


def test_a_refused_address_leaves_nothing_and_is_told() -> None:
    endpoints, configuring = built_in()
    endpoints.refuses.append(f"add address {ONE.hex()}")
    reasons: list[str] = []
    configuring.up(ONE, 1280).addErrback(lambda failure: reasons.append(str(failure.value)))
    assert reasons == ["add address: Operation not permitted"]
    assert endpoints.stack.links["teredo"].addresses == []


def test_a_refused_route_leaves_nothing_and_is_told() -> None:
    endpoints, configuring = built_in()
    endpoints.refuses.append("add route")
    configuring.up(ONE, 1280)
    with pytest.raises(NotConfigured, match="add route: Operation not permitted"):
        configuring.route()
    assert (endpoints.stack.links["teredo"].addresses, endpoints.stack.rules) == ([], [])


# ------------------------------------------------------------------ in a service


def test_a_client_uses_the_table_that_the_administrator_has_named() -> None:
    internet = TeredoInternet()
    internet.client.stack.tables["teredo"] = TABLE
    internet.start()
    internet.run()
    assert internet.client.stack.rules == [(internet.qualified[-1], TABLE, 32765)]
    internet.stop()
    assert internet.client.stack.rules == []


def test_a_client_removes_what_a_killed_one_has_left_and_says_so() -> None:
    internet = TeredoInternet()
    internet.client.stack.rules.append((OTHER, TABLE, 32765))
    with logging() as logged:
        internet.start()
    assert internet.client.stack.rules == []
    text = f"client a: removed the rule for {show_ipv6(OTHER)}, which a program that was killed has left"
    assert ("info", text) in logged.lines
