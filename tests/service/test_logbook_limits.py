# SPDX-License-Identifier: MIT
"""Nothing floods the log, nothing waits for it, and what is left out is counted."""

import os
import tracemalloc
from collections.abc import Callable

import pytest
from twisted.logger import Logger
from twisted.logger import LogLevel as Level

from miredo.kernel.interfaces import IAlarm
from miredo.kernel.memory import MemoryClock
from miredo.service.logbook.log import Log
from miredo.service.logbook.outputs import Output
from miredo.service.logbook.repetition import BURST, INTERVAL, KINDS
from miredo.service.logbook.severity import Severity
from miredo.service.logbook.ways import ROOM, Records, StandardError
from miredo.service.logbook.wording import text_lines


class Room:
    """Takes so many lines, then none."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.lines: list[str] = []

    def send(self, octets: bytes) -> bool:
        self.left -= 1
        if self.left >= 0:
            self.lines.append(octets.decode())
        return self.left >= 0

    def close(self) -> None:
        self.left = 0


class Said:
    """A log in memory, on a clock that jumps."""

    def __init__(self, room: int = 10**9, *, in_time: bool = False) -> None:
        self.clock = MemoryClock()
        self.room = Room(room)
        output = Output(self.room, lambda at, severity, line: f"{severity.word} {line}")
        self.log = Log(
            output,
            lambda entry: text_lines(entry, classic=False, verbose=False),
            Severity.INFO,
            now=self.clock.now,
            today=lambda: 0.0,
        )
        if in_time:
            self.log.keep_time(self.clock)
        self.logger = Logger(namespace="miredo", observer=self.log)

    def flood(self, count: int, role: str = "client a") -> None:
        for number in range(count):
            self.logger.warn("{role}: flood {number}", role=role, number=number)

    def new(self) -> list[str]:
        lines, self.room.lines = self.room.lines, []
        return lines


def test_a_few_lines_of_a_kind_are_said_and_the_others_counted() -> None:
    said = Said()
    said.flood(BURST + 7)
    assert said.new() == [f"warn client a: flood {number}" for number in range(BURST)]
    said.log.flush_and_close()
    assert said.new() == [f"warn client a: ... 7 more like this: flood {BURST}"]


def test_another_kind_and_another_role_have_limits_of_their_own() -> None:
    said = Said()
    said.flood(100)
    said.new()
    said.flood(1, role="client b")
    said.logger.warn("{role}: something else", role="client a")
    assert said.new() == ["warn client b: flood 0", "warn client a: something else"]


def test_a_flood_that_goes_on_is_a_line_in_each_interval() -> None:
    said = Said()
    said.flood(100)
    said.new()
    for _ in range(10):
        said.clock.advance(INTERVAL / 10)
        said.flood(50)
    assert said.new() == [f"warn client a: ... {80 + 9 * 50} more like this: flood {BURST}"]
    for _ in range(100):
        said.clock.advance(INTERVAL / 10)
        said.flood(1)
    assert len(said.new()) == 10


def test_what_was_held_back_is_told_with_the_next_line_of_any_kind() -> None:
    said = Said()
    said.flood(BURST + 1)
    said.new()
    said.clock.advance(INTERVAL)
    assert said.new() == []
    said.logger.info("something else")
    assert said.new() == [f"warn client a: ... 1 more like this: flood {BURST}", "info something else"]


def test_with_a_clock_what_was_held_back_is_told_in_time_and_no_alarm_is_left() -> None:
    said = Said(in_time=True)
    said.flood(BURST + 3)
    said.new()
    assert said.clock.armed == [said.clock.now() + INTERVAL]
    said.clock.advance(INTERVAL)
    assert said.new() == [f"warn client a: ... 3 more like this: flood {BURST}"]
    assert said.clock.armed == []
    said.flood(BURST + 3)
    said.log.flush_and_close()
    assert said.clock.armed == []


def test_a_log_outlives_the_alarm_of_a_reactor_that_has_ended() -> None:
    class Ended(MemoryClock):
        def alarm(self, ring: Callable[[], None]) -> IAlarm:
            alarm = super().alarm(ring)
            alarm.cancel()
            return alarm

    said = Said()
    said.log.keep_time(Ended())
    said.flood(BURST + 1)
    said.log.flush_and_close()
    assert len(said.new()) == BURST + 1


def test_after_a_rest_a_kind_may_be_said_again() -> None:
    said = Said()
    said.flood(100)
    said.clock.advance(BURST * INTERVAL + INTERVAL)
    said.new()
    said.flood(BURST)
    assert len(said.new()) == 1 + BURST


def test_an_error_that_is_held_back_is_told_as_an_error() -> None:
    said = Said()
    for _ in range(BURST + 2):
        try:
            raise ValueError("no")
        except ValueError:
            said.logger.failure("it broke")
    try:
        raise KeyError("other")
    except KeyError:
        said.logger.failure("it broke")
    said.log.flush_and_close()
    lines = [line for line in said.new() if not line.startswith("critical   ")]
    assert lines[BURST:] == [
        "critical it broke: KeyError: 'other'",
        "critical ... 2 more like this: it broke: ValueError: no",
    ]


def test_kinds_that_are_too_many_are_told_early_and_forgotten() -> None:
    said = Said()
    for number in range(3 * KINDS):
        said.flood(BURST + 1, role=f"client {number}")
    told = [line for line in said.new() if "more like this" in line]
    assert len(told) == 2 * KINDS - 1
    said.log.flush_and_close()
    assert len(said.new()) == KINDS + 1


@pytest.mark.untraced
def test_a_flood_costs_bounded_memory() -> None:
    said = Said()
    said.flood(BURST + 1)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    said.flood(20_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 10_000


# ------------------------------------------------------------------ what is lost


def test_what_nobody_takes_is_counted_and_told() -> None:
    said = Said(room=1)
    said.flood(4)
    assert said.new() == ["warn client a: flood 0"]
    said.room.left = 10
    said.logger.info("back")
    assert said.new() == ["warn ... lost lines: 3 (nobody took them)", "info back"]


def test_what_was_lost_at_the_end_is_told_if_it_can_be() -> None:
    said = Said(room=0)
    said.flood(2)
    said.room.left = 10
    said.log.flush_and_close()
    assert said.new() == ["warn ... lost lines: 2 (nobody took them)"]


def test_a_full_pipe_is_not_waited_for() -> None:
    reading, writing = os.pipe()
    way = StandardError(writing)
    sent = 0
    while way.send(b"x" * 1000 + b"\n"):
        sent += 1
    assert sent > ROOM // 1001
    got = os.read(reading, 1 << 20)
    assert way.send(b"after\n")
    got += os.read(reading, 1 << 20)
    lines = got.split(b"\n")
    assert lines[-2:] == [b"after", b""]
    assert {len(line) for line in lines[:-2]} == {1000}
    os.close(reading)
    assert not way.send(b"nobody reads\n")
    os.close(writing)
    assert not way.send(b"closed\n")


def test_a_record_that_has_begun_is_ended_before_another_begins() -> None:
    written, room = bytearray(), [3]

    def write(octets: bytes) -> int:
        if not room[0]:
            raise BlockingIOError
        taken = octets[: room[0]]
        room[0] -= len(taken)
        written.extend(taken)
        return len(taken)

    records = Records(write)
    assert records.send(b"abcde\n")
    assert not records.send(b"lost\n")
    room[0] = 100
    assert records.send(b"next\n")
    assert bytes(written) == b"abcde\nnext\n"


def test_a_level_that_is_not_said_costs_no_token() -> None:
    said = Said()
    for _ in range(100):
        said.logger.emit(Level.debug, "{role}: flood {number}", role="client a", number=0)
    said.flood(BURST)
    assert len(said.new()) == BURST
