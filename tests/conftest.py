# SPDX-License-Identifier: MIT
"""
What every test can use: the marks C{namespaced} and C{root}, and the fixture C{closes_descriptors}.

With C{MIREDO_NO_SKIP=1} in the environment a skipped test is a failed one, but for those that only root can run.
"""

import inspect
import os
import signal
from collections.abc import Generator, Iterator

import pytest
from coverage import Coverage
from hypothesis import settings

from miredo.kernel.identity import look_up, out_of_reach
from tests.namespaced import ForkedTestFailed, descriptors_closed, install_reactor, run_in_namespaces
from tests.recorded import pytest_configure

__all__ = ["pytest_configure"]

# A shell that starts the tests in the background has them ignore SIGINT, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("miredo", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("miredo")


@pytest.fixture
def closes_descriptors() -> Iterator[None]:
    """The test leaves no descriptor open, neither here nor, if it is C{namespaced}, in its child."""
    with descriptors_closed():
        yield


@pytest.fixture(autouse=True)
def _untraced(request: pytest.FixtureRequest) -> Iterator[None]:
    """Measure no coverage in an C{untraced} test, which would take most of its time."""
    measuring = Coverage.current() if request.node.get_closest_marker("untraced") else None
    if measuring is None:
        yield
        return
    measuring.stop()
    yield
    measuring.start()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let others than root skip what only root can do."""
    if item.get_closest_marker("root") is None:
        return
    if os.geteuid() != 0:
        pytest.skip("only root can become another user, or be locked in; cure: sudo")
    if reason := out_of_reach(look_up("nobody")):
        pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a C{namespaced} test in a child."""
    if pyfuncitem.get_closest_marker("namespaced") is None:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}

    def body() -> None:
        if "closes_descriptors" not in pyfuncitem.fixturenames:
            pyfuncitem.obj(**arguments)
            return
        install_reactor()
        with descriptors_closed():
            pyfuncitem.obj(**arguments)

    def show(error: BaseException) -> str:
        return str(pyfuncitem.repr_failure(pytest.ExceptionInfo.from_exception(error)))

    trouble = None
    try:
        run_in_namespaces(body, show)
    except ForkedTestFailed as failed:
        trouble = str(failed)
    if trouble is not None:
        pytest.fail(trouble, pytrace=False)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no skipped test pass where none may be."""
    report = yield
    for_root = os.geteuid() != 0 and item.get_closest_marker("root") is not None
    if report.skipped and not hasattr(report, "wasxfail") and not for_root:
        _fail_if_forbidden(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let no skipped module pass where none may be."""
    report = yield
    if report.skipped:
        _fail_if_forbidden(report)
    return report


def _fail_if_forbidden(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("MIREDO_NO_SKIP") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped although MIREDO_NO_SKIP is set: {reason}"
