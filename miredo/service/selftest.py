# SPDX-License-Identifier: MIT
"""Whether datagrams reach a port of ours: one is sent to it from another socket of the same namespace.

It goes by the loopback link, as all that a host sends to itself. So a packet filter that drops by port is found, and
one that takes everything from the loopback is not, nor one anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.protocol import DatagramProtocol

from miredo.address.endpoint import Dice, IPv4, show_ipv4
from miredo.kernel.interfaces import IClock, IEndpoints, INetwork
from miredo.service.diagnosis import Finding

PATIENCE = 1.0
"""Seconds that a datagram may take to this very host. Ours."""
MARK = b"miredo self-test "
"""What it begins with, for people who capture it; as Teredo it would be malformed, were it ever to get that far."""
ANY, LOOPBACK = bytes(4), b"\x7f\0\0\1"


class _Sender(DatagramProtocol):
    noisy = False

    def logPrefix(self) -> str:
        return "self-test"


class SelfTest:
    """One test of one port. While it runs, what the port receives passes by here; its datagram goes no further.

    @param reached: is told how it ended, unless L{end} came first.
    """

    def __init__(
        self,
        protocol: DatagramProtocol,
        endpoints: IEndpoints,
        clock: IClock,
        dice: Dice,
        reached: Callable[[bool], None],
    ) -> None:
        self._protocol = protocol
        self._token = MARK + dice(16)
        self._reached = reached
        self._clock = clock
        self._alarm = clock.alarm(lambda: self._ended(reached=False))
        self.sender: IUDPTransport = endpoints.listen_udp(_Sender(), show_ipv4(ANY), 0)

    def begin(self, to: tuple[str, int]) -> None:
        """Send it."""
        receive = self._protocol.datagramReceived

        def received(datagram: bytes, address: tuple[str, int]) -> None:
            if datagram == self._token:
                self._ended(reached=True)
            else:
                receive(datagram, address)

        vars(self._protocol)["datagramReceived"] = received
        self._alarm.arm(self._clock.now() + PATIENCE)
        try:
            self.sender.write(self._token, to)
        except OSError:  # as a packet filter may have it: then it does not arrive either
            self._alarm.arm(self._clock.now())

    def end(self) -> None:
        """Leave the port as it was. Twice is once."""
        self._alarm.cancel()
        vars(self._protocol).pop("datagramReceived", None)

    def _ended(self, *, reached: bool) -> None:
        self.end()
        self._reached(reached)


def stopped(port: IUDPTransport) -> object:
    """Close a port; what to wait for, if anything."""
    return IListeningPort(port).stopListening()


def place_of(transport: IUDPTransport, network: INetwork) -> tuple[str, int] | None:
    """Where to send to, so that it comes to a port that may be open on every address; None: no test can tell."""
    loopback = network.index_of("lo")
    if loopback is None or not network.is_up(loopback):
        return None  # as in a fresh network namespace, where a host cannot send to itself
    host = transport.getHost()
    return (show_ipv4(_own_address(network)) if host.host == show_ipv4(ANY) else host.host), int(host.port)


def _own_address(network: INetwork) -> IPv4:
    """The address that others would use, as near as can be guessed."""
    outward = [address for index, _, _ in network.ways_out() for address, _ in network.addresses(index)]
    others = [address for address, _ in network.ipv4_addresses() if address[0] != LOOPBACK[0]]
    return next((one for one in (*outward, *others) if len(one) == 4 and network.is_local(one)), LOOPBACK)


def unreached(to: tuple[str, int]) -> Finding:
    """What it means when nothing came."""
    what = f"datagrams to UDP {to[0]} port {to[1]} do not arrive, not even from this host"
    return Finding(what, f"have the packet filter of this host accept UDP port {to[1]} (nft list ruleset shows it)")
