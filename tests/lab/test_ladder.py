# SPDX-License-Identifier: MIT
"""Packets get the names that people use for them, and ladders show who sent what to whom."""

import json
from pathlib import Path
from textwrap import dedent, indent

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from miredo.lab import ladder
from miredo.lab.ladder import EXPIRED, WIDTH, Step, as_json, as_mermaid, describe, describe_ipv6, render
from miredo.wire.checksum import transport_checksum

VECTORS: dict[str, str] = {
    name: vector["hex"]
    for name, vector in json.loads((Path(__file__).parents[1] / "vectors/teredo.json").read_text()).items()
}
NODES = ["client", "nat", "core", "server", "relay", "host"]


def ipv6(next_header: int, payload: bytes = b"") -> bytes:
    return b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + bytes([next_header, 64]) + bytes(32) + payload


def icmpv6(start: str) -> bytes:
    message = bytes.fromhex(start)
    checksum = transport_checksum(bytes(16), bytes(16), 58, message)
    return message[:2] + checksum.to_bytes(2, "big") + message[4:]


@pytest.mark.parametrize(
    ("vector", "name"),
    [
        ("rs_vista_auth", "Router Solicitation"),
        ("ra_origin", "Router Advertisement (origin 192.0.2.1:4096)"),
        ("ra_auth_origin", "Router Advertisement (origin 192.0.2.1:4096)"),
        ("ra_inner", "Router Advertisement"),
        ("bubble_A_B", "bubble"),
        ("bubble_indirect_out", "bubble with origin (indirect)"),
        ("bubble_hairpin", "bubble (nonce, alternates)"),
        ("bubble_rport", "bubble (nonce, random port 40000)"),
        ("bubble_slr", "bubble (neighbor solicitation)"),
        ("bubble_unknown_skip", "bubble (nonce)"),
        ("bubble_unknown_drop", "bubble (discarded by its trailer)"),
        ("ping_test", "echo request"),
        ("pong_test", "echo reply"),
        ("icmp_unreach3", "unreachable, code 3"),
        ("icmp_ptb", "packet too big, MTU 1280"),
        ("addr_A", "malformed"),
        ("origin_rfc", "malformed"),
    ],
)
def test_known_datagrams_are_called_by_their_names(vector: str, name: str) -> None:
    assert describe(bytes.fromhex(VECTORS[vector])) == name


def test_an_indirect_bubble_may_carry_trailers() -> None:
    datagram = bytes.fromhex(VECTORS["bubble_indirect_out"] + VECTORS["tr_nonce"] + VECTORS["tr_nd_adv"])
    assert describe(datagram) == "bubble with origin (indirect, nonce, neighbor advertisement)"


@pytest.mark.parametrize(
    ("packet", "name"),
    [
        (ipv6(6, bytes(20)), "TCP"),
        (ipv6(17, bytes(8)), "UDP"),
        (ipv6(60, bytes([17, 0, 1, 4, 0, 0, 0, 0]) + bytes(8)), "UDP"),
        (ipv6(44, bytes([58, 0, 0, 8, 0, 0, 0, 1]) + bytes(8)), "fragment"),
        (ipv6(47, b"gre"), "IPv6 protocol 47"),
        (ipv6(59, b"not empty"), "IPv6 protocol 59"),
        (ipv6(58, icmpv6("8700 0000 00000000")), "ICMPv6 type 135"),
        (ipv6(60, bytes([58, 0, 1, 4, 0, 0, 0, 0]) + icmpv6("8000 0000 00010002")), "echo request"),
        (ipv6(58, bytes.fromhex("8000 ffff 00010002")), "malformed"),
        (ipv6(60, b"\x11"), "malformed"),
        (b"", "malformed"),
    ],
)
def test_packets_are_called_after_their_upper_layer(packet: bytes, name: str) -> None:
    assert describe_ipv6(packet) == describe(packet) == name


@given(st.binary(max_size=200) | st.builds(ipv6, st.integers(0, 255), st.binary(max_size=80)))
@example(b"\0")
@example(b"\0\1\0\0")
def test_every_datagram_has_a_name(datagram: bytes) -> None:
    assert describe(datagram)


@given(st.sampled_from(sorted(VECTORS)), st.integers(0, 1300), st.integers(0, 1300), st.integers(1, 255))
def test_every_cut_and_changed_datagram_has_a_name(vector: str, length: int, at: int, change: int) -> None:
    datagram = bytearray.fromhex(VECTORS[vector])
    datagram[at % len(datagram)] ^= change
    assert describe(bytes(datagram[: length % (len(datagram) + 1)]))


def test_the_drawing_in_the_documentation_is_what_comes_out() -> None:
    solicited = Step(0.0, "client", "server", "Router Solicitation")
    advertised = Step(0.0412, "server", "client", "Router Advertisement (origin 198.51.100.7:40000)")
    drawing = render([solicited, advertised], ["client", "nat", "server"], width=60)
    assert indent(drawing, "    ") in dedent(ladder.__doc__ or "")


def test_six_nodes_fit_into_a_hundred_columns() -> None:
    steps = [
        Step(0.0, "client", "nat", "echo request"),
        Step(0.0101, "relay", "client", "bubble (nonce)", note="filtered"),
        Step(12.5, "nat", "nat", "rebooted"),
        Step(12.6, "host", "relay", "a name too long for its arrow"),
        Step(12.7, "host", "host", "ping answered, 41 ms"),
    ]
    assert render(steps, NODES).splitlines() == [
        "      ms  client             nat             core            server            relay            host",
        "             |                |                |                |                |                |",
        "     0.0     |  echo request  |                |                |                |                |",
        "             |--------------->|                |                |                |                |",
        "    10.1     |<------------------- bubble (nonce) [filtered] --------------------|                |",
        " 12500.0     |                * rebooted       |                |                |                |",
        " 12600.0     |                |                |                |     a name too long for its arrow",
        "             |                |                |                |                |<---------------|",
        " 12700.0     |                |                |                |            ping answered, 41 ms *",
    ]


def test_steps_that_differ_in_time_only_are_drawn_once() -> None:
    data = [Step(at, "client", "relay", "UDP") for at in (1.0, 1.1, 1.2)]
    lost = Step(1.3, "client", "relay", "UDP", note="lost")
    lines = render([*data, lost, data[0]], ["client", "relay"]).splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["1000.0", "1300.0", "1000.0"]
    assert ["UDP x3" in line for line in lines] == [True, False, False]
    assert "UDP [lost]" in lines[1]


def test_a_node_that_only_a_step_names_is_drawn_at_the_right() -> None:
    heading = render([Step(0.0, "stranger", "client", "UDP")], ["client", "relay"]).splitlines()[0]
    assert heading.split() == ["ms", "client", "relay", "stranger"]


def test_nothing_is_drawn_of_nobody() -> None:
    assert render([], []) == ""
    assert render([], ["client"]).split() == ["ms", "client", "|"]


nodes = st.sampled_from([*NODES, "a node with a long name"])
labels = st.text("abc ()", max_size=120)
all_steps = st.lists(st.builds(Step, st.floats(0, 999), nodes, nodes, labels, labels), max_size=8)


@given(all_steps, st.integers(60, 200))
def test_no_drawing_is_wider_than_it_may_be(steps: list[Step], width: int) -> None:
    assert all(len(line) <= width for line in render(steps, NODES, width).splitlines())


@given(all_steps)
def test_every_packet_has_an_arrow_that_points_to_its_receiver(steps: list[Step]) -> None:
    lines = render(steps, NODES).splitlines()
    arrows = [line for line in lines[2:] if "-" in line]
    sent = [
        step for before, step in zip([None, *steps], steps, strict=False) if before is None or not same(before, step)
    ]
    moved = [step for step in sent if step.sender != step.receiver]
    column = lifelines(steps, lines[1])
    assert len(arrows) == len(moved)
    for step, line in zip(moved, arrows, strict=True):
        sender, receiver = column[step.sender], column[step.receiver]
        assert line[receiver - 1] == ">" if sender < receiver else line[receiver + 1] == "<"
        assert line[sender] == line[receiver] == "|"


def same(one: Step, other: Step) -> bool:
    return (one.sender, one.receiver, one.what, one.note) == (other.sender, other.receiver, other.what, other.note)


def lifelines(steps: list[Step], line: str) -> dict[str, int]:
    named = dict.fromkeys([*NODES, *(node for step in steps for node in (step.sender, step.receiver))])
    return dict(zip(named, (at for at, character in enumerate(line) if character == "|"), strict=True))


def test_the_usual_width_is_that_of_a_readme() -> None:
    steps = [Step(0.0, "client", "nat", "Router Solicitation")]
    assert max(map(len, render(steps, NODES).splitlines())) <= WIDTH


def test_steps_as_json_keep_all_they_say() -> None:
    steps = [Step(0.1 + 0.2, "client", "relay", "UDP", "lost"), Step(1.0, "relay", "host", "UDP")]
    assert json.loads(json.dumps(as_json(steps))) == [
        {"at": 0.3, "sender": "client", "receiver": "relay", "what": "UDP", "note": "lost"},
        {"at": 1.0, "sender": "relay", "receiver": "host", "what": "UDP", "note": ""},
    ]


def test_a_sequence_diagram_names_every_node_and_says_what_was_lost() -> None:
    steps = [
        Step(0.0, "client-a", "server", "Router Solicitation"),
        Step(0.0125, "server", "client-a", "Router Advertisement; #1", "lost"),
        Step(0.02, "client-a", "client-a", "bubble", "filtered"),
        Step(0.03, "client-a", "relay", "bubble", EXPIRED),
    ]
    assert as_mermaid(steps, ["client-a", "relay"]).splitlines() == [
        "sequenceDiagram",
        "    participant n0 as client-a",
        "    participant n1 as relay",
        "    participant n2 as server",
        "    n0->>n2: 0.0 ms Router Solicitation",
        "    n2--xn0: 12.5 ms Router Advertisement,  1 [lost]",
        "    Note over n0: 20.0 ms bubble [filtered]",
        "    n0--xn1: 30.0 ms bubble [TTL expired]",
    ]
