# SPDX-License-Identifier: MIT
"""
The operating system in memory: what L{miredo.kernel.interfaces} promises, without a system call.

For tests, and for running where namespaces are refused. One L{MemoryClock} drives it all: nothing happens by itself,
what is under way arrives when the clock is advanced, by 0 too.
"""

from miredo.kernel.memory.clock import MemoryAlarm, MemoryClock
from miredo.kernel.memory.endpoints import (
    MemoryEndpoints,
    MemoryICMPErrors,
    MemoryICMPv6,
    MemoryInternet,
    MemoryPort,
    MemoryRawIPv6,
    MemoryTunnel,
)
from miredo.kernel.memory.groups import MemoryGroup
from miredo.kernel.memory.hooks import MemoryHook
from miredo.kernel.memory.network import MemoryLink, MemoryNetwork, MemoryStack

__all__ = [
    "MemoryAlarm",
    "MemoryClock",
    "MemoryEndpoints",
    "MemoryGroup",
    "MemoryHook",
    "MemoryICMPErrors",
    "MemoryICMPv6",
    "MemoryInternet",
    "MemoryLink",
    "MemoryNetwork",
    "MemoryPort",
    "MemoryRawIPv6",
    "MemoryStack",
    "MemoryTunnel",
]
