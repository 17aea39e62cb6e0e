# SPDX-License-Identifier: MIT
"""What gives a client's tunnel its addresses and routes: the program itself, or a hook (L{miredo.service.hooks})."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, ParamSpec

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import Attribute, Interface, implementer

from miredo.address.endpoint import IPv6
from miredo.address.teredo import CLIENT_LINK_LOCAL
from miredo.kernel.interfaces import INetwork, ITunnel

P = ParamSpec("P")

ADDRESS_LENGTH, LINK_LOCAL_LENGTH = 32, 64
"""Prefix lengths of the tunnel's addresses: with /32 every Teredo peer is on link (RFC 4380 4)."""
DEFAULT_ROUTE = bytes(16)
TABLE = "teredo"
"""The routing table that packets from our address look into, where the administrator has named one so."""
RULE_PRIORITY = 32765
"""Of the rule that has them do so: the last before the main table's (ip-rule(8)), as other Teredo clients have it."""


class Configured(NamedTuple):
    """What a role has given its tunnel: addresses and routes, each with its prefix length.

    @ivar alone: the role is the only one who gives it any; false where a hook may have added what it likes.
    """

    addresses: tuple[tuple[IPv6, int], ...] = ()
    routes: tuple[tuple[IPv6, int], ...] = ()
    alone: bool = True


class NotConfigured(Exception):
    """The tunnel could not be made as it was to be; the text is the reason."""


class IConfiguring(Interface):
    """Makes a tunnel as the client wants it. What it is asked for last is what counts.

    Each answer comes when the tunnel is so, as C{True}; as C{False} if something else was wished before it was; or as a
    failure with L{NotConfigured}.
    """

    configured: Configured = Attribute("What the tunnel has of us now.")

    def up(address: IPv6, mtu: int) -> Deferred[bool]:
        """Give it this address, and no other."""

    def route() -> None:
        """The address is usable now: let the host use it.

        @raise NotConfigured: it cannot, and nothing is left of C{up}.
        """

    def down() -> Deferred[bool]:
        """Take the address and the routes away."""

    def begin() -> None:
        """The client starts."""

    def end() -> Deferred[None]:
        """The tunnel is about to go: take away what is left, within L{miredo.service.hooks.END_PATIENCE}."""


@implementer(IConfiguring)
class BuiltInConfiguring:
    """Configures by netlink, at once: ADDRESS/32, a link-local address, the default route.

    Where there is a table for it, a default route in that too, and a rule that leads packets from ADDRESS there: with
    it a host that has better IPv6 connectivity still answers by Teredo what came by Teredo.

    @param metric: of the default route into the tunnel.
    @param table: what is called L{TABLE}.
    """

    def __init__(self, role: str, network: INetwork, tunnel: ITunnel, metric: int, table: int | None) -> None:
        self.configured = Configured()
        self._role = role
        self._network = network
        self._tunnel = tunnel
        self._metric = metric
        self._table = table
        self._address = b""
        self._undo: list[Callable[[], None]] = []
        self._log = Logger(namespace="miredo")

    def up(self, address: IPv6, mtu: int) -> Deferred[bool]:
        self._remove()
        self._address = address
        own = (CLIENT_LINK_LOCAL, LINK_LOCAL_LENGTH), (address, ADDRESS_LENGTH)
        try:
            self._network.set_up(self._tunnel.index, mtu)
            for one, length in own:
                self._do(self._network.add_address, self._network.delete_address, self._tunnel.index, one, length)
        except OSError as error:
            self._remove()
            return fail(NotConfigured(error.strerror))
        self.configured = Configured(own)
        return succeed(True)

    def route(self) -> None:
        network = self._network
        try:
            self._do(network.add_route, network.delete_route, DEFAULT_ROUTE, 0, self._tunnel.index, metric=self._metric)
        except OSError as error:
            self._remove()
            raise NotConfigured(error.strerror) from error
        self.configured = self.configured._replace(routes=((DEFAULT_ROUTE, 0),))
        if self._table is not None:
            self._route_by_source(self._table)

    def down(self) -> Deferred[bool]:
        self._remove()
        return succeed(True)

    def begin(self) -> None:
        pass

    def end(self) -> Deferred[None]:
        self._remove()
        return succeed(None)

    def _route_by_source(self, table: int) -> None:
        """What is refused here was put there by somebody else; the tunnel works all the same."""
        network, index = self._network, self._tunnel.index
        try:
            self._do(network.add_route, network.delete_route, DEFAULT_ROUTE, 0, index, table=table)
            self._do(network.add_rule, network.delete_rule, self._address, table, RULE_PRIORITY)
        except OSError as error:
            text = "{role}: cannot use the routing table {table}: {text}"
            self._log.warn(text, role=self._role, table=TABLE, text=error.strerror)

    def _do(self, add: Callable[P, None], delete: Callable[P, None], *words: P.args, **more: P.kwargs) -> None:
        add(*words, **more)
        self._undo.append(partial(delete, *words, **more))

    def _remove(self) -> None:
        """Take back what was configured, the last first; the old address goes before a new one comes."""
        self.configured = Configured()
        while self._undo:
            try:
                self._undo.pop()()
            except OSError as error:  # somebody else removed it
                text = "{role}: {name}: {text}"
                self._log.debug(text, role=self._role, name=self._tunnel.name, text=error.strerror)
