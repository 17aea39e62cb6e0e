# SPDX-License-Identifier: MIT
"""
What the rest of the program may ask of the operating system.

Every interface has two implementations that pass the same tests: the kernel (L{miredo.kernel.clock},
L{miredo.kernel.endpoints} and what they open) and memory (L{miredo.kernel.memory}).
What is refused raises C{OSError} with an C{errno} and a text that names the thing, except for packets:
a packet that the kernel refuses is answered with C{False}, for the caller to count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IUDPTransport
    from twisted.internet.protocol import DatagramProtocol

    from miredo.address.endpoint import IPv4, IPv6
    from miredo.kernel.hookprogram import HookEnded


class IAlarm(Interface):
    """One deadline that can be moved."""

    def arm(deadline: float | None) -> None:
        """
        Ring at C{deadline}, in seconds of the clock that made this alarm; C{None} disarms.

        A deadline replaces the one before. One that has passed rings as soon as possible, never inside this call.
        """

    def cancel() -> None:
        """Disarm for good and give back what the alarm holds. Twice is once."""


class IClock(Interface):
    """The one clock of the protocol: it goes on while the machine sleeps and knows no steps of the wall clock."""

    def now() -> float:
        """Seconds of CLOCK_BOOTTIME."""

    def alarm(ring: Callable[[], None]) -> IAlarm:
        """An alarm, not armed yet, that calls C{ring} each time its deadline has come."""

    def resumed(notify: Callable[[], None]) -> Callable[[], None]:
        """
        Call C{notify} as soon as the machine wakes from a suspension, and before any alarm rings.

        @return: a call that takes this wish back.
        """


class ITunnel(Interface):
    """A TUN device; it exists as long as this object is open."""

    name: str = Attribute("The interface's name.")
    index: int = Attribute("The interface's index.")

    def start(receive: Callable[[bytes], None]) -> None:
        """
        Begin to read: each packet that the kernel routes into the device is given to C{receive}, 64 a wake-up at most.

        That is any packet: IPv6, and IPv4 too if the device has an IPv4 address or route.
        """

    def write(packet: bytes) -> bool:
        """Let C{packet} arrive from the device; C{False}: the kernel refuses it (malformed, device down or closed)."""

    def close() -> None:
        """Let the device disappear, with its addresses and routes. Twice is once."""


class IRawIPv6(Interface):
    """Sends IPv6 packets with any source address."""

    def send(packet: bytes) -> bool:
        """Send a whole IPv6 packet, header first, unchanged; C{False} if the kernel refuses it."""

    def close() -> None:
        """Give back the socket. Twice is once."""


class IICMPv6(Interface):
    """Sends ICMPv6 messages of this node."""

    def send(message: bytes, destination: IPv6) -> bool:
        """
        Send C{message}, from its type on; the kernel picks the source address and fills the checksum.

        @return: C{False} if the kernel refuses it.
        """

    def close() -> None:
        """Give back the socket. Twice is once."""


class ITimesToLive(Interface):
    """A UDP port that gives a single datagram another TTL; the stock one does not provide it, nor need it."""

    def write_with_ttl(packet: bytes, addr: tuple[str, int], ttl: int) -> None:
        """As C{write}, with another TTL (1 to 255) in this datagram's IPv4 header and in no other's."""


class IICMPErrors(Interface):
    """Hears the ICMP errors that come to this node over IPv4."""

    def close() -> None:
        """Hear no more. Twice is once."""


class IGroup(Interface):
    """An IPv4 multicast group, on chosen links of a namespace; on none at first."""

    def attend(links: Mapping[int, IPv4]) -> list[int]:
        """
        Be a member on these links, and on no other.

        @param links: by the index of each, an address of ours that it has.
        @return: the indices of those where the kernel lets us.
        """

    def send(datagram: bytes) -> bool:
        """
        Send to the group on every link where we are a member: with TTL 1, from our address there and the port that
        L{IEndpoints.join_group} was given; not to this host itself.

        @return: C{False} if it could not leave on one of them.
        """

    def close() -> None:
        """Leave the group. Twice is once."""


class IWatch(Interface):
    """Somebody who wants to hear of changes."""

    def close() -> None:
        """Hear no more. Twice is once."""


class INetwork(Interface):
    """
    The links, addresses, routes and rules of one network namespace.

    What this object adds carries the program's own L{protocol number<miredo.kernel.netlink.PROTOCOL>}; it deletes only
    routes and rules that carry it. Nothing here blocks: the kernel has answered when the call returns.
    """

    def index_of(name: str) -> int | None:
        """The index of the link C{name}, if there is one."""

    def is_shared(index: int) -> bool:
        """Whether a link has room for more than two, as Ethernet has: that it can broadcast."""

    def links() -> list[str]:
        """The names of all links."""

    def is_running(index: int) -> bool:
        """Whether a link carries packets: that it is up and has a carrier, as the kernel has noticed by now."""

    def is_up(index: int) -> bool:
        """Whether a link is set up, whatever its carrier."""

    def set_up(index: int, mtu: int | None = None) -> None:
        """Set a link up, with another MTU if one is given."""

    def set_down(index: int) -> None:
        """Set a link down; its routes and IPv6 addresses go."""

    def add_address(index: int, address: IPv4 | IPv6, prefix_length: int) -> None:
        """Give a link an address, without duplicate address detection; L{is_local} tells when it is usable."""

    def delete_address(index: int, address: IPv4 | IPv6, prefix_length: int) -> None:
        """Take an address from a link."""

    def addresses(index: int) -> list[tuple[IPv4 | IPv6, int]]:
        """The addresses of a link, each with its prefix length."""

    def is_local(address: IPv4 | IPv6) -> bool:
        """Whether packets for C{address} are taken here; a new IPv6 address takes the kernel a moment."""

    def link_to(address: IPv4 | IPv6) -> int | None:
        """The index of the link that a packet for C{address} leaves by; C{None}: there is no way to it."""

    def ipv4_addresses() -> list[tuple[IPv4, int]]:
        """The IPv4 addresses of all links, the loopback's too, each with its prefix length."""

    def ipv6_addresses() -> list[tuple[IPv6, int]]:
        """The IPv6 addresses of all links, the loopback's too, each with its prefix length."""

    def ways_out() -> list[tuple[int, IPv4, int]]:
        """The IPv4 default routes whose link has its carrier: link index, gateway (0.0.0.0: none), metric; sorted."""

    def ipv6_ways_out() -> list[tuple[int, IPv6, int]]:
        """The IPv6 default routes, 2000::/3 among them; as L{ways_out}."""

    def broadcasts() -> list[IPv4]:
        """The directed broadcast address of each attached IPv4 subnet that has one (prefix length 30 or less)."""

    def add_route(
        destination: IPv4 | IPv6,
        prefix_length: int,
        index: int,
        metric: int | None = None,
        gateway: IPv4 | IPv6 | None = None,
        table: int | None = None,
    ) -> None:
        """
        Route a prefix into a link. Without a metric the kernel takes its default, 0 for IPv4 and 1024 for IPv6; without
        a table it is the main one.
        """

    def delete_route(
        destination: IPv4 | IPv6,
        prefix_length: int,
        index: int,
        metric: int | None = None,
        gateway: IPv4 | IPv6 | None = None,
        table: int | None = None,
    ) -> None:
        """Take back what L{add_route} added with the same arguments."""

    def routes_within(destination: IPv4 | IPv6, prefix_length: int) -> list[tuple[IPv4 | IPv6, int, int]]:
        """The routes to a prefix and to parts of it, whosever they are: destination, prefix length, metric; sorted.

        Two to the same prefix have different metrics.
        """

    def routes(index: int) -> list[tuple[IPv4 | IPv6, int, int]]:
        """The routes of this program into a link, in any table: destination, prefix length and metric of each."""

    def table_named(name: str) -> int | None:
        """The routing table that iproute2 has under C{name} in its rt_tables, if there is one."""

    def add_rule(source: IPv6, table: int, priority: int) -> None:
        """Have packets from C{source} look into a table; among rules the lowest priority number comes first."""

    def delete_rule(source: IPv6, table: int, priority: int) -> None:
        """Take back what L{add_rule} added with the same arguments."""

    def rules() -> list[tuple[IPv6, int, int]]:
        """The rules of this program: source, table and priority of each."""

    def remove_leftovers() -> list[IPv6]:
        """
        Delete the rules of this program whose source no link has any more: whoever added them was killed.

        Its addresses and routes went with its tunnel.

        @return: the sources.
        """

    def add_veth(name: str, peer_name: str, peer_namespace: str) -> None:
        """Make a pair of joined Ethernet links: C{name} here, C{peer_name} in the namespace C{peer_namespace}."""

    def delete_link(name: str) -> None:
        """Delete a link, and with one end of a pair the other."""

    def set_sysctl(path: str, value: str | int) -> None:
        """Set a variable of this namespace; C{path} as below /proc/sys, such as C{net/ipv6/conf/all/forwarding}."""

    def get_sysctl(path: str) -> str:
        """What L{set_sysctl} sets, without white space around it; ENOENT if there is no such variable."""

    def set_transmit_checksum_offload(name: str, on: bool) -> None:
        """Off: packets leave the link with their checksums filled in, so a capture shows them right."""

    def watch(changed: Callable[[], None]) -> IWatch:
        """Call C{changed} after links, addresses or routes have changed, once for a burst of changes."""

    def close() -> None:
        """Give back the socket, and close every watch. Twice is once."""


class IHook(Interface):
    """A program of the administrator's that is told of changes, in the network namespace of a role."""

    path: str = Attribute("The program.")

    def check() -> None:
        """
        Refuse, as far as can be seen from here, what L{run} would refuse.

        @raise OSError: it is not there, cannot be executed, or others than root could have written it.
        """

    def run(environment: Mapping[str, str]) -> Deferred[HookEnded]:
        """
        Run it beside the reactor: one at a time, in the order of the calls, each for a minute at most. Never fails.

        @param environment: all that it gets, but for a PATH.
        """


class IEndpoints(Interface):
    """Opens everything that a role needs of one network namespace."""

    namespace: str | None = Attribute("The name of the namespace; C{None} is the one of the process.")

    def listen_udp(protocol: DatagramProtocol, address: str, port: int) -> IUDPTransport:
        """
        Bind C{protocol} to a UDP port, with DF clear in what it sends (RFC 4380 5.1.2 has the IPv4 packets fragmented).

        The port is the stock Twisted one: its C{write} raises C{OSError} for what the kernel refuses and
        C{MessageLengthError} for what no datagram can hold; C{stopListening} ends it.
        L{miredo.kernel.sockets.write_with_ttl} sends through it with another TTL.

        @param address: a dotted quad; C{0.0.0.0} is every address of the namespace.
        @param port: 0 lets the kernel choose; C{getHost()} of the result tells what it chose.
        """

    def open_tunnel(name: str, mtu: int) -> ITunnel:
        """Make a TUN device, up and without any address. A C{name} that exists already is refused."""

    def check_tunnel(name: str) -> None:
        """Refuse what L{open_tunnel} would refuse, as far as that can be known without making the device."""

    def raw_ipv6() -> IRawIPv6:
        """Open a sender of whole IPv6 packets."""

    def icmpv6() -> IICMPv6:
        """Open a sender of ICMPv6 messages."""

    def icmp_errors(receive: Callable[[bytes], None]) -> IICMPErrors:
        """
        Give each ICMP Destination Unreachable (RFC 792) that comes over IPv4 to C{receive}: the whole packet, its IPv4
        header first. Anybody can send one.
        """

    def join_group(
        port: IUDPTransport, group: str, number: int, receive: Callable[[bytes, tuple[str, int]], None]
    ) -> IGroup:
        """
        Hear a multicast group at the UDP port C{number}: what comes there by the group, and in no other way, is given
        to C{receive} with the address and port that it came from.

        Several may, and whoever has that port of a unicast address is not in the way; who has it of all addresses is.

        @param port: what L{listen_udp} gave, for sending.
        @param group: a dotted quad.
        """

    def network() -> INetwork:
        """Open the links, addresses and routes of the namespace."""

    def hook(path: str) -> IHook:
        """The hook whose program is C{path}, to work in this namespace."""

    def open_file(path: str) -> int:
        """
        A descriptor to read a file with, which the caller closes; C{path} is as at the start, whatever root
        directory the process has got since.

        @raise OSError: EISDIR, it is a directory; EINVAL, it is something else that is no file; or as open(2).
        """

    def read_file(path: str, limit: int) -> bytes:
        """The first C{limit} bytes of a file, as L{open_file}."""

    def open_record(path: str) -> tuple[bool, int]:
        """
        Open the file of a recording, which its owner alone may read.

        @return: whether it was made, and a descriptor to write it with, which the caller closes.
        @raise OSError: EEXIST, there is a file that is neither empty nor a recording; or as open(2).
        """

    def discard_record(path: str, descriptor: int) -> None:
        """Remove the file that L{open_record} made, unless the path means another one by now."""
