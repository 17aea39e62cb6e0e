# SPDX-License-Identifier: MIT
"""A configuration becomes services on the kernel, which start together or not at all."""

import time
from collections.abc import Callable

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorCore, IReactorTime

from miredo.address.endpoint import parse_ipv4
from miredo.assembly import Roles, assemble, assemble_on
from miredo.config import parse
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.memory import MemoryClock, MemoryEndpoints, MemoryInternet
from miredo.kernel.namespaces import create_namespace
from miredo.service.daemon import CannotStart
from miredo.service.roles import TeredoClientService, TeredoRelayService, TeredoServerService
from miredo.service.surroundings import Did, Sent, Took
from miredo.teredo.actions import NatObserved, Qualified
from tests.namespaced import install_reactor, open_descriptors, run_reactor, until
from tests.service.internet import ROLES, Names

SERVER_AND_CLIENT = """\
[server s]
ServerBindAddress 192.0.2.1
[client a]
ServerAddress 192.0.2.1
BindAddress 198.51.100.7
"""


def on_the_kernel(text: str, observer: Callable[[Sent | Took | Did], None] | None = None) -> Roles:
    """The services of a configuration, on this child's reactor, with the addresses that it names."""
    network = KernelEndpoints(None, install_reactor()).network()
    loopback = network.index_of("lo")
    assert loopback is not None
    for address in ("192.0.2.1", "192.0.2.2", "198.51.100.7"):
        network.add_address(loopback, parse_ipv4(address), 32)
    network.close()
    return assemble_on(IReactorCore(install_reactor()), parse(text, "both.conf", strict=True), observer)


def links() -> list[str]:
    network = KernelEndpoints(None, install_reactor()).network()
    try:
        return network.links()
    finally:
        network.close()


def test_every_section_becomes_a_service_of_its_kind_in_its_namespace() -> None:
    clock = MemoryClock()
    net = MemoryInternet(clock)
    opened: list[str | None] = []

    def endpoints(namespace: str | None) -> MemoryEndpoints:
        opened.append(namespace)
        return MemoryEndpoints(net, namespace=namespace)

    roles = assemble(parse(ROLES, "lab.conf"), clock=clock, endpoints=endpoints, resolve=Names())
    kinds = [(type(role), role.name) for role in roles]
    assert kinds == [
        (TeredoServerService, "server s"),
        (TeredoRelayService, "relay r"),
        (TeredoClientService, "client a"),
    ]
    assert opened == ["server", "relay", "client"]


def test_what_cannot_start_ends_the_process_with_a_line_and_lets_twistd_clean_up() -> None:
    refusal = CannotStart("miredo: a.conf:1: no")
    assert isinstance(refusal, SystemExit)
    assert isinstance(refusal, Exception)
    assert refusal.code == "miredo: a.conf:1: no"


@pytest.mark.namespaced
def test_services_on_the_kernel_qualify_and_leave_nothing_behind(closes_descriptors: None) -> None:
    events: list[Sent | Took | Did] = []
    roles = on_the_kernel(SERVER_AND_CLIENT, events.append)

    async def body() -> None:
        before = links()
        roles.privilegedStartService()
        roles.startService()
        assert sorted(links()) == sorted([*before, "teredo"])
        await until(lambda: any(isinstance(event, Did) and isinstance(event.action, NatObserved) for event in events))
        await maybeDeferred(roles.stopService)
        assert links() == before

    run_reactor(body())
    assert [type(event.action) for event in events if isinstance(event, Did)][:1] == [Qualified]


@pytest.mark.namespaced
def test_services_that_cannot_all_start_give_back_what_they_opened(closes_descriptors: None) -> None:
    text = SERVER_AND_CLIENT + "[relay r]\nNamespace elsewhere\nInterfaceName lo\n"
    create_namespace("elsewhere")
    roles = on_the_kernel(text)

    async def body() -> None:
        before, descriptors = links(), open_descriptors()
        with pytest.raises(CannotStart) as refusal:
            roles.privilegedStartService()
        assert str(refusal.value) == "miredo: both.conf:8: InterfaceName lo: interface lo: exists already"
        await until(lambda: open_descriptors() == descriptors)
        assert links() == before

    run_reactor(body())


@pytest.mark.namespaced
def test_a_namespace_that_is_not_there_is_named() -> None:
    roles = on_the_kernel("[relay r]\nNamespace nowhere\n")
    with pytest.raises(CannotStart) as refusal:
        roles.privilegedStartService()
    text = "network namespace nowhere: No such file or directory"
    assert str(refusal.value) == f"miredo: both.conf:2: Namespace nowhere: {text}"


@pytest.mark.namespaced
def test_twisted_s_own_timers_do_not_follow_the_wall_clock() -> None:
    on_the_kernel(SERVER_AND_CLIENT)
    assert abs(IReactorTime(install_reactor()).seconds() - time.monotonic()) < 1
