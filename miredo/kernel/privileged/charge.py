# SPDX-License-Identifier: MIT
"""What a privileged child is told at its start, while whom it serves is still root."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from miredo.kernel.privileged.boxes import Box, MalformedBox, receive, send
from miredo.kernel.privileged.commands import text

if TYPE_CHECKING:
    import socket


@dataclass(frozen=True)
class Charge:
    """
    What the child needs to know, to know what it may do.

    @ivar program: C{miredo} or C{miredo-server}, which decides what a classic file means.
    @ivar file: the absolute path of the configuration; C{None}: it has no file that could be read again.
    @ivar text: the configuration as the program has parsed it.
    @ivar server_name: the server of the command line.
    @ivar pid_file: is removed at the end, if it is still the file that it is now.
    @ivar hook: the absolute path of the hook of clients whose configuration names none.
    """

    program: str
    file: str | None
    text: bytes
    server_name: str | None = None
    pid_file: str | None = None
    hook: str | None = None


_TEXTS = tuple(field.name for field in fields(Charge) if field.name != "text")


def send_charge(through: socket.socket, charge: Charge) -> None:
    """Tell it; the configuration, which may be long, goes as a file in memory."""
    values = ((name, getattr(charge, name)) for name in _TEXTS)
    descriptor = os.memfd_create("configuration")
    with open(descriptor, "wb", buffering=0) as file:
        file.write(charge.text)
        send(through, {name: value.encode() for name, value in values if value is not None}, descriptor)


def receive_charge(through: socket.socket) -> Charge | None:
    """
    Be told; C{None}: there is nothing to do after all, and nobody to tell it.

    @raise MalformedBox: it is no charge.
    """
    received = receive(through, descriptors=True)
    if received is None:
        return None
    box, descriptor = received
    if descriptor is None or "program" not in box:
        raise MalformedBox("no charge")
    with open(descriptor, "rb") as file:
        file.seek(0)
        return Charge(file=_optional(box, "file"), program=text(box["program"]), text=file.read(), **_more(box))


def _more(box: Box) -> dict[str, str | None]:
    return {name: _optional(box, name) for name in ("server_name", "pid_file", "hook")}


def _optional(box: Box, name: str) -> str | None:
    return text(box[name]) if name in box else None
