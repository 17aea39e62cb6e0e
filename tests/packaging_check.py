# SPDX-License-Identifier: MIT
"""Run by C{./x lint} with the Python of a fresh environment that holds only the built wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

PLUGINS = {"miredo"}


def problems(wheel: str) -> list[str]:
    names = zipfile.ZipFile(wheel).namelist()
    found = [f"the wheel holds {name}" for name in names if name.endswith("dropin.cache")]
    found += [
        f"the wheel holds {n}, which breaks Twisted" for n in names if n.startswith("twisted/") and "__init__" in n
    ]
    found += [f"the wheel holds {n}" for n in names if n.startswith("tests/")]
    twistd = Path(sys.executable).with_name("twistd")
    answer = subprocess.run([twistd, "--help"], capture_output=True, text=True, check=False)
    listed = {line.split()[0] for line in answer.stdout.splitlines() if line.startswith("    ") and line.split()}
    found += [f"twistd --help does not list {name}" for name in sorted(PLUGINS - listed)]
    role = subprocess.run([twistd, "miredo", "--help"], capture_output=True, text=True, check=False)
    if role.returncode or "--config" not in role.stdout:
        found.append(f"twistd miredo --help fails: {role.stderr.strip()}")
    return found


if __name__ == "__main__":
    wrong = problems(sys.argv[1])
    for line in wrong:
        print(f"packaging: {line}", file=sys.stderr)
    print(f"packaging: {Path(sys.argv[1]).name}: {'bad' if wrong else 'good'}")
    sys.exit(1 if wrong else 0)
