# SPDX-License-Identifier: MIT
"""
Every test of the kernel edge closes what it opens; C{bench} runs a contract on memory and on the kernel, C{any_bench}
over a privileged child too.
"""

from collections.abc import Callable

import pytest

from tests.kernel.bench import Bench, KernelBench, MemoryBench, PrivilegedBench


@pytest.fixture(autouse=True)
def _closing(closes_descriptors: None) -> None:
    pass


KINDS = [MemoryBench, pytest.param(KernelBench, marks=pytest.mark.namespaced)]


@pytest.fixture(params=[*KINDS, pytest.param(PrivilegedBench, marks=pytest.mark.namespaced)])
def any_bench(request: pytest.FixtureRequest) -> Callable[[], Bench]:
    """As L{bench}."""
    kind: Callable[[], Bench] = request.param
    return kind


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest) -> Callable[[], Bench]:
    """Makes a bench; the kernel's must be made in the test's child."""
    kind: Callable[[], Bench] = request.param
    return kind
