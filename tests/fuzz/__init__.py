# SPDX-License-Identifier: MIT
"""Coverage-guided fuzzing, C{./x fuzz}: targets with what they promise, the corpus, and what runs them."""
