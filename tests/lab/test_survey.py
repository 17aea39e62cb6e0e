# SPDX-License-Identifier: MIT
"""The survey of first packets: every kind, both ways, every delay, and a table that hides nothing."""

import json

import pytest

from miredo.commands.demo import parser
from miredo.lab.fronts import NO_NAT, KernelNat
from miredo.lab.links import Link
from miredo.lab.nat import FAMILIAR, KINDS
from miredo.lab.plan import Scenario
from miredo.lab.survey import DELAYS, Trial, Way, as_json, as_text, kernel_trials, trials

NATIVE = {Way.TO_HOST, Way.FROM_HOST}
CONE, PORT_RESTRICTED = FAMILIAR["cone"], FAMILIAR["port-restricted"]
OUT, IN, ACROSS = (
    Trial(Scenario(CONE), Way.TO_HOST),
    Trial(Scenario(CONE, host_first=True), Way.FROM_HOST),
    Trial(Scenario(CONE, PORT_RESTRICTED), Way.BETWEEN_CLIENTS),
)


def test_every_kind_is_tried_both_ways_at_every_delay() -> None:
    native = [trial for trial in trials(DELAYS) if trial.way in NATIVE]
    tried = {(trial.scenario.nat, trial.scenario.link.delay, trial.way) for trial in native}
    assert len(native) == len(tried) == 10 * 3 * 2
    assert tried == {(kind, delay, way) for kind in KINDS for delay in (0.0, 0.04, 0.15) for way in NATIVE}


def test_the_native_host_pings_first_where_its_first_packet_is_looked_at() -> None:
    assert all(trial.scenario.host_first == (trial.way is Way.FROM_HOST) for trial in trials(DELAYS))


def test_the_25_pairs_are_tried_at_every_delay() -> None:
    pairs = [trial for trial in trials(DELAYS) if trial.way is Way.BETWEEN_CLIENTS]
    assert len(pairs) == len(set(pairs)) == 25 * 3
    names = ("cone", "address-restricted", "port-restricted", "linux-masquerade")
    named = {NO_NAT, *(FAMILIAR[name] for name in names)}
    assert {trial.scenario.nat for trial in pairs} == {trial.scenario.peer_nat for trial in pairs} == named


def test_the_25_pairs_of_the_kernels_are_tried_at_every_delay() -> None:
    pairs = kernel_trials(DELAYS)
    assert len(pairs) == len(set(pairs)) == 25 * 3
    named = {NO_NAT, *KernelNat} - {KernelNat.SYMMETRIC}
    assert {trial.scenario.nat for trial in pairs} == {trial.scenario.peer_nat for trial in pairs} == named


def test_the_table_of_the_kernels_has_no_native_hosts() -> None:
    lines = as_text(dict.fromkeys(kernel_trials((0.0,)), 0.001)).splitlines()
    assert lines[0].split() == ["client-a", "->", "client-b,", "direct", "0", "ms"]
    assert lines[1].split() == ["none", "->", "none", "1.0"]
    assert lines[-3].split() == ["kernel-masquerade", "->", "kernel-masquerade", "1.0"]
    assert lines[-1] == "25 of 25 first packets were answered"


@pytest.mark.parametrize("trial", [*trials((0.04,)), *kernel_trials((0.04,)), OUT, IN, ACROSS], ids=str)
def test_the_words_of_a_trial_are_those_of_its_scenario(trial: Trial) -> None:
    options = parser().parse_args(trial.words())
    assert (options.nat, options.peer_nat) == (trial.scenario.nat, trial.scenario.peer_nat)
    assert (options.delay / 1e3, options.host_first) == (trial.scenario.link.delay, trial.scenario.host_first)


def test_the_table_has_a_row_for_each_nat_and_a_dash_for_what_never_came() -> None:
    later = Trial(Scenario(CONE, link=Link(delay=0.15)), Way.TO_HOST)
    lines = as_text({OUT: 0.0123, IN: None, later: 3.3, ACROSS: 0.5}).splitlines()
    assert lines[0].split() == ["every", "link,", "each", "way", "0", "ms", "150", "ms"]
    assert lines[2].split() == ["endpoint-independent/endpoint-independent", "12.3", "-", "3300.0"]
    assert lines[5].split() == ["cone", "->", "port-restricted", "500.0"]
    assert lines[-1] == "3 of 4 first packets were answered"


def test_the_columns_stand_below_their_headings() -> None:
    lines = as_text(dict.fromkeys(trials(DELAYS), 1.0)).splitlines()
    ends = {len(line) for line in lines[: 2 + len(KINDS)]}
    assert len(ends) == 1
    assert max(map(len, lines)) <= 130


def test_the_json_says_who_sent_to_whom() -> None:
    told = as_json({OUT: 0.0123456, IN: None, ACROSS: 0.5})
    assert [(each["from"], each["to"], each["rtt_ms"]) for each in told] == [
        ("client-a", "host", 12.346),
        ("host", "client-a", None),
        ("client-a", "client-b", 500.0),
    ]
    assert [each["peer_nat"] for each in told] == [None, None, str(PORT_RESTRICTED)]
    assert {each["nat"] for each in told} == {str(CONE)}
    assert json.loads(json.dumps(told)) == told
