"""Processes that work together, and what stops them."""
