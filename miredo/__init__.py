# SPDX-License-Identifier: MIT
"""Teredo (RFC 4380, 5991, 6081) and FAITH (RFC 3142) on Twisted.

The house is described in doc/architecture.md; imports go down its page only.
"""
