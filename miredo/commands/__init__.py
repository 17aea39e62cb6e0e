# SPDX-License-Identifier: MIT
"""Programs: what ./x runs and, later, the classic command lines."""
