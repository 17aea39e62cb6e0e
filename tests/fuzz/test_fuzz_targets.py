# SPDX-License-Identifier: MIT
"""The fuzzer's targets keep their promises on all that is kept, notice a broken one, and what runs them says so."""

import re
import shlex
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from miredo.address.endpoint import Endpoint, parse_endpoint
from miredo.teredo.actions import Action, DeliverPacket, PeerTrusted, SendDatagram, SendError
from miredo.teredo.relay import Relay
from miredo.wire.encapsulation import parse_encapsulation
from miredo.wire.reader import MalformedPacket
from tests.fuzz import __main__ as verb
from tests.fuzz import broken, cores, parsers, running
from tests.fuzz.script import Script
from tests.fuzz.targets import TARGETS, relay_stories, stories
from tests.fuzz.trial import CONTACT_LIMIT, PEER_LIMIT, SCOPE, Dice
from tests.teredo.cores import NATIVE, PEER, PEER_MAPPED
from tests.wire.vectors import VECTORS

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(CORPUS.glob("*/*"))
FORBIDDEN = parse_endpoint("10.0.0.1:80")


needs_atheris = pytest.mark.skipif(
    find_spec("atheris") is None, reason="there is no atheris for this machine: CPython 3.11 to 3.13, Linux, x86-64"
)


@pytest.fixture
def place(tmp_path: Path) -> running.Place:
    """Targets of which one is broken, and empty folders."""
    return running.Place("tests.fuzz.broken", broken.TARGETS, tmp_path / "corpus", tmp_path / "found")


# ------------------------------------------------------------------ the targets and their corpus


@pytest.mark.untraced
@pytest.mark.parametrize("name", TARGETS)
def test_no_seed_and_no_input_of_the_corpus_breaks_a_promise(name: str) -> None:
    kept = [file.read_bytes() for file in FILES if file.parent.name == name]
    assert kept
    for data in [*TARGETS[name].seeds(), *kept]:
        TARGETS[name].run(data)


def test_the_corpus_is_small_and_each_part_of_it_is_for_a_target() -> None:
    assert {file.parent.name for file in FILES} == set(TARGETS)
    assert sum(file.stat().st_size for file in FILES) < 200_000
    assert all(file.stat().st_size <= TARGETS[file.parent.name].longest for file in FILES)


def test_the_stories_make_peers_trusted_in_each_way_there_is() -> None:
    proved = set()
    for story in stories():
        trial = cores.ClientTrial()
        trial.tell(Script(story + b"\x06"))
        proved |= trial.ever_proved
    for story in relay_stories():
        relay = cores.RelayTrial(Relay(SCOPE, Dice(), peer_limit=PEER_LIMIT, contact_limit=CONTACT_LIMIT))
        relay.tell(Script(story[1:]))
        proved |= relay.ever_proved
    assert {(PEER, PEER_MAPPED), (NATIVE, parse_endpoint("198.51.100.7:3545"))} <= proved
    assert (PEER, parse_endpoint("192.0.2.10:60000")) in proved


# ------------------------------------------------------------------ broken promises are noticed


def tell_all(core: Callable[[], Relay]) -> None:
    """Each story to a relay of its own."""
    for story in relay_stories():
        cores.RelayTrial(core()).tell(Script(story[1:]))


class Delivers(Relay):
    def receive(self, datagram: bytes, outer: Endpoint, now: float) -> list[Action]:
        return [DeliverPacket(datagram)]


class Trusts(Relay):
    def receive(self, datagram: bytes, outer: Endpoint, now: float) -> list[Action]:
        return [PeerTrusted(PEER, outer)]


class SendsAnywhere(Relay):
    def transmit(self, packet: bytes, now: float) -> list[Action]:
        return [SendDatagram(packet, FORBIDDEN)]


class LetsTheHostOut(Relay):
    def transmit(self, packet: bytes, now: float) -> list[Action]:
        return [SendDatagram(packet, PEER_MAPPED)]


class Complains(Relay):
    def transmit(self, packet: bytes, now: float) -> list[Action]:
        return [SendError(bytes(8) + packet, NATIVE)] * 1000


class NeverRests(Relay):
    @property
    def deadline(self) -> float:
        return 1.0


class KeepsThePeers(Relay):
    def stop(self, now: float) -> list[Action]:
        return []


@pytest.mark.parametrize(
    "core", [Delivers, Trusts, SendsAnywhere, LetsTheHostOut, Complains, NeverRests, KeepsThePeers]
)
def test_a_core_that_breaks_a_promise_is_found_out_by_the_stories(core: type[Relay]) -> None:
    with pytest.raises(AssertionError):
        tell_all(lambda: core(SCOPE, Dice(), peer_limit=PEER_LIMIT, contact_limit=CONTACT_LIMIT))


def test_tables_that_grow_without_bound_are_found_out() -> None:
    with pytest.raises(AssertionError, match="more waits than may"):
        tell_all(lambda: Relay(SCOPE, Dice(), peer_limit=PEER_LIMIT))
    with pytest.raises(AssertionError, match="more peers than may be"):
        tell_all(lambda: Relay(SCOPE, Dice(), contact_limit=CONTACT_LIMIT))


def test_an_emitter_that_changes_what_was_parsed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers, "emit_encapsulation", lambda found: found.packet)
    with pytest.raises(AssertionError):
        parsers.encapsulation(VECTORS["ra_auth_origin"])


def test_a_server_that_sends_to_forbidden_addresses_is_found_out() -> None:
    asked = parse_encapsulation(VECTORS["bubble_A_B"])
    with pytest.raises(AssertionError, match="forbidden"):
        cores.judge(SendDatagram(VECTORS["bubble_A_B"], FORBIDDEN), asked, PEER_MAPPED)


# ------------------------------------------------------------------ what runs them


@needs_atheris
def test_an_input_that_breaks_a_promise_is_kept_with_the_command_that_runs_it_again(
    place: running.Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verb.main(["--seconds", "2"], place) == 1
    said = capsys.readouterr().out
    assert "MalformedPacket" in said
    command = re.search(r"run it again: \./x fuzz (--run \S+ careless)$", said, re.MULTILINE)
    assert command is not None
    file = Path(shlex.split(command[1])[1])
    with pytest.raises(MalformedPacket):
        broken.careless(file.read_bytes())
    assert list(place.found.iterdir()) == [file]


@needs_atheris
def test_what_reaches_more_is_added_to_the_corpus_and_told(
    place: running.Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verb.main(["--seconds", "1", "sound"], place._replace(targets={"sound": broken.TARGETS["sound"]})) == 0
    kept = list((place.corpus / "sound").iterdir())
    assert any(len(file.read_bytes()) > 2 for file in kept)
    said = capsys.readouterr().out
    inputs, rate, edges, corpus, new = map(int, re.findall(r"^sound +(.*)$", said, re.MULTILINE)[0].split())
    assert inputs >= rate > 100
    assert edges > 1
    assert corpus == new == len(kept)
    assert all(str(file) in said for file in kept)


@needs_atheris
def test_a_corpus_is_minimised_to_what_reaches_as_much(
    place: running.Place, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = place.corpus / "sound"
    corpus.mkdir(parents=True)
    for number in range(20):
        (corpus / str(number)).write_bytes(b"abcdefgh" + bytes((number,)))
    assert verb.main(["--minimise"], place._replace(targets={"sound": broken.TARGETS["sound"]})) == 0
    assert len(list(corpus.iterdir())) < 5
    assert capsys.readouterr().out.startswith("sound: 20 inputs, ")


def test_without_atheris_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verb, "is_possible", lambda: False)
    assert verb.main([]) == 1
    assert "atheris is not installed" in capsys.readouterr().err


def test_a_target_that_is_not_there_is_an_error_that_names_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        verb.main(["clients"])
    assert "no target clients; there are encapsulation, " in capsys.readouterr().err


def test_an_input_is_run_again_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "input"
    file.write_bytes(VECTORS["ra_auth_origin"])
    assert verb.main(["--run", str(file), "encapsulation"]) == 0
    monkeypatch.setattr(parsers, "emit_encapsulation", lambda found: found.packet)
    with pytest.raises(AssertionError):
        verb.main(["--run", str(file), "encapsulation"])


@pytest.mark.untraced
def test_every_vector_is_damaged_so_many_times(capsys: pytest.CaptureFixture[str]) -> None:
    assert verb.main(["--mutations", "20"]) == 0
    assert capsys.readouterr().out.startswith(f"{20 * len(VECTORS)} damaged datagrams, ")


def test_a_damaged_datagram_that_gets_through_is_kept(
    place: running.Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "read", broken.careless)
    with pytest.raises(MalformedPacket):
        verb.main(["--mutations", "20"], place)
    (file,) = place.found.iterdir()
    assert f"--run {file} mutations" in capsys.readouterr().err
    with pytest.raises(MalformedPacket):
        running.run(file, running.MUTATIONS)
