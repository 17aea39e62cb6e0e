# SPDX-License-Identifier: MIT
"""Ask a Teredo server for an address and print it: python qualify.py SERVER"""

import sys

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import react

from miredo.service.embedding import TeredoClient


async def main(reactor: IReactorTime, server: str) -> None:
    client = TeredoClient(server, reactor=reactor)
    try:
        connectivity = await client.start().addTimeout(13, reactor)
    except defer.TimeoutError:
        raise SystemExit(f"{server} does not answer") from None
    finally:
        await client.stop()
    host, port = connectivity.mapped
    print(f"Teredo address {connectivity.address}")
    print(f"seen as {host} port {port}")


if len(sys.argv) != 2:
    raise SystemExit("usage: qualify.py SERVER")
react(main, sys.argv[1:])
