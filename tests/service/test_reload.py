# SPDX-License-Identifier: MIT
"""A configuration that is read again: what it says the same of goes on, what it says otherwise of begins anew."""

import os
import signal
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from miredo.config import parse
from miredo.service.hangup import Hangup
from tests.namespaced import install_reactor, run_reactor, until
from tests.service.internet import ROLES, TeredoInternet, logging, own

MORE = ROLES + "RefreshInterval 20\n"


def started() -> TeredoInternet:
    """Everything runs, and the client has its address."""
    internet = TeredoInternet()
    internet.start()
    internet.run()
    assert len(internet.qualified) == 1
    return internet


def reload(internet: TeredoInternet, text: str) -> None:
    """On the fakes nothing has to be waited for."""
    done: list[object] = []
    Deferred.fromCoroutine(internet.roles.reload(parse(text, "lab.conf", strict=True))).addBoth(done.append)
    assert done == [None]
    internet.run()


def test_a_file_that_says_the_same_changes_nothing() -> None:
    internet = started()
    before = internet.client_service()
    address, port, events = internet.qualified[-1], before.port, len(internet.events)
    ping = internet.ping()
    internet.run()
    assert ping.answered is not None
    events = len(internet.events)
    with logging() as logged:
        reload(internet, "# another comment\n" + ROLES.replace("ServerAddress ", "serveraddress\t"))
    assert internet.client_service() is before
    assert (before.port, own(internet.client)[0][-1][0], len(internet.events)) == (port, address, events)
    assert logged.lines == [("info", "3 of 3 roles run on as they are, 0 begin anew")]
    ping = internet.ping()
    internet.run()
    assert ping.rtt == 0.0


def test_a_role_that_is_changed_begins_anew_and_the_others_go_on() -> None:
    internet = started()
    server, client = internet.service("server s"), internet.client_service()
    reload(internet, MORE)
    assert internet.service("server s") is server
    assert internet.client_service() is not client
    assert internet.client_service().config.refresh_interval == 20
    assert len(internet.qualified) == 2
    assert not client.running


def test_a_role_may_come_and_go() -> None:
    internet = started()
    reload(internet, ROLES[: ROLES.index("[client a]")])
    assert [role.name for role in internet.roles] == ["server s", "relay r"]
    assert internet.client.open_things() == []
    reload(internet, ROLES)
    assert len(internet.qualified) == 2
    internet.stop()
    assert internet.client.open_things() + internet.server.open_things() + internet.relay.open_things() == []


def test_what_cannot_be_had_is_logged_and_the_role_runs_as_before() -> None:
    internet = started()
    with logging() as logged:
        reload(internet, ROLES + "BindAddress 203.0.113.99\n")
    assert [line for line in logged.at("error") if "BindAddress 203.0.113.99" in line] != []
    assert internet.client_service().config.bind_address == bytes(4)
    assert len(internet.qualified) == 2


def test_a_secret_that_has_changed_in_its_file_is_a_change(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("client-7 correct horse battery staple\n")
    secret.chmod(0o600)
    text = ROLES + f"SecretFile {secret}\n"
    internet = TeredoInternet(text)
    internet.start()
    client = internet.client_service()
    reload(internet, text)
    assert internet.client_service() is client
    secret.chmod(0o644)
    reload(internet, text)
    assert internet.client_service() is client  # what cannot be used now leaves what was
    secret.chmod(0o600)
    secret.write_text("client-7 another correct horse battery\n")
    reload(internet, text)
    assert internet.client_service() is not client


def test_what_concerns_the_process_is_said_to_wait() -> None:
    internet = started()
    with logging() as logged:
        reload(internet, "User nobody\n" + ROLES)
    assert logged.at("warn") == ["what concerns the process as a whole is not read again"]


@pytest.mark.namespaced
def test_a_hangup_calls_in_the_reactor_and_nothing_after_its_end() -> None:
    reactor = install_reactor()
    called: list[int] = []

    async def body() -> None:
        before = signal.getsignal(signal.SIGHUP)  # ignored, under nohup
        hangup = Hangup(IReactorFromThreads(reactor), lambda: called.append(1))
        hangup.startService()
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: called == [1])
        hangup.stopService()
        assert signal.getsignal(signal.SIGHUP) == before

    run_reactor(body())
