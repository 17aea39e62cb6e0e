# SPDX-License-Identifier: MIT
"""A real systemd, as the first process of namespaces of its own, for units under all their restrictions.

Nothing of the machine can be changed from there, which a unit of the machine's own would do: C{systemd-tmpfiles} alone,
at a boot, empties C{/tmp}.

1. The root is a new one, of which the old one is no part: C{/etc}, C{/usr} and what a test names are seen, read-only,
   all else is new and empty. L{_CHECK} looks that it is so, or nothing starts.
2. systemd knows the units that a test gives it and no others, and runs no generators.
3. It has no capability that concerns more than its namespaces.

It needs root, and a cgroup (version 2) that it may make below the machine's. All of it ends with the block.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

SYSTEMD = "/lib/systemd/systemd"
UNITS = "/run/systemd/system"
"""The only folder with units."""
PATIENCE = 15.0
"""Seconds that systemd has to come up."""
FIRST = "nothing.target"
"""What it starts by itself."""
EXPECTED = (FIRST, "sysinit.target", "basic.target", "shutdown.target", "network.target", "network-online.target")
"""Targets that units or systemd itself ask for; empty ones."""
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "net/tun")
REFUSED = (
    "sys_boot",
    "sys_module",
    "sys_rawio",
    "sys_time",
    "mknod",
    "syslog",
    "mac_admin",
    "mac_override",
    "wake_alarm",
)

_ISOLATED = ("unshare", "--pid", "--mount", "--cgroup", "--net", "--uts", "--ipc", "--fork", "--kill-child=KILL")

_BEGIN = r"""set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$new"
cd "$new"
mkdir -p dev etc proc root run sys tmp usr var/log var/tmp old
# Where there is no mount, systemd makes one of its own: at /dev that of the machine's devices.
for place in dev run tmp; do mount -t tmpfs -o mode=755 tmpfs $place; done
mkdir -p dev/net dev/pts dev/shm run/lock
mount -t tmpfs -o mode=1777 tmpfs dev/shm
chmod 1777 tmp var/tmp dev/shm
show() { mkdir -p "$new$2"; mount --bind "$1" "$new$2"; mount -o remount,bind,ro "$new$2"; }
show /etc /etc
show /usr /usr
for place in bin sbin lib lib32 lib64 libx32; do
  if [ -L /$place ]; then cp -P /$place .; elif [ -d /$place ]; then show /$place /$place; fi
done
for device in $devices; do
  touch dev/$device
  mount --bind /dev/$device dev/$device
  mount -o remount,bind,ro dev/$device
done
ln -s null dev/console
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t proc proc proc
for place in proc/sys proc/sysrq-trigger; do
  if [ -e $place ]; then mount --bind $place $place; mount -o remount,bind,ro $place; fi
done
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
ln -s /run var/run
"""

_CHECK = r"""mkdir -p run/systemd
cp -r "$units" run/systemd/system
pivot_root . old
umount -l /old
rmdir /old
cd /
while read -r _ place kind options _; do
  case "$kind $options" in
    tmpfs\ *|proc\ *|cgroup2\ *|devpts\ *|*\ ro|*\ ro,*) ;;
    *) echo "$place can be written"; exit 1 ;;
  esac
done < /proc/mounts
for place in /etc /usr $shown; do
  if touch "$place/.written" 2> /dev/null; then echo "$place can be written"; exit 1; fi
done
ip link set lo up
export container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin
export SYSTEMD_UNIT_PATH=@UNITS@ SYSTEMD_GENERATOR_PATH=/run/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/none
"""


class Machine:
    """Where that systemd runs."""

    def __init__(self, first: int) -> None:
        self._enter = ["nsenter", "-t", str(first), "-p", "-m", "-C", "-n", "-u", "-i", "-r", "-w", "--"]

    def run(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command there."""
        command = [*self._enter, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
        return done

    def show(self, unit: str, name: str) -> str:
        """A property, as C{systemctl show} says it."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()


def missing() -> str:
    """Why there can be none here; empty if there can."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path(SYSTEMD).exists():
        return f"there is no {SYSTEMD}"
    writable = bool(_cgroups()) and os.access(_cgroups(), os.W_OK)
    return "" if writable else "there is no cgroup file system of version 2 that can be written"


@contextmanager
def booted(
    folder: Path, units: Mapping[str, str], shown: Mapping[str, Path], command: Sequence[str] = ()
) -> Generator[Machine]:
    """Run it until the end of the block.

    @param folder: an empty one, for files.
    @param units: the files of L{UNITS}, by their names.
    @param shown: folders that are seen there, read-only, by where they are seen.
    @param command: what runs in the place of systemd.
    """
    log = folder / "systemd.log"
    script = _written(folder, units, shown, command)
    cgroup = Path(_cgroups()) / f"miredo-test-{os.getpid()}"
    cgroup.mkdir()
    start = f"echo $$ > {cgroup}/cgroup.procs; exec {shlex.join(_ISOLATED)} sh {shlex.quote(str(script))}"
    with log.open("w") as output:
        started = subprocess.Popen(["sh", "-ec", start], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield _up(started, log)
    finally:
        started.kill()
        started.wait()
        _removed(cgroup)


def _written(folder: Path, units: Mapping[str, str], shown: Mapping[str, Path], command: Sequence[str]) -> Path:
    """The script that becomes systemd."""
    targets = dict.fromkeys(EXPECTED, "[Unit]\nDescription=Nothing\nDefaultDependencies=no\n")
    for name, text in {**targets, **units}.items():
        (folder / "units" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "units" / name).write_text(text)
    (folder / "new").mkdir()
    systemd = [SYSTEMD, "--system", f"--unit={FIRST}", "--log-target=console", "--show-status=no"]
    refused = ",".join(f"-{one}" for one in REFUSED)
    last = ["setpriv", f"--bounding-set={refused}", f"--inh-caps={refused}", "--", *(command or systemd)]
    names = {"new": folder / "new", "units": folder / "units", "devices": " ".join(DEVICES), "shown": " ".join(shown)}
    lines = [
        *(f"{name}={shlex.quote(str(value))}" for name, value in names.items()),
        _BEGIN,
        *(f"show {shlex.quote(str(source))} {shlex.quote(place)}" for place, source in shown.items()),
        _CHECK.replace("@UNITS@", UNITS),
        f"exec {shlex.join(last)}",
    ]
    (folder / "boot").write_text("\n".join(lines) + "\n")
    return folder / "boot"


def _up(started: subprocess.Popen[bytes], log: Path) -> Machine:
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and started.poll() is None:
        time.sleep(0.05)
        first = children.read_text().split() if children.exists() else []
        if first and Machine(int(first[0])).run("systemctl", "is-system-running", check=False).stdout == "running\n":
            return Machine(int(first[0]))
    raise AssertionError(f"systemd did not come up: {log.read_text()}")


def _cgroups() -> str:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return next((place for _, place, kind, *_ in mounts if kind == "cgroup2"), "")


def _removed(cgroup: Path) -> None:
    """Its processes take a moment to be gone."""
    end = time.monotonic() + PATIENCE
    while cgroup.exists() and time.monotonic() < end:
        for inner in sorted(cgroup.rglob("*/"), reverse=True):
            _try_to_remove(inner)
        _try_to_remove(cgroup)
        time.sleep(0.02)


def _try_to_remove(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
