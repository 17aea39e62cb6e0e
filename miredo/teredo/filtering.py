# SPDX-License-Identifier: MIT
"""Whether a NAT lets in what comes from an address that was not sent to (RFC 4787 5), for who asks.

A solicitation with the cone bit set is answered from the server's other address (RFC 4380 5.2.1, 5.3.2). It leaves a
port of its own, which is closed afterwards (ours), for three reasons:

  - the service port sends to the other address itself, to learn of the mapping, and so lets it in;
  - an answer that is refused may, in a Linux masquerade, take the port that this very probe has asked with, and the
    next packet to that address gets another one;
  - whatever comes of it is never an address of ours (RFC 5991 3.2).

It tells of the NAT, and not of a service port that the NAT forwards.
"""

from __future__ import annotations

from miredo.address.endpoint import Dice, Endpoint
from miredo.teredo.actions import FILTERING_PORT, Action, ClosePort, Filtering, OpenPort, SendDatagram
from miredo.teredo.constants import REFRESH_INTERVAL
from miredo.teredo.drops import Drop
from miredo.teredo.qualification import Qualification, Soliciting, server_endpoint
from miredo.teredo.qualification import Server as ServerAddresses
from miredo.teredo.security import Credential
from miredo.wire.encapsulation import parse_encapsulation
from miredo.wire.reader import MalformedPacket


class FilteringProbe:
    """Three solicitations, 4 s each, and what came of the last probe.

    @param credential: what is shared with the servers.
    """

    def __init__(self, dice: Dice, credential: Credential | None) -> None:
        self._cone = Qualification([], dice, REFRESH_INTERVAL, credential, diagnosing=False, cone=True)
        self._seen = Filtering.NOT_MEASURED

    @property
    def under_way(self) -> bool:
        return isinstance(self._cone.state, Soliciting)

    @property
    def deadline(self) -> float | None:
        return self._cone.deadline

    def begin(self, server: ServerAddresses, now: float) -> list[Action]:
        """Ask; a probe that is under way is given up."""
        closed = self.abandon()
        self._cone.use_servers([server])
        return [*closed, OpenPort(FILTERING_PORT), *self._through(self._cone.start(now))]

    def abandon(self) -> list[Action]:
        """Forget all."""
        self._seen = Filtering.NOT_MEASURED
        return self._close() if self.under_way else []

    def expire(self, now: float) -> list[Action]:
        """The L{deadline} may have passed."""
        if self.deadline is None or self.deadline > now:
            return []
        actions = self._through(self._cone.expire(now))
        return actions if self.under_way else self._end(Filtering.ENDPOINT_DEPENDENT)

    def receive(self, datagram: bytes, outer: Endpoint, now: float) -> list[Action] | Drop:
        """A datagram came to the port: actions, or the reason to drop it."""
        try:
            encapsulated = parse_encapsulation(datagram)
        except MalformedPacket:
            return Drop.MALFORMED
        answer = self._cone.advertised(encapsulated, outer, now)
        if isinstance(answer, Drop):
            return answer
        # A server that answers from the address that was asked does not know the cone bit, and shows nothing.
        from_the_other = outer == server_endpoint(self._cone.server.secondary)
        return self._end(Filtering.ENDPOINT_INDEPENDENT if from_the_other else Filtering.NOT_SEEN)

    def seen(self, *, other_address_lives: bool) -> Filtering:
        """What it tells. Silence is the NAT's only if the server's other address answers who has asked itself."""
        silent = self._seen is Filtering.ENDPOINT_DEPENDENT and not other_address_lives
        return Filtering.NOT_SEEN if silent else self._seen

    def _through(self, actions: list[Action]) -> list[Action]:
        return [action._replace(via=FILTERING_PORT) for action in actions if isinstance(action, SendDatagram)]

    def _end(self, seen: Filtering) -> list[Action]:
        self._seen = seen
        return self._close()

    def _close(self) -> list[Action]:
        self._cone.stop()
        return [ClosePort(FILTERING_PORT)]
