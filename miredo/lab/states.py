# SPDX-License-Identifier: MIT
"""What state a client is in, in words, and what state it was in: the comments beside the packets of a capture."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar, assert_never

from miredo.address.endpoint import show_endpoint, show_ipv4, show_ipv6
from miredo.teredo.client import Client
from miredo.teredo.constants import ATTEMPT_LIMIT, SOLICITATIONS
from miredo.teredo.peers import Peer
from miredo.teredo.qualification import Address, Holding, Idle, Qualification, Resting, Soliciting
from miredo.teredo.traversal import Contact

SHOWN = 3
"""Peers that are named, and contacts; the others are counted. Ours."""
REMEMBERED = 4096
"""States of each client that are kept. Ours: packets are read within milliseconds of their time."""

Item = TypeVar("Item")


def describe_client(core: Client) -> str:
    """One line of some hundred characters, with no time in it: it changes when the client's state does."""
    said = [_qualification(core.qualification)]
    if len(core.peers):
        said.append("peers: " + _some(core.peers, len(core.peers), _peer))
    if len(core.contacts):
        said.append("contacting " + _some(core.contacts, len(core.contacts), _contact))
    return "; ".join(said)


def _qualification(qualification: Qualification) -> str:
    match qualification.state:
        case Idle():
            return "idle"
        case Resting():
            return "resting, no server answered"
        case Soliciting(tries=tries, held=held):
            asking = f"soliciting {show_ipv4(qualification.server.primary)}, try {tries} of {SOLICITATIONS}"
            return f"{asking}, still {_address(held, qualification)}" if held else asking
        case Holding(held=held):
            return _address(held, qualification)
        case other:
            assert_never(other)


def _address(held: Address, qualification: Qualification) -> str:
    mapping = qualification.mapping
    told = f"mapping {mapping.value}" if mapping else "mapping not known yet"
    return f"qualified {show_ipv6(held.address)}, mapped {show_endpoint(held.mapped)}, {told}"


def _peer(peer: Peer) -> str:
    word = "trusted" if peer.fresh else "silent"
    return f"{show_ipv6(peer.address)} {word} at {show_endpoint(peer.endpoint)}"


def _contact(contact: Contact) -> str:
    who = show_ipv6(contact.address)
    if contact.refused:
        return f"{who} in vain"
    attempt = f"attempt {contact.attempts} of {ATTEMPT_LIMIT}" if contact.attempts else "no attempt yet"
    waiting = [
        f"{count} packet{'s' * (count > 1)} {word}"
        for count, word in ((len(contact.queue), "waiting"), (len(contact.held), "held"))
        if count
    ]
    return f"{who} ({', '.join([attempt, *waiting])})"


def _some(items: Iterable[Item], count: int, show: Callable[[Item], str]) -> str:
    named = ", ".join(show(item) for item in islice(items, SHOWN))
    return f"{named} and {count - SHOWN} more" if count > SHOWN else named


class History:
    """What state each client was in at which time, as far back as C{limit} changes.

    Times are seconds of one clock; those of a client do not go back.
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._states: dict[str, deque[tuple[float, str]]] = {}

    @property
    def clients(self) -> list[str]:
        """Everybody of whom anything is known."""
        return sorted(self._states)

    def note(self, client: str, at: float, state: str) -> None:
        """From now on, which is C{at}, this is the client's state."""
        states = self._states.setdefault(client, deque(maxlen=self._limit))
        if not states or states[-1][1] != state:
            states.append((at, state))

    def at(self, client: str, when: float) -> str:
        """The client's state at a time; empty before the first that is remembered."""
        for since, state in reversed(self._states.get(client, ())):
            if since <= when:
                return state
        return ""
