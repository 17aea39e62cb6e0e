# SPDX-License-Identifier: MIT
"""The same without Twisted, on a plain socket: python qualify_sansio.py SERVER"""

import os
import sys
from ipaddress import IPv4Address, IPv6Address
from select import select
from socket import AF_INET, SOCK_DGRAM, socket
from time import CLOCK_BOOTTIME, clock_gettime

from miredo.address.endpoint import endpoint, ipv4_of, parse_ipv4, port_of, show_endpoint, show_ipv4
from miredo.address.scope import IPv4Scope
from miredo.teredo.actions import Qualified, SendDatagram
from miredo.teredo.client import Client
from miredo.teredo.qualification import Server


def now() -> float:
    return clock_gettime(CLOCK_BOOTTIME)


def qualify(client: Client, udp: socket) -> Qualified:
    actions = client.start(now())
    while True:
        for action in actions:
            match action:
                case SendDatagram(payload, to):
                    udp.sendto(payload, (show_ipv4(ipv4_of(to)), port_of(to)))
                case Qualified():
                    return action
        left = None if client.deadline is None else max(0.0, client.deadline - now())
        if select([udp], [], [], left)[0]:
            datagram, (host, port) = udp.recvfrom(65535)
            actions = client.receive(datagram, endpoint(parse_ipv4(host), port), now())
        else:
            actions = client.expire(now())


if len(sys.argv) != 2:
    raise SystemExit("usage: qualify_sansio.py SERVER")
server = IPv4Address(sys.argv[1])
client = Client([Server(server.packed, (server + 1).packed)], IPv4Scope(), os.urandom)
with socket(AF_INET, SOCK_DGRAM) as udp:
    qualified = qualify(client, udp)
print(f"Teredo address {IPv6Address(qualified.address)}")
print(f"seen as {show_endpoint(qualified.mapped)}")
