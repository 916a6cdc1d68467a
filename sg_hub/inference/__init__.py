"""Whole scans and images through a network."""

from sg_hub.inference.sliding_window import sliding_window

__all__ = ["sliding_window"]
