# SPDX-License-Identifier: MIT
"""What a role is given to live in, and how it says that it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from twisted.internet.defer import Deferred

from miredo.address.endpoint import Dice, Endpoint, IPv4
from miredo.config import RoleConfig
from miredo.kernel.interfaces import IClock, IEndpoints
from miredo.teredo.actions import Action


class Sent(NamedTuple):
    """A role sent a datagram from its address number C{via}, a client from that port of its own."""

    role: str
    at: float
    datagram: bytes
    to: Endpoint
    via: int = 0


class Took(NamedTuple):
    """A role took a packet from its tunnel."""

    role: str
    at: float
    packet: bytes


class Did(NamedTuple):
    """A role's core asked for anything else."""

    role: str
    at: float
    action: Action


Observer = Callable[[Sent | Took | Did], None]
"""Is told what a role does, as it does it; times in seconds of the role's clock."""

Resolver = Callable[[str], Deferred[list[IPv4]]]
"""Looks up the IPv4 addresses of a host name; fails with C{DNSLookupError}."""


@dataclass(frozen=True)
class Surroundings:
    """The outside of a role: everything that is not protocol.

    @ivar today: the day of the calendar, where the host is.
    """

    endpoints: IEndpoints
    clock: IClock
    dice: Dice
    resolve: Resolver
    observer: Observer | None = None
    today: Callable[[], date] = date.today


class StartFailure(Exception):
    """A role cannot start; the text is one line for a person: file, line, directive, and what the system said."""


@contextmanager
def blaming(config: RoleConfig, keyword: str) -> Iterator[None]:
    """Let an C{OSError} name the directive that led to it."""
    try:
        yield
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        raise StartFailure(f"{config.where(keyword)}: {named}{error.strerror or error}") from error
