# SPDX-License-Identifier: MIT
"""The plugin that every twistd run on the machine imports: it is a plugin, and it costs nothing."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from twisted.application.service import IServiceMaker
from zope.interface.verify import verifyObject

ROOT = Path(__file__).parents[1]
PLUGINS = "twisted.plugins.miredo_plugin"

LISTING = """
import json, sys
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
found = {plugin.tapname: [plugin.module, plugin.description] for plugin in getPlugins(IServiceMaker)}
print(json.dumps({"plugins": found, "modules": sorted(sys.modules)}))
"""


def listing() -> tuple[dict[str, list[str]], list[str]]:
    """The plugins that a fresh process lists, and the modules that it has loaded for that."""
    told = subprocess.run([sys.executable, "-c", LISTING], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(told.stdout)
    return found["plugins"], found["modules"]


def test_the_plugin_makes_services() -> None:
    assert verifyObject(IServiceMaker, import_module(PLUGINS).miredo)


def test_the_plugin_s_module_has_what_twistd_asks_of_it() -> None:
    module = import_module(import_module(PLUGINS).miredo.module)
    assert callable(module.makeService)
    assert callable(module.Options)


def test_listing_the_plugins_loads_neither_ours_nor_a_reactor() -> None:
    plugins, modules = listing()
    assert plugins["miredo"] == ["miredo.tap", "Teredo client, relay and server (RFC 4380, 5991, 6081)"]
    assert [name for name in modules if name.partition(".")[0] in ("miredo", "pyroute2")] == []
    assert "twisted.internet.reactor" not in modules


@pytest.mark.parametrize("words", [["--help"], ["miredo", "--help"]])
def test_twistd_tells_of_us(words: list[str], tmp_path: Path) -> None:
    twistd = Path(sys.executable).with_name("twistd")
    told = subprocess.run([twistd, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "miredo" in told.stdout
    assert ("Teredo client, relay and server" in told.stdout) == (words == ["--help"])
    assert ("--config=" in told.stdout) == (words != ["--help"])
    assert list(tmp_path.iterdir()) == []


def test_options_are_read_without_a_reactor() -> None:
    program = (
        "import sys; from miredo.tap import Options; Options().parseOptions(['-c', 'etc/lab.conf']);"
        "print('twisted.internet.reactor' in sys.modules, 'pyroute2' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == "False False\n"


def test_twisted_s_own_packages_are_not_shadowed() -> None:
    """Such a file would break Twisted itself, wherever this tree comes first on the path."""
    assert list((ROOT / "twisted").rglob("__init__.py")) == []
    assert (ROOT / "twisted" / "plugins" / "miredo_plugin.py").exists()
