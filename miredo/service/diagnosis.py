# SPDX-License-Identifier: MIT
"""What is wrong with the host that a role runs on, each with the cure: a check gives a L{Finding}, or C{None}.

IPv6 is switched off                          client, relay      before it starts
IPv6 packets are not forwarded                relay              before it starts
the route to the prefix is there already      relay              before it starts
strict rp_filter beside a second way out      every role         before it starts
routes preferred to the relay's               relay              by a check alone
no way to a server                            client             by a check alone
the Teredo prefix leads elsewhere             relay              while it runs
another program changed the tunnel            client, relay      while it runs
datagrams to the port do not arrive           every role         once, by L{miredo.service.selftest}
"""

from __future__ import annotations

from typing import NamedTuple

from twisted.logger import Logger

from miredo.address.endpoint import show_ipv4, show_ipv6
from miredo.config import ClientConfig, RelayConfig, RoleConfig, TunnelConfig
from miredo.kernel.interfaces import IEndpoints, INetwork, ITunnel
from miredo.service.configuring import Configured

STRICT = "1"
"""rp_filter of RFC 3704 2.2; 2 is the loose one of 2.4 (networking/ip-sysctl of the kernel)."""
USUAL_METRIC = 1024
"""Of a route for IPv6 that was given none."""
RUN = "/run"
"""Where NetworkManager and systemd-networkd keep what they know of links."""
STATE_LIMIT = 1 << 14
"""Bytes of what networkd keeps of a link that are read. Ours."""


class Finding(NamedTuple):
    """Something that is wrong.

    @ivar prevents: a role cannot start with it.
    @ivar kind: what it has in common with others that need not be said again; the beginning of C{what}, if it is empty.
    """

    what: str
    cure: str
    prevents: bool = False
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.what}; cure: {self.cure}"


class Diagnosis:
    """Says each thing that is wrong once, whatever its details become: a network that flaps fills no log."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._said: set[str] = set()
        self._log = Logger(namespace="miredo")

    def say(self, *findings: Finding | None) -> None:
        """Warn of what is new."""
        for finding in findings:
            if finding is not None and (kind := finding.kind or finding.what.partition(": ")[0]) not in self._said:
                self._said.add(kind)
                self._log.warn("{role}: {finding}", role=self._role, finding=str(finding))


# ------------------------------------------------------------------ before a role starts


def of_host(config: RoleConfig, network: INetwork) -> list[Finding]:
    """What can be seen before anything is opened."""
    checks = [strict_filter(network)]
    if isinstance(config, TunnelConfig):
        checks.append(ipv6_off(network, "default"))
    if isinstance(config, RelayConfig):
        checks.append(prefix_taken(network, config.prefix))
    if isinstance(config, RelayConfig) and not config.for_this_host:
        checks.append(forwarding_off(network))
    return [finding for finding in checks if finding is not None]


def ipv6_off(network: INetwork, link: str) -> Finding | None:
    """A link without IPv6 takes neither a client's address nor a relay's route; a new link is as C{default}."""
    if _sysctl(network, f"net/ipv6/conf/{link}/disable_ipv6") != "1":
        return None
    where = "all new interfaces" if link == "default" else link
    what = f"IPv6 is switched off on {where} (net.ipv6.conf.{link}.disable_ipv6 is 1)"
    return Finding(what, f"sysctl -w net.ipv6.conf.{link}.disable_ipv6=0", prevents=True)


def prefix_taken(network: INetwork, prefix: bytes) -> Finding | None:
    """A route to the prefix that leaves the relay's no place; on the relay's host it leads past the relay."""
    whole = prefix + bytes(12), 32
    if (*whole, USUAL_METRIC) not in network.routes_within(*whole):
        return None
    place = f"{show_ipv6(prefix + bytes(12))}/32"
    what = f"there is a route to {place} on this host already, and the relay is to have it"
    return Finding(what, f"ip -6 route del {place}", prevents=True)


def preferred(network: INetwork, prefix: bytes) -> list[Finding]:
    """Routes that the kernel would prefer to a relay's that does not run yet; later L{leads_elsewhere} finds them."""
    routes = network.routes_within(prefix + bytes(12), 32)
    found = []
    for destination, length, metric in routes:
        if length > 32 or metric < USUAL_METRIC:
            place = f"{show_ipv6(destination)}/{length}"
            what = f"there is a route to {place} with metric {metric} on this host, which is preferred to the relay's"
            found.append(Finding(what, f"ip -6 route del {place} metric {metric}"))
    return found


def unreachable(config: ClientConfig, network: INetwork) -> list[Finding]:
    """Servers that nothing leads to; a name is not looked up."""
    addresses = [server for pair in config.servers for server in pair if isinstance(server, bytes)]
    lost = [show_ipv4(address) for address in addresses if network.link_to(address) is None]
    cure = "ip route show; give this host an IPv4 default route"
    return [Finding(f"there is no route to the server's address {address}", cure) for address in lost]


def forwarding_off(network: INetwork) -> Finding | None:
    """Without it the kernel drops what comes out of the tunnel for another host, and what is to go in."""
    if _sysctl(network, "net/ipv6/conf/all/forwarding") != "0":
        return None
    what = "this host does not forward IPv6 (net.ipv6.conf.all.forwarding is 0): the relay serves nobody but itself"
    return Finding(what, "sysctl -w net.ipv6.conf.all.forwarding=1, or RelayType host if that is what is wanted")


def strict_filter(network: INetwork) -> Finding | None:
    """Packets that come in by one way out are dropped by the strict filter where the way back is another one.

    With one way out it drops nothing of ours. The larger of a link's own value and that of C{all} counts.
    """
    ways = {index for index, _, _ in network.ways_out()}
    if len(ways) < 2:
        return None
    strict = [name for name in network.links() if network.index_of(name) in ways and _filters_strictly(network, name)]
    if not strict:
        return None
    what = (
        f"there are {len(ways)} ways to the IPv4 Internet, and rp_filter is strict on {', '.join(strict)}: "
        "what comes in by one and would be answered by another is dropped"
    )
    return Finding(what, " ".join(["sysctl -w", *(f"net.ipv4.conf.{name}.rp_filter=2" for name in strict)]))


def _filters_strictly(network: INetwork, name: str) -> bool:
    values = [_sysctl(network, f"net/ipv4/conf/{one}/rp_filter") or "0" for one in ("all", name)]
    return max(values) == STRICT


def _sysctl(network: INetwork, path: str) -> str | None:
    """The value of a variable; one that cannot be read tells nothing."""
    try:
        return network.get_sysctl(path)
    except OSError:
        return None


# ------------------------------------------------------------------ while it runs


def leads_elsewhere(network: INetwork, prefix: bytes, tunnel: ITunnel) -> Finding | None:
    """Whether the kernel would send packets for Teredo clients anywhere but into the relay's tunnel."""
    index = network.link_to(prefix + bytes(11) + b"\1")
    if index == tunnel.index:
        return None
    place = f"{show_ipv6(prefix + bytes(12))}/32"
    names = [name for name in network.links() if network.index_of(name) == index]
    where = f"into {names[0]}" if names else "nowhere"
    what = f"packets for {place} go {where} and not into {tunnel.name}: another route or rule comes before the relay's"
    return Finding(what, f"ip -6 route show {place}; ip -6 rule show; delete what is not {tunnel.name}'s")


def tampered(network: INetwork, tunnel: ITunnel, ours: Configured, endpoints: IEndpoints) -> Finding | None:
    """Whether the tunnel is not as the role made it, which must be another program's doing."""
    what = _difference(network, tunnel, ours)
    if what is None:
        return None
    if switched_off := ipv6_off(network, tunnel.name):
        return switched_off._replace(prevents=False)
    kind = " ".join(what.split()[:3])  # "it was set", "our route to"
    return Finding(f"another program manages {tunnel.name}: {what}", _leave_alone(tunnel, endpoints), kind=kind)


def _difference(network: INetwork, tunnel: ITunnel, ours: Configured) -> str | None:
    if network.index_of(tunnel.name) != tunnel.index:
        return "it was renamed or deleted"
    if not ours.alone and not ours.addresses:
        return None  # a hook sets it down if it likes
    if not network.is_up(tunnel.index):
        return "it was set down"
    found = network.addresses(tunnel.index)
    for address, length in ours.addresses:
        if (address, length) not in found:
            return f"our address {show_ipv6(address)}/{length} is gone"
    for address, length in found:
        if ours.alone and len(address) == 16 and (address, length) not in ours.addresses:
            return f"it has an address that is not ours, {show_ipv6(address)}/{length}"
    routes = [(destination, length) for destination, length, _ in network.routes(tunnel.index)]
    for destination, length in ours.routes:
        if (destination, length) not in routes:
            return f"our route to {show_ipv6(destination)}/{length} is gone"
    return None


def _leave_alone(tunnel: ITunnel, endpoints: IEndpoints) -> str:
    """
    How to make the program that most likely did it leave the tunnel alone.

    The machine's network managers know no namespace but the process's own.
    """
    if endpoints.namespace is None and _managed_by_networkd(tunnel.index, endpoints):
        return (
            f"a file /etc/systemd/network/10-{tunnel.name}.network with [Match] Name={tunnel.name} and "
            "[Link] Unmanaged=yes, then networkctl reload (systemd-networkd)"
        )
    if endpoints.namespace is None and _is_folder(f"{RUN}/NetworkManager", endpoints):
        return (
            f"a file /etc/NetworkManager/conf.d/{tunnel.name}.conf with [keyfile] and "
            f"unmanaged-devices=interface-name:{tunnel.name}, then nmcli general reload (NetworkManager)"
        )
    return f"find it (ip monitor), have it leave {tunnel.name} alone, and restart this program"


def _managed_by_networkd(index: int, endpoints: IEndpoints) -> bool:
    try:
        state = endpoints.read_file(f"{RUN}/systemd/netif/links/{index}", STATE_LIMIT)
    except OSError:
        return False
    return b"ADMIN_STATE=unmanaged" not in state.split()


def _is_folder(path: str, endpoints: IEndpoints) -> bool:
    try:
        endpoints.read_file(path, 1)
    except IsADirectoryError:
        return True
    except OSError:
        return False
    return False
