# SPDX-License-Identifier: MIT
"""What a role opens, and how it changes its network, by way of a privileged child."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet
from zope.interface import implementer

from miredo.address.endpoint import IPv4, IPv6
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.interfaces import IEndpoints, IHook, INetwork
from miredo.kernel.netlink import KernelNetwork
from miredo.kernel.privileged import commands
from miredo.kernel.privileged.commands import number
from miredo.kernel.privileged.openings import Ask, ChildOpenings

_IPV6_LENGTH = 16


@implementer(IEndpoints)
class PrivilegedEndpoints(KernelEndpoints):
    """
    The same objects as L{KernelEndpoints} gives, of descriptors that a child has opened.

    @param hooks: makes the hooks that the child runs, of their programs and namespaces.
    """

    def __init__(
        self, namespace: str | None, reactor: IReactorFDSet, ask: Ask, hooks: Callable[[str, str | None], IHook]
    ) -> None:
        self._ask = ask
        super().__init__(namespace, reactor, ChildOpenings(namespace, ask), hooks)

    def network(self) -> INetwork:
        return PrivilegedNetwork(self.namespace, self._reactor, self._ask)


@implementer(INetwork)
class PrivilegedNetwork(KernelNetwork):
    """
    Looks for itself, and has the child make changes.

    What a laboratory does besides, the kernel refuses to whoever has no privileges.
    """

    def __init__(self, namespace: str | None, reactor: IReactorFDSet, ask: Ask) -> None:
        self._ask = ask
        super().__init__(namespace, reactor, ChildOpenings(namespace, ask))

    def set_up(self, index: int, mtu: int | None = None) -> None:
        self._ask(commands.SetUp(self._namespace, index, mtu))

    def set_down(self, index: int) -> None:
        self._ask(commands.SetDown(self._namespace, index))

    def add_address(self, index: int, address: IPv4 | IPv6, prefix_length: int) -> None:
        self._ask(commands.AddAddress(self._namespace, index, address, prefix_length))

    def delete_address(self, index: int, address: IPv4 | IPv6, prefix_length: int) -> None:
        self._ask(commands.DeleteAddress(self._namespace, index, address, prefix_length))

    def add_route(
        self,
        destination: IPv4 | IPv6,
        prefix_length: int,
        index: int,
        metric: int | None = None,
        gateway: IPv4 | IPv6 | None = None,
        table: int | None = None,
    ) -> None:
        self._ask(commands.AddRoute(self._namespace, index, destination, prefix_length, metric, gateway, table))

    def delete_route(
        self,
        destination: IPv4 | IPv6,
        prefix_length: int,
        index: int,
        metric: int | None = None,
        gateway: IPv4 | IPv6 | None = None,
        table: int | None = None,
    ) -> None:
        self._ask(commands.DeleteRoute(self._namespace, index, destination, prefix_length, metric, gateway, table))

    def table_named(self, name: str) -> int | None:
        value = self._ask(commands.NumberTable(name)).value
        return None if value is None else number(value)

    def add_rule(self, source: IPv6, table: int, priority: int) -> None:
        self._ask(commands.AddRule(self._namespace, source, table, priority))

    def delete_rule(self, source: IPv6, table: int, priority: int) -> None:
        self._ask(commands.DeleteRule(self._namespace, source, table, priority))

    def remove_leftovers(self) -> list[IPv6]:
        sources = self._ask(commands.RemoveLeftovers(self._namespace)).value or b""
        return [sources[at : at + _IPV6_LENGTH] for at in range(0, len(sources), _IPV6_LENGTH)]
