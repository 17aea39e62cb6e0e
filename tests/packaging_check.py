# SPDX-License-Identifier: MIT
"""Run by C{./x lint} with the Python of a fresh environment that holds only the built wheel."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

PLUGINS = {"miredo"}
COMMANDS = ("miredo", "miredo-checkconf", "miredo-server", "teredo-mire")
PAGES = {**dict.fromkeys(COMMANDS, 8), "miredo.conf": 5, "miredo-server.conf": 5}
DATA = {
    *(f"share/man/man{section}/{name}.{section}" for name, section in PAGES.items()),
    *(f"share/bash-completion/completions/{name}" for name in COMMANDS),
    *(f"share/zsh/site-functions/_{name}" for name in COMMANDS),
    *(f"share/miredo/systemd/{name}.service" for name in ("miredo", "miredo-server", "miredo@")),
    *(f"share/doc/miredo/examples/{name}.conf" for name in ("miredo", "miredo-server", "mire")),
}
"""What is installed beside the code, below the environment's folder."""

LOOKING = """
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.python import log
log.addObserver(lambda event: print(log.textFromEventDict(event)))
list(getPlugins(IServiceMaker))
"""
"""Says what a look for plugins logs."""

PLACE = Path(sys.prefix)


def problems(wheel: str) -> list[str]:
    names = zipfile.ZipFile(wheel).namelist()
    found = [f"the wheel holds {name}" for name in names if name.endswith("dropin.cache")]
    found += [
        f"the wheel holds {n}, which breaks Twisted" for n in names if n.startswith("twisted/") and "__init__" in n
    ]
    found += [f"the wheel holds {n}" for n in names if n.startswith(("tests/", "doc/"))]
    return found + missing_data() + missing_pages() + silent_commands() + missing_plugins() + noisy_plugins()


def answer(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)


def missing_data() -> list[str]:
    return [f"{name} is not installed" for name in sorted(DATA) if not (PLACE / name).is_file()]


def missing_pages() -> list[str]:
    """What man does not find, where there is a man."""
    if shutil.which("man") is None:
        return []
    asked = {
        name: answer("man", "-M", PLACE / "share" / "man", "-w", str(section), name) for name, section in PAGES.items()
    }
    return [f"man does not find {name}: {told.stderr.strip()}" for name, told in asked.items() if told.returncode]


def silent_commands() -> list[str]:
    asked = {name: answer(PLACE / "bin" / name, "--help") for name in COMMANDS if (PLACE / "bin" / name).exists()}
    found = [f"{name} is not installed" for name in COMMANDS if name not in asked]
    return found + [f"{name} --help fails: {told.stderr.strip()}" for name, told in asked.items() if told.returncode]


def missing_plugins() -> list[str]:
    twistd = PLACE / "bin" / "twistd"
    lines = answer(twistd, "--help").stdout.splitlines()
    listed = {line.split()[0] for line in lines if line.startswith("    ") and line.split()}
    found = [f"twistd --help does not list {name}" for name in sorted(PLUGINS - listed)]
    role = answer(twistd, "miredo", "--help")
    if role.returncode or "--config" not in role.stdout:
        found.append(f"twistd miredo --help fails: {role.stderr.strip()}")
    return found


def noisy_plugins() -> list[str]:
    """What twistd logs once the environment cannot be written any more, twistd having looked for plugins before."""
    told = answer(*read_only(), sys.executable, "-c", LOOKING)
    text = f"{told.stdout}{told.stderr}".strip()
    return [f"twistd in an environment that cannot be written: {text}"] if text else []


def read_only() -> list[str]:
    """What a command begins with that is to have such an environment; an ordinary user has one from now on."""
    if os.geteuid() == 0:
        script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(PLACE)]
    for folder in PLACE.rglob("twisted/plugins"):
        folder.chmod(0o555)
    return []


if __name__ == "__main__":
    wrong = problems(sys.argv[1])
    for line in wrong:
        print(f"packaging: {line}", file=sys.stderr)
    print(f"packaging: {Path(sys.argv[1]).name}: {'bad' if wrong else 'good'}")
    sys.exit(1 if wrong else 0)
