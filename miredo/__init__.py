# SPDX-License-Identifier: MIT
"""Teredo (RFC 4380, 5991, 6081) and FAITH (RFC 3142) on Twisted.

The house is described in doc/architecture.md; imports go down its page only.
"""

VERSION = "2.0.0.dev0"
"""That of pyproject.toml. To ask the installed package for it takes longer than all else that C{-V} does."""
