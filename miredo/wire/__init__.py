# SPDX-License-Identifier: MIT
"""Bytes to values and back, a file per format."""
