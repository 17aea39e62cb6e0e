# SPDX-License-Identifier: MIT
"""Configuration text to frozen dataclasses."""

from miredo.config.directive import Row
from miredo.config.filling import directives
from miredo.config.problem import ConfigError, Place, Problem
from miredo.config.reading import load, parse
from miredo.config.roles import (
    ClientConfig,
    Configuration,
    MireConfig,
    ProcessConfig,
    RelayConfig,
    RoleConfig,
    ServerConfig,
    TunnelConfig,
    next_ipv4,
)
from miredo.config.words import FastPath, LogFormat, LogLevel, Qualification, RelayType, ServerOrder, SyslogFacility

__all__ = [
    "ClientConfig",
    "ConfigError",
    "Configuration",
    "FastPath",
    "LogFormat",
    "LogLevel",
    "MireConfig",
    "Place",
    "Problem",
    "ProcessConfig",
    "Qualification",
    "RelayConfig",
    "RelayType",
    "RoleConfig",
    "Row",
    "ServerConfig",
    "ServerOrder",
    "SyslogFacility",
    "TunnelConfig",
    "directives",
    "load",
    "next_ipv4",
    "parse",
]
