"""Axial slices of 3D items, for 2D networks."""

from __future__ import annotations

from torch import Tensor


def axial_slices(x: Tensor) -> Tensor:
    """(..., X, Y, Z) to (Z, ..., H, W): rows from anterior to posterior, columns to the patient's left."""
    return x.movedim(-1, 0).transpose(-1, -2)


def from_axial_slices(x: Tensor) -> Tensor:
    """The way back: (Z, ..., H, W) to (..., X, Y, Z)."""
    return x.transpose(-1, -2).movedim(0, -1)


def middle_slices(image: Tensor, count: int) -> Tensor:
    """(n, C, H, W): the `count` slices around the middle of (C, X, Y, Z), or all where there are fewer."""
    slices = axial_slices(image)
    start = max(0, (len(slices) - count) // 2)
    return slices[start : start + count]
