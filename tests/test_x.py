# SPDX-License-Identifier: MIT
"""The script C{x}: when its environment is good, and when it has to be made anew."""

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "x"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """C{x}, with an environment in a folder of the test's that both locks have been installed in."""
    loader = SourceFileLoader("x_script", str(SCRIPT))
    specification = importlib.util.spec_from_loader("x_script", loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    loader.exec_module(module)
    (tmp_path / "python").touch()
    monkeypatch.setattr(module, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(module, "STAMP", tmp_path / "stamp")
    stamps = [module.place(), module.wanted_stamp(module.RUN), module.wanted_stamp(module.DEVELOP)]
    (tmp_path / "stamp").write_text("".join(stamps))
    return module


def test_an_environment_that_was_made_here_for_these_locks_is_good(script: ModuleType) -> None:
    assert script.is_current(script.RUN)
    assert script.is_current(script.DEVELOP)


def test_an_environment_for_running_only_is_not_good_for_developing(script: ModuleType) -> None:
    script.STAMP.write_text(script.place() + script.wanted_stamp(script.RUN))
    assert script.is_current(script.RUN)
    assert not script.is_current(script.DEVELOP)


def test_a_clone_that_was_moved_needs_another_environment(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moved").symlink_to(script.HERE)
    monkeypatch.setattr(script, "HERE", tmp_path / "moved")
    assert not script.is_current(script.RUN)


def test_another_python_needs_another_environment(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "BASE", Path("/usr/bin/another-python"))
    assert not script.is_current(script.RUN)


def test_an_environment_that_is_half_made_has_no_stamp_and_is_not_good(script: ModuleType) -> None:
    script.STAMP.unlink()
    assert not script.is_current(script.RUN)


def test_the_python_of_the_environment_itself_is_never_the_base(script: ModuleType) -> None:
    assert not script.BASE.is_symlink()
    assert script.ENVIRONMENT not in script.BASE.parents
