# SPDX-License-Identifier: MIT
"""A test that fails leaves the recordings of its cores: those of the newest L{WatchedWorld}.

Hypothesis runs the smallest counterexample that it found once more at the end, so that is the one that is left.
"""

import re
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from miredo.teredo.recording import Recorder
from tests.world import WatchedWorld

LIMIT = 1 << 20
"""Bytes of each core's run that are kept."""


@contextmanager
def recorded_worlds(limit: int = LIMIT) -> Iterator[list[Recorder]]:
    """Record inside the C{with} block; gives the recorders of the newest world, which stay there afterwards."""
    before, WatchedWorld.record_limit = WatchedWorld.record_limit, limit
    WatchedWorld.recorders.clear()
    try:
        yield WatchedWorld.recorders
    finally:
        WatchedWorld.record_limit = before


def leave(recorders: list[Recorder]) -> list[Path]:
    """Write what cores did until now into a folder for temporary files."""
    if not recorders:
        return []
    folder = Path(tempfile.mkdtemp(prefix="miredo-recordings-"))
    files = [folder / (re.sub(r"\W+", "-", recorder.role) + ".recording") for recorder in recorders]
    for file, recorder in zip(files, recorders, strict=True):
        file.write_bytes(recorder.contents())
    return files


class Recordings:
    """The plugin of pytest: it records every test, and names the files in the report of one that failed."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, None, None]:
        with recorded_worlds():
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "call" and report.failed:
            lines = [f"./x replay {file}" for file in leave(WatchedWorld.recorders)]
            report.sections += [("recorded", "\n".join(lines))] if lines else []
        if report.when == "teardown":
            WatchedWorld.recorders.clear()
        return report


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Recordings())
