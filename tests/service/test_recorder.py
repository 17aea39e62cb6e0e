# SPDX-License-Identifier: MIT
"""C{Record FILE}: a role that runs on the fakes leaves its recording, for its owner's eyes only."""

import os
import stat
from errno import ENOSPC
from pathlib import Path

import pytest

from miredo.address.scope import IPv4Scope
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryInternet
from miredo.kernel.openings import RECORDING
from miredo.service.daemon import CannotStart
from miredo.service.recorder import FlightRecorder
from miredo.service.roles import TeredoRelayService
from miredo.teredo import relay
from miredo.teredo.recording import NAME, Raised, Recording, parse_recording, replay
from miredo.teredo.relay import Relay
from miredo.wire.encapsulation import Encapsulated
from tests.service.internet import RELAY, ROLES, SERVER, TeredoInternet, logging

TITLES = ("server s", "relay r", "client a")


def recorded_roles(folder: Path) -> str:
    """All three roles, each with a file named as itself."""
    text = ROLES
    for title in TITLES:
        text = text.replace(f"[{title}]", f"[{title}]\nRecord {folder / title}")
    return text


def read(file: Path) -> Recording:
    return parse_recording(file.read_bytes())


def names(recording: Recording) -> list[str]:
    return [each.name for each in recording.inputs]


def running(folder: Path) -> TeredoInternet:
    """All roles run, the client has its address, and a ping was answered."""
    internet = TeredoInternet(recorded_roles(folder))
    internet.start()
    internet.run()
    ping = internet.ping()
    internet.run()
    assert ping.answered is not None
    return internet


def broken(datagram: bytes) -> Encapsulated:
    raise IndexError(f"{len(datagram)} bytes")


def provoke(internet: TeredoInternet) -> None:
    """A datagram for the relay that its core fails on."""
    service = internet.service("relay r")
    assert isinstance(service, TeredoRelayService)
    with pytest.raises(IndexError):
        service.protocol.datagramReceived(b"abc", (SERVER, 3544))


# ---------------------------------------------------------------- the end


def test_every_role_leaves_its_run_when_it_stops(tmp_path: Path) -> None:
    internet = running(tmp_path)
    assert [(tmp_path / title).read_bytes() for title in TITLES] == [b"", b"", b""]
    internet.run(400)
    internet.stop()
    for title in TITLES:
        recording = read(tmp_path / title)
        assert (recording.role, recording.kind) == (title, title.split()[0])
        assert [again.difference for again in replay(recording)] == [None] * len(recording.inputs)
        assert stat.S_IMODE((tmp_path / title).stat().st_mode) == 0o600
    for title in ("relay r", "client a"):
        assert names(read(tmp_path / title))[0] == "start"
        assert names(read(tmp_path / title))[-1] == "stop"


def test_a_role_without_a_file_has_a_core_without_a_recorder() -> None:
    internet = TeredoInternet()
    internet.start()
    service = internet.client_service()
    assert service.recorder is None
    assert "receive" not in vars(service.protocol.core)
    internet.stop()


def test_a_stopped_role_leaves_no_descriptor(tmp_path: Path, closes_descriptors: None) -> None:
    running(tmp_path).stop()


def test_the_file_can_be_had_at_any_time(tmp_path: Path) -> None:
    internet = running(tmp_path)
    recorder = internet.client_service().recorder
    assert recorder is not None
    assert recorder.write()
    first = read(tmp_path / "client a")
    internet.run(400)
    assert recorder.write()
    second = read(tmp_path / "client a")
    assert second.inputs[: len(first.inputs)] == first.inputs
    assert len(second.inputs) > len(first.inputs)
    internet.stop()


def test_a_change_of_addresses_is_in_the_recording(tmp_path: Path) -> None:
    internet = running(tmp_path)
    network = internet.relay.network()
    index = network.index_of("eth0")
    assert index is not None
    network.add_address(index, bytes([192, 0, 2, 18]), 28)
    internet.run()
    internet.stop()
    assert names(read(tmp_path / "relay r")).count("_scope.attached") == 1


# ---------------------------------------------------------------- an error of the core


def test_the_first_error_of_a_core_leaves_what_led_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    internet = running(tmp_path)
    monkeypatch.setattr(relay, "parse_encapsulation", broken)
    with logging() as logged:
        provoke(internet)
        kept = (tmp_path / "relay r").read_bytes()
        provoke(internet)
        internet.stop()
    line = f"relay r: internal error (IndexError: 3 bytes); what led to it is in {tmp_path / 'relay r'}"
    assert logged.at("error") == [line]
    assert (tmp_path / "relay r").read_bytes() == kept
    *_, last = parse_recording(kept).inputs
    assert (last.name, last.outcome) == ("receive", Raised("IndexError", "3 bytes"))


def test_after_an_error_the_role_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    internet = running(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(relay, "parse_encapsulation", broken)
        provoke(internet)
    ping = internet.ping()
    internet.run()
    assert ping.answered is not None
    internet.stop()


# ---------------------------------------------------------------- the file


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none/file", "No such file or directory"),
        ("folder", "Is a directory"),
        ("link", "Too many levels"),
        ("fifo", "not a regular file"),
        ("zeros", "there is a file that is no recording"),
    ],
)
def test_a_file_that_cannot_be_had_is_one_line(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "zeros").write_bytes(bytes(100))
    os.mkfifo(tmp_path / "fifo")
    internet = TeredoInternet(ROLES.replace(f"BindAddress {RELAY}", f"BindAddress {RELAY}\nRecord {tmp_path / name}"))
    with pytest.raises(CannotStart) as caught:
        internet.start()
    assert str(caught.value).startswith(f"miredo: lab.conf:7: Record {tmp_path / name}: {reason}")
    assert internet.relay.open_things() == []
    assert not (tmp_path / "elsewhere").exists()
    assert (tmp_path / "zeros").read_bytes() == bytes(100)


def test_a_start_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "relay r").write_bytes(b"miredo recording of the run before")
    text = recorded_roles(tmp_path).replace("Namespace client\n", f"Namespace client\nBindAddress {RELAY}\n")
    with pytest.raises(CannotStart):
        TeredoInternet(text).start()
    assert (tmp_path / "relay r").read_bytes() == b"miredo recording of the run before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["relay r"]


def endpoints() -> MemoryEndpoints:
    return MemoryEndpoints(MemoryInternet(MemoryClock()))


def test_who_opens_the_file_knows_what_a_recording_begins_with() -> None:
    assert RECORDING == NAME


def test_a_file_that_took_the_place_of_ours_is_not_removed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    recorder = FlightRecorder("relay", str(file), endpoints(), bytes, lambda: 1.0)
    file.unlink()
    file.write_bytes(b"another")
    recorder.close()
    assert file.read_bytes() == b"another"


def test_a_longer_file_of_a_run_before_is_replaced_whole_and_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "old"
    file.write_bytes(b"miredo recording 0\n" + bytes(100000))
    file.chmod(0o644)
    recorder = FlightRecorder("relay", str(file), endpoints(), bytes, lambda: 1.0)
    core = Relay(IPv4Scope(), recorder.dice)
    recorder.watch(core)
    core.start(0.0)
    recorder.close()
    assert names(read(file)) == ["start"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_is_refused_at_the_end_is_told_and_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    internet = running(tmp_path)

    def full(descriptor: int, octets: bytes, offset: int) -> int:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with logging() as logged:
        internet.stop()
    lines = [f"{title}: Record {tmp_path / title}: No space left on device" for title in TITLES]
    assert sorted(logged.at("warn")) == sorted(lines)
    assert list(tmp_path.iterdir()) == []
