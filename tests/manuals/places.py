# SPDX-License-Identifier: MIT
"""What the manuals name, in the namespaces of a test's child: an own /etc, the UDP ports and the links of a process."""

from __future__ import annotations

import os
import shutil
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from miredo.address.endpoint import parse_ipv4, parse_ipv6
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.libc import MS_BIND, mount
from tests.namespaced import install_reactor

KEPT = ("group", "hosts", "ld.so.cache", "nsswitch.conf", "passwd")
"""Files of /etc that programs need."""


def own_etc(folder: Path) -> Path:
    """Have an /etc that nobody else sees, with the users of this system and nothing of ours; where it is written to."""
    etc = folder / "etc"
    (etc / "miredo").mkdir(parents=True)
    for name in KEPT:
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), etc)
    mount(str(etc), "/etc", None, MS_BIND)
    return etc


def give_loopback(*addresses: str) -> None:
    """Let the loopback have addresses of both kinds."""
    network = KernelEndpoints(None, install_reactor()).network()
    index = network.index_of("lo")
    assert index is not None
    for address in addresses:
        if ":" in address:
            network.add_address(index, parse_ipv6(address), 128)
        else:
            network.add_address(index, parse_ipv4(address), 32)
    network.close()


class Bound(NamedTuple):
    """A UDP socket of IPv4; C{inode} is its name in /proc/PID/fd."""

    address: str
    port: int
    inode: int


def udp_sockets(pid: int) -> list[Bound]:
    """Those of the network that a process lives in."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]]
    return [_bound(row[1], int(row[9])) for row in rows]


def _bound(local: str, inode: int) -> Bound:
    """The kernel writes an address as a number in its own byte order."""
    address, port = (int(word, 16) for word in local.split(":"))
    return Bound(socket.inet_ntoa(struct.pack("=I", address)), port, inode)


def raw_ipv6_sockets(pid: int) -> set[str]:
    """The raw IPv6 sockets of the network that a process lives in, as they are called in /proc/PID/fd."""
    lines = Path(f"/proc/{pid}/net/raw6").read_text().splitlines()[1:]
    return {f"socket:[{line.split()[9]}]" for line in lines}


def serves(pid: int) -> set[str]:
    """The addresses on whose port 3544 somebody listens where a process lives."""
    return {bound.address for bound in udp_sockets(pid) if bound.port == 3544}


def links_of(pid: int) -> set[str]:
    """The links of the network that a process lives in."""
    return {line.partition(":")[0].strip() for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]}


def opened_by(pid: int) -> set[str]:
    """What a process has open: C{socket:[1234]}, C{/dev/net/tun}."""
    folder, found = f"/proc/{pid}/fd", set()
    for number in os.listdir(folder):
        with suppress(FileNotFoundError):  # it has been closed meanwhile
            found.add(os.readlink(f"{folder}/{number}"))
    return found
