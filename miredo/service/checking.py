# SPDX-License-Identifier: MIT
"""What would go wrong, found without starting anything: C{twistd miredo --check}.

All that a role opens is opened and closed again, save its tunnel, which is not made; the host is looked at as at the
start of the role. Nothing is sent but by this host to itself, so that names are not looked up and no server is asked.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EEXIST, ENODEV, ENOENT, EPERM
from typing import NamedTuple

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.protocol import DatagramProtocol

from miredo.address.endpoint import Dice, IPv4, show_ipv4
from miredo.address.teredo import TEREDO_PORT
from miredo.config import ClientConfig, MireConfig, RelayConfig, RoleConfig, ServerConfig, TunnelConfig
from miredo.kernel.interfaces import IClock, IEndpoints, INetwork
from miredo.service.diagnosis import Finding, of_host, preferred, unreachable
from miredo.service.secretfile import BadSecretFileError, read_credentials
from miredo.service.selftest import SelfTest, place_of, unreached
from miredo.teredo.mire import CLIENT_PORT, SERVER_PORT

CURES = {
    EADDRINUSE: "stop the program that has the port (ss -lunp shows it); if it is this one, all is well",
    EADDRNOTAVAIL: "name an address that this host has (ip -4 address), or give it this one",
    EEXIST: "set another InterfaceName, or delete that interface; if this program has it already, all is well",
    EAFNOSUPPORT: "start a kernel with IPv6 (without ipv6.disable=1)",
    EPERM: "run as root, or with the capabilities CAP_NET_ADMIN and CAP_NET_RAW",
    EACCES: "run as root, or as somebody who may",
}
"""By what the system said."""
MISSING = {
    "Namespace": "ip netns add {config.namespace}",
    "InterfaceName": "modprobe tun",
    "SecretFile": "create it with mode 600",
}
"""What to do about a file that is not there, by the directive."""
OTHER_CURE = "none is known: see the system's words"


class Port(NamedTuple):
    """A port that a role wants, and the directive that says so."""

    address: IPv4
    number: int
    keyword: str


async def check(
    configs: Sequence[RoleConfig], endpoints: Callable[[str | None], IEndpoints], clock: IClock, dice: Dice
) -> list[tuple[str, Finding]]:
    """What is wrong, each with the title of the role."""
    found = []
    for config in configs:
        found += [(config.title, one) for one in await _check_role(config, endpoints(config.namespace), clock, dice)]
    return found


async def _check_role(config: RoleConfig, endpoints: IEndpoints, clock: IClock, dice: Dice) -> list[Finding]:
    try:
        network = endpoints.network()
    except OSError as error:
        return [_refusal(config, "Namespace", error)]
    try:
        found = [*of_host(config, network), *_ways(config, network)]
        found += [*_openings(config, endpoints), *_files(config, endpoints)]
        for port in _ports(config):
            found += await _check_port(config, port, endpoints, network, clock, dice)
    finally:
        network.close()
    return found


def _ways(config: RoleConfig, network: INetwork) -> list[Finding]:
    """Where packets would go."""
    match config:
        case RelayConfig():
            return preferred(network, config.prefix)
        case ClientConfig():
            return unreachable(config, network)
        case _:
            return []


def _openings(config: RoleConfig, endpoints: IEndpoints) -> Iterator[Finding]:
    """What is opened beside the ports."""
    keyword = "InterfaceName" if isinstance(config, TunnelConfig) else "ServerBindAddress"
    attempts: list[Callable[[], None]] = []
    if isinstance(config, TunnelConfig):
        name = config.interface_name
        attempts += [lambda: endpoints.check_tunnel(name), lambda: endpoints.icmpv6().close()]
    if isinstance(config, ClientConfig):
        attempts.append(lambda: endpoints.icmp_errors(lambda _: None).close())
    if isinstance(config, ServerConfig):
        attempts.append(lambda: endpoints.raw_ipv6().close())
    for attempt in attempts:
        try:
            attempt()
        except OSError as error:
            yield _refusal(config, keyword, error)


def _files(config: RoleConfig, endpoints: IEndpoints) -> Iterator[Finding]:
    path = config.secret_file if isinstance(config, (ClientConfig, ServerConfig)) else None
    if path is not None:
        try:
            read_credentials(path, endpoints.open_file)
        except OSError as error:
            yield _refusal(config, "SecretFile", error)
        except BadSecretFileError as error:
            reason, _, cure = str(error).partition("; cure: ")
            yield Finding(f"{config.where('SecretFile')}: {reason}", cure or "correct the file", prevents=True)
    if isinstance(config, ClientConfig) and config.client_hook is not None:
        path = config.client_hook
        try:
            endpoints.hook(path).check()
        except OSError as error:
            cure = f"ls -l {path}; chown root: {path}; chmod 755 {path}"
            yield Finding(f"{config.where('ClientHook')}: {error.strerror}", cure, prevents=True)
    if config.record is not None:
        folder = os.path.dirname(config.record)
        if not os.access(config.record if os.path.exists(config.record) else folder, os.W_OK):
            yield Finding(f"{config.where('Record')}: cannot be written", f"see to {folder}", prevents=True)


def _ports(config: RoleConfig) -> list[Port]:
    match config:
        case TunnelConfig():
            return [Port(config.bind_address, config.bind_port, "BindPort")]
        case ServerConfig():
            first, second = config.bind_address, config.bind_address2
            return [
                Port(first, TEREDO_PORT, "ServerBindAddress"),
                Port(second, TEREDO_PORT, "ServerBindAddress2"),
            ]
        case MireConfig():
            return [Port(config.bind_address, number, "BindAddress") for number in (SERVER_PORT, CLIENT_PORT)]
        case _:
            return []


async def _check_port(
    config: RoleConfig, port: Port, endpoints: IEndpoints, network: INetwork, clock: IClock, dice: Dice
) -> list[Finding]:
    """Whether it can be had, and whether datagrams of this host reach it."""
    protocol = DatagramProtocol()
    protocol.noisy = False
    try:
        transport = endpoints.listen_udp(protocol, show_ipv4(port.address), port.number)
    except OSError as error:
        return [_refusal(config, port.keyword, error)]
    to = place_of(transport, network)
    reached = to is None or await _reaches(protocol, to, endpoints, clock, dice)
    await _closed(transport)
    return [] if to is None or reached else [unreached(to)]


async def _reaches(
    protocol: DatagramProtocol, to: tuple[str, int], endpoints: IEndpoints, clock: IClock, dice: Dice
) -> bool:
    ended: Deferred[bool] = Deferred()
    test = SelfTest(protocol, endpoints, clock, dice, ended.callback)
    test.begin(to)
    reached = await ended
    await _closed(test.sender)
    return reached


def _closed(port: IUDPTransport) -> Awaitable[object]:
    return maybeDeferred(IListeningPort(port).stopListening)


def _refusal(config: RoleConfig, keyword: str, error: OSError) -> Finding:
    """What the system refuses, as it stands in the file."""
    named = f"{error.filename}: " if error.filename else ""
    what = f"{config.where(keyword)}: {named}{error.strerror or error}"
    if error.errno in (ENOENT, ENODEV):
        return Finding(what, MISSING.get(keyword, OTHER_CURE).format(config=config), prevents=True)
    return Finding(what, CURES.get(error.errno or 0, OTHER_CURE), prevents=True)


def line(title: str, finding: Finding) -> str:
    """One line for a person."""
    severity = "error" if finding.prevents else "warning"
    return f"{severity}: {title}: {finding}"
