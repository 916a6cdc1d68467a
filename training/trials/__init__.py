"""Trials on target tasks. First `task` (a target that is ready), `trial` (one fine-tuning), `cells` (of a grid)."""
