# SPDX-License-Identifier: MIT
"""What the privileged child does beyond the contracts of the kernel's edge: the log's socket, the bound on rules."""

import os
import socket
from errno import EDQUOT, ENOENT
from pathlib import Path

import pytest

from miredo.address.endpoint import parse_ipv6
from miredo.kernel.namespaces import create_namespace
from miredo.kernel.privileged import commands, obedience
from miredo.kernel.privileged.charge import Charge
from miredo.kernel.privileged.obedience import RULE_LIMIT, Obedience
from miredo.kernel.privileged.permits import Permits
from tests.kernel.bench import refused_with

TEXT = b"ServerAddress 192.0.2.1\n"


def obedient() -> Obedience:
    charge = Charge("miredo", None, TEXT)
    return Obedience(charge, Permits(charge))


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_the_log_is_reached_by_datagrams_or_by_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: socket.SocketKind
) -> None:
    monkeypatch.setattr(obedience, "SYSLOG", str(tmp_path / "log"))
    with socket.socket(socket.AF_UNIX, kind) as hearing:
        hearing.bind(str(tmp_path / "log"))
        if kind is socket.SOCK_STREAM:
            hearing.listen()
        descriptor = obedient().obey(commands.OpenSyslog()).descriptor
        assert descriptor is not None
        with socket.socket(fileno=descriptor) as said:
            assert (said.type, os.get_blocking(said.fileno())) == (kind, False)
            assert said.send(b"<30>hello") == 9


def test_a_log_that_nobody_keeps_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obedience, "SYSLOG", str(tmp_path / "log"))
    with refused_with(ENOENT):
        obedient().obey(commands.OpenSyslog())


@pytest.mark.namespaced
def test_there_are_so_many_rules_at_most() -> None:
    create_namespace("left")
    doing = obedient()
    sources = [parse_ipv6("2001::")[:15] + bytes([last]) for last in range(RULE_LIMIT + 1)]
    for source in sources[:-1]:
        doing.obey(commands.AddRule("left", source, 84, 32765))
    with refused_with(EDQUOT):
        doing.obey(commands.AddRule("left", sources[-1], 84, 32765))
    doing.obey(commands.DeleteRule("left", sources[0], 84, 32765))
    doing.obey(commands.AddRule("left", sources[-1], 84, 32765))
    doing.undo()
    assert doing.obey(commands.RemoveLeftovers("left")).value == b"", "there is none left"
