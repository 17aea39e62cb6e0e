# SPDX-License-Identifier: MIT
from collections.abc import Iterator

from pyroute2.netlink import nlmsg

class MarshalRtnl:
    def __init__(self) -> None: ...
    def parse(self, data: bytes) -> Iterator[nlmsg]: ...
