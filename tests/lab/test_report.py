# SPDX-License-Identifier: MIT
"""What a run tells: the same on a page and as JSON, and nothing that was not seen."""

import json

import pytest

from miredo.address.endpoint import parse_endpoint
from miredo.lab.ladder import Step
from miredo.lab.links import Link
from miredo.lab.nat import BEHAVIOURS, NatBehaviour
from miredo.lab.plan import PINGS, Scenario
from miredo.lab.report import LONGEST_LADDER, Report
from miredo.lab.simulated import run
from miredo.teredo.actions import Filtering, Mapping, NatObserved

PLAIN = Link(delay=0.01)
STEPS = [Step(0.0, "client-a", "server", "Router Solicitation"), Step(0.0, "client-b", "client-b-nat", "private")]


def good() -> Report:
    """A run in which everything went well."""
    return Report(
        simulated=False,
        scenario=Scenario(),
        nodes={"server": ["192.0.2.1"], "client-a": ["198.51.100.1", "2001:0:c000:201::"]},
        mapping=Mapping.ENDPOINT_INDEPENDENT,
        mapped="198.51.100.1:40000",
        qualified=0.005,
        first_ping=0.0123456789,
        rtts=[0.001, 0.002, 0.006],
        back_ping=0.0005,
        peer_ping=None,
        steps=list(STEPS),
    )


def test_a_run_with_every_ping_answered_is_good() -> None:
    assert good().ok


def test_a_run_is_not_good_without_its_parts() -> None:
    for part, value in (
        ("qualified", None),
        ("first_ping", None),
        ("rtts", [0.001, None]),
        ("back_ping", None),
        ("failure", "interrupted"),
    ):
        report = good()
        setattr(report, part, value)
        assert not report.ok, part


def test_a_ping_between_clients_need_not_be_answered() -> None:
    report = good()
    report.peer_ping = None
    assert report.ok


def test_the_keys_of_the_json_are_public() -> None:
    told = good().as_json()
    assert told == {
        "ok": True,
        "failure": None,
        "simulated": False,
        "qualified_s": 0.005,
        "first_ping_s": 0.012346,
        "rtt_ms": {"min": 1.0, "mean": 3.0, "max": 6.0},
        "pings": {"sent": 3, "answered": 3},
        "host_to_client_s": 0.0005,
        "client_to_client_s": None,
        "nat": {
            "mapping": "endpoint-independent",
            "filtering": "not measured",
            "mapped": "198.51.100.1:40000",
            "port_preserved": None,
            "same_address": None,
            "is": "endpoint-independent/address-and-port-dependent",
        },
        "peer_nat": "endpoint-independent/address-and-port-dependent",
        "host_first": False,
        "link": "plain",
        "nodes": {"server": ["192.0.2.1"], "client-a": ["198.51.100.1", "2001:0:c000:201::"]},
        "ladder": told["ladder"],
    }
    assert isinstance(told["ladder"], list)
    assert len(told["ladder"]) == 2
    assert json.loads(json.dumps(told)) == told


def test_a_run_that_never_qualified_is_json_too() -> None:
    told = Report(simulated=True, scenario=Scenario(), failure="the client did not qualify").as_json()
    assert (told["ok"], told["qualified_s"], told["rtt_ms"]) == (False, None, None)
    assert told["pings"] == {"sent": 0, "answered": 0}
    assert json.loads(json.dumps(told)) == told


def test_the_page_has_the_summary() -> None:
    page = good().as_text()
    assert page.startswith("A Teredo Internet on real packets\n")
    assert page.endswith("\nOK")
    for line in (
        "  client-a  198.51.100.1, 2001:0:c000:201::",
        "what client-a learned of its NAT   mapping endpoint-independent; filtering not measured",
        "qualified                          5.0 ms after start",
        "first ping to the native host      12.3 ms",
        "3 more pings, min / mean / max     1.0 ms / 3.0 ms / 6.0 ms (3 answered)",
        "ping client-a to client-b, direct  no answer",
        "Router Solicitation",
    ):
        assert line in page


def test_the_drawing_is_of_the_nodes_that_it_has_room_for() -> None:
    assert "private" not in good().as_text()


def test_the_drawing_ends_with_an_answer_to_the_client() -> None:
    report = good()
    report.steps = [Step(0.0, "client-a", "server", "asked"), Step(0.1, "server", "client-a", "answered")]
    report.steps += [Step(0.2, "client-a", "server", "asked again")]
    page = report.as_text()
    assert "answered" in page
    assert "asked again" not in page


def test_what_was_learned_of_the_nat_is_told() -> None:
    report = good()
    mapped, other = parse_endpoint("198.51.100.1:40000"), parse_endpoint("198.51.100.9:40000")
    report.observe(NatObserved(Mapping.DESTINATION_DEPENDENT, mapped, other), 40000)
    told = report.as_json()["nat"]
    assert isinstance(told, dict)
    assert (told["mapping"], told["port_preserved"], told["same_address"]) == ("destination-dependent", True, False)
    assert "destination-dependent, port preserved, other address for the other server" in report.as_text()


@pytest.mark.requirement("A16")
def test_what_was_seen_of_the_filtering_is_told() -> None:
    report = good()
    mapped = parse_endpoint("198.51.100.1:40000")
    for filtering in Filtering:
        report.observe(NatObserved(Mapping.ENDPOINT_INDEPENDENT, mapped, mapped, filtering), 40000)
        told = report.as_json()["nat"]
        assert isinstance(told, dict)
        assert told["filtering"] == filtering.value
        assert f"; filtering {filtering.value}" in report.as_text()


def test_the_drawing_ends_somewhere() -> None:
    report = good()
    report.steps = [Step(float(number), "client-a", "server", f"step {number}.") for number in range(50)]
    page = report.as_text()
    assert f"step {LONGEST_LADDER - 1}." in page
    assert f"step {LONGEST_LADDER}." not in page


def test_a_failure_is_the_last_line_of_the_page() -> None:
    report = good()
    report.failure = "interrupted"
    assert report.as_text().endswith("\nFAILED: interrupted")
    lost = good()
    lost.rtts = [None]
    assert lost.as_text().endswith("\nFAILED: not every ping to and from the native host was answered")
    assert "none (0 answered)" in lost.as_text()


def test_a_page_of_nothing_can_be_drawn() -> None:
    page = Report(simulated=True, scenario=Scenario(), failure="no packets").as_text()
    assert page.startswith("A Teredo Internet in memory\n")
    assert page.endswith("FAILED: no packets")


# ---------------------------------------------------------------- in memory


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=str)
def test_in_memory_every_kind_of_nat_qualifies_and_pings(behaviour: NatBehaviour) -> None:
    report = run(Scenario(behaviour, link=PLAIN))
    assert report.ok, report.as_text()
    assert report.simulated
    assert report.first_ping is not None
    assert report.first_ping == pytest.approx(22 * 0.01)  # no packet was lost, and no timer rang
    assert len(report.rtts) == PINGS
    assert report.back_ping is not None


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=str)
def test_in_memory_a_mapping_is_told_as_far_as_two_addresses_can_tell(behaviour: NatBehaviour) -> None:
    independent = behaviour.mapping.value == "endpoint-independent"
    told = Mapping.ENDPOINT_INDEPENDENT if independent else Mapping.DESTINATION_DEPENDENT
    assert run(Scenario(behaviour, link=PLAIN)).mapping is told


def test_a_run_in_memory_is_the_same_each_time() -> None:
    assert run(Scenario(link=PLAIN), seed=7) == run(Scenario(link=PLAIN), seed=7)
    assert run(Scenario(link=PLAIN), seed=7) != run(Scenario(link=PLAIN), seed=8)
