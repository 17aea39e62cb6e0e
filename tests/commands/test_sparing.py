# SPDX-License-Identifier: MIT
"""What the daemons do without: it is not imported, and is there for whoever asks for it after all."""

import subprocess
import sys

import pytest

from miredo.commands.sparing import PARTS

DAEMON = """
import sys
from miredo.commands.sparing import spare
spare()
import miredo.commands.running
from twisted.internet import reactor
import miredo.kernel.privileged.worker
from miredo.service.imports import import_all
import_all()
"""
NEEDLESS = {
    "asyncio.base_events",
    "email",
    "http.client",
    "OpenSSL",
    "pyroute2.iproute",
    "pyroute2.netlink.core",
    "ssl",
    "urllib.request",
}


def said_by(text: str) -> str:
    """What a program of that text says."""
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=30, check=False)
    assert ended.stderr == ""
    return ended.stdout


def test_a_daemon_has_imported_nothing_of_it() -> None:
    modules = said_by(DAEMON + "print(*sys.modules)").split()
    assert "twisted.internet.reactor" in modules
    assert NEEDLESS & set(modules) == set()
    assert set(PARTS) <= set(modules)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            "import asyncio, inspect; print(inspect.isfunction(asyncio.run), asyncio.base_events.__name__)",
            "True asyncio.base_events",
        ),
        ("from http import cookiejar; print(cookiejar.CookieJar.__name__)", "CookieJar"),
        ("from twisted.plugin import getPlugins; print(getPlugins.__name__)", "getPlugins"),
    ],
)
def test_what_is_asked_for_after_all_is_there(more: str, says: str) -> None:
    assert said_by(f"{DAEMON}{more}").strip() == says


def test_a_look_at_all_modules_runs_none() -> None:
    look = "print([getattr(module, '__version__', None) for module in list(sys.modules.values())] and 'looked')\n"
    assert said_by(f"{DAEMON}{look}print('ssl' in sys.modules)").split() == ["looked", "False"]


def test_what_no_such_module_has_is_refused_as_ever() -> None:
    text = "import asyncio\ntry: asyncio.nothing\nexcept AttributeError as error: print(error)"
    assert said_by(DAEMON + text).strip() == "module 'asyncio' has no attribute 'nothing'"


def test_what_is_imported_already_stays() -> None:
    text = "import asyncio\nwhole = asyncio\nfrom miredo.commands.sparing import spare\nspare()\nimport asyncio\n"
    assert said_by(text + "print(asyncio is whole, callable(asyncio.run))").split() == ["True", "True"]


def test_each_part_of_asyncio_is_its_own() -> None:
    parts = ", ".join(f"asyncio.{part}" for part in PARTS["asyncio"])
    text = f"import asyncio\nbefore = [{parts}]\nasyncio.run\nprint(before == [{parts}])"
    assert said_by(DAEMON + text).strip() == "True"
