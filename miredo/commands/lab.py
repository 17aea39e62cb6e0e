# SPDX-License-Identifier: MIT
"""C{./x lab}: what can be done in a lab that C{./x demo --keep} has left up, and with many labs at once."""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys
import time

from miredo.commands import nats
from miredo.lab.pings import Pings
from miredo.lab.visiting import KeptLab, NoLab, find
from miredo.wire.icmpv6 import emit_icmpv6_body

ECHO_REPLY, ECHO_HEADER = 129, 8
LONGEST = 2048
PATIENCE = 10.0
"""Seconds that a ping waits: more than a packet waits for its peer."""
INTERVAL = 0.2
"""Seconds between pings."""


def main(words: list[str] | None = None) -> int:
    """Run it; the exit status."""
    options = parser().parse_args(words)
    if options.verb == "nats":
        return nats.survey(options)
    try:
        lab = find()
        if options.verb == "shell":
            return shell(lab, options.node, options.command)
        return ping(lab, options.source, options.destination, options.count)
    except NoLab as error:
        print(f"lab: {error}", file=sys.stderr)
    except OSError as error:
        print(f"lab: {error.strerror or error}", file=sys.stderr)
    return 1


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="./x lab", description="shell, ping: in a lab that ./x demo --keep has left up."
    )
    verbs = arguments.add_subparsers(dest="verb", required=True)
    shell = verbs.add_parser("shell", help="a shell, or a command, in a node's network namespace")
    shell.add_argument("node")
    shell.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    ping = verbs.add_parser("ping", help="echo requests from one node to another")
    ping.add_argument("source", metavar="FROM")
    ping.add_argument("destination", metavar="TO")
    ping.add_argument("-c", "--count", type=int, default=3, metavar="N")
    nats.add_arguments(verbs.add_parser("nats", help="the first packet both ways through every NAT, as a table"))
    return arguments


def shell(lab: KeptLab, node: str, command: list[str]) -> int:
    """Become a shell there; its prompt names the node, if it takes PS1."""
    lab.enter(node)
    words = command or [os.environ.get("SHELL", "/bin/sh")]
    try:
        os.execvpe(words[0], words, {**os.environ, "PS1": f"{node}# "})
    except OSError as error:
        raise NoLab(f"{words[0]}: {error.strerror}") from error


def ping(lab: KeptLab, source: str, destination: str, count: int) -> int:
    """Send echo requests; 0 if each was answered."""
    address = lab.address_of(destination)
    lab.enter(source)
    pings = Pings(os.urandom)
    answered = 0
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        for number in range(count):
            sent, request = pings.request(time.monotonic())
            raw.sendto(emit_icmpv6_body(request), (address, 0))
            end = sent.sent + PATIENCE
            while sent.answered is None and select.select([raw], [], [], max(0.0, end - time.monotonic()))[0]:
                message = raw.recv(LONGEST)
                if message[:1] == bytes([ECHO_REPLY]):
                    pings.replied(message[ECHO_HEADER:], time.monotonic())
            answered += sent.answered is not None
            took = "no answer" if sent.rtt is None else f"{sent.rtt * 1000:.1f} ms"
            print(f"{source} -> {destination} ({address}): {took}", flush=True)
            if number + 1 < count:
                time.sleep(INTERVAL)
    print(f"{answered} of {count} answered")
    return 0 if answered == count else 1


if __name__ == "__main__":
    sys.exit(main())
