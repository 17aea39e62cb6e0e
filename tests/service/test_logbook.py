# SPDX-License-Identifier: MIT
"""What is said of an event: to whom, at which level, in which words."""

import json
import os
import pty
import subprocess
import sys
import syslog as syslog_module
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogBeginner, Logger, LogPublisher
from twisted.logger import LogLevel as Level
from zope.interface.verify import verifyObject

from miredo.config import LogFormat, LogLevel, ProcessConfig, SyslogFacility, parse
from miredo.service import logbook
from miredo.service.logbook import heed, is_classic, own_log, standard_output_observer, syslog_observer
from miredo.service.logbook.log import log_on
from miredo.service.logbook.outputs import FACILITIES, coloured, marked, standard_error, syslog
from miredo.service.logbook.severity import Severity
from miredo.service.logbook.twistd import STANDARD_OUTPUT_OBSERVER, SYSLOG_OBSERVER
from miredo.service.logbook.wording import LINES_LIMIT, OBJECT_LIMIT, TEXT_LIMIT, TRACE_LIMIT, printable

HOSTILE = "one\n\x1b[2Jtwo\x00\r\nNov 20 12:00:00 sshd[1]: three\udcff\u202e\x9b"

BEGINNING = """
from twisted.logger import Logger
from miredo.config import ProcessConfig
from miredo.service.logbook import open_log
log = open_log(ProcessConfig(), program="miredo", foreground=True, classic=True)
log.begin()
logger = Logger(namespace="miredo")
"""


@contextmanager
def time_zone(name: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    yield
    os.environ.pop("TZ")
    os.environ |= {} if before is None else {"TZ": before}
    time.tzset()


class Paper:
    """A file that a log writes to."""

    def __init__(self, process: ProcessConfig | None = None, *, classic: bool = False) -> None:
        self._file = os.memfd_create("log")
        self.log = log_on(self._file, process or ProcessConfig(), program="miredo", classic=classic)

    def logger(self, namespace: str = "miredo") -> Logger:
        return Logger(namespace=namespace, observer=self.log)

    def raw(self) -> list[str]:
        octets = os.pread(self._file, 1 << 24, 0)
        return octets.decode().splitlines()

    def lines(self) -> list[str]:
        """What stands behind the program's name."""
        before = f"miredo[{os.getpid()}]: "
        assert all(line.startswith(before) for line in self.raw())
        return [line.removeprefix(before) for line in self.raw()]

    def objects(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.raw()]


def fail(logger: Logger, text: str, *, expected: bool = False) -> None:
    try:
        raise OSError(5, "Input/output error")
    except OSError:
        logger.failure(text, level=Level.warn if expected else Level.critical)


def said_by(program: str) -> list[str]:
    """What a process says on standard error, behind its name."""
    words = [sys.executable, "-c", BEGINNING + program]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        _, said = process.communicate()
    assert process.returncode == 0, said
    before = f"miredo[{process.pid}]: "
    assert all(line.startswith(before) for line in said.splitlines()), said
    return [line.removeprefix(before) for line in said.splitlines()]


# ------------------------------------------------------------------ names


def test_a_log_keeps_twisteds_interface() -> None:
    assert verifyObject(ILogObserver, Paper().log)


def test_the_name_of_a_role_is_said_where_roles_have_names() -> None:
    paper = Paper()
    paper.logger().info("{role}: Starting...", role="client a")
    assert paper.lines() == ["client a: Starting..."]


def test_the_name_of_a_role_is_not_said_in_a_classic_file() -> None:
    paper = Paper(classic=True)
    paper.logger().info("{role}: Starting...", role="client")
    paper.logger().info("of {role}: a role in the middle stays", role="client")
    assert paper.lines() == ["Starting...", "of client: a role in the middle stays"]


def test_a_file_is_classic_if_none_of_its_roles_has_a_name() -> None:
    assert is_classic(parse("ServerAddress 192.0.2.1", "a.conf"))
    assert not is_classic(parse("[client a]\nServerAddress 192.0.2.1", "a.conf"))


def test_the_format_is_text_unless_the_file_says_json() -> None:
    said = parse("LogFormat JSON\nServerAddress 192.0.2.1", "a.conf").process
    unsaid = parse("ServerAddress 192.0.2.1", "a.conf").process
    assert (said.log_format, unsaid.log_format) == (LogFormat.JSON, LogFormat.TEXT)


# ------------------------------------------------------------------ levels


@pytest.mark.parametrize(
    ("least", "said"),
    [
        (LogLevel.DEBUG, ["debug", "info", "warn", "error", "critical"]),
        (LogLevel.INFO, ["info", "warn", "error", "critical"]),
        (LogLevel.WARN, ["warn", "error", "critical"]),
        (LogLevel.ERROR, ["error", "critical"]),
        (LogLevel.CRITICAL, ["critical"]),
    ],
)
def test_what_matters_less_than_the_level_is_not_said(least: LogLevel, said: list[str]) -> None:
    paper = Paper(ProcessConfig(log=least))
    for level in LogLevel:
        paper.logger().emit(Level.levelWithName(level.value), "{word}", word=level.value)
    assert paper.lines() == said


def test_what_a_library_does_is_debug_and_what_it_warns_of_is_not() -> None:
    quiet, verbose = Paper(), Paper(ProcessConfig(log=LogLevel.DEBUG))
    for paper in (quiet, verbose):
        paper.logger("twisted.internet").info("Starting factory")
        paper.logger("miredonda").info("another program")
        paper.logger("twisted.internet").warn("out of descriptors")
        paper.logger("miredo.kernel.clock").info("own")
    assert quiet.lines() == ["out of descriptors", "own"]
    assert verbose.lines() == ["Starting factory", "another program", "out of descriptors", "own"]


def test_what_the_old_log_of_twisted_was_told_is_debug_unless_it_is_an_error() -> None:
    lines = said_by(
        """
from twisted.python import log as old
old.msg("Main loop terminated.")
old.err(ValueError("no"), "because")
"""
    )
    assert lines[0] == "because: ValueError: no"
    assert not any("Main loop" in line for line in lines)


def test_what_nobody_has_caught_is_said_with_its_traceback() -> None:
    lines = said_by(
        """
import gc
from twisted.internet.defer import fail
fail(ValueError("no"))
gc.collect()
"""
    )
    assert lines[:2] == ["Unhandled error in Deferred:", "ValueError: no"]


def test_an_event_without_a_text_is_no_line() -> None:
    paper = Paper()
    paper.logger().info("")
    paper.logger().info("\n\n")
    assert paper.raw() == []


# ------------------------------------------------------------------ failures


def test_a_failure_that_was_expected_is_one_line() -> None:
    paper = Paper()
    fail(paper.logger(), "cannot write", expected=True)
    assert paper.lines() == ["cannot write: OSError: [Errno 5] Input/output error"]


def test_the_traceback_of_a_failure_that_was_expected_is_for_debugging() -> None:
    paper = Paper(ProcessConfig(log=LogLevel.DEBUG))
    fail(paper.logger(), "cannot write", expected=True)
    assert paper.lines()[:2] == [
        "cannot write: OSError: [Errno 5] Input/output error",
        "  Traceback (most recent call last):",
    ]


def test_the_traceback_of_an_internal_error_is_said_line_by_line() -> None:
    paper = Paper()
    fail(paper.logger(), "a receiver failed")
    first, second, *rest = paper.lines()
    assert (first, second) == (
        "a receiver failed: OSError: [Errno 5] Input/output error",
        "  Traceback (most recent call last):",
    )
    assert any("in fail" in line for line in rest)
    assert all(line.startswith("  ") for line in rest)


def test_of_a_traceback_without_end_the_last_lines_are_said() -> None:
    paper = Paper(json_process())

    def deeper() -> None:
        deeper()

    try:
        deeper()
    except RecursionError:
        paper.logger().failure("too deep")
    trace = str(paper.objects()[0]["traceback"])
    assert "RecursionError" in trace
    assert len(trace.splitlines()) <= TRACE_LIMIT + 1


# ------------------------------------------------------------------ hostile texts


def test_a_text_cannot_begin_a_line_of_its_own() -> None:
    paper = Paper()
    paper.logger().warn("{text}", text=HOSTILE)
    assert paper.lines() == [
        "one",
        r"  \x1b[2Jtwo\x00",
        r"  Nov 20 12:00:00 sshd[1]: three\xff\u202e\x9b",
    ]


def test_a_long_text_is_cut() -> None:
    paper = Paper()
    paper.logger().warn("{text}", text="A" * 100_000)
    paper.logger().warn("{text}", text="\x1b" * 100_000)
    paper.logger().warn("{text}", text="a\n" * 100_000)
    long, escaped, *many = paper.lines()
    assert long == "A" * TEXT_LIMIT + f"... ({100_000 - TEXT_LIMIT} characters more)"
    assert len(escaped) < TEXT_LIMIT + 40
    assert len(many) == LINES_LIMIT + 1
    assert many[-1] == f"  ({100_000 - LINES_LIMIT} lines more)"


@given(st.text(st.characters()))
def test_whatever_is_said_is_printable(text: str) -> None:
    assert printable(text).isprintable()


def test_what_cannot_be_shown_does_no_harm() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError("no")

    paper = Paper()
    paper.logger().warn("{it}", it=Broken())
    paper.logger().warn("{nothing}")
    assert len(paper.lines()) >= 2


# ------------------------------------------------------------------ JSON


def json_process(least: LogLevel = LogLevel.INFO) -> ProcessConfig:
    return ProcessConfig(log_format=LogFormat.JSON, log=least)


def test_a_line_of_json_is_an_object_with_what_the_event_tells() -> None:
    paper = Paper(json_process())
    paper.log({**event("{role}: started {address}"), "role": "client a", "address": "2001::1", "mtu": 1280})
    assert paper.raw() == [
        '{"time": "1970-01-01T00:00:01.500000Z", "level": "info", "role": "client a", "message": "started 2001::1", '
        '"address": "2001::1", "mtu": 1280}'
    ]


def test_a_field_that_json_has_no_form_for_is_left_out() -> None:
    paper = Paper(json_process())
    recursive: list[object] = []
    recursive.append(recursive)
    unfit = {"b": b"x", "o": object(), "nan": float("nan"), "r": recursive, "s": "\udcff", "long": "A" * 1000}
    paper.log({**event("text"), **unfit, "time": 7, "level": "x", "good": [1, None, {"a": True}]})
    (told,) = paper.objects()
    assert told == {
        "time": "1970-01-01T00:00:01.500000Z",
        "level": "info",
        "role": "",
        "message": "text",
        "good": [1, None, {"a": True}],
    }


def test_a_library_has_no_fields() -> None:
    paper = Paper(json_process())
    paper.logger("twisted.names").warn("lost {it}", it="x")
    assert set(paper.objects()[0]) == {"time", "level", "role", "message"}


@given(st.text(st.characters(), max_size=300), st.integers(1, 500))
def test_every_object_can_be_read_and_is_short(text: str, times: int) -> None:
    paper = Paper(json_process())
    fields = {f"f{number}": text for number in range(30)}
    paper.log({**event("{text}"), **fields, "text": text * times, "role": text})
    for line in paper.raw():
        assert len(line) <= OBJECT_LIMIT
        assert line.isascii()
        assert json.dumps(json.loads(line), ensure_ascii=False).encode()
    assert bool(paper.raw()) == bool(text.strip())


def test_a_failure_is_one_object_with_its_traceback() -> None:
    paper = Paper(json_process())
    fail(paper.logger(), "it broke")
    (told,) = paper.objects()
    assert told["message"] == "it broke: OSError: [Errno 5] Input/output error"
    assert str(told["traceback"]).startswith("Traceback")


def test_an_info_that_says_so_is_a_notice_and_is_said_where_infos_are() -> None:
    paper = Paper(json_process())
    paper.logger().info("it started", notice=True)
    (told,) = paper.objects()
    assert (told["level"], told["message"]) == ("notice", "it started")
    assert "notice" not in told


def event(text: str) -> dict[str, object]:
    return {"log_format": text, "log_level": Level.info, "log_namespace": "miredo", "log_time": 1.5}


# ------------------------------------------------------------------ where


def test_a_line_of_syslog_is_as_the_c_library_sends_it() -> None:
    form = syslog("miredo", SyslogFacility.DAEMON)
    with time_zone("UTC0"):
        line = form(1_700_000_000.9, Severity.INFO, "text")
        early = form(1_701_407_045.0, Severity.ERROR, "text")
    assert line == f"<30>Nov 14 22:13:20 miredo[{os.getpid()}]: text"
    assert early == f"<27>Dec  1 05:04:05 miredo[{os.getpid()}]: text"


@pytest.mark.parametrize("facility", SyslogFacility)
def test_a_facility_has_its_number_in_the_c_library(facility: SyslogFacility) -> None:
    constants = vars(syslog_module) | {"LOG_FTP": 11 << 3}
    number = constants[f"LOG_{facility.name}"]
    assert FACILITIES[facility] << 3 == number
    assert syslog("x", facility)(0, Severity.DEBUG, "").startswith(f"<{number | 7}>")


def test_what_goes_to_the_journal_has_its_level_in_front() -> None:
    file = os.memfd_create("journal")
    status = os.fstat(file)
    environment = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    for bare in (False, True):
        output = standard_error("miredo", file, environment, bare=bare)
        assert output.say(0.0, Severity.WARN, "text")
    assert os.pread(file, 100, 0) == b"<4>text\n<4>text\n"


def test_somebody_elses_journal_is_not_ours() -> None:
    file = os.memfd_create("plain")
    standard_error("miredo", file, {"JOURNAL_STREAM": "8:1"}, bare=False).say(0.0, Severity.WARN, "text")
    assert os.pread(file, 100, 0) == b"miredo[%d]: text\n" % os.getpid()


@pytest.mark.parametrize(
    ("environment", "written"),
    [
        ({}, b"00:01:05 \x1b[33mwarning: \x1b[0mtext\r\n00:01:05 text\r\n"),
        ({"NO_COLOR": "1"}, b"00:01:05 warning: text\r\n00:01:05 text\r\n"),
        ({"TERM": "dumb"}, b"00:01:05 warning: text\r\n00:01:05 text\r\n"),
    ],
)
def test_a_terminal_has_the_time_and_colours_if_they_are_wanted(environment: dict[str, str], written: bytes) -> None:
    master, terminal = pty.openpty()
    with time_zone("UTC0"):
        output = standard_error("miredo", terminal, environment, bare=False)
        output.say(65.0, Severity.WARN, "text")
        output.say(65.0, Severity.INFO, "text")
    told = b""
    while len(told) < len(written):  # a terminal gives what it has by now
        told += os.read(master, 1000)
    assert told == written
    os.close(master)
    os.close(terminal)


def test_an_error_is_red_and_marked() -> None:
    assert "\x1b[31merror: \x1b[0m" in coloured(0.0, Severity.CRITICAL, "text")
    assert marked(0.0, Severity.ERROR, "text").endswith(" error: text\n")


def test_what_was_logged_before_the_begin_is_said() -> None:
    paper = Paper()
    publisher = LogPublisher()
    beginner = LogBeginner(publisher, StringIO(), sys, warnings)
    Logger(namespace="miredo", observer=publisher).info("early")
    paper.log.begin(beginner)
    assert paper.lines() == ["early"]


def test_in_the_foreground_a_daemon_says_what_miredo_said() -> None:
    lines = said_by(
        """
import sys
assert log.trouble is None
assert "twisted.internet.reactor" not in sys.modules
logger.info("{role}: Starting...", role="client")
log.flush_and_close()
log.flush_and_close()
logger.error("after the end")
"""
    )
    assert lines == ["Starting..."]


# ------------------------------------------------------------------ twistd


def test_twistds_own_options_are_left_alone_without_a_directive() -> None:
    options: dict[str, object] = {"nodaemon": 1}
    assert heed(parse("ServerAddress 192.0.2.1", "a.conf"), options) is None
    assert options == {"nodaemon": 1}


def test_twistd_in_the_foreground_obeys_the_level_that_is_written() -> None:
    options: dict[str, object] = {"nodaemon": 1, "logger": None}
    assert heed(parse("Log warn\nServerAddress 192.0.2.1", "a.conf"), options) is None
    assert options["logger"] == STANDARD_OUTPUT_OBSERVER
    log = own_log({"logger": standard_output_observer})
    assert log is not None
    assert log is standard_output_observer()


def test_the_names_of_the_observers_are_theirs() -> None:
    for name, observer in ((STANDARD_OUTPUT_OBSERVER, standard_output_observer), (SYSLOG_OBSERVER, syslog_observer)):
        package, _, attribute = name.rpartition(".")
        assert (package, getattr(logbook, attribute)) == (logbook.__name__, observer)


def test_twistds_log_file_is_not_filtered_and_that_is_said() -> None:
    options: dict[str, object] = {"nodaemon": 1, "logfile": "a.log"}
    line = heed(parse("LogFormat json\nServerAddress 192.0.2.1", "a.conf"), options)
    assert line is not None
    assert line.startswith("a.conf:1: LogFormat json: not obeyed")
    assert "logger" not in options
    assert own_log(options) is None


def test_the_observer_for_twistd_obeys_by_itself() -> None:
    options: dict[str, object] = {"logger": SYSLOG_OBSERVER}
    assert heed(parse("Log warn\nServerAddress 192.0.2.1", "a.conf"), options) is None
    assert options == {"logger": SYSLOG_OBSERVER}
    log = own_log({"logger": syslog_observer})
    assert log is not None
    assert log is syslog_observer()
    log.flush_and_close()
