# SPDX-License-Identifier: MIT
"""Ping an IPv6 host over Teredo, without a tunnel interface: python ping.py SERVER HOST"""

import os
import sys
from ipaddress import IPv6Address

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import react

from miredo.service.embedding import TeredoClient
from miredo.wire.icmpv6 import DestinationUnreachable, EchoReply, EchoRequest, emit_icmpv6, parse_icmpv6
from miredo.wire.ipv6 import ICMPV6, next_header_of, parse_ipv6


async def main(reactor: IReactorTime, server: str, host: str) -> None:
    request = EchoRequest(identifier=1, sequence=1, data=os.urandom(16))
    outcome: Deferred[str] = Deferred()

    def deliver(packet: bytes) -> None:
        if next_header_of(packet) != ICMPV6 or outcome.called:
            return
        match parse_icmpv6(parse_ipv6(packet)[0]):
            case EchoReply(data=request.data):
                outcome.callback("answers")
            case DestinationUnreachable():
                outcome.callback("is unreachable")

    client = TeredoClient(server, deliver=deliver, reactor=reactor)
    try:
        own = (await client.start().addTimeout(13, reactor)).address
        client.send(emit_icmpv6(own.packed, IPv6Address(host).packed, request, hop_limit=64))
        print(f"{host} {await outcome}")
    finally:
        await client.stop()


if len(sys.argv) != 3:
    raise SystemExit("usage: ping.py SERVER HOST")
react(main, sys.argv[1:])
