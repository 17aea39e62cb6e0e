# SPDX-License-Identifier: MIT
"""A server and a relay on one host: its clients reach native hosts through the relay beside their server."""

from pathlib import Path

import pytest

from miredo.address.endpoint import endpoint, parse_ipv4
from miredo.address.teredo import TEREDO_PORT
from miredo.service.surroundings import Did
from miredo.teredo.actions import PeerTrusted
from tests.service.internet import HOST, TeredoInternet

ETC = Path(__file__).parents[2] / "etc"
FIRST = parse_ipv4("192.0.2.1")


def both_on_one_host() -> TeredoInternet:
    """The example file, its roles in the namespace of the server's host; the host's kernel routes to its tunnel."""
    text = (ETC / "server-and-relay.conf").read_text()
    for section in ("[server s]", "[relay r]"):
        text = text.replace(section, f"{section}\nNamespace server")
    internet = TeredoInternet(text + "\n[client a]\nNamespace client\nServerAddress 192.0.2.1\n")
    internet.relay = internet.server
    internet.start()
    internet.run()
    return internet


@pytest.mark.requirement("S24")
def test_a_client_reaches_a_native_host_through_the_relay_beside_its_server() -> None:
    internet = both_on_one_host()
    ping = internet.ping()
    internet.run()
    assert ping.answered is not None
    trusted = [event.action for event in internet.events if isinstance(event, Did) and event.role == "client a"]
    assert PeerTrusted(HOST, endpoint(FIRST, 3545)) in trusted


@pytest.mark.requirement("S24")
def test_a_native_host_reaches_a_client_through_the_relay_whose_bubble_goes_to_the_server_beside_it() -> None:
    internet = both_on_one_host()
    ping = internet.host.ping(HOST, internet.qualified[0], internet.clock.now())
    internet.run()
    assert ping.answered is not None
    assert internet.sent("relay r")[0].to == endpoint(FIRST, TEREDO_PORT)
