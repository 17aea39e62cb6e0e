# SPDX-License-Identifier: MIT
"""What a client's host is to know: its address on the tunnel, its default route, and a line in the log."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from twisted.logger import Logger
from zope.interface import Interface, implementer

from miredo.address.endpoint import IPv6, show_endpoint, show_ipv6
from miredo.address.teredo import CLIENT_LINK_LOCAL
from miredo.kernel.interfaces import IClock, INetwork, ITunnel
from miredo.teredo.actions import (
    NatObserved,
    Qualified,
    RefreshDetermined,
    SecretExpiring,
    ServerRelays,
    ServerSilent,
    Unqualified,
)

ADDRESS_LENGTH, LINK_LOCAL_LENGTH = 32, 64
"""Prefix lengths of the tunnel's addresses: with /32 every Teredo peer is on link (RFC 4380 4)."""
DEFAULT_ROUTE = bytes(16)
POOLING = {
    None: "one address seen",
    True: "the same address for both servers",
    False: "another address for each server",
}
"""What two servers tell of a NAT's external addresses."""
LOOK_INTERVAL = 0.001
"""Seconds between looks at whether the kernel takes packets for a new address. Ours; it mostly does at the second."""
KERNEL_PATIENCE = 1.0
"""Seconds after which the route is added all the same. Ours."""


class IAnnouncements(Interface):
    """Hears of what becomes of a client's address."""

    def qualified(event: Qualified) -> None:
        """The client has an address, or another one."""

    def unqualified(event: Unqualified) -> None:
        """The address is gone."""

    def server_silent(event: ServerSilent) -> None:
        """The server did not answer."""

    def secret_expiring(event: SecretExpiring) -> None:
        """The server says that our secret is to be replaced."""

    def server_relays(event: ServerRelays) -> None:
        """A native host was reached through a relay at our server's own address."""

    def nat_observed(event: NatObserved, local_port: int) -> None:
        """Something was learned of the NAT in front of our port."""

    def refresh_determined(event: RefreshDetermined) -> None:
        """The refresh interval is another one, or was found to be the right one."""


class Configured(NamedTuple):
    """What a role has given its tunnel: addresses and routes, each with its prefix length."""

    addresses: tuple[tuple[IPv6, int], ...] = ()
    routes: tuple[tuple[IPv6, int], ...] = ()


@implementer(IAnnouncements)
class TunnelAddress:
    """Configures the tunnel interface as the client asks, and logs it.

    The kernel's refusals are logged, since the client goes on: it can qualify again.

    @param metric: of the default route into the tunnel.
    @param clock: its alarm is given back by L{close}.
    @ivar configured: what the tunnel has of us now.
    """

    configured = Configured()

    def __init__(
        self, role: str, network: INetwork, tunnel: ITunnel, metric: int, clock: IClock, *, has_secret: bool = False
    ) -> None:
        self._role = role
        self._clock = clock
        self._look_again = clock.alarm(self._route_when_usable)
        self._waiting: tuple[Qualified, float] | None = None
        self._network = network
        self._tunnel = tunnel
        self._metric = metric
        self._doubt = "; it may be that it does not take our secret" if has_secret else ""
        self._undo: list[Callable[[], None]] = []
        self._log = Logger(namespace="miredo")

    def qualified(self, event: Qualified) -> None:
        self._remove()
        try:
            self._configure(event.address, event.mtu)
        except OSError as error:
            self._cannot_configure(error)
            return
        self._waiting = event, self._clock.now() + KERNEL_PATIENCE
        self._route_when_usable()

    def close(self) -> None:
        self._look_again.cancel()

    def unqualified(self, event: Unqualified) -> None:
        self._remove()
        self._log.info("{role}: Lost Teredo connectivity ({reason})", **self._about(reason=event.reason))

    def server_silent(self, event: ServerSilent) -> None:
        text = "{role}: No reply from Teredo server ({to}){doubt}"
        self._log.warn(text, **self._about(to=show_endpoint(event.server), doubt=self._doubt))

    def secret_expiring(self, event: SecretExpiring) -> None:
        text = "{role}: the server {to} says that our secret is to be replaced: put a new one into the SecretFile"
        self._log.warn(text, **self._about(to=show_endpoint(event.server)))

    def server_relays(self, event: ServerRelays) -> None:
        text = (
            "{role}: the server {to} is also the relay to {host}, and so could answer in the place of any host "
            "(RFC 6169 6.1.2)"
        )
        self._log.info(text, **self._about(to=show_endpoint(event.server), host=show_ipv6(event.host)))

    def nat_observed(self, event: NatObserved, local_port: int) -> None:
        self._log.info(
            "{role}: NAT: mapping {mapping}, port {port}, {addresses}; filtering {filtering}; mapped address {mapped}",
            **self._about(
                mapping=event.mapping.value,
                port="preserved" if event.preserves(local_port) else "not preserved",
                addresses=POOLING[event.same_address],
                filtering=event.filtering.value,
                mapped=show_endpoint(event.mapped),
            ),
        )

    def refresh_determined(self, event: RefreshDetermined) -> None:
        self._log.info("{role}: the refresh interval is {interval:g} s", **self._about(interval=event.interval))

    def _configure(self, address: IPv6, mtu: int) -> None:
        network, index = self._network, self._tunnel.index
        network.set_up(index, mtu)
        for own, length in ((CLIENT_LINK_LOCAL, LINK_LOCAL_LENGTH), (address, ADDRESS_LENGTH)):
            network.add_address(index, own, length)
            self._undo.append(partial(network.delete_address, index, own, length))
        self.configured = Configured(((CLIENT_LINK_LOCAL, LINK_LOCAL_LENGTH), (address, ADDRESS_LENGTH)))

    def _route_when_usable(self) -> None:
        """Add the default route once the kernel takes packets for the address, so that no reply comes too early."""
        if self._waiting is None:
            return
        event, until = self._waiting
        now = self._clock.now()
        if not self._network.is_local(event.address) and now < until:
            self._look_again.arm(now + LOOK_INTERVAL)
            return
        self._waiting = None
        network, index, metric = self._network, self._tunnel.index, self._metric
        try:
            network.add_route(DEFAULT_ROUTE, 0, index, metric=metric)
        except OSError as error:
            self._cannot_configure(error)
            return
        self._undo.append(lambda: network.delete_route(DEFAULT_ROUTE, 0, index, metric=metric))
        self.configured = self.configured._replace(routes=((DEFAULT_ROUTE, 0),))
        self._log.info(
            "{role}: Teredo pseudo-tunnel started (address: {address}, MTU: {mtu})",
            **self._about(address=show_ipv6(event.address), mtu=event.mtu),
        )

    def _cannot_configure(self, error: OSError) -> None:
        self._remove()
        self._log.error("{role}: cannot configure {name}: {text}", **self._about(text=error.strerror))

    def _remove(self) -> None:
        """Take back what was configured, the last first; the old address goes before a new one comes."""
        self._waiting, self.configured = None, Configured()
        while self._undo:
            try:
                self._undo.pop()()
            except OSError as error:  # somebody else removed it
                self._log.debug("{role}: {name}: {text}", **self._about(text=error.strerror))

    def _about(self, **more: object) -> dict[str, object]:
        return {"role": self._role, "name": self._tunnel.name, **more}
