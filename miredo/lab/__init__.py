# SPDX-License-Identifier: MIT
"""A Teredo Internet in network namespaces, or in memory."""
