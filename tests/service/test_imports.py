# SPDX-License-Identifier: MIT
"""What is imported in time, and what would be too late."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from miredo.service.imports import MODULES, LateImports

PREPARED = """
import sys
from miredo.service.imports import LateImports, import_all
from miredo.kernel.identity import give_up
import_all()
late = LateImports().install()
give_up(None, sys.argv[1])
"""
A_LIFE = """
import datetime, hmac, time
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger, formatEventAsClassicLogText, globalLogBeginner
from twisted.python.failure import Failure
from miredo.teredo.security import Algorithm

said = []
observers = [lambda event: said.append(formatEventAsClassicLogText(event))]
globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)
log = Logger(namespace="miredo")
try:
    raise ValueError("as it happens")
except ValueError:
    log.failure("a bug")
fail(KeyError("nobody listens"))
log.failure("another", Failure(OSError(2, "No such file")))
for name in ("host.example", "b\\u00fccher.example"):
    name.encode("idna")
for codec in ("ascii", "latin-1", "utf-8"):
    "x".encode(codec).decode(codec, "backslashreplace")
for digest in ("md5", "sha1", "sha256"):
    hmac.digest(b"key", b"text", digest)
    hmac.new(b"key", b"text", digest).digest()
time.strftime("%c %Z", time.localtime())
datetime.datetime.now(datetime.UTC).isoformat()
assert len(said) >= 2, said
sys.exit(" ".join(late.names) or 0)
"""
TIME = """
import time
before = time.strftime("%H:%M %Z", time.localtime(1_700_000_000))
assert before.endswith("IST"), before
time.tzset()
after = time.strftime("%H:%M %Z", time.localtime(1_700_000_000))
sys.exit(0 if before == after else f"{before} {after}")
"""


def locked_in(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run C{text} in the root directory C{folder}."""
    words = [sys.executable, "-c", PREPARED + text, str(folder)]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.root
def test_a_life_in_a_chroot_imports_nothing(tmp_path: Path) -> None:
    ended = locked_in(A_LIFE, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.root
def test_a_late_import_is_seen_and_fails_there(tmp_path: Path) -> None:
    ended = locked_in("import wave", tmp_path)
    assert "No module named 'wave'" in ended.stderr
    assert ended.returncode == 1


@pytest.mark.namespaced
def test_a_chroot_has_the_time_zone_of_the_system(tmp_path: Path) -> None:
    from miredo.kernel.libc import MS_BIND, mount

    zone = Path("/usr/share/zoneinfo/Asia/Kolkata")
    if not zone.exists():
        pytest.skip("there are no time zones here")
    mount(str(zone), os.path.realpath("/etc/localtime"), None, MS_BIND)
    ended = locked_in(TIME, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_is_missing_is_found_elsewhere_and_counted() -> None:
    late = LateImports().install()
    try:
        sys.modules.pop("colorsys", None)
        import colorsys
    finally:
        late.remove()
    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert late.names == ["colorsys"]
    assert late not in sys.meta_path


def test_every_module_is_there() -> None:
    assert len(set(MODULES)) == len(MODULES)
    assert list(MODULES) == sorted(MODULES)
