# SPDX-License-Identifier: MIT
"""Into a lab that another process keeps up (C{./x demo --keep}): its nodes are found through /proc.

A lab's namespaces have names that only its own process sees, since its /run is its own; so a visitor enters the
process's user and mount namespaces first and then the node. Imports neither Twisted nor pyroute2.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from miredo.kernel.libc import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER, setns
from miredo.kernel.namespaces import path_of

STATE = "run/miredo-lab.json"
"""Where a kept lab says who is there, below its own root."""


class NoLab(Exception):
    """There is no lab to visit, or no such node in it; the text says what to do."""


def announce(nodes: dict[str, list[str]]) -> None:
    """Tell visitors who is there, with which addresses."""
    Path("/", STATE).write_text(json.dumps(nodes))


class KeptLab:
    """A lab of another process."""

    def __init__(self, process: int, nodes: dict[str, list[str]]) -> None:
        self.process = process
        self.nodes = nodes

    def address_of(self, node: str) -> str:
        """The IPv6 address of a node that others reach it by: its Teredo address, if it has one.

        @raise NoLab: there is no such node, or it has no IPv6 address.
        """
        known = [address for address in self._of(node) if ":" in address]
        if not known:
            raise NoLab(f"{node} has no IPv6 address")
        return known[-1]

    def enter(self, node: str) -> None:
        """Move this process, which must have one thread, to a node.

        @raise NoLab: there is no such node.
        @raise OSError: the kernel refuses it, such as for another user's lab.
        """
        self._of(node)
        place = Path("/proc", str(self.process), "ns")
        for kind, flag in (("user", CLONE_NEWUSER), ("mnt", CLONE_NEWNS)):
            if os.readlink(place / kind) != os.readlink(Path("/proc/self/ns", kind)):
                _enter(place / kind, flag)
        _enter(Path(path_of(node)), CLONE_NEWNET)

    def _of(self, node: str) -> list[str]:
        if node not in self.nodes:
            raise NoLab(f"there is no node {node}; the nodes are {', '.join(self.nodes)}")
        return self.nodes[node]


def find(process: int | None = None) -> KeptLab:
    """The lab that is up; of several, that of a process.

    @raise NoLab: there is none that this user may see, or several and none was chosen.
    """
    labs = {lab.process: lab for lab in _labs()}
    if process is not None:
        if process in labs:
            return labs[process]
        raise NoLab(f"there is no lab of a process {process}")
    if not labs:
        raise NoLab("no lab is up; start one with ./x demo --keep")
    if len(labs) > 1:
        raise NoLab(f"several labs are up; choose one with --lab PID: {', '.join(map(str, labs))}")
    return next(iter(labs.values()))


def _labs() -> Iterator[KeptLab]:
    """Each lab that this user may see; visitors of a lab see the same state, and are none."""
    seen = set()
    for process in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            text = Path("/proc", str(process), "root", STATE).read_text()
            mounts = os.readlink(Path("/proc", str(process), "ns", "mnt"))
        except OSError:
            continue
        if mounts not in seen:
            seen.add(mounts)
            yield KeptLab(process, json.loads(text))


def _enter(place: Path, flag: int) -> None:
    namespace = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace, flag)
    finally:
        os.close(namespace)
