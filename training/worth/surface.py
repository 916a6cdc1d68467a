"""Measures of a mask beside its overlap: how much of the surfaces agree, and how far apart the centres are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

TOLERANCE = 3.0
"""mm."""


def surface_dice(found: np.ndarray, truth: np.ndarray, voxel: Sequence[float], tolerance: float = TOLERANCE) -> float:
    """Share of the two surfaces that lies within a tolerance of the other one (Nikolov et al., 2018), by voxels.

    A surface is the voxels of a mask with a neighbour outside of it. NaN where both masks are empty, 0 where one is.

    Args:
        found, truth: bool (X, Y, Z).
        voxel: mm along each axis.
    """
    if not found.any() or not truth.any():
        return float("nan") if not found.any() and not truth.any() else 0.0
    # Only what lies around the masks: a distance transform of a whole scan takes seconds.
    margin = np.ceil(tolerance / np.array(voxel)).astype(int) + 1
    places = np.argwhere(found | truth)
    low, high = np.maximum(places.min(0) - margin, 0), places.max(0) + margin + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    edges = [_surface(mask[box]) for mask in (found, truth)]
    within = 0
    for one, other in (edges, edges[::-1]):
        within += int((ndimage.distance_transform_edt(~other, sampling=voxel)[one] <= tolerance).sum())
    return within / sum(int(edge.sum()) for edge in edges)


def centre_error(found: np.ndarray, truth: np.ndarray, voxel: Sequence[float]) -> float:
    """mm between the centres of two masks; NaN where either is empty."""
    if not found.any() or not truth.any():
        return float("nan")
    return float(np.linalg.norm((np.argwhere(found).mean(0) - np.argwhere(truth).mean(0)) * voxel))


def _surface(mask: np.ndarray) -> np.ndarray:
    result: np.ndarray = mask & ~ndimage.binary_erosion(mask)
    return result
