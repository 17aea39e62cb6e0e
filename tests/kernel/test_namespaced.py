# SPDX-License-Identifier: MIT
"""The support for tests in namespaces: how a child's end becomes the test's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.namespaced import ForkedTestFailed, run_in_namespaces

ROOT = Path(__file__).parents[2]

TESTS = """
import os
import pytest
from tests.namespaced import pause, run_reactor

HERE = os.readlink("/proc/self/ns/net")

@pytest.fixture
def value():
    return 42

@pytest.mark.namespaced
def test_passes(value):
    assert value == 42
    assert os.readlink("/proc/self/ns/net") != HERE

@pytest.mark.namespaced
def test_fails(value):
    print("printed in the child")
    assert value == 43

@pytest.mark.namespaced
def test_skips():
    pytest.skip("for a reason")

@pytest.mark.namespaced
def test_dies():
    os._exit(3)

@pytest.mark.namespaced
def test_leaks(closes_descriptors):
    os.open("/dev/null", os.O_RDONLY)

@pytest.mark.namespaced
def test_waits_too_long():
    run_reactor(pause(9), timeout=0.05)

@pytest.mark.namespaced
def test_leaves_a_call():
    async def body():
        from twisted.internet import reactor
        reactor.callLater(5, print)
    run_reactor(body())

def test_stays_at_home():
    assert os.readlink("/proc/self/ns/net") == HERE
"""


def report_of(directory: Path, **environment: str) -> str:
    (directory / "test_them.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-rA", "-c", str(ROOT / "pyproject.toml")]
    ended = subprocess.run(
        [*command, "--rootdir", str(directory), str(directory / "test_them.py")],
        cwd=ROOT,
        env={**os.environ, "MIREDO_NO_SKIP": "", **environment},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.namespaced
def test_a_test_ends_as_its_child_ends(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    assert "2 passed, 1 skipped" in report
    assert "5 failed" in report
    assert "printed in the child" in report
    assert "E       assert 42 == 43" in report
    assert "for a reason" in report
    assert "the test ended its process, wait status 768" in report
    assert "left open: {" in report
    assert "TimeoutError: no end after 0.05 s" in report
    assert "a delayed call was left in the reactor" in report


@pytest.mark.namespaced
def test_no_skip_is_allowed_where_none_may_be(tmp_path: Path) -> None:
    report = report_of(tmp_path, MIREDO_NO_SKIP="1")
    assert "6 failed, 2 passed" in report
    assert "skipped although MIREDO_NO_SKIP is set: Skipped: for a reason" in report


def test_a_child_that_does_not_end_is_killed() -> None:
    reading, writing = os.pipe()

    def body() -> None:
        os.write(writing, b"waiting")
        os.read(reading, 100)
        os.read(reading, 100)

    try:
        with pytest.raises(ForkedTestFailed, match=r"no end after 0\.5 s"):
            run_in_namespaces(body, str, limit=0.5)
    finally:
        os.close(reading)
        os.close(writing)
