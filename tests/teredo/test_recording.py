# SPDX-License-Identifier: MIT
"""The flight recorder: what a core did can be had again from its file, and from nothing but a good file."""

import pickle
import struct
from collections import Counter, OrderedDict, deque
from pathlib import Path
from random import Random
from types import FunctionType
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

import miredo.teredo
import miredo.teredo.server as server_module
from miredo.address.endpoint import parse_ipv4
from miredo.address.scope import IPv4Scope
from miredo.lab.links import Link
from miredo.lab.nat import Filtering, Mapping, NatBehaviour, PortAssignment
from miredo.teredo import client, qualification, traversal
from miredo.teredo.actions import SendDatagram, SendError
from miredo.teredo.client import Client
from miredo.teredo.drops import Drop
from miredo.teredo.qualification import Qualification
from miredo.teredo.qualification import Server as ServerAddresses
from miredo.teredo.recording import (
    INPUTS,
    MAGIC,
    USUAL_LIMIT,
    Input,
    Raised,
    Recorder,
    Recording,
    Replayed,
    parse_recording,
    replay,
)
from miredo.teredo.relay import Relay
from miredo.teredo.server import Server
from miredo.teredo.snapshots import MODULES, DamagedRecording, dump, load, load_state
from miredo.wire.encapsulation import Encapsulated
from tests.recorded import recorded_worlds
from tests.world import Lab, WatchedWorld, address_of, answered, qualified_lab, qualified_pair

SYMMETRIC = NatBehaviour(
    Mapping.ADDRESS_AND_PORT_DEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT, PortAssignment.RANDOM
)
RESTRICTED = NatBehaviour(filtering=Filtering.ADDRESS_DEPENDENT)
SERVERS = [ServerAddresses(parse_ipv4("203.0.113.1"), parse_ipv4("203.0.113.2"))]


def lively(lab: Lab) -> None:
    """Pings both ways, peers that grow old, a suspend, a packet that nobody asked for, an end."""
    for _ in range(3):
        assert lab.answered(lab.ping())
        assert lab.answered(lab.ping_back())
        lab.world.run(100)
    lab.client.resume()
    assert lab.answered(lab.ping())
    lab.client.core.receive(b"nonsense", lab.nat.external + b"\0\7", lab.world.now)
    lab.world.run(301)
    lab.client.stop()


def recordings(behaviour: NatBehaviour = RESTRICTED, *, fast: bool = False, limit: int = USUAL_LIMIT) -> list[bytes]:
    """The recordings of a server, a relay and a client, in this order."""
    with recorded_worlds(limit) as recorders:
        lively(qualified_lab(behaviour, fast=fast, seed=4))
        return [recorder.contents() for recorder in recorders]


def replayed(data: bytes) -> list[Replayed]:
    return list(replay(parse_recording(data)))


def differences(data: bytes) -> list[str]:
    return [again.difference for again in replayed(data) if again.difference]


def recorder(core_role: str = "client", limit: int = USUAL_LIMIT) -> Recorder:
    return Recorder(core_role, Random(1).randbytes, lambda: 7.0, limit=limit)


def recorded_client(keeper: Recorder) -> Client:
    core = Client(SERVERS, IPv4Scope(), keeper.dice)
    keeper.watch(core)
    return core


# ------------------------------------------------------------------ again


@pytest.mark.parametrize("fast", [False, True], ids=["portable", "fast path"])
@pytest.mark.parametrize("behaviour", [RESTRICTED, SYMMETRIC], ids=["restricted", "symmetric"])
def test_server_relay_and_client_do_it_all_again(behaviour: NatBehaviour, fast: bool) -> None:
    files = recordings(behaviour, fast=fast)
    assert [parse_recording(data).kind for data in files] == ["server", "relay", "client"]
    for data in files:
        again = replayed(data)
        assert [each.difference for each in again] == [None] * len(again)
        assert [each.outcome for each in again] == [each.recorded.outcome for each in again]
    names = {each.recorded.name for each in replayed(files[2])}
    assert {"start", "expire", "receive", "passes", "transmit", "resumed", "stop"} <= names
    assert ("peers.seen" in names) == fast


def test_two_clients_do_it_all_again() -> None:
    with recorded_worlds() as recorders:
        pair = qualified_pair(RESTRICTED, RESTRICTED)
        assert answered(pair.world, pair.ping())
        pair.world.run(40)
        files = [each.contents() for each in recorders]
    assert len(files) == 3
    assert [differences(data) for data in files] == [[], [], []]


def test_two_neighbours_do_it_all_again() -> None:
    with recorded_worlds() as recorders:
        world = WatchedWorld(3)
        server = world.server("203.0.113.1", "203.0.113.2")
        home = world.home("198.51.100.7", RESTRICTED, lan=Link(delay=0.001))
        left, right = (world.client_in(home, server, name) for name in ("left", "right"))
        for client in (left, right):
            client.start()
        world.run(700)
        assert answered(world, left.ping(address_of(right)))
        left.core.attached([], world.now)
        files = [each.contents() for each in recorders]
    assert [differences(data) for data in files] == [[], [], []]
    assert {"attached", "discovered"} <= {each.recorded.name for each in replayed(files[1])}


def test_a_run_is_had_again_although_its_beginning_was_overwritten() -> None:
    with recorded_worlds(limit=40000) as recorders:
        lab = qualified_lab(SYMMETRIC)
        for _ in range(200):
            assert lab.answered(lab.ping())
            lab.world.run(3)
        kept = {each.role: (each.size, parse_recording(each.contents())) for each in recorders}
    for role in ("client", "relay"):
        size, recording = kept[role]
        assert 20000 < size <= 41000
        assert recording.inputs[0].at > 300
        assert all(again.difference is None for again in replay(recording))


def test_a_ring_smaller_than_the_state_keeps_the_last_inputs() -> None:
    keeper = recorder(limit=10)
    core = recorded_client(keeper)
    core.start(0.0)
    for at in range(4, 400, 4):
        core.expire(float(at))
    recording = parse_recording(keeper.contents())
    assert keeper.size < 3 * len(recording.state) + 1000
    assert 0 < len(recording.inputs) < 100
    assert recording.inputs[-1].arguments == (396.0,)
    assert all(again.difference is None for again in replay(recording))


def test_servers_and_addresses_that_become_known_later_are_inputs_too() -> None:
    keeper = recorder()
    scope = IPv4Scope()
    core = Client([], scope, keeper.dice)
    keeper.watch(core)
    assert core.start(0.0) == []
    core.qualification.use_servers(SERVERS)
    scope.attached([parse_ipv4("198.51.100.7")], [])
    assert len(core.start(now=1.0)) == 1
    again = replayed(keeper.contents())
    names = ["start", "qualification.use_servers", "_scope.attached", "start"]
    assert [(each.recorded.name, each.difference) for each in again] == [(name, None) for name in names]


@pytest.mark.parametrize("core", [Client, Relay, Server])
def test_every_public_method_of_a_core_is_recorded(core: type) -> None:
    """One that is new and changes the core belongs into INPUTS; C{admits} only looks."""
    methods = {name for name, value in vars(core).items() if isinstance(value, FunctionType) and name[0] != "_"}
    assert methods - {"admits"} == {name for name in INPUTS[core.__name__.lower()] if "." not in name}


def test_what_an_input_does_inside_the_core_is_no_input() -> None:
    (_, _, client) = recordings()
    assert not [each for each in parse_recording(client).inputs if each.name.startswith("peers.")]


def broken(datagram: bytes) -> Encapsulated:
    raise IndexError(f"{len(datagram)} bytes")


def test_an_error_of_the_core_is_recorded_told_and_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[BaseException] = []
    keeper = Recorder("client", Random(1).randbytes, lambda: 7.0, failed=failures.append)
    core = recorded_client(keeper)
    core.start(0.0)
    with monkeypatch.context() as patched:
        patched.setattr(client, "parse_encapsulation", broken)
        with pytest.raises(IndexError, match="3 bytes"):
            core.receive(b"abc", bytes(6), 1.0)
        assert differences(keeper.contents()) == []
    assert core.expire(4.0) != []
    assert [str(error) for error in failures] == ["3 bytes"]
    *_, last = replayed(keeper.contents())
    assert last.recorded.outcome == Raised("IndexError", "3 bytes")
    assert (last.outcome, last.difference) == ([], "what came of it is not what came of it then")


def test_nothing_is_kept_of_a_core_that_was_told_nothing() -> None:
    keeper = recorder()
    core = recorded_client(keeper)
    assert parse_recording(keeper.contents()) == Recording("client", "client", b"", ())
    assert replayed(keeper.contents()) == []
    core.stop(1.0)
    assert not keeper.begun
    core.start(1.0)
    assert keeper.begun


# ------------------------------------------------------------------ not as it was


def test_a_changed_number_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    server, relay, client_file = recordings(SYMMETRIC)
    monkeypatch.setattr(qualification, "REFRESH_HIGH", 2.0)
    monkeypatch.setattr(traversal, "PLAIN_ATTEMPT", 1)
    assert differences(server) == []
    assert len(differences(relay)) == 1
    assert len(differences(client_file)) == 1


def test_a_changed_number_of_a_client_is_found_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = recorder()
    core = recorded_client(keeper)
    core.start(0.0)
    core.expire(4.0)
    core.expire(8.0)
    monkeypatch.setattr(qualification, "SOLICITATIONS", 2)
    first, second, third = replayed(keeper.contents())
    assert (first.difference, second.difference) == (None, None)
    assert isinstance(third.recorded.outcome, list)
    assert [type(action) for action in third.recorded.outcome] == [SendDatagram]
    assert third.difference is not None


def test_another_kind_of_action_with_the_same_values_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    (server, _, _) = recordings()
    monkeypatch.setattr(server_module, "ForwardPacket", SendError)
    *_, last = replayed(server)
    assert last.outcome == last.recorded.outcome
    assert last.difference == "what came of it is not what came of it then"


def test_other_dice_are_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = recorder()
    recorded_client(keeper).start(0.0)
    with monkeypatch.context() as patched:
        patched.setattr(Qualification, "_solicit", lambda self, *_, **__: [self._dice(4)])
        assert differences(keeper.contents()) == ["the dice are asked for 4 bytes, and then gave 8"]
        patched.setattr(Qualification, "_solicit", lambda self, *_, **__: [self._dice(8), self._dice(8)])
        assert differences(keeper.contents()) == ["the dice are asked for 8 bytes, and were not asked then"]
        outcome = parse_recording(keeper.contents()).inputs[0].outcome
        patched.setattr(Qualification, "_solicit", lambda self, *_, **__: outcome)
        assert differences(keeper.contents()) == ["the dice were asked then, and are not now: 1 of the throws are left"]
    assert differences(keeper.contents()) == []


# ------------------------------------------------------------------ files that are not good


def chunk(value: object) -> bytes:
    octets = dump(value)
    return struct.pack("!II", len(octets), crc32(octets)) + octets


def head(**other: object) -> dict[str, object]:
    return {"kind": "client", "role": "c", "segments": 1, "records": 0} | other


@pytest.fixture(scope="module")
def good() -> bytes:
    keeper = recorder()
    core = recorded_client(keeper)
    core.start(0.0)
    core.receive(b"nonsense", bytes(6), 1.0)
    core.expire(4.0)
    return keeper.contents()


def test_no_part_of_a_recording_is_taken_for_the_whole(good: bytes) -> None:
    for length in range(len(good)):
        with pytest.raises(DamagedRecording):
            parse_recording(good[:length])
    with pytest.raises(DamagedRecording, match="behind its end"):
        parse_recording(good + chunk(None))


def test_every_changed_byte_is_noticed(good: bytes) -> None:
    for place in range(len(good)):
        with pytest.raises(DamagedRecording):
            parse_recording(good[:place] + bytes([good[place] ^ 0x20]) + good[place + 1 :])


@given(st.data())
def test_a_changed_state_with_a_good_checksum_ends_in_a_clear_error_or_a_replay(
    good: bytes, data: st.DataObject
) -> None:
    recording = parse_recording(good)
    state = bytearray(recording.state)
    for _ in range(data.draw(st.integers(1, 4))):
        state[data.draw(st.integers(0, len(state) - 1))] = data.draw(st.integers(0, 255))
    try:
        again = list(replay(Recording("client", "c", bytes(state), recording.inputs)))
    except DamagedRecording:
        return
    assert 1 <= len(again) <= len(recording.inputs)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_clear_error(octets: bytes) -> None:
    try:
        value = load(octets)
    except DamagedRecording:
        return
    assert load(dump(value)) is not None or value is None


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [None],
        [head(kind="toaster")],
        [head(role=7)],
        [head(), ("end", 0)],
        [head(), ("state", 0.0, b""), ("end", 1)],
        [head(), ("state", 0.0, b"")],
        [head(), ("state", 0, b""), ("end", 0)],
        [head(records=1), ("state", 0.0, b""), ("input", 0.0, "__init__", (), (), None), ("end", 1)],
        [head(records=1), ("state", 0.0, b""), ("input", 0.0, "start", (), (7,), None), ("end", 1)],
        [head(kind="server", records=1), ("state", 0.0, b""), ("input", 0.0, "start", (), (), None), ("end", 1)],
    ],
)
def test_a_file_that_holds_something_else_is_refused(chunks: list[object]) -> None:
    with pytest.raises(DamagedRecording):
        parse_recording(MAGIC + b"".join(map(chunk, chunks)))


def test_a_state_must_be_there_and_of_the_same_kind(good: bytes) -> None:
    inputs = parse_recording(good).inputs
    other = dump(Relay(IPv4Scope(), bytes))
    for state in (b"", dump(None), other, dump(Server((bytes(4), bytes(4)), IPv4Scope()))):
        with pytest.raises(DamagedRecording):
            list(replay(Recording("client", "c", state, inputs)))


def test_nonsense_arguments_are_an_error_of_the_core_and_not_of_the_replay(good: bytes) -> None:
    state = parse_recording(good).state
    for name, arguments in (("receive", (None, 7)), ("start", ()), ("peers.seen", (b"", [], {}))):
        (again,) = replay(Recording("client", "c", state, (Input(0.0, name, arguments, (), []),)))
        assert again.difference is not None or again.outcome == []


class Malicious:
    """What pickle would run."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_nothing_of_it_runs(tmp_path: Path, good: bytes, protocol: int) -> None:
    proof = tmp_path / "it ran"
    pickled = pickle.dumps(Malicious(proof), protocol)
    wrapped = struct.pack("!II", len(pickled), crc32(pickled)) + pickled
    inputs = parse_recording(good).inputs
    for data in (pickled, MAGIC + pickled, MAGIC + wrapped):
        with pytest.raises(DamagedRecording):
            parse_recording(data)
    with pytest.raises(DamagedRecording):
        list(replay(Recording("client", "c", pickled, inputs)))
    assert not proof.exists()


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "recording.Recorder", "snapshots._Reader", "Client", ""]
)
def test_a_class_that_is_not_of_a_core_is_refused(name: str) -> None:
    written = dump(name)
    for tag in (b"o", b"n", b"e"):
        with pytest.raises(DamagedRecording, match="a class that may not be read"):
            load(tag + written + b"\0\0")


@pytest.mark.parametrize("field", ["receive", "_attempt", "__class__", "__dict__", "deadline"])
def test_what_a_core_does_cannot_be_replaced_by_a_state(field: str) -> None:
    state = b"o" + dump("client.Client") + b"\1" + dump(field) + b"N"
    with pytest.raises(DamagedRecording):
        load_state(state, Client([], IPv4Scope(), bytes))


def test_values_too_deep_are_refused() -> None:
    with pytest.raises(DamagedRecording, match="deep"):
        load(b"(\1" * 5000 + b"N")


# ------------------------------------------------------------------ values

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.binary()
    | st.text()
    | st.sampled_from(list(Drop))
    | st.builds(SendDatagram, st.binary(), st.binary()),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.lists(inner).map(deque)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.binary(), inner).map(OrderedDict)
    ),
)


@given(plain)
def test_a_value_comes_back_with_the_types_that_it_had(value: object) -> None:
    assert repr(load(dump(value))) == repr(value)


def test_what_is_the_same_comes_back_as_the_same() -> None:
    shared = [1]
    counted = Counter({Drop.MALFORMED: 3})
    loaded = load(dump([shared, shared, counted, counted]))
    assert isinstance(loaded, list)
    first, second, third, fourth = loaded
    assert first is second
    assert third is fourth
    assert isinstance(third, Counter)
    assert third == counted


def test_what_no_core_has_is_not_written() -> None:
    for value in (Path("/"), {1}, print, Malicious(Path("/"))):
        with pytest.raises(TypeError, match="cannot be recorded"):
            dump(value)


def test_all_modules_of_the_cores_may_be_in_a_recording() -> None:
    """One that is missing here defines a class that a core may hold: add it to MODULES."""
    folder = Path(miredo.teredo.__file__).parent
    modules = {file.stem for file in folder.glob("*.py") if "\nclass " in file.read_text()}
    known = {module.__name__.removeprefix("miredo.teredo.") for module in MODULES}
    assert modules - {"recording", "snapshots"} <= known
