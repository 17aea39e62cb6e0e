# SPDX-License-Identifier: MIT
"""Thin Twisted services around the core."""
