# SPDX-License-Identifier: MIT
from collections.abc import Iterator
from typing import ClassVar

from pyroute2.netlink import nlmsg

class Marshal:
    msg_map: ClassVar[dict[int, type[nlmsg]]]
    def __init__(self) -> None: ...
    def parse(self, data: bytes) -> Iterator[nlmsg]: ...
