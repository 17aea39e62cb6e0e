# SPDX-License-Identifier: MIT
"""The servers of a client that are names: which addresses they have, and when they are looked up.

They are looked up at the start, every 10 s until one at least has an address, and again when a server does not answer
that was found so, or while a name has no address yet: every 30 s at most. Known addresses stay in use if a look-up
fails, and as long as the name has them. If a name has several, another one than that which did not answer is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.error import DNSLookupError
from twisted.logger import Logger

from miredo.address.endpoint import IPv4, ipv4_of, show_ipv4
from miredo.config import ClientConfig, next_ipv4
from miredo.kernel.interfaces import IClock
from miredo.service.surroundings import Resolver
from miredo.teredo.actions import Announcement, Qualified, ServerSilent
from miredo.teredo.qualification import Server

LOOK_UP_AGAIN = 10.0
"""Seconds until names are looked up again none of which could be resolved. Ours."""
LOOK_UP_PAUSE = 30.0
"""Seconds between look-ups because of servers that do not answer, at least. Ours."""
SILENT_FOR = 600.0
"""Seconds for which a server that did not answer is passed over where its name has another address. Ours."""


class ServerNames:
    """Tells a client its servers, in the order of the file, each time they are other ones than before.

    @param permits: whether an address may be used.
    @param use: takes the servers; it is never called inside L{heard}.
    """

    def __init__(
        self,
        config: ClientConfig,
        resolve: Resolver,
        permits: Callable[[IPv4], bool],
        clock: IClock,
        use: Callable[[Sequence[Server]], None],
    ) -> None:
        self._config = config
        self._resolve = resolve
        self._permits = permits
        self._clock = clock
        self._use = use
        self._known: dict[int, Server] = {}  # by their places in the file
        self._in_use: list[Server] = []
        self._silent: dict[IPv4, float] = {}  # when each did not answer
        self._complaints: list[str] = []
        self._earliest = 0.0
        self._wanted = True
        self._again = clock.alarm(self._look_up)
        self._under_way: Deferred[None] | None = None
        self._ended = False
        self._log = Logger(namespace="miredo")

    def begin(self) -> None:
        """Look the names up, if there are any."""
        if any(self._is_name(place) for place in range(len(self._config.servers))):
            self._look_up()

    def heard(self, news: Announcement) -> None:
        """The client said something of itself."""
        match news:
            case Qualified(server=server):
                self._silent.pop(ipv4_of(server), None)
                self._wanted = False
            case ServerSilent(server=server) if self._is_worth_a_look_up(ipv4_of(server)):
                now = self._clock.now()
                self._silent[ipv4_of(server)] = now
                self._wanted = True
                if self._under_way is None:
                    self._again.arm(max(now, self._earliest))
            case _:
                pass

    def end(self) -> Deferred[None]:
        """Look up nothing more; fires when every socket is closed. Twice is once."""
        before, self._ended = self._ended, True
        self._again.cancel()
        under_way = self._under_way
        if before or under_way is None:
            return succeed(None)
        under_way.cancel()  # which may be its end
        return under_way

    # ------------------------------------------------------------ when

    def _is_name(self, place: int) -> bool:
        return any(isinstance(host, str) for host in self._config.servers[place])

    def _is_worth_a_look_up(self, server: IPv4) -> bool:
        """Whether this server, or one that is not known yet, may be found elsewhere."""
        places = range(len(self._config.servers))
        return bool(self._in_use) and any(
            place not in self._known or (self._is_name(place) and self._known[place].primary == server)
            for place in places
        )

    def _look_up(self) -> None:
        if not self._wanted:
            return
        self._wanted = False
        now = self._clock.now()
        self._earliest = now + LOOK_UP_PAUSE
        self._silent = {server: since for server, since in self._silent.items() if now < since + SILENT_FOR}
        looking_up = Deferred.fromCoroutine(self._find_servers())
        if not looking_up.called:
            self._under_way = looking_up

    async def _find_servers(self) -> None:
        places = range(len(self._config.servers))
        outcomes = await gatherResults([Deferred.fromCoroutine(self._find(place)) for place in places])
        self._under_way = None
        if self._ended:
            return
        reasons = [outcome for outcome in outcomes if isinstance(outcome, str)]
        self._known |= {place: found for place, found in enumerate(outcomes) if isinstance(found, Server)}
        self._complain(reasons)
        servers = list(dict.fromkeys(self._known[place] for place in sorted(self._known)))
        if not servers:
            self._wanted = True
            self._again.arm(self._clock.now() + LOOK_UP_AGAIN)
        elif servers != self._in_use:
            self._in_use = servers
            self._use(servers)

    def _complain(self, reasons: list[str]) -> None:
        """Say what was not found; what stays so while others are known is said once."""
        after = "" if self._known else f"; trying again in {LOOK_UP_AGAIN:g} s"
        if reasons != self._complaints or after:
            for reason in reasons:
                self._log.warn("{role}: {reason}{after}", role=self._config.title, reason=reason, after=after)
        self._complaints = reasons

    # ------------------------------------------------------------ what

    async def _find(self, place: int) -> Server | str:
        """A server, or a line for the log that says why there is none."""
        first, second = self._config.servers[place]
        before = self._known.get(place)
        try:
            primary = await self._look_up_host(first, before and before.primary, "ServerAddress", place)
            secondary = second or next_ipv4(primary)
            return Server(
                primary, await self._look_up_host(secondary, before and before.secondary, "ServerAddress2", 0)
            )
        except DNSLookupError as error:
            return str(error.args[0])
        except CancelledError:
            return "the end has come"

    async def _look_up_host(self, host: IPv4 | str, before: IPv4 | None, keyword: str, place: int) -> IPv4:
        """The address of a server that is to be used.

        @raise DNSLookupError: there is none; its argument is a line for the log.
        """
        if isinstance(host, bytes):
            return host
        where = self._config.where(keyword, place)
        try:
            addresses = await self._resolve(host)
        except DNSLookupError as error:
            raise DNSLookupError(f"{where}: {str(error).rstrip('.')}") from error
        usable = [address for address in addresses if self._permits(address)]
        if not usable:
            found = ", ".join(map(show_ipv4, addresses))
            raise DNSLookupError(f"{where}: no IPv4 address that may be used among {found}")
        chosen = self._choose(usable, before)
        if before not in (None, chosen):
            self._log.info(
                "{role}: {where}: now {address}", role=self._config.title, where=where, address=show_ipv4(chosen)
            )
        return chosen

    def _choose(self, usable: list[IPv4], before: IPv4 | None) -> IPv4:
        answering = [address for address in usable if address not in self._silent]
        if before is not None and before in (answering or usable):
            return before
        return (answering or usable)[0]
