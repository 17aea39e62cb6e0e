# SPDX-License-Identifier: MIT
"""What a client's host is to know: its address on the tunnel, its default route, and a line in the log."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import Interface, implementer

from miredo.address.endpoint import show_endpoint, show_ipv6
from miredo.kernel.interfaces import IClock, INetwork, ITunnel
from miredo.service.configuring import Configured, IConfiguring, NotConfigured
from miredo.teredo.actions import (
    NatObserved,
    Qualified,
    RefreshDetermined,
    SecretExpiring,
    ServerRelays,
    ServerSilent,
    Unqualified,
)

POOLING = {
    None: "one address seen",
    True: "the same address for both servers",
    False: "another address for each server",
}
"""What two servers tell of a NAT's external addresses."""
AT_THE_END = "stopped"
"""Why an address goes whose client is told to end: nothing is lost then."""
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


@implementer(IAnnouncements)
class TunnelAddress:
    """Has the tunnel interface configured as the client asks, and logs it once it is.

    Refusals are logged, since the client goes on: it can qualify again.

    @param clock: its alarm is given back by L{end}.
    """

    def __init__(
        self,
        role: str,
        network: INetwork,
        tunnel: ITunnel,
        clock: IClock,
        configuring: IConfiguring,
        *,
        has_secret: bool = False,
    ) -> None:
        self._role = role
        self._clock = clock
        self._look_again = clock.alarm(self._route_when_usable)
        self._waiting: tuple[Qualified, float] | None = None
        self._network = network
        self._tunnel = tunnel
        self._configuring = configuring
        self._doubt = "; it may be that it does not take our secret" if has_secret else ""
        self._log = Logger(namespace="miredo")

    @property
    def configured(self) -> Configured:
        """What the tunnel has of us now."""
        return self._configuring.configured

    def begin(self) -> None:
        """The client starts."""
        self._configuring.begin()

    def end(self) -> Deferred[None]:
        """The tunnel is about to go: the answer comes when it may."""
        return self._configuring.end().addCallback(lambda _: self._look_again.cancel())

    def qualified(self, event: Qualified) -> None:
        self._waiting = None
        self._log.info(
            "{role}: New Teredo address/MTU ({address}, {mtu})",
            **self._about(address=show_ipv6(event.address), mtu=event.mtu, notice=True),
        )
        Deferred.fromCoroutine(self._bring_up(event))

    def unqualified(self, event: Unqualified) -> None:
        self._waiting = None
        if event.reason != AT_THE_END:
            self._log.info("{role}: Lost Teredo connectivity ({reason})", **self._about(reason=event.reason))
        Deferred.fromCoroutine(self._take_down())

    async def _bring_up(self, event: Qualified) -> None:
        try:
            is_so = await self._configuring.up(event.address, event.mtu)
        except NotConfigured as refusal:
            self._say_refusal(refusal)
            if self._network.is_local(event.address):  # a hook may fail with what comes after
                self._say_started(event)
            return
        if is_so:
            self._waiting = event, self._clock.now() + KERNEL_PATIENCE
            self._route_when_usable()

    async def _take_down(self) -> None:
        try:
            await self._configuring.down()
        except NotConfigured as refusal:
            self._say_refusal(refusal)
        self._waiting = None
        self._log.info("{role}: Teredo pseudo-tunnel stopped", **self._about())

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
        try:
            self._configuring.route()
        except NotConfigured as refusal:
            self._say_refusal(refusal)
        else:
            self._say_started(event)

    def _say_started(self, event: Qualified) -> None:
        self._log.info(
            "{role}: Teredo pseudo-tunnel started (address: {address}, MTU: {mtu})",
            **self._about(address=show_ipv6(event.address), mtu=event.mtu, notice=True),
        )

    def _say_refusal(self, refusal: NotConfigured) -> None:
        self._log.error("{role}: cannot configure {name}: {text}", **self._about(text=str(refusal)))

    def _about(self, **more: object) -> dict[str, object]:
        return {"role": self._role, "name": self._tunnel.name, **more}
