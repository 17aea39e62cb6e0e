# SPDX-License-Identifier: MIT
"""The values that are one of a few words."""

from enum import StrEnum


class RelayType(StrEnum):
    """The words of RelayType: two for clients, four for relays."""

    CLIENT = "client"
    AUTOCLIENT = "autoclient"
    CONE = "cone"
    RELAY = "relay"
    RESTRICTED = "restricted"
    HOST = "host"


class ServerOrder(StrEnum):
    """Which of several servers has the client."""

    FASTEST = "fastest"
    LISTED = "listed"


class Qualification(StrEnum):
    """How much of a server has to answer before there is an address."""

    RELAXED = "relaxed"
    STRICT = "strict"


class SyslogFacility(StrEnum):
    """The facilities of syslog(3)."""

    AUTH = "auth"
    AUTHPRIV = "authpriv"
    CRON = "cron"
    DAEMON = "daemon"
    FTP = "ftp"
    KERN = "kern"
    LPR = "lpr"
    MAIL = "mail"
    NEWS = "news"
    SYSLOG = "syslog"
    USER = "user"
    UUCP = "uucp"
    LOCAL0 = "local0"
    LOCAL1 = "local1"
    LOCAL2 = "local2"
    LOCAL3 = "local3"
    LOCAL4 = "local4"
    LOCAL5 = "local5"
    LOCAL6 = "local6"
    LOCAL7 = "local7"


class FastPath(StrEnum):
    """Which path moves packets."""

    AUTO = "auto"
    KERNEL = "kernel"
    PORTABLE = "portable"
    OFF = "off"


class LogFormat(StrEnum):
    """What a line of the log is: words for a person, or a JSON object for a program."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The levels of C{twisted.logger}."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    CRITICAL = "critical"
