# SPDX-License-Identifier: MIT
"""A client's tunnel that is configured by the administrator's program, as miredo's client-hook(8) is.

It has no arguments; its environment says what is to be done:

                              STATE    OLD_STATE  ADDRESS LLADDRESS MTU  OLD_ADDRESS OLD_LLADDRESS OLD_MTU
an address                    up       down       yes                    no
another one in its place      up       up         yes                    yes
it is lost                    down     up         no                     yes
the program ends              down     up, down   no                     yes, if OLD_STATE is up
right after, and the last     destroy  as before  no                     as before

and IFACE, IFINDEX and a PATH always, and nothing else ever. The order of its runs is that of the events; while one goes
on only the newest of what comes meanwhile is kept.
"""

from __future__ import annotations

from typing import NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from miredo.address.endpoint import IPv6, show_ipv6
from miredo.address.teredo import CLIENT_LINK_LOCAL
from miredo.config import ClientConfig
from miredo.kernel.hookprogram import HookEnded
from miredo.kernel.interfaces import IClock, IHook, INetwork, ITunnel
from miredo.service.configuring import TABLE, BuiltInConfiguring, Configured, IConfiguring, NotConfigured
from miredo.service.surroundings import Surroundings, blaming

END_PATIENCE = 0.2
"""Seconds that the end of a client waits for its hook. Ours: the whole end is to take less than 0.3 s."""


class Up(NamedTuple):
    """A tunnel with an address; without one it is C{None}."""

    address: IPv6
    mtu: int

    def variables(self, prefix: str = "") -> dict[str, str]:
        """As a hook is told of it."""
        texts = {"ADDRESS": show_ipv6(self.address), "LLADDRESS": show_ipv6(CLIENT_LINK_LOCAL), "MTU": str(self.mtu)}
        return {f"{prefix}{name}": text for name, text in texts.items()}


def environment(state: str, tunnel: ITunnel, now: Up | None, old: Up | None) -> dict[str, str]:
    """What a hook is told: C{state} is C{up}, C{down} or C{destroy}."""
    return {
        "STATE": state,
        "OLD_STATE": "up" if old else "down",
        "IFACE": tunnel.name,
        "IFINDEX": str(tunnel.index),
        **(now.variables() if now else {}),
        **(old.variables("OLD_") if old else {}),
    }


class Wish(NamedTuple):
    """What the tunnel is to be, and who waits for it."""

    wanted: Up | None
    answer: Deferred[bool]


@implementer(IConfiguring)
class HookConfiguring:
    """Has a hook configure the tunnel."""

    def __init__(self, role: str, hook: IHook, network: INetwork, tunnel: ITunnel, clock: IClock) -> None:
        self.configured = Configured(alone=False)
        self._role = role
        self._hook = hook
        self._network = network
        self._tunnel = tunnel
        self._clock = clock
        self._begun = self._ending = False
        self._told: Up | None = None
        self._told_before: Up | None = None
        self._obeyed = True
        self._under_way: Wish | None = None
        self._waiting: list[Wish] = []
        self._over: Deferred[None] = Deferred()
        self._log = Logger(namespace="miredo")

    def begin(self) -> None:
        self._begun = True

    def up(self, address: IPv6, mtu: int) -> Deferred[bool]:
        return self._wish(Up(address, mtu))

    def route(self) -> None:
        """The hook has done so."""

    def down(self) -> Deferred[bool]:
        return self._wish(None)

    def end(self) -> Deferred[None]:
        """C{down}, unless it goes on already, and C{destroy}: both are handed over at once, and hooks keep order."""
        if self._ending or not self._begun:
            return succeed(None)
        self._ending = True
        late = self._clock.alarm(self._finish)
        late.arm(self._clock.now() + END_PATIENCE)
        self._over.addCallback(lambda _: late.cancel())
        if self._told is not None or self._under_way is None:
            self._tell(None).addCallback(self._say_failure)
        destroyed = self._run("destroy", None, self._told_before)
        destroyed.addCallback(self._say_failure).addCallback(lambda _: self._finish())
        return self._over

    def _finish(self) -> None:
        """The hook has ended, or is left to itself."""
        unanswered = [self._under_way, *self._waiting] if self._under_way else self._waiting
        self._under_way, self._waiting = None, []
        for wish in unanswered:
            wish.answer.callback(False)
        if not self._over.called:
            self._over.callback(None)

    # ------------------------------------------------------------ one wish at a time

    def _wish(self, wanted: Up | None) -> Deferred[bool]:
        wish = Wish(wanted, Deferred())
        self._waiting.append(wish)
        if self._under_way is None:
            self._next()
        return wish.answer

    def _next(self) -> None:
        """Have the newest wish come true."""
        if not self._waiting or self._ending:
            return
        *stale, newest = self._waiting
        self._waiting = []
        for wish in stale:
            wish.answer.callback(False)
        if newest.wanted == self._told and self._obeyed:
            newest.answer.callback(True)
        else:
            self._under_way = newest
            self._tell(newest.wanted).addCallback(self._obeys, newest)

    def _obeys(self, ended: HookEnded, wish: Wish) -> None:
        """The hook has done what was wished, or failed."""
        if self._under_way is not wish:  # it was left to itself
            self._say_failure(ended)
            return
        self._under_way = None
        self._obeyed = ended.status == 0
        self.configured = self._seen(wish.wanted)
        if self._obeyed:
            wish.answer.callback(True)
        else:
            wish.answer.errback(NotConfigured(self._failure(ended)))
        self._next()

    def _seen(self, wanted: Up | None) -> Configured:
        """What of ours the hook has given to the tunnel."""
        own = [wanted.address, CLIENT_LINK_LOCAL] if wanted else []
        found = [(one, length) for one, length in self._network.addresses(self._tunnel.index) if one in own]
        return Configured(tuple(found), alone=False)

    # ------------------------------------------------------------ the program

    def _tell(self, wanted: Up | None) -> Deferred[HookEnded]:
        self._told_before, self._told = self._told, wanted
        self.configured = Configured(alone=False)
        return self._run("up" if wanted else "down", wanted, self._told_before)

    def _run(self, state: str, now: Up | None, old: Up | None) -> Deferred[HookEnded]:
        return self._hook.run(environment(state, self._tunnel, now, old)).addCallback(self._say_output)

    def _say_output(self, ended: HookEnded) -> HookEnded:
        """All lines; the first is for L{_failure} if there is one."""
        for line in ended.output.splitlines()[ended.status != 0 :]:
            self._log.info("{role}: {hook}: {line}", role=self._role, hook=self._hook.path, line=line)
        return ended

    def _say_failure(self, ended: HookEnded) -> None:
        if ended.status:
            self._log.error("{role}: {failure}", role=self._role, failure=self._failure(ended))

    def _failure(self, ended: HookEnded) -> str:
        how = f"ended by signal {-ended.status}" if ended.status < 0 else f"exit status {ended.status}"
        return ": ".join([self._hook.path, how, *ended.output.splitlines()[:1]])


def configuring(config: ClientConfig, around: Surroundings, network: INetwork, tunnel: ITunnel) -> IConfiguring:
    """What configures a client's tunnel, as its C{ClientHook} says; what a killed program left of another is removed.

    @raise miredo.service.surroundings.StartFailure: the hook cannot be run.
    """
    _remove_leftovers(config.title, network)
    path = config.client_hook
    if path is None:
        return BuiltInConfiguring(config.title, network, tunnel, config.route_metric, network.table_named(TABLE))
    hook = around.endpoints.hook(path)
    with blaming(config, "ClientHook"):
        hook.check()
    return HookConfiguring(config.title, hook, network, tunnel, around.clock)


def _remove_leftovers(role: str, network: INetwork) -> None:
    log = Logger(namespace="miredo")
    try:
        for source in network.remove_leftovers():
            text = "{role}: removed the rule for {source}, which a program that was killed has left"
            log.info(text, role=role, source=show_ipv6(source))
    except OSError as error:
        log.warn(
            "{role}: cannot remove what a program that was killed has left: {text}", role=role, text=error.strerror
        )
