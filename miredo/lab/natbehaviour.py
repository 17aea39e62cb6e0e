# SPDX-License-Identifier: MIT
"""
What a NAT does, in the words of RFC 4787, and the words read from a command line.

The grammar: words with a C{/} between them. The first is a familiar name, or the first two are a mapping and a
filtering; the others follow in any order, each once::

    NAT      = (NAME | MAPPING/FILTERING) *(/WORD)
    MAPPING  = endpoint-independent | address-dependent | address-and-port-dependent
    FILTERING = the same three
    WORD     = preserving | sequential | random        which external port a new mapping gets
             | load=RATE                               with sequential: foreign mappings a second
             | hairpinning                             insiders reach each other's external endpoints
             | pool=COUNT | paired | arbitrary         several external addresses
             | lifetime=SECONDS | inbound-refresh      how long an idle session lives

A word that follows a name overrides what the name says: C{symmetric/sequential}.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from math import isfinite
from typing import Final, TypedDict

POOL_LIMIT: Final = 16
"""How many external addresses a NAT has at most: as many as fit into the last byte, L{POOL_STEP} apart."""
POOL_STEP: Final = 16
"""The distance of the external addresses of one NAT; our number, so that neighbours in a /28 keep their own."""


class Mapping(StrEnum):
    """Which destinations share the external endpoint of an inside endpoint (RFC 4787, 4.1)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class Filtering(StrEnum):
    """Who may answer to an external endpoint (RFC 4787, 5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class PortAssignment(StrEnum):
    """Which external port a new mapping gets (RFC 4787, 4.2.1)."""

    PRESERVING = "preserving"
    """The inside port if no mapping holds it, else a random one."""
    SEQUENTIAL = "sequential"
    """The next free one of a counter."""
    RANDOM = "random"


class Refusal(StrEnum):
    """Why a packet did not pass."""

    NOT_OURS = "not to our address"
    NO_MAPPING = "no mapping"
    FILTERED = "filtered"
    HAIRPIN = "hairpin"
    PORTS_EXHAUSTED = "ports exhausted"
    SESSIONS_EXHAUSTED = "sessions exhausted"


class Pooling(StrEnum):
    """Which of several external addresses a new mapping gets (RFC 4787, 4.1)."""

    PAIRED = "paired"
    """All mappings of an inside address have the same one (REQ-2)."""
    ARBITRARY = "arbitrary"
    """The destination's address decides."""


@dataclass(frozen=True, slots=True)
class NatBehaviour:
    """What RFC 4787 asks of a NAT to be described by."""

    mapping: Mapping = Mapping.ENDPOINT_INDEPENDENT
    filtering: Filtering = Filtering.ENDPOINT_INDEPENDENT
    ports: PortAssignment = PortAssignment.PRESERVING
    lifetime: float = 300.0
    """Seconds that an idle session lives. REQ-5 recommends 300 and wants 120 at least; there are NATs with less."""
    inbound_refresh: bool = False
    """Does a packet from outside keep its session alive too (REQ-6 a)? One from inside always does (REQ-6)."""
    hairpinning: bool = False
    """Does a packet from inside to an external endpoint come back in (REQ-9)?"""
    pool: int = 1
    """How many external addresses there are."""
    pooling: Pooling = Pooling.PAIRED
    load: float = 0.0
    """Mappings a second that hosts outside of the model make; each moves a sequential NAT's counter on."""
    masquerade: bool = False
    """Plain Linux masquerade, as L{miredo.lab.conntrack} tells; mapping, filtering and ports only describe it."""

    def __post_init__(self) -> None:
        if not (isfinite(self.lifetime) and self.lifetime > 0):
            raise ValueError(f"the lifetime of a NAT's mappings is {self.lifetime} s: must be more than 0")
        if not 1 <= self.pool <= POOL_LIMIT:
            raise ValueError(f"the pool of a NAT has {self.pool} addresses: must be 1 to {POOL_LIMIT}")
        if self.pool == 1 and self.pooling is Pooling.ARBITRARY:
            raise ValueError("arbitrary pooling needs a pool of 2 addresses or more")
        if not (isfinite(self.load) and self.load >= 0):
            raise ValueError(f"the foreign load of a NAT is {self.load} mappings/s: must be 0 or more")
        if self.load and self.ports is not PortAssignment.SEQUENTIAL:
            raise ValueError("a foreign load shows only where ports are sequential")
        if self.masquerade and replace(self, masquerade=False, lifetime=MASQUERADE_LIFETIME) != _AS_MASQUERADE:
            raise ValueError(f"{MASQUERADE} takes no other word than lifetime=SECONDS")

    def __str__(self) -> str:
        """The words that L{parse_behaviour} takes; what is usual goes without saying."""
        base = LINUX_MASQUERADE if self.masquerade else NatBehaviour(self.mapping, self.filtering)
        start = [MASQUERADE] if self.masquerade else [self.mapping, self.filtering]
        return "/".join([*start, *_words_beyond(base, self)])


MASQUERADE: Final = "linux-masquerade"

MASQUERADE_LIFETIME: Final = 120.0
"""Seconds that an idle session with traffic both ways lives on Linux (nf_conntrack_udp_timeout_stream)."""

_AS_MASQUERADE: Final = NatBehaviour(
    filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT, lifetime=MASQUERADE_LIFETIME, inbound_refresh=True
)
LINUX_MASQUERADE: Final = replace(_AS_MASQUERADE, masquerade=True)

BEHAVIOURS: Final = tuple(NatBehaviour(mapping, filtering) for mapping in Mapping for filtering in Filtering)
"""The nine kinds of mapping and filtering."""

KINDS: Final = (*BEHAVIOURS, LINUX_MASQUERADE)

_EVERYTHING_DEPENDS: Final = BEHAVIOURS[-1]
_SYMMETRIC: Final = replace(_EVERYTHING_DEPENDS, ports=PortAssignment.RANDOM)

FAMILIAR: Final[dict[str, NatBehaviour]] = {
    "cone": NatBehaviour(),
    "address-restricted": NatBehaviour(filtering=Filtering.ADDRESS_DEPENDENT),
    "port-restricted": NatBehaviour(filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT),
    "symmetric": _SYMMETRIC,
    "port-symmetric": _SYMMETRIC,
    "port-preserving-symmetric": _EVERYTHING_DEPENDS,
    "sequential-symmetric": replace(_EVERYTHING_DEPENDS, ports=PortAssignment.SEQUENTIAL),
    "address-symmetric": replace(_SYMMETRIC, pool=4, pooling=Pooling.ARBITRARY),
    MASQUERADE: LINUX_MASQUERADE,
}
"""NATs by the names of RFC 3489, 5 and RFC 6081, 3; a pool of 4 is our choice for the address-symmetric one."""


class _Changes(TypedDict, total=False):
    """The fields that a word sets."""

    ports: PortAssignment
    lifetime: float
    inbound_refresh: bool
    hairpinning: bool
    pool: int
    pooling: Pooling
    load: float


_PLAIN: Final[dict[str, _Changes]] = {
    **{word.value: _Changes(ports=word) for word in PortAssignment},
    **{word.value: _Changes(pooling=word) for word in Pooling},
    "hairpinning": _Changes(hairpinning=True),
    "inbound-refresh": _Changes(inbound_refresh=True),
}
"""The words without a value."""

_VALUED: Final[dict[str, Callable[[str], _Changes]]] = {
    "load": lambda value: _Changes(load=float(value)),
    "pool": lambda value: _Changes(pool=int(value)),
    "lifetime": lambda value: _Changes(lifetime=float(value)),
}
"""The words with a value, C{WORD=VALUE}."""

GRAMMAR: Final = (
    f"NAT is NAME or MAPPING/FILTERING, then any of /WORD; NAME is one of {', '.join(FAMILIAR)}; "
    f"MAPPING and FILTERING are each one of {', '.join(Mapping)}; "
    f"WORD is one of {', '.join(_PLAIN)}, load=RATE, pool=COUNT, lifetime=SECONDS"
)
"""What L{parse_behaviour} reads, in one line."""


def parse_behaviour(text: str) -> NatBehaviour:
    """
    Read a NAT's words (see the module).

    @raise ValueError: a word is not known, comes twice, or does not go with another; the message lists all words.
    """
    try:
        base, words = _begun(text.split("/"))
        changes = _Changes()
        for word in words:
            changed = _changes_of(word)
            if twice := changes.keys() & changed.keys():
                raise ValueError(f"{word!r}: {twice.pop()} is said twice")
            changes.update(changed)
        return replace(base, **changes)
    except ValueError as wrong:
        raise ValueError(f"NAT behaviour {text!r}: {wrong}; {GRAMMAR}") from None


def _begun(words: list[str]) -> tuple[NatBehaviour, list[str]]:
    """What the first word or two say, and the words that are left."""
    match words:
        case [name, *others] if name in FAMILIAR:
            return FAMILIAR[name], others
        case [mapping, filtering, *others]:
            return NatBehaviour(Mapping(mapping), Filtering(filtering)), others
        case _:
            raise ValueError("there is no such name")


def _changes_of(word: str) -> _Changes:
    name, valued, value = word.partition("=")
    if valued and name in _VALUED:
        try:
            return _VALUED[name](value)
        except ValueError:
            raise ValueError(f"{word!r}: {value!r} is no such number") from None
    if word in _PLAIN:
        return _PLAIN[word]
    raise ValueError(f"there is no word {word!r}")


def _words_beyond(base: NatBehaviour, behaviour: NatBehaviour) -> list[str]:
    """The words that make C{behaviour} of C{base}."""
    words = []
    for each in fields(behaviour):
        value = getattr(behaviour, each.name)
        if value == getattr(base, each.name):
            continue
        word = each.name.replace("_", "-")
        if isinstance(value, StrEnum):
            words.append(value.value)
        else:
            words.append(word if value is True else f"{word}={value!r}".removesuffix(".0"))
    return words
