# SPDX-License-Identifier: MIT
"""Where a configuration comes from, so that it can be had again. Imports no Twisted, since daemons fork after it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from miredo.config import ClientConfig, Configuration, RoleConfig, parse
from miredo.config.reading import COMMAND_LINE, read_text


@dataclass(frozen=True)
class Origin:
    """
    The text of a configuration and how it is to be understood.

    @ivar program: whose files these are: miredo's or miredo-server's.
    @ivar file: an absolute path; C{None}: the command line said everything.
    @ivar shown: what messages call the file.
    @ivar server_name: the server of the command line.
    @ivar hook: configures the tunnel of a client in a classic file that says nothing of it.
    @ivar probe_filtering: every client looks into the filtering of its NAT.
    """

    program: str
    file: str | None
    shown: str
    text: bytes
    server_name: str | None = None
    hook: str | None = None
    probe_filtering: bool = False

    @classmethod
    def of_file(cls, program: str, file: str, server_name: str | None, shown: str | None = None) -> Origin:
        """What a file says now.

        @raise ConfigError: it cannot be read.
        """
        return cls(program, os.path.abspath(file), shown or file, read_text(file), server_name)

    @classmethod
    def of_command_line(cls, program: str, text: str, server_name: str | None = None) -> Origin:
        """What words of the command line mean."""
        return cls(program, None, COMMAND_LINE, text.encode("utf-8", "surrogateescape"), server_name)

    def saying(self, text: bytes) -> Origin:
        """The same with another text."""
        return replace(self, text=text)

    def configuration(self) -> Configuration:
        """What the text says.

        @raise ConfigError: all that is wrong with it.
        """
        configuration = parse(self.text, self.shown, program=self.program, server_name=self.server_name)
        return replace(configuration, roles=tuple(map(self._completed, configuration.roles)))

    def _completed(self, role: RoleConfig) -> RoleConfig:
        if not isinstance(role, ClientConfig):
            return role
        if self.probe_filtering:
            role = replace(role, probe_filtering=True)
        return role if role.name or "ClientHook" in role.places else replace(role, client_hook=self.hook)
