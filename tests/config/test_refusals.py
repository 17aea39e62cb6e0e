# SPDX-License-Identifier: MIT
"""Files that are not good: what is said of each, to the letter, and what miredo-checkconf 1.2.6 says of the same."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from miredo.config import ConfigError, parse
from tests.config.refusals import Refusal, plain, refusals

TABLE = refusals()
PEER = "/usr/sbin/miredo-checkconf"
FATAL = b"Fatal configuration error"
STALE = re.compile(rb"^(Invalid (?:hostname|integer value) .*?(?: at line [0-9]+| for [A-Za-z]+)): .*$")

RELAY, CLIENT = ["RelayType cone", "RelayType restricted"], ["", "RelayType client", "RelayType autoclient"]
LINES = [
    *["", "# nothing", "  \t", "BindPort 3545", "bindport 1", "BindPort 99999", "BindPort x", "BindPort"],
    *["BindAddress 192.0.2.9", "BindAddress 1.2.3.256", "BindAddress", "InterfaceName teredo", "InterfaceName a b"],
    *["SyslogFacility local0", "SyslogFacility nope", "Prefix 2001::", "Prefix zzz", "ServerAddress 192.0.2.1"],
    *[
        "ServerAddress2 192.0.2.9",
        "ServerAddress2 2001::",
        "RelayType nope",
        "Foo bar",
        "Foo",
        "[relay",
        "InterfaceMTU x",
    ],
    *["ServerBindAddress2 192.0.2.2", "IgnoreConeBit yes", "x" * 1200, "#" * 1200, "\x00", "BindPort=1", "BindPort -1"],
]
"""Lines on which we and miredo-checkconf may differ only in that we are stricter."""


def said_of(octets: bytes) -> str:
    """What we say of a file; nothing of a good one."""
    try:
        configuration = parse(octets, "miredo.conf", strict=True)
    except ConfigError as error:
        return str(error)
    return "\n".join(warning.render() for warning in configuration.warnings)


@pytest.mark.parametrize("case", TABLE, ids=[case.name for case in TABLE])
def test_each_file_gets_its_words(case: Refusal) -> None:
    assert said_of(case.octets) == case.said


def test_what_the_peer_refuses_is_refused_or_there_is_a_reason() -> None:
    assert [case.name for case in TABLE if case.peer and not case.said and not case.reason] == []
    assert [case.name for case in TABLE if case.reason and case.said] == []


def test_there_are_many_of_them_and_no_two_the_same() -> None:
    assert len({case.octets for case in TABLE}) == len({case.name for case in TABLE}) == len(TABLE)
    assert len([case for case in TABLE if case.said]) >= 40


def test_beyond_a_hundred_faults_they_are_counted_only() -> None:
    said = said_of(b"Foo 1\n" * 500)
    assert said.count("unknown directive") == 100
    assert said.splitlines()[-1] == "miredo.conf: error: there are 501 errors, of which 100 are shown"


def test_a_file_of_another_kind_altogether_is_refused_soon() -> None:
    """Each line could ask for a search among all directives, or be compared with each other one."""
    assert "there are 40001 errors" in said_of(b"".join(b"Srvr%d 1\n" % number for number in range(40_000)))
    assert "[relay 9999] " not in said_of(b"".join(b"[relay %d]\n" % number for number in range(10_000)))


Check = Callable[[bytes], list[bytes]]


@pytest.fixture
def peer(tmp_path: Path) -> Check:
    """What miredo-checkconf says of a file, without its last line."""
    if not os.access(PEER, os.X_OK):
        pytest.skip(f"there is no {PEER}; cure: sudo apt-get install miredo")

    def check(octets: bytes) -> list[bytes]:
        (tmp_path / "a.conf").write_bytes(octets)
        told = subprocess.run([PEER, "a.conf"], cwd=tmp_path, capture_output=True, timeout=20, check=False)
        lines = told.stderr.splitlines()
        assert (told.returncode, lines[-1:]) in ((0, []), (255, [FATAL]))
        return lines[:-1]

    return check


@pytest.mark.interop
@pytest.mark.namespaced
def test_the_table_is_right_about_the_peer(peer: Check) -> None:
    """No name resolves here; what it takes from errno is left out."""

    def lasting(lines: list[bytes]) -> list[bytes]:
        return [STALE.sub(rb"\1", line) for line in lines]

    for case in TABLE:
        assert lasting(peer(case.octets)) == lasting([plain(line) for line in case.peer]), case.name


@pytest.mark.interop
@pytest.mark.namespaced
def test_no_file_that_the_peer_refuses_is_good(peer: Check) -> None:
    dice = Random(4380)
    refused = good = 0
    for _ in range(400):
        relay = dice.random() < 0.5
        head = [dice.choice(RELAY if relay else CLIENT), "" if relay else "ServerAddress 192.0.2.1"]
        lines = [*(head if dice.random() < 0.9 else []), *dice.sample(LINES, dice.randrange(4))]
        dice.shuffle(lines)
        octets = "\n".join([*lines, ""]).encode()
        if lines.count("ServerAddress 192.0.2.1") > 1:
            continue
        if peer(octets):
            refused += 1
            assert said_of(octets), octets
        else:
            good += not said_of(octets)
    assert refused > 100
    assert good > 40
