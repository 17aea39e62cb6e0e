# SPDX-License-Identifier: MIT
"""The kernel as a NAT: nftables rules for a router between a client (its interface C{lan}) and the core (C{wan}).

This is the one part of the lab that needs a program, C{nft}, and a kernel with nf_tables; it shows that the model of
L{miredo.lab.conntrack} tells the truth, and how a client does with NATs that nobody here has written.
"""

import os
import shutil
import subprocess
from errno import ENOENT, EOPNOTSUPP
from typing import Final

from miredo.kernel.errors import refused
from miredo.kernel.namespaces import entered
from miredo.lab.fronts import KernelNat

INSIDE, OUTSIDE = "lan", "wan"
"""The router's interfaces."""

CURE: Final = "sudo apt-get install nftables"
"""What gives a Debian the program."""

_OPEN: Final = f"iifname {OUTSIDE} udp dport 1024-65535"
"""Ports that inside ports are mapped to."""

_CHAINS: Final[dict[KernelNat, tuple[str, str, str]]] = {
    KernelNat.MASQUERADE: ("", "masquerade", ""),
    KernelNat.MASQUERADE_FILTERED: ("", "masquerade", "drop"),
    KernelNat.CONE: (f"{_OPEN} dnat to {{client}}", "masquerade", "drop"),
    KernelNat.ADDRESS_RESTRICTED: (f"{_OPEN} ip saddr @heard dnat to {{client}}", "masquerade", "drop"),
    KernelNat.SYMMETRIC: ("", "masquerade fully-random", "drop"),
}
"""Of each NAT: what is done with what comes in, with what goes out, and with what is for the router itself."""


def rules(kind: KernelNat, client: str) -> str:
    """
    The input of C{nft -f -}.

    @param client: the IPv4 address inside.
    """
    incoming, outgoing, unasked = _CHAINS[kind]
    return f"""
table ip nat {{
  set heard {{ type ipv4_addr; flags dynamic, timeout; timeout 5m; size 65535; }}
  chain incoming {{
    type nat hook prerouting priority dstnat
    {incoming.format(client=client)}
  }}
  chain forwarded {{
    type filter hook forward priority filter
    iifname {INSIDE} update @heard {{ ip daddr }}
  }}
  chain outgoing {{
    type nat hook postrouting priority srcnat
    oifname {OUTSIDE} {outgoing}
  }}
  chain unasked {{
    type filter hook input priority filter
    {f"iifname {OUTSIDE} ct state new {unasked}" if unasked else ""}
  }}
}}
"""


def require_program() -> None:
    """
    See that there is C{nft}.

    @raise OSError: ENOENT, it is nowhere.
    """
    if shutil.which("nft", path=_path()) is None:
        raise refused(ENOENT, "a NAT of the kernel's", "there is no program nft")


def become_nat(router: str, kind: KernelNat, client: str) -> None:
    """
    Make a namespace a NAT.

    @raise OSError: there is no C{nft}, or the kernel does not take the rules; the text says why.
    """
    require_program()
    with entered(router):
        ended = subprocess.run(
            ["/usr/bin/env", "nft", "-f", "-"],
            input=rules(kind, client),
            env={"PATH": _path()},
            capture_output=True,
            text=True,
            check=False,
        )
    if ended.returncode:
        reason = ended.stderr.strip().partition("\n")[0] or f"exit status {ended.returncode}"
        raise refused(EOPNOTSUPP, f"{kind} (nf_tables)", reason)


def _path() -> str:
    """An ordinary user's PATH lacks the folder that Debian has the program in."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
