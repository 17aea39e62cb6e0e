# SPDX-License-Identifier: MIT
"""The numbers are those of the RFCs and of our decisions, written out: no test above notices all of them change."""

import pytest

from miredo.teredo import constants


@pytest.mark.requirement("A7", "C15", "C60")
def test_qualification() -> None:
    assert (constants.SOLICITATION_TIMEOUT, constants.SOLICITATIONS) == (4.0, 3)
    assert (constants.REFRESH_INTERVAL, constants.REFRESH_LOW, constants.REFRESH_HIGH) == (30.0, 0.75, 1.0)
    assert (constants.REST_LOW, constants.REST_HIGH) == (8.0, 12.0)
    assert (constants.REST_PATIENCE, constants.REST_LONGEST) == (600.0, 100.0)


@pytest.mark.requirement("C63", "C64")
def test_the_search_of_the_refresh_interval() -> None:
    assert (constants.LONGEST_REFRESH_INTERVAL, constants.CONCLUSIVE_SHARE) == (120.0, 0.75)
    assert (constants.INTERVAL_BUBBLE_PATIENCE, constants.INTERVAL_BUBBLES) == (2.0, 1 + 3)
    assert constants.SETTLED_LIFE == 3600.0


@pytest.mark.requirement("A13", "C40", "C47", "C51")
def test_peers_and_attempts() -> None:
    assert constants.PEER_VALIDITY == 30.0
    assert (constants.ATTEMPT_LIMIT, constants.ATTEMPT_WINDOW) == (4, 300.0)
    assert (constants.ATTEMPT_SPACING, constants.ATTEMPT_INTERVAL, constants.PATIENCE) == (2.0, 2.25, 9.0)
    assert (constants.ANSWER_SPACING, constants.ANSWER_LIMIT) == (1.0, 4)
    assert constants.PATIENCE + constants.NATIVE_PAUSE <= 30.0  # T18: a test older than that proves nothing


@pytest.mark.requirement("A17", "C50", "R6")
def test_what_waits() -> None:
    assert (constants.QUEUE_PACKETS, constants.QUEUE_BYTES) == (32, 32 * 1280)
    assert (constants.HELD_PACKETS, constants.HELD_AGE) == (8, 1.0)
    assert (constants.ERROR_RATE, constants.ERROR_BURST) == (10.0, 10.0)


@pytest.mark.requirement("R5", "E1", "S21", "A15", "C41")
def test_the_rest() -> None:
    assert constants.KEY_EPOCH == 300.0
    assert constants.TUNNEL_MTU == 1280
    assert constants.SERVER_ICMPV6_LIMIT == 88
    assert constants.FOREIGN_PORT_BUBBLE_LIMIT == 128
    assert constants.ECHO_NONCE_LENGTH * 8 >= 64
