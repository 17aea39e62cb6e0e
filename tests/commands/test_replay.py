# SPDX-License-Identifier: MIT
"""C{./x replay FILE} as a user sees it: an account, a verdict, and never a traceback."""

import sys
from pathlib import Path
from random import Random
from subprocess import run

import pytest

from miredo.address.scope import IPv4Scope
from miredo.commands.replay import main, shown_outcome
from miredo.teredo import qualification, relay
from miredo.teredo.actions import SendDatagram
from miredo.teredo.recording import Recorder
from miredo.teredo.relay import Relay
from miredo.wire.bubble import emit_bubble
from tests.recorded import recorded_worlds
from tests.world import qualified_lab

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recordings of a server, a relay and a client that loses its server in the end."""
    place = tmp_path_factory.mktemp("recordings")
    with recorded_worlds() as recorders:
        lab = qualified_lab()
        assert lab.answered(lab.ping())
        lab.world.run(1)
        lab.client.transmit(lab.address)  # no packet at all
        lab.server.up = False
        lab.world.run(60)
        lab.client.stop()
        for recorder in recorders:
            (place / recorder.role).write_bytes(recorder.contents())
    return place


def output(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("role", ["server", "relay", "client"])
def test_a_recorded_run_is_alike(folder: Path, role: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder / role)]) == 0
    heading, counts, verdict = output(capsys)
    assert heading.startswith(f"{role}: a {role}, ")
    assert "receive " in counts
    inputs = int(heading.split(", ")[1].removesuffix(heading.split(", ")[1].lstrip("0123456789")))
    assert verdict == f"replayed {inputs} inputs, all actions alike"


def test_the_account_of_a_client_names_what_came_and_what_was_done(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder / "client"), "--verbose"]) == 0
    lines = output(capsys)
    assert lines[2:4] == [
        "         0.000  start",
        "                  send Router Solicitation, 61 bytes, to 203.0.113.1:3544",
    ]
    text = "\n".join(lines)
    assert "receive Router Advertisement (origin 198.51.100.7:40000), 117 bytes, from 203.0.113.1:3544" in text
    assert "Qualified address=2001:0:cb00:7101:" in text
    assert "mtu=1280, mapped=198.51.100.7:40000, server=203.0.113.1:3544" in text
    assert "NatObserved mapping=endpoint-independent, mapped=198.51.100.7:40000" in text
    assert "transmit echo request, 80 bytes" in text
    assert "passes echo reply, 80 bytes, from 203.0.113.3:3545\n                  True" in text
    assert "PeerTrusted address=2001:db8::1, endpoint=203.0.113.3:3545" in text
    assert "transmit malformed, 16 bytes" in text
    assert "ServerSilent server=203.0.113.1:3544" in text
    assert "Unqualified address=" in text
    assert "reason=no reply from the server" in text
    assert lines[-1].endswith("all actions alike")


def test_the_account_of_a_server_names_the_address_that_it_answers_from(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder / "server"), "-v"]) == 0
    text = capsys.readouterr().out
    assert "117 bytes, to 198.51.100.7:40000 from the secondary address" in text
    assert "forward echo request, 64 bytes" in text


def test_a_datagram_with_a_ttl_of_its_own_is_told_so() -> None:
    bubble = emit_bubble(bytes(16), bytes(16))
    told = [SendDatagram(bubble, bytes(6), ttl=ttl) for ttl in (None, 2)]
    assert list(shown_outcome(told)) == [
        "send bubble, 40 bytes, to 0.0.0.0:0",
        "send bubble, 40 bytes, to 0.0.0.0:0, TTL 2",
    ]


def test_a_core_that_does_something_else_is_shown_beside_what_it_did(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qualification, "SOLICITATIONS", 2)
    assert main([str(folder / "client")]) == 1
    lines = output(capsys)
    assert lines[-1] == "input 16 of 23: the dice are asked for 4 bytes, and then gave 8"
    assert [line for line in lines if line.lstrip().startswith("then    send Router Solicitation")]
    assert [line for line in lines if line.lstrip().startswith("now    ServerSilent")]
    assert not any("alike" in line for line in lines)


def test_a_refused_packet_and_an_error_of_the_core_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder("relay\x1b[2J", Random(1).randbytes, lambda: 1.0)
    core = Relay(IPv4Scope(), recorder.dice)
    recorder.watch(core)
    packet = b"\x60\0\0\0\0\4\x11\x40" + b"\x20\1\x0d\xb8" + bytes(11) + b"\1" + b"\x20\2" + bytes(14) + bytes(4)
    core.transmit(packet, 1.0)
    core.peers.seen(bytes(16), 1.0, 2.0)
    with monkeypatch.context() as patched:
        patched.setattr(relay, "parse_encapsulation", lambda datagram: datagram[99])
        with pytest.raises(IndexError):
            core.receive(b"abc", bytes(6), 1.0)
    (tmp_path / "file").write_bytes(recorder.contents())
    assert main([str(tmp_path / "file"), "-v"]) == 1
    lines = output(capsys)
    assert lines[0] == "relay?[2J: a relay, 3 inputs in 0.0 s"
    assert "                  error 1/0 to 2001:db8::1" in lines
    assert "         1.000  seen ::, 1.0, 2.0" in lines
    assert "          then    ERROR IndexError: index out of range" in lines


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "is empty: it is written when the role ends"),
        (b"\x80\x04cposix\nsystem\n(S'true'\ntR.", "does not begin as a recording"),
        (b"miredo recording 1\n", "does not say what was recorded"),
        (b"miredo recording 1\n\0\0", "cut short"),
        (b"miredo recording 2\n\0\0", "does not begin as a recording of this version"),
    ],
)
def test_what_is_no_recording_is_one_line(
    tmp_path: Path, octets: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(octets)
    assert main([str(tmp_path / "file")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"replay: {tmp_path / 'file'}: cannot be replayed: ")
    assert reason in line


@pytest.mark.parametrize("seed", range(100))
def test_a_damaged_recording_is_one_line(
    folder: Path, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    random = Random(seed)
    octets = bytearray((folder / "client").read_bytes())
    if seed % 2:
        octets[random.randrange(len(octets))] ^= random.randrange(1, 256)
    else:
        del octets[random.randrange(len(octets)) :]
    (tmp_path / "file").write_bytes(octets)
    assert main([str(tmp_path / "file")]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"replay: {tmp_path / 'none'}: No such file or directory\n"


def test_it_is_a_verb_of_x() -> None:
    shown = run([sys.executable, ROOT / "x", "--help"], capture_output=True, text=True, check=True)
    assert "./x replay FILE" in shown.stdout
