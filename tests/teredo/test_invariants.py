# SPDX-License-Identifier: MIT
"""Whatever happens in whatever order in a small Internet, and whatever a stranger sends: what always holds."""

import pytest
from hypothesis import settings

from tests.teredo.internet import ASmallInternet

pytestmark = pytest.mark.untraced

TestASmallInternet = pytest.mark.requirement(
    "C45", "C25", "C29", "C47", "A13", "C50", "R2", "R8", "R12", "S3", "S8", "S10", "S12", "S14", "T3", "T6", "T20"
)(ASmallInternet.TestCase)
TestASmallInternet.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
