# SPDX-License-Identifier: MIT
"""The protocol core: no sockets, no clock, no dice."""
