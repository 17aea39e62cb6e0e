# SPDX-License-Identifier: MIT
"""Names are looked up several at once, and never for long."""

import socket
import time
from threading import Event

import pytest

from miredo.address.endpoint import parse_ipv4
from miredo.commands.lookup import addresses_of


def test_a_name_of_this_host_has_its_address() -> None:
    assert addresses_of(["localhost"]) == {"localhost": [parse_ipv4("127.0.0.1")]}


def test_no_names_have_no_addresses() -> None:
    assert addresses_of([]) == {}


@pytest.mark.namespaced
def test_a_name_that_cannot_be_asked_for_has_a_reason() -> None:
    (answer,) = addresses_of(["a.example"]).values()
    assert isinstance(answer, str)
    assert answer.startswith(("Temporary failure", "Name or service not known"))


def test_many_names_are_asked_for_and_the_slow_ones_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = Event()

    def asked(name: str, *_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        if name.startswith("slow"):
            released.wait(10)
        return [(0, 0, 0, "", ("192.0.2.1", 0)), (0, 0, 0, "", ("192.0.2.2", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    names = ["slow", *(f"n{number}" for number in range(50))]
    begin = time.monotonic()
    answers = addresses_of(names, patience=0.3)
    assert time.monotonic() - begin < 5
    released.set()
    assert answers.pop("slow") == "no answer came within 0.3 s"
    assert set(map(str, answers.values())) == {str([parse_ipv4("192.0.2.1"), parse_ipv4("192.0.2.2")])}
    assert len(answers) == 50
