# SPDX-License-Identifier: MIT
"""Every test of the kernel edge closes what it opens; C{bench} runs a contract on memory and on the kernel."""

from collections.abc import Callable

import pytest

from tests.kernel.bench import Bench, KernelBench, MemoryBench


@pytest.fixture(autouse=True)
def _closing(closes_descriptors: None) -> None:
    pass


@pytest.fixture(params=[MemoryBench, pytest.param(KernelBench, marks=pytest.mark.namespaced)])
def bench(request: pytest.FixtureRequest) -> Callable[[], Bench]:
    """Makes a bench; the kernel's must be made in the test's child."""
    kind: Callable[[], Bench] = request.param
    return kind
