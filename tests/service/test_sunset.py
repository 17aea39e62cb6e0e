# SPDX-License-Identifier: MIT
"""The day on which a service ends is said at its start, and ends nothing."""

from datetime import date

import pytest

from miredo.service.sunset import say_sunset
from tests.service.internet import ROLES, TeredoInternet, logging

DAY = date(2030, 12, 31)


@pytest.mark.requirement("S25")
def test_a_day_that_is_to_come_is_news_and_one_that_has_come_is_a_warning() -> None:
    with logging() as logged:
        for today in (date(2030, 12, 30), DAY, date(2031, 1, 1)):
            say_sunset("server s", DAY, today)
        say_sunset("server s", None, DAY)
    passed = "server s: this service was to end on 2030-12-31 (Sunset): stop it, or set another day"
    assert logged.lines == [
        ("info", "server s: this service is going to end on 2030-12-31 (Sunset)"),
        ("warn", passed),
        ("warn", passed),
    ]


@pytest.mark.requirement("S25")
def test_a_server_and_a_relay_say_it_at_their_start_and_serve_on() -> None:
    text = ROLES.replace("BindPort 3545", "BindPort 3545\nSunset 2001-01-01")
    with logging() as logged:
        internet = TeredoInternet(text.replace("ServerBindAddress", "Sunset 9999-12-31\nServerBindAddress"))
        internet.start()
        internet.run()
    assert logged.at("warn") == ["relay r: this service was to end on 2001-01-01 (Sunset): stop it, or set another day"]
    assert "server s: this service is going to end on 9999-12-31 (Sunset)" in logged.at("info")
    ping = internet.ping()
    internet.run()
    assert ping.answered is not None
