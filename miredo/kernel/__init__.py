# SPDX-License-Identifier: MIT
"""The system calls, each behind a small Interface with a shipped fake."""
