# SPDX-License-Identifier: MIT
"""
Links, addresses, routes and rules by rtnetlink(7), with pyroute2's messages on a socket of our own.

The kernel works a rtnetlink request off inside send(2), so its answer lies in the socket when that returns: nothing
here waits, and all of it may be called inside a reactor callback.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from errno import EACCES, EAFNOSUPPORT, EHOSTUNREACH, EINVAL, ENETUNREACH, ENODEV, EOPNOTSUPP, ERANGE
from fcntl import ioctl
from typing import TYPE_CHECKING, ClassVar

from pyroute2.netlink import nlmsg
from pyroute2.netlink.marshal import Marshal
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_GETRULE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTM_SETLINK,
)
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from zope.interface import implementer

from miredo.address.endpoint import IPv4, IPv6, parse_ipv4, parse_ipv6
from miredo.kernel.errors import naming, refused
from miredo.kernel.interfaces import INetwork
from miredo.kernel.links import GLOBAL_UNICAST, broadcasts_of, is_within, show_address, show_prefix
from miredo.kernel.namespaces import entered, path_of
from miredo.kernel.openings import KernelOpenings, Openings, netlink_socket
from miredo.kernel.tables import table_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IReactorFDSet

    from miredo.kernel.interfaces import IWatch

PROTOCOL = 84
"""Who added a route, a rule or an address: a number that linux/rtnetlink.h gives to nobody, so that leftovers are known
as ours (addresses carry it from Linux 5.18 on)."""

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_SOL_NETLINK = 270
_NETLINK_EXT_ACK = 11
_NLM_F_REQUEST = 0x01
_NLM_F_ACK = 0x04
_NLM_F_DUMP = 0x300
_NLM_F_EXCL = 0x200
_NLM_F_CREATE = 0x400
_DATAGRAM_LIMIT = 1 << 17

_IFF_UP = 1
_IFA_F_NODAD = 2
_IN6_ADDR_GEN_MODE_NONE = 1
_MAIN_TABLE = 254
_ELSEWHERE = 0  # RT_TABLE_UNSPEC: the number, which may have 32 bits, is in an attribute
_LOOK_INTO_TABLE = 1  # FR_ACT_TO_TBL
_NO_RULES = (EOPNOTSUPP, EAFNOSUPPORT)
"""What a kernel answers that has no IPv6 policy routing, or no IPv6."""
_UNICAST = 1  # RTN_UNICAST
_BROADCAST = 2  # IFF_BROADCAST
_RUNNING = 0x40  # IFF_RUNNING
_WITHOUT_CARRIER = 0x01 | 0x10  # RTNH_F_DEAD, RTNH_F_LINKDOWN
_UNICAST = 1
_LOCAL = 2
_REFUSING = (6, 7, 8)  # RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT
_NO_WAY = (ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL)
"""What a look-up is answered that finds no route, or one that refuses: the last two are prohibit and blackhole."""
_SCOPE_UNIVERSE = 0
_SCOPE_LINK = 253
_SCOPE_NOWHERE = 255

_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17

Address = IPv4 | IPv6


class Messages(Marshal):
    """
    Reads what the kernel answers and tells of.

    pyroute2's own for rtnetlink reads every kind of message, and imports a hundred modules more for it.
    """

    msg_map: ClassVar[dict[int, type[nlmsg]]] = {
        **dict.fromkeys((RTM_NEWLINK, RTM_DELLINK), ifinfmsg),
        **dict.fromkeys((RTM_NEWADDR, RTM_DELADDR), ifaddrmsg),
        **dict.fromkeys((RTM_NEWROUTE, RTM_DELROUTE), rtmsg),
        **dict.fromkeys((RTM_NEWRULE, RTM_DELRULE), fibmsg),
    }


class RouteSocket:
    """
    Questions to rtnetlink.

    @param opened: a L{netlink_socket}, which this object owns; one in the namespace of this thread, unless it is given.
    """

    def __init__(self, opened: socket.socket | None = None) -> None:
        self._socket = opened or netlink_socket()
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._messages = Messages()
        self._sequence = 0

    def ask(self, message: nlmsg, kind: int, flags: int, what: str) -> list[nlmsg]:
        """
        Send one request; the messages that answer it.

        @raise OSError: the kernel's refusal, in its own words where it has some; they say C{what} was refused.
        """
        self._sequence += 1
        header = message["header"]
        header["type"] = kind
        header["flags"] = _NLM_F_REQUEST | _NLM_F_ACK | flags
        header["sequence_number"] = self._sequence
        message.encode()
        with naming(what):
            self._socket.send(message.data)
            return list(self._answers())

    def close(self) -> None:
        self._socket.close()

    def _answers(self) -> Iterator[nlmsg]:
        while True:
            for message in self._messages.parse(self._socket.recv(_DATAGRAM_LIMIT)):
                header = message["header"]
                if header["sequence_number"] != self._sequence:
                    continue
                if (error := header["error"]) is not None:
                    raise OSError(error.args[0], error.args[1])
                if header["type"] in (_NLMSG_ERROR, _NLMSG_DONE):
                    return
                yield message


@implementer(INetwork)
class KernelNetwork:
    """
    The network of a namespace, as the kernel has it.

    @param reactor: reads what is to be watched; nothing can be without one.
    @param openings: opens the sockets; this process does, unless it is said.
    """

    def __init__(
        self, namespace: str | None, reactor: IReactorFDSet | None = None, openings: Openings | None = None
    ) -> None:
        self._namespace = namespace
        self._reactor = reactor
        self._openings = openings or KernelOpenings(namespace)
        self._watches: list[IWatch] = []
        self._route = RouteSocket(self._openings.netlink())

    def index_of(self, name: str) -> int | None:
        message = ifinfmsg()
        message["attrs"] = [("IFLA_IFNAME", name)]
        try:
            return self._route.ask(message, RTM_GETLINK, 0, f"interface {name}")[0]["index"]
        except OSError as error:
            if error.errno in (ENODEV, ERANGE):
                return None
            raise

    def is_running(self, index: int) -> bool:
        return bool(self._flags(index) & _RUNNING)

    def is_up(self, index: int) -> bool:
        return bool(self._flags(index) & _IFF_UP)

    def is_shared(self, index: int) -> bool:
        return bool(self._flags(index) & _BROADCAST)

    def _flags(self, index: int) -> int:
        message = ifinfmsg()
        message["index"] = index
        (link,) = self._route.ask(message, RTM_GETLINK, 0, f"interface {index}")
        return int(link["flags"])

    def links(self) -> list[str]:
        found = self._route.ask(ifinfmsg(), RTM_GETLINK, _NLM_F_DUMP, "interfaces")
        return [str(link.get_attr("IFLA_IFNAME")) for link in found]

    def set_up(self, index: int, mtu: int | None = None) -> None:
        message = _link(index, _IFF_UP)
        if mtu is not None:
            message["attrs"] = [("IFLA_MTU", mtu)]
        self._change_link(message)

    def set_down(self, index: int) -> None:
        self._change_link(_link(index, 0))

    def set_no_generated_addresses(self, index: int) -> None:
        """Let the kernel give a link no link-local address of its own making."""
        message = ifinfmsg()
        message["index"] = index
        mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _IN6_ADDR_GEN_MODE_NONE)]}
        message["attrs"] = [("IFLA_AF_SPEC", {"attrs": [("AF_INET6", mode)]})]
        self._route.ask(message, RTM_SETLINK, 0, f"interface {index}")

    def set_queue_length(self, index: int, packets: int) -> None:
        """How many packets wait in a link; unlike the ioctl this is allowed in a user namespace."""
        message = ifinfmsg()
        message["index"] = index
        message["attrs"] = [("IFLA_TXQLEN", packets)]
        self._route.ask(message, RTM_SETLINK, 0, f"interface {index}")

    def add_address(self, index: int, address: Address, prefix_length: int) -> None:
        self._change_address(RTM_NEWADDR, _NLM_F_CREATE | _NLM_F_EXCL, index, address, prefix_length)

    def delete_address(self, index: int, address: Address, prefix_length: int) -> None:
        self._change_address(RTM_DELADDR, 0, index, address, prefix_length)

    def addresses(self, index: int) -> list[tuple[Address, int]]:
        return [
            (_address(message, "IFA_LOCAL", "IFA_ADDRESS"), message["prefixlen"])
            for message in self._address_messages(socket.AF_UNSPEC)
            if message["index"] == index
        ]

    def is_local(self, address: Address) -> bool:
        route = self._route_to(address)
        return route is not None and route["type"] == _LOCAL

    def link_to(self, address: Address) -> int | None:
        route = self._route_to(address)
        return None if route is None else _number(route, "RTA_OIF") or None

    def _route_to(self, address: Address) -> nlmsg | None:
        """The kernel's choice for a packet to C{address}, by all its rules and tables."""
        message = rtmsg()
        message["family"] = _family(address)
        message["dst_len"] = 8 * len(address)
        message["attrs"] = [("RTA_DST", show_address(address))]
        try:
            (route, *_) = self._route.ask(message, RTM_GETROUTE, 0, f"route to {show_address(address)}")
        except OSError as error:
            if error.errno in _NO_WAY:
                return None
            raise
        return None if route["type"] in _REFUSING else route

    def ipv4_addresses(self) -> list[tuple[IPv4, int]]:
        return self._all_addresses(socket.AF_INET)

    def ipv6_addresses(self) -> list[tuple[IPv6, int]]:
        return self._all_addresses(socket.AF_INET6)

    def _all_addresses(self, family: int) -> list[tuple[Address, int]]:
        return [
            (_address(message, "IFA_LOCAL", "IFA_ADDRESS"), message["prefixlen"])
            for message in self._address_messages(family)
        ]

    def ways_out(self) -> list[tuple[int, IPv4, int]]:
        return self._ways_out(socket.AF_INET)

    def ipv6_ways_out(self) -> list[tuple[int, IPv6, int]]:
        return self._ways_out(socket.AF_INET6)

    def _ways_out(self, family: int) -> list[tuple[int, Address, int]]:
        message = rtmsg()
        message["family"] = family
        found = self._route.ask(message, RTM_GETROUTE, _NLM_F_DUMP, "routes")
        return sorted(
            (_number(route, "RTA_OIF"), _address(route, "RTA_GATEWAY"), _number(route, "RTA_PRIORITY"))
            for route in found
            if _leads_anywhere(route) and route["table"] == _MAIN_TABLE and not route["flags"] & _WITHOUT_CARRIER
        )

    def broadcasts(self) -> list[IPv4]:
        return broadcasts_of(self.ipv4_addresses())

    def add_route(
        self,
        destination: Address,
        prefix_length: int,
        index: int,
        metric: int | None = None,
        gateway: Address | None = None,
        table: int | None = None,
    ) -> None:
        message = _route(destination, prefix_length, index, metric, gateway, table)
        message["scope"] = _SCOPE_UNIVERSE if gateway or len(destination) > 4 else _SCOPE_LINK
        what = f"route {show_prefix(destination, prefix_length)}"
        self._route.ask(message, RTM_NEWROUTE, _NLM_F_CREATE | _NLM_F_EXCL, what)

    def delete_route(
        self,
        destination: Address,
        prefix_length: int,
        index: int,
        metric: int | None = None,
        gateway: Address | None = None,
        table: int | None = None,
    ) -> None:
        message = _route(destination, prefix_length, index, metric, gateway, table)
        message["scope"] = _SCOPE_NOWHERE  # any scope
        self._route.ask(message, RTM_DELROUTE, 0, f"route {show_prefix(destination, prefix_length)}")

    def routes_within(self, destination: Address, prefix_length: int) -> list[tuple[Address, int, int]]:
        message = rtmsg()
        message["family"] = _family(destination)
        found = [
            (_address(route, "RTA_DST"), int(route["dst_len"]), _number(route, "RTA_PRIORITY"))
            for route in self._route.ask(message, RTM_GETROUTE, _NLM_F_DUMP, "routes")
            if route["table"] == _MAIN_TABLE and route["family"] == _family(destination)
        ]
        return sorted(route for route in found if is_within((route[0], route[1]), (destination, prefix_length)))

    def routes(self, index: int) -> list[tuple[Address, int, int]]:
        message = rtmsg()
        message["family"] = socket.AF_UNSPEC  # pyroute2 would ask for IPv4 only
        found = self._route.ask(message, RTM_GETROUTE, _NLM_F_DUMP, "routes")
        return [
            (_address(route, "RTA_DST"), route["dst_len"], _number(route, "RTA_PRIORITY"))
            for route in found
            if route["proto"] == PROTOCOL and route.get_attr("RTA_OIF") == index
        ]

    def table_named(self, name: str) -> int | None:
        return table_named(name)

    def add_rule(self, source: IPv6, table: int, priority: int) -> None:
        self._change_rule(RTM_NEWRULE, _NLM_F_CREATE | _NLM_F_EXCL, source, table, priority)

    def delete_rule(self, source: IPv6, table: int, priority: int) -> None:
        self._change_rule(RTM_DELRULE, 0, source, table, priority)

    def _change_rule(self, kind: int, flags: int, source: IPv6, table: int, priority: int) -> None:
        message = fibmsg()
        message["family"] = socket.AF_INET6
        message["src_len"] = 8 * len(source)
        message["action"] = _LOOK_INTO_TABLE
        message["attrs"] = [
            ("FRA_SRC", show_address(source)),
            ("FRA_TABLE", table),
            ("FRA_PRIORITY", priority),
            ("FRA_PROTOCOL", PROTOCOL),
        ]
        self._route.ask(message, kind, flags, f"rule from {show_address(source)}")

    def rules(self) -> list[tuple[IPv6, int, int]]:
        message = fibmsg()
        message["family"] = socket.AF_INET6
        try:
            found = self._route.ask(message, RTM_GETRULE, _NLM_F_DUMP, "rules")
        except OSError as error:
            if error.errno in _NO_RULES:
                return []
            raise
        return [
            (_address(rule, "FRA_SRC"), _number(rule, "FRA_TABLE"), _number(rule, "FRA_PRIORITY"))
            for rule in found
            if _number(rule, "FRA_PROTOCOL") == PROTOCOL
        ]

    def remove_leftovers(self) -> list[IPv6]:
        own = {address for address, _ in self.ipv6_addresses()}
        leftovers = [rule for rule in self.rules() if rule[0] not in own]
        for rule in leftovers:
            self.delete_rule(*rule)
        return [source for source, _, _ in leftovers]

    def add_veth(self, name: str, peer_name: str, peer_namespace: str) -> None:
        what = f"interfaces {name} and {peer_name}"
        with naming(what):
            namespace = os.open(path_of(peer_namespace), os.O_RDONLY | os.O_CLOEXEC)
        try:
            message = ifinfmsg()
            message["attrs"] = _veth(name, peer_name, namespace)
            self._route.ask(message, RTM_NEWLINK, _NLM_F_CREATE | _NLM_F_EXCL, what)
        finally:
            os.close(namespace)

    def delete_link(self, name: str) -> None:
        message = ifinfmsg()
        message["attrs"] = [("IFLA_IFNAME", name)]
        self._route.ask(message, RTM_DELLINK, 0, f"interface {name}")

    def set_sysctl(self, path: str, value: str | int) -> None:
        if ".." in path.split("/"):
            raise refused(EINVAL, f"sysctl {path}")
        # /proc/sys/net shows the network namespace of whoever opens it.
        with naming(f"sysctl {path}"), entered(self._namespace), open(f"/proc/sys/{path}", "w") as variable:
            variable.write(str(value))

    def get_sysctl(self, path: str) -> str:
        return self._openings.sysctl(path)

    def set_transmit_checksum_offload(self, name: str, on: bool) -> None:
        command = array.array("I", [_ETHTOOL_STXCSUM, on])
        request = struct.pack("16sP16x", name.encode(), command.buffer_info()[0])
        with naming(f"checksum offload of {name}"), entered(self._namespace), _ioctl_socket() as carrier:
            ioctl(carrier, _SIOCETHTOOL, request)

    def watch(self, changed: Callable[[], None]) -> IWatch:
        from miredo.kernel.watch import NetworkWatch  # brings Twisted, which the privileged child has not

        assert self._reactor is not None
        with naming("watch of the network"):
            watch = NetworkWatch(changed, self._reactor, self._openings.netlink(news=True))
        self._watches.append(watch)
        return watch

    def close(self) -> None:
        while self._watches:
            self._watches.pop().close()
        self._route.close()

    def _change_link(self, message: ifinfmsg) -> None:
        self._route.ask(message, RTM_NEWLINK, 0, f"interface {message['index']}")

    def _change_address(self, kind: int, flags: int, index: int, address: Address, prefix_length: int) -> None:
        message = ifaddrmsg()
        message["index"] = index
        message["family"] = _family(address)
        message["prefixlen"] = prefix_length
        text = show_address(address)
        attributes: list[tuple[str, object]] = [("IFA_ADDRESS", text), ("IFA_PROTO", PROTOCOL)]
        if len(address) == 4:
            attributes.append(("IFA_LOCAL", text))
        else:
            attributes.append(("IFA_FLAGS", _IFA_F_NODAD))
        message["attrs"] = attributes
        self._route.ask(message, kind, flags, f"address {show_prefix(address, prefix_length)}")

    def _address_messages(self, family: int) -> list[nlmsg]:
        message = ifaddrmsg()
        message["family"] = family
        return self._route.ask(message, RTM_GETADDR, _NLM_F_DUMP, "addresses")


def _ioctl_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


def _link(index: int, flags: int) -> ifinfmsg:
    message = ifinfmsg()
    message["index"] = index
    message["flags"] = flags
    message["change"] = _IFF_UP
    return message


def _veth(name: str, peer_name: str, peer_namespace: int) -> list[tuple[str, object]]:
    peer = {"attrs": [("IFLA_IFNAME", peer_name), ("IFLA_NET_NS_FD", peer_namespace)]}
    information = [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})]
    return [("IFLA_IFNAME", name), ("IFLA_LINKINFO", {"attrs": information})]


def _route(
    destination: Address,
    prefix_length: int,
    index: int,
    metric: int | None,
    gateway: Address | None,
    table: int | None,
) -> rtmsg:
    message = rtmsg()
    message["family"] = _family(destination)
    message["dst_len"] = prefix_length
    message["table"] = _MAIN_TABLE if table is None else _ELSEWHERE
    message["proto"] = PROTOCOL
    message["type"] = _UNICAST
    attributes: list[tuple[str, object]] = [("RTA_DST", show_address(destination)), ("RTA_OIF", index)]
    if metric is not None:
        attributes.append(("RTA_PRIORITY", metric))
    if gateway is not None:
        attributes.append(("RTA_GATEWAY", show_address(gateway)))
    if table is not None:
        attributes.append(("RTA_TABLE", table))
    message["attrs"] = attributes
    return message


def _leads_anywhere(route: nlmsg) -> bool:
    """Whether this is a default route, and not one that refuses."""
    place = _address(route, "RTA_DST"), route["dst_len"]
    return route["type"] == _UNICAST and (route["dst_len"] == 0 or place == (GLOBAL_UNICAST, 3))


def _family(address: Address) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def _address(message: nlmsg, *names: str) -> Address:
    for name in names:
        text = message.get_attr(name)
        if isinstance(text, str):
            return parse_ipv6(text) if ":" in text else parse_ipv4(text)
    # A default route has no RTA_DST.
    return bytes(4 if message["family"] == socket.AF_INET else 16)


def _number(message: nlmsg, name: str) -> int:
    value = message.get_attr(name)
    return value if isinstance(value, int) else 0
