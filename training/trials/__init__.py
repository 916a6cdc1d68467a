"""Trials on target tasks. First `task` (a target that is ready), `trial` (one fine-tuning), `cells` (of a grid)."""

PROTOCOL = 2
"""Raised when a change of the code makes older results incomparable: items are read, and trials computed, anew."""
