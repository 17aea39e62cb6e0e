# SPDX-License-Identifier: MIT
"""
What the worker may ask for: what the configuration names, and nothing else.

    namespaces      those of the roles
    UDP ports       any from 1024 on and 0; a lower one where a role has it, at its address
    raw sockets     as the roles of the namespace need them: raw IPv6 a server; ICMPv6 a client and a relay; ICMP errors
                    and groups a client
    tunnels         the names of the roles' interfaces; addresses, routes and rules only of those that were opened here
    addresses       of a client: fe80::/10 with length 64, 2001::/32 with length 32
    routes          of a client: the default route, in the main table or the one named C{teredo}; of a relay: its prefix
    rules           of a client: from an address of 2001::/32 into the table named C{teredo}
    sysctls         those that L{miredo.service.diagnosis} looks at, to read
    files           to read: the configuration, hosts(5) and resolv.conf(5), the secrets, what networkd keeps of the
                    tunnels, and whether there is NetworkManager; to write: the recordings
    hooks           those of the clients, with the variables of client-hook(8)

The child keeps the capabilities for it, and a hook has them: CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BIND_SERVICE,
CAP_DAC_OVERRIDE, and CAP_SYS_ADMIN if there is a C{Namespace} at the start; a reload brings none.

After a reload what an earlier configuration named stays permitted, since its roles may run on, or have to be closed.
"""

from __future__ import annotations

from errno import EINVAL, EPERM
from typing import NamedTuple

from miredo.address.endpoint import IPv6, parse_ipv4, parse_ipv6, show_ipv4, show_ipv6
from miredo.address.teredo import is_teredo
from miredo.config import ClientConfig, Configuration, RelayConfig, RoleConfig, ServerConfig, TunnelConfig
from miredo.kernel.errors import refused
from miredo.kernel.identity import Capability
from miredo.kernel.links import check_name, show_address, show_prefix
from miredo.kernel.privileged import commands
from miredo.kernel.privileged.charge import Charge
from miredo.kernel.tables import table_named

FIRST_FREE_PORT = 1024
"""Lower ones take CAP_NET_BIND_SERVICE (ip(7), ip_unprivileged_port_start)."""
TABLE = "teredo"
"""The name of the routing table that a client may use."""
STATES = ("up", "down", "destroy")

_ALWAYS = (
    Capability.CAP_DAC_OVERRIDE,  # files in folders of other users
    Capability.CAP_NET_BIND_SERVICE,
    Capability.CAP_NET_ADMIN,
    Capability.CAP_NET_RAW,
)
_DEFAULT_ROUTE = (bytes(16), 0)
_LINK_LOCAL_LENGTH, _TEREDO_LENGTH = 64, 32
_LAST_PRIORITY = 32766  # that of the main table's rule
_MTUS = range(1280, 65536)
_FREE = (
    commands.OpenNetlink,
    commands.RemoveLeftovers,
    commands.NumberTable,
    commands.OpenSyslog,
    commands.Detach,
    commands.End,
)
"""What has nothing that could be refused but its namespace."""
_IPV4_VARIABLES = ("rp_filter",)
_IPV6_VARIABLES = ("disable_ipv6", "forwarding")


class Hook(NamedTuple):
    """A hook that may be run."""

    path: str
    namespace: str | None
    environment: dict[str, str]


class Permits:
    """
    Grows with what is read and opened.

    @ivar indices: of the tunnels that were opened, by namespace and name.
    """

    def __init__(self, charge: Charge) -> None:
        self.indices: dict[tuple[str | None, str], int] = {}
        self._hook = charge.hook
        self._namespaces: set[str | None] = set()
        self._clients: dict[tuple[str | None, str], str | None] = {}
        self._tunnels: set[tuple[str | None, str]] = set()
        self._servers: set[str | None] = set()
        self._prefixes: set[tuple[str | None, bytes]] = set()
        self._ports: set[tuple[str | None, str, int]] = set()
        self._records: set[str] = set()
        self._files = {"/run/NetworkManager", *([charge.file] if charge.file else [])}

    def grow(self, configuration: Configuration) -> None:
        """Permit what a configuration names, too."""
        for role in configuration.roles:
            self._namespaces.add(role.namespace)
            self._files |= {f"{folder}/{name}" for folder in _etc(role.namespace) for name in ("hosts", "resolv.conf")}
            self._records |= {role.record} if role.record else set()
            self._ports |= {(role.namespace, address, port) for address, port in _ports(role)}
            match role:
                case ClientConfig():
                    self._clients[role.namespace, role.interface_name] = role.client_hook or self._hook
                    self._files |= {role.secret_file} if role.secret_file else set()
                case RelayConfig():
                    self._prefixes.add((role.namespace, role.prefix + bytes(12)))
                case ServerConfig():
                    self._servers.add(role.namespace)
                    self._files |= {role.secret_file} if role.secret_file else set()
            if isinstance(role, TunnelConfig):
                self._tunnels.add((role.namespace, role.interface_name))

    @property
    def has_tunnels(self) -> bool:
        """Whether any may be asked for."""
        return bool(self._tunnels)

    @property
    def capabilities(self) -> list[Capability]:
        """What the child needs for all that may be asked for, and a hook has, for as long as it runs."""
        ways = [Capability.CAP_SYS_ADMIN] if self._namespaces - {None} else []
        return [*_ALWAYS, *ways]

    def check(self, command: commands.Command) -> None:
        """
        Refuse what is not permitted.

        @raise OSError: EPERM and what it was; or EINVAL or ENAMETOOLONG, it cannot be anything.
        """
        if isinstance(command, commands.InNamespace):
            self._check_namespace(command.namespace)
        match command:
            case commands.OpenUDP():
                self._check_udp(command)
            case commands.OpenGroup():
                self._check_group(command)
            case commands.OpenRawIPv6() | commands.OpenICMPv6() | commands.OpenICMPErrors():
                self._check_raw(command)
            case commands.OpenTunnel(namespace, name) | commands.CheckTunnel(namespace, name):
                check_name(name)
                _permit((namespace, name) in self._tunnels, f"interface {name}")
            case commands.OpenFile() | commands.OpenRecord() | commands.DiscardRecord():
                self._check_path(command)
            case commands.ReadSysctl(_, path):
                _check_sysctl(path)
            case commands.RunHook():
                self.hook(command)
            case _ if isinstance(command, _FREE):
                return
            case _:
                self._check_change(command)

    def hook(self, command: commands.RunHook) -> Hook:
        """
        The hook that is asked for.

        @raise OSError: EPERM, it, or one of its variables, is not permitted.
        """
        given = command.environment
        tunnel = command.namespace, given.get("IFACE", "")
        path = self._clients.get(tunnel)
        if path is None:
            raise refused(EPERM, f"hook for interface {tunnel[1]}", "the configuration has none")
        for name, value in given.items():
            _permit(self._is_variable(name, value, tunnel), f"hook {path}", f"{name}={value!r} is not for it")
        _permit(given.get("STATE") in STATES, f"hook {path}", "no STATE")
        return Hook(path, command.namespace, given)

    # ------------------------------------------------------------ one each

    def _check_namespace(self, namespace: str | None) -> None:
        what = "own network namespace" if namespace is None else f"network namespace {namespace}"
        _permit(namespace in self._namespaces, what)

    def _has_client(self, namespace: str | None) -> bool:
        return any(where == namespace for where, _ in self._clients)

    def _check_udp(self, wanted: commands.OpenUDP) -> None:
        what = f"UDP {wanted.address} port {wanted.port}"
        _check_ipv4(wanted.address, what)
        _check_port(wanted.port, what)
        free = wanted.port == 0 or wanted.port >= FIRST_FREE_PORT
        _permit(free or (wanted.namespace, wanted.address, wanted.port) in self._ports, what)

    def _check_group(self, wanted: commands.OpenGroup) -> None:
        what = f"UDP group {wanted.address}:{wanted.port}"
        group = _check_ipv4(wanted.address, what)
        _check_port(wanted.port, what)
        if group[0] >> 4 != 0xE:  # RFC 5771
            raise refused(EINVAL, what, "not a group")
        _permit(wanted.port >= FIRST_FREE_PORT and self._has_client(wanted.namespace), what)

    def _check_raw(self, wanted: commands.OpenRawIPv6 | commands.OpenICMPv6 | commands.OpenICMPErrors) -> None:
        where = wanted.namespace
        match wanted:
            case commands.OpenRawIPv6():
                _permit(where in self._servers, "raw IPv6 socket", "there is no server")
            case commands.OpenICMPv6():
                there = where in [namespace for namespace, _ in self._tunnels]
                _permit(there, "raw IPv6 socket", "there is neither a client nor a relay")
            case commands.OpenICMPErrors():
                _permit(self._has_client(where), "raw ICMP socket", "there is no client")

    def _check_path(self, wanted: commands.OpenFile | commands.OpenRecord | commands.DiscardRecord) -> None:
        if isinstance(wanted, commands.OpenFile):
            _permit(wanted.path in self._files or wanted.path in self._link_states(), f"file {wanted.path}")
        else:
            _permit(wanted.path in self._records, f"recording {wanted.path}")

    def _check_change(self, command: commands.Command) -> None:
        match command:
            case commands.AddressChange():
                self._check_address(command)
            case commands.RouteChange():
                self._check_route(command)
            case commands.LinkChange():
                self._name_of(command)
            case commands.RuleChange():
                self._check_rule(command)
            case _:
                raise refused(EPERM, type(command).__name__)

    def _name_of(self, wanted: commands.LinkChange) -> str:
        """The name of the tunnel that is to be changed."""
        for (where, name), known in self.indices.items():
            if (where, known) == (wanted.namespace, wanted.index):
                return name
        raise refused(EPERM, f"interface {wanted.index}", "not permitted: it is no tunnel that was opened here")

    def _check_address(self, wanted: commands.AddressChange) -> None:
        _check_prefix(wanted.address, wanted.prefix_length)
        name = self._name_of(wanted)
        what = f"address {show_prefix(wanted.address, wanted.prefix_length)}"
        is_good = _is_link_local if wanted.prefix_length == _LINK_LOCAL_LENGTH else _is_teredo
        has_length = wanted.prefix_length in (_LINK_LOCAL_LENGTH, _TEREDO_LENGTH)
        _permit(has_length and is_good(wanted.address) and (wanted.namespace, name) in self._clients, what)

    def _check_route(self, wanted: commands.RouteChange) -> None:
        _check_prefix(wanted.destination, wanted.prefix_length)
        name = self._name_of(wanted)
        what = f"route {show_prefix(wanted.destination, wanted.prefix_length)}"
        _permit(wanted.gateway is None, what, "it has a gateway")
        place = wanted.destination, wanted.prefix_length
        if place == _DEFAULT_ROUTE and (wanted.namespace, name) in self._clients:
            if isinstance(wanted, commands.AddRoute):
                _check_table(wanted.table, what)
            return
        is_relays = wanted.prefix_length == _TEREDO_LENGTH and (wanted.namespace, place[0]) in self._prefixes
        _permit(is_relays and wanted.table is None, what)

    def _check_rule(self, wanted: commands.RuleChange) -> None:
        _check_prefix(wanted.source, 8 * len(wanted.source))
        what = f"rule from {show_address(wanted.source)}"
        _permit(self._has_client(wanted.namespace) and _is_teredo(wanted.source), what)
        _permit(0 < wanted.priority <= _LAST_PRIORITY, what, f"priority {wanted.priority}")
        if isinstance(wanted, commands.AddRule):
            _check_table(wanted.table, what)

    def _link_states(self) -> set[str]:
        return {f"/run/systemd/netif/links/{index}" for (where, _), index in self.indices.items() if where is None}

    def _is_variable(self, name: str, value: str, tunnel: tuple[str | None, str]) -> bool:
        match name.removeprefix("OLD_"):
            case "STATE":
                return value in STATES
            case "ADDRESS":
                return (address := _written(value)) is not None and _is_teredo(address)
            case "LLADDRESS":
                return (address := _written(value)) is not None and _is_link_local(address)
            case "MTU":
                return len(value) <= 5 and value.isascii() and value.isdigit() and int(value) in _MTUS
        known = {"IFACE": tunnel[1], "IFINDEX": str(self.indices.get(tunnel, ""))}
        return value != "" and known.get(name) == value


def _permit(good: bool, what: str, why: str = "the configuration does not name it") -> None:
    if not good:
        raise refused(EPERM, what, f"not permitted: {why}")


def _etc(namespace: str | None) -> tuple[str, ...]:
    """Where ip-netns(8) has the files of a namespace."""
    return ("/etc",) if namespace is None else (f"/etc/netns/{namespace}", "/etc")


def _ports(role: RoleConfig) -> list[tuple[str, int]]:
    """Those below L{FIRST_FREE_PORT} are told by the role alone; the others of all are free."""
    return [(show_ipv4(role.bind_address), role.bind_port)] if isinstance(role, TunnelConfig) else []


def _check_ipv4(text: str, what: str) -> bytes:
    try:
        return parse_ipv4(text)
    except ValueError as error:
        raise refused(EINVAL, what, "not an IPv4 address") from error


def _check_port(port: int, what: str) -> None:
    if port > 0xFFFF:
        raise refused(EINVAL, what, "not a port")


def _check_prefix(address: bytes, length: int) -> None:
    if len(address) not in (4, 16) or length > 8 * len(address):
        raise refused(EINVAL, f"{address.hex()}/{length}", "not an address and its prefix length")


def _check_table(table: int | None, what: str) -> None:
    _permit(table in (None, table_named(TABLE)), what, f"table {table} is not the one named {TABLE}")


def _check_sysctl(path: str) -> None:
    what = f"sysctl {path}"
    if ".." in path.split("/"):
        raise refused(EINVAL, what)
    match path.split("/"):
        case ["net", "ipv4", "conf", link, variable] if variable in _IPV4_VARIABLES:
            check_name(link)
        case ["net", "ipv6", "conf", link, variable] if variable in _IPV6_VARIABLES:
            check_name(link)
        case _:
            raise refused(EPERM, what, "not permitted")


def _is_teredo(address: bytes) -> bool:
    return len(address) == 16 and is_teredo(address)


def _is_link_local(address: bytes) -> bool:
    return len(address) == 16 and int.from_bytes(address[:2], "big") >> 6 == 0xFE80 >> 6


def _written(value: str) -> IPv6 | None:
    """The address that C{value} is, written as this program writes it."""
    try:
        address = parse_ipv6(value)
    except ValueError:
        return None
    return address if show_ipv6(address) == value else None
