# SPDX-License-Identifier: MIT
"""How a client gets and keeps its address: qualification and maintenance (RFC 4380 5.2.1, 5.2.5; RFC 5991).

The rules:

  1. No cone phase: solicit with the cone bit clear (RFC 5991 3.2).
  2. Three Router Solicitations, 4 s each, to the primary address of the server. Of several servers all are
     solicited at once and the fastest has us (ours), or one after the other if their order is to count. When
     none has answered, begin again 8-12 s after the last solicitation (ours; RFC 4380 goes off-line for good).
     After ten minutes of that this time doubles, up to 100 s.
  3. The first valid Router Advertisement gives the address. The secondary server address is asked in the
     background, to tell what the NAT does (ours; RFC 6081 5.2 qualifies whatever it is). C{strict}, as RFC 4380:
     no address before the secondary has answered too, and none if it never does.
  4. Hold the address as long as a packet of the server comes within the randomised refresh interval; else
     solicit again. The same mapping keeps the address, another one makes a new address with fresh random
     flag bits (RFC 5991 3.1). Three losses: the address is gone.
  5. Who misses an answer of anybody may have the server solicited at once, every 5 s at most (ours): either
     the server is gone too, or the mapping has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple, assert_never

from miredo.address.endpoint import Dice, Endpoint, IPv4, IPv6, endpoint
from miredo.address.teredo import (
    ALL_ROUTERS,
    CLIENT_LINK_LOCAL,
    CONE_LINK_LOCAL,
    LEGACY_PREFIX,
    SERVICE_PREFIX,
    TEREDO_PORT,
    compose,
    random_flags,
    server_of,
)
from miredo.teredo.actions import (
    Action,
    Mapping,
    NatObserved,
    Qualified,
    SecretExpiring,
    SendDatagram,
    ServerSilent,
    Unqualified,
)
from miredo.teredo.buckets import uniform
from miredo.teredo.constants import (
    LARGEST_MTU,
    REFRESH_HIGH,
    REFRESH_LOW,
    REST_HIGH,
    REST_LONGEST,
    REST_LOW,
    REST_PATIENCE,
    SOLICITATION_TIMEOUT,
    SOLICITATIONS,
    SUSPICION_SPACING,
    TUNNEL_MTU,
)
from miredo.teredo.drops import Drop
from miredo.teredo.security import KEY_VALID, Credential
from miredo.wire.encapsulation import Encapsulated, emit_nonce_authentication
from miredo.wire.icmpv6 import (
    RouterAdvertisement,
    RouterSolicitation,
    check_router_advertisement,
    emit_icmpv6,
    parse_icmpv6,
)
from miredo.wire.ipv6 import parse_ipv6
from miredo.wire.reader import MalformedPacket

SOLICITATION = emit_icmpv6(CLIENT_LINK_LOCAL, ALL_ROUTERS, RouterSolicitation())
CONE_SOLICITATION = emit_icmpv6(CONE_LINK_LOCAL, ALL_ROUTERS, RouterSolicitation())


class Server(NamedTuple):
    """A Teredo server's two addresses."""

    primary: IPv4
    secondary: IPv4


class Address(NamedTuple):
    """What qualification gave: the Teredo address and the mapping it names."""

    address: IPv6
    mapped: Endpoint
    mtu: int


@dataclass(frozen=True, slots=True)
class Idle:
    """Not started, or stopped."""


@dataclass(frozen=True, slots=True)
class Resting:
    """Off-line until it is time for another round."""

    until: float
    pause: float
    since: float


@dataclass(frozen=True, slots=True)
class Soliciting:
    """
    A Router Solicitation is on its way to the primary address; C{held} stays in use meanwhile.

    @ivar nonces: of each server that was solicited, by its number in the list.
    """

    tries: int
    nonces: dict[int, bytes]
    until: float
    held: Address | None
    offline_since: float
    pause: float


@dataclass(frozen=True, slots=True)
class Holding:
    """Qualified; to be refreshed at C{until} unless the server is heard before."""

    held: Address
    until: float


State = Idle | Resting | Soliciting | Holding


@dataclass(frozen=True, slots=True)
class SecondaryProbe:
    """
    A Router Solicitation is on its way to the secondary address, for the diagnosis.

    @ivar candidate: the address that waits for it, where RFC 4380 is strictly followed.
    """

    tries: int
    nonce: bytes
    until: float
    candidate: Address | None = None


class Qualification:
    """The machine of RFC 4380 5.2.1 and 5.2.5 as the rules above have it.

    @param servers: in order of preference; none yet: see L{use_servers}.
    @param refresh_interval: seconds.
    @param credential: what is shared with the servers, for secure qualification (RFC 4380 5.2.2).
    @param in_order: solicit a server only when those before it are silent.
    @param strict: the address waits for the secondary server address.
    @param diagnosing: ask the secondary server address at all.
    @param cone: solicit with the cone bit set (RFC 4380 5.2.1), for no address of ours.
    @ivar refresh_interval: seconds; another one counts from the next packet of the server on.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        dice: Dice,
        refresh_interval: float,
        credential: Credential | None = None,
        *,
        in_order: bool = False,
        strict: bool = False,
        diagnosing: bool = True,
        cone: bool = False,
    ) -> None:
        self._servers = list(servers)
        self._choice = 0
        self._silent = 0  # how many servers did not answer since one did, or since the last rest
        self._dice = dice
        self.refresh_interval = refresh_interval
        self._credential = credential
        self._told_expiring = False
        self._in_order = in_order
        self._strict = strict
        self._diagnosing = diagnosing
        self._link_local = CONE_LINK_LOCAL if cone else CLIENT_LINK_LOCAL
        self._suspected = -inf
        self.state: State = Idle()
        self._probe: SecondaryProbe | None = None
        self._mapping: Mapping | None = None

    # ------------------------------------------------------------ what others ask

    @property
    def server(self) -> Server:
        return self._servers[self._choice]

    @property
    def held(self) -> Address | None:
        """The address in use."""
        match self.state:
            case Holding(held=held) | Soliciting(held=held):
                return held
            case _:
                return None

    @property
    def mapping(self) -> Mapping | None:
        """What the answers tell of the NAT's mapping; C{None} while the secondary address has not been asked."""
        return self._mapping if self.held else None

    @property
    def deadline(self) -> float | None:
        deadlines = [] if isinstance(self.state, Idle) else [self.state.until]
        if self._probe is not None:
            deadlines.append(self._probe.until)
        return min(deadlines, default=None)

    def is_server(self, outer: Endpoint) -> bool:
        """Whether a datagram came from one of our server's two addresses and its port, or one that was asked too."""
        if not self._servers:
            return False
        asked = self.state.nonces if isinstance(self.state, Soliciting) else {}
        return any(_is_of(outer, server) for server in (self.server, *(self._servers[number] for number in asked)))

    # ------------------------------------------------------------ inputs

    def start(self, now: float) -> list[Action]:
        """Begin a round: at start, and when link, address or route changed or the machine resumed."""
        self._probe = None
        if not self._servers:
            return []
        held = self.held
        if held is None or server_of(held.address) == self.server.primary:
            return self._solicit(now, tries=1, held=held, since=now, pause=0.0)
        gone = Unqualified(held.address, "its server is no longer to be used")
        return [gone, *self._solicit(now, tries=1, held=None, since=now, pause=0.0)]

    def use_servers(self, servers: Sequence[Server]) -> None:
        """Know these, one at least, in the place of all others; they are solicited from the next L{start} on.

        The server in use stays in use if it is among them, and with it the address.
        """
        before = self.server.primary if self._servers else None
        self._servers = list(servers)
        primaries = [server.primary for server in servers]
        self._choice = primaries.index(before) if before in primaries else 0
        self._silent = 0
        self._probe = None
        if isinstance(self.state, Soliciting):  # of whom, is in the old list
            self.state = replace(self.state, nonces={})

    def stop(self) -> list[Action]:
        held = self.held
        self.state, self._probe = Idle(), None
        return [Unqualified(held.address, "stopped")] if held else []

    def suspect(self, now: float) -> list[Action]:
        """What should have come did not: the server is solicited, unless it was because of that a moment ago."""
        match self.state:
            case Holding(held=held) if now - self._suspected >= SUSPICION_SPACING:
                self._suspected = now
                return self._solicit(now, tries=1, held=held, since=now, pause=0.0)
            case _:
                return []

    def heard(self, outer: Endpoint, now: float) -> None:
        """A packet of the server came, so the mapping towards the address it came from lives (RFC 4380 5.2.5)."""
        match self.state:
            case Holding(held=held) if outer == server_endpoint(self.server.primary):
                self.state = Holding(held, now + self._interval())
            case _:
                pass

    def expire(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self._probe is not None and self._probe.until <= now:
            actions += self._probe_again(self._probe, now)
        match self.state:
            case Idle():
                pass
            case state if state.until > now:
                pass
            case Resting(since=since, pause=pause):
                actions += self._solicit(now, tries=1, held=None, since=since, pause=pause)
            case Holding(held=held):
                actions += self._solicit(now, tries=1, held=held, since=now, pause=0.0)
            case Soliciting(tries=tries) as soliciting if tries < SOLICITATIONS:
                actions += self._solicit(
                    now, tries + 1, soliciting.held, since=soliciting.offline_since, pause=soliciting.pause
                )
            case Soliciting() as soliciting:
                actions += self._give_up(soliciting, now)
            case other:
                assert_never(other)
        return actions

    def advertised(self, encapsulated: Encapsulated, outer: Endpoint, now: float) -> list[Action] | Drop:
        """A packet for our link-local address came from a server address: actions, or the reason to drop it.

        RFC 4380 5.2.1 and 5.2.2: the nonce is ours, there is an origin indication, it is a valid Router
        Advertisement for the link-local address that we used, with exactly one prefix option, and that holds
        the service prefix and the server's address.
        """
        asked, number = self._asked(encapsulated, outer)
        if asked is None:
            return Drop.WRONG_NONCE
        if not self._is_authentic(encapsulated):
            return Drop.BAD_AUTHENTICATION
        if encapsulated.origin is None:
            return Drop.BAD_ADVERTISEMENT
        mtu = self._validate(encapsulated.packet, self._servers[number])
        if mtu is None:
            return Drop.BAD_ADVERTISEMENT
        if isinstance(asked, SecondaryProbe):
            return self._learn_mapping(encapsulated.origin, asked, now)
        self._choice = number
        return [*self._qualify(asked, encapsulated.origin, mtu, now), *self._confirmed(encapsulated)]

    # ------------------------------------------------------------ steps

    def _asked(self, encapsulated: Encapsulated, outer: Endpoint) -> tuple[Soliciting | SecondaryProbe | None, int]:
        """What this is the answer to, and of which server; the nonce names it, and it came from whom we asked."""
        authentication, probe = encapsulated.authentication, self._probe
        if authentication is None:
            return None, 0
        nonce = authentication.nonce
        if probe is not None and nonce == probe.nonce and outer == server_endpoint(self.server.secondary):
            return probe, self._choice
        if isinstance(self.state, Soliciting):
            for number, expected in self.state.nonces.items():
                if nonce == expected and _is_of(outer, self._servers[number]):
                    return self.state, number
        return None, 0

    def _is_authentic(self, encapsulated: Encapsulated) -> bool:
        """RFC 4380 5.2.2: with a secret, the server proves that it has it too."""
        authentication, credential = encapsulated.authentication, self._credential
        if credential is None or authentication is None:
            return credential is None
        if authentication.identifier != credential.identifier:
            return False
        return credential.proves(authentication, encapsulated.packet, encapsulated.origin)

    def _confirmed(self, encapsulated: Encapsulated) -> list[Action]:
        """The confirmation byte: once, that a new secret is to be had; the old one is used until there is one."""
        authentication = encapsulated.authentication
        expiring = self._credential is not None and authentication is not None and authentication.confirmation != 0
        told, self._told_expiring = self._told_expiring, expiring
        return [SecretExpiring(server_endpoint(self.server.primary))] if expiring and not told else []

    def _validate(self, packet: bytes, server: Server) -> int | None:
        """The MTU that a valid Router Advertisement of a server gives, in bytes; None when it is not one."""
        try:
            parsed, _ = parse_ipv6(packet)
            advertisement = parse_icmpv6(parsed)
            if not isinstance(advertisement, RouterAdvertisement) or parsed.destination != self._link_local:
                return None
            check_router_advertisement(parsed, advertisement)
        except MalformedPacket:
            return None
        if len(advertisement.prefixes) != 1:
            return None
        (prefix,) = advertisement.prefixes
        if prefix.length != 64 or prefix.prefix[:8] not in _advertisable(server):
            return None
        mtu = advertisement.mtu or TUNNEL_MTU
        return mtu if TUNNEL_MTU <= mtu <= LARGEST_MTU else TUNNEL_MTU

    def _qualify(self, asked: Soliciting, mapped: Endpoint, mtu: int, now: float) -> list[Action]:
        until = now + self._interval()
        held = asked.held
        self._silent = 0
        if held is not None and held.mapped == mapped and held.mtu == mtu:
            self.state = Holding(held, until)
            return [] if self._mapping or self._probe else self._diagnose(now)
        # RFC 5991 3.1: the random bits are drawn anew when the mapping changes, and kept while it does not.
        if held is not None and held.mapped == mapped:
            address = held.address
        else:
            address = compose(self.server.primary, mapped, random_flags(self._dice))
        self._mapping = None
        candidate = Address(address, mapped, mtu)
        if self._strict and held is None:
            return [self._ask_secondary(1, now, candidate)]
        return [*self._hold(candidate, now), *self._diagnose(now)]

    def _hold(self, address: Address, now: float) -> list[Action]:
        self.state = Holding(address, now + self._interval())
        return [Qualified(address.address, address.mtu, address.mapped, server_endpoint(self.server.primary))]

    def _diagnose(self, now: float) -> list[Action]:
        return [self._ask_secondary(1, now)] if self._diagnosing else []

    def _learn_mapping(self, for_secondary: Endpoint, probe: SecondaryProbe, now: float) -> list[Action]:
        self._probe = None
        actions = self._hold(probe.candidate, now) if probe.candidate is not None else []
        held = self.held
        if held is None:
            return []
        same = for_secondary == held.mapped
        self._mapping = Mapping.ENDPOINT_INDEPENDENT if same else Mapping.DESTINATION_DEPENDENT
        return [*actions, NatObserved(self._mapping, held.mapped, for_secondary)]

    def _solicit(self, now: float, tries: int, held: Address | None, since: float, pause: float) -> list[Action]:
        """Solicit the server that we have or, while we have none, each that is in question."""
        in_question = [self._choice] if held is not None or self._in_order else range(len(self._servers))
        nonces = {number: self._dice(8) for number in in_question}
        self.state = Soliciting(tries, nonces, now + SOLICITATION_TIMEOUT, held, since, pause)
        return [
            SendDatagram(self._solicitation(nonce), server_endpoint(self._servers[number].primary))
            for number, nonce in nonces.items()
        ]

    def _ask_secondary(self, tries: int, now: float, candidate: Address | None = None) -> SendDatagram:
        nonce = self._dice(8)
        self._probe = SecondaryProbe(tries, nonce, now + SOLICITATION_TIMEOUT, candidate)
        if candidate is not None:  # the primary has answered and is not asked again meanwhile
            since, pause = (
                (self.state.offline_since, self.state.pause) if isinstance(self.state, Soliciting) else (now, 0.0)
            )
            self.state = Soliciting(tries, {}, self._probe.until, None, since, pause)
        return SendDatagram(self._solicitation(nonce), server_endpoint(self.server.secondary))

    def _solicitation(self, nonce: bytes) -> bytes:
        packet = SOLICITATION if self._link_local == CLIENT_LINK_LOCAL else CONE_SOLICITATION
        if self._credential is None:
            return emit_nonce_authentication(nonce) + packet
        return self._credential.protect(nonce, KEY_VALID, packet)

    def _probe_again(self, probe: SecondaryProbe, now: float) -> list[Action]:
        held = self.held
        if probe.tries < SOLICITATIONS and (held is not None or probe.candidate is not None):
            return [self._ask_secondary(probe.tries + 1, now, probe.candidate)]
        self._probe, self._mapping = None, Mapping.UNKNOWN
        return [NatObserved(Mapping.UNKNOWN, held.mapped, None)] if held is not None else []

    def _give_up(self, asked: Soliciting, now: float) -> list[Action]:
        """Whoever was asked does not answer: the address is gone; the next server, or a rest after the last one."""
        self._probe = None
        silent = asked.nonces or {self._choice: b""}
        actions: list[Action] = [ServerSilent(server_endpoint(self._servers[number].primary)) for number in silent]
        if asked.held is not None:
            actions.append(Unqualified(asked.held.address, "no reply from the server"))
        self._choice = (self._choice + 1) % len(self._servers)
        self._silent += len(silent)
        if self._silent < len(self._servers):
            return [*actions, *self._solicit(now, 1, None, asked.offline_since, asked.pause)]
        self._silent = 0
        pause = uniform(self._dice, REST_LOW, REST_HIGH)
        if now - asked.offline_since > REST_PATIENCE:
            pause = min(max(pause, 2 * asked.pause), REST_LONGEST)
        self.state = Resting(now - SOLICITATION_TIMEOUT + pause, pause, asked.offline_since)
        return actions

    def _interval(self) -> float:
        return self.refresh_interval * uniform(self._dice, REFRESH_LOW, REFRESH_HIGH)


def server_endpoint(server: IPv4) -> Endpoint:
    """Where a server listens (RFC 4380 2.7)."""
    return endpoint(server, TEREDO_PORT)


def _is_of(outer: Endpoint, server: Server) -> bool:
    return outer in (server_endpoint(server.primary), server_endpoint(server.secondary))


def _advertisable(server: Server) -> tuple[bytes, bytes]:
    """The prefix that a server advertises; the one from before RFC 4380 stands for the same."""
    return SERVICE_PREFIX + server.primary, LEGACY_PREFIX + server.primary
