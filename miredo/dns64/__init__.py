# SPDX-License-Identifier: MIT
"""
DNS64 (RFC 6147): names that have only IPv4 addresses get IPv6 addresses that a translator carries to them.

The rules are in L{miredo.dns64.resolution}, without socket or clock; L{miredo.dns64.server} answers with them.
"""
