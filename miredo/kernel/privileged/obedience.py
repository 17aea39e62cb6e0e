# SPDX-License-Identifier: MIT
"""The privileged child does what it is asked, if it is permitted, and keeps in mind what is to be undone."""

from __future__ import annotations

import os
import socket
from contextlib import closing, suppress
from errno import EDQUOT, ENOENT, EPROTOTYPE
from typing import TYPE_CHECKING

from miredo.config import ConfigError, parse
from miredo.kernel.errors import naming, refused
from miredo.kernel.openings import KernelOpenings, open_file, open_record
from miredo.kernel.privileged import commands
from miredo.kernel.privileged.commands import Answer, write_number
from miredo.kernel.tables import table_named

if TYPE_CHECKING:
    from miredo.config import Configuration
    from miredo.kernel.netlink import KernelNetwork
    from miredo.kernel.privileged.charge import Charge
    from miredo.kernel.privileged.permits import Permits

SYSLOG = "/dev/log"
"""Where the system's log listens (syslog(3))."""
RULE_LIMIT = 64
"""Rules that may be there at a time. Ours: a client has one."""
CONFIGURATION_LIMIT = 1 << 24
"""Bytes of a configuration that are looked at. Ours."""


class Obedience:
    """
    Obeys, save for what concerns the child itself.

    @raise ConfigError: the configuration of the charge is none.
    """

    def __init__(self, charge: Charge, permits: Permits) -> None:
        self._charge = charge
        self._permits = permits
        self._rules: list[commands.AddRule] = []
        self._records: dict[str, os.stat_result] = {}
        self._pid_file = _stat(charge.pid_file)
        permits.grow(self._parsed(charge.text))

    def obey(self, command: commands.Command) -> Answer:
        """
        Do what a permitted command asks for.

        @raise OSError: the system refuses it.
        """
        match command:
            case commands.OpenFile(path):
                return self._open_file(path)
            case commands.OpenRecord(path):
                return self._open_record(path)
            case commands.DiscardRecord(path):
                return self._discard_record(path)
            case commands.OpenSyslog():
                return Answer(descriptor=_connected_to_syslog())
            case commands.NumberTable(name):
                number = table_named(name)
                return Answer() if number is None else Answer(write_number(number))
            case commands.OpenTunnel(namespace, name, mtu):
                descriptor, index = KernelOpenings(namespace).tunnel(name, mtu)
                self._permits.indices[namespace, name] = index
                return Answer(write_number(index), descriptor)
            case commands.RemoveLeftovers() | commands.LinkChange() | commands.RuleChange():
                return self._change(command)
            case _:
                return _opened(command)

    def undo(self) -> None:
        """Take back what does not go with a descriptor."""
        for rule in tuple(self._rules):
            with suppress(OSError):
                self._change(commands.DeleteRule(rule.namespace, rule.source, rule.table, rule.priority))
        now = _stat(self._charge.pid_file)
        if self._charge.pid_file and self._pid_file and now and os.path.samestat(self._pid_file, now):
            with suppress(OSError):
                os.unlink(self._charge.pid_file)

    # ------------------------------------------------------------ files

    def _open_file(self, path: str) -> Answer:
        descriptor = open_file(path)
        if path == self._charge.file:
            text = os.pread(descriptor, CONFIGURATION_LIMIT, 0)
            with suppress(ConfigError):  # the worker finds the same, and runs on as it is
                self._permits.grow(self._parsed(text))
        return Answer(descriptor=descriptor)

    def _parsed(self, text: bytes) -> Configuration:
        charge = self._charge
        return parse(text, charge.file or "", program=charge.program, server_name=charge.server_name)

    def _open_record(self, path: str) -> Answer:
        made, descriptor = open_record(path)
        if made:
            self._records[path] = os.fstat(descriptor)
        return Answer(b"1" if made else b"0", descriptor)

    def _discard_record(self, path: str) -> Answer:
        now, made = _stat(path), self._records.pop(path, None)
        if now is None or made is None or not os.path.samestat(now, made):
            raise refused(ENOENT, f"recording {path}")
        with naming(f"recording {path}"):
            os.unlink(path)
        return Answer()

    # ------------------------------------------------------------ the network

    def _change(self, command: commands.InNamespace) -> Answer:
        from miredo.kernel.netlink import KernelNetwork  # pyroute2 takes its time, and a server changes nothing

        with closing(KernelNetwork(command.namespace)) as network:
            match command:
                case commands.RemoveLeftovers():
                    return Answer(b"".join(network.remove_leftovers()))
                case commands.LinkChange():
                    _change_link(command, network)
                case commands.RuleChange():
                    self._change_rule(command, network)
        return Answer()

    def _change_rule(self, command: commands.RuleChange, network: KernelNetwork) -> None:
        rule = commands.AddRule(command.namespace, command.source, command.table, command.priority)
        if isinstance(command, commands.AddRule):
            if len(self._rules) >= RULE_LIMIT:
                raise refused(EDQUOT, "rule", f"there are {RULE_LIMIT} already")
            network.add_rule(rule.source, rule.table, rule.priority)
            self._rules.append(rule)
        else:
            network.delete_rule(rule.source, rule.table, rule.priority)
            self._rules = [known for known in self._rules if known != rule]


def _change_link(command: commands.LinkChange, network: KernelNetwork) -> None:
    match command:
        case commands.SetUp(_, index, mtu):
            network.set_up(index, mtu)
        case commands.SetDown(_, index):
            network.set_down(index)
        case commands.AddAddress(_, index, address, length):
            network.add_address(index, address, length)
        case commands.DeleteAddress(_, index, address, length):
            network.delete_address(index, address, length)
        case commands.AddRoute(_, index, destination, length, metric, gateway, table):
            network.add_route(destination, length, index, metric, gateway, table)
        case commands.DeleteRoute(_, index, destination, length, metric, gateway, table):
            network.delete_route(destination, length, index, metric, gateway, table)


def _opened(command: commands.Command) -> Answer:
    """A descriptor of a namespace."""
    match command:
        case commands.OpenUDP(namespace, address, port):
            return _given(KernelOpenings(namespace).udp(address, port))
        case commands.OpenGroup(namespace, address, port):
            return _given(KernelOpenings(namespace).group(address, port))
        case commands.OpenRawIPv6(namespace):
            return _given(KernelOpenings(namespace).raw_ipv6())
        case commands.OpenICMPv6(namespace):
            return _given(KernelOpenings(namespace).icmpv6())
        case commands.OpenICMPErrors(namespace):
            return _given(KernelOpenings(namespace).icmp_errors())
        case commands.OpenNetlink(namespace, news):
            return _given(KernelOpenings(namespace).netlink(news=news))
        case commands.CheckTunnel(namespace, name):
            KernelOpenings(namespace).check_tunnel(name)
            return Answer()
        case commands.ReadSysctl(namespace, path):
            return Answer(KernelOpenings(namespace).sysctl(path).encode())
        case _:
            raise AssertionError(f"nobody obeys {type(command).__name__}")


def _given(opened: socket.socket) -> Answer:
    return Answer(descriptor=opened.detach())


def _connected_to_syslog() -> int:
    """Who keeps the log listens on datagrams, mostly."""
    with naming(SYSLOG):
        try:
            return _connected(socket.SOCK_DGRAM)
        except OSError as error:
            if error.errno != EPROTOTYPE:
                raise
        return _connected(socket.SOCK_STREAM)


def _connected(kind: int) -> int:
    with socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as opened:
        opened.connect(SYSLOG)
        return opened.detach()


def _stat(path: str | None) -> os.stat_result | None:
    if path is None:
        return None
    try:
        return os.stat(path, follow_symlinks=False)
    except OSError:
        return None
