# SPDX-License-Identifier: MIT
"""The house is as doc/architecture.md describes it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ("address", "wire", "teredo")
REFUSED = ("twisted", "zope", "pyroute2", "socket", "select", "time", "random", "secrets", "asyncio", "threading")
GATE = """
import importlib, sys

class Gate:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ImportError(f"a core module imports {{name}}")

for name in {refused!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Gate())
importlib.import_module({module!r})
"""


def core_modules() -> list[str]:
    files = (file for folder in CORE for file in sorted((ROOT / "miredo" / folder).rglob("*.py")))
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]


def behind_the_gate(module: str, refused: tuple[str, ...] = REFUSED) -> subprocess.CompletedProcess[str]:
    program = GATE.format(refused=refused, module=module)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)


def test_no_core_module_imports_sockets_clocks_dice_or_twisted() -> None:
    program = "\n".join([GATE.format(refused=REFUSED, module=module) for module in core_modules()[:1]])
    program += "\n".join(f"importlib.import_module({module!r})" for module in core_modules())
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_the_gate_refuses_what_it_should() -> None:
    done = behind_the_gate("miredo.kernel.clock")
    assert done.returncode != 0
    assert "a core module imports" in done.stderr


def test_every_folder_of_the_document_exists_and_every_package_is_in_it() -> None:
    text = (ROOT / "doc" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:miredo|tests|twisted|stubs|etc)/[\w./]*)`", text))
    missing = sorted(name for name in named if not (ROOT / name).exists())
    assert missing == []
    packages = {f"miredo/{folder.name}/" for folder in (ROOT / "miredo").iterdir() if (folder / "__init__.py").exists()}
    assert packages <= named


def test_nothing_stands_in_twisteds_own_namespace() -> None:
    assert list((ROOT / "twisted").rglob("__init__.py")) == []


@pytest.mark.parametrize("file", sorted(ROOT.glob("miredo/**/*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_file_says_its_licence_and_what_it_is(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert lines[0] == "# SPDX-License-Identifier: MIT"
    assert lines[1].startswith('"""')
