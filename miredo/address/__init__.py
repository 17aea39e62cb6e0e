# SPDX-License-Identifier: MIT
"""Teredo addresses (RFC 4380 4, RFC 5991) and the scope tables."""
