# SPDX-License-Identifier: MIT
"""How a client gets and keeps its address: qualification and maintenance (RFC 4380 5.2.1, 5.2.5; RFC 5991).

The rules:

  1. No cone phase: solicit with the cone bit clear (RFC 5991 3.2).
  2. Three Router Solicitations, 4 s each, to the primary address of the server; then the next server of the
     list. When none has answered, begin again 8-12 s after the last solicitation (ours; RFC 4380 goes off-line
     for good). After ten minutes of that this time doubles, up to 100 s.
  3. The first valid Router Advertisement gives the address. The secondary server address is asked in the
     background, to tell what the NAT does (ours; RFC 4380 waits for it, RFC 6081 5.2 qualifies anyway).
  4. Hold the address as long as a packet of the server comes within the randomised refresh interval; else
     solicit again. The same mapping keeps the address, another one makes a new address with fresh random
     flag bits (RFC 5991 3.1). Three losses: the address is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, assert_never

from miredo.address.endpoint import Dice, Endpoint, IPv4, IPv6, endpoint
from miredo.address.teredo import (
    ALL_ROUTERS,
    CLIENT_LINK_LOCAL,
    LEGACY_PREFIX,
    SERVICE_PREFIX,
    TEREDO_PORT,
    compose,
    random_flags,
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
    """A Router Solicitation is on its way to the primary address; C{held} stays in use meanwhile."""

    tries: int
    nonce: bytes
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
    """A Router Solicitation is on its way to the secondary address, for the diagnosis only."""

    tries: int
    nonce: bytes
    until: float


class Qualification:
    """The machine of RFC 4380 5.2.1 and 5.2.5 as the rules above have it.

    @param servers: in order of preference; none yet: see L{use_servers}.
    @param refresh_interval: seconds.
    @param credential: what is shared with the servers, for secure qualification (RFC 4380 5.2.2).
    """

    def __init__(
        self, servers: Sequence[Server], dice: Dice, refresh_interval: float, credential: Credential | None = None
    ) -> None:
        self._servers = list(servers)
        self._choice = 0
        self._silent = 0  # how many servers did not answer since one did, or since the last rest
        self._dice = dice
        self._refresh_interval = refresh_interval
        self._credential = credential
        self._told_expiring = False
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
        """Whether a datagram came from one of our server's two addresses and its port."""
        if not self._servers:
            return False
        return outer in (server_endpoint(self.server.primary), server_endpoint(self.server.secondary))

    # ------------------------------------------------------------ inputs

    def start(self, now: float) -> list[Action]:
        """Begin a round: at start, and when link, address or route changed or the machine resumed."""
        self._probe = None
        if not self._servers:
            return []
        return self._solicit(now, tries=1, held=self.held, since=now, pause=0.0)

    def use_servers(self, servers: Sequence[Server]) -> None:
        """Solicit these from the next L{start} on, if none were known before."""
        if not self._servers:
            self._servers = list(servers)

    def stop(self) -> list[Action]:
        held = self.held
        self.state, self._probe = Idle(), None
        return [Unqualified(held.address, "stopped")] if held else []

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
        asked = self._asked(encapsulated, outer)
        if asked is None:
            return Drop.WRONG_NONCE
        if not self._is_authentic(encapsulated):
            return Drop.BAD_AUTHENTICATION
        if encapsulated.origin is None:
            return Drop.BAD_ADVERTISEMENT
        mtu = self._validate(encapsulated.packet)
        if mtu is None:
            return Drop.BAD_ADVERTISEMENT
        if isinstance(asked, SecondaryProbe):
            return self._learn_mapping(encapsulated.origin)
        return [*self._qualify(asked, encapsulated.origin, mtu, now), *self._confirmed(encapsulated)]

    # ------------------------------------------------------------ steps

    def _asked(self, encapsulated: Encapsulated, outer: Endpoint) -> Soliciting | SecondaryProbe | None:
        """What this is the answer to; the nonce names it, and the address that was asked answered."""
        authentication = encapsulated.authentication
        if authentication is None:
            return None
        probe = self._probe
        if (
            probe is not None
            and authentication.nonce == probe.nonce
            and outer == server_endpoint(self.server.secondary)
        ):
            return probe
        match self.state:
            case Soliciting(nonce=nonce) as soliciting if authentication.nonce == nonce:
                return soliciting if self.is_server(outer) else None
            case _:
                return None

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

    def _validate(self, packet: bytes) -> int | None:
        """The MTU that a valid Router Advertisement of our server gives, in bytes; None when it is not one."""
        try:
            parsed, _ = parse_ipv6(packet)
            advertisement = parse_icmpv6(parsed)
            if not isinstance(advertisement, RouterAdvertisement) or parsed.destination != CLIENT_LINK_LOCAL:
                return None
            check_router_advertisement(parsed, advertisement)
        except MalformedPacket:
            return None
        if len(advertisement.prefixes) != 1:
            return None
        (prefix,) = advertisement.prefixes
        if prefix.length != 64 or prefix.prefix[:8] not in self._advertisable():
            return None
        mtu = advertisement.mtu or TUNNEL_MTU
        return mtu if TUNNEL_MTU <= mtu <= LARGEST_MTU else TUNNEL_MTU

    def _advertisable(self) -> tuple[bytes, bytes]:
        """The prefix that our server advertises; the one from before RFC 4380 stands for the same."""
        return SERVICE_PREFIX + self.server.primary, LEGACY_PREFIX + self.server.primary

    def _qualify(self, asked: Soliciting, mapped: Endpoint, mtu: int, now: float) -> list[Action]:
        until = now + self._interval()
        held = asked.held
        self._silent = 0
        if held is not None and held.mapped == mapped and held.mtu == mtu:
            self.state = Holding(held, until)
            return [] if self._mapping or self._probe else [self._ask_secondary(1, now)]
        # RFC 5991 3.1: the random bits are drawn anew when the mapping changes, and kept while it does not.
        if held is not None and held.mapped == mapped:
            address = held.address
        else:
            address = compose(self.server.primary, mapped, random_flags(self._dice))
        self.state = Holding(Address(address, mapped, mtu), until)
        self._mapping = None
        probe = self._ask_secondary(1, now)
        return [Qualified(address, mtu, mapped, server_endpoint(self.server.primary)), probe]

    def _learn_mapping(self, for_secondary: Endpoint) -> list[Action]:
        self._probe = None
        held = self.held
        if held is None:
            return []
        same = for_secondary == held.mapped
        self._mapping = Mapping.ENDPOINT_INDEPENDENT if same else Mapping.DESTINATION_DEPENDENT
        return [NatObserved(self._mapping, held.mapped, for_secondary)]

    def _solicit(self, now: float, tries: int, held: Address | None, since: float, pause: float) -> list[Action]:
        nonce = self._dice(8)
        self.state = Soliciting(tries, nonce, now + SOLICITATION_TIMEOUT, held, since, pause)
        return [SendDatagram(self._solicitation(nonce), server_endpoint(self.server.primary))]

    def _ask_secondary(self, tries: int, now: float) -> SendDatagram:
        nonce = self._dice(8)
        self._probe = SecondaryProbe(tries, nonce, now + SOLICITATION_TIMEOUT)
        return SendDatagram(self._solicitation(nonce), server_endpoint(self.server.secondary))

    def _solicitation(self, nonce: bytes) -> bytes:
        if self._credential is None:
            return emit_nonce_authentication(nonce) + SOLICITATION
        return self._credential.protect(nonce, KEY_VALID, SOLICITATION)

    def _probe_again(self, probe: SecondaryProbe, now: float) -> list[Action]:
        held = self.held
        if probe.tries < SOLICITATIONS and held is not None:
            return [self._ask_secondary(probe.tries + 1, now)]
        self._probe, self._mapping = None, Mapping.UNKNOWN
        return [NatObserved(Mapping.UNKNOWN, held.mapped, None)] if held is not None else []

    def _give_up(self, asked: Soliciting, now: float) -> list[Action]:
        """This server does not answer: the address is gone; the next server, or a rest after the last one."""
        self._probe = None
        actions: list[Action] = [ServerSilent(server_endpoint(self.server.primary))]
        if asked.held is not None:
            actions.append(Unqualified(asked.held.address, "no reply from the server"))
        self._choice = (self._choice + 1) % len(self._servers)
        self._silent += 1
        if self._silent < len(self._servers):
            return [*actions, *self._solicit(now, 1, None, asked.offline_since, asked.pause)]
        self._silent = 0
        pause = uniform(self._dice, REST_LOW, REST_HIGH)
        if now - asked.offline_since > REST_PATIENCE:
            pause = min(max(pause, 2 * asked.pause), REST_LONGEST)
        self.state = Resting(now - SOLICITATION_TIMEOUT + pause, pause, asked.offline_since)
        return actions

    def _interval(self) -> float:
        return self._refresh_interval * uniform(self._dice, REFRESH_LOW, REFRESH_HIGH)


def server_endpoint(server: IPv4) -> Endpoint:
    """Where a server listens (RFC 4380 2.7)."""
    return endpoint(server, TEREDO_PORT)
