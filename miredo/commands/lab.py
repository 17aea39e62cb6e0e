# SPDX-License-Identifier: MIT
"""C{./x lab}: what can be done in a lab that C{./x demo --keep} has left up, and with many labs at once."""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys
import time
from contextlib import suppress

from miredo.commands import nats
from miredo.commands.output import say
from miredo.lab.pings import Pings
from miredo.lab.plan import SHOWN
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
        lab = find(options.lab)
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
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("--lab", type=int, metavar="PID", help="the process of the lab, where several are up")
    nodes = f"a node: {', '.join(SHOWN)}"
    shell = verbs.add_parser("shell", help="a shell, or a command, in a node's network namespace", parents=[which])
    shell.add_argument("node", metavar="NODE", help=nodes)
    shell.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="usually $SHELL")
    ping = verbs.add_parser("ping", help="echo requests from one node to another", parents=[which])
    ping.add_argument("source", metavar="FROM", help=nodes)
    ping.add_argument("destination", metavar="TO", help="another one")
    ping.add_argument("-c", "--count", type=_count, default=3, metavar="N", help="so many echo requests; usually 3")
    nats.add_arguments(verbs.add_parser("nats", help="the first packet both ways through every NAT, as a table"))
    return arguments


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 on")
    return int(text)


def shell(lab: KeptLab, node: str, command: list[str]) -> int:
    """Become a shell there; its prompt names the node, if it takes PS1."""
    here = os.getcwd()
    lab.enter(node)
    with suppress(OSError):  # which is not there in the lab: below /run, say
        os.chdir(here)
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
            say(f"{source} -> {destination} ({address}): {took}")
            if number + 1 < count:
                time.sleep(INTERVAL)
    say(f"{answered} of {count} answered")
    return 0 if answered == count else 1


if __name__ == "__main__":
    sys.exit(main())
