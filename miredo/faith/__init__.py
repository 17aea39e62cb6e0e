# SPDX-License-Identifier: MIT
"""TCP over IPv6 relayed to TCP over IPv4 (RFC 3142)."""
