# SPDX-License-Identifier: MIT
"""The Teredo echo responder: its public C{DatagramProtocol} and its service."""

from __future__ import annotations

from miredo.address.endpoint import endpoint, parse_ipv4, show_ipv6
from miredo.config import MireConfig
from miredo.kernel.interfaces import IClock, INetwork
from miredo.service.protocols import Address, TeredoProtocol
from miredo.service.roles import RoleService
from miredo.service.surroundings import Observer, Sent
from miredo.teredo.mire import CLIENT_PORT, SERVER_PORT, Mire


class TeredoMireProtocol(TeredoProtocol):
    """One of the two ports of an echo responder; L{pair} makes both.

    @param port: which port of the core this is.
    """

    def __init__(self, role: str, core: Mire, port: int, clock: IClock, observer: Observer | None = None) -> None:
        super().__init__(role, clock, observer)
        self.core = core
        self._port = port
        self._answering: TeredoMireProtocol = self

    @classmethod
    def pair(
        cls, role: str, core: Mire, clock: IClock, observer: Observer | None = None
    ) -> tuple[TeredoMireProtocol, TeredoMireProtocol]:
        """The protocols of port 3544 and of port 3545, which answers for both."""
        asked, answering = (cls(role, core, port, clock, observer) for port in (SERVER_PORT, CLIENT_PORT))
        asked._answering = answering
        return asked, answering

    def datagramReceived(self, datagram: bytes, address: Address) -> None:
        answer = self.core.receive(datagram, endpoint(parse_ipv4(address[0]), address[1]), self._port)
        if answer is None:
            return
        if self._observer is not None:
            self._observer(Sent(self.role, self._clock.now(), answer.payload, answer.to))
        self._answering._send(answer.payload, answer.to)


class TeredoMireService(RoleService[MireConfig]):
    """A Teredo echo responder; it does not answer the addresses of its own host."""

    def open(self, network: INetwork) -> None:
        del network
        config, around = self.config, self._surroundings
        self.core = Mire(config.bind_address, self._scope)
        self.protocols = TeredoMireProtocol.pair(config.title, self.core, around.clock, around.observer)
        for protocol, port in zip(self.protocols, (SERVER_PORT, CLIENT_PORT), strict=True):
            self.listen(protocol, config.bind_address, port, "BindAddress")

    def startService(self) -> None:
        super().startService()
        self._log.info(
            "{role}: Teredo echo responder started (address: {address})",
            role=self.name,
            address=show_ipv6(self.core.address),
        )
